"""Embedded sentence pairs for natural language inference, in the format of MNLI.

Every pair is drawn from a small grammar whose meaning is known, so its label is right by construction. Nothing can be
read off one sentence alone: the hypothesis is drawn before the label is looked at, and premises reuse its words.

The splits share every word but no combination: the content words of a hypothesis, taken as a set, belong to one split.
``validation_mismatched`` is another genre: it mostly uses the words that the other splits use least.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from forge.tasks.embedded.nli_families import Draw, Family, Pair
from forge.tasks.embedded.nli_families2 import FAMILIES
from forge.tasks.embedded.nli_lexicon import FUNCTION_WORDS, NUMBERS, PERSONS, SOCIAL_PAST
from forge.tasks.embedded.nli_logic import LABELS

# Which percentiles of all word combinations belong to a split.
_SHARES = {"train": (0, 70), "validation": (70, 80), "validation_mismatched": (80, 90), "test": (90, 100)}
SPLITS = tuple(_SHARES)
DEFAULT_SIZES = {"train": 40_000, "validation": 1_200, "validation_mismatched": 1_200, "test": 2_000}

_BASE_FORM = {past: base for base, past in SOCIAL_PAST.items()}
_NOT_CONTENT = FUNCTION_WORDS | set(NUMBERS)
_SCHEDULE = tuple(family for family, share in FAMILIES for _ in range(share))


def content_words(sentence: str) -> frozenset[str]:
    """The words that carry the topic, verbs between people in their base form."""
    words = sentence.lower().split()
    return frozenset(_BASE_FORM.get(word, word) for word in words if word not in _NOT_CONTENT)


@lru_cache(maxsize=65_536)
def _percentile(words: frozenset[str]) -> int:
    digest = hashlib.sha256(" ".join(sorted(words)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def split_of(hypothesis: str) -> str:
    """The only split in which this hypothesis's combination of content words occurs."""
    percentile = _percentile(content_words(hypothesis))
    return next(split for split, (low, high) in _SHARES.items() if low <= percentile < high)


def _sentence(text: str) -> str:
    words = " ".join(word.capitalize() if word in PERSONS else word for word in text.split())
    return f"{words[0].upper()}{words[1:]}"


def _finish(pair: Pair, label: str, draw: Draw) -> dict[str, str]:
    """The row of a pair; a hard draw puts a sentence beside the premise that changes nothing."""
    premise = pair.premise
    if pair.decoy and draw.chance(0.5 * draw.difficulty**2) and "false" not in premise + pair.decoy:
        parts = (premise, pair.decoy) if draw.chance(0.5) else (pair.decoy, premise)
        premise = " and ".join(parts)
    return {
        "premise": _sentence(premise),
        "hypothesis": _sentence(pair.hypothesis),
        "label": label,
        "phenomenon": pair.phenomenon,
    }


def _rows(draw: Draw, split: str) -> Iterator[dict[str, str]]:
    """Endless rows: the families in turn, the labels in turn within a family."""
    turns = {family: 0 for family, _ in FAMILIES}
    seen: set[tuple[str, str]] = set()
    low, high = _SHARES[split]

    def one(family: Family, label: str) -> dict[str, str]:
        repeats = 0
        while True:
            pair = family(draw, label)
            if low <= _percentile(content_words(pair.hypothesis)) < high:
                row = _finish(pair, label, draw)
                key = row["premise"], row["hypothesis"]
                repeats += key in seen
                if key not in seen or repeats == 20:  # a small phenomenon runs out of new pairs in a large split
                    seen.add(key)
                    return row

    while True:
        for family in _SCHEDULE:
            label = LABELS[turns[family] % len(LABELS)]
            row = one(family, label)
            turns[family] += 1
            yield row


def generate(split: str, size: int, seed: int = 0, difficulty: float = 0.5) -> list[dict[str, str]]:
    """Rows with premise, hypothesis, label and phenomenon; the same for the same arguments, everywhere.

    ``difficulty`` runs from 0 (one step from premise to hypothesis) to 1 (mostly several steps and distractions).
    """
    if split not in _SHARES:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"difficulty must lie between 0 and 1, not {difficulty}")
    rare_share = 0.6 if split == "validation_mismatched" else 0.15
    draw = Draw(f"{split}/{seed}/{difficulty!r}", difficulty, rare_share)
    rows = list(islice(_rows(draw, split), size))
    for index in range(len(rows) - 1, 0, -1):  # shuffle, with the one random source that never changes
        other = draw.below(index + 1)
        rows[index], rows[other] = rows[other], rows[index]
    return rows
