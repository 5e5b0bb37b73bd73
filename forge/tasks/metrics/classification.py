"""How good a classifier is: accuracy, F1, confusion, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.tasks.base import Scores

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

ECE_BINS = 15
ANSWERS = "answers"
"""Beside the rows of figures: (N, 1) which label was answered, to compare two models example by example."""


def softmax(logits_NC: FloatArray) -> FloatArray:
    """Probabilities over the last axis, in float64."""
    shifted = logits_NC.astype(np.float64) - logits_NC.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def expected_calibration_error(probabilities_NC: FloatArray, labels_N: IntArray, bins: int = ECE_BINS) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size; 0 (calibrated) to 1.

    Guo et al. 2017 (arXiv 1706.04599), equation 3, with equal-width bins closed on the right. It is biased upward on
    small samples: a perfectly calibrated model shows about 0.05 on 500 examples with 15 bins.
    """
    confidence_N = probabilities_NC.max(axis=-1)
    correct_N = probabilities_NC.argmax(axis=-1) == labels_N
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(bin_N, minlength=bins)
    gaps = np.bincount(bin_N, weights=confidence_N, minlength=bins) - np.bincount(
        bin_N, weights=correct_N, minlength=bins
    )
    return float(np.abs(gaps).sum() / max(counts.sum(), 1))


def mean_cross_entropy(probabilities_NC: FloatArray, labels_N: IntArray) -> float:
    """Mean negative log probability of the true label, in nats."""
    chosen_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    return float(-np.log(np.maximum(chosen_N, np.finfo(np.float64).tiny)).mean())


def better_order(logits_NC: FloatArray, labels_N: IntArray) -> tuple[float, list[int]]:
    """The accuracy in that order of the outputs which makes it highest, and the label that each output then means."""
    from scipy.optimize import linear_sum_assignment

    classes = logits_NC.shape[-1]
    counts_CC = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts_CC, (logits_NC.argmax(axis=-1), labels_N), 1)
    outputs, meant = linear_sum_assignment(counts_CC, maximize=True)
    return float(counts_CC[outputs, meant].sum() / max(len(labels_N), 1)), [int(label) for label in meant]


def score_classification(logits_NC: FloatArray, labels_N: IntArray, names: list[str]) -> Scores:
    """All figures of one split. Labels that never occur keep their row in the tables."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    probabilities_NC = softmax(logits_NC)
    predicted_N = logits_NC.argmax(axis=-1)
    indices = list(range(len(names)))
    precision, recall, f1, support = precision_recall_fscore_support(
        labels_N, predicted_N, labels=indices, zero_division=0.0
    )
    figures = {
        "accuracy": float((predicted_N == labels_N).mean()),
        "macro_f1": float(np.mean(f1)),
        "loss": mean_cross_entropy(probabilities_NC, labels_N),
        "ece": expected_calibration_error(probabilities_NC, labels_N),
    }
    per_class = {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": int(support[i]),
        }
        for i, name in enumerate(names)
    }
    confusion = confusion_matrix(labels_N, predicted_N, labels=indices).tolist()
    detail = {"labels": names, "per_class": per_class, "confusion": confusion, "examples": len(labels_N)}
    rows = {
        "accuracy": lambda: (predicted_N == labels_N).astype(np.float64)[:, None],
        ANSWERS: lambda: predicted_N.astype(np.float64)[:, None],
    }
    return Scores(figures, detail, rows)
