"""Every task, by the word that `task` takes."""

from __future__ import annotations

from collections.abc import Callable

from forge.building.base import Built, Site
from forge.building.classification import build_classification

BUILDERS: dict[str, Callable[[Site], Built]] = {"classification": build_classification}


def build(site: Site) -> Built:
    """Read, load and encode everything. Raises UserError before anything is written."""
    return BUILDERS[site.settings.task](site)
