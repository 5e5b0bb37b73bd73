"""A process that trains on a CPU keeps what it frees, unless the user said otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from support import ROOT

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another libc than glibc, which has no mallopt"
)

PROGRAM = """
import resource, sys
from forge.train.heap import keep_freed_memory
taken = keep_freed_memory() if sys.argv[1] == "keep" else None
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [b"x" * (size << 20) for size in range(1, 30)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(taken, faults())
"""


def run(what: str, **environment: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    command = [sys.executable, "-c", PROGRAM, what]
    out = subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True).stdout
    taken, faults = out.split()
    return taken, int(faults)


def test_what_a_step_frees_is_there_for_the_next() -> None:
    (_, given_back), (taken, kept) = run("leave"), run("keep")
    assert taken == "True"
    assert kept < 0.1 * given_back


def test_the_users_own_settings_come_first() -> None:
    assert run("keep", MALLOC_TRIM_THRESHOLD_="65536")[0] == "False"
    assert run("keep", GLIBC_TUNABLES="glibc.malloc.trim_threshold=65536")[0] == "False"
