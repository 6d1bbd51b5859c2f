"""Waveform <-> spectrogram: each file holds a forward transform and its inverse."""
