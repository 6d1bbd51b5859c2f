"""Callbacks: they speak to any model through `kimg`, `crossed` and `sample`, never by name."""
