"""A checkpoint whose manifest is true to itself and which still does not fit: one line and exit 3, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import forge, only_run, write_config
from test_damage import DISTILLED

from forge.core.manifest import seal, verify

STATE = "trainer_state.json"
DEEP = "[" * 3_000


def record(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        content = load_file(path)
        change(content)
        save_file(content, path)

    return apply


def without_one_parameter(content: dict[str, torch.Tensor]) -> None:
    name = next(iter(content)).split(":")[1]
    for slot in ("step", "exp_avg", "exp_avg_sq"):
        del content[f"{slot}:{name}"]


def reshaped(content: dict[str, torch.Tensor]) -> None:
    name = next(name for name, value in content.items() if value.ndim == 2)
    content[name] = content[name].flatten()


def noise(path: Path) -> None:
    path.write_bytes(b"\x80\x04." * 9)


FILES = ("optimizer.safetensors", "extra.safetensors", STATE)
CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{f"no {name}": (name, Path.unlink) for name in FILES},
    **{f"noise in {name}": (name, noise) for name in FILES},
    "parameter left out": ("optimizer.safetensors", tensors(without_one_parameter)),
    "other shape": ("optimizer.safetensors", tensors(reshaped)),
    "other projections": ("extra.safetensors", tensors(reshaped)),
    "projection left out": ("extra.safetensors", tensors(lambda content: content.popitem())),
    "nested": (STATE, lambda path: path.write_text(DEEP)),
    "a list": (STATE, lambda path: path.write_text("[]")),
    "no state": (STATE, record(lambda content: content.pop("state"))),
    "no scaler": (STATE, record(lambda content: content.pop("scaler"))),
    "state is text": (STATE, record(lambda content: content.update(state="x"))),
    "step is text": (STATE, record(lambda content: content["state"].update(step="4"))),
    "no cursor": (STATE, record(lambda content: content["state"].pop("cursor"))),
    "more than known": (STATE, record(lambda content: content["state"].update(rows=4))),
    "objective is a list": (STATE, record(lambda content: content.update(objective=[1]))),
    "scales are text": (STATE, record(lambda content: content["objective"].update(scales={"hidden_mse": "x"}))),
    "other losses": (STATE, record(lambda content: content["objective"].update(scales={}))),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, its newest checkpoint about to be changed."""
    folder = tmp_path_factory.mktemp("resealed")
    assert forge("--config", write_config(folder, DISTILLED)) == 0
    shutil.copytree(only_run(folder) / "checkpoint-4", folder / "whole")
    return folder


@pytest.mark.parametrize("name", CHANGES)
def test_it_is_refused_in_one_line(finished: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    run, (file, change) = only_run(finished), CHANGES[name]
    newest = run / "checkpoint-4"
    shutil.rmtree(newest)
    shutil.copytree(finished / "whole", newest)
    change(newest / file)
    (newest / "manifest.json").unlink()
    seal(newest, {"step": 4})
    assert verify(newest) == ""
    (run / "training_state.json").unlink(missing_ok=True)
    capfd.readouterr()
    assert forge("--config", finished / "tiny.yaml") == 3
    (said,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("forge: ")]
    assert "Traceback" not in said
    assert file in said or "other distillation losses" in said


def test_a_damaged_best_checkpoint_is_not_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    still = {"max_steps": 4, "learning_rate": 1e-12}  # no evaluation is better than the first
    config = write_config(tmp_path, {"train": still, "evaluate": {"every": 2, "max_examples": 16}})
    assert forge("--config", config) == 0
    run = only_run(tmp_path)
    (run / "training_state.json").unlink()
    (run / "checkpoint-2/model.safetensors").write_bytes(b"x")
    capfd.readouterr()
    assert forge("--config", config) == 3
    assert "checkpoint-2  was the best and is damaged: model.safetensors has 1 bytes" in capfd.readouterr().err
