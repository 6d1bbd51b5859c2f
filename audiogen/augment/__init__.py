"""Augment spectrograms in ways that keep them valid sounds."""
