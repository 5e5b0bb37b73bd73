"""Where two models that write text part: token by token on the same text, and in what each writes by itself.

`token_agreement` shows both models the same words before each token, so every token is a choice of its own. Of texts
written freely only the first difference is: after it the two read different texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.tasks.metrics.ocr.text import char_edits, corpus_rate, word_edits
from forge.tasks.metrics.translation import score_translations
from forge.workbench.plain import Plain

Ids = Sequence[int]
RESAMPLES = 1_000
STEPS = 20  # of the survival curve
REPEATED = 4  # tokens of what counts as repeated


@dataclass(frozen=True)
class TokenAgreement(Plain):
    """How often both models hold the same token to be the likeliest next one."""

    texts: int
    tokens: int
    agreement: float  # over all tokens, 0 to 1
    interval: tuple[float, float]  # 95 %, bootstrap over texts: tokens of one text are not independent
    per_text: tuple[float, ...]  # NaN (null) for a text without tokens


@dataclass(frozen=True)
class Divergence(Plain):
    """Where freely written texts of two models first differ."""

    texts: int
    exact: float  # share of texts that are the same to the end
    positions: tuple[int | None, ...]  # token at which they differ, counted from 0; None where they do not
    shares: tuple[float | None, ...]  # the same over the longer text's length
    median_share: float  # of all texts, the same ones counted as 1
    survival: tuple[tuple[float, float], ...]  # (share of the length, share of texts that are the same up to there)


@dataclass(frozen=True)
class AgainstEachOther(Plain):
    """Texts of one model measured against those of another as if they were references."""

    texts: int
    figures: dict[str, float]
    exact: float  # share of texts that are the same, but for white space at the ends
    length_ratio: float  # words of the student over those of the teacher
    repetition: float  # of the student, see `repetition_share`
    teacher_repetition: float


def token_agreement(teacher: Sequence[Ids], student: Sequence[Ids], seed: int = 0) -> TokenAgreement:
    """Of the likeliest token at every position of the same texts, teacher-forced. Raises UserError."""
    if len(teacher) != len(student) or not teacher:
        raise UserError(
            f"token agreement: {len(teacher):,} and {len(student):,} texts; it needs the same ones, at least one"
        )
    for number, (one, other) in enumerate(zip(teacher, student, strict=True)):
        if len(one) != len(other):
            raise UserError(
                f"token agreement: text {number} has {len(one)} and {len(other)} tokens; force both with one text"
            )
    counts = [
        (sum(a == b for a, b in zip(*both, strict=True)), len(both[0])) for both in zip(teacher, student, strict=True)
    ]
    table_N2 = np.array(counts, np.float64)
    tokens = int(table_N2[:, 1].sum())
    if not tokens:
        raise UserError("token agreement: the texts have no tokens")
    rng = np.random.default_rng(derive_seed(seed, "token agreement"))
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES) @ table_N2
    rates = drawn[:, 0] / np.maximum(drawn[:, 1], 1)
    low, high = np.quantile(rates, [0.025, 0.975])
    per_text = tuple(alike / total if total else float("nan") for alike, total in counts)
    return TokenAgreement(
        len(counts), tokens, float(table_N2[:, 0].sum()) / tokens, (float(low), float(high)), per_text
    )


def first_difference(one: Ids, other: Ids) -> int | None:
    """Position of the first token that differs, where one ends included; None for the same texts."""
    for position, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return position
    return None if len(one) == len(other) else min(len(one), len(other))


def divergence(teacher: Sequence[Ids], student: Sequence[Ids]) -> Divergence:
    """First differences of the texts that two models write of the same inputs. Raises UserError."""
    if len(teacher) != len(student) or not teacher:
        raise UserError(f"divergence: {len(teacher):,} and {len(student):,} texts; it needs one of both for each input")
    positions = [first_difference(*both) for both in zip(teacher, student, strict=True)]
    lengths = [max(map(len, both)) for both in zip(teacher, student, strict=True)]
    shares = [None if at is None else at / length for at, length in zip(positions, lengths, strict=True)]
    reached = np.array([1.0 if one is None else one for one in shares])
    never = np.array([one is None for one in shares])
    grid = np.arange(STEPS + 1) / STEPS
    survival = tuple((float(at), float(((reached >= at) & ((at < 1) | never)).mean())) for at in grid)
    return Divergence(
        len(shares), float(never.mean()), tuple(positions), tuple(shares), float(np.median(reached)), survival
    )


def repetition_share(texts: Sequence[Sequence[Any]], size: int = REPEATED) -> float:
    """Share of all runs of `size` tokens that the same text had before, 0 to 1: Σ (runs − distinct runs) / Σ runs.

    Welleck et al. 2020 (arXiv 1908.04319), their seq-rep-4, over all texts together. 0 where all are shorter.
    """
    repeated = total = 0
    for text in texts:
        runs = [tuple(text[start : start + size]) for start in range(len(text) - size + 1)]
        repeated, total = repeated + len(runs) - len(set(runs)), total + len(runs)
    return repeated / total if total else 0.0


def against_each_other(
    teacher: Sequence[str], student: Sequence[str], kind: Literal["translation", "ocr"], language: str | None = None
) -> AgainstEachOther:
    """BLEU, chrF++ (translation) or CER, WER (pages) of the student's texts against the teacher's. Raises UserError."""
    if len(teacher) != len(student) or not teacher:
        raise UserError(f"{len(teacher):,} and {len(student):,} texts; it needs one of both for each input")
    if kind == "translation":
        figures = dict(score_translations(student, teacher, language).figures)
        figures.pop("length_ratio")
    else:
        both = list(zip(student, teacher, strict=True))
        figures = {
            "cer": corpus_rate(char_edits(*one) for one in both),
            "wer": corpus_rate(word_edits(*one) for one in both),
        }
    words_T, words_S = ([text.split() for text in side] for side in (teacher, student))
    return AgainstEachOther(
        texts=len(teacher),
        figures=figures,
        exact=float(np.mean([a.strip() == b.strip() for a, b in zip(teacher, student, strict=True)])),
        length_ratio=sum(map(len, words_S)) / max(sum(map(len, words_T)), 1),
        repetition=repetition_share(words_S),
        teacher_repetition=repetition_share(words_T),
    )
