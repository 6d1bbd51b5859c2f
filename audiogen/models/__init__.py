"""LightningModules: one file for each model, all on the shared data module."""
