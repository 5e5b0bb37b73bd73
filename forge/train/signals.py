"""Asked to stop: by a signal, or because a cluster's time limit is near.

A handler only sets a flag. The loop looks at it between two optimizer steps, saves, and leaves with exit code 75:
nothing is ever saved from inside a handler, where tensors may be half written. Before there is anything to save the
process leaves at once, also where it waits for others in a library's code, in which no handler of Python runs. No torch
here: handlers are in place before the seconds that importing it takes.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from forge.core.errors import EXIT_SAVED_RUN_ME_AGAIN, StoppedError, note_exit

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
SHARE_OF_SHORT_JOB = 0.25  # a job too short for the whole margin gives up this share of what is left
LAST_SECONDS = 10.0  # before the job's end: whoever has not left by then never will
ASKING_SECONDS = 20.0
LOOK_SECONDS = 0.1
TOO_EARLY = "before training began"  # run_training.sh knows by these words what the launcher of several processes did
PR_SET_PDEATHSIG = 1


class StopRequest:
    """Whether, and why, the run should stop at the next boundary."""

    def __init__(self) -> None:
        self._why = ""
        self._deadline: float | None = None  # on the monotonic clock
        self._last: threading.Timer | None = None
        self.saves = False  # whether there is something to save: before, a signal ends the program at once

    @property
    def why(self) -> str:
        """The reason to stop; empty while there is none."""
        if not self._why and self._deadline is not None and time.monotonic() >= self._deadline:
            self._why = "the job's time limit is near"
        return self._why

    def asked_within(self, seconds: float) -> bool:
        """Wait for a reason to stop; whether there was one in time."""
        end = time.monotonic() + seconds
        while not self.why and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        return bool(self.why)

    def ask(self, why: str) -> None:
        """Ask for a stop; the first reason stays."""
        self._why = self._why or why

    def heed_time_limit(self, margin_s: float) -> float | None:
        """Stop so many seconds before the end of the Slurm job around this process; seconds left, None without end.

        Ten seconds before it the process ends itself wherever it stands, so that whoever started it can requeue: an
        unfinished save is thrown away, and the checkpoint before it is whole.
        """
        left = job_seconds_left()
        if left is None:
            return None
        self._deadline = time.monotonic() + left - min(margin_s, left * SHARE_OF_SHORT_JOB)
        said = "the job ends in seconds and no step boundary came; the newest checkpoint stays"
        self._last = threading.Timer(max(0.0, left - LAST_SECONDS), _leave, [said])
        self._last.daemon = True
        self._last.start()
        return left

    def forget_time_limit(self) -> None:
        """What was to be ended has ended by itself."""
        if self._last is not None:
            self._last.cancel()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and (self._why or not self.saves):
            raise KeyboardInterrupt
        self.ask("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Turn the signals that ask a job to end into a request, as long as the block lasts."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # where Python takes no handlers
        yield request
        return
    with _watching(request):
        before = {number: signal.signal(number, request._handle) for number in STOPPING}
        try:
            yield request
        finally:
            request.forget_time_limit()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watching(request: StopRequest) -> Iterator[None]:
    """Hear of signals in a thread too, at once, and end the process while it has nothing to save."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while heard := os.read(reader, 1):
            if heard[0] in {signal.SIGTERM, signal.SIGUSR1} and not request.saves:
                name = signal.Signals(heard[0]).name
                _leave(f"asked to stop ({name}) {TOO_EARLY}; the same command continues")
        os.close(reader)

    threading.Thread(target=watch, name="stop-signals", daemon=True).start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold the stop signals back. What is started inside the block inherits that, and so never sees them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent dies. Only Linux can; elsewhere nothing happens."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))


def follow_launcher() -> None:
    """Never outlive the program that started this one, where it is known to be a launcher."""
    parent = os.getppid()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # the other ranks are lost too: nobody is left to save with
        die_with_parent(signal.SIGKILL)
    elif os.environ.get("FORGE_WRAPPER_PID") == str(parent):
        die_with_parent(signal.SIGTERM)
    if os.getppid() != parent or _is_stranger(parent):  # it died before the kernel was asked to watch it
        raise StoppedError("the program that started this one has ended; the same command continues")


def _is_stranger(parent: int) -> bool:
    """Whether this process, started below run_training.sh, has a parent that is not: then its own has died."""
    mark = os.environ.get("FORGE_WRAPPER_PID", "")
    if mark in {"", str(parent)}:
        return False
    try:
        variables = Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")
    except OSError:
        return parent == 1  # that of another user, for a launcher could be read
    return f"FORGE_WRAPPER_PID={mark}".encode() not in variables


def job_seconds_left() -> float | None:
    """Seconds until the Slurm job around this process ends; None outside Slurm, or without a limit."""
    if end := os.environ.get("SLURM_JOB_END_TIME"):
        return max(0.0, float(end) - time.time()) if end.isdigit() else None
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - fixed program, a number
            ["squeue", "--noheader", "--jobs", job, "--format", "%L"],
            capture_output=True,
            text=True,
            timeout=ASKING_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.split()
    return _seconds(lines[0]) if lines else None


def _seconds(shown: str) -> float | None:
    """Slurm's way to write a time span: 1-02:03:04, 02:03:04, 03:04, or a word where there is no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", shown)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _leave(why: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"forge: {why}", file=sys.stderr, flush=True)  # noqa: T201
    note_exit(EXIT_SAVED_RUN_ME_AGAIN, why)
    os._exit(EXIT_SAVED_RUN_ME_AGAIN)
