"""Configs, installed as `audiogen.configs`."""
