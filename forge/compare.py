"""Two finished runs on the same examples: is one better, or is it the choice of the examples?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from forge.config.schema import Data
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.inference.classification import LoadedRun, given_table, load_run
from forge.runs.run_dir import RunDirectory
from forge.runs.tables import comparison_table
from forge.tasks.metrics.classification import softmax
from forge.tasks.metrics.significance import Comparison, as_json, compare_correct, compare_values
from forge.tasks.sources import Table
from forge.tasks.splits import read_splits
from forge.train.evaluate import infer

DIFFER = "the two cannot be compared; --data FILE measures both on the same examples"


@dataclass(frozen=True)
class Compared:
    """What was compared, and the tests for each split."""

    runs: tuple[str, str]  # A and B: directory and checkpoint
    splits: Mapping[str, tuple[int, Sequence[Comparison]]]  # name → examples, tests

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        splits = {name: {"examples": n, "comparisons": as_json(tests)} for name, (n, tests) in self.splits.items()}
        return {"a": self.runs[0], "b": self.runs[1], "splits": splits}


@dataclass(frozen=True)
class _Answers:
    """A classifier on N examples of one split."""

    gold: list[str]  # N label names
    correct_N: np.ndarray[Any, np.dtype[np.bool_]]
    loss_N: np.ndarray[Any, np.dtype[np.float64]]  # nats


def report(found: Compared) -> str:
    """A comparison for a terminal."""
    lines = [f"A = {found.runs[0]}", f"B = {found.runs[1]}"]
    for name, (examples, tests) in found.splits.items():
        lines += ["", f"{name}  ({examples:,} examples)", comparison_table(as_json(tests))]
    return "\n".join(lines)


def compare_runs(
    ours: RunDirectory,
    theirs: RunDirectory,
    which: str,
    data: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Compared:
    """Measure both runs on `data`, or else on the splits of their own that `split` names, and test the difference.

    Raises UserError where the examples differ: two figures on different examples tell nothing about two models.
    """
    for run in (ours, theirs):
        _check_finished(run)
    tables = {data: given_table(data, subset, split)} if data else _shared_splits(ours, theirs, split)
    found, names = [], []
    for run in (ours, theirs):  # one after the other, so that one model at a time is in memory
        loaded = load_run(run, which)
        limit = None if data else run.metadata()["config"]["evaluate"]["max_examples"]
        found.append({name: _measure(loaded, table, columns or {}, limit) for name, table in tables.items()})
        names.append(f"{run.path}, {loaded.checkpoint}")
    tested = {name: _test(name, found[0][name], found[1][name]) for name in tables}
    return Compared((names[0], names[1]), tested)


def _check_finished(run: RunDirectory) -> None:
    task = run.metadata()["config"].get("task", "classification")
    if task != "classification":
        raise UserError(f"{run.path}  is a run of {task}; compare its outputs with --hypotheses and --against FILE")
    if not run.completed:
        status = run.known_state().get("status", "not begun")
        raise UserError(f"{run.path}  has not finished ({status}); only finished runs are compared")


def _shared_splits(ours: RunDirectory, theirs: RunDirectory, split: str | None) -> dict[str, Table]:
    """The splits of the first run, read again and checked against what both runs noted of theirs."""
    tables = _own_splits(ours.metadata())
    held_out = {name: table for name, table in tables.items() if name.split(".")[0] == "test"}
    chosen = (held_out or tables) if split is None else {n: t for n, t in tables.items() if split in {n, _last(n)}}
    if not chosen:
        raise UserError(f"--split: {ours.path} has no split '{split}'; there are: {', '.join(tables)}")
    noted, other = ours.metadata()["fingerprints"], theirs.metadata()["fingerprints"]
    for name, table in chosen.items():
        if other.get(name) != noted.get(name):
            why = "holds other rows" if name in other else "is not"
            raise UserError(f"split {name} of {ours.path} {why} in {theirs.path}: {DIFFER}")
        if table.fingerprint != noted.get(name):
            raise UserError(f"{table.name}  has changed since {ours.path} was trained: {DIFFER}")
    return chosen


def _own_splits(metadata: Mapping[str, Any]) -> dict[str, Table]:
    """What a run was measured on, under the names of its fingerprints; the training set is not read."""
    about = metadata["assets"]["data"]
    known = ("asked", "source", "location", "revision", "stand_in")
    asset = Asset(**{name: about[name] for name in known}) if "location" in about else None
    raw = read_splits(Data(**metadata["config"]["data"]).model_copy(update={"train": None}), asset)
    roles = (("validation", raw.validation), ("test", raw.test))
    return {n if n == role else f"{role}.{n}": table for role, tables in roles for n, table in tables.items()}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _measure(loaded: LoadedRun, table: Table, columns: Mapping[str, str], limit: int | None) -> _Answers:
    encoded, _ = loaded.task.encode(table, loaded.columns.model_copy(update=dict(columns)), limit)
    outputs = infer(loaded.accelerator, loaded.task, loaded.model, encoded, loaded.batch_size)
    probabilities_NC, labels_N = softmax(np.stack(outputs)), np.asarray(encoded["label"][:])
    true_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return _Answers(
        [loaded.task.labels[label] for label in labels_N],  # two runs may number the same names differently
        probabilities_NC.argmax(axis=-1) == labels_N,
        -np.log(np.maximum(true_N, np.finfo(np.float64).tiny)),
    )


def _test(name: str, ours: _Answers, theirs: _Answers) -> tuple[int, list[Comparison]]:
    if ours.gold != theirs.gold:
        counts = f"{len(ours.gold):,} and {len(theirs.gold):,} examples"
        what = counts if len(ours.gold) != len(theirs.gold) else "other labels for the same rows"
        raise UserError(f"{name}  the runs have {what} (evaluate.max_examples, data.columns): {DIFFER}")
    tests = [
        compare_correct("accuracy", ours.correct_N, theirs.correct_N),
        compare_values("loss", ours.loss_N, theirs.loss_N),
    ]
    return len(ours.gold), tests
