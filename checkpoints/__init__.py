"""Trained weights, installed as `audiogen.checkpoints`."""
