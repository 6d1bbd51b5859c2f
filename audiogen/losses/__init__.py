"""Losses: pure functions that return tensors."""
