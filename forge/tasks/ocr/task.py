"""OCR: pages as pictures, their Markdown as tokens, read and scored.

A `Form` knows how one family of models takes a page; all else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from forge.tasks.base import Batch, Scores, Side
from forge.tasks.encoding import list_lengths
from forge.tasks.metrics.ocr.score import score_pages
from forge.tasks.metrics.ocr.text import edit_similarity
from forge.tasks.ocr.pictures import Pictured, markdown_of, pictured
from forge.tasks.written import Write, Written, infer_written, mean_loss

SAMPLES = 10  # pages that a report shows
TYPICAL = 100  # tokens of a page whose text is drawn only when it is needed


class Form(Protocol):
    """How a family of models takes pages and texts."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Labels of each text, with its end, no longer than the model may write."""
        ...

    def collate(self, pages: Sequence[Pictured], labels: Sequence[Sequence[int]] | None) -> Batch:
        """Tensors of a batch; without labels as much of it as writing needs."""
        ...

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as text."""
        ...

    def input_length(self) -> int:
        """Places that a model reads of a page, or 1 where that differs."""
        ...


@dataclass(frozen=True)
class OcrTask:
    """Turns pages and Markdown into batches, token ids into texts and scores.

    `write` reads pages while training, `write_best` when the result is measured.
    """

    form: Form
    write: Write
    write_best: Write
    name = "ocr"

    def thorough(self) -> OcrTask:
        """The task as the result is measured."""
        return replace(self, write=self.write_best)

    def encode(self, rows: Dataset) -> Dataset:
        """Adds `length`, and where there is `markdown`, `labels`."""
        if "markdown" not in rows.column_names:  # embedded training pages, drawn when their turn comes
            return rows.add_column("length", np.full(len(rows), TYPICAL))
        labels = self.form.encode(rows["markdown"][:])
        return rows.add_column("labels", labels).add_column("length", [len(one) for one in labels])

    def with_targets(self, data: Dataset, targets: Sequence[str]) -> Dataset:
        """The data with other texts to write; what is on the pages stays known, for losses on where it is."""
        kept = [name for name in data.column_names if name not in {"labels", "length"}]
        labels = self.form.encode(targets)
        rows = data.select_columns(kept).add_column("labels", labels)
        return rows.add_column("length", [len(one) for one in labels])

    def lengths(self, data: Dataset) -> dict[Side, NDArray[np.int64]]:
        """Places of the page and tokens of the text of each example."""
        if "labels" in data.column_names:
            written = list_lengths(data, "labels")
        else:
            written = np.asarray([len(one) for one in self.form.encode(self.references(data))], np.int64)
        return {"input": np.full(len(data), self.form.input_length(), np.int64), "target": written}

    def references(self, data: Dataset) -> list[str]:
        """The Markdown of each page; none is drawn for it."""
        return data["markdown"][:] if "markdown" in data.column_names else [markdown_of(row) for row in data]

    def likeness(self, text: str, reference: str) -> float:
        """Edit similarity."""
        return edit_similarity(text, reference)

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as Markdown."""
        return self.form.texts(ids)

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """What the form makes of the rows' pages."""
        pages = [pictured(row) for row in rows]
        labels = [row["labels"] for row in rows] if "labels" in rows[0] else None
        return self.form.collate(pages, labels or self.form.encode([page.markdown for page in pages]))

    def infer(self, model: torch.nn.Module, batch: Batch) -> list[Any]:
        """The Markdown of each page, and how likely the model holds the reference to be."""
        return list(infer_written(model, batch, self.write))

    def score(self, outputs: Iterable[Any], data: Dataset) -> Scores:
        """All figures of `score_pages`; loss, the mean nats a token, of the references."""
        made: list[Written] = list(outputs)
        hypotheses = self.form.texts([one.ids for one in made])
        references, names = data["markdown"][: len(made)], data["page"][: len(made)]
        scores = score_pages(hypotheses, references, names)
        shown = [
            {"page": name, "reference": reference, "read": hypothesis}
            for name, reference, hypothesis in zip(names, references, hypotheses, strict=True)
        ]
        cut_off = [name for name, one in zip(names, made, strict=True) if not one.ended]
        detail = dict(scores.detail) | {"cut_off": cut_off, "examples": len(made), "samples": shown[:SAMPLES]}
        return Scores(dict(scores.figures) | {"loss": mean_loss(made)}, detail, scores.rows)
