"""Single cells: how each did, against the one without anything, against controls, and which may be the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forge.study.contrasts import Cell
from forge.study.grid import Grid
from forge.study.statistics.anova import residual_deviation
from forge.study.statistics.comparisons import dunnett_p, perhaps_best
from forge.study.statistics.ranks import mean_ranks
from forge.study.statistics.testing import FloatArray, t_tests
from forge.tasks.metrics.multiple import holm

CONTROLS = ("random_teacher", "shuffled_logits")


@dataclass(frozen=True)
class Comparison:
    """One thing less another, seed by seed, in the outcome's unit; secondary to the effects."""

    name: str
    other: str
    difference: float
    interval: tuple[float, float] | None
    """95 %, unadjusted; None with one seed."""
    p: float | None
    p_holm: float | None
    """Over the comparisons of one kind: all cells with the baseline, or all of controls."""


@dataclass(frozen=True)
class CellFigures:
    """One cell over its seeds."""

    cell: Cell
    name: str
    outcomes: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    """95 % for other seeds; cells share seeds, so overlapping intervals do not mean that cells are alike."""
    rank: float
    """Mean rank over seeds, 1 is best: a description."""
    against_baseline: Comparison | None
    p_dunnett: float | None
    """Of the same comparison by Dunnett's test with a pooled error."""
    perhaps_best: bool
    measures: Mapping[str, float]


def cell_figures(grid: Grid) -> tuple[CellFigures, ...]:
    """Each cell, in the order of the design."""
    outcome_CS, declared = grid.outcome_CS, grid.declared
    replicated = outcome_CS.shape[1] > 1
    ranks = mean_ranks(outcome_CS, declared.higher_is_better)
    best = perhaps_best(outcome_CS, declared.higher_is_better) if replicated else list(range(len(outcome_CS)))
    against, dunnett = _against_baseline(grid), _dunnett(grid)
    ends = t_tests(outcome_CS).interval() if replicated else None
    return tuple(
        CellFigures(
            cell,
            grid.label(cell),
            tuple(outcome_CS[at].tolist()),
            float(outcome_CS[at].mean()),
            (float(ends[0][at]), float(ends[1][at])) if ends else None,
            float(ranks[at]),
            against.get(at),
            dunnett.get(at),
            at in best,
            {name: float(values_CS[at].mean()) for name, values_CS in grid.measures.items()},
        )
        for at, cell in enumerate(grid.cells)
    )


def _against_baseline(grid: Grid) -> dict[int, Comparison]:
    if grid.baseline is None:
        return {}
    names = [grid.label(cell) for cell in grid.cells]
    others = [at for at in range(len(names)) if at != grid.baseline]
    pairs = [(names[at], grid.outcome_CS[at], names[grid.baseline], grid.outcome_CS[grid.baseline]) for at in others]
    return dict(zip(others, _compare(pairs), strict=True))


def _dunnett(grid: Grid) -> dict[int, float]:
    seeds = grid.outcome_CS.shape[1]
    if grid.baseline is None or seeds < 2:
        return {}
    sigma, df = residual_deviation(grid.outcome_CS)
    if sigma == 0:
        return {}
    means_C = grid.outcome_CS.mean(1)
    others = [at for at in range(len(means_C)) if at != grid.baseline]
    t_M = (means_C[others] - means_C[grid.baseline]) / (sigma * np.sqrt(2 / seeds))
    return dict(zip(others, dunnett_p(t_M, len(others), df).tolist(), strict=True))


def control_comparisons(grid: Grid) -> tuple[Comparison, ...]:
    """What a control gives over the baseline, and what its counterpart gives over the control."""
    pairs = []
    for name in sorted(grid.controls, key=lambda name: (*(name != known for known in CONTROLS), name)):
        told = name.replace("_", " ")
        if grid.baseline is not None:
            baseline = (grid.label(grid.cells[grid.baseline]), grid.outcome_CS[grid.baseline])
            pairs.append((told, grid.controls[name], *baseline))
        answer = grid.counterparts[name]
        if answer is not None:
            pairs.append((grid.label(grid.cells[answer]), grid.outcome_CS[answer], told, grid.controls[name]))
    return tuple(_compare(pairs))


def _compare(pairs: Sequence[tuple[str, FloatArray, str, FloatArray]]) -> list[Comparison]:
    if not pairs:
        return []
    differences_PS = np.array([mine - theirs for _, mine, _, theirs in pairs])
    names = [(mine, theirs) for mine, _, theirs, _ in pairs]
    means = differences_PS.mean(1).tolist()
    if differences_PS.shape[1] < 2:
        return [Comparison(*name, mean, None, None, None) for name, mean in zip(names, means, strict=True)]
    tests = t_tests(differences_PS)
    ends, p_holm = list(zip(*(end.tolist() for end in tests.interval()), strict=True)), holm(tests.p).tolist()
    columns = zip(names, means, ends, tests.p.tolist(), p_holm, strict=True)
    return [Comparison(*name, mean, interval, p, adjusted) for name, mean, interval, p, adjusted in columns]
