"""What the two processes say to each other: fixed records and raw bytes, nothing that could run.

The parent asks by page number (REQUEST). Each answer is one HEADER, then `message` bytes of UTF-8, then the pixels
(height × width × 3 bytes), then `glyphs` records of `raw.GLYPH`. All lengths follow from the header, and the
parent believes none of them before `check` has.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from forge.tasks.pages.raw import MAX_GLYPHS, RawPage
from forge.tasks.pages.sizes import MAX_EDGE

MAGIC = b"page"
OPENED, PAGE, REFUSED = 0, 1, 2
REQUEST = struct.Struct("<I")
HEADER = struct.Struct("<4sBIIIHddIH")
MAX_MESSAGE = 1_024  # bytes
MAX_POINTS = 1e7


class Header(NamedTuple):
    """The fields of HEADER; `number` is the page's, or how many pages there are."""

    magic: bytes
    kind: int
    number: int
    width: int
    height: int
    rotation: int
    width_pt: float
    height_pt: float
    glyphs: int
    message: int


def opened(count: int) -> bytes:
    """The first answer of all."""
    return HEADER.pack(MAGIC, OPENED, count, 0, 0, 0, 0.0, 0.0, 0, 0)


def page_header(number: int, page: RawPage, glyphs: int) -> bytes:
    """What goes before a page's pixels."""
    sizes = (page.width, page.height, page.rotation, page.width_pt, page.height_pt)
    return HEADER.pack(MAGIC, PAGE, number, *sizes, glyphs, 0)


def refused(number: int, why: str) -> bytes:
    """A whole answer: `number` is 0 where the file itself is refused."""
    message = why.encode("utf-8", "replace")[:MAX_MESSAGE]
    return HEADER.pack(MAGIC, REFUSED, number, 0, 0, 0, 0.0, 0.0, 0, len(message)) + message


def check(data: bytes, asked: int, max_pixels: int) -> Header:
    """The header of an answer about page `asked` (0: about the file). Raises ValueError where it makes no sense."""
    header = Header(*HEADER.unpack(data))
    if header.magic != MAGIC or header.kind not in ((PAGE, REFUSED) if asked else (OPENED, REFUSED)):
        raise ValueError("not an answer")
    if header.kind != OPENED and header.number != asked:
        raise ValueError("an answer about another page")
    if header.message > (MAX_MESSAGE if header.kind == REFUSED else 0):
        raise ValueError("too long a message")
    if header.kind != PAGE:
        if header.width or header.height or header.glyphs:
            raise ValueError("pixels where none belong")
        return header
    if not (1 <= header.width <= MAX_EDGE and 1 <= header.height <= MAX_EDGE):
        raise ValueError("no such edge")
    if header.width * header.height > max_pixels or header.glyphs > MAX_GLYPHS:
        raise ValueError("too much")
    points = (header.width_pt, header.height_pt)
    if header.rotation not in (0, 90, 180, 270) or not all(math.isfinite(p) and 0 < p <= MAX_POINTS for p in points):
        raise ValueError("no such page")
    return header
