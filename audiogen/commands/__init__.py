"""Verbs beside fit, validate and test: one function each, for the command line and from Python."""
