"""The section on alignment: every stack of every model beside the reference's, and who is nearer to it.

Which layers are compared in the one number of a stack is fixed before anything is looked at: those of like depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from forge.workbench.cka import Heatmap
from forge.workbench.cka import nearer as nearer_of
from forge.workbench.features import FloatArray, Layers
from forge.workbench.findings import Alignment, Figure, Grid, Nearer, Null
from forge.workbench.plain import plain
from forge.workbench.similarity import similarity


@dataclass
class Alignments:
    """Alignments of one stack with one reference, and the draws that differences between them need."""

    stack: str
    reference: str
    taught: Layers
    seed: int = 0
    found: list[Alignment] = field(default_factory=list)
    _heatmaps: dict[str, Heatmap] = field(default_factory=dict)

    def add(self, other: str, own: Layers) -> Alignment:
        """Compare one more model, on the same rows. Raises UserError."""
        alike = similarity(self.taught, own, seed=self.seed)
        cka, null = alike.cka, alike.null
        matched = like_depth(len(self.taught), len(own))
        made = Alignment(
            stack=self.stack,
            reference=self.reference,
            other=other,
            reference_layers=cka.teacher,
            other_layers=cka.student,
            rows=cka.rows,
            cka_TS=grid(cka.values_TS),
            low_TS=grid(cka.low_TS),
            high_TS=grid(cka.high_TS),
            standardised_TS=grid(alike.standardised.values_TS),
            procrustes_TS=grid(alike.procrustes.values_TS),
            procrustes_floor_TS=grid(alike.procrustes.floor_TS),
            null=Null(
                null.rows,
                null.permutations,
                null.deviation,
                grid(null.p_TS),
                grid(null.upper_TS),
                number(null.upper_of_all),
            ),
            matched=matched,
            matched_mean=number(float(np.mean([cka.values_TS[pair] for pair in matched]))),
        )
        self.found.append(made)
        self._heatmaps[other] = cka
        return made

    def nearer(self, model: str, than: str) -> Nearer | None:
        """Whether the first is nearer to the reference than the second; None where their depths differ."""
        one, other = self._heatmaps[model], self._heatmaps[than]
        if len(one.student) != len(other.student):
            return None
        matched = like_depth(len(one.teacher), len(one.student))
        told = nearer_of(one, other, matched)
        return Nearer(
            self.stack,
            self.reference,
            model,
            than,
            grid(told.difference_TS),
            grid(told.low_TS),
            grid(told.high_TS),
            figure(told.mean, told.interval),
        )


def like_depth(reference: int, other: int) -> tuple[tuple[int, int], ...]:
    """Pairs (layer of the reference, layer of the other) at the same share of the depth, the embeddings left out."""
    if min(reference, other) < 2:
        return ((reference - 1, other - 1),)
    return tuple((round(layer * (reference - 1) / (other - 1)), layer) for layer in range(1, other))


def grid(values_TS: FloatArray | None) -> Grid:
    """Numbers as they are kept: what is not finite is null."""
    assert values_TS is not None
    rows: list[list[float | None]] = plain(np.asarray(values_TS, np.float64))
    return tuple(map(tuple, rows))


def number(value: float) -> float | None:
    """The number, or null where it is not finite."""
    return float(value) if np.isfinite(value) else None


def figure(value: float, interval: tuple[float, float] | None = None) -> Figure:
    """The same with its interval."""
    return Figure(number(value), None if interval is None else (number(interval[0]), number(interval[1])))


def excludes_zero(told: Figure) -> int:
    """1 where the whole interval is above 0, −1 where it is below, else 0."""
    low, high = told.interval or (None, None)
    if low is None or high is None:
        return 0
    return int(low > 0) - int(high < 0)
