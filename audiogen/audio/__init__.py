"""Waveforms: reading, writing, resampling, fitting to a length."""
