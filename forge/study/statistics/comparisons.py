"""Cells against each other, seed by seed: against a baseline, and which may be the best."""

from __future__ import annotations

import numpy as np

from forge.study.statistics.testing import ALPHA, FloatArray, spread, t_tests


def dunnett_p(t_M: FloatArray, comparisons: int, df: int) -> FloatArray:
    """Two-sided p of |t| among several comparisons with one baseline and a pooled error (Dunnett 1955).

    1 − E[(Φ(z + √2 t s) − Φ(z − √2 t s))^M] over z normal, the baseline's luck, and s² ~ χ²/df, by Gauss's rules.
    """
    from numpy.polynomial.hermite_e import hermegauss
    from scipy.stats import norm

    z, weight_z = hermegauss(96)
    s, weight_s = spread(df)
    reach = np.sqrt(2) * np.abs(t_M)[:, None, None] * s[None, :, None]
    inside = (norm.cdf(z + reach) - norm.cdf(z - reach)) ** comparisons
    return np.asarray(np.clip(1 - inside @ (weight_z / weight_z.sum()) @ weight_s, 0.0, 1.0))


def perhaps_best(outcome_CS: FloatArray, higher_is_better: bool, alpha: float = ALPHA) -> list[int]:
    """Cells of which none of the others is shown to be better, from S ≥ 2 seeds.

    A cell leaves where some other cell is better than it, seed by seed, with a two-sided p below α / (C − 1). The
    truly best cell leaves with a chance of α / 2 at most (a false step against it has C − 1 occasions), whichever cell
    looks best.
    """
    signed = outcome_CS if higher_is_better else -outcome_CS
    tests = t_tests(signed[None, :, :] - signed[:, None, :])  # [i, j]: how much better j is than i
    beaten = (tests.t > 0) & (tests.p < alpha / (len(signed) - 1))
    return [cell for cell in range(len(signed)) if not beaten[cell].any()]
