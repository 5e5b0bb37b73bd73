"""What must not change a run: killing it, cutting its batches, sharing it out, reading ahead."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from support import Lives, fingerprint, forge, merged, metrics, only_run, write_config

KILLS = 50 if os.environ.get("FORGE_FULL") else 8  # of each of four ways to cut a step
KILL_RUN = {
    "train": {"max_steps": 24, "batch_size": 16},
    "evaluate": {"every": 6, "max_examples": 32},
    "checkpoint": {"every": 4},
    "log": {"every": 3},  # not a divisor of 4: windows are cut by checkpoints
}


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [16, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_moments_it_ends_bit_equal(
    tmp_path: Path, lives: Lives, micro_batch: int, workers: int
) -> None:
    change = merged(KILL_RUN, {"train": {"micro_batch_size": micro_batch, "num_workers": workers}})
    calm = write_config(tmp_path / "calm", change)
    began = time.monotonic()
    assert lives.run(["--config", str(calm)]) == 0
    full_life = time.monotonic() - began
    expected = fingerprint(only_run(tmp_path / "calm"))

    stormy = write_config(tmp_path / "stormy", change)
    rng, killed, finished = random.Random(7 + micro_batch + workers), 0, 0
    while killed < KILLS:
        status = lives.run(["--config", str(stormy)], kill_after=rng.uniform(0.05, 1.0) * full_life)
        killed += status == 9
        run = _run_if_any(tmp_path / "stormy")
        if status == 0 or (run and json.loads((run / "training_state.json").read_text())["status"] == "completed"):
            assert run is not None
            assert fingerprint(run) == expected, f"after {killed} kills"
            finished += 1
            _forget(run)
    assert lives.run(["--config", str(stormy)]) == 0
    assert fingerprint(only_run(tmp_path / "stormy")) == expected
    print(f"{killed} lives killed, {finished + 1} runs finished bit-equal")


def _run_if_any(folder: Path) -> Path | None:
    found = [p.parent for p in (folder / "runs").glob("*/*/training_state.json") if not p.parent.is_symlink()]
    return found[0] if found else None


def _forget(run: Path) -> None:
    import shutil

    shutil.rmtree(run)


@pytest.mark.parametrize("cut", [4, 16])
def test_micro_batches_change_nothing_but_rounding(tmp_path: Path, cut: int) -> None:
    change = {"model": {"dropout": 0.0}, "train": {"micro_batch_size": cut}}
    assert forge("--config", write_config(tmp_path / "cut", change)) == 0
    whole = {"model": {"dropout": 0.0}, "train": {"micro_batch_size": None}}
    assert forge("--config", write_config(tmp_path / "whole", whole)) == 0
    _assert_same_losses(tmp_path / "cut", tmp_path / "whole", 2e-6)


def test_workers_change_nothing(tmp_path: Path) -> None:
    assert forge("--config", write_config(tmp_path / "none")) == 0
    assert forge("--config", write_config(tmp_path / "two", {"train": {"num_workers": 2}})) == 0
    assert only_run(tmp_path / "none").name == only_run(tmp_path / "two").name
    assert fingerprint(only_run(tmp_path / "none")) == fingerprint(only_run(tmp_path / "two"))


def test_a_seed_decides_everything(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert forge("--config", write_config(tmp_path / folder, {"seed": seed})) == 0
    a, b, c = (fingerprint(only_run(tmp_path / folder)) for folder in "abc")
    assert a == b
    assert a["files"]["model.safetensors"] != c["files"]["model.safetensors"]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, lives: Lives) -> None:
    change = {
        "train": {"max_steps": 20, "batch_size": 24, "micro_batch_size": 8, "group_by_length": True},
        "evaluate": {"every": 10},
    }
    assert forge("--config", write_config(tmp_path / "one", change)) == 0
    config = write_config(tmp_path / "two", change)
    lives.run_pair(config)
    assert "2 processes" in (only_run(tmp_path / "two") / "output.log").read_text()
    _assert_same_losses(tmp_path / "one", tmp_path / "two", 1e-6)


def _assert_same_losses(left: Path, right: Path, tolerance: float) -> None:
    pairs = list(zip(metrics(only_run(left)), metrics(only_run(right)), strict=True))
    assert len(pairs) > 5
    for a, b in pairs:
        assert (a["kind"], a["step"]) == (b["kind"], b["step"])
        assert a["loss"] == pytest.approx(b["loss"], abs=tolerance), a["step"]
        if a["kind"] == "step":
            assert (a["samples_seen"], a["tokens_seen"]) == (b["samples_seen"], b["tokens_seen"])
