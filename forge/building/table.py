"""Every task, by the word that `task` takes."""

from __future__ import annotations

from collections.abc import Callable

from forge.building.base import Built, Site
from forge.building.classification import build_classification
from forge.building.ocr import build_ocr
from forge.building.translation import build_translation

BUILDERS: dict[str, Callable[[Site], Built]] = {
    "classification": build_classification,
    "translation": build_translation,
    "ocr": build_ocr,
}


def build(site: Site) -> Built:
    """Read, load and encode everything. Raises UserError before anything is written."""
    return BUILDERS[site.settings.task](site)
