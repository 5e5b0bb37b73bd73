"""The disk fails, or the process dies, at each operation of saving in turn: the old checkpoint or the new one is there.

The fault moves one operation on until a save goes through.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from injector import KILLED, KINDS, attempt, failing
from safetensors.torch import load_file, save_file
from support import forge, only_run, write_config

from forge.core.io import write_atomic
from forge.core.manifest import AVERAGE, verify
from forge.train.averaging import write_average
from forge.train.checkpoint import CheckpointStore

LEAST_OPERATIONS = 14  # of saving two files; fewer would mean that the injector does not hear all


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
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_old_or_the_new_checkpoint_is_whole(tmp_path: Path, kind: int, again: bool) -> None:
    before = 30 if again else 2
    for at in range(500):
        folder = tmp_path / str(at)
        store = prepared(folder, again)
        passed = attempt(lambda store=store: store.save(3, write(3), {}), folder, at, kind)
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


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_average_is_whole_or_not_there(tmp_path: Path, kind: int, again: bool) -> None:
    for at in range(500):
        folder = tmp_path / str(at)
        store = prepared(folder, again=False)
        of = [folder / name for name in store.names()]

        def average(store: CheckpointStore = store, of: list[Path] = of) -> None:
            store.save_average(partial(write_average, of, lambda: False), {})

        if again:
            store.save_average(partial(write_average, of[:1], lambda: False), {})
        passed = attempt(average, folder, at, kind)
        assert store.newest_good().path == of[-1], "the checkpoints are what they were, and what a run continues from"
        assert not verify(of[0])
        done = folder / AVERAGE
        assert not verify(done) if again or done.exists() else True
        average()
        store.prune(2, set())
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-1", "checkpoint-2", AVERAGE]
        assert load_file(done / "model.safetensors")["weight"].tolist() == [1.5] * 8
        if passed:
            break
    assert at >= LEAST_OPERATIONS - 4  # its state is not written
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
