"""Agreement, whose errors recur, divergences and calibration: golden values and independent references."""

from __future__ import annotations

import json

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.tasks.metrics.classification import expected_calibration_error as of_training
from forge.workbench.calibration import calibration, expected_calibration_error
from forge.workbench.disagreement import (
    agreement,
    compare_agreement,
    copied_errors,
    jensen_shannon_bits,
    kappa,
    kl_nats,
    share,
    wilson,
)

GOLD = np.arange(20) % 3
TEACHER = GOLD.copy()
TEACHER[[14, 16, 18]] = [1, 2, 1]
STUDENT = TEACHER.copy()
STUDENT[[8, 10, 12, 17, 18]] = [1, 2, 1, 0, 0]
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
Q = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])


def test_golden_values_of_twenty_rows() -> None:
    found = agreement(GOLD, TEACHER, STUDENT, 3)
    assert (found.teacher_accuracy.value, found.student_accuracy.value) == pytest.approx((0.85, 0.70))
    assert found.agreement.value == pytest.approx(0.75)
    assert found.agreement.interval == pytest.approx((0.5313, 0.8881), abs=5e-5)
    assert found.kappa == pytest.approx(0.6212121, abs=1e-7)
    assert (found.teacher_only_right, found.student_only_right) == (4, 1)
    assert found.both_wrong_alike + found.both_wrong_apart == 2
    assert found.mcnemar_p == pytest.approx(0.375)
    assert found.error_overlap == pytest.approx(0.2857143, abs=1e-7)
    assert found.expected_agreement == pytest.approx(0.85 * 0.7 + 0.15 * 0.3 / 2)
    assert found.accuracy_difference == pytest.approx(-0.15)
    assert found.difference_interval[0] < -0.15 < found.difference_interval[1]
    counts = [found.both_right, found.teacher_only_right, found.student_only_right]
    assert sum(counts) + found.both_wrong_alike + found.both_wrong_apart == found.rows == 20
    assert found.answers_CC.sum() == 20
    assert np.trace(found.answers_CC) == 15
    assert found.answers_CC[2, 1] == 1 == found.answers_CC[1, 0]  # row 8: 2 against 1; row 18: 1 against 0
    json.dumps(found.as_json(), allow_nan=False)


def test_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    assert agreement(GOLD, TEACHER, STUDENT, 3).kappa == pytest.approx(cohen_kappa_score(TEACHER, STUDENT))
    assert np.isnan(kappa(np.array([[5, 0], [0, 0]])))
    assert kappa(np.array([[0, 5], [5, 0]])) == pytest.approx(-1.0)


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for successes, rows in ((0, 7), (3, 10), (15, 20), (10, 10)):
        expected = binomtest(successes, rows).proportion_ci(method="wilson")
        assert wilson(successes, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert np.isnan(share(np.zeros(0, bool)).value)


def test_independent_errors_agree_as_expected_and_have_nothing_in_common() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 4, 40_000)

    def answers(accuracy: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        wrong = (gold + rng.integers(1, 4, len(gold))) % 4
        return np.where(rng.random(len(gold)) < accuracy, gold, wrong)

    found = agreement(gold, answers(0.8), answers(0.7), 4)
    assert found.agreement.value == pytest.approx(found.expected_agreement, abs=0.01)
    assert found.both_wrong_alike / (found.both_wrong_alike + found.both_wrong_apart) == pytest.approx(1 / 3, abs=0.02)


def test_two_that_never_err() -> None:
    found = agreement(GOLD, GOLD, GOLD, 3)
    assert found.mcnemar_p == 1.0
    assert found.as_json()["error_overlap"] is None
    with pytest.raises(UserError, match="the teacher makes none"):
        copied_errors(GOLD, GOLD, STUDENT, STUDENT)


def test_copied_errors_are_those_a_baseline_does_not_make() -> None:
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 3, 3000)
    teacher = np.where(rng.random(3000) < 0.2, (gold + 1) % 3, gold)
    baseline = np.where(rng.random(3000) < 0.2, (gold + 1) % 3, gold)
    student = np.where(rng.random(3000) < 0.4, teacher, baseline)
    found = copied_errors(gold, teacher, student, baseline)
    wrong = teacher != gold
    assert found.rows == wrong.sum()
    assert found.student == pytest.approx((student == teacher)[wrong].mean())
    assert found.baseline == pytest.approx((baseline == teacher)[wrong].mean())
    assert found.interval[0] > 0
    assert found.p < 1e-10
    nothing = copied_errors(gold, teacher, baseline, baseline)
    assert (nothing.difference, nothing.p) == (0.0, 1.0)
    nearer = compare_agreement(teacher, student, baseline)
    assert nearer.rows == 3000
    assert nearer.interval[0] > 0


