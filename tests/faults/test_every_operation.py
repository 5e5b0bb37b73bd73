"""The disk fails, or the process dies, at each operation of saving in turn: the old checkpoint or the new one is there.

Python tells an audit hook of every file that is opened, renamed, made or removed, and obeys an error that the hook
raises. fsync tells nobody, so it is wrapped; what safetensors writes below Python is not heard. The fault moves one
operation on until a save goes through.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support import forge, only_run, write_config

from forge.core.errors import StorageError
from forge.core.io import write_atomic
from forge.train.checkpoint import CheckpointStore

WATCHED = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod"}
LEAST_OPERATIONS = 11  # of saving two files; fewer would mean that the hook does not hear all
KILLED = 9


class Fault:
    """What happens at operation number `at` below `folder`: an errno, or KILLED."""

    def __init__(self) -> None:
        self.folder, self.at, self.kind, self.seen = "", -1, 0, 0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or event not in WATCHED or not self._ours(event, arguments):
            return
        self.happen()

    def happen(self) -> None:
        self.seen += 1
        if self.seen != self.at + 1:
            return
        if self.kind == KILLED:
            os._exit(KILLED)
        raise OSError(self.kind, os.strerror(self.kind), self.folder)

    def _ours(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return False
        return str(arguments[0]).startswith(self.folder)


FAULT = Fault()
sys.addaudithook(FAULT.hear)


@contextmanager
def failing(folder: Path, at: int, kind: int) -> Iterator[Fault]:
    FAULT.at, FAULT.kind, FAULT.seen, FAULT.folder = at, kind, 0, str(folder)
    real = os.fsync

    def fsync(descriptor: int) -> None:
        FAULT.happen()
        real(descriptor)

    os.fsync = fsync
    try:
        yield FAULT
    finally:
        os.fsync, FAULT.folder = real, ""


def write(content: int) -> Any:
    def fill(folder: Path) -> None:
        save_file({"weight": torch.full((8,), float(content))}, folder / "model.safetensors")
        (folder / "trainer_state.json").write_text(f'{{"content": {content}}}')

    return fill


def content_of(folder: Path) -> str:
    return (folder / "trainer_state.json").read_text()


def prepared(folder: Path, again: bool) -> CheckpointStore:
    """Two checkpoints; with `again` the save under test replaces the newest."""
    store = CheckpointStore(folder, keep=2)
    folder.mkdir()
    for step in (1, 2):
        store.save(step, write(step), {})
    if again:
        store.save(3, write(30), {})
    return store


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("kind", [errno.EIO, errno.ENOSPC, KILLED], ids=["EIO", "ENOSPC", "killed"])
def test_the_old_or_the_new_checkpoint_is_whole(tmp_path: Path, kind: int, again: bool) -> None:
    before = 30 if again else 2
    for at in range(500):
        folder = tmp_path / str(at)
        store = prepared(folder, again)
        passed = attempt(store, folder, at, kind)
        found = store.newest_good()
        assert found.path is not None
        assert not found.skipped, "a directory under a final name is whole"
        assert content_of(found.path) in {f'{{"content": {before}}}', '{"content": 3}'}
        assert (folder / "checkpoint-2").is_dir(), "the one before stays until pruning"
        store.save(3, write(3), {})
        store.prune(3, set())
        store.clean()
        newest = store.newest_good().path
        assert newest is not None
        assert content_of(newest) == '{"content": 3}'
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-3"], "nothing is left"
        if passed:
            break
    assert at >= LEAST_OPERATIONS
    print(f"{at} operations, a fault at each")


def test_a_life_killed_while_it_writes_a_file_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"train": {"max_steps": 2}, "evaluate": {"every": 1, "max_examples": 8}})
    assert forge("--config", config) == 0
    run = only_run(tmp_path)
    names = ("run_metadata.json", "training_state.json", "metrics.jsonl", "report.html")
    for name in names:
        child = os.fork()
        if not child:
            with failing(run, 1, KILLED):  # opened, and not yet forced onto the disk
                write_atomic(run / name, "half of a fi")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    assert len(list(run.glob(".*.tmp"))) == len(names)
    (run / "training_state.json").unlink()
    assert forge("--config", config) == 0
    assert not list(run.glob(".*.tmp"))


def attempt(store: CheckpointStore, folder: Path, at: int, kind: int) -> bool:
    """Save with a fault; whether it went through."""
    if kind == KILLED:
        child = os.fork()
        if not child:
            with failing(folder, at, kind):
                store.save(3, write(3), {})
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with failing(folder, at, kind) as fault:
        failure = None
        try:
            store.save(3, write(3), {})
        except StorageError as error:
            failure = error
    assert failure is None or (failure.exit_code == 5 and "\n" not in str(failure))
    return failure is None and fault.seen <= at
