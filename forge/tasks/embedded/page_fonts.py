"""The typefaces of embedded pages: families that matplotlib brings, so that they are the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ImageFont

from forge.core.errors import UserError
from forge.tasks.embedded.page_words import CHARACTERS

BULLET = "•"
PHASES = 4  # glyphs begin at whole quarters of a pixel
_UNITS = 1_000  # of an em, for widths


@dataclass(frozen=True)
class Family:
    """Four files (regular, bold, italic, bold italic); `scale` makes its small letters as tall as the others'."""

    name: str
    files: tuple[str, str, str, str]
    scale: float = 1.0


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

    def __init__(self, path: Path) -> None:
        self.path = path
        font = self._font(_UNITS)
        self.widths = {c: font.getlength(c) / _UNITS for c in f"{CHARACTERS}{BULLET}" if c != "\n"}  # in ems
        self._fonts: dict[int, ImageFont.FreeTypeFont] = {}
        self._glyphs: dict[tuple[str, int, int], Glyph] = {}

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        # The other layout engine is not everywhere, and would kern.
        return ImageFont.truetype(str(self.path), size, layout_engine=ImageFont.Layout.BASIC)

    def glyph(self, character: str, size: int, phase: int) -> Glyph:
        """The ink of a character of `size` pixels that begins `phase` quarters of a pixel right of a whole one."""
        key = (character, size, phase)
        if (found := self._glyphs.get(key)) is None:
            if size not in self._fonts:
                self._fonts[size] = self._font(size)
            found = self._glyphs[key] = _drawn(self._fonts[size], character, phase / PHASES)
        return found


@dataclass(frozen=True, eq=False)
class Glyph:
    """Ink (0 to 255), cut tight, and where its upper left lies from the point on the base line where it begins."""

    ink_HW: npt.NDArray[np.uint8]
    left: int
    top: int


def _drawn(font: ImageFont.FreeTypeFont, character: str, shift: float) -> Glyph:
    mask, (left, top) = font.getmask2(character, "L", anchor="ls", start=(shift, 0.0))
    ink_HW = np.asarray(mask, np.uint8).reshape(mask.size[1], mask.size[0])
    rows, columns = np.flatnonzero(ink_HW.any(axis=1)), np.flatnonzero(ink_HW.any(axis=0))
    if not len(rows):
        return Glyph(np.zeros((0, 0), np.uint8), 0, 0)
    tight = ink_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Glyph(np.ascontiguousarray(tight), left + int(columns[0]), top + int(rows[0]))


@cache
def face(family: Family, bold: bool = False, italic: bool = False) -> Face:
    """A face, opened once."""
    return Face(face_file(family, bold, italic))
