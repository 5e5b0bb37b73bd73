"""Runs on two CPU processes that share a model or an optimizer, and what must hold of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from support import ROOT, forge, launcher, merged, metrics, only_run, result, write_config

STEPS, CLOSE = 20, 1e-5
OTHERS_END_SECONDS = 30
SUPERVISED: dict[str, Any] = {
    "train": {"max_steps": STEPS, "batch_size": 24, "micro_batch_size": 8, "num_workers": 2},
    "evaluate": {"every": 7, "batch_size": 64},  # one batch: the second process has none of its own
    "checkpoint": {"every": 4, "average": 3},
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
POISON = str(ROOT / "tests" / "invariants" / "poison.py")
PACED = {"PACE": "0.05"}  # seconds a step, so that a run can be met half way


class Pair:
    """Two processes, launched with these variables."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def run(self, config: Path, fault: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """To its end, whatever that is; `fault` is what `invariants/poison.py` reads."""
        running = self._start(config, [POISON] if fault else None, fault)
        output, errors = running.communicate(timeout=300)
        return subprocess.CompletedProcess(running.args, running.returncode, output, errors)

    def finish(self, config: Path) -> Path:
        """To its good end; the run directory."""
        done = self.run(config)
        assert done.returncode == 0, done.stderr[-2_000:]
        return only_run(config.parent)

    def killed_in_the_middle(self, config: Path, after: int, end: Callable[[subprocess.Popen[str]], None]) -> float:
        """Start the run, end it once it has passed a step; seconds from then until nothing of it was left."""
        launched = self._start(config, [str(ROOT / "tests" / "slurm" / "slow.py")], PACED)
        deadline = time.monotonic() + 120
        while _step_of(config.parent) < after:
            assert launched.poll() is None, f"ended before step {after}"
            assert time.monotonic() < deadline, f"stuck before step {after}"
            time.sleep(0.05)
        ranks = _ranks_of(launched)
        assert len(ranks) == 2
        end(launched)
        ended = time.monotonic()
        launched.communicate(timeout=120)
        assert launched.returncode != 0
        while any(Path(f"/proc/{pid}").exists() for pid in ranks):
            assert time.monotonic() - ended < 60
            time.sleep(0.05)
        return time.monotonic() - ended

    def _start(
        self, config: Path, program: list[str] | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*launcher(), *(program or []), str(ROOT / "forge.py"), "--config", str(config)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | self.environment | (more or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def trains_as_one_does(pair: Pair, folder: Path, settings: dict[str, Any], header: str) -> None:
    """The same figures, and a last checkpoint of the same shape that one process can use."""
    settings = merged(settings, {"log": {"every": 1}})
    assert forge("--config", write_config(folder / "one", settings)) == 0
    one, two = only_run(folder / "one"), pair.finish(write_config(folder / "two", settings))
    assert header in (two / "output.log").read_text()
    assert_close(one, two)
    last = f"checkpoint-{STEPS}"
    assert {path.name for path in (one / last).iterdir()} == {path.name for path in (two / last).iterdir()}
    for path in (one / last).glob("*.safetensors"):
        own, other = load_file(path), load_file(two / last / path.name)
        assert {name: tensor.shape for name, tensor in own.items()} == {n: t.shape for n, t in other.items()}
    _from_hub_format(two, folder)


def assert_close(first: Path, second: Path, close: float = CLOSE) -> None:
    """The same records, numbers within `close`."""
    pairs = list(zip(metrics(first), metrics(second), strict=True))
    assert pairs
    for one, two in pairs:
        assert (one["kind"], one["step"]) == (two["kind"], two["step"])
        assert set(one) == set(two)
        for name, value in one.items():
            assert two[name] == (pytest.approx(value, abs=close) if isinstance(value, float) else value), name


def _from_hub_format(run: Path, folder: Path) -> None:
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


def ends_bit_equal(pair: Pair, folder: Path, settings: dict[str, Any]) -> Path:
    """Killed, then asked to stop, it ends as one that nobody disturbed; the directory of that one."""
    undisturbed = pair.finish(write_config(folder / "calm", settings))
    stormy = write_config(folder / "stormy", settings)
    took = pair.killed_in_the_middle(stormy, 5, _kill_one_rank)
    assert took < OTHERS_END_SECONDS
    print(f"kill -9 of one process: the other and the launcher had ended after {took:.1f} s")
    pair.killed_in_the_middle(stormy, 10, lambda launched: launched.send_signal(signal.SIGUSR1))
    assert "asked to stop" in (only_run(folder / "stormy") / "output.log").read_text()
    assert result(pair.finish(stormy)) == result(undisturbed)
    return undisturbed


def goes_on_in_one_and_back(pair: Pair, folder: Path, settings: dict[str, Any]) -> None:
    """Begun on two processes it goes on in one, and on two again."""
    assert forge("--config", write_config(folder / "whole", settings)) == 0
    expected = only_run(folder / "whole")
    moved = write_config(folder / "moved", settings)
    pair.killed_in_the_middle(moved, 5, lambda launched: launched.send_signal(signal.SIGTERM))
    run = only_run(folder / "moved")
    for step in (20, 16, 12, 8):  # one process from there to the end; then two from its second checkpoint
        shutil.rmtree(run / f"checkpoint-{step}", ignore_errors=True)
    assert forge("--config", moved) == 0
    assert_close(expected, run)
    for step in (20, 16, 14):
        shutil.rmtree(run / f"checkpoint-{step}", ignore_errors=True)
    (run / "training_state.json").unlink()
    pair.finish(moved)
    assert_close(expected, run)


def _kill_one_rank(launched: subprocess.Popen[str]) -> None:
    os.kill(_ranks_of(launched)[1], signal.SIGKILL)


def _ranks_of(launched: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{launched.pid}/task/{launched.pid}/children").read_text().split()
    named = {int(pid): Path(f"/proc/{pid}/environ").read_bytes() for pid in children}
    return [pid for pid, content in sorted(named.items()) if b"LOCAL_RANK=" in content]


def _step_of(folder: Path) -> int:
    found = [path for path in (folder / "runs").rglob("training_state.json") if not path.parent.is_symlink()]
    return int(json.loads(found[0].read_text())["step"]) if found else 0
