"""What a study could have seen, and how many seeds it needs: power of the two-sided t test from the noncentral t.

Its distribution is integrated over the spread: scipy's is no number where one degree of freedom meets a small α.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forge.study.statistics.testing import ALPHA, critical, spread

POWER = 0.8
MOST_SEEDS = 1_000


def power_of(shift: float, df: float, alpha: float = ALPHA) -> float:
    """Chance that |t| passes its critical value when the true mean is `shift` standard errors from 0."""
    from scipy.stats import norm

    deviations, shares = spread(df)
    edges = critical(alpha, df) * deviations
    return float((norm.cdf(shift - edges) + norm.cdf(-shift - edges)) @ shares)


def detectable_shift(df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true mean, in standard errors, that is found with chance `power`."""
    from scipy.optimize import brentq

    def missing(shift: float) -> float:
        return power_of(shift, df, alpha) - power

    upper = 4.0
    while missing(upper) < 0:
        upper *= 2
    return float(brentq(missing, 0.0, upper, xtol=1e-9))


@dataclass(frozen=True)
class Detectable:
    """The smallest effect that r seeds find with chance `POWER`, in the outcome's unit."""

    alone: float
    """If its p alone is looked at."""
    corrected: float
    """At Holm's first and hardest step, α divided by the number of tests."""
    tests: int


def detectable(deviation: float, seeds: int, tests: int) -> Detectable:
    """From the standard deviation of one seed's contrast."""
    error = deviation / np.sqrt(seeds)
    alone, corrected = (error * detectable_shift(seeds - 1, ALPHA / many) for many in (1, tests))
    return Detectable(float(alone), float(corrected), tests)


@dataclass(frozen=True)
class Plan:
    """How many seeds the smallest interesting effect needs, if σ is as large as it may well be."""

    deviation_limit: float
    """Upper 80 % limit of the standard deviation of one seed's contrast: it is below with a confidence of 80 %."""
    alone: int | None
    corrected: int | None
    """None: more than `MOST_SEEDS`."""


def plan_seeds(deviation: float, df: int, smallest_effect: float, tests: int) -> Plan:
    """The sequential rule: from a few seeds, how many in all. `deviation` was estimated with `df` degrees of freedom.

    The upper limit in place of the estimate, because a plan from a lucky small estimate is too small half of the time.
    """
    from scipy.stats import chi2

    limit = float(deviation * np.sqrt(df / chi2.ppf(1 - POWER, df)))
    alone, corrected = (_seeds_for(smallest_effect, limit, ALPHA / many) for many in (1, tests))
    return Plan(limit, alone, corrected)


def _seeds_for(effect: float, deviation: float, alpha: float) -> int | None:
    if deviation == 0:
        return 2
    low, high = 2, MOST_SEEDS
    if power_of(effect / deviation * np.sqrt(high), high - 1, alpha) < POWER:
        return None
    while low < high:  # power grows with the number of seeds
        middle = (low + high) // 2
        enough = power_of(effect / deviation * np.sqrt(middle), middle - 1, alpha) >= POWER
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
