"""Phase reconstruction: from a magnitude spectrogram to a waveform."""
