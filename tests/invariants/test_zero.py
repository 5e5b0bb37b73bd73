"""DeepSpeed's ZeRO-1 and ZeRO-2 on two CPU processes: the same training as on one, the same files and guarantees."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pair import (
    BOTH,
    CLOSE,
    DISTILLED,
    FULL,
    POISON,
    SUPERVISED,
    Pair,
    assert_close,
    ends_bit_equal,
    goes_on_in_one_and_back,
    trains_as_one_does,
)
from safetensors.torch import load_file, save_file
from support import ROOT, forge, merged, only_run, write_config

from forge.core.errors import UserError
from forge.core.manifest import OPTIMIZER_FILE, seal
from forge.train.zero import refuse_zero

ASKED = {"ACCELERATE_USE_DEEPSPEED": "true"}
ZERO1 = Pair(ASKED | {"ACCELERATE_DEEPSPEED_ZERO_STAGE": "1"})
ZERO2 = Pair({"FORGE_ACCELERATE": str(ROOT / "configs" / "accelerate" / "deepspeed.yaml")})
PAIRS = {"stage 1": (ZERO1, 1), "stage 2": (ZERO2, 2)}
BALANCED = merged(DISTILLED, {"distill": {"gradient_norm_every": 5, "balance": "gradient_norm"}})
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed: pip install -e '.[deepspeed]'"
)
only_in_full = pytest.mark.skipif(not FULL, reason="a start of two processes takes ten seconds: FORGE_FULL=1")


@needs_deepspeed
@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize("kind", [*BOTH, "balanced"])
@pytest.mark.parametrize("stage", PAIRS)
def test_two_processes_that_share_an_optimizer_train_as_one_does(tmp_path: Path, stage: str, kind: str) -> None:
    pair, number = PAIRS[stage]
    header = f"2 processes that share the optimizer's state (DeepSpeed ZeRO-{number})"
    trains_as_one_does(pair, tmp_path, (BOTH | {"balanced": BALANCED})[kind], header)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH if FULL else ["distilled"])
@pytest.mark.parametrize("stage", PAIRS if FULL else ["stage 2"])
def test_killed_or_asked_to_stop_it_ends_bit_equal(tmp_path: Path, stage: str, kind: str) -> None:
    undisturbed = ends_bit_equal(PAIRS[stage][0], tmp_path, BOTH[kind])
    assert forge("--config", write_config(tmp_path / "one", BOTH[kind])) == 0
    assert_close(only_run(tmp_path / "one"), undisturbed)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("stage", PAIRS if FULL else ["stage 1"])
def test_begun_on_two_processes_it_goes_on_in_one_and_back(tmp_path: Path, stage: str) -> None:
    goes_on_in_one_and_back(PAIRS[stage][0], tmp_path, DISTILLED)


@needs_deepspeed
@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize("train", [{"precision": "bf16"}, {"compile": True}])
def test_precision_and_compiling_are_those_of_one_process(tmp_path: Path, train: dict[str, Any]) -> None:
    settings = merged(SUPERVISED, {"train": train, "log": {"every": 1}})
    assert forge("--config", write_config(tmp_path / "one", settings)) == 0
    assert_close(only_run(tmp_path / "one"), ZERO2.finish(write_config(tmp_path / "two", settings)))


@needs_deepspeed
@only_in_full
@pytest.mark.slow
@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_gradient_that_is_not_finite(tmp_path: Path, nonfinite: str) -> None:
    """In step 3: the third micro-batch of each of two processes, the fifth and sixth of one."""
    calm = {"train": {"nonfinite": nonfinite, "batch_size": 16}}
    for name, calls in (("one", "5,6"), ("two", "3")):
        config = write_config(tmp_path / name, calm)
        done = ZERO2.run(config, {"POISON": calls}) if name == "two" else alone(config, {"POISON": calls})
        log = (only_run(tmp_path / name) / "output.log").read_text()
        if nonfinite == "skip":
            assert done.returncode == 0, done.stderr[-2_000:]
            assert "warning: step 3: the gradient is not finite; its update was left out" in log
        else:
            assert done.returncode != 0
            assert "step 3: the gradient is not finite" in done.stderr
    if nonfinite == "skip":
        assert_close(only_run(tmp_path / "one"), only_run(tmp_path / "two"), CLOSE)


@needs_deepspeed
@only_in_full
@pytest.mark.slow
def test_weights_that_no_loss_reaches_are_refused(tmp_path: Path) -> None:
    """AdamW in one process would leave them as they are; a stretch of ZeRO's decays as a whole."""
    assert "no loss reaches idle.bias" in only_line(ZERO2.run(write_config(tmp_path), {"IDLE": "yes"}).stderr)


@needs_deepspeed
@only_in_full
@pytest.mark.slow
def test_weights_that_took_different_numbers_of_steps_are_refused(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    assert forge("--config", config) == 0
    run = only_run(tmp_path)
    shutil.rmtree(run / "checkpoint-6")
    (run / "training_state.json").unlink()
    path = run / "checkpoint-3" / OPTIMIZER_FILE
    tensors = load_file(path)
    save_file(tensors | {"step:classifier.bias": torch.tensor(2.0)}, path)
    (path.parent / "manifest.json").unlink()
    seal(path.parent, {"step": 3})
    assert "have taken different numbers of steps" in only_line(ZERO2.run(config).stderr)


def alone(config: Path, fault: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, POISON, str(ROOT / "forge.py"), "--config", str(config)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | fault,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def only_line(stderr: str) -> str:
    lines = {line for line in stderr.splitlines() if line.startswith("forge:")}
    assert len(lines) == 1, stderr[-2_000:]
    return lines.pop()


REFUSED = [
    (
        "ZERO_STAGE",
        "3",
        "3 is none of 1 and 2; to split weights as well, take configs/accelerate/fsdp2.yaml",
    ),
    ("ZERO_STAGE", "0", "zero_stage: 0 is none of 1 and 2"),
    ("OFFLOAD_OPTIMIZER_DEVICE", "cpu", "take configs/accelerate/fsdp2.yaml"),
    ("OFFLOAD_PARAM_DEVICE", "nvme", "take configs/accelerate/fsdp2.yaml"),
    ("CONFIG_FILE", "ds.json", "name zero_stage alone"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    said: str,
) -> None:
    for variable, content in (ASKED | {f"ACCELERATE_DEEPSPEED_{name}": value}).items():
        monkeypatch.setenv(variable, content)
    assert forge("--config", write_config(tmp_path)) == 2
    assert said in only_line(capsys.readouterr().err)


def test_fp16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="fp16 does not go together with DeepSpeed"):
        refuse_zero("fp16")


def test_without_deepspeed_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("forge.train.zero.find_spec", lambda _: None)
    monkeypatch.setenv("FORGE_ACCELERATE", str(ROOT / "configs" / "accelerate" / "deepspeed.yaml"))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")  # so that what the file adds is taken away again
    assert forge("--config", write_config(tmp_path)) == 2
    assert "pip install 'forge-distill[deepspeed]'" in only_line(capsys.readouterr().err)
