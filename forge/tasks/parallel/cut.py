"""Evaluation splits from the end of a data set that has none.

By document order and not at random: neighbouring sentences of one speech are alike, and a random draw puts one into
training and the next into test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from forge.config.schema import Cut
from forge.core.errors import UserError
from forge.tasks.parallel.pairs import Pairs, Reader
from forge.tasks.parallel.store import Counts, Stored, store
from forge.tasks.sources import Table

USED = "used"


@dataclass(frozen=True)
class CutOff:
    """The pairs at the end that are no longer training pairs."""

    stored: Stored
    cut: Cut
    training: int  # pairs with text on both sides that come before

    def tables(self) -> tuple[dict[str, Table], dict[str, Table]]:
        """Validation and test, each with its table or empty."""
        first, count = self.cut.validation or 0, self.stored.rows.num_rows
        name = self.stored.reader.name
        validation = self.stored.table(f"{name}, cut for validation", 0, first) if self.cut.validation else None
        test = self.stored.table(f"{name}, cut for test", first, count) if self.cut.test else None
        return {"validation": validation} if validation else {}, {"test": test} if test else {}

    def pairs(self) -> Pairs:
        """All that was cut off, to keep training apart from it."""
        return Pairs(self.stored.rows["source"][:], self.stored.rows["target"][:], self.stored.rows["place"][:])


def cut_off(reader: Reader, cut: Cut) -> CutOff:
    """The last pairs that have text on both sides. Raises UserError where nothing would be left to train on."""
    asked = (cut.validation or 0) + (cut.test or 0)
    stored = store(reader, ["cut", asked], partial(_last, reader, asked))
    there = stored.counts[USED]
    if there <= asked:
        raise UserError(
            f"{reader.name}  has {there:,} pairs, and data.cut takes {asked:,}; nothing is left to train on"
        )
    return CutOff(stored, cut, there - asked)


def before(batches: Iterable[Pairs], training: int) -> Iterator[Pairs]:
    """Batches up to and with the last training pair; pairs with an empty side are passed on and do not count."""
    left = training
    for pairs in batches:
        full = [row for row in range(len(pairs)) if _has_both(pairs, row)]
        if len(full) >= left:
            yield pairs.take(list(range(full[left - 1] + 1)))
            return
        left -= len(full)
        yield pairs


def _last(reader: Reader, asked: int, counts: Counts) -> Iterator[Pairs]:
    last: deque[tuple[str, str, int]] = deque(maxlen=asked)
    for pairs in reader.batches():
        both = [row for row in range(len(pairs)) if _has_both(pairs, row)]
        counts[USED] += len(both)
        last.extend((pairs.source[row], pairs.target[row], pairs.place[row]) for row in both[-asked:])
    source, target, place = zip(*last, strict=True) if last else ((), (), ())
    yield Pairs(list(source), list(target), list(place))


def _has_both(pairs: Pairs, row: int) -> bool:
    return bool(pairs.source[row] and pairs.target[row])
