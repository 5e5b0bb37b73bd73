"""Linear probes: parity with another solver, the protocol, baselines, control labels and code length."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from forge.core.errors import UserError
from forge.workbench.mdl import FRACTIONS, code_length
from forge.workbench.probe_inputs import bag_of_words, control_labels, overlap, shuffled_labels, words_of
from forge.workbench.probing import (
    STRENGTHS,
    ProbeSettings,
    Split,
    fits,
    interval_of,
    make_splits,
    paired_difference,
    probe_layers,
    standardised,
)

QUICK = ProbeSettings(splits=3)


def made(rows: int = 600, width: int = 20, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Features, and labels that three of them decide with noise."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width)).astype(np.float32)
    y = (4 * x[:, :3] + rng.gumbel(size=(rows, 3))).argmax(1)
    return x, y


@pytest.mark.parametrize("classes", [2, 3])
def test_parity_with_a_solver_of_torch(classes: int) -> None:
    """C · Σ cross-entropy + ½‖w‖² with a free intercept, in fp64 to convergence: the same predictions for every C."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 30))
    y = (1.5 * x[:, :classes] + rng.gumbel(size=(400, classes))).argmax(1)
    x64, y64 = torch.from_numpy(x), torch.from_numpy(y)
    models = list(fits(x.astype(np.float32), y, ProbeSettings(strengths=(1e-3, 1e-2, 1e-1, 1.0, 10.0))))
    for model in models:
        weight = torch.zeros(classes, 30, dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
        # Of two classes scikit-learn keeps one row, the difference: its penalty is twice that of the two rows.
        share = 0.5 if classes > 2 else 1.0

        def closure(
            model: Any = model, solver: Any = solver, w: Any = weight, b: Any = bias, share: float = share
        ) -> Any:
            solver.zero_grad()
            loss = model.C * functional.cross_entropy(x64 @ w.T + b, y64, reduction="sum") + share * w.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
        logits = (x64 @ weight.T + bias).detach().numpy()
        gaps = logits - logits.mean(1, keepdims=True)
        theirs = model.decision_function(x.astype(np.float32))
        ours = gaps[:, 1] - gaps[:, 0] if classes == 2 else gaps
        theirs = theirs if classes == 2 else theirs - theirs.mean(1, keepdims=True)
        assert np.abs(ours - theirs).max() < 2e-2
        unsure = np.sort(logits, axis=1)[:, -1] - np.sort(logits, axis=1)[:, -2] < 2e-2
        assert np.array_equal(model.predict(x.astype(np.float32))[~unsure], logits.argmax(1)[~unsure])


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    x, y = made()
    for model in fits(x, y, ProbeSettings(tolerance=1e-6)):
        (cold,) = fits(x, y, ProbeSettings(strengths=(model.C,), tolerance=1e-6))
        np.testing.assert_allclose(model.coef_, cold.coef_, atol=2e-3)
    assert [model.C for model in fits(x, y, ProbeSettings(strengths=(1.0, 0.1)))] == [0.1, 1.0]


def test_each_model_keeps_its_own_weights() -> None:
    x, y = made()
    models = list(fits(x, y, QUICK))
    norms = [float(np.linalg.norm(model.coef_)) for model in models]
    assert norms == sorted(norms)
    assert norms[0] < norms[-1] / 5


def test_rows_of_a_document_stay_together_and_parts_have_their_shares() -> None:
    groups = np.repeat([f"document {i}" for i in range(97)], np.random.default_rng(0).integers(1, 9, 97))
    splits = make_splits(groups, ProbeSettings())
    assert len(splits) == 5
    for split in splits:
        parts = [set(groups[part]) for part in (split.train, split.validation, split.test)]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 97
        rows = np.concatenate([split.train, split.validation, split.test])
        assert sorted(rows) == list(range(len(groups)))
        assert len(split.train) / len(groups) == pytest.approx(1 / 2, abs=0.05)
        assert len(split.validation) / len(groups) == pytest.approx(1 / 6, abs=0.05)
    assert not np.array_equal(splits[0].test, splits[1].test)
    again = make_splits(groups, ProbeSettings())
    assert all(np.array_equal(a.test, b.test) for a, b in zip(splits, again, strict=True))


def test_too_few_documents() -> None:
    with pytest.raises(UserError, match="at least 3 documents or groups to split, there are 2"):
        make_splits(["a", "b", "a"], QUICK)
    with pytest.raises(UserError, match="4 documents or groups of 100 rows do not fill three parts"):
        make_splits(["a"] * 97 + ["b", "c", "d"], QUICK)


def test_features_are_scaled_by_the_training_rows_alone() -> None:
    x, _ = made(100, 4)
    x = x * [1, 10, 100, 0] + [0, 5, 0, 0.1]
    train = np.arange(50)
    scaled = standardised(x, train)
    np.testing.assert_allclose(scaled[:50, :3].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:50, :3].std(0), 1, atol=1e-6)
    assert not scaled[:, 3].any()
    moved = x.copy()
    moved[50:] *= 7
    assert np.array_equal(standardised(moved, train)[:50], scaled[:50])


