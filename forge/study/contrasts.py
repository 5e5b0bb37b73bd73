"""What a design can tell: each effect as weights over cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from forge.study.statistics.testing import FloatArray

Cell = tuple[str, ...]


@dataclass(frozen=True)
class Contrast:
    """An effect: the mean of some cells less the mean of others."""

    factors: tuple[str, ...]
    level: str | None
    """Of a factor with several: the level that is compared with the low one."""
    weights_C: FloatArray = field(compare=False)

    @property
    def name(self) -> str:
        """As a reader sees it."""
        return " × ".join(self.factors) + (f": {self.level}" if self.level else "")


def full_grid(factors: Mapping[str, Sequence[str]]) -> list[Cell]:
    """Every combination of levels, the last factor changing fastest."""
    return list(product(*factors.values()))


def three_factor_array(factors: Mapping[str, Sequence[str]]) -> list[Cell] | None:
    """L² cells of L³ in which every pair of levels of two factors occurs once: third = first XOR second.

    For three factors of 4 (8, 16, …) levels; with 2 it would be the half fraction, whose main effects are interactions.
    """
    sizes = {len(levels) for levels in factors.values()}
    size = max(sizes, default=0)
    if len(factors) != 3 or len(sizes) != 1 or size < 4 or size & (size - 1):
        return None
    first, second, third = factors.values()
    return [(first[i], second[j], third[i ^ j]) for i in range(size) for j in range(size)]


def is_orthogonal(cells: Sequence[Cell]) -> bool:
    """Whether all pairs of levels of each two factors occur equally often, so that no main effect leans on another."""
    if not cells:
        return False
    for columns in combinations(zip(*cells, strict=True), 2):
        pairs = list(zip(*columns, strict=True))
        counts = {pair: pairs.count(pair) for pair in product(*map(set, columns))}
        if len(set(counts.values())) != 1:
            return False
    return True


def contrasts(factors: Mapping[str, Sequence[str]], cells: Sequence[Cell]) -> list[Contrast]:
    """All 2^k − 1 effects of a full two-level design; of any other, each level against the low one of its factor.

    An interaction is halved as is usual: half of how much the effect of the one changes with the other.
    """
    if all(len(levels) == 2 for levels in factors.values()) and len(cells) == 2 ** len(factors):
        return _two_level(factors, cells)
    found = []
    for place, (factor, levels) in enumerate(factors.items()):
        for level in levels[1:]:
            high, low = (np.array([cell[place] == one for cell in cells], dtype=float) for one in (level, levels[0]))
            named = level if len(levels) > 2 else None
            found.append(Contrast((factor,), named, high / high.sum() - low / low.sum()))
    return found


def _two_level(factors: Mapping[str, Sequence[str]], cells: Sequence[Cell]) -> list[Contrast]:
    names, signs_FC = list(factors), signs(factors, cells)
    found = []
    for size in range(1, len(names) + 1):
        for places in combinations(range(len(names)), size):
            weights = signs_FC[list(places)].prod(0) / (len(cells) / 2)
            found.append(Contrast(tuple(names[place] for place in places), None, weights))
    return found


def signs(factors: Mapping[str, Sequence[str]], cells: Sequence[Cell]) -> FloatArray:
    """−1 for the low level, +1 for any other, (factors, cells)."""
    lows = [levels[0] for levels in factors.values()]
    return np.array(
        [[-1.0 if level == low else 1.0 for level, low in zip(cell, lows, strict=True)] for cell in cells]
    ).T
