"""How good a teacher is, remembered beside its cache, and whether it may teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.core.io import read_json, storage_errors, write_json
from forge.objectives.kd.cache import TeacherCache
from forge.tasks.encoding import encoded_mark
from forge.teaching.found import FoundTeacher


def remembered(cache: TeacherCache | None, found: FoundTeacher) -> dict[str, Any] | None:
    """What was measured of the teacher when its cache was filled; None where it must be measured."""
    if cache is None:
        return None
    try:
        known: dict[str, Any] = read_json(_record(cache, found))
        return known if {"figures", "examples", "best"} <= set(known) else None
    except (OSError, ValueError, TypeError):
        return None


def remember(cache: TeacherCache, found: FoundTeacher, figures: dict[str, Any]) -> None:
    """Keep what was measured of the teacher beside its cache."""
    if figures and remembered(cache, found) is None:
        path = _record(cache, found)
        with storage_errors(f"writing {path.name} of the teacher cache"):
            write_json(path, figures)


def _record(cache: TeacherCache, found: FoundTeacher) -> Path:
    return cache.folder / f"measured-{encoded_mark(found.validation)[:12]}.json"


def judge(measured: dict[str, Any], found: FoundTeacher) -> str:
    """Say how good the teacher is, and refuse one whose outputs are in another order than its labels say."""
    figures, examples, best = measured["figures"], measured["examples"], measured["best"]
    shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    line = f"teacher: {found.asset.describe()} on validation:  {shown}  ({examples} examples)"
    if found.untrained:
        return line
    accuracy, labels = figures["accuracy"], found.task.labels
    # Three standard errors more than a quarter: chance does not do that.
    if best["accuracy"] - accuracy > 0.25 + 1.5 / examples**0.5:
        names = [labels[place] for place in best["order"]]
        own = names if found.order is None else [names[found.order.index(output)] for output in range(len(names))]
        raise UserError(
            f"teacher.labels: the outputs of {found.name} are not in the order {', '.join(found.labels)}: accuracy "
            f"{accuracy:.3f}, but {best['accuracy']:.3f} as {', '.join(own)}; set teacher.labels: [{', '.join(own)}]"
        )
    least = found.settings.teacher.min_accuracy
    if least is not None and accuracy < least:
        raise UserError(f"teacher.min_accuracy: {found.name} reaches {accuracy:.4f} on validation, less than {least}")
    return line
