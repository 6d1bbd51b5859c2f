"""Waveforms: reading, writing, resampling, preprocessing, fitting to a length."""
