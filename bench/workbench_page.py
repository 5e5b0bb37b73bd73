"""A map of layers as a shaded table of HTML, and as matplotlib's SVG: bytes in the page, CPU seconds.

python -m bench.workbench_page [--quick]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.machine import write_table
from forge.reports.drawing import drawn
from forge.reports.heat import Cell, heat

LAYERS = (13, 7), (25, 13)
ROUNDS = 5


def values(teacher: int, student: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).uniform(size=(teacher, student))


def said(row: int, column: int, value: float) -> str:
    return (
        f"layer.{row} × layer.{column}: CKA {value:.3f}, 95 % {value - 0.02:.3f} to {value + 0.02:.3f}; "
        "by chance below 0.012, p 0.005; 2,000 rows"
    )


def table(grid: np.ndarray[Any, Any]) -> str:
    """What the workbench writes: a figure in each cell, and what it says."""
    cells = [
        [Cell(f"{one:.2f}"[1:], float(one), said(y, x, one)) for x, one in enumerate(row)] for y, row in enumerate(grid)
    ]
    return heat("", [str(at) for at in range(grid.shape[1])], [str(at) for at in range(grid.shape[0])], cells, "CKA")


def squares(grid: np.ndarray[Any, Any]) -> str:
    """A path for each cell, nothing to point at."""
    return _svg(grid, lambda axis: axis.pcolormesh(grid, cmap="Blues", vmin=0, vmax=1))


def written(grid: np.ndarray[Any, Any]) -> str:
    """The same with the figure in each cell; what a cell says would come on top."""

    def draw(axis: Any) -> None:
        axis.pcolormesh(grid, cmap="Blues", vmin=0, vmax=1)
        for y, row in enumerate(grid):
            for x, one in enumerate(row):
                axis.text(x + 0.5, y + 0.5, f"{one:.2f}"[1:], ha="center", va="center", fontsize=7)

    return _svg(grid, draw)


def _svg(grid: np.ndarray[Any, Any], draw: Callable[[Any], object]) -> str:
    def whole(axis: Any) -> None:
        draw(axis)
        axis.invert_yaxis()

    return drawn("map", (0.4 * grid.shape[1] + 1, 0.3 * grid.shape[0] + 1), whole, "CKA")


SIDES: dict[str, Callable[[np.ndarray[Any, Any]], str]] = {
    "shaded table, with what each cell says": table,
    "matplotlib, squares alone": squares,
    "matplotlib, squares and figures": written,
}


def measure(grid: np.ndarray[Any, Any], make: Callable[[np.ndarray[Any, Any]], str], rounds: int) -> tuple[int, float]:
    """Bytes, and the median of CPU seconds after a first time that imports."""
    size, spent = len(make(grid).encode()), []
    for _ in range(rounds):
        start = time.process_time()
        make(grid)
        spent.append(time.process_time() - start)
    return size, statistics.median(spent)


def rows(layers: tuple[tuple[int, int], ...], rounds: int) -> list[str]:
    lines = ["| layers | side | KB | CPU ms |", "|---|---|---|---|"]
    for teacher, student in layers:
        for name, make in SIDES.items():
            size, seconds = measure(values(teacher, student), make, rounds)
            lines.append(f"| {teacher} × {student} | {name} | {size / 1e3:.1f} | {1e3 * seconds:.1f} |")
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="one small map: a check, no measurement")
    quick = reader.parse_args().quick
    text = "\n".join(rows(LAYERS[:1] if quick else LAYERS, 1 if quick else ROUNDS))
    text += f"\n\nMedian of {ROUNDS} on one thread, after the first."
    write_table("workbench_page", "A map of layers in a page", text, "python -m bench.workbench_page", quick)


if __name__ == "__main__":
    main()
