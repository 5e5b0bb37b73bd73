"""Analysis of variance of balanced outcomes with ±1 coding, as a check beside the contrasts; never the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forge.study.statistics.testing import FloatArray


@dataclass(frozen=True)
class Source:
    """One line of the table."""

    squares: float
    df: int
    f: float | None = None
    p: float | None = None


def anova(outcome_CS: FloatArray, codes: Mapping[str, FloatArray], blocks: bool = True) -> dict[str, Source]:
    """Sums of squares of each effect, of the seeds as blocks, of what is left, and of all.

    `codes` holds for each effect its columns (C, columns), orthogonal between effects and to 1, as in a factorial
    design or an orthogonal array: then no effect's sum depends on another's, and types I, II and III agree.
    """
    from scipy.stats import f as fisher

    cells, seeds = outcome_CS.shape
    centred = outcome_CS - outcome_CS.mean()
    found = {name: _explained(centred.mean(1), code, seeds) for name, code in codes.items()}
    total = Source(float((centred**2).sum()), centred.size - 1)
    if blocks:
        found["seed"] = Source(float(cells * (centred.mean(0) ** 2).sum()), seeds - 1)
    df = total.df - sum(source.df for source in found.values())
    squares = max(0.0, total.squares - sum(source.squares for source in found.values()))
    tested = {}
    for name, source in found.items():
        f = source.squares / source.df / (squares / df) if df > 0 and squares > 0 and source.df else None
        p = None if f is None else float(fisher.sf(f, source.df, df))
        tested[name] = Source(source.squares, source.df, f, p)
    return tested | {"residual": Source(squares, df), "total": total}


def residual_deviation(outcome_CS: FloatArray) -> tuple[float, int]:
    """σ of one run after cell and seed, and its degrees of freedom (C − 1)(r − 1)."""
    left = outcome_CS - outcome_CS.mean(0) - outcome_CS.mean(1, keepdims=True) + outcome_CS.mean()
    df = (outcome_CS.shape[0] - 1) * (outcome_CS.shape[1] - 1)
    return float(np.sqrt((left**2).sum() / df)), df


def _explained(mean_C: FloatArray, code_CK: FloatArray, seeds: int) -> Source:
    """Regression on centred columns, which span the effect's levels."""
    columns = code_CK - code_CK.mean(0)
    fitted = columns @ np.linalg.lstsq(columns, mean_C, rcond=None)[0]
    return Source(float(seeds * (fitted**2).sum()), int(np.linalg.matrix_rank(columns)))
