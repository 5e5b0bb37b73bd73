"""What goes wrong while a run ends hides neither why it ended nor its exit code; a full standard output has one too."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from faulty_runs import write_data
from support import ROOT, forge, only_run, write_config

from forge.core.errors import DivergedError
from forge.runs.run_dir import RunDirectory
from forge.train.loop import Trainer


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def diverge(*_: object) -> None:
    raise DivergedError("step 1: the gradient is not finite")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    short = {"train": {"max_steps": 2, "batch_size": 8}, "evaluate": {"every": 1}}
    return write_config(tmp_path, short | write_data(tmp_path / "data"))


@pytest.mark.parametrize("spoilt", [[], ["write_state"], ["end_life"], ["write_state", "end_life"]])
def test_the_first_failure_is_the_one_to_hear_of(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], spoilt: list[str]
) -> None:
    monkeypatch.setattr(Trainer, "_note", diverge)
    for name in spoilt:
        monkeypatch.setattr(RunDirectory, name, full)
    monkeypatch.setattr("forge.runs.sinks.STATE_INTERVAL_S", 1e9)  # nothing is written before the end
    assert forge("--config", config) == 4
    assert capfd.readouterr().err == "forge: step 1: the gradient is not finite\n"
    run = RunDirectory(only_run(config.parent))
    assert (run.metadata()["lives"][-1]["why"] is None) == ("end_life" in spoilt)
    assert (run.state().get("status") == "failed") == ("write_state" not in spoilt), "one is written without the other"


@pytest.mark.parametrize(
    ("where", "name"),
    [("forge.runs.run_dir", "write_json"), ("forge.runs.report", "write_atomic")],
    ids=["json", "report"],
)
def test_a_run_whose_end_could_not_be_written_is_ended_by_the_same_command(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], where: str, name: str
) -> None:
    real = getattr(importlib.import_module(where), name)

    def when_done(path: Path, content: Any, *rest: Any) -> None:
        if "completed" in str(content):
            full()
        real(path, content, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(f"{where}.{name}", when_done)
        assert forge("--config", config) == 5
    assert len(capfd.readouterr().err.splitlines()) == 1
    run = RunDirectory(only_run(config.parent))
    assert run.state()["status"] == "failed"
    assert "cannot write while" in run.metadata()["lives"][-1]["why"]
    assert forge("--config", config) == 0
    assert run.completed
    assert run.metadata()["lives"][-1]["why"] == "completed"
    assert "completed: best accuracy" in (run.path / "report.html").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("words", "both"),
    [(["config", "show"], False), (["config", "show"], True), ([], False)],
    ids=["show", "2>&1", "train"],
)
def test_standard_output_on_a_full_disk(config: Path, words: list[str], both: bool) -> None:
    """A batch job's output often lies on the disk of its runs."""
    with open("/dev/full", "w") as disk:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "forge.py", *words, "--config", str(config)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=disk,
            stderr=disk if both else subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 5
    if not both:
        assert done.stderr.startswith("forge: cannot write while ")
        assert len(done.stderr.splitlines()) == 1
