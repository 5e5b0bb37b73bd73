"""Where a text stands in another one with a few edits: Sellers' search, by Myers' bit vectors.

fuzzysearch finds the same places and takes seconds to minutes on one page where many edits are allowed; this takes a
few milliseconds, and at most about two microseconds a character whatever the texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Place:
    """text[start:end] is the pattern with `edits` edits."""

    start: int
    end: int
    edits: int


def places(pattern: str, text: str, most: int) -> list[Place]:
    """Where the pattern stands in the text with at most `most` edits, in order.

    Ends that touch are one place, of which the first and the last of the best fits are given. `most` must be smaller
    than the pattern: else every position fits.
    """
    if not 0 <= most < len(pattern):
        raise ValueError(most)
    if most == 0:
        return [Place(at, at + len(pattern), 0) for at in _found(pattern, text)]
    found: list[Place] = []
    for low, high in _windows(pattern, text, most):
        run: list[tuple[int, int]] = []
        for end, edits in _ends(pattern, text[low:high]):
            if edits <= most:
                run.append((low + end, edits))
            elif run:
                found += _best(pattern, text, run, most)
                run = []
        if run:
            found += _best(pattern, text, run, most)
    return found


def _found(part: str, text: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)


def _windows(pattern: str, text: str, most: int) -> list[tuple[int, int]]:
    """Stretches that can hold a match: with k edits, one of k + 1 pieces of the pattern is untouched (Baeza-Yates)."""
    cuts = [len(pattern) * i // (most + 1) for i in range(most + 2)]
    found: list[tuple[int, int]] = []
    for low, high in pairwise(cuts):
        for at in _found(pattern[low:high], text):
            found.append((max(0, at - low - most), min(len(text), at - low + len(pattern) + most + 1)))
            if len(found) > len(text):  # pieces so short that they are everywhere
                return [(0, len(text))]
    merged: list[tuple[int, int]] = []
    for low, high in sorted(found):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _ends(pattern: str, text: str, anchored: bool = False) -> Iterator[tuple[int, int]]:
    """For each prefix of the text, the edits from the pattern to its best suffix, or with `anchored` to all of it.

    Myers 1999 in the form of Hyyrö 2003: one column of the table of edits, as the bits where it goes up and down.
    """
    size = len(pattern)
    mask, top = (1 << size) - 1, 1 << (size - 1)
    holds: dict[str, int] = {}
    for i, sign in enumerate(pattern):
        holds[sign] = holds.get(sign, 0) | 1 << i
    up, down, edits, first = mask, 0, size, int(anchored)
    for end, sign in enumerate(text, start=1):
        equal = holds.get(sign, 0)
        vertical = equal | down
        across = (((equal & up) + up) ^ up) | equal
        right_up, right_down = down | (mask & ~(across | up)), up & across
        edits += bool(right_up & top) - bool(right_down & top)
        right_up, right_down = (right_up << 1 | first) & mask, (right_down << 1) & mask
        up, down = right_down | (mask & ~(vertical | right_up)), right_up & vertical
        yield end, edits


def _best(pattern: str, text: str, run: Sequence[tuple[int, int]], most: int) -> list[Place]:
    least = min(edits for _, edits in run)
    ends = [end for end, edits in run if edits == least]
    chosen = {ends[0], ends[-1]}
    return [Place(_start(pattern, text, end, least, most), end, least) for end in sorted(chosen)]


def _start(pattern: str, text: str, end: int, edits: int, most: int) -> int:
    """Of the matches that end there with that many edits, where the longest starts."""
    before = text[max(0, end - len(pattern) - most) : end][::-1]
    return end - max(length for length, found in _ends(pattern[::-1], before, anchored=True) if found == edits)
