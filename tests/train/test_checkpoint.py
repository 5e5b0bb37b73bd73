"""Checkpoints: whole or absent, verified, pruned; optimizer state survives the way to disk and back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from forge.core.errors import CheckpointError, StorageError
from forge.core.manifest import OPTIMIZER_FILE
from forge.train.checkpoint import CheckpointStore, load_optimizer, optimizer_tensors
from forge.train.shards import gathered
from forge.train.state import Best, TrainingState
from forge.train.stream import Cursor


def save(store: CheckpointStore, step: int, content: str = "x") -> str:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(content * 100)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(str(step))

    return store.save(step, write, {"config": "abc"})


def test_newest_good_walks_back_over_damage(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=5)
    for step in (5, 10, 15):
        save(store, step)
    assert store.newest_good().path == tmp_path / "checkpoint-15"
    (tmp_path / "checkpoint-15" / "deep" / "file").write_text("99")
    (tmp_path / "checkpoint-10" / "manifest.json").unlink()
    found = store.newest_good()
    assert found.path == tmp_path / "checkpoint-5"
    assert "checkpoint-15" in found.skipped[0]
    assert "deep/file" in found.skipped[0]
    assert "checkpoint-10" in found.skipped[1]
    assert "manifest.json is missing" in found.skipped[1]


def test_all_damaged_is_an_error_and_none_is_a_fresh_start(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    assert store.newest_good().path is None
    save(store, 1)
    (tmp_path / "checkpoint-1" / "model.safetensors").write_text("short")
    with pytest.raises(CheckpointError, match="no good checkpoint") as caught:
        store.newest_good()
    assert "\n" not in str(caught.value)


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (9, 10, 100):
        save(store, step)
    assert store.names() == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]


def test_prune_keeps_the_newest_and_the_protected(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3, 4, 5):
        save(store, step)
    store.prune(5, {"checkpoint-2"})
    assert store.names() == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]


def test_prune_does_not_count_checkpoints_beyond_the_step_it_stands_at(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3, 4):
        save(store, step)
    store.prune(3, set())  # 4 is damaged, or the run would stand there
    assert store.names() == ["checkpoint-2", "checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize("operation", ["fsync", "rename", "mkdir"])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if operation == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, operation, full)
        with pytest.raises(StorageError, match="saving checkpoint-2"):
            save(store, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert store.newest_good().path == tmp_path / "checkpoint-1"


def test_a_stale_temporary_is_cleaned_and_never_loaded(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    (tmp_path / ".saving-checkpoint-7.123").mkdir()
    assert store.newest_good().path is None
    store.clean()
    assert list(tmp_path.iterdir()) == []


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    save(store, 3, "old")
    save(store, 3, "new")
    assert (tmp_path / "checkpoint-3" / "model.safetensors").read_text().startswith("new")
    assert store.newest_good().path is not None


def test_manifest_names_every_file(tmp_path: Path) -> None:
    save(CheckpointStore(tmp_path, 2), 4)
    manifest = json.loads((tmp_path / "checkpoint-4" / "manifest.json").read_text())
    assert set(manifest["files"]) == {"model.safetensors", "deep/file"}
    assert manifest["step"] == 4
    assert manifest["config"] == "abc"


def test_optimizer_round_trip_is_exact(tmp_path: Path) -> None:
    def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.AdamW]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model: torch.nn.Module, optimizer: torch.optim.AdamW) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()

    model, optimizer = model_and_optimizer()
    step(model, optimizer)
    tensors = optimizer_tensors(optimizer, dict(model.named_parameters()))
    save_file(gathered(tensors, keep=True), tmp_path / OPTIMIZER_FILE)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    step(model, optimizer)
    again, fresh = model_and_optimizer()
    again.load_state_dict(weights)
    load_optimizer(fresh, dict(again.named_parameters()), tmp_path)
    step(again, fresh)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_state_round_trip_through_json() -> None:
    state = TrainingState(7, Cursor(1, 3), 0.1 + 0.2, 99, 12345, Best(1 / 3, 5), 2, "checkpoint-7", {"loss": 1 / 7})
    again = TrainingState.from_json(json.loads(json.dumps(state.as_json())), "here")
    assert again == state
    with pytest.raises(CheckpointError, match="another version"):
        TrainingState.from_json({"steps": 1}, "here")
