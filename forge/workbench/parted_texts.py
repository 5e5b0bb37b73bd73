"""The section on disagreement of models that write text: token by token on the same text, and in what each writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forge.core.hashing import derive_seed
from forge.tasks.metrics.multiple import holm
from forge.workbench.aligned import figure, number
from forge.workbench.features import FloatArray
from forge.workbench.findings import Compared, Figure, PairedShare, SliceRow, TextDisagreement
from forge.workbench.sequences import Ids, against_each_other, divergence, token_agreement
from forge.workbench.slices import LEAST_ROWS, Axis

RESAMPLES = 1_000


@dataclass(frozen=True)
class Writing:
    """What a model made of N inputs. Tokens of two models are the same only where `tokens` are."""

    texts: list[str]
    ids: list[list[int]]  # of the texts
    tokens: str  # a digest of its tokenizer
    on_gold: list[list[int]]  # the likeliest token at each place of the data's text
    on_reference: list[list[int]] | None  # the same of the reference's text; None where it cuts texts otherwise
    figures: Mapping[str, float | None]


def texts_part(
    names: tuple[str, str],
    both: tuple[Writing, Writing],
    kind: Literal["translation", "ocr"],
    language: str | None,
    axes: Sequence[Axis],
    seed: int,
) -> TextDisagreement:
    """All figures of a model (the second) against the reference. Raises UserError."""
    first, second = both
    alike = first.tokens == second.tokens
    given = token_agreement(first.on_gold, second.on_gold, seed) if alike else None
    spoken = None
    if alike and first.on_reference is not None and second.on_reference is not None and any(first.on_reference):
        spoken = token_agreement(first.on_reference, second.on_reference, seed)
    ids = (first.ids, second.ids) if alike else _words(first.texts, second.texts)
    parted = divergence(*ids)
    told = against_each_other(first.texts, second.texts, kind, language)
    return TextDisagreement(
        reference=names[0],
        other=names[1],
        texts=told.texts,
        on_gold=figure(given.agreement, given.interval) if given else None,
        on_reference=figure(spoken.agreement, spoken.interval) if spoken else None,
        tokens_on_gold=given.tokens if given else None,
        exact=told.exact,
        median_divergence=number(parted.median_share),
        survival=parted.survival,
        figures={name: number(value) for name, value in told.figures.items()},
        length_ratio=told.length_ratio,
        repetition=told.repetition,
        reference_repetition=told.teacher_repetition,
        slices=text_slices(axes, np.asarray(given.per_text), seed) if given else (),
    )


def texts_compared(
    reference: str, pair: tuple[str, str], writings: Mapping[str, Writing], seed: int
) -> Compared | None:
    """Whether the first of the pair would go on as the reference does more often than the second; None across tokens.

    Of all tokens of the data's texts; the interval resamples texts, whose tokens are not independent.
    """
    taught, own, others = (writings[key] for key in (reference, *pair))
    if len({taught.tokens, own.tokens, others.tokens}) > 1:
        return None
    counts_N = np.array([len(one) for one in taught.on_gold], np.float64)
    same = [
        np.array([sum(map(int.__eq__, a, b)) for a, b in zip(taught.on_gold, one.on_gold, strict=True)], np.float64)
        for one in (own, others)
    ]
    model, than = (float(one.sum() / counts_N.sum()) for one in same)
    rng = np.random.default_rng(derive_seed(seed, "texts compared"))
    drawn_RN = rng.integers(len(counts_N), size=(RESAMPLES, len(counts_N)))
    differences_R = (same[0] - same[1])[drawn_RN].sum(1) / counts_N[drawn_RN].sum(1)
    low, high = (float(np.quantile(differences_R, q)) for q in (0.025, 0.975))
    return Compared(
        reference, *pair, PairedShare(int(counts_N.sum()), model, than, figure(model - than, (low, high)), None), None
    )


def text_slices(axes: Sequence[Axis], agreement_N: FloatArray, seed: int) -> tuple[SliceRow, ...]:
    """Mean token agreement of texts of each kind against all others: Mann and Whitney's test, Holm over all kinds."""
    found = [_slice(axis, number, agreement_N, seed) for axis in axes for number in range(len(axis.kinds))]
    adjusted = iter(holm([one.p for one in found if one.p is not None]).tolist())
    return tuple(one if one.p is None else replace(one, p_holm=next(adjusted)) for one in found)


def _slice(axis: Axis, kind: int, agreement_N: FloatArray, seed: int) -> SliceRow:
    from scipy.stats import mannwhitneyu

    known_N = np.isfinite(agreement_N)
    inside, outside = (agreement_N[known_N & chosen_N] for chosen_N in (axis.kind_N == kind, _others(axis, kind)))
    p = None
    if min(len(inside), len(outside)) >= LEAST_ROWS:
        p = float(mannwhitneyu(inside, outside).pvalue)
    return SliceRow(
        axis.name, axis.kinds[kind], len(inside), _mean(inside, seed), None, None, _plain_mean(outside), p, None
    )


def _others(axis: Axis, kind: int) -> NDArray[np.bool_]:
    return np.asarray((axis.kind_N >= 0) & (axis.kind_N != kind))


def _mean(values_n: FloatArray, seed: int) -> Figure:
    if not len(values_n):
        return Figure(None)
    drawn_R = (
        np.random.default_rng(derive_seed(seed, "text slice")).choice(values_n, (RESAMPLES, len(values_n))).mean(1)
    )
    return figure(float(values_n.mean()), (float(np.quantile(drawn_R, 0.025)), float(np.quantile(drawn_R, 0.975))))


def _plain_mean(values_n: FloatArray) -> float | None:
    return float(values_n.mean()) if len(values_n) else None


def _words(teacher: Sequence[str], student: Sequence[str]) -> tuple[list[Ids], list[Ids]]:
    """Words as numbers, for models that cut texts differently."""
    known: dict[str, int] = {}

    def numbers(texts: Sequence[str]) -> list[Ids]:
        return [[known.setdefault(word, len(known)) for word in text.split()] for text in texts]

    return numbers(teacher), numbers(student)
