"""Which training pairs stay. Every pair that goes is counted once, under the first filter that stops it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from forge.config.schema import Clean
from forge.core.errors import UserError
from forge.tasks.parallel.hashes import SeenHashes, text_hashes
from forge.tasks.parallel.language import Expected
from forge.tasks.parallel.overlap import HeldOut
from forge.tasks.parallel.pairs import Pairs
from forge.tasks.parallel.store import Counts

EQUAL, NEARLY = "equal to evaluation", "nearly equal to evaluation"
KEPT = "kept"
SPARE = 3  # words added to both sides before their ratio is taken
CONTROL = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd"  # tabs and line ends may be meant
GARBLED = re.compile(f"[{CONTROL}]|[ÃÂ][\x80-\xbf]|â€|ï»¿")  # what UTF-8 looks like when read as Latin-1
Reasons = Callable[[Pairs], Sequence[str]]


class Cleaner:
    """All filters of one training split, in order, cheap ones first. It remembers texts: one cleaner a reading."""

    def __init__(self, clean: Clean, languages: tuple[str | None, str | None], held_out: Pairs | None) -> None:
        self.steps: list[Reasons] = [_Shape(clean)]
        if held_out:
            self.steps.append(_Apart(held_out))
        if clean.language:
            self.steps.append(_InLanguage(languages))
        if clean.deduplicate != "none":  # last, so that a pair that goes never hides one that would stay
            self.steps.append(_First(clean.deduplicate))

    def keep(self, batches: Iterable[Pairs], counts: Counts, limit: int | None = None) -> Iterator[Pairs]:
        """Pairs that stay, at most `limit`."""
        for pairs in batches:
            for step in self.steps:
                pairs = _without(pairs, step(pairs), counts) if pairs else pairs  # noqa: PLW2901
            left = len(pairs) if limit is None else min(len(pairs), limit - counts[KEPT])
            counts[KEPT] += left
            yield pairs.take(list(range(left))) if left < len(pairs) else pairs
            if counts[KEPT] == limit:
                return


def summary(counts: Counts) -> str:
    """`2,500 pairs → 2,312; empty 3, too long 41`."""
    reasons = {name: count for name, count in counts.items() if name not in {KEPT, "used"}}
    before = counts[KEPT] + sum(reasons.values())
    detail = ", ".join(f"{name} {count:,}" for name, count in reasons.items() if count)
    return f"{before:,} pairs → {counts[KEPT]:,}" + (f"; {detail}" if detail else "")


def _without(pairs: Pairs, reasons: Sequence[str], counts: Counts) -> Pairs:
    for reason in filter(None, reasons):
        counts[reason] += 1
    kept = [row for row, reason in enumerate(reasons) if not reason]
    return pairs if len(kept) == len(pairs) else pairs.take(kept)


class _Shape:
    """What one pair shows by itself."""

    def __init__(self, clean: Clean) -> None:
        self.clean = clean
        self.fewest = clean.min_words or 0
        self.most = clean.max_words or float("inf")
        self.ratio = clean.max_ratio or float("inf")

    def __call__(self, pairs: Pairs) -> list[str]:
        return [self._reason(source, target) for source, target in zip(pairs.source, pairs.target, strict=True)]

    def _reason(self, source: str, target: str) -> str:
        if not source or not target:
            return "empty"
        fewer, more = sorted((len(source.split()), len(target.split())))
        if fewer < self.fewest:
            return "too short"
        if more > self.most:
            return "too long"
        if more + SPARE > self.ratio * (fewer + SPARE):
            return "lengths too different"
        if self.clean.copies and source == target:
            return "copies"
        return "garbled" if self.clean.garbled and (GARBLED.search(source) or GARBLED.search(target)) else ""


class _Apart:
    """Not what evaluation measures on, on either side."""

    def __init__(self, held_out: Pairs) -> None:
        self.source, self.target = HeldOut(held_out.source), HeldOut(held_out.target)

    def __call__(self, pairs: Pairs) -> list[str]:
        equal_source, near_source = self.source.compare(pairs.source)
        equal_target, near_target = self.target.compare(pairs.target)
        equal, near = equal_source | equal_target, near_source | near_target
        return [str(reason) for reason in np.where(equal, EQUAL, np.where(near, NEARLY, ""))]


class _InLanguage:
    def __init__(self, languages: tuple[str | None, str | None]) -> None:
        for side, language in zip(("source", "target"), languages, strict=True):
            if not language:
                raise UserError(f"data.clean.language needs to know the language; set data.languages.{side}")
        self.expected = [
            Expected(str(language), f"data.languages.{side}")
            for side, language in zip(("source", "target"), languages, strict=True)
        ]

    def __call__(self, pairs: Pairs) -> list[str]:
        wrong = zip(self.expected[0].others(pairs.source), self.expected[1].others(pairs.target), strict=True)
        return ["other language" if source or target else "" for source, target in wrong]


class _First:
    """Not seen before."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.seen = SeenHashes()

    def __call__(self, pairs: Pairs) -> list[str]:
        both = zip(pairs.source, pairs.target, strict=True)
        texts = pairs.source if self.what == "source" else [f"{source}\n\t{target}" for source, target in both]
        return ["" if new else "duplicates" for new in self.seen.new(text_hashes(texts)).tolist()]
