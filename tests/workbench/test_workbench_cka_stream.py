"""Streaming CKA: the same as all rows at once, whatever the batches, in the memory of one."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.workbench.cka import cka_heatmap
from forge.workbench.cka_stream import StreamingCka

X = np.array([[1, 2], [3, 4], [5, 7], [2, 0], [1, 1], [4, 9]])
Y = np.array([[0, 1, 1], [2, 0, 3], [1, 5, 2], [4, 1, 0], [2, 2, 2], [3, 7, 1]])


def streamed(teacher: dict[str, Any], student: dict[str, Any], *cuts: int) -> Any:
    stream = StreamingCka()
    for start, stop in zip((0, *cuts), (*cuts, None), strict=True):
        stream.add({k: v[start:stop] for k, v in teacher.items()}, {k: v[start:stop] for k, v in student.items()})
    return stream.heatmap()


@pytest.mark.parametrize("cuts", [(2, 4), (1, 2, 3, 4, 5), (3,), (), (0, 2, 2)])
def test_golden_value_in_any_batches(cuts: tuple[int, ...]) -> None:
    found = streamed({"x": X}, {"y": Y}, *cuts)
    assert found.values_TS[0, 0] == pytest.approx(0.5287913907521, abs=1e-12)
    assert found.rows == 6


def test_all_pairs_of_all_rows_and_not_of_the_last_batch() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((130, 6))
    teacher = {f"t{i}": base + i * rng.standard_normal((130, 6)) for i in range(3)}
    student = {f"s{i}": base[:, :4] + i * rng.standard_normal((130, 4)) for i in range(2)}
    whole, found = cka_heatmap(teacher, student), streamed(teacher, student, 60, 100)
    np.testing.assert_allclose(found.values_TS, whole.values_TS, atol=1e-11)
    last = cka_heatmap({k: v[100:] for k, v in teacher.items()}, {k: v[100:] for k, v in student.items()})
    assert np.abs(last.values_TS - found.values_TS).max() > 0.02
    parts = [slice(60), slice(60, 100), slice(100, None)]
    cut = [[{name: x[part] for name, x in side.items()} for side in (teacher, student)] for part in parts]
    means = np.mean([cka_heatmap(*both).values_TS for both in cut], axis=0)
    assert np.abs(means - found.values_TS).max() > 0.005


@pytest.mark.parametrize("offset", [0.0, 10.0, 1_000.0])
def test_an_offset_of_single_precision_features(offset: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 16)).astype(np.float32)
    y = (x[:, :8] + rng.standard_normal((400, 8)).astype(np.float32)) * np.float32(0.1)
    expected = cka_heatmap({"x": x.astype(np.float64)}, {"y": y.astype(np.float64)}).values_TS
    moved = x + np.float32(offset), y - np.float32(offset)
    digits = 1e-10 if not offset else 1e-4 * offset / 10  # what storing an offset in fp32 takes
    np.testing.assert_allclose(streamed({"x": moved[0]}, {"y": moved[1]}, 100, 200).values_TS, expected, atol=digits)


def test_rows_in_order_of_length_do_not_lose_digits() -> None:
    """The first batch's mean is far from that of all."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((300, 8)) + np.linspace(0, 1e4, 300)[:, None]
    y = rng.standard_normal((300, 5)) + np.linspace(0, 1e4, 300)[:, None] ** 0.5
    whole = cka_heatmap({"x": x}, {"y": y}).values_TS
    np.testing.assert_allclose(streamed({"x": x}, {"y": y}, 10, 20).values_TS, whole, atol=1e-9)


def test_a_layer_that_does_not_vary_has_no_value() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((40, 3), 0.1, np.float32)
    found = streamed({"flat": flat, "x": rng.standard_normal((40, 3))}, {"y": rng.standard_normal((40, 2))}, 7)
    assert np.isnan(found.values_TS[0, 0])
    assert np.isfinite(found.values_TS[1, 0])


def test_more_rows_after_a_look_and_memory_stays_flat() -> None:
    rng = np.random.default_rng(0)
    peaks = []
    for batches in (2, 40):
        stream = StreamingCka()
        tracemalloc.start()
        for _ in range(batches):
            x = rng.standard_normal((500, 24))
            stream.add({"x": x}, {"y": x[:, :8]})
            stream.heatmap()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert stream.rows == 20_000
    assert peaks[1] < 1.1 * peaks[0]


def test_what_cannot_be_added_is_said_and_leaves_the_sums_as_they_were() -> None:
    stream = StreamingCka()
    with pytest.raises(UserError, match="debiased CKA needs at least 4 rows, there are 0"):
        stream.heatmap()
    stream.add({"x": X}, {"y": Y})
    broken = Y.astype(float)
    broken[0, 0] = np.inf
    for teacher, student, message in (
        ({"z": X}, {"y": Y}, "teacher: the layers of this batch are z; before"),
        ({"x": X}, {"y": Y[:, :2]}, "student, y: is 2 wide, before it was 3"),
        ({"x": X}, {"y": broken}, "student, y: there are values that are not finite"),
        ({"x": X[:3]}, {"y": Y}, "student, y: there are 6 rows, elsewhere 3"),
    ):
        with pytest.raises(UserError, match=message):
            stream.add(teacher, student)
    assert stream.heatmap().values_TS[0, 0] == pytest.approx(0.5287913907521, abs=1e-12)
