"""Two classifiers: accuracy by the exact McNemar test, loss by approximate randomisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forge.compare.base import Given, Tested, limit_of, refuse_different
from forge.inference.classification import LoadedRun, given_table, load_run
from forge.runs.run_dir import RunDirectory
from forge.tasks.metrics.classification import softmax
from forge.tasks.metrics.significance import compare_correct, compare_values
from forge.tasks.sources import Table
from forge.train.evaluate import infer


@dataclass(frozen=True)
class _Answers:
    """A classifier on N examples of one split."""

    gold: list[str]  # N label names
    correct_N: np.ndarray[Any, np.dtype[np.bool_]]
    loss_N: np.ndarray[Any, np.dtype[np.float64]]  # nats


class ClassificationComparison:
    """Classification's part."""

    def tables(self, ours: RunDirectory, given: Given) -> dict[str, Table]:  # noqa: ARG002
        """The one table that `--data` names."""
        return {given.data[0]: given_table(given.data[0], given.subset, given.split)}

    def check(self, ours: RunDirectory, theirs: RunDirectory, tables: Mapping[str, Table], given: Given) -> None:
        """Nothing is known before the labels are read."""

    def measure(
        self, run: RunDirectory, which: str, tables: Mapping[str, Table], given: Given
    ) -> tuple[str, dict[str, Any]]:
        """Labels and probabilities of the right ones."""
        loaded, limit = load_run(run, which), limit_of(run, given)
        return loaded.checkpoint, {name: _answers(loaded, table, given, limit) for name, table in tables.items()}

    def test(self, name: str, ours: _Answers, theirs: _Answers) -> Tested:
        """Two runs may number the same names differently, so names are what has to be the same."""
        refuse_different(name, ours.gold, theirs.gold, "other labels for the same rows")
        tests = [
            compare_correct("accuracy", ours.correct_N, theirs.correct_N),
            compare_values("loss", ours.loss_N, theirs.loss_N),
        ]
        return Tested(len(ours.gold), tests)


def _answers(loaded: LoadedRun, table: Table, given: Given, limit: int | None) -> _Answers:
    encoded, _ = loaded.task.encode(table, loaded.columns.model_copy(update=dict(given.columns)), limit)
    outputs = infer(loaded.accelerator, loaded.task, loaded.model, encoded, loaded.batch_size)
    probabilities_NC, labels_N = softmax(np.stack(outputs)), np.asarray(encoded["label"][:])
    true_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return _Answers(
        [loaded.task.labels[label] for label in labels_N],
        probabilities_NC.argmax(axis=-1) == labels_N,
        -np.log(np.maximum(true_N, np.finfo(np.float64).tiny)),
    )
