"""Which crops are measured: drawn by a seed, spread evenly over the documents and over each one's pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium

from bench.manuals.crops import LIKE_THE_BODY, U8, Crop, UnfitError, cut, target
from bench.manuals.lines import Line, lines_of, x_height
from forge.core.errors import UserError
from forge.tasks.embedded.page_words import Chance
from forge.tasks.pages.sizes import Limits, Scale
from forge.tasks.pages.stream import Page, open_pages

_LOOKED_AT = 5  # pages for the size of a document's body
_TRIES = 12  # places on a page before it is left
_PATIENT = Limits(seconds=3_600)  # what is drawn must not depend on how busy the machine is


@dataclass(frozen=True)
class Sample:
    """Crops of one kind, and how many drawn places were refused, by reason."""

    crops: list[Crop]
    refused: Counter[str]
    dpi: dict[str, float]  # document → at which its body is as large as the kind's embedded pages


def sample(files: Sequence[Path], kind: str, count: int, seed: int = 0) -> Sample:
    """`count` crops of one kind, the same for the same files and seed. Raises UserError where the files have too few."""
    out = Sample([], Counter(), {})
    for index, path in enumerate(files):
        share = (count * (index + 1)) // len(files) - (count * index) // len(files)
        out.crops.extend(_of_document(path, kind, share, seed, out))
    if len(out.crops) < count:
        why = "; ".join(f"{reason}: {times}" for reason, times in out.refused.most_common())
        raise UserError(f"the PDF files have only {len(out.crops)} of {count} crops: ask for fewer (refused: {why})")
    return out


def grey(page: Page) -> U8:
    """Height, width."""
    return np.asarray(page.image().convert("L"))


def drawn_pages(path: Path, seed: str) -> list[int]:
    """The numbers of all pages, shuffled."""
    with pdfium.PdfDocument(path) as document:
        return _shuffled(list(range(1, len(document) + 1)), Chance(f"manuals/{seed}/{path.name}"))


def read_pages(path: Path, pages: Sequence[int], dpi: float, refused: Counter[str] | None = None) -> Iterator[Page]:
    """In ascending order; what cannot be read is counted."""
    asked = ",".join(map(str, sorted(pages)))
    for page in open_pages(path, asked, scale=Scale(dpi=dpi), limits=_PATIENT, text=True):
        if isinstance(page, Page):
            yield page
        elif refused is not None:
            refused[f"{path.name} {page}"] += 1


def _of_document(path: Path, kind: str, count: int, seed: int, out: Sample) -> list[Crop]:
    """First one crop of each drawn page, then a second of some, and so on."""
    pages = drawn_pages(path, f"{kind}/{seed}")
    looked_at = read_pages(path, pages[:_LOOKED_AT], 72)
    body = x_height([line for page in looked_at for line in _lines(page)])  # in points
    if not body or not count:
        return []
    dpi = out.dpi[path.stem] = 72 * target(kind) / body
    each = 1 + 2 * count // len(pages)
    by_page = {
        page.number: list(_of_page(path, page, kind, each, Chance(f"{seed}/{kind}/{path.name}/{page.number}"), out))
        for page in read_pages(path, pages[: count + count // 4 + 3], dpi, out.refused)
    }
    ranked = [crops[turn] for turn in range(each) for n in pages if len(crops := by_page.get(n, [])) > turn]
    return ranked[:count]


def _of_page(path: Path, page: Page, kind: str, each: int, draw: Chance, out: Sample) -> Iterator[Crop]:
    page_HW, lines = grey(page), _lines(page)
    low, high = (ratio * target(kind) for ratio in LIKE_THE_BODY)
    starts = _shuffled([i for i, line in enumerate(lines) if low < line.x_height < high], draw)
    used, found = set[int](), 0
    for start in starts[:_TRIES]:
        where = path.stem, f"p. {page.number}, line {start + 1}"
        if used.intersection(range(start, start + 8)):
            continue
        try:
            yield cut(where, kind, page_HW, lines[start : start + 8], draw)
        except UnfitError as error:
            out.refused[str(error)] += 1
            continue
        used.update(range(start, start + 8))
        found += 1
        if found == each:
            return


def _lines(page: Page) -> list[Line]:
    assert page.glyphs is not None
    return lines_of(page.glyphs)


def _shuffled(items: list[int], draw: Chance) -> list[int]:
    keys = [draw.random() for _ in items]
    return [item for _, item in sorted(zip(keys, items, strict=True))]
