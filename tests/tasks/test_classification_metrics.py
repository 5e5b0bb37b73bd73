"""Figures against golden values and scikit-learn."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn import metrics

from forge.tasks.metrics.classification import (
    ECE_BINS,
    better_order,
    expected_calibration_error,
    mean_cross_entropy,
    score_classification,
    softmax,
)


def _binary(confidences, correct):
    probabilities = np.array([[p, 1 - p] if p >= 0.5 else [1 - p, p] for p in confidences])
    return probabilities, np.array([0 if right else 1 for right in correct])


def test_calibration_golden_value():
    """Ten bins closed on the right, by hand: (|.1| + |1.7−1| + |.75−1| + |.65−0| + |.55−1| + |.45−0|) / 8 = 0.325."""
    confidence = [0.95, 0.95, 0.85, 0.85, 0.75, 0.65, 0.55, 0.45]
    correct = [1, 1, 1, 0, 1, 0, 1, 0]
    # Three classes, so that a winner may have less than half.
    probabilities = np.array([[p, (1 - p) * 0.6, (1 - p) * 0.4] for p in confidence])
    labels = np.array([0 if right else 1 for right in correct])
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx(0.325)


def test_a_bin_is_closed_on_the_right():
    """0.8 belongs to (0.7, 0.8] with 0.75, and not to (0.8, 0.9] with 0.85."""
    probabilities, labels = _binary([0.75, 0.8, 0.85], [1, 0, 0])
    assert expected_calibration_error(probabilities, labels, bins=10) == pytest.approx((abs(1.55 - 1) + 0.85) / 3)


def test_calibration_at_the_ends():
    assert expected_calibration_error(*_binary([1.0, 1.0], [1, 1])) == 0.0
    assert expected_calibration_error(*_binary([1.0, 1.0], [0, 0])) == 1.0
    assert expected_calibration_error(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 0.0


def test_calibration_against_a_plain_loop():
    rng = np.random.default_rng(0)
    probabilities, labels = softmax(rng.normal(size=(500, 4)) * 2), rng.integers(0, 4, 500)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for low in np.arange(ECE_BINS) / ECE_BINS:
        inside = (confidence > low) & (confidence <= low + 1 / ECE_BINS)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(total, abs=1e-12)


def test_softmax_is_stable_and_exact():
    for shift in (0.0, 1e4, -1e4):
        found = softmax(np.array([[1.0, 2.0, 3.0]]) + shift)
        np.testing.assert_allclose(found, [[0.09003057, 0.24472847, 0.66524096]], atol=1e-8)
    extreme = softmax(np.array([[3e38, -3e38], [0.0, 0.0]], dtype=np.float32))
    np.testing.assert_array_equal(extreme, [[1.0, 0.0], [0.5, 0.5]])
    assert softmax(np.zeros((2, 3), dtype=np.float16)).dtype == np.float64


def test_cross_entropy_stays_finite_where_a_probability_vanishes():
    assert mean_cross_entropy(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(708.396, abs=1e-3)
    assert mean_cross_entropy(np.array([[0.5, 0.5]]), np.array([1])) == pytest.approx(np.log(2))


@pytest.mark.parametrize("seed", range(5))
def test_every_figure_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c", "d"]
    logits, labels = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(0, 4, 200)
    scores = score_classification(logits, labels, names)
    predicted = logits.argmax(1)
    assert scores.figures["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert scores.figures["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert scores.figures["loss"] == pytest.approx(metrics.log_loss(labels, softmax(logits)))
    report = metrics.classification_report(labels, predicted, target_names=names, output_dict=True)
    for name, row in scores.detail["per_class"].items():
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            tuple(report[name][key] for key in ("precision", "recall", "f1-score", "support"))
        )
    assert scores.detail["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert scores.detail["examples"] == 200


def test_a_class_that_never_occurs_keeps_its_row_and_counts_in_the_mean():
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    scores = score_classification(logits, np.array([0, 1]), ["a", "b", "never"])
    assert scores.detail["per_class"]["never"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert scores.detail["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert scores.figures["macro_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_better_order_is_the_best_of_all_permutations(classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 40)
    logits = rng.normal(size=(40, classes)) + 1.5 * np.eye(classes)[rng.permutation(classes)[labels]]
    predicted = logits.argmax(1)
    tried = {meant: (np.array(meant)[predicted] == labels).mean() for meant in permutations(range(classes))}
    accuracy, order = better_order(logits, labels)
    assert accuracy == pytest.approx(max(tried.values()))
    assert tried[tuple(order)] == pytest.approx(accuracy)
    assert accuracy >= (predicted == labels).mean()


@pytest.mark.parametrize("truth", list(permutations(range(3))))
def test_the_better_order_says_what_each_output_means(truth):
    """Output i fires for label truth[i]."""
    labels = np.array([0, 0, 1, 2, 2, 2])
    logits = np.eye(3)[[truth.index(label) for label in labels]]
    assert better_order(logits, labels) == (1.0, list(truth))


def test_the_better_order_names_every_label_once_even_where_an_output_never_wins():
    logits = np.array([[0.0, 1.0, 0.0]] * 4)
    accuracy, order = better_order(logits, np.array([2, 2, 2, 0]))
    assert accuracy == 0.75
    assert order[1] == 2
    assert sorted(order) == [0, 1, 2]
    assert better_order(np.zeros((0, 2)), np.zeros(0, dtype=int))[0] == 0.0
