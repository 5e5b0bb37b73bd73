"""A page without any library's types: what travels through the pipe between two processes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

GLYPH = struct.Struct("<I4f")  # code point; left, top, right, bottom in pixels of the page's image
MAX_GLYPHS = 200_000


@dataclass(frozen=True)
class RawPage:
    """One page, drawn."""

    pixels: bytes | bytearray | memoryview  # height, width, RGB
    width: int  # pixels
    height: int
    width_pt: float  # as displayed, in points (1/72 inch)
    height_pt: float
    rotation: int  # degrees clockwise that the file asks for, already applied
    glyphs: bytes = b""  # records of GLYPH
