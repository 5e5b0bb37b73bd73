"""Who differs: students beside each other on the examples that all of them were shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from forge.reports.heat import Cell, heat
from forge.reports.page import heading, paragraph, table
from forge.reports.words import MINUS, decimal, listed, probability
from forge.tasks.metrics.multiple import holm
from forge.workbench.findings import Figure, Findings, Subject
from forge.workbench.page.models import both, percent, percents

FOUND = 0.05


@dataclass(frozen=True)
class Pair:
    """Accuracy of one model less another's on the same examples."""

    one: Subject
    other: Subject
    difference: Figure
    only_one_right: int
    p: float
    p_holm: float


def pairs(findings: Findings) -> list[Pair]:
    """All pairs of students, where the findings have every row; p corrected for all of them."""
    examples = findings.examples
    if not findings.rows.labels or len(examples) < findings.rows.used or len(_students(findings)) < 2:
        return []
    from forge.tasks.metrics.significance import compare_correct  # imports torch, which one look does without

    chosen = list(combinations(_students(findings), 2))
    right = {
        one.key: np.array([example.said[one.key] == example.gold for example in examples])
        for one in _students(findings)
    }
    tested = [compare_correct("accuracy", right[one.key], right[other.key]) for one, other in chosen]
    adjusted = holm([one.p for one in tested]).tolist() if tested else []
    return [
        Pair(one, other, Figure(told.delta, told.interval), told.trials, told.p, p_holm)
        for (one, other), told, p_holm in zip(chosen, tested, adjusted, strict=True)
    ]


def sentences(findings: Findings, found: Sequence[Pair]) -> list[str]:
    """Who differs, in a sentence; none where it is not known."""
    return [_sentence(findings, found)] if found else []


def _sentence(findings: Findings, found: Sequence[Pair]) -> str:
    clear = [pair for pair in found if pair.p_holm < FOUND]
    if not clear:
        names = listed([one.name for one in _students(findings)])
        return f"{names} cannot be told apart in accuracy on these examples."
    top = max(clear, key=lambda pair: abs(pair.difference.value or 0.0))
    assert top.difference.value is not None
    assert top.difference.interval
    sign = 1 if top.difference.value > 0 else -1
    better, worse = (top.one, top.other)[::sign]
    more = f"; {len(clear)} of {len(found)} pairs can be told apart" if len(found) > 1 else ""
    low, high = sorted(sign * (end or 0.0) for end in top.difference.interval)
    told = Figure(sign * top.difference.value, (low, high))
    return (
        f"{better.name} is right more often than {worse.name}: {percent(told, True)} points (95 %: "
        f"{percents(told, True)}){more}."
    )


def section(findings: Findings, found: Sequence[Pair]) -> list[str]:
    """How often each two say the same, and whose accuracies differ."""
    students = _students(findings)
    if not findings.examples or len(students) < 2:
        return []
    complete = len(findings.examples) >= findings.rows.used
    note = f"How often each two say the same, on {len(findings.examples):,} examples, in percent."
    if not complete:
        note += (
            " Only those that the looks have in common, the ones furthest apart first: read the order, not the size."
        )
    names, told = [one.name for one in students], "How often each two say the same"
    cells = [[_same(findings, one, other) for other in students] for one in students]
    shown = [
        heading("Who differs", 2),
        paragraph(note, "note"),
        heat("", names, names, cells, told),
    ]
    if found:
        header = ["", "difference of accuracy, points", "only one right", "p", "p (Holm)"]
        rows = [
            [f"{pair.one.name} {MINUS} {pair.other.name}", both(pair.difference, True), pair.only_one_right,
             probability(pair.p), probability(pair.p_holm)]
            for pair in found
        ]  # fmt: skip
        shown.append(table(header, rows, [pair.p_holm < FOUND for pair in found]))
    return shown


def _same(findings: Findings, one: Subject, other: Subject) -> Cell:
    share = float(np.mean([example.said[one.key] == example.said[other.key] for example in findings.examples]))
    return Cell(percent(share), share, f"{one.name}, {other.name}: {decimal(100 * share, 1)} % the same")


def _students(findings: Findings) -> list[Subject]:
    return [one for one in findings.subjects if one.role == "student"]
