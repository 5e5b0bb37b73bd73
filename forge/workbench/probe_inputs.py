"""What a probe is compared with: words alone, labels without meaning.

A probe of sentence vectors finds much that the words say by themselves (`bag_of_words`), and with enough features it
also learns what has no rule (`control_labels`; Hewitt and Liang 2019, arXiv 1909.03368). They give random labels to
word types; whole sentences never repeat, so labels drawn for them could only be guessed. Here a row's control label
hangs on one word of it that other rows have too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.core.hashing import derive_seed
from forge.workbench.features import FloatArray
from forge.workbench.plain import Plain

_WORD = re.compile(r"\w+(?:['’]\w+)?")
MOST_WORDS = 2000


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, apostrophes within words included."""
    return _WORD.findall(text.lower())


def overlap(text: str, other: str) -> float:
    """Share of the distinct words of `other` that `text` has, 0 to 1; 0 where there are none."""
    wanted = set(words_of(other))
    return len(wanted & set(words_of(text))) / len(wanted) if wanted else 0.0


def bag_of_words(texts: Sequence[str], pairs: Sequence[str] | None = None, most: int = MOST_WORDS) -> FloatArray:
    """features_ND in fp32 of texts or pairs of texts: log counts of the most frequent words, lengths, overlap.

    The two sides of a pair have columns of their own. Words are chosen by frequency over all rows, without labels.
    """
    sides = [texts] if pairs is None else [texts, pairs]
    blocks: list[FloatArray] = []
    for side in sides:
        split = [words_of(text) for text in side]
        frequent = Counter(word for words in split for word in words)
        ranked = sorted(frequent, key=lambda word: (-frequent[word], word))[:most]
        column = {word: number for number, word in enumerate(ranked)}
        counts_ND = np.zeros((len(split), len(column)), np.float32)
        for row, words in enumerate(split):
            for word in words:
                if word in column:
                    counts_ND[row, column[word]] += 1
        blocks += [np.log1p(counts_ND), np.array([[len(words)] for words in split], np.float32)]
    if pairs is not None:
        blocks.append(np.array([[overlap(*both)] for both in zip(texts, pairs, strict=True)], np.float32))
    return np.concatenate(blocks, axis=1)


@dataclass(frozen=True)
class Control(Plain):
    """Labels without meaning, and how many rows have a word that another row has too: the rest can only be guessed."""

    labels_N: NDArray[np.int64]
    repeated: float


def control_labels(words_N: Sequence[str], classes: int, seed: int = 0) -> Control:
    """A label of 0 to `classes` − 1 for each row, drawn once for each distinct word and kept wherever it stands.

    The word is the caller's choice, for example the first content word of a hypothesis. Selectivity is the accuracy of
    the task less that of this.
    """
    drawn = {word: derive_seed(seed, "control", word) % classes for word in set(words_N)}
    counts = Counter(words_N)
    return Control(
        np.array([drawn[word] for word in words_N], np.int64),
        float(np.mean([counts[word] > 1 for word in words_N])) if len(words_N) else 0.0,
    )


def shuffled_labels(labels_N: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """The same labels on other rows: what is above the majority class here is what a test set of this size lends."""
    return np.random.default_rng(derive_seed(seed, "shuffled labels")).permutation(labels_N)
