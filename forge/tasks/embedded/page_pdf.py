"""Embedded pages as real PDF files, and read back from them: the same tree, drawn by other programs."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from forge.core.errors import UserError
from forge.tasks.embedded.page_fonts import Face
from forge.tasks.embedded.page_image import Picture
from forge.tasks.embedded.page_layout import Set
from forge.tasks.embedded.page_tree import Tree, tree
from forge.tasks.pages.sizes import Scale
from forge.tasks.pages.stream import Page, open_pages

_RULE = 0.6  # points


def paper(split: str, index: int, seed: int = 0, dpi: float = 100.0) -> Picture:
    """An A4 page of a split as pdfium draws it, with a box for each character from the file's text layer.

    The tree is the same everywhere; pixels are those of one pdfium release.
    """
    page = tree("a4", split, index, seed)
    with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
        file.write(pdf_of([page]))
        file.flush()
        [found] = open_pages(file.name, scale=Scale(dpi=dpi), text=True, trusted=True)
    assert isinstance(found, Page), found
    return aligned(page, found)


def aligned(page: Tree, found: Page) -> Picture:
    """The truth of a page whose PDF was read with `text=True`. Raises ValueError where its text is another."""
    assert found.glyphs is not None
    printed = [i for i, character in enumerate(found.glyphs.characters) if not character.isspace()]
    read = "".join(found.glyphs.characters[i] for i in printed)
    if read != visible(page):
        raise ValueError(f"the text layer is not the page's text: {read[:80]!r}")
    boxes_N4 = found.glyphs.boxes_N4[printed].reshape(-1, 4)
    positions_N = np.array([one.start for one in page.layout.characters], np.int32)
    grey_HW = found.pixels.mean(axis=2).round().astype(np.uint8)
    return Picture(grey_HW, page.markdown, boxes_N4, positions_N, 0.0, 0.0)


def visible(page: Tree) -> str:
    """Everything with ink, in reading order, without spaces."""
    return "".join(one.character for one in page.layout.characters)


def pdf_of(pages: Iterable[Tree]) -> bytes:
    """A PDF file with these pages, of 1 point a pixel for presets that are not paper."""
    try:
        from reportlab.pdfgen.canvas import Canvas
    except ImportError as error:
        raise UserError('PDF files are made by reportlab: pip install "forge-distill[pdf]"') from error
    out = io.BytesIO()
    canvas = Canvas(out, invariant=1)  # without the time of day
    for page in pages:
        canvas.setPageSize((page.preset.width, page.preset.height))
        _draw(canvas, page)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _draw(canvas: Any, page: Tree) -> None:
    height = page.preset.height
    for word in _words(page.layout.characters):
        canvas.setFont(_registered(word[0].face), word[0].size)
        canvas.drawString(word[0].x, height - word[0].y, "".join(one.character for one in word))
    canvas.setLineWidth(_RULE)
    for rule in page.layout.rules:
        canvas.line(rule.x0, height - rule.y0, rule.x1, height - rule.y1)


def _words(characters: list[Set]) -> Iterator[list[Set]]:
    """Neighbours of one face on one line, without a space between them."""
    word = characters[:1]
    for before, one in pairwise(characters):
        if one.face is not before.face or one.y != before.y or one.start != before.start + 1:
            yield word
            word = []
        word.append(one)
    if word:
        yield word


@cache
def _registered(face: Face) -> str:
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    name = Path(face.path).stem
    pdfmetrics.registerFont(TTFont(name, str(face.path)))
    return name
