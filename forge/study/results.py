"""What a study said before it ran, and what each run of it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Result:
    """One finished cell and seed."""

    cell: Mapping[str, str]
    """Factor → level ("off" or a loss's name). Of a control the cell it belongs to; {} means that of the response."""
    control: str | None
    """"random_teacher", "shuffled_logits" or None."""
    seed: int
    outcome: float
    """The primary outcome on the test split, in the unit of `Declared.unit`."""
    measures: Mapping[str, float]
    """Secondary figures: other metrics, fidelity, "cpu_seconds", "wall_seconds", "steps"."""
    examples: NDArray[np.floating[Any]] | None
    """(n, k) fp64 sums of each test example, in the split's order, from which the outcome is made again."""


@dataclass(frozen=True)
class Declared:
    """What was said before the first run, so that no choice below can follow the figures."""

    name: str
    task: str
    factors: Mapping[str, Sequence[str]]
    """Name → levels; the first is the low one ("off")."""
    outcome: str
    """Such as "accuracy"."""
    higher_is_better: bool
    unit: str
    """Such as "points"."""
    seeds: Sequence[int]
    smallest_effect: float
    """The smallest effect worth knowing of, in `unit`."""
    combine: str
    """How `examples` become the outcome: "mean" (one column), "ratio" (Σ column 0 / Σ column 1), "bleu" (ten columns:
    sacreBLEU's 4 counts of right n-grams, 4 totals, length, reference length)."""
    scale: float
    """outcome = scale × combine(examples)."""
    answers: bool = False
    """Whether a teacher gives answers that those of the cells can be compared with, label by label."""
