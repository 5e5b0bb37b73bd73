"""The outcome made from sums of test examples, so that examples can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.study.statistics.testing import FloatArray

ORDERS = 4
BLEU_COLUMNS = 2 * ORDERS + 2  # counts of right n-grams, totals, length of the hypotheses, of the references


def combine(sums_K: NDArray[np.floating[Any]], how: str, examples: int) -> FloatArray:
    """The outcome over the last axis, the columns, of sums over `examples` examples; `how` is `Declared.combine`."""
    return np.asarray(WAYS[how](np.asarray(sums_K, dtype=np.float64), examples))


def _mean(sums_K: FloatArray, examples: int) -> FloatArray:
    return sums_K[..., 0] / examples


def _ratio(sums_K: FloatArray, examples: int) -> FloatArray:  # noqa: ARG001
    return np.divide(sums_K[..., 0], sums_K[..., 1], out=np.zeros(sums_K.shape[:-1]), where=sums_K[..., 1] != 0)


def _bleu(sums_K: FloatArray, examples: int) -> FloatArray:  # noqa: ARG001
    """Corpus BLEU of 0 to 100 as sacreBLEU has it by default: 4 orders, exponential smoothing (Post 2018)."""
    right, totals, lengths = sums_K[..., :ORDERS], sums_K[..., ORDERS : 2 * ORDERS], sums_K[..., 2 * ORDERS :]
    missed = (right == 0) & (totals > 0)
    halved = np.cumsum(missed, axis=-1)  # each order without a match counts half of the one before
    shares = np.divide(np.where(missed, 2.0**-halved, right), totals, out=np.ones_like(right), where=totals > 0)
    logarithms = np.log(np.where(shares > 0, shares, 1.0)).mean(-1)
    length, reference = lengths[..., 0], lengths[..., 1]
    shorter = np.minimum(0.0, 1 - np.divide(reference, length, out=np.ones_like(length), where=length > 0))
    possible = (right.sum(-1) > 0) & (totals > 0).all(-1)
    return np.where(possible, 100 * np.exp(logarithms + shorter), 0.0)


WAYS: dict[str, Callable[[FloatArray, int], FloatArray]] = {"mean": _mean, "ratio": _ratio, "bleu": _bleu}
COLUMNS = {"mean": 1, "ratio": 2, "bleu": BLEU_COLUMNS}
