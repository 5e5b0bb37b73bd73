"""A side of a benchmark in a process of its own: its peak of memory is then that of its own live tensors."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.kd_case import shown

T = TypeVar("T")

# With these, memory that is given back leaves the process, so the peak is that of live tensors.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def alone(module: str, *words: object) -> Any:
    """What `python -m module words` prints last, as JSON; one thread. Ends the benchmark where that fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | GIVING_BACK,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(map(str, words))} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def memory(kind: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    found = re.search(rf"{kind}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


def peak_begins() -> float:
    """From here on VmHWM is counted anew; what is resident now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def in_turn(sides: Sequence[str], rounds: int, one: Callable[[str], T]) -> dict[str, list[T]]:
    """Each side once a round, every second round in the opposite order."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else sides[::-1]:
            found[name].append(one(name))
    return found


def over_plain(found: Mapping[str, Sequence[Mapping[str, float]]], name: str) -> str:
    """Cells of a side's row: peak and milliseconds, each as its median and over those of the side `plain`."""
    cells = ""
    for key in ("peak", "ms"):
        over = [its[key] / plain[key] for its, plain in zip(found[name], found["plain"], strict=True)]
        cells += f"| {statistics.median(its[key] for its in found[name]):,.0f} | {shown(over)} "
    return f"{cells}|"
