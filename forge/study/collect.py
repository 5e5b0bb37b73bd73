"""From a study's files to what its analysis reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forge.core.errors import UserError
from forge.study.course import Course
from forge.study.fidelity import agreement
from forge.study.plan import COMBINE
from forge.study.results import Declared, Result
from forge.study.store import Examples
from forge.tasks.base import HIGHER_IS_BETTER

BLEU_ORDER = [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]  # sacreBLEU has both lengths first, the analysis has them last


def collect(course: Course) -> tuple[Declared, list[Result]]:
    """What was declared, and the result of every cell and seed. Raises UserError where one is missing or damaged."""
    return declared(course), [_result(course, name) for name, standing in course.cells.items() if standing.done]


def declared(course: Course) -> Declared:
    """What the study's file said before the first run."""
    study, figure = course.plan.study, course.plan.study.outcome.figure
    return Declared(
        name=course.name,
        task=course.plan.sample.settings.task,
        factors={name: tuple(levels) for name, levels in study.factors.items()},
        outcome=figure,
        higher_is_better=HIGHER_IS_BETTER[figure],
        unit="points",
        seeds=tuple(course.seeds),
        smallest_effect=study.smallest_effect,
        combine=COMBINE.get(figure, "mean"),
        scale=course.plan.scale,
        answers=course.plan.answers_identity is not None,
    )


def _result(course: Course, name: str) -> Result:
    standing = course.cells[name]
    assert standing.record
    assert standing.job
    record, job = standing.record, standing.job
    examples = course.store.examples(name, record)
    if examples is None and record.get("examples"):
        raise UserError(
            f"{course.store.folder / 'results' / name}.npz  is damaged; delete it, and the study makes it again"
        )
    cell = dict(job.cell.levels)  # of a control too: the cell that it is compared with
    return Result(
        cell,
        job.cell.control,
        job.seed,
        course.value(standing),
        _measures(course, name, record),
        _ordered(course, examples),
    )


def _ordered(course: Course, examples: Examples | None) -> Examples | None:
    if examples is None or COMBINE.get(course.plan.study.outcome.figure) != "bleu":
        return examples
    return examples[:, BLEU_ORDER]


def _measures(course: Course, name: str, record: Mapping[str, Any]) -> dict[str, float]:
    """Other figures of the split that decides, and of the others under their names; what the run cost."""
    outcome = course.plan.study.outcome
    measures: dict[str, float] = {}
    for split, figures in record["test"].items():
        prefix = "" if split == outcome.split else f"{split}."
        measures |= {f"{prefix}{name}": float(value) for name, value in figures.items()}
    measures.pop(outcome.figure, None)
    measures |= _fidelity(course, name, record)
    return measures | {name: float(record[name]) for name in ("cpu_seconds", "wall_seconds", "steps")}


def _fidelity(course: Course, name: str, record: Mapping[str, Any]) -> dict[str, float]:
    """How often a cell's student answers as the teacher; empty where the answers of either were not kept."""
    answers_N1, identity = course.store.answers(name, record), course.plan.answers_identity
    teacher_N2 = course.store.teacher_answers(identity) if identity else None
    return {} if answers_N1 is None or teacher_N2 is None else agreement(answers_N1, teacher_N2)
