"""One contrast a seed, a t test on them, and Holm's correction for the number of effects.

The contrast of one seed compares cells that shared initialisation and order of data, so what that seed did to all of
them cancels; the r contrasts are independent, so their own spread is the right error, also where an effect differs from
seed to seed. docs/decisions/026 has what pooled residuals do then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ALPHA = 0.05


@dataclass(frozen=True)
class TTests:
    """t tests of many contrasts; arrays have the shape of the contrasts without their last axis, the seeds."""

    estimate: FloatArray
    deviation: FloatArray
    """Standard deviation over seeds (r − 1)."""
    standard_error: FloatArray
    t: FloatArray
    p: FloatArray
    """Two-sided. 1 where all seeds are alike: a spread of 0 is the grid of a small test set, not certainty."""
    df: int

    def interval(self, alpha: float = ALPHA) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end, unadjusted."""
        reach = critical(alpha, self.df) * self.standard_error
        return self.estimate - reach, self.estimate + reach


def t_tests(contrasts_S: FloatArray) -> TTests:
    """Whether the mean over the last axis is 0; r ≥ 2 seeds, any leading axes."""
    from scipy.stats import t as student

    seeds = contrasts_S.shape[-1]
    estimate, deviation = contrasts_S.mean(-1), contrasts_S.std(-1, ddof=1)
    alike = deviation <= 1e-12 * np.maximum(1.0, np.abs(estimate))  # sums in another order differ in the last bits
    error = deviation / np.sqrt(seeds)
    t = np.divide(estimate, error, out=np.zeros_like(estimate), where=~alike)
    return TTests(estimate, deviation, error, t, np.asarray(2 * student.sf(np.abs(t), seeds - 1)), seeds - 1)


def critical(alpha: Any, df: float) -> Any:
    """Student's two-sided critical value."""
    from scipy.stats import t as student

    return student.isf(np.asarray(alpha) / 2, df)


@lru_cache(maxsize=64)
def spread(df: float, nodes: int = 256) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of Gauss's rule for a mean over s, s² ~ χ²(df) / df: an estimated over the true deviation."""
    from numpy.polynomial.legendre import leggauss
    from scipy.special import gammaincinv

    at, weight = leggauss(nodes)
    return np.sqrt(2 * gammaincinv(df / 2, (at + 1) / 2) / df), weight / 2


def holm_levels(p_E: FloatArray, alpha: float = ALPHA) -> FloatArray:
    """The level at which Holm's procedure judges each effect: found is whose p is not above it.

    α / m for the smallest p, α / (m − 1) for the next, and so on; from the first that fails, all have its level.
    """
    order = np.argsort(p_E, kind="stable")
    steps = alpha / np.arange(len(p_E), 0, -1)
    failed = np.flatnonzero(p_E[order] > steps)
    if len(failed):
        steps[failed[0] :] = steps[failed[0]]
    levels = np.empty(len(p_E))
    levels[order] = steps
    return levels