def test_probes_find_what_is_there_and_nothing_where_nothing_is() -> None:
    x, y = made()
    noise = np.random.default_rng(9).standard_normal(x.shape)
    layers = {"all": x, "scaled and moved": 1000 * x + 50, "some": x + 1.5 * noise, "none": noise}
    splits = make_splits(np.arange(len(y)), QUICK)
    found = probe_layers(layers, y, splits, QUICK)
    accuracy = {probe.layer: probe.accuracy for probe in found.layers}
    assert accuracy["all"] > 0.75
    assert accuracy["scaled and moved"] == pytest.approx(accuracy["all"], abs=0.005)
    assert accuracy["all"] > accuracy["some"] + 0.05 > accuracy["none"] + 0.1
    assert accuracy["none"] == pytest.approx(found.majority, abs=0.1)
    assert (found.classes, found.rows, sum(found.parts)) == (3, 600, 600)
    assert all(probe.converged and len(probe.per_split) == 3 for probe in found.layers)
    assert all(c in STRENGTHS for c in found.layer("all").strengths)
    assert found.layer("none").train_accuracy > accuracy["none"] + 0.03
    json.dumps(found.as_json(), allow_nan=False)


def test_the_penalty_is_chosen_on_validation_and_never_on_test() -> None:
    x, y = made(300, 200)
    split = make_splits(np.arange(300), ProbeSettings(splits=1))[0]
    one = probe_layers({"x": x}, y, [split], QUICK).layers[0]
    turned = y.copy()
    turned[split.test] = (turned[split.test] + 1) % 3
    other = probe_layers({"x": x}, turned, [split], QUICK).layers[0]
    assert one.strengths == other.strengths
    assert one.train_accuracy == other.train_accuracy
    assert one.accuracy != other.accuracy
    scaled = standardised(x, split.train)
    reached = {
        model.C: (model.predict(scaled[split.validation]) == y[split.validation]).mean()
        for model in fits(scaled[split.train], y[split.train], QUICK)
    }
    assert one.strengths[0] == min(c for c in reached if reached[c] == max(reached.values()))


def test_a_probe_with_enough_features_learns_labels_without_meaning() -> None:
    """Which is why an accuracy on training rows says nothing."""
    x = np.random.default_rng(0).standard_normal((200, 400))
    y = np.random.default_rng(1).integers(0, 3, 200)
    splits = make_splits(np.arange(200), QUICK)
    probe = probe_layers({"x": x}, y, splits, ProbeSettings(splits=3, strengths=(1.0,))).layers[0]
    assert probe.train_accuracy == 1.0
    assert probe.accuracy < 0.5


def test_intervals_by_hand_and_wider_than_those_that_take_splits_for_independent() -> None:
    from scipy.stats import t

    values = np.array([0.70, 0.72, 0.71, 0.69, 0.73])
    widening = np.sqrt(1 / 5 + 1000 / 1500)
    reach = t.ppf(0.975, 4) * values.std(ddof=1) * widening
    assert interval_of(values, widening) == pytest.approx((0.71 - reach, 0.71 + reach))
    naive = t.ppf(0.975, 4) * values.std(ddof=1) / np.sqrt(5)
    assert reach > 2 * naive
    assert np.isnan(interval_of(values[:1], widening)).all()


def test_layers_are_compared_on_the_same_splits() -> None:
    x, y = made()
    splits = make_splits(np.arange(len(y)), ProbeSettings())
    found = probe_layers({"a": x, "b": x[:, 3:], "a again": x.copy()}, y, splits)
    difference = paired_difference(found.layer("a"), found.layer("b"), found.widening)
    assert difference.interval[0] > 0.2
    assert difference.mean == pytest.approx(found.layer("a").accuracy - found.layer("b").accuracy)
    same = paired_difference(found.layer("a"), found.layer("a again"), found.widening)
    assert (same.mean, same.interval) == (0.0, (0.0, 0.0))


def test_what_cannot_be_probed_is_said() -> None:
    x, y = made(60, 4)
    splits = make_splits(np.arange(60), QUICK)
    for labels, message in (
        (y[:50], r"there are 60 rows and labels of shape \(50,\)"),
        (y - 1, "a label is negative"),
        (np.zeros_like(y), "the training part has a single label"),
    ):
        with pytest.raises(UserError, match=message):
            probe_layers({"x": x}, labels, splits, QUICK)
    broken = x.copy()
    broken[3, 1] = np.nan
    with pytest.raises(UserError, match="probes, x: there are values that are not finite"):
        probe_layers({"x": broken}, y, splits, QUICK)
    with pytest.raises(UserError, match="probes, tokens: features are rows by widths"):
        probe_layers({"tokens": np.zeros((60, 5, 4))}, y, splits, QUICK)


