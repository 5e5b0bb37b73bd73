"""What must not change a distillation run or its teacher cache: killing it at any moment, sharing it out."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import Lives, fingerprint, forge, merged, metrics, only_run, serve, write_config

KILLS, KILLS_WHILE_FILLING = (50, 10) if os.environ.get("FORGE_FULL") else (25, 5)
MOST_LIVES = 5 * KILLS
EXAMPLES = 1_100  # two shards, so that a cache can be killed between them
WORDS = ["red", "blue", "green", "warm", "cold", "old", "new", "big", "dim", "odd"]
DISTILLED: dict[str, Any] = {
    "alpha": 0.5,
    "teacher": {"name": "embedded/tiny-bert"},
    "distill": {
        "layers": "last",
        "balance": "gradient_norm",
        "gradient_norm_every": 5,
        "projection_learning_rate": 1e-2,
        "hidden_mse": {"weight": 1.0},
        "attention_kl": {"weight": 1.0},
        "cache": {"mode": "on"},
    },
}
KILL_RUN = DISTILLED | {
    "train": {"max_steps": 12},
    "evaluate": {"every": 6},
    "checkpoint": {"every": 4},
    "log": {"every": 3},  # not a divisor of 4: windows are cut by checkpoints
}


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    """Lives of distillation runs, whose libraries the server imports before the first."""
    server = Lives(__file__)
    yield server
    server.close()


def write_data(folder: Path) -> dict[str, Any]:
    """Files that all runs of a test share, because their names are part of what a cache is for."""
    folder.mkdir()
    rng = random.Random(1)
    for name, count in (("train", EXAMPLES), ("dev", 32)):
        rows = [" ".join(rng.choices(WORDS, k=rng.randint(2, 12))) for _ in range(count)]
        lines = [json.dumps({"text": row, "label": row.split()[0] < "g"}) for row in rows]
        text = "\n".join(line.replace("true", '"early"').replace("false", '"late"') for line in lines)
        (folder / f"{name}.jsonl").write_text(text + "\n")
    files = {"train": str(folder / "train.jsonl"), "validation": str(folder / "dev.jsonl")}
    return {"data": {"name": None, "test": None} | files}


def cache_of(folder: Path) -> dict[str, bytes]:
    """Every file of the teacher caches below a directory that has its final name."""
    root = folder / "runs" / "teacher_cache"
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def assert_whole(shard: bytes) -> None:
    """A shard says what its content must hash to."""
    start = 8 + int.from_bytes(shard[:8], "little")
    promised = json.loads(shard[8:start])["__metadata__"]["sha256"]
    assert hashlib.sha256(shard[start:]).hexdigest() == promised


def first_life(lives: Lives, config: Path, folder: Path) -> tuple[float, float]:
    """Seconds that a life which nobody disturbs takes to train, and to fill the cache in it."""
    steps = KILL_RUN["train"]["max_steps"]
    watched = {"first": "teacher_cache/*", "last": "teacher_cache/*/measured-*.json", "end": f"*/*/checkpoint-{steps}"}
    moments: dict[str, float] = {}
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        life = pool.submit(lives.run, ["--config", str(config)])
        while not life.done():
            for name, pattern in watched.items():
                if name not in moments and any((folder / "runs").glob(pattern)):
                    moments[name] = time.monotonic()
            time.sleep(0.002)
    assert life.result() == 0
    return moments["end"] - began, moments["last"] - moments["first"]


@pytest.mark.slow
@pytest.mark.parametrize(("micro_batch", "workers"), [(16, 0), (4, 2)], ids=["whole", "accumulation-workers"])
def test_killed_at_random_moments_run_and_cache_end_bit_equal(
    tmp_path: Path, lives: Lives, micro_batch: int, workers: int
) -> None:
    cut = {"train": {"micro_batch_size": micro_batch, "num_workers": workers}}
    settings = merged(merged(KILL_RUN, write_data(tmp_path / "data")), cut)
    training, filling = first_life(lives, write_config(tmp_path / "calm", settings), tmp_path / "calm")
    expected, calm = fingerprint(only_run(tmp_path / "calm")), cache_of(tmp_path / "calm")
    assert "extra.safetensors" in expected["files"]
    shards = {name: content for name, content in calm.items() if name.endswith(".safetensors")}
    assert len(shards) == 2 * len({"logits", "hidden", "query", "key"})
    for content in shards.values():
        assert_whole(content)

    folder = tmp_path / "stormy"
    command, root = ["--config", str(write_config(folder, settings))], folder / "runs" / "teacher_cache"
    rng, started, killed, while_filling, finished, unfinished, emptied = random.Random(11), 0, 0, 0, 0, 0, 0
    while killed < KILLS or while_filling < KILLS_WHILE_FILLING:
        started += 1
        assert started <= MOST_LIVES, f"{killed} kills, {while_filling} of them while filling"
        if set(cache_of(folder)) != set(calm) and rng.random() < 0.7:
            left = drafts(root)
            reached = lambda left=left: drafts(root) > left  # noqa: E731
            status = lives.run_until(command, reached, rng.uniform(0.0, 1.0) * filling, 5 * training)
        else:  # anywhere from its start to a little after its last step
            status = lives.run(command, kill_after=rng.uniform(0.05, 1.15) * training)
        killed += status == 9
        found = cache_of(folder)
        assert all(calm[name] == content for name, content in found.items()), f"after {killed} kills"
        while_filling += status == 9 and root.exists() and set(found) != set(calm)
        run = run_if_any(folder)
        if status == 0 or (run and json.loads((run / "training_state.json").read_text())["status"] == "completed"):
            assert run is not None
            assert fingerprint(run) == expected, f"after {killed} kills"
            assert found == calm
            assert not drafts(root)
            finished, unfinished = finished + 1, 0
            shutil.rmtree(run)
            if finished % 2:
                shutil.rmtree(root)
                emptied += 1
        elif (unfinished := unfinished + 1) % 10 == 0:  # the machine has become slower
            training *= 1.5
    assert lives.run(command) == 0
    assert fingerprint(only_run(folder)) == expected
    assert cache_of(folder) == calm
    print(
        f"{killed} of {started} lives killed, {while_filling} while the cache was filled; "
        f"{finished + 1} runs finished bit-equal, {emptied} caches emptied"
    )


def drafts(root: Path) -> set[Path]:
    """Shards that are being written, or were when their process was killed."""
    return set(root.glob("*/*/.*.safetensors.*.tmp"))


def run_if_any(folder: Path) -> Path | None:
    found = [p.parent for p in (folder / "runs").glob("*/*/training_state.json") if not p.parent.is_symlink()]
    return found[0] if found else None


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, lives: Lives) -> None:
    change = {
        "model": {"dropout": 0.1},
        "train": {"max_steps": 10, "batch_size": 24, "micro_batch_size": 8, "group_by_length": True},
        "distill": {"forward_kl": {"weight": 1.0}, "linear_cka": {"weight": 1.0, "group": 4}},
        "evaluate": {"every": 5},
    }
    settings = merged(merged(DISTILLED, write_data(tmp_path / "data")), change)
    assert forge("--config", write_config(tmp_path / "one", settings)) == 0
    config = write_config(tmp_path / "two", settings)
    lives.run_pair(config)
    log = (only_run(tmp_path / "two") / "output.log").read_text()
    assert "2 processes" in log
    assert log.count("no teacher runs in training") == 1
    assert cache_of(tmp_path / "one") == cache_of(tmp_path / "two")
    pairs = list(zip(*(metrics(only_run(tmp_path / name)) for name in ("one", "two")), strict=True))
    assert len(pairs) == 10 + 2
    for one, two in pairs:
        assert set(one) == set(two)
        assert (one["kind"], one["step"]) == (two["kind"], two["step"])
        for name in (name for name, value in one.items() if isinstance(value, float)):
            assert one[name] == pytest.approx(two[name], abs=1e-6), (one["step"], name)
        assert {n: v for n, v in one.items() if isinstance(v, int)} == {
            n: v for n, v in two.items() if isinstance(v, int)
        }


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    serve()
