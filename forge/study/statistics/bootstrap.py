"""Intervals for other seeds and other test examples at once: the paired multi-bootstrap (Sellam et al. 2022).

Every repetition draws seeds and test examples with replacement, the same for all cells. Two departures from the
paper, which has 25 seeds: r − 1 seeds are drawn, since r draws understate the variance of a mean by (r − 1)/r (Rao and
Wu 1988), and the interval is the estimate ± t · the spread of the repetitions, since percentiles of a handful of seeds
are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forge.study.statistics.combine import combine
from forge.study.statistics.testing import ALPHA, FloatArray, critical

REPETITIONS = 2_000
DRAWS_AT_ONCE = 4_000_000


def multi_bootstrap(
    examples_CSNK: FloatArray, weights_EC: FloatArray, how: str, scale: float, seed: int, repetitions: int = REPETITIONS
) -> tuple[FloatArray, FloatArray]:
    """Lower and upper 95 % ends of each contrast of cells, for S ≥ 2 seeds and N examples."""
    cells, seeds, examples, columns = examples_CSNK.shape
    rng = np.random.default_rng(seed)
    flat = np.ascontiguousarray(examples_CSNK.transpose(0, 1, 3, 2), dtype=np.float64).reshape(-1, examples)
    whole_CS = scale * combine(examples_CSNK.sum(2), how, examples)
    estimate_E = weights_EC @ whole_CS.mean(1)
    parts = []
    for rows in _parts(repetitions, examples):
        counts_BN = _counts(rng, rows, examples, examples)
        sums_CSKB = (flat @ counts_BN.T).reshape(cells, seeds, columns, rows)
        values_CSB = scale * combine(np.moveaxis(sums_CSKB, 2, -1), how, examples)
        chosen_BS = _counts(rng, rows, seeds, seeds - 1) / (seeds - 1)
        parts.append(weights_EC @ np.einsum("csb,bs->cb", values_CSB, chosen_BS))
    reach_E = critical(ALPHA, seeds - 1) * np.concatenate(parts, axis=1).std(1, ddof=1)
    return estimate_E - reach_E, estimate_E + reach_E


def _parts(repetitions: int, examples: int) -> Iterator[int]:
    rows = max(1, DRAWS_AT_ONCE // examples)
    for start in range(0, repetitions, rows):
        yield min(rows, repetitions - start)


def _counts(rng: np.random.Generator, rows: int, things: int, draws: int) -> FloatArray:
    """How often each of `things` is among `draws` draws, (rows, things)."""
    drawn = rng.integers(things, size=(rows, draws)) + things * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * things).reshape(rows, things).astype(np.float64)
