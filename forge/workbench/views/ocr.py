"""Page readers: what they make of pages, probed for what kinds of block a page has and how long it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator
from datasets import Dataset

from forge.building.ocr import reading_of
from forge.building.page_splits import encode_pages
from forge.runs.run_dir import RunDirectory
from forge.tasks.ocr.sheet import Sheet
from forge.tasks.ocr.task import OcrTask
from forge.tasks.sources import Table
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


@dataclass(frozen=True)
class OcrView(WritingView):
    """Reading's part."""

    kind: Literal["translation", "ocr"] = "ocr"
    most: int = 300
    most_quick: int = 60

    def show(self, run: RunDirectory, split: str, table: Table, most: int) -> Shown:  # noqa: ARG002
        """Pages with text; that splits hold other documents than training does is up to how they were cut."""
        names, texts = table.rows["page"][:], table.rows["markdown"][:]
        documents = table.rows["document"][:] if "document" in table.rows.column_names else names
        free = [row for row in range(len(names)) if texts[row].strip()]
        require_left(free, table.name)
        rows = chosen_rows(free, most, table.fingerprint)
        return Shown(
            split=split,
            table=only(table, rows),
            of=len(table.rows),
            left_out=0,
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
