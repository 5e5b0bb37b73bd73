"""The typefaces of embedded pages: families that matplotlib brings, so that they are the same on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFont

from forge.core.errors import UserError
from forge.tasks.embedded.page_words import CHARACTERS, Chance

BULLET = "•"
PHASES = 4  # glyphs begin at whole quarters of a pixel
_UNITS = 1_000  # of an em, for widths


@dataclass(frozen=True)
class Family:
    """Four files (regular, bold, italic, bold italic); `scale` makes its small letters as tall as the others'.

    `stretch` widens every glyph, `slant` moves its upper parts right, in parts of the height.
    """

    name: str
    files: tuple[str, str, str, str]
    scale: float = 1.0
    stretch: float = 1.0
    slant: float = 0.0


_DEJAVU = {
    name: Family(name, tuple(f"{file}{style}.ttf" for style in styles))  # type: ignore[arg-type]
    for name, file, styles in (
        ("DejaVu Sans", "DejaVuSans", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("DejaVu Sans Mono", "DejaVuSansMono", ("", "-Bold", "-Oblique", "-BoldOblique")),
        ("DejaVu Serif", "DejaVuSerif", ("", "-Bold", "-Italic", "-BoldItalic")),
    )
}
_STIX = Family("STIX", ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf"), 1.2)
TRAINED = (_DEJAVU["DejaVu Sans"], _DEJAVU["DejaVu Sans Mono"], _STIX)
HELD_OUT = (_DEJAVU["DejaVu Serif"],)  # no page that is trained on is set in these
_SHAPES = ((0.86, 0.0), (0.93, 0.1), (1.08, 0.0), (1.15, 0.1), (1.0, -0.08), (1.0, 0.16))  # stretch, slant
_UPRIGHT = tuple((stretch, 0.0) for stretch, slant in _SHAPES if slant == 0.0)  # what leans more looks emphasised
_FINE = 4  # times as large is a glyph drawn that is then bent


def varied(family: Family, draw: Chance, plain: bool) -> Family:
    """Now and then the family in another shape, and on a page without marks of emphasis in another style.

    There are few families to train on, and a model that knows many shapes of them knows others better.
    """
    if plain and draw.random() < 0.4:
        family = replace(family, files=(family.files[draw.whole(1, 3)],) * 4)
    if draw.random() < 0.5:
        stretch, slant = draw.one(_SHAPES if plain else _UPRIGHT)
        family = replace(family, stretch=stretch, slant=slant)
    return family


def face_file(family: Family, bold: bool, italic: bool) -> Path:
    """Where a face is. Raises UserError where matplotlib is not installed whole."""
    spec = find_spec("matplotlib")  # found, not imported: that takes as long as a hundred pages
    folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()
    path = folder / "mpl-data" / "fonts" / "ttf" / family.files[bold + 2 * italic]
    if not path.is_file():
        raise UserError(f"{path}  does not exist: the embedded pages are set in the fonts that matplotlib brings")
    return path


class Face:
    """One typeface: how wide its characters are, and what they look like at a size."""

    def __init__(self, path: Path, stretch: float = 1.0, slant: float = 0.0) -> None:
        self.path, self.stretch, self.slant = path, stretch, slant
        font = self._font(_UNITS)
        self.widths = {c: stretch * font.getlength(c) / _UNITS for c in f"{CHARACTERS}{BULLET}" if c != "\n"}  # in ems
        self._fonts: dict[int, ImageFont.FreeTypeFont] = {}
        self._glyphs: dict[tuple[str, int, int], Glyph] = {}

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        # The other layout engine is not everywhere, and would kern.
        return ImageFont.truetype(str(self.path), size, layout_engine=ImageFont.Layout.BASIC)

    def glyph(self, character: str, size: int, phase: int) -> Glyph:
        """The ink of a character of `size` pixels that begins `phase` quarters of a pixel right of a whole one."""
        key = (character, size, phase)
        if (found := self._glyphs.get(key)) is None:
            found = self._glyphs[key] = self._draw(character, size, phase / PHASES)
        return found

    def _draw(self, character: str, size: int, shift: float) -> Glyph:
        bent = self.stretch != 1.0 or self.slant != 0.0
        pixels = _FINE * size if bent else size
        if pixels not in self._fonts:
            self._fonts[pixels] = self._font(pixels)
        font = self._fonts[pixels]
        return _bent(font, character, shift, self.stretch, self.slant) if bent else _drawn(font, character, shift)


@dataclass(frozen=True, eq=False)
class Glyph:
    """Ink (0 to 255), cut tight, and where its upper left lies from the point on the base line where it begins."""

    ink_HW: npt.NDArray[np.uint8]
    left: int
    top: int


def _drawn(font: ImageFont.FreeTypeFont, character: str, shift: float) -> Glyph:
    mask, (left, top) = font.getmask2(character, "L", anchor="ls", start=(shift, 0.0))
    return _cut(np.asarray(mask, np.uint8).reshape(mask.size[1], mask.size[0]), left, top)


def _bent(font: ImageFont.FreeTypeFont, character: str, shift: float, stretch: float, slant: float) -> Glyph:
    """Drawn large, bent about the point where it begins on its base line, and shrunk."""
    mask, (left, top) = font.getmask2(character, "L", anchor="ls")
    width, height = mask.size
    if not width or not height:
        return _cut(np.zeros((0, 0), np.uint8), 0, 0)
    corners = [stretch * (x - slant * y) + _FINE * shift for x in (left, left + width) for y in (top, top + height)]
    x0, y0 = (math.floor(edge / _FINE) - 1 for edge in (min(corners), top))
    x1, y1 = (math.ceil(edge / _FINE) + 1 for edge in (max(corners), top + height))
    large = Image.frombytes("L", mask.size, bytes(mask))
    # Where a pixel of the result comes from: x = (X - shift) / stretch + slant · y, both counted from that point.
    from_x = (1 / stretch, slant, _FINE * (x0 - shift) / stretch + slant * _FINE * y0 - left)
    from_y = (0.0, 1.0, _FINE * y0 - top)
    size = (_FINE * (x1 - x0), _FINE * (y1 - y0))
    moved = large.transform(size, Image.Transform.AFFINE, (*from_x, *from_y), Image.Resampling.BILINEAR)
    return _cut(np.asarray(moved.reduce(_FINE), np.uint8), x0, y0)


def _cut(ink_HW: npt.NDArray[np.uint8], left: int, top: int) -> Glyph:
    """Cut tight; `left` and `top` are those of the array."""
    rows, columns = np.flatnonzero(ink_HW.any(axis=1)), np.flatnonzero(ink_HW.any(axis=0))
    if not len(rows):
        return Glyph(np.zeros((0, 0), np.uint8), 0, 0)
    tight = ink_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Glyph(np.ascontiguousarray(tight), left + int(columns[0]), top + int(rows[0]))


@cache
def face(family: Family, bold: bool = False, italic: bool = False) -> Face:
    """A face, opened once."""
    return Face(face_file(family, bold, italic), family.stretch, family.slant)
