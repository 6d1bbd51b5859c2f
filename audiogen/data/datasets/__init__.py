"""Data sets: each file describes one layout of sound files on disk."""
