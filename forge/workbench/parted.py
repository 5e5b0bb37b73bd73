"""The section on disagreement of classifiers: each beside the reference, and beside one that did not learn from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.workbench.aligned import figure, number
from forge.workbench.calibration import calibration
from forge.workbench.disagreement import (
    Paired,
    Share,
    agreement,
    compare_agreement,
    copied_errors,
    jensen_shannon_bits,
    kl_nats,
)
from forge.workbench.features import FloatArray
from forge.workbench.findings import (
    CalibrationBin,
    ClassDisagreement,
    Compared,
    Figure,
    ModelCalibration,
    PairedShare,
    SliceRow,
)
from forge.workbench.slices import Axis, Slice, slices


@dataclass(frozen=True)
class Choices:
    """What a classifier made of N rows of C classes."""

    probabilities_NC: FloatArray

    @property
    def answers(self) -> NDArray[np.int64]:
        """answers_N: the likeliest class."""
        return np.asarray(self.probabilities_NC.argmax(-1), np.int64)

    @property
    def confidence(self) -> FloatArray:
        """confidence_N: its probability."""
        return np.asarray(self.probabilities_NC.max(-1))

    def figures(self, gold_N: NDArray[np.int64]) -> dict[str, float | None]:
        """Accuracy, and the mean loss in nats."""
        right_N = np.maximum(self.probabilities_NC[np.arange(len(gold_N)), gold_N], np.finfo(np.float64).tiny)
        return {
            "accuracy": float((self.answers == gold_N).mean()),
            "loss": number(float(-np.log(right_N).mean())),
        }


def classes_part(
    reference: str, other: str, gold_N: NDArray[np.int64], both: tuple[Choices, Choices], axes: Sequence[Axis]
) -> ClassDisagreement:
    """All figures of a model against the reference; `both` are the reference's choices and the model's."""
    first, second = both
    told = agreement(gold_N, first.answers, second.answers, first.probabilities_NC.shape[1])
    # Kinds made of a model's own answers differ in how often it agrees with others, whatever it learned.
    untested = {axis.name for axis in axes if axis.made_by in {reference, other}}
    return ClassDisagreement(
        reference=reference,
        other=other,
        rows=told.rows,
        reference_accuracy=shared(told.teacher_accuracy),
        other_accuracy=shared(told.student_accuracy),
        agreement=shared(told.agreement),
        expected_agreement=told.expected_agreement,
        kappa=number(told.kappa),
        both_right=told.both_right,
        reference_only_right=told.teacher_only_right,
        other_only_right=told.student_only_right,
        both_wrong_alike=told.both_wrong_alike,
        both_wrong_apart=told.both_wrong_apart,
        accuracy_difference=figure(told.accuracy_difference, told.difference_interval),
        mcnemar_p=number(told.mcnemar_p),
        error_overlap=number(told.error_overlap),
        answers_CC=tuple(tuple(map(int, row)) for row in told.answers_CC),
        js_mean=float(jensen_shannon_bits(first.probabilities_NC, second.probabilities_NC).mean()),
        kl_mean=number(float(kl_nats(first.probabilities_NC, second.probabilities_NC).mean())),
        slices=tuple(map(_row, slices(axes, gold_N, first.answers, second.answers, untested))),
    )


def calibrated(model: str, choices: Choices, gold_N: NDArray[np.int64], seed: int) -> ModelCalibration:
    """Expected calibration error with its floor."""
    told = calibration(choices.confidence.clip(0, 1), choices.answers == gold_N, seed=seed)
    return ModelCalibration(
        model,
        figure(told.ece, told.interval),
        told.floor,
        told.floor_upper,
        told.p,
        told.excess,
        told.confidence,
        told.accuracy,
        tuple(CalibrationBin(one.rows, one.confidence, one.accuracy) for one in told.bins),
    )


def classes_compared(
    reference: str, pair: tuple[str, str], gold_N: NDArray[np.int64], choices: Mapping[str, Choices]
) -> Compared:
    """Whether the first of the pair answers as the reference does more often than the second does."""
    taught_N, own_N, others_N = (choices[key].answers for key in (reference, *pair))
    try:
        copied = paired_share(copied_errors(gold_N, taught_N, own_N, others_N))
    except UserError:  # the reference makes no mistake
        copied = None
    return Compared(reference, *pair, paired_share(compare_agreement(taught_N, own_N, others_N)), copied)


def shared(told: Share) -> Figure:
    """A share and Wilson's interval."""
    return figure(told.value, told.interval)


def paired_share(told: Paired) -> PairedShare:
    """Plain."""
    return PairedShare(told.rows, told.student, told.baseline, figure(told.difference, told.interval), number(told.p))


def _row(told: Slice) -> SliceRow:
    return SliceRow(
        told.axis,
        told.kind,
        told.rows,
        shared(told.agreement),
        shared(told.teacher_accuracy),
        shared(told.student_accuracy),
        number(told.elsewhere),
        told.p,
        told.p_holm,
    )


def ordered(apart_N: Sequence[float | None]) -> list[int]:
    """Rows, those furthest apart first; equal ones in their own order."""
    known_N = [-1.0 if one is None else one for one in apart_N]
    return sorted(range(len(known_N)), key=lambda row: -known_N[row])


def tags_of(axes: Sequence[Axis], rows: int) -> list[tuple[str, ...]]:
    """Which kinds each row is of, as "axis: kind"."""
    found: list[list[str]] = [[] for _ in range(rows)]
    for axis in axes:
        for row, kind in enumerate(axis.kind_N.tolist()):
            if kind >= 0:
                found[row].append(f"{axis.name}: {axis.kinds[kind]}")
    return [tuple(tags) for tags in found]
