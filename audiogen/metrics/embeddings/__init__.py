"""Embeddings of clips, in which distances are measured: one file each."""
