"""Measuring a page reader: on splits with the Markdown beside each page, and by checks on PDF files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.building.page_splits import encode_pages
from forge.core.errors import UserError
from forge.inference.ocr import PageAnswer, Reader, load_reader, read_documents
from forge.inference.saved import settings_of
from forge.inference.splits import own_splits
from forge.runs.run_dir import RunDirectory
from forge.tasks.base import Scores
from forge.tasks.metrics.ocr.checks.run import check_pages
from forge.tasks.ocr.asked import RETRIES
from forge.tasks.ocr.checked import Wanted, read_tests, wanted_pages
from forge.tasks.ocr.files import read_pages
from forge.tasks.ocr.read import columns_of, scale_of
from forge.tasks.pages.stream import Page, Refusal, open_pages
from forge.tasks.sources import Table
from forge.tasks.written import Written
from forge.train.evaluate import infer

CHANGED = "its figures would be of other pages; --data measures on what is there now"
REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class ReadTable:
    """What a reader made of the N pages of a table."""

    names: list[str]
    references: list[str]
    texts: list[str]
    scores: Scores


def evaluate_pages(run: RunDirectory, which: str, split: str | None, beams: int | None) -> dict[str, Any]:
    """Figures of the run's own splits, measured again, as plain values. Raises UserError, CheckpointError."""
    limit = run.metadata()["config"]["evaluate"]["max_examples"]
    return _measured(run, which, beams, own_splits(run, split, CHANGED), limit)


def evaluate_given(
    run: RunDirectory,
    which: str,
    data: Sequence[str],
    subset: str | None,
    split: str | None,
    password: str | None,
    beams: int | None = None,
) -> dict[str, Any]:
    """The same of other pages."""
    return _measured(run, which, beams, {" ".join(data): given_pages(run, data, subset, split, password)}, None)


def _measured(
    run: RunDirectory, which: str, beams: int | None, tables: Mapping[str, Table], limit: int | None
) -> dict[str, Any]:
    loaded = load_reader(run, which, beams)
    read = {name: read_table(loaded, table, limit) for name, table in tables.items()}
    splits = {name: {"figures": dict(one.scores.figures), **one.scores.detail} for name, one in read.items()}
    about = {"run": str(run.path), "checkpoint": loaded.checkpoint, "beams": loaded.reading.decoding.beams}
    return about | {"splits": splits}


def given_pages(
    run: RunDirectory, data: Sequence[str], subset: str | None, split: str | None, password: str | None = None
) -> Table:
    """What `--data` names, read with the run's own columns and scale. Says which pages are left out.

    It is a directory or a file of pages, or with a split or subset a data set in hub format.
    """
    if len(data) != 1:
        raise UserError("--data takes one directory or file of pages")
    own = settings_of(run).data
    (name,) = data
    folder = Path(name).expanduser()
    is_set = split is not None or subset is not None
    reference, asset_folder = (split or "test", str(folder)) if is_set else (str(folder), None)
    found = read_pages(reference, columns_of(own), scale_of(own.pages), asset_folder, subset, "", password)
    for notice in found.notices:
        print(f"forge: {notice}", file=sys.stderr)  # noqa: T201
    return found.table


def read_table(loaded: Reader, table: Table, limit: int | None) -> ReadTable:
    """The first `limit` pages of a table, each read once, as a run itself measures."""
    task = loaded.reading.task.thorough()
    encoded = encode_pages(task, table, limit)
    outputs: list[Written] = infer(loaded.accelerator, task, loaded.reading.model, encoded, loaded.batch_size)
    texts = task.form.texts([one.ids for one in outputs])
    return ReadTable(encoded["page"][:], encoded["markdown"][:], texts, task.score(outputs, encoded))


@dataclass(frozen=True)
class Bench:
    """PDF files below a directory, and files of checks that name them."""

    folder: str
    tests: Sequence[str]
    password: str | None = None
    retries: int = RETRIES

    def where(self, wanted: Wanted) -> Path:
        """The directory that the names of checks start from: this one, or `pdfs` in it. Raises UserError."""
        folder = Path(self.folder).expanduser()
        if not folder.is_dir():
            raise UserError(f"--pdfs: {folder} is not a directory")
        for place in (folder, folder / "pdfs"):
            if any((place / pdf).is_file() for pdf in wanted):
                return place
        raise UserError(f"--pdfs: none of the {len(wanted):,} files that --tests names lies in {folder}")


def check_reader(run: RunDirectory, which: str, bench: Bench, beams: int | None = None) -> dict[str, Any]:
    """Read the pages that checks ask about, and score them, as plain values. Raises UserError, CheckpointError.

    Pages are read as `predict` reads them, with tries more where the end is missing. A page that cannot be read fails.
    """
    files = read_tests(bench.tests)
    wanted = wanted_pages(files)
    place = bench.where(wanted)
    loaded = load_reader(run, which, beams)
    began = told = time.monotonic()
    texts: dict[tuple[str, int], str] = {}
    missing, retried = [], 0
    for pdf, answer in read_documents(loaded, _pages(loaded, place, wanted, bench.password), bench.retries):
        if isinstance(answer, PageAnswer):
            texts[pdf, answer.number] = answer.text
            retried += answer.tries > 1
        else:
            missing.append(f"{pdf}  {answer}")
        if (now := time.monotonic()) - told >= REPORT_SECONDS:
            told = now
            print(f"forge: {len(texts):,} pages, {len(texts) / (now - began):,.2f} a second", file=sys.stderr)  # noqa: T201
    seconds = time.monotonic() - began
    scores = check_pages(files, texts)
    asked = sum(map(len, wanted.values()))
    pages = {"asked": asked, "read": len(texts), "retried": retried, "missing": missing, "seconds": round(seconds, 3)}
    about = {"of": f"{loaded.checkpoint} of {run.path}", "beams": loaded.reading.decoding.beams}
    return about | {"figures": dict(scores.figures), **scores.detail, "pages": pages}


def _pages(loaded: Reader, place: Path, wanted: Wanted, password: str | None) -> Iterator[tuple[str, Page | Refusal]]:
    for pdf, numbers in wanted.items():
        listed = ",".join(map(str, numbers))
        for page in open_pages(place / pdf, listed, password, scale=loaded.scale):
            yield pdf, page
