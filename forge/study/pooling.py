"""Effects over several tasks: standardised, each task with equal weight, tasks fixed and not a sample of all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forge.study.effects import Effect
from forge.study.grid import Grid
from forge.study.statistics.anova import residual_deviation
from forge.study.statistics.testing import ALPHA, critical
from forge.tasks.metrics.multiple import holm


@dataclass(frozen=True)
class TaskEffect:
    """An effect of one study in units of that study's σ; positive is better."""

    study: str
    gain: float
    standard_error: float
    df: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, unadjusted; σ is taken as known."""
        reach = float(critical(ALPHA, self.df) * self.standard_error)
        return self.gain - reach, self.gain + reach


@dataclass(frozen=True)
class PooledEffect:
    """The mean of one effect over tasks."""

    name: str
    tasks: tuple[TaskEffect, ...]
    gain: float
    standard_error: float
    df: float
    """Welch and Satterthwaite: seeds of different tasks have nothing in common but their numbers."""
    t: float
    p: float
    p_holm: float
    """Over the pooled effects."""
    interval: tuple[float, float]

    @property
    def found(self) -> bool:
        """Whether chance is an unlikely cause."""
        return self.p_holm <= ALPHA


def pool(studies: Sequence[tuple[Grid, Sequence[Effect]]]) -> tuple[PooledEffect, ...]:
    """Empty unless there are two or more studies of the same effects, each with two seeds and some noise."""
    names = [[effect.name for effect in effects] for _, effects in studies]
    replicated = all(grid.outcome_CS.shape[1] > 1 for grid, _ in studies)
    if len(studies) < 2 or not replicated or any(one != names[0] for one in names):
        return ()
    sigmas = [residual_deviation(grid.outcome_CS)[0] for grid, _ in studies]
    if not all(sigmas):
        return ()
    rows = [
        [_standardised(grid, one, sigma) for one in effects]
        for (grid, effects), sigma in zip(studies, sigmas, strict=True)
    ]
    columns = [tuple(column) for column in zip(*rows, strict=True)]
    found = [_mean(column) for column in columns]
    adjusted = holm(np.array([p for _, _, _, _, p in found]))
    pooled = []
    for name, column, (gain, error, df, t, p), p_holm in zip(names[0], columns, found, adjusted, strict=True):
        reach = float(critical(ALPHA, df) * error)
        pooled.append(PooledEffect(name, column, gain, error, df, t, p, float(p_holm), (gain - reach, gain + reach)))
    return tuple(pooled)


def _standardised(grid: Grid, effect: Effect, sigma: float) -> TaskEffect:
    assert effect.spread is not None
    study = f"{grid.declared.name}, {grid.declared.task}"
    return TaskEffect(study, effect.gain / sigma, effect.spread.standard_error / sigma, effect.spread.df)


def _mean(tasks: Sequence[TaskEffect]) -> tuple[float, float, float, float, float]:
    """Mean, its error, degrees of freedom, t and p."""
    from scipy.stats import t as student

    many = len(tasks)
    gain = sum(task.gain for task in tasks) / many
    parts = [(task.standard_error / many) ** 2 for task in tasks]
    total = sum(parts)
    if total == 0:
        return gain, 0.0, 1.0, 0.0, 1.0
    df = total**2 / sum(part**2 / task.df for part, task in zip(parts, tasks, strict=True))
    t = gain / total**0.5
    return gain, total**0.5, df, t, float(2 * student.sf(abs(t), df))
