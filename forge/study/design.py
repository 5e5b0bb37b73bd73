"""The cells of a study: which levels meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from forge.config.schema.study import Study


@dataclass(frozen=True)
class Cell:
    """One recipe: a level of each factor. A control is a cell beside the design."""

    levels: Mapping[str, str]
    control: str | None = None

    @property
    def name(self) -> str:
        """What it is, as a directory is called."""
        levels = ".".join(f"{factor}-{level}" for factor, level in self.levels.items())
        return f"{self.control}.{levels}" if self.control else levels

    @property
    def shown(self) -> str:
        """For people."""
        levels = " ".join(f"{factor}={level}" for factor, level in self.levels.items())
        return f"{self.control} ({levels})" if self.control else levels


def cells_of(study: Study) -> list[Cell]:
    """All cells in the order of the file, the first being the one in which every factor is low; then the controls."""
    names, lows = list(study.factors), {name: next(iter(levels)) for name, levels in study.factors.items()}
    design = [Cell(dict(zip(names, levels, strict=True))) for levels in _combinations(study)]
    return design + [Cell(lows | levels, control) for control, levels in study.controls.items()]


def _combinations(study: Study) -> Iterator[Sequence[str]]:
    levels = [list(named) for named in study.factors.values()]
    if study.design == "grid":
        yield from product(*levels)
        return
    first, second, third = levels
    for f, a in product(range(len(first)), range(len(second))):
        yield first[f], second[a], third[f ^ a]
