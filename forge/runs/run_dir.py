"""The run directory: named by what it is, claimed by one process, readable while it grows.

runs/<config path>/<seed>-<hash of the resolved settings>/ holds output.log, run_metadata.json, training_state.json,
metrics.jsonl, checkpoint-N/ and report.html. The same settings give the same directory, so starting again continues.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from forge.core.errors import ForgeError, StoppedError, UserError
from forge.core.io import read_json, remove_temporaries, storage_errors, write_json
from forge.core.manifest import average_of, checkpoint_names
from forge.runs.lock import RunLock

METADATA = "run_metadata.json"
STATE = "training_state.json"
LOG = "output.log"
METRICS = "metrics.jsonl"
COMPLETIONS = "completions.jsonl"
REPORT = "report.html"
LOCK = ".lock"
LATEST = "latest"

Status = Literal["running", "completed", "failed", "interrupted"]


class RunDirectory:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RunLock(path / LOCK)

    @property
    def exists(self) -> bool:
        """Whether a life of this run got as far as writing its metadata."""
        return (self.path / METADATA).is_file()

    def metadata(self) -> dict[str, Any]:
        """What run_metadata.json holds. Raises UserError where it cannot be read."""
        return read_record(self.path / METADATA)

    def state(self) -> dict[str, Any]:
        """What training_state.json holds; empty before the first one."""
        return read_record(self.path / STATE) if (self.path / STATE).is_file() else {}

    @property
    def completed(self) -> bool:
        """Whether the run has reached its end. A state that a crash damaged does not say so; the checkpoints decide."""
        return self.known_state().get("status") == "completed"

    def completed_with(self, average: int | None) -> bool:
        """The same, where `checkpoint.average` was then as it is now: to ask for another result opens a run again."""
        return self.completed and average_of(self.known_state()).get("asked") == average

    def known_state(self) -> dict[str, Any]:
        """What training_state.json holds as far as it can be read: it only reports, and a run goes on without it."""
        try:
            return self.state()
        except UserError:
            return {}

    def claim(self, patience_s: float | None = None, say: Callable[[str], None] | None = None) -> None:
        """Make the directory and lock it, as `RunLock.take` does. Raises UserError, leaving nothing behind."""
        if not self._lock.held:
            self._lock.take(patience_s, say)

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def heartbeat(self) -> None:
        """Show other machines that the owner of this run is alive; nothing where this process does not own it."""
        self._lock.heartbeat()

    def clean(self) -> None:
        """Delete what writes of a killed life left behind. Only who has claimed the run may call it."""
        with storage_errors(f"cleaning {self.path}"):
            remove_temporaries(self.path)

    def begin_life(self, facts: Mapping[str, Any], life: Mapping[str, Any]) -> None:
        """Write the metadata before step 1; on a later life only append to the list of lives."""
        record = self.metadata() if self.exists else dict(facts) | {"lives": []}
        record["lives"].append(dict(life) | {"started": now(), "ended": None, "why": None})
        with storage_errors(f"writing {METADATA}"):
            write_json(self.path / METADATA, record)
            _point_latest(self.path)

    def end_life(self, why: str) -> None:
        """Note when and why this life ended."""
        record = self.metadata()
        record["lives"][-1].update(ended=now(), why=why)
        with storage_errors(f"writing {METADATA}"):
            write_json(self.path / METADATA, record)

    def write_state(self, state: Mapping[str, Any], durable: bool = True) -> None:
        """Replace training_state.json."""
        with storage_errors(f"writing {STATE}"):
            write_json(self.path / STATE, state, durable)

    def checkpoint(self, which: str = "best") -> Path:
        """Folder of the `best` (the result), `last` or `average` checkpoint, or the one of a step. Raises UserError."""
        name: str | None = f"checkpoint-{which.removeprefix('checkpoint-')}"
        if which in {"best", "last"}:
            try:
                name = checkpoint_names(self.state())[which]
            except ValueError as error:
                raise UserError(f"{self.path / STATE}  cannot be read: {error}; give --checkpoint a step") from error
        if not name or not (self.path / name).is_dir():
            have = sorted(path.name for path in self.path.glob("checkpoint-*"))
            raise UserError(f"{self.path}  has no checkpoint '{which}'; there are: {', '.join(have) or 'none yet'}")
        return self.path / name


def open_existing(path: str | Path) -> RunDirectory:
    """A run that is already there. Raises UserError that says what a run directory looks like."""
    run = RunDirectory(Path(path).expanduser())
    if not run.exists:
        raise UserError(f"{path}  is not a run directory: it has no {METADATA}")
    return run


def run_path(base: str, name: str, seed: int, digest: str) -> Path:
    """Where a run with these settings lives."""
    return Path(base).expanduser() / name / f"{seed}-{digest}"


def check_room(path: Path, needed_bytes: int) -> None:
    """Refuse to start where the disk is too full for the checkpoints or cannot be written. Leaves nothing behind."""
    existing = path
    try:
        while not existing.exists():
            existing = existing.parent
    except OSError as error:  # a folder on the way that may not be looked into, a name too long
        raise UserError(f"run.dir: cannot reach {existing}: {os.strerror(error.errno or 0)}") from error
    if not existing.is_dir():
        raise UserError(f"run.dir: {existing} is a file, not a directory")
    try:
        with TemporaryFile(dir=existing) as probe:  # without a name, so nothing is left whatever happens
            probe.write(b"x" * 4096)
    except OSError as error:
        raise UserError(f"run.dir: cannot write to {existing}: {os.strerror(error.errno or 0)}") from error
    # What an earlier life saved is part of what the run needs.
    saved = sum(file.stat().st_size for file in path.glob("checkpoint-*/*") if file.is_file())
    free = shutil.disk_usage(existing).free + saved
    if free < needed_bytes:
        raise UserError(
            f"run.dir: the disk of {existing} has {megabytes(free)} free, the run's checkpoints need about "
            f"{megabytes(needed_bytes)}; make room, or move the runs with run.dir=…"
        )


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a run directory. Raises UserError where it is damaged."""
    try:
        value = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}  cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}  does not hold a JSON object")
    return value


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def outcome(error: BaseException | None) -> tuple[Status, str]:
    """How a life ended, for the state and for the list of lives."""
    if error is None:
        return "completed", "completed"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", "interrupted from the keyboard"
    first = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, StoppedError):
        return "interrupted", first
    return "failed", first if isinstance(error, ForgeError) else f"{type(error).__name__}: {first}"


def _point_latest(path: Path) -> None:
    """Point the `latest` link beside a run at it; where links are not to be had, do without."""
    link, temporary = path.parent / LATEST, path.parent / f".{LATEST}.{os.getpid()}"
    try:
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