def test_divergences_golden_and_scipys_square() -> None:
    from scipy.spatial.distance import jensenshannon

    assert kl_nats(P, Q) == pytest.approx([0.08512283, 0.86054482], abs=1e-8)
    assert jensen_shannon_bits(P, Q) == pytest.approx([0.03159672, 0.2942061], abs=1e-7)
    assert jensen_shannon_bits(P, Q) * np.log(2) == pytest.approx([0.02190118, 0.20392813], abs=1e-8)
    root = jensenshannon(P, Q, axis=1)
    assert root == pytest.approx([0.14799047, 0.45158403], abs=1e-8)
    assert jensen_shannon_bits(P, Q) * np.log(2) == pytest.approx(root**2)
    assert not np.allclose(jensen_shannon_bits(P, Q), jensenshannon(P, Q, base=2, axis=1))


def test_divergences_at_their_ends() -> None:
    sure, other = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert jensen_shannon_bits(sure, other) == pytest.approx([1.0])
    assert jensen_shannon_bits(sure, sure) == pytest.approx([0.0], abs=0)
    assert np.isfinite(kl_nats(sure, other)).all()
    assert jensen_shannon_bits(P, Q) == pytest.approx(jensen_shannon_bits(Q, P))
    with pytest.raises(UserError, match="student: rows are no probabilities"):
        jensen_shannon_bits(P, np.log(Q))
    with pytest.raises(UserError, match="of shapes"):
        kl_nats(P, Q[:1])


def test_other_rows_and_classes_are_refused() -> None:
    with pytest.raises(UserError, match="gold 20, teacher 20, student 19"):
        agreement(GOLD, TEACHER, STUDENT[:-1], 3)
    with pytest.raises(UserError, match="gold: there is a class 2; there are 2"):
        agreement(GOLD, TEACHER, STUDENT, 2)
    with pytest.raises(UserError, match="student: there is a class -100"):
        agreement(GOLD, TEACHER, np.where(GOLD == 1, -100, STUDENT), 3)


def test_golden_calibration_error_and_that_of_training() -> None:
    confidence = np.array([0.95, 0.95, 0.85, 0.85, 0.75, 0.65, 0.55, 0.45])
    correct = np.array([1, 1, 1, 0, 1, 0, 1, 0], bool)
    assert expected_calibration_error(confidence, correct, 10, "width") == pytest.approx(0.325)
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet([1, 1, 1], 500), rng.integers(0, 3, 500)
    correct = probabilities.argmax(1) == labels
    ours = expected_calibration_error(probabilities.max(1), correct, 15, "width")
    assert ours == pytest.approx(of_training(probabilities, labels), abs=1e-12)


def test_bins_of_equal_mass_by_hand() -> None:
    confidence, correct = np.array([0.9, 0.2, 0.6, 0.4]), np.array([1, 0, 1, 1], bool)
    assert expected_calibration_error(confidence, correct, 2) == pytest.approx((abs(0.6 - 1) + abs(1.5 - 2)) / 4)
    found = calibration(confidence, correct, 2, draws=10)
    assert [one.rows for one in found.bins] == [2, 2]
    assert [one.confidence for one in found.bins] == pytest.approx([0.3, 0.75])
    assert [one.accuracy for one in found.bins] == [0.5, 1.0]
    assert len(calibration(confidence, correct, 15, draws=10).bins) == 4


@pytest.mark.parametrize(("rows", "floor"), [(100, 0.106), (500, 0.047), (2000, 0.023)])
def test_a_perfectly_calibrated_model_shows_its_floor(rows: int, floor: float) -> None:
    """A gap of a bin is nearly normal, so its mean size is √(2/π) of its deviation."""
    rng = np.random.default_rng(rows)
    confidence = np.sort(rng.uniform(0.6, 1, rows))
    bins = [confidence[rows * b // 15 : rows * (b + 1) // 15] for b in range(15)]
    deviations = [np.sqrt((part * (1 - part)).sum()) for part in bins]
    found = calibration(confidence, rng.random(rows) < confidence)
    assert found.floor == pytest.approx(floor, rel=0.15)
    assert found.floor == pytest.approx(np.sqrt(2 / np.pi) * sum(deviations) / rows, rel=0.05)
    assert found.floor_upper > found.floor
    assert found.excess == pytest.approx(found.ece - found.floor)


def test_calibrated_models_are_as_rarely_called_uncalibrated_as_p_says() -> None:
    p = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        confidence = rng.uniform(0.5, 1, 100)
        p.append(calibration(confidence, rng.random(100) < confidence, draws=99).p)
    assert np.mean(np.array(p) <= 0.2) == pytest.approx(0.2, abs=0.1)
    assert min(p) >= 0.01


def test_a_model_that_is_too_sure_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.6, 1, 1000)
    found = calibration(confidence, rng.random(1000) < confidence - 0.15)
    assert found.p == pytest.approx(1 / 1001)
    assert found.excess > 0.09
    assert found.interval[0] < 0.15 < found.interval[1]
    assert found.confidence - found.accuracy == pytest.approx(0.15, abs=0.04)


def test_confidences_are_checked() -> None:
    with pytest.raises(UserError, match="not between 0 and 1"):
        calibration(np.array([1.2]), np.array([True]))
    with pytest.raises(UserError, match="each row has both"):
        expected_calibration_error(np.array([0.5, 0.5]), np.array([True]))
