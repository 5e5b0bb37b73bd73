"""What embedded pages are written with: words of English and French shape, and every character they can need.

The words are built from syllables, so that nobody has seen them: what a model reads, it reads letter by letter. Each
word belongs to one split for ever.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")

# The Markdown of every page is made of these; with a decoder's own signs (start, end, padding) they are fewer than 128.
CHARACTERS = (
    "\n !\"#%'()*+,-./0123456789:;=?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz|€àâçèéêëîïôùûÀÂÇÈÉÊËÎÏÔÙÛ"
    "_@<>$&[]{}~\\•’“”–"
)
WORDS = 8_000
SHARES = {"train": (0, 82), "validation": (82, 88), "test": (88, 100)}  # percentiles of all words


def _listed(text: str) -> tuple[str, ...]:
    """What stands between the spaces; an underscore is nothing."""
    return tuple(part.replace("_", "") for part in text.split())


# Onsets, vowels and codas of syllables, and what a word may end in. Repeated is more likely.
_ENGLISH = (
    _listed("b br c ch cl cr d dr f fl fr g gr h j k l m n p pl pr qu r s sc sh sl sp st str t th tr v w wh y"),
    _listed("a a e e i i o o u ai ea ee oa oo ou igh y"),
    _listed("_ _ _ b ck d ft g l ld ll lt m mp n nd ng nt p r rd rm rn rt s sh ss st t tch th x"),
    _listed("_ _ _ _ _ _ _ _ s s ed er ing ly ness tion ment al able ous"),
)
_FRENCH = (
    _listed("b bl br c ch cl cr d dr f fl g gn gr j l m n p ph pl pr qu r s t tr v"),
    _listed("a a â ai au e e é é è ê i i î o o ô ou oi ui on an en in u û"),
    _listed("_ _ _ _ _ c f l n r s t x"),
    _listed("_ _ _ _ _ _ _ _ s s e es er é ée tion ment eur euse ique age eux ais ère ïe ë çon à où"),
)


class Chance(random.Random):
    """Seeded by text, it draws the same on every machine: from `random()` alone, whose values never change."""

    def one(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[int(self.random() * len(items))]

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both among them."""
        return low + int(self.random() * (high - low + 1))

    def between(self, low: float, high: float) -> float:
        """A number from `low` up to `high`."""
        return low + self.random() * (high - low)

    def weighted(self, table: dict[T, float]) -> T:
        """A key of the table, as likely as its value says."""
        drawn = self.random() * sum(table.values())
        sums = accumulate(table.values())
        return next(key for key, most in zip(table, sums, strict=True) if drawn < most)


def split_of(word: str) -> str:
    """The split that a word belongs to."""
    percentile = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % 100
    return next(split for split, (low, high) in SHARES.items() if low <= percentile < high)


@cache
def words(split: str) -> tuple[str, ...]:
    """The words of `train`, `validation` or `test`; no word is in two."""
    return tuple(word for word in _all_words() if split_of(word) == split)


@cache
def unaccented(split: str) -> tuple[str, ...]:
    """Those of them that have no accent."""
    return tuple(word for word in words(split) if word.isascii())


@cache
def _all_words() -> tuple[str, ...]:
    draw, found = Chance("words of embedded pages"), dict[str, None]()
    while len(found) < WORDS:
        word = _word(draw, *(_ENGLISH if draw.random() < 0.5 else _FRENCH))
        if 2 <= len(word) <= 11:
            found[word] = None
    return tuple(found)


def _word(draw: Chance, onsets: Sequence[str], vowels: Sequence[str], codas: Sequence[str], ends: Sequence[str]) -> str:
    syllables = draw.weighted({1: 0.48, 2: 0.42, 3: 0.1})
    body = "".join(draw.one(onsets) + draw.one(vowels) + draw.one(codas) for _ in range(syllables))
    start = draw.one(vowels) if draw.random() < 0.12 else ""
    return start + body + draw.one(ends)
