"""Where a student and its teacher part: agreement beside what accuracy alone gives, who errs alone, whose errors recur.

Two accurate classifiers agree often without having learned from each other, so agreement is never shown alone: beside
it stand what independent errors would give, Cohen's κ, and the same figures of a student trained without the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.tasks.metrics.significance import compare_correct
from forge.workbench.cka import Z95
from forge.workbench.features import FloatArray
from forge.workbench.plain import Plain

Answers = NDArray[np.integer[Any]]
_SMALLEST = 1e-8  # a probability, in KL alone


@dataclass(frozen=True)
class Share(Plain):
    """A share of rows, and Wilson's 95 % interval of it."""

    value: float
    interval: tuple[float, float]
    rows: int


@dataclass(frozen=True)
class Agreement(Plain):
    """Answers of two classifiers to N examples of K classes. Counts add up to `rows`."""

    rows: int
    teacher_accuracy: Share
    student_accuracy: Share
    agreement: Share
    expected_agreement: float  # of two classifiers this accurate whose errors are independent and even over classes
    kappa: float  # Cohen's: 0 is what the frequencies of their answers give by chance, 1 is always the same answer
    both_right: int
    teacher_only_right: int
    student_only_right: int
    both_wrong_alike: int
    both_wrong_apart: int
    accuracy_difference: float  # student less teacher
    difference_interval: tuple[float, float]  # 95 %, paired bootstrap
    mcnemar_p: float  # exact, two-sided
    error_overlap: float  # rows both get wrong over rows that either does (Jaccard); NaN without errors
    answers_CC: NDArray[np.int64]  # how often the teacher said the row's class and the student the column's


@dataclass(frozen=True)
class Paired(Plain):
    """A share of a student and of a baseline over the same rows, and the exact McNemar test of their difference."""

    rows: int
    student: float
    baseline: float
    difference: float
    interval: tuple[float, float]  # 95 %, paired bootstrap
    p: float


def agreement(gold_N: Answers, teacher_N: Answers, student_N: Answers, classes: int) -> Agreement:
    """All figures of two classifiers on the same examples, classes as numbers from 0. Raises UserError."""
    gold_N, teacher_N, student_N = _checked(classes, gold=gold_N, teacher=teacher_N, student=student_N)
    right_T, right_S, same = teacher_N == gold_N, student_N == gold_N, teacher_N == student_N
    tested = compare_correct("accuracy", right_S, right_T)
    a, b = float(right_T.mean()), float(right_S.mean())
    answers_CC = np.zeros((classes, classes), np.int64)
    np.add.at(answers_CC, (teacher_N, student_N), 1)
    either = int((~right_T | ~right_S).sum())
    return Agreement(
        rows=len(gold_N),
        teacher_accuracy=share(right_T),
        student_accuracy=share(right_S),
        agreement=share(same),
        expected_agreement=a * b + (1 - a) * (1 - b) / (classes - 1),
        kappa=kappa(answers_CC),
        both_right=int((right_T & right_S).sum()),
        teacher_only_right=int((right_T & ~right_S).sum()),
        student_only_right=int((~right_T & right_S).sum()),
        both_wrong_alike=int((~right_T & same).sum()),
        both_wrong_apart=int((~right_T & ~right_S & ~same).sum()),
        accuracy_difference=tested.delta,
        difference_interval=tested.interval,
        mcnemar_p=tested.p,
        error_overlap=int((~right_T & ~right_S).sum()) / either if either else float("nan"),
        answers_CC=answers_CC,
    )


def compare_agreement(teacher_N: Answers, student_N: Answers, baseline_N: Answers) -> Paired:
    """Whether the student answers as the teacher does more often than the baseline does."""
    return _paired(student_N == teacher_N, baseline_N == teacher_N)


def copied_errors(gold_N: Answers, teacher_N: Answers, student_N: Answers, baseline_N: Answers) -> Paired:
    """Of the rows that the teacher gets wrong, how many its student, and a baseline, answer with the same wrong class.

    Easy mistakes are made by anyone, so only the difference from a student that never saw the teacher says that errors
    were learned from it. Raises UserError where the teacher makes no error.
    """
    wrong_N = np.asarray(teacher_N) != np.asarray(gold_N)
    if not wrong_N.any():
        raise UserError("copied errors: the teacher makes none on these examples")
    return _paired((student_N == teacher_N)[wrong_N], (baseline_N == teacher_N)[wrong_N])


