"""Kinds of examples on which student and teacher part more, or less, than on all others.

Many kinds are looked at, so p is adjusted over all of them (Holm), and those with few rows are shown without.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.tasks.metrics.multiple import holm
from forge.workbench.disagreement import Answers, Share, share
from forge.workbench.features import FloatArray
from forge.workbench.plain import Plain
from forge.workbench.probe_inputs import words_of

LEAST_ROWS = 30
_ENGLISH = {
    "no",
    "not",
    "never",
    "none",
    "nobody",
    "nothing",
    "nowhere",
    "neither",
    "nor",
    "without",
    "cannot",
    "hardly",
}
_FRENCH = {"ne", "pas", "jamais", "rien", "personne", "aucun", "aucune", "sans"}
NEGATIONS = frozenset(_ENGLISH | _FRENCH)
REGIONS = ("easy to learn", "ambiguous", "hard to learn")


@dataclass(frozen=True)
class Axis:
    """One way to sort rows into kinds."""

    name: str
    kinds: tuple[str, ...]
    kind_N: NDArray[np.int64]  # -1 for rows of no kind
    made_by: str | None = None  # the model whose answers made the kinds


@dataclass(frozen=True)
class Slice(Plain):
    """Rows of one kind, against all other rows that the axis sorts."""

    axis: str
    kind: str
    rows: int
    teacher_accuracy: Share
    student_accuracy: Share
    agreement: Share
    elsewhere: float  # agreement on the other rows; NaN where there are none
    p: float | None  # Fisher's exact test of agreement here against elsewhere; None for too few rows or no test
    p_holm: float | None


def quantile_axis(name: str, values_N: FloatArray, bins: int = 5) -> Axis:
    """Bins of about equally many rows; equal values stay together, so there may be fewer bins."""
    values_N = np.asarray(values_N, np.float64)
    inner = np.unique(np.quantile(values_N, np.arange(1, bins) / bins))
    kind_N = np.searchsorted(inner, values_N, "left")
    used, kind_N = np.unique(kind_N, return_inverse=True)
    parts = [values_N[kind_N == number] for number in range(len(used))]
    return Axis(name, tuple(map(_span, parts)), kind_N.astype(np.int64))


def _span(values_n: FloatArray) -> str:
    low, high = (f"{end:.4g}" for end in (values_n.min(), values_n.max()))
    return low if low == high else f"{low} to {high}"


def named_axis(name: str, kinds: Sequence[str], kind_N: NDArray[Any]) -> Axis:
    """Kinds by number, such as gold classes; −1 for rows of none."""
    return Axis(name, tuple(kinds), np.asarray(kind_N, np.int64))


def has_negation(text: str) -> bool:
    """Whether an English or French text has a word that denies: no, never, n't, ne … pas, sans."""
    return any(word in NEGATIONS or word.endswith(("n't", "n’t")) for word in words_of(text))


def negation_axis(texts_N: Sequence[str]) -> Axis:
    """Texts with a negation and without."""
    return Axis("negation", ("without", "with"), np.array([has_negation(text) for text in texts_N], np.int64))


def dynamics_axis(gold_probability_EN: FloatArray) -> Axis:
    """Regions of a dataset map from the probability of the true class after each of E epochs of training.

    Swayamdipta et al. 2020 (arXiv 2009.10795): the third with the largest standard deviation is ambiguous; of the rest,
    a mean of at least the median is easy to learn, and what is below hard. Raises UserError for fewer than two epochs.
    """
    values_EN = np.asarray(gold_probability_EN, np.float64)
    if values_EN.ndim != 2 or len(values_EN) < 2:
        raise UserError("training dynamics need the probabilities of at least two epochs")
    mean_N, spread_N = values_EN.mean(0), values_EN.std(0)
    by_spread_N = np.argsort(-spread_N, kind="stable")
    ambiguous_N = np.zeros(values_EN.shape[1], bool)
    ambiguous_N[by_spread_N[: len(by_spread_N) // 3]] = True
    middle = float(np.median(mean_N[~ambiguous_N]))
    return Axis(
        "training dynamics", REGIONS, np.where(ambiguous_N, 1, np.where(mean_N >= middle, 0, 2)).astype(np.int64)
    )


def slices(
    axes: Sequence[Axis], gold_N: Answers, teacher_N: Answers, student_N: Answers, untested: Collection[str] = ()
) -> tuple[Slice, ...]:
    """Every kind of every axis, in order; those of `untested` axes have no p. Raises UserError for other rows."""
    gold_N, teacher_N, student_N = (np.asarray(side) for side in (gold_N, teacher_N, student_N))
    found = []
    for axis in axes:
        if len(axis.kind_N) != len(gold_N):
            raise UserError(f"slices by {axis.name}: {len(axis.kind_N):,} rows are sorted, there are {len(gold_N):,}")
        for number, kind in enumerate(axis.kinds):
            here_N = axis.kind_N == number
            told = _slice(axis, kind, here_N, (gold_N, teacher_N, student_N))
            found.append(replace(told, p=None) if axis.name in untested else told)
    adjusted = iter(holm([one.p for one in found if one.p is not None]).tolist())
    return tuple(one if one.p is None else replace(one, p_holm=next(adjusted)) for one in found)


def _slice(axis: Axis, kind: str, here_N: NDArray[np.bool_], answers: tuple[Answers, ...]) -> Slice:
    from scipy.stats import fisher_exact

    gold_N, teacher_N, student_N = answers
    same_N, there_N = teacher_N == student_N, (axis.kind_N >= 0) & ~here_N
    inside, outside = same_N[here_N], same_N[there_N]
    p = None
    if min(len(inside), len(outside)) >= LEAST_ROWS:
        table = [[int(part.sum()), int((~part).sum())] for part in (inside, outside)]
        p = min(float(fisher_exact(table).pvalue), 1.0)
    return Slice(
        axis.name,
        kind,
        int(here_N.sum()),
        share((teacher_N == gold_N)[here_N]),
        share((student_N == gold_N)[here_N]),
        share(inside),
        float(outside.mean()) if len(outside) else float("nan"),
        p,
        None,
    )
