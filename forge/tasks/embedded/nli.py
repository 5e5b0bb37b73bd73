"""Embedded sentence pairs for natural language inference, in the format of MNLI.

Every pair comes from a small grammar whose meaning is known, and its label from going through all cases. The hypothesis
is drawn first, then the label, then a premise that gives this label: so a hypothesis alone says nothing about it.

The splits share every word but no combination: the content words of a hypothesis, taken together, belong to one split.
`validation_mismatched` is another genre: it mostly uses the words that the other splits use least.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from forge.tasks.embedded.nli_families import FAMILIES, Draw, Sentence
from forge.tasks.embedded.nli_logic import LABELS

# Which percentiles of all word combinations belong to a split.
_SHARES = {"train": (0, 70), "validation": (70, 80), "validation_mismatched": (80, 90), "test": (90, 100)}
SPLITS = tuple(_SHARES)
TRIES = 40  # premises to try before another hypothesis is drawn


@lru_cache(maxsize=65_536)
def _percentile(words: tuple[str, ...]) -> int:
    digest = hashlib.sha256(" ".join(sorted(words)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100


def split_of(content: tuple[str, ...]) -> str:
    """The only split in which a hypothesis with these content words occurs."""
    percentile = _percentile(content)
    return next(split for split, (low, high) in _SHARES.items() if low <= percentile < high)


def generate(split: str, size: int, seed: int = 0, difficulty: float = 0.5) -> list[dict[str, str]]:
    """Rows with premise, hypothesis, label and phenomenon; the same for the same arguments, everywhere.

    `difficulty` runs from 0 (one step from premise to hypothesis) to 1 (several steps, modifiers, passives, decoys).
    """
    if split not in _SHARES:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")
    if not 0.0 <= difficulty <= 1.0:
        raise ValueError(f"difficulty must lie between 0 and 1, not {difficulty}")
    # Tiny models tell apart little near the top of the scale, so the lower half is kept easy.
    draw = Draw(f"{split}/{seed}/{difficulty!r}", difficulty**2 / (2 - difficulty), split == "validation_mismatched")
    schedule = [name for name, (_, share) in FAMILIES.items() for _ in range(share)]
    turns = dict.fromkeys(FAMILIES, 0)
    rows = []
    for index in range(size):
        name = schedule[index % len(schedule)]
        label = LABELS[turns[name] % len(LABELS)]
        turns[name] += 1
        premise, hypothesis = _pair(draw, split, name, label)
        rows.append({"premise": premise, "hypothesis": hypothesis, "label": label, "phenomenon": name})
    for index in range(len(rows) - 1, 0, -1):  # shuffle by the one source whose draws never change
        other = int(draw.random() * (index + 1))
        rows[index], rows[other] = rows[other], rows[index]
    return rows


def _pair(draw: Draw, split: str, name: str, label: str) -> tuple[str, str]:
    family, _ = FAMILIES[name]
    while True:
        hypothesis: Sentence = family.draw(draw)
        if split_of(hypothesis.content) != split:
            continue
        for _ in range(TRIES):
            premise = hypothesis.premise(draw)
            if premise != hypothesis and hypothesis.label(premise) == label:  # type: ignore[arg-type]
                return _written(premise), _written(hypothesis)


def _written(sentence: Sentence) -> str:
    text = sentence.text()
    return f"{text[0].upper()}{text[1:]}"
