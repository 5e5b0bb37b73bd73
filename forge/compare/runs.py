"""Two runs of one task: what they are measured on, one after the other, and what is said of the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge.compare.base import DIFFER, Given, TaskComparison, Tested
from forge.compare.classification import ClassificationComparison
from forge.compare.ocr import OcrComparison
from forge.compare.translation import TranslationComparison
from forge.core.errors import UserError
from forge.inference.splits import own_splits, task_of
from forge.runs.run_dir import RunDirectory
from forge.runs.tables import comparison_table, page_lines, system_lines
from forge.tasks.metrics.significance import as_json
from forge.tasks.sources import Table

TASKS: dict[str, TaskComparison] = {
    "classification": ClassificationComparison(),
    "translation": TranslationComparison(),
    "ocr": OcrComparison(),
}


@dataclass(frozen=True)
class Compared:
    """What was compared, and the tests for each split."""

    runs: tuple[str, str]  # A and B: directory and checkpoint
    splits: Mapping[str, Tested]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        splits = {name: tested.as_json() for name, tested in self.splits.items()}
        return {"a": self.runs[0], "b": self.runs[1], "splits": splits}


def report(found: Compared) -> str:
    """A comparison for a terminal."""
    lines = [f"A = {found.runs[0]}", f"B = {found.runs[1]}"]
    for name, tested in found.splits.items():
        lines += ["", f"{name}  ({tested.examples:,} examples)"]
        for system, measured in tested.systems.items():
            told = system_lines if "signatures" in measured else page_lines
            lines += [f"{system.upper()}:", *told(measured)]
        lines.append(comparison_table(as_json(tested.comparisons)))
    return "\n".join(lines)


def compare_runs(ours: RunDirectory, theirs: RunDirectory, which: str, given: Given) -> Compared:
    """Measure both runs on `given.data`, or else on the splits of their own that `given.split` names, and test.

    Raises UserError where the examples differ: two figures on different examples tell nothing about two models.
    """
    runs = (ours, theirs)
    for run in runs:
        _check_finished(run)
    if task_of(ours) != task_of(theirs):
        kinds = " and ".join(f"{run.path} is a run of {task_of(run)}" for run in runs)
        raise UserError(f"{kinds}; only runs of one task are compared")
    task = TASKS[task_of(ours)]
    tables = task.tables(ours, given) if given.data else _shared_splits(ours, theirs, given.split)
    task.check(ours, theirs, tables, given)
    measured = [task.measure(run, which, tables, given) for run in runs]  # so that one model at a time is in memory
    (first, answers), (second, others) = measured
    tested = {name: task.test(name, answers[name], others[name]) for name in tables}
    return Compared((f"{ours.path}, {first}", f"{theirs.path}, {second}"), tested)


def _check_finished(run: RunDirectory) -> None:
    if not run.completed:
        status = run.known_state().get("status", "not begun")
        raise UserError(f"{run.path}  has not finished ({status}); only finished runs are compared")


def _shared_splits(ours: RunDirectory, theirs: RunDirectory, split: str | None) -> dict[str, Table]:
    """The splits of the first run, checked against what both runs noted of theirs."""
    chosen = own_splits(ours, split, DIFFER)
    noted, other = ours.metadata()["fingerprints"], theirs.metadata()["fingerprints"]
    for name in chosen:
        if other.get(name) != noted.get(name):
            why = "holds other rows" if name in other else "is not"
            raise UserError(f"split {name} of {ours.path} {why} in {theirs.path}: {DIFFER}")
    return chosen
