"""The sides of the CKA benchmark give the right values on a few layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import workbench_cka as bench


def test_sides_that_are_ours_have_the_value_of_the_definition() -> None:
    teacher, student = bench.features(60, 12)
    right = bench.by_definition(teacher, student)
    assert right.shape == (bench.TEACHER, bench.STUDENT)
    assert right[0, 0] > 0.1
    for name in bench.SIDES[:3]:
        np.testing.assert_allclose(bench.of_side(name, teacher, student), right, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
def test_streaming_is_measured() -> None:
    (row,) = bench.streams((2_000,), 4)[2:]
    assert row.startswith("| 2,000 | ")
