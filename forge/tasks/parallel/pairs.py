"""What every source of parallel text gives: pairs in batches, each with its place in the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from forge.core.errors import UserError

Side = Literal["source", "target"]
BATCH = 2_000  # pairs; more are no faster, and less stays in the processor's caches


@dataclass(frozen=True)
class Pairs:
    """A batch: texts side by side, and the place (line, row) that each pair comes from."""

    source: list[str]
    target: list[str]
    place: list[int]

    def __len__(self) -> int:
        return len(self.place)

    def take(self, rows: list[int]) -> Pairs:
        """These rows, in this order."""
        return Pairs(*([column[row] for row in rows] for column in (self.source, self.target, self.place)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reader:
    """Parallel text that can be read more than once. A text is stripped; a side that is missing is empty.

    `fingerprint` stands for the content, whatever the file is called.
    """

    name: str
    fingerprint: str
    batches: Callable[[], Iterator[Pairs]]
    at: str  # what comes before the number of a place: `data.tsv:`
    at_side: Mapping[Side, str] = field(default_factory=dict)  # the same where each side has a file of its own
    notices: list[str] = field(default_factory=list)  # complete after the first reading

    def where(self, place: int, side: Side | None = None) -> str:
        """A place, of one side if told, as a person finds it."""
        return f"{self.at_side.get(side, self.at) if side else self.at}{place}"


class Batcher:
    """Collects pairs one by one, gives them back in batches."""

    def __init__(self, size: int = BATCH) -> None:
        self.size = size
        self._pairs = Pairs([], [], [])

    def add(self, source: str, target: str, place: int) -> None:
        """Keep one pair."""
        self._pairs.source.append(source)
        self._pairs.target.append(target)
        self._pairs.place.append(place)

    def full(self, last: bool = False) -> Iterator[Pairs]:
        """The batch that is full by now, or the `last` one, however few."""
        if len(self._pairs) >= self.size or (last and len(self._pairs)):
            pairs, self._pairs = self._pairs, Pairs([], [], [])
            yield pairs


def check_readable(path: Path) -> None:
    """Raises UserError for a file that is not there or may not be read."""
    if not path.is_file():
        raise UserError(f"{path}  no such file (looked at {path.absolute()})")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}  may not be read by this user")


def refuse_empty(reader: Reader, pairs: Pairs) -> Pairs:
    """An evaluation split is measured pair by pair: raises UserError for a side without text."""
    for source, target, place in zip(pairs.source, pairs.target, pairs.place, strict=True):
        if not source or not target:
            side: Side = "target" if source else "source"
            raise UserError(f"{reader.where(place, side)}  the {side} is empty; an evaluation split needs both sides")
    return pairs
