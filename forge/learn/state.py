"""Progress of a learner in `.forge/learn.json`: shared by both faces, never lost by two of them at once.

A change locks, reads what is there now, and replaces the file in one step, keeping the file before it. So two processes
add to each other's progress, a crash leaves the old file or the new one, and a damaged file costs the last change at
most. Entries of lessons that this version does not know are kept and not looked at. No heavy library here.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.core.io import read_json, storage_errors, write_json

SCHEMA = 1
FOLDER = Path(".forge")
FILE = "learn.json"
PREVIOUS = "learn.previous.json"
LOCK = "learn.lock"
PASSED = ("passed", "tested-out")


@dataclass
class Progress:
    """One lesson's, or one gate's."""

    status: str = "open"  # open | attempted | passed | tested-out
    tries: int = 0  # answers given, and runs looked at
    hints_used: int = 0
    prediction: int | None = None  # the choice made before the first run
    run: str | None = None  # the newest experiment's record
    passed_at: str | None = None  # UTC
    failures: dict[str, int] = field(default_factory=dict)  # of each part of the check
    done: list[str] = field(default_factory=list)  # parts of the check that are right

    @property
    def passed(self) -> bool:
        """Whether what comes after it may open."""
        return self.status in PASSED

    def finish(self, status: str = "passed") -> None:
        """Pass; what is passed stays as it was passed first."""
        if not self.passed:
            self.status, self.passed_at = status, now()


@dataclass
class State:
    """All progress of one learner."""

    lessons: dict[str, Progress] = field(default_factory=dict)
    gates: dict[str, Progress] = field(default_factory=dict)  # by the phase's number
    unlocked_all_at: str | None = None  # a teacher opened everything, then
    _unknown: dict[str, Any] = field(default_factory=dict)  # keys of other versions, kept

    def lesson(self, name: str) -> Progress:
        """Progress of a lesson; a fresh one where there is none yet."""
        return self.lessons.setdefault(name, Progress())

    def gate(self, phase: int) -> Progress:
        """Progress of a phase's gate."""
        return self.gates.setdefault(str(phase), Progress())

    def as_json(self) -> dict[str, Any]:
        """What the file holds."""
        return self._unknown | {
            "schema": SCHEMA,
            "unlocked_all_at": self.unlocked_all_at,
            "lessons": {name: vars(progress) for name, progress in self.lessons.items()},
            "gates": {name: vars(progress) for name, progress in self.gates.items()},
        }


class Store:
    """The file of one folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder
        self.path = folder / FILE
        self.notice = ""  # what was wrong with the file, once

    def read(self) -> State:
        """Progress as it stands. Raises UserError for a file of a newer Forge."""
        for path in (self.path, self.folder / PREVIOUS):
            try:
                return _parse(read_json(path), path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self.notice = f"{path} cannot be read ({error}); going on with what was saved before it"
        return State()

    @contextmanager
    def change(self) -> Iterator[State]:
        """Progress to change; written when the block ends without an error."""
        with self._locked():
            state = self.read()
            yield state
            with storage_errors("saving your progress"):
                self._keep_previous()
                write_json(self.path, state.as_json())

    def reset(self) -> None:
        """Forget all progress, also that of the file before."""
        with self._locked():
            for name in (FILE, PREVIOUS):
                (self.folder / name).unlink(missing_ok=True)

    def _keep_previous(self) -> None:
        """Keep the file that is about to be replaced, unless it is damaged: that one is put aside."""
        try:
            _parse(read_json(self.path), self.path)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            with suppress(OSError):
                self.path.replace(self.folder / "learn.damaged.json")
            return
        temporary = self.folder / f".{PREVIOUS}.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        with suppress(OSError):  # a file system without links does without
            temporary.hardlink_to(self.path)
            temporary.replace(self.folder / PREVIOUS)
            temporary.unlink(missing_ok=True)  # the two were one file: replacing did nothing

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with storage_errors("saving your progress"):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / LOCK).open("a")
        with file:
            with suppress(OSError):  # a file system that cannot lock: changes are short
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _parse(value: Any, path: Path) -> State:
    """The state in a file's JSON. Raises ValueError for what is none, UserError for that of a newer Forge."""
    if not isinstance(value, dict) or not isinstance(value.get("schema"), int):
        raise ValueError("it holds no progress")
    if value["schema"] > SCHEMA:
        raise UserError(f"{path}  was written by a newer Forge (schema {value['schema']}); update, or move it away")
    lessons, gates = ({k: _progress(v) for k, v in _map(value.get(key)).items()} for key in ("lessons", "gates"))
    unlocked = value.get("unlocked_all_at")
    known = {"schema", "unlocked_all_at", "lessons", "gates"}
    unknown = {key: item for key, item in value.items() if key not in known}
    return State(lessons, gates, unlocked if isinstance(unlocked, str) else None, unknown)


def _progress(value: Any) -> Progress:
    """One entry; a field of the wrong kind is as if it were missing."""
    fresh, given = Progress(), _map(value)
    for entry in fields(Progress):
        item = given.get(entry.name)
        if entry.name == "failures":
            fresh.failures = {str(k): v for k, v in _map(item).items() if isinstance(v, int)}
        elif entry.name == "done":
            fresh.done = [part for part in item if isinstance(part, str)] if isinstance(item, list) else []
        elif isinstance(item, int if entry.name in {"tries", "hints_used", "prediction"} else str):
            setattr(fresh, entry.name, item)
    if fresh.status not in {"open", "attempted", *PASSED}:
        fresh.status = "open"
    return fresh


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def now() -> str:
    """The present instant in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
