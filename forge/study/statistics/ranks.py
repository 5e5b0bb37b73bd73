"""Ranks of cells, as a description: with few tasks no test on ranks can tell two cells apart."""

from __future__ import annotations

import numpy as np

from forge.study.statistics.testing import ALPHA, FloatArray


def mean_ranks(outcome_CB: FloatArray, higher_is_better: bool) -> FloatArray:
    """Mean rank of each cell over B blocks (tasks or seeds); 1 is best, ties share."""
    from scipy.stats import rankdata

    signed = -outcome_CB if higher_is_better else outcome_CB
    return np.asarray(rankdata(signed, axis=0).mean(1))


def nemenyi_difference(cells: int, blocks: int, alpha: float = ALPHA) -> float:
    """How far two mean ranks have to be apart (Demšar 2006, equation 5); at most cells − 1 is possible.

    q is the studentised range over √2.
    """
    return nemenyi_q(cells, alpha) * float(np.sqrt(cells * (cells + 1) / (6 * blocks)))


def nemenyi_q(cells: int, alpha: float = ALPHA) -> float:
    """The constant of Nemenyi's test for infinitely many degrees of freedom."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - alpha, cells, np.inf) / np.sqrt(2))
