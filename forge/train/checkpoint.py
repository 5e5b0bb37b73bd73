"""Checkpoints that are whole or absent: temporary directory, fsync, manifest last, rename, prune.

A `checkpoint-N/` is a model that `from_pretrained` loads, plus `optimizer.safetensors`, `trainer_state.json`, where
there are projections `extra.safetensors`, and `manifest.json` (size and sha256 of every file). Loading verifies the
manifest and walks back to the newest good one. `checkpoint-average/` is sealed alike, and nothing continues from it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.core.errors import CheckpointError
from forge.core.io import fsync_file, storage_errors
from forge.core.manifest import AVERAGE, seal, verify

PREFIX = "checkpoint-"
TEMPORARY = ".saving-"
ASIDE = ".replaced-"


@dataclass(frozen=True)
class Found:
    """The checkpoint to continue from, None for a fresh start, and what was passed over on the way to it."""

    path: Path | None
    skipped: tuple[str, ...] = ()


class CheckpointStore:
    """The checkpoints of one run directory."""

    def __init__(self, run_dir: Path, keep: int) -> None:
        self.run_dir = run_dir
        self.keep = keep
        self._publishing: Future[None] | None = None

    def save(self, step: int, write: Callable[[Path], None], about: dict[str, Any]) -> str:
        """Let `write` fill a directory, then publish it as `checkpoint-<step>`; returns that name."""
        self.begin(step, write, about)
        self.wait()
        return f"{PREFIX}{step}"

    def save_average(self, write: Callable[[Path], None], about: dict[str, Any]) -> None:
        """Let `write` fill a directory, then publish it as the average of checkpoints, in place of an older one."""
        self._begin(AVERAGE, write, about)
        self.wait()

    def drop_average(self) -> None:
        """Delete what may be left of an average that nobody asks for now."""
        with suppress(OSError):
            (self.run_dir / AVERAGE).rename(self.run_dir / f"{TEMPORARY}{AVERAGE}.dropped")
        self.clean()

    def begin(self, step: int, write: Callable[[Path], None], about: dict[str, Any]) -> None:
        """As `save`, but fsync, sha256 and publishing go on in a thread of their own, until `wait`."""
        self._begin(f"{PREFIX}{step}", write, {"step": step} | about)

    def _begin(self, name: str, write: Callable[[Path], None], about: dict[str, Any]) -> None:
        self.wait()
        temporary = self.run_dir / f"{TEMPORARY}{name}.{os.getpid()}"
        try:
            with storage_errors(f"saving {name}"):
                shutil.rmtree(temporary, ignore_errors=True)  # of an earlier life, where process numbers come again
                temporary.mkdir()
                write(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        publisher = ThreadPoolExecutor(1, "checkpoint")  # a new one each time: a thread does not survive a fork
        self._publishing = publisher.submit(self._publish, temporary, name, about)
        publisher.shutdown(wait=False)

    @property
    def published(self) -> bool:
        """Whether nothing is on its way: `wait` would return, or raise, at once."""
        return self._publishing is None or self._publishing.done()

    def wait(self) -> None:
        """Until what was begun is there. Raises StorageError where that failed."""
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.result()

    def _publish(self, temporary: Path, name: str, about: dict[str, Any]) -> None:
        final, aside = self.run_dir / name, self.run_dir / f"{ASIDE}{name}"
        with storage_errors(f"saving {name}"):
            try:
                seal(temporary, about)
                if final.exists():  # from before this step's evaluation, or from a life that did not report it
                    shutil.rmtree(aside, ignore_errors=True)
                    final.rename(aside)
                temporary.rename(final)
                fsync_file(self.run_dir)
            finally:
                self._put_back()
                shutil.rmtree(temporary, ignore_errors=True)

    def names(self) -> list[str]:
        """Names of all published checkpoints, oldest first."""
        steps = [path.name.removeprefix(PREFIX) for path in self.run_dir.glob(f"{PREFIX}*") if path.is_dir()]
        return [f"{PREFIX}{step}" for step in sorted(int(step) for step in steps if step.isdigit())]

    def newest_good(self) -> Found:
        """The newest checkpoint whose manifest verifies. Raises CheckpointError when some exist and none is good."""
        self._put_back()
        skipped: list[str] = []
        for name in reversed(self.names()):
            if damage := verify(self.run_dir / name):
                skipped.append(f"{name} is damaged and was passed over: {damage}")
                continue
            return Found(self.run_dir / name, tuple(skipped))
        if skipped:
            raise CheckpointError(
                f"{self.run_dir}  has no good checkpoint: {'; '.join(skipped)}; delete the directory to start again"
            )
        return Found(None)

    def prune(self, step: int, protect: Collection[str]) -> None:
        """Delete all but the newest `keep` checkpoints up to `step` and those in `protect`.

        A later one is damaged, since the run stands at `step`: it goes when the run gets there again.
        """
        reached = [name for name in self.names() if int(name.removeprefix(PREFIX)) <= step]
        for name in reached[: -self.keep]:
            if name not in protect:
                # The name goes first: what is deleted in part must not look like a damaged checkpoint.
                going = self.run_dir / f"{TEMPORARY}{name}.pruned"
                with suppress(OSError):
                    (self.run_dir / name).rename(going)
        self.clean()  # and what could not be deleted the last time

    def _put_back(self) -> None:
        """A save that ended between moving the old checkpoint aside and the new one in leaves the old one."""
        for aside in self.run_dir.glob(f"{ASIDE}*"):
            final = self.run_dir / aside.name.removeprefix(ASIDE)
            if final.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                with suppress(OSError):  # another process of this run was quicker
                    aside.rename(final)

    def clean(self) -> None:
        """Delete what an interrupted save left behind."""
        for path in self.run_dir.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)
