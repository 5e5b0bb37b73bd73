"""One effect of a study: its size, and what is known of its error."""

from __future__ import annotations

from dataclasses import dataclass

from forge.study.contrasts import Contrast

Interval = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """What is known from two seeds on."""

    deviation: float
    """Of one seed's contrast."""
    standard_error: float
    df: int
    t: float
    p: float
    p_holm: float
    """Over all effects of all studies in the report."""
    interval: Interval
    """95 %, for other seeds on the same test examples, unadjusted."""
    interval_examples: Interval | None
    """95 %, for other seeds and other test examples."""
    pooled_error: float
    pooled_p: float
    """By the residuals of all runs: wrong where an effect differs from seed to seed, so never the verdict."""


@dataclass(frozen=True)
class Effect:
    """One effect, in the outcome's unit."""

    contrast: Contrast
    per_seed: tuple[float, ...]
    estimate: float
    gain: float
    """The estimate with the sign that means better."""
    spread: Spread | None
    """None with one seed."""
    needed: float | None
    """The size at which it would count as found: Holm's step for its own error, with one seed Lenth's SME."""
    found: bool
    negligible: bool
    """Its interval lies within ± the smallest interesting effect."""

    @property
    def name(self) -> str:
        """As a reader sees it."""
        return self.contrast.name
