"""Effects of a study with one seed: the many that are nothing measure the noise (Lenth 1989)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forge.study.statistics.testing import ALPHA, FloatArray, critical

FEWEST = 3


@dataclass(frozen=True)
class Lenth:
    """Sizes in the outcome's unit."""

    pseudo_error: float
    """PSE, a standard error made of the middle of all effects."""
    margin: float
    """ME: one effect alone passes it by chance one time in twenty."""
    simultaneous_margin: float
    """SME: the largest of all effects does."""
    df: float
    p: tuple[float, ...]
    """Two-sided of each effect, from t with m/3 degrees of freedom: a description."""


def lenth(effects_E: FloatArray) -> Lenth | None:
    """None for fewer than `FEWEST` effects, of which no middle can be told, and where most are 0."""
    from scipy.stats import t as student

    sizes, many = np.abs(effects_E), len(effects_E)
    if many < FEWEST:
        return None
    first = 1.5 * np.median(sizes)
    if first == 0:
        return None
    error, df = float(1.5 * np.median(sizes[sizes < 2.5 * first])), many / 3
    if error == 0:
        return None
    together = 1 - (1 - ALPHA) ** (1 / many)
    p = 2 * student.sf(sizes / error, df)
    margin, simultaneous = (float(critical(level, df) * error) for level in (ALPHA, together))
    return Lenth(error, margin, simultaneous, df, tuple(p.tolist()))
