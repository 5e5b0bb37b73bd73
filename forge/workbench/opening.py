"""From run directories to the models that are looked at: the run's own, its teacher, a baseline, and random weights.

Everything that a person can have got wrong is found here, before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from forge.config.schema import Settings
from forge.core.assets import Asset, Wanted, locate
from forge.core.errors import CheckpointError, UserError
from forge.core.manifest import verify
from forge.inference.saved import settings_of
from forge.inference.splits import own_splits
from forge.preflight import wanted_teacher
from forge.runs.run_dir import METADATA, RunDirectory, open_existing
from forge.tasks.sources import Table
from forge.workbench.asked import Asked
from forge.workbench.findings import Role, TaskName
from forge.workbench.views.base import Source

CHANGED = "what a model learned is looked at on the rows that it was measured on; put them back"
DIFFER = "models are compared on the same rows"


@dataclass(frozen=True)
class Opened:
    """What is looked at, and on which rows. The first source is the reference where there is one."""

    task: TaskName
    run: RunDirectory  # whose data it is
    split: str
    table: Table
    sources: Sequence[Source]
    reference: str | None
    pairs: Sequence[tuple[str, str]]  # (model, than) to be subtracted
    title: str
    notes: Sequence[tuple[str, str]] = ()


def open_runs(asked: Asked) -> Opened:
    """Raises UserError, a line."""
    runs = [open_existing(path) for path in asked.runs]
    _refuse_twice(runs)
    first, task = runs[0], task_name(runs[0])
    others = [*runs[1:], *([open_existing(asked.baseline)] if asked.baseline else [])]
    for other in others:
        if (its := task_name(other)) != task:
            raise UserError(f"{other.path}  is a run of {its}, {first.path} of {task}; {DIFFER}")
    students = [_student(run, place, len(runs)) for place, run in enumerate(runs)]
    baseline = [_source(others[-1], "baseline", "baseline")] if asked.baseline else []
    split, table = _split(first, asked.split)
    for other in others:
        _refuse_other_rows(first, other, split)
    teacher = _teacher(asked.teacher, first, students[0], task, table)
    drawn = replace(students[0], key="random_init", role="random_init", name="random weights", init="random")
    sources = [*teacher, *students, *baseline, drawn]
    reference = "teacher" if teacher else students[0].key if len(runs) > 1 else None
    ours = [student.key for student in students if student.key != reference]
    compared = [(one, other) for place, one in enumerate(ours) for other in ours[place + 1 :]]
    pairs = [*((key, "baseline") for key in ours if baseline), *compared, *((key, "random_init") for key in ours)]
    notes = [("models", f"{run.path} has not finished.") for run in (*runs, *others) if not run.completed]
    return Opened(task, first, split, table, _with_names(sources), reference, pairs, _title(runs), notes)


def _split(run: RunDirectory, named: str | None) -> tuple[str, Table]:
    """The split that the command line names; else the first that was held out. Raises UserError."""
    found = own_splits(run, named, CHANGED)
    if named and len(found) > 1:
        raise UserError(f"--split: {run.path} has {' and '.join(found)}; give the whole name")
    return next(iter(found.items()))


def task_name(run: RunDirectory) -> TaskName:
    """What it learned to do."""
    return settings_of(run).task


def checkpoint_of(run: RunDirectory) -> Path:
    """The folder of a run's result, whole. Raises UserError."""
    folder = run.checkpoint("best")
    if damage := verify(folder):
        raise UserError(f"{folder}  is damaged: {damage}; there is no model to look at")
    return folder


def _student(run: RunDirectory, place: int, count: int) -> Source:
    key = "student" if place == 0 else f"student_{place + 1}"
    return _source(run, key, "student", _short(run) if count > 1 else "the student")


def _source(run: RunDirectory, key: str, role: Role, name: str = "") -> Source:
    metadata = run.metadata()
    where, folder = str(run.path), checkpoint_of(run)
    return Source(key, role, name or f"the {role}", where, folder, settings_of(run), metadata, of_run=True)


def _teacher(named: str | None, run: RunDirectory, student: Source, task: str, table: Table) -> list[Source]:
    """The one that the command line names, or that the student learned from; none where there was none."""
    settings = student.settings
    if named is None and settings.alpha <= 0:
        return []
    key = "--teacher" if named else "teacher.name"
    if named is None and settings.teacher.init == "random":
        raise UserError(f"{run.path}  learned from random weights, which are on no disk; name a model with --teacher")
    wanted = Wanted("model", named, asked_by=key) if named else wanted_teacher(settings.teacher)
    asset = _located(wanted, settings, key, run)
    folder = Path(asset.location)
    owner = RunDirectory(folder.parent)
    if not (owner.path / METADATA).is_file():
        return [Source("teacher", "teacher", "the teacher", asset.asked, folder, settings, student.facts, of_run=False)]
    its = settings_of(owner)
    if its.task != task:
        raise UserError(f"{key}: {asset.asked} is a run of {its.task}, {run.path} of {task}")
    facts = owner.metadata()
    if facts["fingerprints"].get("train") == table.fingerprint:
        raise UserError(f"{key}: {asset.asked} was trained on {table.name}, so its answers there show nothing")
    return [Source("teacher", "teacher", "the teacher", asset.asked, folder, its, facts, of_run=True)]


def _located(wanted: Wanted, settings: Settings, key: str, run: RunDirectory) -> Asset:
    try:
        asset = locate(wanted, settings.assets, smoke=False)
    except CheckpointError as error:
        raise UserError(str(error)) from error
    except UserError as error:
        hint = "" if key == "--teacher" else f"; {run.path} learned from it, name where it is now with --teacher"
        raise UserError(f"{error}{hint}") from error
    if asset.source in {"embedded", "built"}:
        raise UserError(f"{key}: {asset.asked} has random weights; name a trained model with --teacher")
    return asset


def _refuse_twice(runs: Sequence[RunDirectory]) -> None:
    seen: dict[Path, RunDirectory] = {}
    for run in runs:
        if (place := run.path.resolve()) in seen:
            raise UserError(f"{run.path}  is named twice")
        seen[place] = run


def _refuse_other_rows(first: RunDirectory, other: RunDirectory, split: str) -> None:
    noted, its = first.metadata()["fingerprints"], other.metadata()["fingerprints"]
    if its.get(split) != noted.get(split):
        why = "holds other rows" if split in its else "is not"
        raise UserError(f"split {split} of {first.path} {why} in {other.path}: {DIFFER}")


def _short(run: RunDirectory) -> str:
    """The last word of the configuration's path, and the seed."""
    name = str(run.metadata().get("name", run.path.parent.name)).rpartition("/")[2]
    return f"{name} (seed {run.metadata()['config']['seed']})"


def _title(runs: Sequence[RunDirectory]) -> str:
    return " and ".join(_short(run) for run in runs)


def _with_names(sources: Sequence[Source]) -> list[Source]:
    """Names that are different."""
    counts: dict[str, int] = {}
    found = []
    for source in sources:
        counts[source.name] = counts.get(source.name, 0) + 1
        number = counts[source.name]
        found.append(source if number == 1 else replace(source, name=f"{source.name}, {number}"))
    return found
