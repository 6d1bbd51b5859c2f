"""Reconstruct phases: from magnitude spectrograms to waveforms."""
