"""FSDP2 on two CPU processes: the same training as on one, the same files, the same guarantees."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support import ROOT, forge, launcher, merged, metrics, only_run, result, write_config

FSDP2 = {"FORGE_ACCELERATE": str(ROOT / "configs" / "accelerate" / "fsdp2.yaml")}
STEPS, CLOSE = 20, 1e-5
OTHERS_END_SECONDS = 30
SUPERVISED: dict[str, Any] = {
    "train": {"max_steps": STEPS, "batch_size": 24, "micro_batch_size": 8, "num_workers": 2},
    "evaluate": {"every": 7, "batch_size": 64},  # one batch: the second process has none of its own
    "checkpoint": {"every": 4},
    "log": {"every": 3},
}
DISTILLED = merged(
    SUPERVISED,
    {
        "alpha": 0.5,
        "teacher": {"name": "embedded/tiny-bert"},
        "distill": {
            "layers": "last",
            "gradient_norm_every": None,
            "projection_learning_rate": 1e-2,
            "forward_kl": {"weight": 1.0},
            "hidden_mse": {"weight": 1.0},
            "attention_kl": {"weight": 1.0},
            "cache": {"mode": "on"},
        },
    },
)
FULL = bool(os.environ.get("FORGE_FULL"))  # a start of two processes takes ten seconds
BOTH = {"supervised": SUPERVISED, "distilled": DISTILLED}
PACED = {"PACE": "0.05"}  # seconds a step, so that a run can be met half way


def start(config: Path, paced: bool = False) -> subprocess.Popen[str]:
    program = [str(ROOT / "tests" / "slurm" / "slow.py")] if paced else []
    return subprocess.Popen(
        [*launcher(), *program, str(ROOT / "forge.py"), "--config", str(config)],
        cwd=ROOT,
        env=os.environ | FSDP2 | {"OMP_NUM_THREADS": "1"} | (PACED if paced else {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(config: Path) -> Path:
    running = start(config)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors[-2_000:]
    return only_run(config.parent)


def assert_close(first: Path, second: Path) -> None:
    pairs = list(zip(metrics(first), metrics(second), strict=True))
    assert len(pairs) > STEPS // 3
    for one, two in pairs:
        assert (one["kind"], one["step"]) == (two["kind"], two["step"])
        assert set(one) == set(two)
        for name, value in one.items():
            assert two[name] == (pytest.approx(value, abs=CLOSE) if isinstance(value, float) else value), name


@pytest.mark.slow
@pytest.mark.parametrize("settings", BOTH.values(), ids=BOTH)
def test_two_processes_that_share_a_model_train_as_one_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = merged(settings, {"log": {"every": 1}})
    assert forge("--config", write_config(tmp_path / "one", settings)) == 0
    one, two = only_run(tmp_path / "one"), finish(write_config(tmp_path / "two", settings))
    assert "2 processes that share the model (FSDP2)" in (two / "output.log").read_text()
    assert_close(one, two)
    last = f"checkpoint-{STEPS}"
    assert {path.name for path in (one / last).iterdir()} == {path.name for path in (two / last).iterdir()}
    for path in (one / last).glob("*.safetensors"):
        own, other = load_file(path), load_file(two / last / path.name)
        assert {name: tensor.shape for name, tensor in own.items()} == {n: t.shape for n, t in other.items()}
    from_hub_format(two, tmp_path)


def from_hub_format(run: Path, folder: Path) -> None:
    """What one process can do with the result: load, answer, export."""
    from transformers import AutoModelForSequenceClassification

    model, report = AutoModelForSequenceClassification.from_pretrained(
        run / f"checkpoint-{STEPS}", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert model.config.architectures == ["DistilBertForSequenceClassification"]
    assert forge("evaluate", "--run", str(run)) == 0
    assert forge("export", "--run", str(run), "--out", str(folder / "exported")) == 0
    assert AutoModelForSequenceClassification.from_pretrained(folder / "exported")


@pytest.mark.slow
@pytest.mark.parametrize("settings", BOTH.values() if FULL else [DISTILLED], ids=BOTH if FULL else ["distilled"])
def test_killed_or_asked_to_stop_it_ends_bit_equal(tmp_path: Path, settings: dict[str, Any]) -> None:
    calm = result(finish(write_config(tmp_path / "calm", settings)))
    stormy = write_config(tmp_path / "stormy", settings)
    took = killed_in_the_middle(stormy, 5, kill_one_rank)
    assert took < OTHERS_END_SECONDS
    print(f"kill -9 of one process: the other and the launcher had ended after {took:.1f} s")
    killed_in_the_middle(stormy, 10, lambda launched: launched.send_signal(signal.SIGUSR1))
    assert "asked to stop" in (only_run(tmp_path / "stormy") / "output.log").read_text()
    assert result(finish(stormy)) == calm


def killed_in_the_middle(config: Path, after: int, end: Callable[[subprocess.Popen[str]], None]) -> float:
    """Start the run, end it once it has passed a step; seconds from then until nothing of it was left."""
    launched = start(config, paced=True)
    deadline = time.monotonic() + 120
    while step_of(config.parent) < after:
        assert launched.poll() is None, f"ended before step {after}"
        assert time.monotonic() < deadline, f"stuck before step {after}"
        time.sleep(0.05)
    ranks = ranks_of(launched)
    assert len(ranks) == 2
    end(launched)
    ended = time.monotonic()
    launched.communicate(timeout=120)
    assert launched.returncode != 0
    while any(Path(f"/proc/{pid}").exists() for pid in ranks):
        assert time.monotonic() - ended < 60
        time.sleep(0.05)
    return time.monotonic() - ended


def kill_one_rank(launched: subprocess.Popen[str]) -> None:
    os.kill(ranks_of(launched)[1], signal.SIGKILL)


def ranks_of(launched: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()
    named = {int(pid): Path(f"/proc/{pid}/environ").read_bytes() for pid in children}
    return [pid for pid, content in sorted(named.items()) if b"LOCAL_RANK=" in content]


def step_of(folder: Path) -> int:
    found = [path for path in (folder / "runs").rglob("training_state.json") if not path.parent.is_symlink()]
    return int(json.loads(found[0].read_text())["step"]) if found else 0


@pytest.mark.slow
def test_begun_on_two_processes_it_goes_on_in_one_and_back(tmp_path: Path) -> None:
    whole = write_config(tmp_path / "whole", DISTILLED)
    assert forge("--config", whole) == 0
    expected = only_run(tmp_path / "whole")
    moved = write_config(tmp_path / "moved", DISTILLED)
    killed_in_the_middle(moved, 5, lambda launched: launched.send_signal(signal.SIGTERM))
    run = only_run(tmp_path / "moved")
    for step in (20, 16, 12, 8):  # one process from there to the end; then two from its second checkpoint
        shutil.rmtree(run / f"checkpoint-{step}", ignore_errors=True)
    assert forge("--config", moved) == 0
    assert_close(expected, run)
    for step in (20, 16, 14):
        shutil.rmtree(run / f"checkpoint-{step}", ignore_errors=True)
    (run / "training_state.json").unlink()
    finish(moved)
    assert_close(expected, run)


REFUSED: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"FORGE_ACCELERATE": "nowhere.yaml"}, {}, "there is no nowhere.yaml"),
    ({"FSDP_VERSION": "1"}, {}, "shards with version 2"),
    ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, "without weights"),
    ({}, {"train": {"compile": True}}, "train.compile"),
    ({}, merged(DISTILLED, {"distill": {"balance": "gradient_norm"}}), "needs whole gradients"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "settings", "said"), REFUSED if FULL else [REFUSED[0], REFUSED[-1]])
def test_what_does_not_go_together_is_refused_in_one_line(
    tmp_path: Path, environment: dict[str, str], settings: dict[str, Any], said: str
) -> None:
    sharding = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    done = subprocess.run(
        [*launcher(), str(ROOT / "forge.py"), "--config", str(write_config(tmp_path, settings))],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | sharding | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode != 0
    lines = {line for line in done.stderr.splitlines() if line.startswith("forge:")}
    assert len(lines) == 1
    assert said in lines.pop()
