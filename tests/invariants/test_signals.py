"""Asked to stop at any moment, a run saves, leaves with exit code 75, and ends bit-equal to one that nobody disturbed.

FORGE_FULL=1 sends 100 signals instead of 12.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, AskAt, Lives, forge, merged, only_run, result, write_config

from forge.core.errors import EXIT_SAVED_RUN_ME_AGAIN
from forge.train.signals import StopRequest, job_seconds_left, listening

SIGNALS_EACH = 25 if os.environ.get("FORGE_FULL") else 3
RUN: dict[str, Any] = {
    "train": {"max_steps": 24, "batch_size": 16},
    "evaluate": {"every": 6, "max_examples": 64, "batch_size": 8},
    "checkpoint": {"every": 4},
    "log": {"every": 3},
}
DISTILLED: dict[str, Any] = {
    "alpha": 0.5,
    "teacher": {"name": "embedded/tiny-bert"},
    "distill": {"forward_kl": {"weight": 1.0}, "hidden_mse": {"weight": 1.0}, "cache": {"mode": "on"}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("micro_batch", "workers", "extra"),
    [(16, 0, {}), (4, 2, {}), (16, 2, DISTILLED), (4, 0, DISTILLED)],
    ids=["whole", "accumulation-workers", "distilled-workers", "distilled-accumulation"],
)
def test_signals_at_random_moments(
    tmp_path: Path, lives: Lives, micro_batch: int, workers: int, extra: dict[str, Any]
) -> None:
    change = merged(merged(RUN, {"train": {"micro_batch_size": micro_batch, "num_workers": workers}}), extra)
    calm = write_config(tmp_path / "calm", change)
    assert lives.run(["--config", str(calm)]) == 0
    expected = result(only_run(tmp_path / "calm"))
    log = only_run(tmp_path / "calm") / "output.log"
    lasted = log.stat().st_mtime - (log.parent / "run_metadata.json").stat().st_ctime

    stormy = write_config(tmp_path / "stormy", change)
    rng, sent, finished = random.Random(micro_batch + workers), 0, 0
    while sent < SIGNALS_EACH:
        begun = time.time()
        number = rng.choice([signal.SIGTERM, signal.SIGUSR1])
        alive = lambda since=begun: _log_moved(tmp_path / "stormy", since)  # noqa: E731
        send = lambda pid, number=number: os.killpg(pid, number)  # noqa: E731 - workers included
        then = rng.uniform(0.0, 0.8) * max(lasted, 1.0)
        status = lives.run_until(["--config", str(stormy)], alive, then, send=send)
        code = os.waitstatus_to_exitcode(status)
        assert code in {0, EXIT_SAVED_RUN_ME_AGAIN}, (code, signal.Signals(number).name)
        sent += code == EXIT_SAVED_RUN_ME_AGAIN
        if code == 0:
            assert result(only_run(tmp_path / "stormy")) == expected
            finished += 1
            shutil.rmtree(only_run(tmp_path / "stormy"))
            continue
        state = json.loads((only_run(tmp_path / "stormy") / "training_state.json").read_text())
        assert state["status"] == "interrupted"
        step = state.get("step", 0)  # none where it was asked while the teacher's cache was filled
        assert step == 0 or state["checkpoint"] == f"checkpoint-{step}", "saved where it stood"
    assert lives.run(["--config", str(stormy)]) == 0
    assert result(only_run(tmp_path / "stormy")) == expected
    print(f"{sent} signals, all saved; {finished + 1} runs bit-equal")


def _log_moved(folder: Path, since: float) -> bool:
    logs = [path for path in (folder / "runs").glob("*/*/output.log") if not path.parent.is_symlink()]
    return any(path.stat().st_mtime > since for path in logs)


AN_EVALUATION = 3  # looks: before it, and before each of its two batches


@pytest.mark.slow
@pytest.mark.parametrize("again", [None, AN_EVALUATION], ids=["once", "after-the-evaluation-made-up"])
def test_a_stop_at_every_boundary_there_is(tmp_path: Path, again: int | None) -> None:
    """Between any two steps and in each batch of each evaluation, test split included; the next life may stop too."""
    from forge.assemble import train
    from forge.config import resolve
    from forge.core.errors import StoppedError
    from forge.preflight import preflight

    change = {"train": {"max_steps": 4}, "evaluate": {"every": 2, "max_examples": 16, "batch_size": 8}}
    change["checkpoint"] = {"every": 3}
    if again is not None:  # some evaluations must be neither the best so far nor at a step that is saved
        change["evaluate"] |= {"every": 1}
    assert forge("--config", write_config(tmp_path / "calm", change)) == 0
    expected = result(only_run(tmp_path / "calm"))
    stops = 0
    for looks in range(100):
        folder = tmp_path / str(looks)
        config = write_config(folder, change)
        try:
            train(preflight(resolve(config)), ["test"], AskAt(looks))
        except StoppedError:
            stops += 1
            if again is not None:
                with suppress(StoppedError):
                    train(preflight(resolve(config)), ["test"], AskAt(again))
            assert forge("--config", config) == 0
            assert result(only_run(folder)) == expected, f"stopped at look {looks}"
        else:
            break
        shutil.rmtree(folder)
    assert result(only_run(folder)) == expected
    assert stops >= 12, "four steps, two evaluations of two batches, a test split of two"


def test_a_handler_only_asks() -> None:
    with listening() as stop:
        stop.saves = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.why == "SIGUSR1"
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.why == "SIGUSR1", "the first reason stays"
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_while_there_is_nothing_to_save_a_signal_ends_the_process_even_inside_a_library(number: signal.Signals) -> None:
    waits = (
        "from forge.train.signals import listening\nimport ctypes\n"
        "with listening():\n    print('ready', flush=True)\n"
        "    for _ in range(2):\n        ctypes.CDLL(None).sleep(60)\n"  # a signal ends the first
    )
    life = subprocess.Popen(
        [sys.executable, "-c", waits], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert life.stdout is not None
    assert life.stdout.readline() == "ready\n"
    time.sleep(0.2)
    life.send_signal(number)
    assert life.wait(10) == EXIT_SAVED_RUN_ME_AGAIN
    assert life.stderr is not None
    assert f"asked to stop ({number.name}) before training began" in life.stderr.read()
    life.stdout.close()
    life.stderr.close()


def test_the_first_ctrl_c_saves_and_the_second_ends() -> None:
    with listening() as stop:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)  # nothing to save yet
        stop.saves = True
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.why == "Ctrl-C"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [("0:42", 42), ("12:34", 754), ("2:03:04", 7384), ("1-02:03:04", 93784), ("UNLIMITED", None), ("INVALID", None)],
)
def test_time_left_as_slurm_writes_it(
    shown: str, seconds: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "squeue"
    shim.write_text(f"#!/bin/sh\necho '{shown}'\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert job_seconds_left() == seconds
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 100))
    left = job_seconds_left()
    assert left is not None
    assert 98 <= left <= 100


def test_a_job_s_end_is_a_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3600))
    stop = StopRequest()
    assert stop.heed_time_limit(60) is not None
    assert not stop.why
    stop.forget_time_limit()
    short = StopRequest()
    short.heed_time_limit(3600)
    short.forget_time_limit()
    assert not short.why, "a quarter of what is left, at most"
    for request, seconds in ((stop, 3600 - 60), (short, 3600 * 0.75)):
        began = time.monotonic()
        with monkeypatch.context() as later:
            later.setattr(time, "monotonic", lambda: began + seconds - 30)  # noqa: B023
            assert not request.why
            later.setattr(time, "monotonic", lambda: began + seconds + 30)  # noqa: B023
            assert request.why == "the job's time limit is near"


def test_in_a_job_s_last_seconds_a_process_ends_itself_unless_its_run_has_ended() -> None:
    run = "import time\nfrom forge.train.signals import listening\n"
    stuck = run + "with listening() as stop:\n    stop.heed_time_limit(60)\n    time.sleep(30)\n"
    ended = run + "with listening() as stop:\n    stop.heed_time_limit(60)\ntime.sleep(3)\n"
    environment = os.environ | {"SLURM_JOB_END_TIME": str(int(time.time()) + 12)}
    lives = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment) for code in (stuck, ended)]
    assert [life.wait(20) for life in lives] == [EXIT_SAVED_RUN_ME_AGAIN, 0]


def test_a_run_that_another_process_has_begun_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge import assemble

    real, first = assemble.prepare_run, [True]

    def meanwhile(*arguments: Any, **named: Any) -> Any:
        if first.pop() if first else False:
            assert forge("--config", config) == 0
        return real(*arguments, **named)

    config = write_config(tmp_path)
    monkeypatch.setattr(assemble, "prepare_run", meanwhile)
    assert forge("--config", config) == EXIT_SAVED_RUN_ME_AGAIN
    assert json.loads((only_run(tmp_path) / "training_state.json").read_text())["status"] == "completed"
    assert forge("--config", config) == 0


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_trainer(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"train": {"max_steps": 100_000, "num_workers": 2}, "evaluate": {"every": None}})
    command = [sys.executable, "forge.py", "--config", str(config)]
    trainer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        children = Path(f"/proc/{trainer.pid}/task/{trainer.pid}/children")
        workers: list[int] = []
        for _ in range(600):
            workers = [int(pid) for pid in children.read_text().split()]
            if len(workers) == 2:
                break
            time.sleep(0.1)
        assert len(workers) == 2
        time.sleep(0.5)
    finally:
        trainer.kill()
        trainer.wait()
    time.sleep(1.0)
    assert not [pid for pid in workers if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_step_whose_gradient_is_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from forge.train.engine import Engine

    real = Engine.learn
    calls = 0

    def poisoned(self: Engine, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        report = real(self, *arguments, **named)
        if calls in bad:
            next(self.model.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]
        return report

    monkeypatch.setattr(Engine, "learn", poisoned)
    change = {"train": {"micro_batch_size": None, "nonfinite": "skip"}}
    bad = {3}
    assert forge("--config", write_config(tmp_path / "skip", change)) == 0
    log = (only_run(tmp_path / "skip") / "output.log").read_text()
    assert "warning: step 3: the gradient is not finite; its update was left out" in log
    calls, bad = 0, set(range(2, 100))
    many = write_config(tmp_path / "many", {"train": {"max_steps": 30, "nonfinite": "skip", "micro_batch_size": None}})
    assert forge("--config", many) == 4
    assert "step 11: the gradient was not finite 10 steps in a row" in capsys.readouterr().err
    calls, bad = 0, {3}
    assert forge("--config", write_config(tmp_path / "stop", {"train": {"micro_batch_size": None}})) == 4
    assert "step 3" in capsys.readouterr().err
