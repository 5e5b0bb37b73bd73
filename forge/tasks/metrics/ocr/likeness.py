"""How alike two sequences of subtrees are, by the edit distance of the trees that they form, in bounded time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TypeVar

from forge.tasks.metrics.ocr.trees import Node, tree, tree_distance

EXACT_PAIRS = 2_500_000
"""Pairs of nodes up to which a distance is exact: two tables of 70 · 20 cells, 0.5 s on one core."""
PIECE_PAIRS = 40_000
Unit = TypeVar("Unit")


@dataclass(frozen=True)
class Likeness:
    """A similarity, 0 to 1. Not exact: at most as large as it truly is, because a text or a tree was too large."""

    value: float
    exact: bool = True


def likeness(
    a: Sequence[Unit],
    b: Sequence[Unit],
    build: Callable[[Sequence[Unit]], Node],
    with_text: bool = True,
    exact_pairs: int = EXACT_PAIRS,
) -> Likeness:
    """1 − d / max(|A|, |B|) of the trees A and B that `build` makes of the units, d their edit distance.

    Where A and B have more pairs of nodes than `exact_pairs`, both sequences are cut into as many pieces and the
    distances of the pieces are summed: edits that mend every piece mend the whole, so d is never too small.
    """
    whole = tree(build(a)), tree(build(b))
    pairs = len(whole[0]) * len(whole[1])
    if pairs <= exact_pairs:
        distance, exact = tree_distance(*whole, with_text)
    else:
        distance, exact, pieces = 0.0, False, ceil(sqrt(pairs / PIECE_PAIRS))
        for i in range(pieces):
            left, right = (side[len(side) * i // pieces : len(side) * (i + 1) // pieces] for side in (a, b))
            distance += tree_distance(tree(build(left)), tree(build(right)), with_text)[0]
    return Likeness(max(0.0, 1.0 - distance / max(len(whole[0]), len(whole[1]))), exact)
