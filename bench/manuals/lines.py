"""From the text layer's characters to lines of words, each with the boxes of its characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np
import numpy.typing as npt

from forge.tasks.pages.stream import Glyphs

F32 = npt.NDArray[np.float32]
LIGATURES = {code: unicodedata.normalize("NFKD", chr(code)) for code in range(0xFB00, 0xFB07)}  # ﬀ ﬁ ﬂ ﬃ ﬄ ﬅ ﬆ
SOFT_HYPHEN = "\N{SOFT HYPHEN}"
_AS_TALL_AS_X = frozenset("acemnorsuvwxz")
_WIDE = 3.5  # heights of an x: a wider gap is no space between words but one between columns


@dataclass(frozen=True, eq=False)
class Word:
    """Characters without a space between; `boxes_N4` are left, top, right, bottom in pixels of the page."""

    text: str
    boxes_N4: F32

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Around all of it."""
        return _around(self.boxes_N4)


@dataclass(frozen=True, eq=False)
class Line:
    """Words beside each other."""

    words: tuple[Word, ...]

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Around all of it."""
        return _around(np.array([word.box for word in self.words], np.float32))

    @property
    def text(self) -> str:
        """The words, one space between two."""
        return " ".join(word.text for word in self.words)

    @cached_property
    def base(self) -> float:
        """Where its base line is: most characters stand on it."""
        return median(float(box[3]) for word in self.words for box in word.boxes_N4)

    @cached_property
    def x_height(self) -> float:
        """How tall a small letter without ascender or descender is, in pixels; 0.0 where the line has none."""
        return x_height([self])


def lines_of(glyphs: Glyphs) -> list[Line]:
    """The lines of a page in the file's order. Characters without ink and control characters only part words."""
    words = list(_words(glyphs))
    height = x_height([Line(tuple(words))]) if words else 0.0
    lines: list[list[Word]] = []
    for word in words:
        if lines and _beside(lines[-1], word, height):
            lines[-1].append(word)
        else:
            lines.append([word])
    return [Line(tuple(line)) for line in lines]


def x_height(lines: Sequence[Line]) -> float:
    """The median over the small letters of all lines, 0.0 where there are none."""
    heights = [
        float(box[3] - box[1])
        for line in lines
        for word in line.words
        if len(word.text) == len(word.boxes_N4)
        for character, box in zip(word.text, word.boxes_N4, strict=True)
        if character in _AS_TALL_AS_X
    ]
    return median(heights) if heights else 0.0


def _words(glyphs: Glyphs) -> Iterator[Word]:
    text, boxes = "", list[F32]()
    for character, box in zip(glyphs.characters, glyphs.boxes_N4, strict=True):
        inked = box[2] > box[0] and box[3] > box[1]
        parts = character.isspace() or (not inked and not unicodedata.combining(character))
        # A hyphen at a line's end is followed at once by the next line's first character.
        if boxes and (parts or (inked and box[2] < boxes[-1][0])):
            yield _word(text, boxes)
            text, boxes = "", []
        if not parts:
            text += "-" if character == SOFT_HYPHEN else character.translate(LIGATURES)
            boxes += [box] if inked else []
    if boxes:
        yield _word(text, boxes)


def _word(text: str, boxes: list[F32]) -> Word:
    return Word(unicodedata.normalize("NFC", text), np.array(boxes, np.float32))


def _beside(line: list[Word], word: Word, height: float) -> bool:
    """Whether a word goes on a line: right of its last word, not far off, and not above or below."""
    left, top, _, bottom = word.box
    upper, lower = min(one.box[1] for one in line), max(one.box[3] for one in line)
    slack = 0.3 * height
    near = -slack <= left - line[-1].box[2] <= _WIDE * height
    return near and top < lower + slack and bottom > upper - slack


def _around(boxes_N4: F32) -> tuple[float, float, float, float]:
    low, high = boxes_N4.min(axis=0), boxes_N4.max(axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])
