"""Train models: one LightningModule per file, all on the shared data module."""
