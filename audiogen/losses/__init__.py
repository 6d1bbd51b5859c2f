"""Define losses as pure functions that return tensors."""
