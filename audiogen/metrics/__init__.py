"""Evaluation of generated clips: pure functions, and thin torchmetrics classes over embeddings of clips."""
