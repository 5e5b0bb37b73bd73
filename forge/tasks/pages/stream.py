"""Pages of one file in order, at the memory of one page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forge.core.errors import UserError
from forge.tasks.pages.ranges import Spans, parse_pages, within
from forge.tasks.pages.raw import RawPage
from forge.tasks.pages.readers import Child, DiedError, Here, Reader, Settings
from forge.tasks.pages.sizes import Limits, RefusedError, Scale
from forge.tasks.pages.source import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

DEATHS_IN_A_ROW = 5  # after so many pages that each ended their reader, the others are not tried
REFUSED_IN_A_ROW = 1_000  # a file may promise a billion pages that it does not have
_GLYPH = np.dtype([("code", "<u4"), ("box", "<f4", (4,))])


@dataclass(frozen=True)
class Glyphs:
    r"""The text layer in the file's order: N characters, and their boxes in pixels of the page's image.

    A box is left, top, right, bottom, tight around the ink; it is empty (zeros) for a space or a line's end
    (`\r`, `\n`) that is not in the file but follows from the layout.
    """

    characters: str
    boxes_N4: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Page:
    """One page as it is displayed."""

    number: int  # counted from 1
    pixels: npt.NDArray[np.uint8]  # height, width, RGB
    size_pt: tuple[float, float]  # width and height in points (1/72 inch)
    rotation: int  # degrees clockwise (0, 90, 180, 270) that the file asks for, already applied
    glyphs: Glyphs | None = None  # with `text=True`

    def image(self) -> Image:
        """The pixels as Pillow has them."""
        from PIL import Image

        return Image.fromarray(self.pixels)


@dataclass(frozen=True)
class Refusal:
    """A page that cannot be had, or with number None the file or a part of it; the reason is one line."""

    number: int | None
    reason: str

    def __str__(self) -> str:
        return self.reason if self.number is None else f"page {self.number} {self.reason}"


def open_pages(
    path: str | Path,
    pages: str | None = None,
    password: str | None = None,
    *,
    scale: Scale | None = None,
    limits: Limits | None = None,
    text: bool = False,
    trusted: bool = False,
) -> Iterator[Page | Refusal]:
    """Stream the pages of a PDF, or of a PNG, JPEG, TIFF or WebP file, in ascending order, each once.

    `pages` is a list such as `1-5,8` or `3-`; None is all of them. Whatever is wrong with the file comes as a Refusal
    and never ends the program: a page that cannot be read, a missing or wrong password, pages that it does not have.
    Only arguments that no file could satisfy raise UserError, at once.

    The file is parsed in a process of its own, whose memory and time `limits` bounds. With `trusted` it is parsed here:
    for files that Forge has made itself, and from one thread at a time, because pdfium is not safe in two.
    `text` adds the text layer of a PDF.
    """
    settings = Settings(scale or Scale(), limits or Limits(), password, text)
    return _stream(Path(path), parse_pages(pages), settings, trusted)


def text_layer(
    path: str | Path, number: int = 1, password: str | None = None, *, trusted: bool = False
) -> tuple[Glyphs, tuple[float, float]]:
    """Characters of one page of a PDF with their boxes in points from the upper left, and the page's size in points.

    Raises UserError where there is none.
    """
    for page in open_pages(path, str(number), password, scale=Scale(dpi=72), text=True, trusted=trusted):
        if isinstance(page, Refusal):
            raise UserError(f"{path}  {page}")
        assert page.glyphs is not None
        return page.glyphs, page.size_pt
    raise UserError(f"{path}  has no page {number}")


def _stream(path: Path, spans: Spans | None, settings: Settings, trusted: bool) -> Iterator[Page | Refusal]:
    try:
        descriptor = open_regular(path)
    except RefusedError as error:
        yield Refusal(None, str(error))
        return
    reader: Reader | None = None
    try:
        reader = Here([descriptor], settings) if trusted else Child([descriptor], settings)
        count = reader.count()
        numbers, missing = within(spans, count)
        if missing:
            yield Refusal(None, f"has {count:,} page{'s' * (count != 1)}, but pages {missing} were asked for")
        yield from _each(reader, numbers, settings.text)
    except RefusedError as error:
        yield Refusal(None, str(error))
    finally:
        if reader is not None:
            reader.close()
        os.close(descriptor)


def _each(reader: Reader, numbers: Iterator[int], text: bool) -> Iterator[Page | Refusal]:
    number, deaths, refused = next(numbers, None), 0, 0
    while number is not None:
        following = next(numbers, None)
        try:
            raw = reader.read(number, following)
        except RefusedError as error:
            yield Refusal(number, str(error))
            deaths = deaths + 1 if isinstance(error, DiedError) else 0
            refused += 1
        else:
            yield to_page(number, raw, text)
            deaths = refused = 0
        if following is not None and (deaths == DEATHS_IN_A_ROW or refused == REFUSED_IN_A_ROW):
            yield Refusal(None, f"cannot be read from page {following} on: none of the {refused:,} pages before could")
            return
        number = following


def to_page(number: int, raw: RawPage, text: bool) -> Page:
    """What the other process sent, as the rest of Forge has it."""
    pixels = np.frombuffer(raw.pixels, np.uint8).reshape(raw.height, raw.width, 3)
    glyphs = None
    if text:
        records = np.frombuffer(raw.glyphs, _GLYPH)
        codes = records["code"]
        known = (codes > 0) & (codes < 0x110000) & ((codes < 0xD800) | (codes > 0xDFFF))
        characters = np.where(known, codes, 0xFFFD).astype("<u4").tobytes().decode("utf-32-le")
        glyphs = Glyphs(characters, np.nan_to_num(records["box"], posinf=0, neginf=0))
    return Page(number, pixels, (raw.width_pt, raw.height_pt), raw.rotation, glyphs)
