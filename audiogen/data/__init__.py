"""Load data sets: from audio files to stored spectrograms, batches and the LightningDataModule."""
