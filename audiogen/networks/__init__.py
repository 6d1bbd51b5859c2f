"""Define networks as plain nn.Modules, without training code."""
