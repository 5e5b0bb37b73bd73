"""Page readers: what they make of pages, probed for what kinds of block a page has and how long it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator
from datasets import Dataset

from forge.building.ocr import reading_of
from forge.building.page_splits import encode_pages
from forge.inference.splits import noted_data
from forge.runs.run_dir import RunDirectory
from forge.tasks.ocr.read import read_page_splits
from forge.tasks.ocr.sheet import Sheet
from forge.tasks.ocr.task import OcrTask
from forge.tasks.sources import Table
from forge.workbench.findings import Overlap
from forge.workbench.overlap import key_of
from forge.workbench.probe_inputs import words_of
from forge.workbench.probed import Labelled
from forge.workbench.slices import Axis, named_axis, quantile_axis
from forge.workbench.views.base import Loaded, Made, Shown, Source, chosen_rows, only, require_left
from forge.workbench.views.writing import WritingView

LENGTHS = 4
LEAST_SHARE = 0.05  # of the rows: kinds of page that are rarer are one kind, "other"
_BLOCKS = (
    ("table", re.compile(r"^\s*(\||<table)")),
    ("heading", re.compile(r"^#{1,6} ")),
    ("list", re.compile(r"^\s*([-*+]|\d+[.)]) ")),
    ("code", re.compile(r"^(```|~~~)")),
)


_EMBEDDED = (
    "embedded pages are drawn by preset, split and seed, so no page is one of training; whether two hold the same text "
    "was not looked at"
)
_SAME = "the picture and the Markdown"


@dataclass(frozen=True)
class OcrView(WritingView):
    """Reading's part."""

    kind: Literal["translation", "ocr"] = "ocr"
    most: int = 300
    most_quick: int = 60

    def show(self, run: RunDirectory, split: str, table: Table, most: int) -> Shown:
        """Pages with text that are no training pages; whether their documents have such is up to how they were cut."""
        names, texts = table.rows["page"][:], table.rows["markdown"][:]
        documents = table.rows["document"][:] if "document" in table.rows.column_names else names
        written = [row for row in range(len(names)) if texts[row].strip()]
        free, overlapping = _parted(run, table, written)
        require_left(free, table.name)
        rows = chosen_rows(free, most, table.fingerprint)
        return Shown(
            split=split,
            table=only(table, rows),
            of=len(table.rows),
            overlap=overlapping,
            ids=tuple(str(names[row]) for row in rows),
            inputs=tuple({"page": str(names[row])} for row in rows),
            gold=tuple(texts[row] for row in rows),
            groups=tuple(str(documents[row]) for row in rows),
            fingerprint=table.fingerprint,
        )

    def check(self, source: Source, shown: Shown) -> None:
        """Any two readers of the same pages can be compared."""

    def load(self, source: Source, shown: Shown) -> Loaded:  # noqa: ARG002
        """Of whatever family."""
        reading = reading_of(source.settings, source.asset, source.wanted, source.facts)
        accelerator = Accelerator()
        reading.model.to(accelerator.device).eval()
        form: Any = reading.task.form
        tokenizer = form.tokenizer if isinstance(form, Sheet) else form.processor.tokenizer
        return Loaded(source, reading.task, reading.model, accelerator, tokenizer)

    def encode(self, loaded: Loaded, shown: Shown) -> Dataset:
        """Pages with their Markdown."""
        assert isinstance(loaded.task, OcrTask)
        data: Dataset = encode_pages(loaded.task, shown.table, None)
        return data

    def axes(self, shown: Shown, reference: Made | None) -> list[Axis]:
        """Length and kinds of block."""
        kinds, kind_N = _page_kinds(shown.gold)
        return [*super().axes(shown, reference), named_axis("blocks", kinds, kind_N)]

    def labelled(self, stack: str, shown: Shown) -> list[Labelled]:  # noqa: ARG002
        """Which kinds of block a page has; how long its text is."""
        kinds, kind_N = _page_kinds(shown.gold)
        lengths = quantile_axis("words", np.array([len(words_of(text)) for text in shown.gold], np.float64), LENGTHS)
        blocks = "Which kinds of block the page's Markdown has: a part of what the task asks for, not all of it."
        length = "How many words the page has, in bins of like many rows: not what the task asks for."
        return [
            Labelled("block types", blocks, True, kinds, kind_N, shown.groups),
            Labelled("length of the page", length, False, lengths.kinds, lengths.kind_N, shown.groups),
        ]


def _parted(run: RunDirectory, table: Table, rows: list[int]) -> tuple[list[int], Overlap]:
    """Those of the rows whose picture and Markdown no training page has, and how many others there are.

    Short lines recur, so the same Markdown alone is counted and kept. Embedded pages have no picture before they are
    read.
    """
    data, asset = noted_data(run)
    if asset is not None and asset.source == "embedded":
        return rows, Overlap(None, _EMBEDDED)
    trained = read_page_splits(data.model_copy(update={"validation": None, "test": None}), asset).train
    if trained is None:
        return rows, Overlap(0, _SAME)
    own, its = ([key_of(text) for text in each.rows["markdown"][:]] for each in (table, trained))
    both = {own[row] for row in rows} & set(its)
    pictures = set(_pictures(trained, [row for row, key in enumerate(its) if key in both]))
    alike = [row for row in rows if own[row] in both]
    same = {row for row, picture in zip(alike, _pictures(table, alike), strict=True) if picture in pictures}
    return [row for row in rows if row not in same], Overlap(len(same), _SAME, len(alike) - len(same))


def _pictures(table: Table, rows: list[int]) -> list[str]:
    """A digest of each, one picture in memory at a time."""
    return [sha256(table.rows[row]["image"]).hexdigest() for row in rows]


def blocks_of(markdown: str) -> tuple[str, ...]:
    """Kinds of block that a page has besides text, or "text"."""
    lines = markdown.splitlines()
    found = [name for name, pattern in _BLOCKS if any(pattern.match(line) for line in lines)]
    return tuple(found or ["text"])


def _page_kinds(texts: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Pages by the set of their blocks, rare sets as one."""
    named = [" + ".join(blocks_of(text)) for text in texts]
    counts: Mapping[str, int] = Counter(named)
    kinds = sorted(name for name, count in counts.items() if count >= LEAST_SHARE * len(named))
    if len(kinds) < len(counts):
        kinds.append("other")
    number = {name: place for place, name in enumerate(kinds)}
    return tuple(kinds), np.array([number.get(name, len(kinds) - 1) for name in named], np.int64)
