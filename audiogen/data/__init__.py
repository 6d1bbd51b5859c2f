"""Data sets, the batch, the endless stream and the LightningDataModule."""
