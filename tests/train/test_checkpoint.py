"""Checkpoints: whole or absent, verified, pruned; optimizer state survives the way to disk and back."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from forge.core.errors import CheckpointError, StorageError
from forge.core.manifest import EXTRA_FILE, OPTIMIZER_FILE
from forge.train.checkpoint import CheckpointStore
from forge.train.contents import SLOTS, load_extra, load_optimizer, optimizer_state, save_extra, save_optimizer
from forge.train.state import Best, TrainingState, restoring
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
    save_optimizer(optimizer_state(optimizer, dict(model.named_parameters())), tmp_path)
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
    again = TrainingState.from_json(json.loads(json.dumps(state.as_json())))
    assert again == state


GOOD_STATE = TrainingState(7, Cursor(1, 3), best=Best(0.5, 5, {"validation": {"loss": 1.0}})).as_json()


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 1},
        {"step": "7"},
        {"step": 7.5},
        {"step": True},
        {"step": None},
        {"cursor": None},
        {"cursor": [1, 3]},
        {"cursor": {"epoch": "1"}},
        {"cursor": {"row": 1}},
        {"best": 3},
        {"best": {"value": 0.5}},
        {"best": {"value": "0.5", "step": 5}},
        {"window": {"loss": "1"}},
        {"last": []},
        {"validation": {"validation": 1}},
        {"stopped": 1},
    ],
)
def test_a_state_of_other_types_is_refused(change: dict[str, Any]) -> None:
    assert TrainingState.from_json(GOOD_STATE).step == 7
    refused = pytest.raises(CheckpointError, match=r"^here/x  does not fit this run, or is of another version")
    with refused as caught, restoring(Path("here/x")):
        TrainingState.from_json(GOOD_STATE | change)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; delete here to go on from the checkpoint before it")


def trained(folder: Path) -> tuple[dict[str, torch.nn.Parameter], dict[str, torch.Tensor]]:
    """A model's parameters, one of them never used, and the optimizer's tensors that were saved after a step."""
    model = torch.nn.ModuleDict({"used": torch.nn.Linear(4, 3), "idle": torch.nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(model.parameters())
    model["used"](torch.ones(2, 4)).sum().backward()
    optimizer.step()
    save_optimizer(optimizer_state(optimizer, dict(model.named_parameters())), folder)
    return dict(model.named_parameters()), load_file(folder / OPTIMIZER_FILE)


def load_into_new(parameters: dict[str, torch.nn.Parameter], folder: Path) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW(parameters.values())
    load_optimizer(optimizer, parameters, folder)
    return optimizer


def test_a_parameter_that_never_had_a_gradient_needs_no_state(tmp_path: Path) -> None:
    parameters, tensors = trained(tmp_path)
    assert {key.split(":")[1] for key in tensors} == {"used.weight", "used.bias"}
    assert len(load_into_new(parameters, tmp_path).state) == 2


MISFITS: dict[str, tuple[dict[str, torch.Tensor | None], str]] = {
    "missing parameter": ({f"{slot}:used.bias": None for slot in SLOTS}, "it lacks 'step:used.bias'"),
    "missing slot": ({"exp_avg:used.weight": None}, "it lacks 'exp_avg:used.weight'"),
    "unknown slot": ({"momentum:used.bias": torch.ones(3)}, "it holds 'momentum:used.bias'"),
    "unknown parameter": ({"exp_avg:other": torch.ones(3)}, "it holds 'exp_avg:other'"),
    "no slot": ({"used.bias": torch.ones(3)}, "it holds 'used.bias'"),
    "other shape": ({"exp_avg:used.bias": torch.ones(1)}, "'exp_avg:used.bias' is [1] of torch.float32"),
    "other order": (
        {"exp_avg_sq:used.weight": torch.ones(4, 3)},
        "is [4, 3] of torch.float32, where the model has [3, 4]",
    ),
    "other dtype": ({"exp_avg:used.bias": torch.ones(3, dtype=torch.int64)}, "is [3] of torch.int64"),
    "step of another shape": ({"step:used.bias": torch.ones(3)}, "'step:used.bias' is [3]"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_an_optimizer_of_another_model_is_refused(tmp_path: Path, name: str) -> None:
    parameters, tensors = trained(tmp_path)
    with safe_open(tmp_path / OPTIMIZER_FILE, "pt") as file:
        metadata = file.metadata()
    change, says = MISFITS[name]
    kept = {key: value for key, value in (tensors | change).items() if value is not None}
    save_file(kept, tmp_path / OPTIMIZER_FILE, metadata)
    with pytest.raises(CheckpointError, match=re.escape(says)) as caught:
        load_into_new(parameters, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04.", b"\xff" * 100])
def test_tensors_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    extra = torch.nn.Linear(2, 2)
    for name in (OPTIMIZER_FILE, EXTRA_FILE):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=OPTIMIZER_FILE):
        load_optimizer(torch.optim.AdamW(extra.parameters()), dict(extra.named_parameters()), tmp_path)
    with pytest.raises(CheckpointError, match=EXTRA_FILE):
        load_extra(extra, tmp_path)


def test_projections_of_another_run(tmp_path: Path) -> None:
    save_extra(torch.nn.Linear(2, 3).state_dict(), tmp_path)
    load_extra(torch.nn.Linear(2, 3), tmp_path)
    for other in (torch.nn.Linear(2, 2), torch.nn.Linear(2, 3, bias=False), torch.nn.Bilinear(1, 2, 3)):
        with pytest.raises(CheckpointError, match="does not fit this run") as caught:
            load_extra(other, tmp_path)
        assert "\n" not in str(caught.value)
