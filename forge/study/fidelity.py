"""How often students answer as their teacher does, beside how well they do: a description, never what decides.

The two may part: students often fall short of their teacher's answers though they could give them, and one that comes
nearer to these need not become better (Stanton et al. 2021, arXiv 2106.05945).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forge.study.effects import Interval
from forge.study.grid import Grid
from forge.study.statistics.testing import FloatArray, t_tests
from forge.study.store import Examples

AGREEMENT, AGREEMENT_WRONG = "agreement", "agreement_where_teacher_is_wrong"
MEASURES = (AGREEMENT, AGREEMENT_WRONG)


@dataclass(frozen=True)
class Fidelity:
    """One cell or control, over the seeds in which all are known; shares from 0 to 1."""

    name: str
    agreement: float
    interval: Interval | None
    """95 %, for other seeds; None with one seed."""
    gain: float | None
    """Over the cell without anything; None of that cell, and where there is none."""
    gain_interval: Interval | None
    where_wrong: float | None
    """Of examples that the teacher gets wrong: how often the student gives the same wrong answer."""


def agreement(answers_N1: Examples, teacher_N2: Examples) -> dict[str, float]:
    """The share of equal answers, over all examples and over those that the teacher gets wrong.

    `teacher_N2` has the teacher's label and the true one. Empty where the two were not asked the same.
    """
    if len(answers_N1) != len(teacher_N2) or not len(teacher_N2):
        return {}
    equal_N = answers_N1[:, 0] == teacher_N2[:, 0]
    wrong_N = teacher_N2[:, 0] != teacher_N2[:, 1]
    found = {AGREEMENT: float(equal_N.mean())}
    return found | ({AGREEMENT_WRONG: float(equal_N[wrong_N].mean())} if wrong_N.any() else {})


def known_seeds(grid: Grid) -> list[int]:
    """Places of the seeds in which every cell is known to agree with its teacher so and so often."""
    known_CS = np.isfinite(grid.partly[AGREEMENT]) if AGREEMENT in grid.partly else np.zeros((1, 0), bool)
    return np.flatnonzero(known_CS.all(0)).tolist()


def fidelity(grid: Grid) -> tuple[Fidelity, ...]:
    """Each cell in the order of the design, then controls; empty where no seed has it in all cells."""
    seeds = known_seeds(grid)
    if not seeds:
        return ()
    base_S = grid.partly[AGREEMENT][grid.baseline, seeds] if grid.baseline is not None else None
    rows = []
    for at, cell in enumerate(grid.cells):
        found = {name: values_CS[at, seeds] for name, values_CS in grid.partly.items()}
        rows.append(_one(grid.label(cell), found, None if at == grid.baseline else base_S))
    for name, partly in grid.control_partly.items():
        found = {measure: values_S[seeds] for measure, values_S in partly.items()}
        if AGREEMENT in found and np.isfinite(found[AGREEMENT]).all():
            rows.append(_one(name.replace("_", " "), found, base_S))
    return tuple(rows)


def _one(name: str, found: Mapping[str, FloatArray], base_S: FloatArray | None) -> Fidelity:
    agreement_S = found[AGREEMENT]
    wrong_S = found.get(AGREEMENT_WRONG)
    known = wrong_S is not None and bool(np.isfinite(wrong_S).all())
    return Fidelity(
        name,
        float(agreement_S.mean()),
        _interval(agreement_S),
        None if base_S is None else float((agreement_S - base_S).mean()),
        None if base_S is None else _interval(agreement_S - base_S),
        float(wrong_S.mean()) if known and wrong_S is not None else None,
    )


def _interval(values_S: FloatArray) -> Interval | None:
    if len(values_S) < 2:
        return None
    low, high = t_tests(values_S[None]).interval()
    return float(low[0]), float(high[0])


def leader(found: Sequence[Fidelity]) -> Fidelity:
    """Who agrees most."""
    return max(found, key=lambda one: one.agreement)
