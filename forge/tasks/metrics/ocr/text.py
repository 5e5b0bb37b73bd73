"""Characters and words that are wrong: CER, WER, edit similarity and NID of pages.

d(a, b) is the Levenshtein distance (insertions, deletions, substitutions; Levenshtein 1966), i(a, b) the indel distance
(insertions and deletions alone), |a| a length in characters. Texts lose the white space at both ends first.

    CER   Σ d(hypothesis, reference) / Σ |reference|, over pages        0 upwards, past 1 where too much was written
    WER   the same in words, which white space parts
    edit similarity   1 − d / max(|hypothesis|, |reference|)            0 to 1
    NID   1 − i / (|hypothesis| + |reference|), white space collapsed   0 to 1, and NID-S without tables

Pages without text have no rate of their own: their edits enter the sum, and where all references are empty the sum is
divided by 1, as jiwer does. Two empty texts are alike (similarity 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from typing import Any

from rapidfuzz.distance import Indel, Levenshtein

from forge.tasks.metrics.ocr.tables import find_tables, without

EXACT_PAIRS = 400_000_000
"""Pairs of characters up to which a distance is exact: 20 ms for 20,000 · 20,000, and 1.8 s for 200,000 · 200,000."""
PIECE_PAIRS = 100_000_000
ANCHORS = (24, 6)
TRIES = 30


@dataclass(frozen=True)
class Edits:
    """How many edits make one text of another of that length. Not exact: at least as many as are needed."""

    edits: int
    reference: int
    exact: bool = True

    @property
    def rate(self) -> float:
        """Edits a unit of the reference; of an empty one, the edits themselves."""
        return self.edits / max(self.reference, 1)


def char_edits(hypothesis: str, reference: str) -> Edits:
    """Levenshtein distance in characters."""
    return _edits(hypothesis.strip(), reference.strip())


def word_edits(hypothesis: str, reference: str) -> Edits:
    """Levenshtein distance in words."""
    return _edits(hypothesis.split(), reference.split())


def corpus_rate(pages: Iterable[Edits]) -> float:
    """Σ edits / Σ length: every character of a corpus weighs the same, on a long page or a short one."""
    edits, reference = 0, 0
    for page in pages:
        edits, reference = edits + page.edits, reference + page.reference
    return edits / max(reference, 1)


def cer(hypothesis: str, reference: str) -> float:
    """Character error rate of one page, 0 upwards."""
    return char_edits(hypothesis, reference).rate


def wer(hypothesis: str, reference: str) -> float:
    """Word error rate of one page, 0 upwards."""
    return word_edits(hypothesis, reference).rate


def edit_similarity(hypothesis: str, reference: str) -> float:
    """1 − d / max(|a|, |b|), 0 to 1."""
    a, b = hypothesis.strip(), reference.strip()
    return 1.0 - _edits(a, b).edits / max(len(a), len(b), 1)


def nid(hypothesis: str, reference: str) -> float:
    """Normalised indel similarity, 0 to 1: twice the longest common subsequence over both lengths."""
    a, b = " ".join(hypothesis.split()), " ".join(reference.split())
    return 1.0 - _bounded(a, b, Indel.distance)[0] / max(len(a) + len(b), 1)


def nid_s(hypothesis: str, reference: str) -> float:
    """NID of what is not in a table, 0 to 1."""
    return nid(without_tables(hypothesis), without_tables(reference))


def without_tables(text: str) -> str:
    """The text with a line break for each table."""
    return without(text, [table.span for table in find_tables(text)])


def _edits(hypothesis: Sequence[str], reference: Sequence[str]) -> Edits:
    edits, exact = _bounded(hypothesis, reference, Levenshtein.distance)
    return Edits(min(edits, max(len(hypothesis), len(reference))), len(reference), exact)


def _bounded(a: Sequence[str], b: Sequence[str], distance: Any) -> tuple[int, bool]:
    """The distance, and whether it is exact.

    Above EXACT_PAIRS both texts are cut into as many pieces, where possible at the same words, and the distances of the
    pieces are summed; if that is much, they are also cut in proportion, and the smaller sum is taken. Edits that mend
    every piece mend the whole, so it is never too small.
    """
    if len(a) * len(b) <= EXACT_PAIRS:
        return int(distance(a, b)), True
    codes = {unit: chr(code % 0x110000) for code, unit in enumerate(dict.fromkeys([*a, *b]))}
    left, right = ("".join(codes[unit] for unit in side) for side in (a, b))

    def summed(anchors: Sequence[int]) -> int:
        cuts = [(0, 0), *_cuts(left, right, anchors), (len(left), len(right))]
        return sum(int(distance(left[i:k], right[j:m])) for (i, j), (k, m) in pairwise(cuts))

    edits = summed(ANCHORS)
    return (edits if edits < max(len(a), len(b)) / 3 else min(edits, summed(()))), False


def _cuts(a: str, b: str, anchors: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where to cut both texts: at so many units that follow on each other in both, and in b only once.

    They are sought in a from the place of the cut on; if none is found, b is cut in proportion to what is left of both.
    """
    pieces, x, y = ceil(sqrt(len(a) * len(b) / PIECE_PAIRS)), 0, 0
    for piece in range(1, pieces):
        wanted = max(x, len(a) * piece // pieces)
        starts = [(at, size) for size in anchors for at in range(wanted, wanted + TRIES * size, size)]
        found = ((at, b.find(part, y)) for at, size in starts if b.count(part := a[at : at + size]) == 1)
        aside = wanted, y + (wanted - x) * (len(b) - y) // max(len(a) - x, 1)
        x, y = next((cut for cut in found if cut[1] >= 0), aside)
        yield x, y
