"""How the data, the tokenizer and the model of each task come together."""

from forge.building.base import Built, Site
from forge.building.table import build

__all__ = ["Built", "Site", "build"]
