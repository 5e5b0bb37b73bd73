"""What a study keeps of its own: results, weights, failures. A file is whole or absent, and says what it belongs to."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.hashing import file_sha256
from forge.core.io import read_json, storage_errors, write_json

EXAMPLES, ANSWERS = "examples.npz", "answers.npz"
TEACHER = "teacher_answers"
Examples = NDArray[np.float64]


class Store:
    """The study's directory. An `identity` is a digest of everything that determines a file's content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self, name: str, identity: str) -> dict[str, Any] | None:
        """What a cell with a seed came to; None where it has not ended, or was made with other settings."""
        record = self._record("results", name)
        if record is None or record.get("identity") != identity:
            return None
        examples = record.get("examples")
        if examples is not None and not self._examples_path(name).is_file():
            return None
        return record

    def keep_result(
        self, name: str, record: Mapping[str, Any], examples: Examples | None, answers: Examples | None = None
    ) -> None:
        """Write a result, its examples and answers first."""
        with storage_errors(f"writing the result of {name}"):
            self._path("results", name).parent.mkdir(parents=True, exist_ok=True)
            told = {
                "examples": _kept(self._examples_path(name), examples),
                "answers": _kept(self._answers_path(name), answers),
            }
            write_json(self._path("results", name), dict(record) | told)
        with suppress(OSError):
            self._path("failures", name).unlink(missing_ok=True)

    def examples(self, name: str, record: Mapping[str, Any]) -> Examples | None:
        """The sums of a result's examples; None where it has none, or they are damaged."""
        return _read(self._examples_path(name), record.get("examples"))

    def answers(self, name: str, record: Mapping[str, Any]) -> Examples | None:
        """(N, 1) the label that a result's model gave each example; None where none were kept, or they are damaged."""
        return _read(self._answers_path(name), record.get("answers"))

    def teacher_answers(self, identity: str) -> Examples | None:
        """(N, 2) the teacher's label and the true one of each example; None where they were not made, or for others."""
        record = self._record("", TEACHER)
        if record is None or record.get("identity") != identity:
            return None
        return _read(self.folder / f"{TEACHER}.npz", record.get("answers"))

    def keep_teacher_answers(self, identity: str, answers_N2: Examples) -> None:
        """Write them. Two processes that do so at once write the same."""
        with storage_errors("writing the teacher's answers"):
            self.folder.mkdir(parents=True, exist_ok=True)
            told = _kept(self.folder / f"{TEACHER}.npz", answers_N2)
            write_json(self._path("", TEACHER), {"identity": identity, "answers": told})

    def weights(self, identity: str) -> dict[str, float] | None:
        """The weights by which gradients match, where they have been measured."""
        record = self._record("", "weights")
        return dict(record["weights"]) if record and record.get("identity") == identity else None

    def keep_weights(self, record: Mapping[str, Any]) -> None:
        """Write them, with what was measured."""
        with storage_errors("writing the weights of the study's losses"):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._path("", "weights"), dict(record))

    def added_seeds(self, declared: Sequence[int]) -> list[int]:
        """Seeds that were added to those of the file."""
        record = self._record("", "seeds")
        return list(record["added"]) if record and record.get("declared") == list(declared) else []

    def keep_added_seeds(self, declared: Sequence[int], added: Sequence[int]) -> None:
        """Write down which those are."""
        with storage_errors("writing the seeds of the study"):
            write_json(self._path("", "seeds"), {"declared": list(declared), "added": list(added)})

    def failure(self, name: str, identity: str) -> dict[str, Any] | None:
        """How a job failed; None where it did not, or did with other settings."""
        record = self._record("failures", name)
        return record if record and record.get("identity") == identity else None

    def keep_failure(self, name: str, identity: str, code: int, why: str, traceback: str) -> None:
        """Write down what went wrong, as far as that can be written."""
        path = self._path("failures", name)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"identity": identity, "exit_code": code, "why": why, "traceback": traceback.splitlines()})

    def forgive(self, name: str) -> None:
        """Forget a failure, so that the job is tried again."""
        self._path("failures", name).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Where a job's process writes what it says."""
        path = self.folder / "logs" / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def is_done(self, name: str, identity: str) -> bool:
        """Whether a job that leaves no result has ended well."""
        record = self._record("done", name)
        return record is not None and record.get("identity") == identity

    def mark_done(self, name: str, identity: str) -> None:
        """Say so."""
        with storage_errors(f"writing that {name} is done"):
            self._path("done", name).parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path("done", name), {"identity": identity})

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.json"

    def _examples_path(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.npz"

    def _answers_path(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.{ANSWERS}"

    def _record(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            record = read_json(self._path(kind, name))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None


def _kept(path: Path, rows: Examples | None) -> dict[str, Any] | None:
    """Write rows; what a record says of them."""
    if rows is None:
        return None
    write_examples(path, rows)
    return {"rows": len(rows), "sha256": file_sha256(path)}


def _read(path: Path, told: Mapping[str, Any] | None) -> Examples | None:
    """Rows as a record says they are, else None."""
    if not told or not path.is_file() or file_sha256(path) != told["sha256"]:
        return None
    return read_examples(path)


def write_examples(path: Path, examples: Examples) -> None:
    """Compressed, without pickle; in one step."""
    content = io.BytesIO()
    np.savez_compressed(content, examples=examples)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_examples(path: Path) -> Examples | None:
    """The inverse; None for a file that is damaged or is not there."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return np.asarray(held["examples"], np.float64)
    except (OSError, ValueError, KeyError, EOFError):
        return None
