"""The lock of a run directory: it names its holder, can be waited for, dies with its process, does without flock."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from forge.core.errors import UserError
from forge.core.events import Finished
from forge.runs import lock as lock_module
from forge.runs.lock import CANNOT_LOCK, RunLock, is_held
from forge.runs.run_dir import RunDirectory
from forge.runs.sinks import StateFile

HOLD = """
import os, sys, time
from pathlib import Path
from forge.core.errors import UserError
from forge.runs import lock
from forge.runs.run_dir import RunDirectory
path, *how = sys.argv[1:]
if "no-flock" in how:
    def refuse(*_):
        raise OSError(37, "No locks available")
    lock.fcntl.flock = refuse
    lock.SETTLE_S = 2.0
print("ready", flush=True)
if "on-signal" in how:
    sys.stdin.readline()
run = RunDirectory(Path(path))
try:
    run.claim()
except UserError as error:
    sys.exit(str(error))
worker = 0
if "worker" in how:
    worker = os.fork()
    if not worker:
        time.sleep(60)
        os._exit(0)
print("claimed", worker, flush=True)
sys.stdin.readline()
run.release()
print("released", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _outside_slurm(monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(lock_module, "POLL_S", 0.02)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs/name/1-abc"


@pytest.fixture
def hold(path):
    """Starts processes that claim `path`."""
    started = []

    def start(*how, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(path), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def no_flock(monkeypatch):
    _break_flock(monkeypatch, errno.ENOLCK)
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.0)


def _break_flock(monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)


def _claimed(process):
    word, worker = process.stdout.readline().split()
    assert word == "claimed"
    return int(worker)


def _refusal(path, **named):
    with pytest.raises(UserError) as caught:
        RunDirectory(path).claim(**named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _claim(path, **named):
    run = RunDirectory(path)
    run.claim(**named)
    run.release()


def _leave_record(path, silent_s=0.0, **change):
    """A lock file that a process on this machine, or elsewhere, has left."""
    record = {"host": platform.node(), "pid": os.getpid(), "ticks": 0, "job": "", "restarts": "", "started": "x"}
    path.mkdir(parents=True, exist_ok=True)
    (path / ".lock").write_text(json.dumps(record | change))
    then = time.time() - silent_s
    os.utime(path / ".lock", (then, then))


def _dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# Who holds it


def test_the_lock_says_who_holds_it(path, hold):
    process = hold(SLURM_JOB_ID="77", SLURM_RESTART_COUNT="2")
    _claimed(process)
    record = json.loads((path / ".lock").read_text())
    assert {name: record[name] for name in ("host", "pid", "job", "restarts")} == {
        "host": platform.node(),
        "pid": process.pid,
        "job": "77",
        "restarts": "2",
    }
    assert record["started"].endswith("+00:00")
    who = f"process {process.pid} on {platform.node()} (Slurm job 77, restart 2)"
    assert _refusal(path) == f"{path}  is in use by {who}; wait for it, or stop it"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "released\n"
    assert (path / ".lock").read_text() == ""
    _claim(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00\x00", '{"host": 1}', '{"pid": 3}', "[" * 100_000])
def test_a_damaged_record_neither_holds_nor_hides_a_lock(path, text):
    path.mkdir(parents=True)
    (path / ".lock").write_text(text)
    _claim(path)  # flock knows better
    run = RunDirectory(path)
    run.claim()
    (path / ".lock").write_text(text)
    assert "is in use by another process;" in _refusal(path)
    assert is_held(path / ".lock")


# Waiting


def test_a_claim_waits_for_the_earlier_life_to_die(path, hold, monkeypatch):
    process = hold()
    _claimed(process)
    polls, told = [], []

    def sleep(seconds):
        polls.append(seconds)
        if len(polls) == 3:
            process.kill()
            process.wait()

    monkeypatch.setattr(lock_module.time, "sleep", sleep)
    _claim(path, patience_s=60, say=told.append)
    assert len(polls) >= 3
    assert told == [f"{path} is in use by process {process.pid} on {platform.node()}; waiting up to 60 s for it to end"]


def test_patience_ends(path, hold):
    _claimed(hold())
    began = time.monotonic()
    assert re.search(r" \(waited \d+ s\); wait for it, or stop it$", _refusal(path, patience_s=0.6))
    assert time.monotonic() - began >= 0.6


def test_only_a_slurm_job_waits_by_itself(path, hold, monkeypatch):
    monkeypatch.setattr(lock_module, "PATIENCE_S", 0.6)
    _claimed(hold())
    assert "waited" not in _refusal(path)
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert "waited" in _refusal(path)
    assert "waited" not in _refusal(path, patience_s=0)


def test_a_look_at_the_lock_does_not_make_a_claim_fail(path, monkeypatch):
    """`forge runs` holds the lock for an instant."""
    path.mkdir(parents=True)
    (path / ".lock").touch()
    looking = os.open(path / ".lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
    monkeypatch.setattr(lock_module.time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
    _claim(path)
    os.close(looking)


def test_a_directory_deleted_while_a_claim_waits_is_made_again(path, hold, monkeypatch):
    _claimed(hold())
    monkeypatch.setattr(lock_module.time, "sleep", lambda _: shutil.rmtree(path, ignore_errors=True))
    run = RunDirectory(path)
    run.claim(patience_s=60)
    assert json.loads((path / ".lock").read_text())["pid"] == os.getpid()
    run.release()


# Forks


def test_a_worker_that_outlives_a_killed_trainer_does_not_keep_its_lock(path, hold):
    process = hold("worker")
    worker = _claimed(process)
    try:
        assert is_held(path / ".lock")
        process.kill()
        process.wait()
        deadline = time.monotonic() + 5  # the worker may not have been given the processor since it was forked
        while is_held(path / ".lock") and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(worker, 0)  # still there
        assert not is_held(path / ".lock")
        _claim(path)
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_worker_does_not_release_the_lock_of_its_trainer(path):
    run = RunDirectory(path)
    run.claim()
    child = os.fork()
    if not child:
        run.release()
        run.heartbeat()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert json.loads((path / ".lock").read_text())["pid"] == os.getpid()
    _refusal(path)
    run.release()


def test_a_program_started_by_the_trainer_does_not_hold_its_lock(path):
    run = RunDirectory(path)
    run.claim()
    child = subprocess.Popen(
        [sys.executable, "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    )
    child.stdout.readline()
    os.close(run._lock._descriptor)  # as the system does when the trainer dies
    run._lock._descriptor = None
    try:
        assert not is_held(path / ".lock")
    finally:
        child.communicate(b"\n")


# Failures


@pytest.mark.parametrize("there", [True, False])
def test_a_disk_without_room_for_the_record(path, monkeypatch, there):
    if there:
        path.mkdir(parents=True)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert _refusal(path) == f"run.dir: cannot write to {path}: No space left on device"
    assert path.exists() is there
    assert path.parents[1].exists() is there
    assert not there or list(path.iterdir()) == []
    monkeypatch.undo()
    _claim(path)


def test_a_failed_claim_removes_nothing_that_another_made(path, monkeypatch):
    def full(*_):
        (path / "theirs").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    _refusal(path)
    assert [file.name for file in path.iterdir()] == ["theirs"]


def test_an_interrupted_wait_holds_nothing(path, hold, monkeypatch):
    process = hold()
    _claimed(process)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_module.time, "sleep", interrupt)
    run = RunDirectory(path)
    with pytest.raises(KeyboardInterrupt):
        run.claim(patience_s=60)
    assert json.loads((path / ".lock").read_text())["pid"] == process.pid
    process.kill()
    process.wait()
    _claim(path)


# File systems that cannot lock, or lock only within one machine


@pytest.mark.parametrize("number", sorted(CANNOT_LOCK))
def test_without_flock_the_record_decides(path, monkeypatch, number):
    _break_flock(monkeypatch, number)
    monkeypatch.setattr(lock_module, "SETTLE_S", 0.0)
    run = RunDirectory(path)
    run.claim()
    assert f"is in use by process {os.getpid()} on {platform.node()};" in _refusal(path)
    assert is_held(path / ".lock")
    run.release()
    assert not is_held(path / ".lock")
    _claim(path)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_process_of_this_machine_is_looked_up(path):
    _leave_record(path, silent_s=3_600, pid=os.getppid())
    assert f"process {os.getppid()} on" in _refusal(path)  # however long it has been silent
    for gone in ({"pid": _dead_pid()}, {"ticks": 1}, {"pid": -1}):  # ended; its pid used again; never was
        _leave_record(path, **gone)
        assert not is_held(path / ".lock")
        _claim(path)


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_killed_child_that_nobody_waited_for_is_gone(path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    _leave_record(path, pid=child.pid)
    assert is_held(path / ".lock")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_held(path / ".lock")
    child.communicate()


@pytest.mark.parametrize("flock", [True, False])
def test_a_process_of_another_machine_holds_as_long_as_it_gives_signs_of_life(path, monkeypatch, flock):
    """Also where flock is to be had: it may not reach beyond this machine."""
    if not flock:
        _break_flock(monkeypatch, errno.EOPNOTSUPP)
        monkeypatch.setattr(lock_module, "SETTLE_S", 0.0)
    _leave_record(path, silent_s=50, host="elsewhere", job="9")
    assert is_held(path / ".lock")
    assert f"is in use by process {os.getpid()} on elsewhere (Slurm job 9);" in _refusal(path)
    _leave_record(path, silent_s=70, host="elsewhere", job="9")
    assert not is_held(path / ".lock")
    _claim(path)


def test_without_flock_one_of_two_wins(path, hold):
    both = [hold("no-flock", "on-signal") for _ in range(2)]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    words = [process.stdout.readline() for process in both]
    assert sorted(words) == ["", "claimed 0\n"]


def test_the_holder_gives_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.01)
    run = RunDirectory(path)
    run.claim()
    os.utime(path / ".lock", (0, 0))
    deadline = time.monotonic() + 30
    while (path / ".lock").stat().st_mtime == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.release()


def test_the_state_file_gives_signs_of_life_of_a_run_that_is_owned(path):
    run = RunDirectory(path)
    run.claim()
    sink = StateFile(run)
    sink(Finished(1, "all steps done", 1.0))
    os.utime(path / ".lock", (0, 0))
    sink.end("completed", "")
    assert (path / ".lock").stat().st_mtime > 0
    run.release()
    os.utime(path / ".lock", (0, 0))
    sink.end("completed", "")
    assert (path / ".lock").stat().st_mtime == 0


# Looking


def test_looking_changes_nothing(path):
    assert not is_held(path / ".lock")
    assert not path.exists()
    path.mkdir(parents=True)
    (path / ".lock").touch()
    os.utime(path / ".lock", (0, 0))
    assert not is_held(path / ".lock")
    assert (path / ".lock").stat().st_mtime == 0
    lock = RunLock(path / ".lock")
    lock.take()
    assert is_held(path / ".lock")
    assert json.loads((path / ".lock").read_text())["pid"] == os.getpid()
    lock.release()
    assert not is_held(path / ".lock")
