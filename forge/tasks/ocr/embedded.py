"""Embedded pages as tables: their names alone for training, with the Markdown where they are measured on."""

from __future__ import annotations

from functools import cache

from datasets import Dataset

from forge.config.schema.data import Embedded
from forge.core.hashing import digest
from forge.tasks.embedded.page_tree import PRESETS, tree
from forge.tasks.ocr.pictures import embedded_name
from forge.tasks.sources import Table, from_rows

EMBEDDED_PAGES = "embedded/pages"
EVAL_SIZE = 400
_PROBED = 16  # pages whose text says whether the generator is the one of before


def embedded_table(chosen: Embedded, split: str, size: int) -> Table:
    """Pages of a split with their Markdown."""
    rows = [
        {"page": name, "markdown": tree(chosen.preset, split, index, chosen.seed).markdown}
        for index in range(size)
        for name in [embedded_name(chosen.preset, split, chosen.seed, index)]
    ]
    return from_rows(f"{EMBEDDED_PAGES}:{split}", rows)


def embedded_training(chosen: Embedded, size: int) -> Table:
    """Names of training pages: drawn anew whenever one is read, a million of them cost nothing."""
    names = [embedded_name(chosen.preset, "train", chosen.seed, index) for index in range(size)]
    probe = _probe(chosen.preset, chosen.seed)
    mark = digest([names[0], size, probe], 16)
    name = f"{EMBEDDED_PAGES}:train"
    return Table(name, Dataset.from_dict({"page": names}), mark, lambda row: f"{name}, row {row + 1}")


def embedded_canvas(preset: str) -> tuple[int, int]:
    """Height and width of the preset's pages in pixels, up to whole cells; of sheets of paper at 100 dots an inch."""
    kind = PRESETS[preset]
    scale = 100 / 72 if kind.paper else 1.0
    height, width = (round(edge * scale + 0.5) if kind.paper else edge for edge in (kind.height, kind.width))
    return -(-height // 16) * 16, -(-width // 8) * 8


@cache
def _probe(preset: str, seed: int) -> list[str]:
    return [tree(preset, "train", index, seed).markdown for index in range(_PROBED)]
