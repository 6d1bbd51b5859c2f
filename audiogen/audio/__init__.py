"""Read, write, resample, preprocess, crop and pad waveforms."""
