"""How large a page becomes, decided before anything is drawn, and what reading one may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from forge.core.errors import UserError

MAX_EDGE = 32_767  # pixels; beyond it pdfium's and many image libraries' 16-bit coordinates end


class RefusedError(Exception):
    """A page or a whole file cannot be read; the message is one line and completes `page 3 …`."""


@dataclass(frozen=True)
class Scale:
    """The size of page images: `longest_edge` pixels exactly, or else `dpi` pixels an inch.

    Images are never enlarged, and `dpi` says nothing about them: they have their pixels already.
    """

    dpi: float = 100.0
    longest_edge: int | None = None
    max_pixels: int = 20_000_000  # an A4 page at 450 dpi

    def __post_init__(self) -> None:
        if not 1 <= self.dpi <= 10_000:
            raise UserError(f"dpi must lie between 1 and 10,000, not {self.dpi}")
        if self.longest_edge is not None and not 1 <= self.longest_edge <= MAX_EDGE:
            raise UserError(f"longest_edge must lie between 1 and {MAX_EDGE:,} pixels, not {self.longest_edge}")
        if self.max_pixels < 1:
            raise UserError(f"max_pixels must be at least 1, not {self.max_pixels}")

    def of_points(self, width: float, height: float) -> tuple[int, int]:
        """Pixels of a page of this size in points (1/72 inch). Raises RefusedError where that is too many."""
        longest = max(width, height)
        if not (math.isfinite(width) and math.isfinite(height) and min(width, height) > 0):
            raise RefusedError(f"has no area: {width:g} × {height:g} points")
        factor = self.longest_edge / longest if self.longest_edge else self.dpi / 72
        return self._capped(math.ceil(width * factor - 0.01), math.ceil(height * factor - 0.01))

    def of_image(self, width: int, height: int) -> tuple[int, int]:
        """Pixels of an image after shrinking. Raises RefusedError where it has too many before."""
        width, height = self._capped(width, height)
        longest = max(width, height)
        if self.longest_edge is None or longest <= self.longest_edge:
            return width, height
        factor = self.longest_edge / longest
        return max(round(width * factor), 1), max(round(height * factor), 1)

    def _capped(self, width: int, height: int) -> tuple[int, int]:
        width, height = max(width, 1), max(height, 1)
        if max(width, height) > MAX_EDGE:
            raise RefusedError(f"is too large: {width:,} × {height:,} pixels, an edge may have {MAX_EDGE:,}")
        if width * height > self.max_pixels:
            raise RefusedError(f"is too large: {width:,} × {height:,} pixels, max_pixels is {self.max_pixels:,}")
        return width, height


@dataclass(frozen=True)
class Limits:
    """What the process that reads a file may use, for a page and for opening the file."""

    memory_mib: int = 1_024  # of address space
    seconds: float = 15.0  # of wall clock while somebody waits for it, and of computing

    def __post_init__(self) -> None:
        if self.memory_mib < 256:
            raise UserError(f"memory_mib must be at least 256, which Python and pdfium need, not {self.memory_mib}")
        if not 0 < self.seconds <= 86_400:
            raise UserError(f"seconds must lie between 0 and 86,400, not {self.seconds}")


def one_line(text: object, longest: int = 200) -> str:
    """Foreign text as part of a message: printable, on one line, at most `longest` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
