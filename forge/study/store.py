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

EXAMPLES = "examples.npz"
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

    def keep_result(self, name: str, record: Mapping[str, Any], examples: Examples | None) -> None:
        """Write a result, its examples first."""
        with storage_errors(f"writing the result of {name}"):
            self._path("results", name).parent.mkdir(parents=True, exist_ok=True)
            told = None
            if examples is not None:
                write_examples(self._examples_path(name), examples)
                told = {"rows": len(examples), "sha256": file_sha256(self._examples_path(name))}
            write_json(self._path("results", name), dict(record) | {"examples": told})
        with suppress(OSError):
            self._path("failures", name).unlink(missing_ok=True)

    def examples(self, name: str, record: Mapping[str, Any]) -> Examples | None:
        """The sums of a result's examples; None where it has none, or they are damaged."""
        told, path = record.get("examples"), self._examples_path(name)
        if not told or not path.is_file() or file_sha256(path) != told["sha256"]:
            return None
        return read_examples(path)

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

    def _record(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            record = read_json(self._path(kind, name))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None


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
