"""Forge: one YAML file becomes one reproducible experiment."""

from forge.core.version import VERSION as __version__  # noqa: N811 - the name that Python packages use

__all__ = ["__version__"]
