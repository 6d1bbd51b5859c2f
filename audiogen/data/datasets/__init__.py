"""List the sounds of data sets: one file per layout of audio files on disk."""
