"""Forge: one YAML file becomes one reproducible experiment."""

__version__ = "0.1.0"