def test_words_and_their_overlap() -> None:
    assert words_of("A dog isn't «l’eau», is it?") == ["a", "dog", "isn't", "l’eau", "is", "it"]
    assert overlap("the dog runs", "The dog, the cat") == pytest.approx(2 / 3)
    assert overlap("a", "") == 0.0


def test_a_bag_of_words_counts_each_side_by_itself() -> None:
    features = bag_of_words(["a b a", "c"], ["a", "b c"], most=2)
    log2, log3 = np.log(2), np.log(3)
    # first: a, b (most frequent, then by name), length; second: a, b, length; overlap
    np.testing.assert_allclose(features[0], [log3, log2, 3, log2, 0, 1, 1], atol=1e-6)
    np.testing.assert_allclose(features[1], [0, 0, 1, 0, log2, 2, 0.5], atol=1e-6)
    assert bag_of_words(["a b", "b"]).shape == (2, 3)


def test_control_labels_hang_on_the_word_and_tell_memory_from_meaning() -> None:
    rng = np.random.default_rng(0)
    words = [f"word {number}" for number in rng.integers(0, 40, 600)]
    control = control_labels(words, 3, seed=1)
    by_word = {word: set(control.labels_N[[w == word for w in words]]) for word in set(words)}
    assert all(len(labels) == 1 for labels in by_word.values())
    assert len({next(iter(labels)) for labels in by_word.values()}) == 3
    assert control.repeated == 1.0
    assert control_labels(["a", "b", "a"], 2).repeated == pytest.approx(2 / 3)
    assert not np.array_equal(control.labels_N, control_labels(words, 3, seed=2).labels_N)
    identity = np.eye(40, dtype=np.float32)[[int(word.split()[1]) for word in words]]
    x, y = made()
    splits = make_splits(np.arange(600), ProbeSettings())
    memory = probe_layers({"words": identity, "meaning": x}, control.labels_N, splits, QUICK)
    assert memory.layer("words").accuracy > 0.95  # it knows the words by heart
    assert memory.layer("meaning").accuracy < 0.5
    task = probe_layers({"meaning": x}, y, splits, QUICK)
    selectivity = paired_difference(task.layer("meaning"), memory.layer("meaning"), task.widening)
    assert selectivity.interval[0] > 0.15


def test_shuffled_labels_keep_their_frequencies() -> None:
    _, y = made()
    shuffled = shuffled_labels(y)
    assert np.array_equal(np.bincount(shuffled), np.bincount(y))
    assert np.mean(shuffled == y) < 0.5


def split_of(rows: int) -> Split:
    return Split(np.arange(rows // 2), np.arange(rows // 2, rows * 2 // 3), np.arange(rows * 2 // 3, rows))


def test_code_length_by_hand() -> None:
    """One feature that says the label: blocks are coded with what the classifier of the rows before gives them."""
    x, y = made(240, 4)
    split = split_of(240)
    found = code_length(x, y, split, QUICK, fractions=(0.1, 0.5, 1.0))
    assert found.ends == (12, 60, 120)
    assert found.block_bits[0] == pytest.approx(12 * np.log2(3))
    assert found.uniform_bits == pytest.approx(120 * np.log2(3))
    assert found.bits == pytest.approx(sum(found.block_bits))
    assert found.compression == pytest.approx(found.uniform_bits / found.bits)


def test_code_is_shorter_the_more_the_features_say() -> None:
    x, y = made(600, 6)
    rng = np.random.default_rng(3)
    split = split_of(600)
    noise = rng.standard_normal(x.shape)
    layers = {"all": x, "some": x + noise, "none": noise}
    lengths = {name: code_length(features, y, split, QUICK).compression for name, features in layers.items()}
    assert lengths["all"] > lengths["some"] > lengths["none"]
    assert lengths["all"] > 1.3
    assert 0.85 < lengths["none"] <= 1.02


def test_a_label_that_comes_late_costs_bits_and_not_infinity() -> None:
    x = np.random.default_rng(0).standard_normal((60, 3))
    y = np.zeros(60, np.int64)
    y[[5, 40, 50]] = [1, 1, 1]
    found = code_length(x, y, split_of(60), QUICK, fractions=FRACTIONS)
    assert np.isfinite(found.bits)
    json.dumps(found.as_json(), allow_nan=False)
    with pytest.raises(UserError, match="single label"):
        code_length(x, np.zeros(60, np.int64), split_of(60), QUICK)