def kappa(counts_CC: NDArray[np.int64]) -> float:
    """Cohen's κ = (p_o − p_e) / (1 − p_e) of a table of two raters' answers; NaN where both give a single class.

    Cohen 1960, Educational and Psychological Measurement 20:37.
    """
    shares_CC = counts_CC / counts_CC.sum()
    expected = float(shares_CC.sum(0) @ shares_CC.sum(1))
    return (float(np.trace(shares_CC)) - expected) / (1 - expected) if expected < 1 else float("nan")


def share(chosen_N: NDArray[np.bool_]) -> Share:
    """The share of rows chosen; NaN for no rows."""
    rows = len(chosen_N)
    return Share(float(chosen_N.mean()) if rows else float("nan"), wilson(int(chosen_N.sum()), rows), rows)


def wilson(successes: int, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927, JASA 22:209); (NaN, NaN) for no rows."""
    if not rows:
        return float("nan"), float("nan")
    p, z2 = successes / rows, Z95**2
    middle = (p + z2 / (2 * rows)) / (1 + z2 / rows)
    spread = Z95 / (1 + z2 / rows) * float(np.sqrt(p * (1 - p) / rows + z2 / (4 * rows**2)))
    return max(middle - spread, 0.0), min(middle + spread, 1.0)


def jensen_shannon_bits(p_NC: FloatArray, q_NC: FloatArray) -> FloatArray:
    """JS_N of each row's two distributions, ½ KL(P‖M) + ½ KL(Q‖M), M their mean: 0 (equal) to 1 bit (apart).

    Lin 1991, IEEE Transactions on Information Theory 37:145. The divergence, where scipy's `jensenshannon` is its root.
    """
    p_NC, q_NC = _distributions(p_NC, q_NC)
    middle_NC = (p_NC + q_NC) / 2
    parts = [
        np.where(side > 0, side * np.log2(np.where(side > 0, side, 1.0) / np.where(side > 0, middle_NC, 1.0)), 0.0)
        for side in (p_NC, q_NC)
    ]
    return np.asarray(np.clip((parts[0] + parts[1]).sum(-1) / 2, 0.0, 1.0))


def kl_nats(p_NC: FloatArray, q_NC: FloatArray) -> FloatArray:
    """KL(P‖Q)_N in nats, probabilities below 1e-8 taken for it: a confident teacher would make it infinite."""
    p_NC, q_NC = _distributions(p_NC, q_NC)
    ratio_NC = np.log(np.maximum(p_NC, _SMALLEST)) - np.log(np.maximum(q_NC, _SMALLEST))
    return np.asarray((p_NC * ratio_NC).sum(-1))


def _paired(student_n: NDArray[np.bool_], baseline_n: NDArray[np.bool_]) -> Paired:
    tested = compare_correct("share", np.asarray(student_n), np.asarray(baseline_n))
    return Paired(len(student_n), tested.value, tested.baseline, tested.delta, tested.interval, tested.p)


def _distributions(p_NC: FloatArray, q_NC: FloatArray) -> tuple[FloatArray, FloatArray]:
    p_NC, q_NC = (np.asarray(side, np.float64) for side in (p_NC, q_NC))
    if p_NC.shape != q_NC.shape:
        raise UserError(f"teacher and student have probabilities of shapes {p_NC.shape} and {q_NC.shape}")
    for whose, side in (("teacher", p_NC), ("student", q_NC)):
        if not (np.isfinite(side).all() and (side >= 0).all() and np.allclose(side.sum(-1), 1.0, atol=1e-3)):
            raise UserError(f"{whose}: rows are no probabilities; they are at least 0 and add up to 1")
    return p_NC, q_NC


def _checked(classes: int, **answers: Answers) -> list[Answers]:
    if classes < 2:
        raise UserError(f"disagreement needs at least 2 classes, there is {classes}")
    arrays = {name: np.asarray(array) for name, array in answers.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        told = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise UserError(f"disagreement needs answers of both to the same examples, at least one: {told}")
    for name, array in arrays.items():
        if array.min() < 0 or array.max() >= classes:
            worst = int(array.max() if array.min() >= 0 else array.min())
            raise UserError(f"{name}: there is a class {worst}; there are {classes}, counted from 0")
    return list(arrays.values())
