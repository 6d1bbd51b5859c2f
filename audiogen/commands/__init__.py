"""Commands other than fit, validate and test: one function each, for the command line and for Python."""
