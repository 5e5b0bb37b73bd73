"""What a task says to be compared: how it measures a run, and how it tests two runs on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from forge.core.errors import UserError
from forge.runs.run_dir import RunDirectory
from forge.tasks.metrics.significance import Comparison, as_json
from forge.tasks.sources import Table

DIFFER = "the two cannot be compared; --data FILE measures both on the same examples"


@dataclass(frozen=True)
class Given:
    """What the command line says to compare on. Without `data` it is the runs' own splits."""

    data: Sequence[str] = ()  # words: a file, a directory, or two files with a line for each other
    subset: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    beams: int | None = None  # in place of each run's own
    language: str | None = None  # of translations, in place of the runs' own
    tokenised_lower: bool = False


@dataclass(frozen=True)
class Tested:
    """One split: both runs on it, and the tests of their difference."""

    examples: int
    comparisons: Sequence[Comparison]
    systems: Mapping[str, Any] = field(
        default_factory=dict
    )  # "a" and "b": figures and signatures, where a task has any

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = {"examples": self.examples}
        return found | dict(self.systems) | {"comparisons": as_json(self.comparisons)}


class TaskComparison(Protocol):
    """One task's part."""

    def tables(self, ours: RunDirectory, given: Given) -> dict[str, Table]:
        """What `given.data` names, once for both runs."""
        ...

    def check(self, ours: RunDirectory, theirs: RunDirectory, tables: Mapping[str, Table], given: Given) -> None:
        """Raises UserError for what makes a comparison impossible, before the models are loaded."""
        ...

    def measure(
        self, run: RunDirectory, which: str, tables: Mapping[str, Table], given: Given
    ) -> tuple[str, dict[str, Any]]:
        """The name of the checkpoint, and its answers to each table."""
        ...

    def test(self, name: str, ours: Any, theirs: Any) -> Tested:
        """Raises UserError where the answers are to other examples."""
        ...


def refuse_different(name: str, ours: Sequence[Any], theirs: Sequence[Any], other: str) -> None:
    """Raises UserError unless both runs were asked the same; `other` says what differs where the counts do not."""
    if list(ours) != list(theirs):
        what = f"{len(ours):,} and {len(theirs):,} examples" if len(ours) != len(theirs) else other
        raise UserError(f"{name}  the runs have {what} (evaluate.max_examples, data.columns): {DIFFER}")


def limit_of(run: RunDirectory, given: Given) -> int | None:
    """How many examples of its own splits a run is measured on; other data is measured whole."""
    limit: int | None = None if given.data else run.metadata()["config"]["evaluate"]["max_examples"]
    return limit
