"""Reading order: whether the blocks of a page stand in the order of its reference.

Blocks are what empty lines part. Each block of the reference is paired with the block of the page that is most like it
(edit similarity of their first 200 characters, at least one half), best pairs first, each block once; of equal pairs,
those whose places differ least. Let p be the places of the n paired blocks in the order of the reference, and s the
same places sorted:

    order edit = Levenshtein(p, s) / n                 0 (in order) to 1

It says nothing of what is missing or misread; OmniDocBench reports it apart from its other figures likewise.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

LIKE = 0.5
LONGEST = 200
MOST_BLOCKS = 300
"""Blocks of each text that are looked at, from its start: 0.1 s."""


def blocks(text: str) -> list[str]:
    """What empty lines part, white space collapsed."""
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return [" ".join(group) for filled, group in groupby(lines, bool) if filled]


def paired_blocks(hypothesis: str, reference: str) -> list[int]:
    """For each block of the reference that has a counterpart, in order, the place of this in the page."""
    ours, theirs = ([block[:LONGEST] for block in blocks(text)[:MOST_BLOCKS]] for text in (hypothesis, reference))
    if not ours or not theirs:
        return []
    alike = cdist(theirs, ours, scorer=Levenshtein.normalized_similarity, dtype=np.float64, score_cutoff=LIKE)
    rows, columns = np.nonzero(alike >= LIKE)
    ranked = sorted(zip(-alike[rows, columns], abs(rows - columns), rows, columns, strict=True))
    place: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, row, column in ranked:
        if row not in place and column not in taken:
            place[int(row)] = int(column)
            taken.add(int(column))
    return [place[row] for row in sorted(place)]


def order_edit(hypothesis: str, reference: str) -> float | None:
    """Edit distance of the order of blocks, 0 to 1; None where fewer than two have a counterpart."""
    places = paired_blocks(hypothesis, reference)
    if len(places) < 2:
        return None
    return float(Levenshtein.distance(places, sorted(places)) / len(places))
