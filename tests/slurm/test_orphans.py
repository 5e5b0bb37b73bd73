"""Nothing of a run is left ten seconds after its script, its trainer or torchrun's agent was killed with -9.

The processes of a run are found by a variable in their environment, which also those carry that left their parents.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from slurm.cluster import wait_for
from support import ROOT, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died"),
]
MARK = "FORGE_TEST_ORPHANS"
AGENT, RANK = "torch.distributed.run", "forge.py"
RUN = {
    "assets": "embedded",
    "train": {"max_steps": 1_000_000, "num_workers": 2},
    "evaluate": {"every": None},
    "checkpoint": {"every": 1_000},
}
CASES = {  # how many processes train, who is killed
    "script of one": (1, "script"),
    "trainer of one": (1, "0"),
    "script of two": (2, "script"),
    "agent": (2, "agent"),
    "main process of two": (2, "0"),
    "second process of two": (2, "1"),
}
STARTING = CASES if os.environ.get("FORGE_FULL") else ("script of two", "agent")


class Run:
    """A run on its way, and all that belongs to it."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder, self.processes = folder, processes
        config = write_config(folder, RUN)
        own = {MARK: str(folder), "FORGE_PROCESSES": str(processes), "FORGE_PYTHON": sys.executable}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        self.script = subprocess.Popen(
            ["bash", str(ROOT / "run_training.sh"), str(config)],
            cwd=folder,
            env=inherited | own | {"OMP_NUM_THREADS": "1"},
            stdout=(folder / "out").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def all(self) -> dict[int, list[str]]:
        """Every living process of the run, and its words."""
        mark, found = f"{MARK}={self.folder}".encode(), {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
        return found

    def victim(self, who: str) -> int | None:
        """The script, torchrun's agent, or the process of a rank; not its workers, which have the same words."""
        if who == "script":
            return self.script.pid
        there = self.all()
        agents = {pid for pid, words in there.items() if AGENT in words}
        if who == "agent":
            return min(agents, default=None)
        ranks = {pid for pid, words in there.items() if any(word.endswith(RANK) for word in words)} - agents
        mine = [pid for pid in ranks if parent(pid) not in ranks and (self.processes == 1 or rank(pid) == who)]
        return mine[0] if mine else None

    def trains(self) -> bool:
        """Whether steps are being made, with all workers there."""
        logs = [path for path in self.folder.rglob("output.log") if not path.parent.is_symlink()]
        trained = any("step " in path.read_text() for path in logs)
        return trained and len(self.all()) >= 1 + (self.processes > 1) + 3 * self.processes

    def end(self) -> None:
        for pid in self.all():
            os.kill(pid, signal.SIGKILL)
        self.script.wait()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def rank(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next((value[5:].decode() for value in variables if value.startswith(b"RANK=")), "")


def left_behind(folder: Path, processes: int, who: str, moment: str, allowed: float) -> str:
    folder.mkdir()
    run = Run(folder, processes)
    try:
        ready: Callable[[], bool] = run.trains if moment == "training" else (lambda: run.victim("0") is not None)
        wait_for(ready, 200, lambda: f"{who}: {(folder / 'out').read_text()}")
        pid, there = run.victim(who), len(run.all())
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        if who == "script":
            run.script.wait()
        wait_for(
            lambda: not run.all(), allowed, lambda: f"{who}, {moment}: {run.all()}\n{(folder / 'out').read_text()}"
        )
        return f"{who} of {there} processes, {moment}: none left after {time.monotonic() - began:.1f} s"
    finally:
        run.end()


def seconds_allowed() -> float:
    """Ten seconds, or more where the machine has other work: then importing torch takes longer than two."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return max(10.0, 5 * (time.monotonic() - began))


def test_kill_9_leaves_no_process_behind(tmp_path: Path) -> None:
    allowed = seconds_allowed()
    print(f"within {allowed:.0f} s:")
    work = [(name, "training") for name in CASES] + [(name, "starting") for name in STARTING]
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(left_behind, tmp_path / f"{name.replace(' ', '_')}_{moment}", *CASES[name], moment, allowed)
            for name, moment in work
        ]
    print("\n".join(one.result() for one in done))
