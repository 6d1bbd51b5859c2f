"""What generated clips are worth: pure functions and thin torchmetrics classes over embeddings of clips."""
