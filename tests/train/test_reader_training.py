"""Training a page reader in two stages: cut, resumed and on two processes it is the same run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from pair import FULL
from safetensors.torch import load_file
from support import ROOT, AskAt, launcher
from toy_reader import train

FILES = ("model.safetensors", "extra.safetensors", "optimizer.safetensors")


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {f"{file}:{name}": value for file in FILES for name, value in load_file(checkpoint / file).items()}


def logged(events: list[Any]) -> dict[int, dict[str, float]]:
    return {event.step: dict(event.figures) for event in events if type(event).__name__ == "StepLogged"}


def test_one_run_has_both_stages(tmp_path: Path) -> None:
    events, checkpoint = train(tmp_path, steps=8, alone=3)
    steps = logged(events)
    for step in range(1, 9):
        assert ("task" in steps[step], "guided" in steps[step], "cells" in steps[step]) == (step > 3, step > 3, True)
    first, last = (
        load_file(tmp_path / "checkpoint-4" / "model.safetensors"),
        load_file(checkpoint / "model.safetensors"),
    )
    assert not any("extra" in name or "cells" in name for name in last)
    assert set(first) == set(last)
    assert set(load_file(checkpoint / "extra.safetensors")) == {
        f"cells.{i}.{n}" for i in (0, 1) for n in ("weight", "bias")
    }
    evaluated = [event for event in events if type(event).__name__ == "Evaluated"]
    assert [event.step for event in evaluated] == [4, 8]
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "vision-encoder-decoder"


@pytest.mark.parametrize("looks", [2, 3, 4, 7])
def test_stopped_in_either_stage_it_ends_bit_equal(tmp_path: Path, looks: int) -> None:
    calm, expected = train(tmp_path / "calm")
    before, _ = train(tmp_path / "stormy", stop=AskAt(looks))
    after, found = train(tmp_path / "stormy")
    assert max(logged(before), default=0) < 8
    assert logged(before) | logged(after) == logged(calm)
    expected_tensors, found_tensors = tensors(expected), tensors(found)
    assert set(expected_tensors) == set(found_tensors)
    assert all(torch.equal(found_tensors[name], value) for name, value in expected_tensors.items())


def test_cut_into_micro_batches_it_is_the_same_run(tmp_path: Path) -> None:
    whole, pieces = (logged(train(tmp_path / str(micro), micro=micro)[0]) for micro in (8, 3))
    for step, figures in whole.items():
        for name, value in figures.items():
            assert pieces[step][name] == pytest.approx(value, rel=2e-3), (step, name)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp2"] if FULL else ["fsdp2"])
def test_two_processes_equal_one(tmp_path: Path, engine: str) -> None:
    _, one = train(tmp_path / "one", micro=4)
    done = subprocess.run(
        [*launcher(), str(ROOT / "tests" / "toy_reader.py"), str(tmp_path / "two")],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        | {"FORGE_ACCELERATE": str(ROOT / "configs" / "accelerate" / f"{engine}.yaml")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    mine, theirs = tensors(one), tensors(tmp_path / "two" / "checkpoint-8")
    assert set(mine) == set(theirs)
    for name, value in mine.items():
        if name.startswith("model"):
            torch.testing.assert_close(theirs[name], value, rtol=1e-2, atol=2e-4, msg=name)
