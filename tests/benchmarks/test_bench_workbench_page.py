"""The sides of the benchmark of pages draw the same map."""

from __future__ import annotations

import pytest

from bench import workbench_page as bench


@pytest.mark.parametrize("name", bench.SIDES)
def test_each_side_draws_every_layer(name: str) -> None:
    grid = bench.values(3, 2)
    told = bench.SIDES[name](grid)
    if "figures" in name or "table" in name:
        assert all(f"{value:.2f}"[1:] in told for value in grid.flat)
    size, seconds = bench.measure(grid, bench.SIDES[name], 1)
    assert size == len(told.encode())
    assert seconds > 0
