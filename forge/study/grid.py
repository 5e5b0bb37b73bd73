"""The results of one study as arrays, refused where anything of a whole block is missing or has no place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forge.core.errors import UserError
from forge.study.contrasts import Cell, full_grid, is_orthogonal, three_factor_array
from forge.study.results import Declared, Result
from forge.study.statistics.combine import COLUMNS, combine
from forge.study.statistics.testing import FloatArray

RUN_AGAIN = "python forge.py study run --config FILE runs what is missing"
RESPONSE = "response"
CLOSE = 1e-6
SHOWN = 4


@dataclass(frozen=True)
class Grid:
    """Every cell with every seed."""

    declared: Declared
    cells: tuple[Cell, ...]
    full: bool
    """All combinations; else an orthogonal array."""
    outcome_CS: FloatArray
    controls: Mapping[str, FloatArray]
    """Name → outcome of each seed."""
    counterparts: Mapping[str, int | None]
    """Name of a control → the cell that it is compared with, where there is one."""
    measures: Mapping[str, FloatArray]
    """Name → (cells, seeds), of those that every run has as a number."""
    control_measures: Mapping[str, Mapping[str, FloatArray]]
    partly: Mapping[str, FloatArray]
    """Name → (cells, seeds), of those too that some runs lack, not a number there."""
    control_partly: Mapping[str, Mapping[str, FloatArray]]
    examples_CSNK: FloatArray | None

    @property
    def two_level(self) -> bool:
        """Whether each factor is off or on, in all combinations."""
        return self.full and all(len(levels) == 2 for levels in self.declared.factors.values())

    @property
    def baseline(self) -> int | None:
        """The cell in which every factor is at its low level, if it is one of them."""
        low = tuple(levels[0] for levels in self.declared.factors.values())
        return self.cells.index(low) if low in self.cells else None

    def label(self, cell: Cell) -> str:
        """A cell by what is on in it: "feature + response", "none"; with the level where a factor has several."""
        parts = []
        for (factor, levels), level in zip(self.declared.factors.items(), cell, strict=True):
            if level != levels[0]:
                parts.append(factor if len(levels) == 2 else f"{factor} {level}")
        return " + ".join(parts) or "none"


def arrange(declared: Declared, results: Sequence[Result]) -> Grid:
    """Put each result in its place. Raises UserError for what is missing, twice there, unknown, or no number."""
    check_declared(declared)
    runs = {(_place(declared, result), result.seed): result for result in results}
    _check_results(declared, results)
    cells, full = _planned(declared, [key for key, _ in runs if isinstance(key, tuple)])
    controls = sorted({key for key, _ in runs if isinstance(key, str)})
    _check_missing(declared, [*cells, *controls], set(runs))
    rows = [[runs[cell, seed] for seed in declared.seeds] for cell in cells]
    beside = {name: [runs[name, seed] for seed in declared.seeds] for name in controls}
    return Grid(
        declared,
        tuple(cells),
        full,
        _outcomes(rows),
        {name: _outcomes([row])[0] for name, row in beside.items()},
        {name: _counterpart(declared, row, cells) for name, row in beside.items()},
        _measures(rows),
        {name: {of: value[0] for of, value in _measures([row]).items()} for name, row in beside.items()},
        _partly(rows),
        {name: {of: value[0] for of, value in _partly([row]).items()} for name, row in beside.items()},
        _examples(declared, rows),
    )


def check_declared(declared: Declared) -> None:
    """Raises UserError for a study of nothing."""
    where = f"study {declared.name}"
    if not declared.factors:
        raise UserError(f"{where}  has no factors; name at least one with two levels")
    for factor, levels in declared.factors.items():
        if len(levels) < 2 or len(set(levels)) < len(levels):
            raise UserError(f"{where}  factor {factor} has levels {', '.join(levels)}; it needs two or more, each once")
    if not declared.seeds or len(set(declared.seeds)) < len(declared.seeds):
        raise UserError(f"{where}  needs seeds, each once, not {', '.join(map(str, declared.seeds)) or 'none'}")
    if declared.combine not in COLUMNS:
        raise UserError(f"{where}  combine: {declared.combine} is none of {', '.join(COLUMNS)}")


def _place(declared: Declared, result: Result) -> Cell | str:
    return result.control or tuple(result.cell.get(factor, "") for factor in declared.factors)


def _check_results(declared: Declared, results: Sequence[Result]) -> None:
    where = f"study {declared.name}"
    for result in results:
        named = _named(declared, _place(declared, result))
        if result.cell or not result.control:
            wrong = {f: level for f, level in result.cell.items() if level not in declared.factors.get(f, ())}
            if wrong or len(result.cell) != len(declared.factors):
                given = ", ".join(f"{factor}={level}" for factor, level in result.cell.items()) or "no levels"
                raise UserError(f"{where}  has a result of {given}, no cell of it; remove it or declare the level")
        if result.seed not in declared.seeds:
            raise UserError(f"{where}  has a result of {named} with seed {result.seed}, not a declared one")
        if not np.isfinite(result.outcome):
            raise UserError(
                f"{where}  {declared.outcome} of {named} with seed {result.seed} is no number; run it again"
            )
    counts = Counter((_place(declared, result), result.seed) for result in results)
    for (place, seed), count in counts.items():
        if count > 1:
            raise UserError(f"{where}  has {count} results of {_named(declared, place)} with seed {seed}; keep one")


def _planned(declared: Declared, seen: Sequence[Cell]) -> tuple[list[Cell], bool]:
    """The cells that have to be there: all, or an array where what is there is one, or part of the XOR array."""
    grid = full_grid(declared.factors)
    found = [cell for cell in grid if cell in set(seen)]
    if len(found) == len(grid):
        return grid, True
    array = three_factor_array(declared.factors)
    if array and set(found) <= set(array) and 2 * len(found) >= len(array):
        return [cell for cell in grid if cell in set(array)], False
    whole = [set(column) for column in zip(*found, strict=True)] == [
        set(levels) for levels in declared.factors.values()
    ]
    many = len(declared.factors) >= 3 and all(len(levels) > 2 for levels in declared.factors.values())
    return (found, False) if many and whole and is_orthogonal(found) else (grid, True)


def _check_missing(declared: Declared, places: Sequence[Cell | str], there: set[tuple[Cell | str, int]]) -> None:
    """Effects of an incomplete study would lean on each other, so it has none."""
    missing = {place: [seed for seed in declared.seeds if (place, seed) not in there] for place in places}
    missing = {place: seeds for place, seeds in missing.items() if seeds}
    if not missing:
        return
    told = [
        f"{_named(declared, place)} (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
        for place, seeds in list(missing.items())[:SHOWN]
    ]
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    runs = sum(map(len, missing.values()))
    raise UserError(
        f"study {declared.name}  lacks {runs} of {len(places) * len(declared.seeds)} runs: {', '.join(told)}{more}; "
        + RUN_AGAIN
    )


def _named(declared: Declared, place: Cell | str) -> str:
    if isinstance(place, str):
        return place
    return " ".join(f"{factor}={level}" for factor, level in zip(declared.factors, place, strict=True))


def _outcomes(rows: Sequence[Sequence[Result]]) -> FloatArray:
    return np.array([[run.outcome for run in row] for row in rows], dtype=np.float64)


def _counterpart(declared: Declared, row: Sequence[Result], cells: Sequence[Cell]) -> int | None:
    """The cell that a control names, else the one in which the response alone is on."""
    named = {tuple(run.cell.get(factor, "") for factor in declared.factors) for run in row if run.cell}
    if len(named) > 1 or (named and not all(run.cell for run in row)):
        raise UserError(f"study {declared.name}  its seeds of {row[0].control} are controls of different cells")
    cell = named.pop() if named else _response_alone(declared)
    return cells.index(cell) if cell in cells else None


def _response_alone(declared: Declared) -> Cell | None:
    factors = declared.factors
    named = [factor for factor in factors if factor.lower() == RESPONSE and len(factors[factor]) == 2]
    return tuple(factors[factor][factor == named[0]] for factor in factors) if named else None


def _measures(rows: Sequence[Sequence[Result]]) -> dict[str, FloatArray]:
    """Secondary figures that every run has, as a number: (cells, seeds)."""
    return {name: values for name, values in _partly(rows).items() if np.isfinite(values).all()}


def _partly(rows: Sequence[Sequence[Result]]) -> dict[str, FloatArray]:
    """Secondary figures that any run has: (cells, seeds), not a number where one lacks it."""
    names = dict.fromkeys(name for row in rows for run in row for name in run.measures)
    found = {name: [[run.measures.get(name, np.nan) for run in row] for row in rows] for name in names}
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


def _examples(declared: Declared, rows: Sequence[Sequence[Result]]) -> FloatArray | None:
    """Sums of all cells on the same examples; None where one has none. They must make the outcome again."""
    found = [run.examples for row in rows for run in row if run.examples is not None]
    if len(found) < sum(map(len, rows)):
        return None
    where = f"study {declared.name}"
    shapes = {array.shape for array in found}
    if len(shapes) > 1 or found[0].ndim != 2 or found[0].shape[1] != COLUMNS[declared.combine]:
        told = ", ".join("×".join(map(str, shape)) for shape in sorted(shapes))
        wanted = f"all of one number of rows and {COLUMNS[declared.combine]} columns"
        raise UserError(
            f"{where}  its runs were measured on examples of shapes {told}, not {wanted}; measure all on the same"
        )
    examples = np.array([[run.examples for run in row] for row in rows], dtype=np.float64)
    made = declared.scale * combine(examples.sum(2), declared.combine, examples.shape[2])
    told_CS = _outcomes(rows)
    apart = np.abs(made - told_CS) > CLOSE * np.maximum(1.0, np.abs(told_CS))
    if apart.any():
        cell, seed = np.argwhere(apart)[0]
        named = f"{_named(declared, _place(declared, rows[cell][seed]))} with seed {declared.seeds[seed]}"
        raise UserError(
            f"{where}  the examples of {named} make {made[cell, seed]:.6g}, but its {declared.outcome} is "
            f"{told_CS[cell, seed]:.6g}; run it again"
        )
    return examples
