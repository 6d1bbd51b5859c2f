"""Embeddings of clips, in which metrics are computed: one file each."""
