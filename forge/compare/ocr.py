"""Two page readers: CER and NID over the same pages, by paired randomisation, with the paired bootstrap's interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from forge.compare.base import Given, Tested, limit_of, refuse_different
from forge.inference.ocr import load_reader
from forge.inference.pages import ReadTable, given_pages, read_table
from forge.runs.run_dir import RunDirectory
from forge.tasks.metrics.ocr.text import char_edits, nid
from forge.tasks.metrics.significance import FloatArray, compare_values
from forge.tasks.sources import Table


class OcrComparison:
    """Reading's part."""

    def tables(self, ours: RunDirectory, given: Given) -> dict[str, Table]:
        """The pages that `--data` names."""
        return {" and ".join(given.data): given_pages(ours, given.data, given.subset, given.split)}

    def check(self, ours: RunDirectory, theirs: RunDirectory, tables: Mapping[str, Table], given: Given) -> None:
        """Any two readers of the same pages can be compared."""

    def measure(
        self, run: RunDirectory, which: str, tables: Mapping[str, Table], given: Given
    ) -> tuple[str, dict[str, Any]]:
        """What the run makes of each page."""
        loaded, limit = load_reader(run, which, given.beams), limit_of(run, given)
        return loaded.checkpoint, {name: read_table(loaded, table, limit) for name, table in tables.items()}

    def test(self, name: str, ours: ReadTable, theirs: ReadTable) -> Tested:
        """Whether what was read of the same pages differs."""
        refuse_different(name, ours.references, theirs.references, "other Markdown for the same pages")
        tests = [
            compare_values("cer", _rates(ours), _rates(theirs)),
            compare_values("nid", _alike(ours), _alike(theirs)),
        ]
        return Tested(len(ours.references), tests, {"a": _plain(ours), "b": _plain(theirs)})


def _rates(read: ReadTable) -> FloatArray:
    """rates_N whose mean is the CER of all pages together: the edits of a page over the mean length of pages.

    Both systems are divided by the same length, so a resample weighs a page as the corpus does.
    """
    pages = [char_edits(*both) for both in zip(read.texts, read.references, strict=True)]
    edits_N = np.array([page.edits for page in pages], np.float64)
    return edits_N / max(1.0, float(np.mean([page.reference for page in pages])))


def _alike(read: ReadTable) -> FloatArray:
    return np.array([nid(*both) for both in zip(read.texts, read.references, strict=True)], np.float64)


def _plain(read: ReadTable) -> dict[str, Any]:
    return {"figures": dict(read.scores.figures), **{k: v for k, v in read.scores.detail.items() if k != "samples"}}
