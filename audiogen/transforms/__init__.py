"""Convert waveforms to spectrograms and back. Each file contains a forward transform and its inverse."""
