"""A run whose disk fails, or which dies, at one operation after the other: exit 5 and a line, and nothing is lost.

The same command then ends it, bit-equal to a run that nothing disturbed. Each kind of fault takes every STRIDE-th
operation, beginning elsewhere; FORGE_FULL=1 takes all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_runs import FILLED, Calm
from injector import KINDS
from support import Lives

STRIDE, STRIDE_OF_FILLING = (1, 3) if os.environ.get("FORGE_FULL") else (40, 40)
LEAST_OPERATIONS = 200
SPARE = (0, 4096, 65_536, 262_144)  # bytes that a full disk has left: a page, a part of a checkpoint


@pytest.fixture(scope="module")
def calm(faulty_lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    calm = Calm(faulty_lives, tmp_path_factory.mktemp("calm"))
    assert calm.operations >= LEAST_OPERATIONS
    return calm


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_exit_5_and_the_same_command_ends_bit_equal(tmp_path: Path, calm: Calm, name: str) -> None:
    first = list(KINDS).index(name) * STRIDE // len(KINDS)
    tried = range(first, calm.operations, STRIDE)
    codes = Counter(calm.check(calm.place(tmp_path / str(at)), at, KINDS[name]) for at in tried)
    print(f"{calm.operations} operations, {name} at {len(tried)} of them: exit codes {dict(codes)}; all end bit-equal")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=False).returncode:
        pytest.skip("this machine does not allow mounting")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_for_real(tmp_path: Path, small_disk: Path, calm: Calm) -> None:
    """It fills up between two operations; what then fails is for the system to say."""
    codes: Counter[int] = Counter()
    for number, at in enumerate(range(0, calm.operations, STRIDE_OF_FILLING)):
        place = calm.place(tmp_path / str(at), small_disk)
        codes[calm.check(place, at, FILLED, SPARE[number % len(SPARE)])] += 1
        shutil.rmtree(place.folder / "runs")
    print(f"{calm.operations} operations, the disk full after {codes.total()} of them: exit codes {dict(codes)}")
