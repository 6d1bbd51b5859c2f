"""Augmentations that are legal for spectrograms."""
