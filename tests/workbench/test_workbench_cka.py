"""Debiased CKA: golden values, invariances, cases that popular implementations get wrong, and false similarity."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

from forge.core.errors import UserError
from forge.objectives.kd.losses.linear_cka import linear_cka
from forge.workbench import cka
from forge.workbench.cka import biased_cka, cka_heatmap, debiased_cka, half_sets, hsic, nearer
from forge.workbench.cka_null import null_deviation, permutation_null
from forge.workbench.features import centred
from forge.workbench.procrustes import procrustes, procrustes_heatmap
from forge.workbench.similarity import similarity

X = np.array([[1, 2], [3, 4], [5, 7], [2, 0], [1, 1], [4, 9]])
Y = np.array([[0, 1, 1], [2, 0, 3], [1, 5, 2], [4, 1, 0], [2, 2, 2], [3, 7, 1]])


def gaussian(seed: int, rows: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((rows, width))


def hsic_of_definition(k: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """HSIC₁ as Song et al. write it, from whole Gram matrices."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ other) + middle - 2 / (n - 2) * one @ k @ other @ one) / (n * (n - 3)))


def cka_of_definition(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
    k, other = x @ x.T, y @ y.T
    return hsic_of_definition(k, other) / np.sqrt(hsic_of_definition(k, k) * hsic_of_definition(other, other))


def cka_of_google(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], debiased: bool) -> float:
    """The formula of google-research's representation_similarity, in features."""
    x, y = x - x.mean(0), y - y.mean(0)
    n = len(x)
    shared, a, b = np.linalg.norm(y.T @ x) ** 2, (x**2).sum(1), (y**2).sum(1)
    own, other = np.linalg.norm(x.T @ x), np.linalg.norm(y.T @ y)
    if debiased:

        def corrected(value: float, c: np.ndarray[Any, Any], d: np.ndarray[Any, Any]) -> float:
            return value - n / (n - 2) * (c @ d) + c.sum() * d.sum() / ((n - 1) * (n - 2))

        shared = corrected(shared, a, b)
        own, other = (np.sqrt(corrected(norm**2, c, c)) for norm, c in ((own, a), (other, b)))
    return float(shared / (own * other))


def test_golden_values_of_integers() -> None:
    assert biased_cka(X, Y) == pytest.approx(0.6648325645649, abs=1e-12)
    assert debiased_cka(X, Y) == pytest.approx(0.5287913907521, abs=1e-12)
    assert hsic(X, Y) == pytest.approx(45.8722222, abs=1e-6)
    assert hsic(X, X) == pytest.approx(193.4555556, abs=1e-6)
    assert hsic(Y, Y) == pytest.approx(38.9, abs=1e-9)


def test_golden_values_of_the_legacy_generator_and_the_formula_in_features() -> None:
    drawn = np.random.RandomState(1337)
    a = drawn.randn(100, 10)
    b = drawn.randn(100, 10) + a
    assert biased_cka(a, b) == pytest.approx(0.55761, abs=5e-6)
    assert debiased_cka(a, b) == pytest.approx(0.51346, abs=5e-6)
    assert biased_cka(a, b) == pytest.approx(cka_of_google(a, b, debiased=False), abs=1e-12)
    assert debiased_cka(a, b) == pytest.approx(cka_of_google(a, b, debiased=True), abs=1e-12)


def test_the_biased_form_is_that_of_the_distillation_loss() -> None:
    a, b = gaussian(0, 50, 7), gaussian(1, 50, 4)
    b[:, 0] += 2 * a[:, 0]
    loss = linear_cka(torch.from_numpy(a), torch.from_numpy(b), torch.ones(50, dtype=torch.bool))
    assert 1 - biased_cka(a, b) == pytest.approx(float(loss), abs=1e-12)


def test_invariances() -> None:
    rotation = np.linalg.qr(gaussian(3, 2, 2))[0]
    for x, y in ((X + 100, Y - 50), (3 * X, 0.1 * Y), (X @ rotation, Y), (1e12 * X, 1e-12 * Y)):
        assert debiased_cka(x, y) == pytest.approx(0.5287913907521, abs=1e-8)
    order = [3, 1, 5, 0, 2, 4]
    assert debiased_cka(X[order], Y[order]) == pytest.approx(0.5287913907521, abs=1e-12)
    assert debiased_cka(X, X) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_offset_costs_single_precision_no_digits(dtype: Any) -> None:
    x = gaussian(0, 300, 20).astype(dtype)
    y = (gaussian(1, 300, 30) + np.tile(x, 2)[:, :30]).astype(np.float32) + np.float32(100)
    expected = cka_of_definition(x.astype(np.float64), y.astype(np.float64) - 100)
    assert debiased_cka(x, y) == pytest.approx(expected, abs=2e-6)


def test_the_heatmap_is_every_pair_by_the_definition_whatever_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = gaussian(0, 70, 5)
    teacher = {f"t{i}": np.concatenate([shared, i * gaussian(i + 1, 70, 4)], 1) for i in range(3)}
    student = {f"s{i}": shared[:, :3] + i * gaussian(i + 10, 70, 3) for i in range(2)}
    expected = np.array([[cka_of_definition(x, y) for y in student.values()] for x in teacher.values()])
    for tile_bytes in (1, 20_000, 10**9):
        monkeypatch.setattr(cka, "_TILE_BYTES", tile_bytes)
        found = cka_heatmap(teacher, student, halves=3, seed=7)
        np.testing.assert_allclose(found.values_TS, expected, atol=1e-12)
        sets = half_sets(70, 3, 7)
        for number, chosen in enumerate(sets):
            again = np.array(
                [[cka_of_definition(x[chosen], y[chosen]) for y in student.values()] for x in teacher.values()]
            )
            assert found.draws_HTS is not None
            np.testing.assert_allclose(found.draws_HTS[number], again, atol=1e-10)
    assert (found.teacher, found.student, found.rows) == (("t0", "t1", "t2"), ("s0", "s1"), 70)


class TestDefectsOfOthers:
    """Each is what a published implementation does."""

    def test_ckatorch_last_batch_and_simtorch_number_of_layers(self) -> None:
        """A layer is itself wherever it stands and however many there are."""
        layers = {str(i): gaussian(i, 40, 6) for i in range(5)}
        np.testing.assert_allclose(np.diag(cka_heatmap(layers, layers).values_TS), 1.0, atol=1e-12)

    def test_ckatorch_refuses_rows_by_widths_and_takes_tokens_for_rows(self) -> None:
        assert np.isfinite(debiased_cka(X, Y))
        with pytest.raises(UserError, match=r"teacher, x: features are rows by widths, these are \(2, 3, 4\)"):
            debiased_cka(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)))

    def test_torch_cka_small_batches_divide_by_zero(self) -> None:
        for rows in range(4):
            with pytest.raises(UserError, match=f"needs at least 4 rows, there are {rows}"):
                debiased_cka(X[:rows], Y[:rows])
        assert np.isfinite(debiased_cka(X[:4], Y[:4]))

    def test_torch_cka_computes_each_layer_again_for_each_pair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        centrings: list[str] = []

        def counted(features: Any, where: str, standardise: bool = False) -> Any:
            centrings.append(where)
            return centred(features, where, standardise)

        monkeypatch.setattr(cka, "centred", counted)
        products: list[int] = []
        real = np.matmul
        monkeypatch.setattr(np, "matmul", lambda *args, **named: (products.append(1), real(*args, **named))[1])
        cka_heatmap({str(i): gaussian(i, 40, 6) for i in range(4)}, {str(i): gaussian(i, 40, 3) for i in range(3)})
        assert len(centrings) == len(products) == 4 + 3  # one tile

    def test_gnosis_takes_channels_for_rows(self) -> None:
        with pytest.raises(UserError, match="student, y: there are 5 rows, elsewhere 6"):
            debiased_cka(X, Y[:5])
        wide = gaussian(0, 6, 9)
        assert debiased_cka(wide, wide + 0.1) == pytest.approx(1.0)
        assert debiased_cka(gaussian(0, 200, 5), gaussian(1, 200, 9)) == pytest.approx(0.0, abs=0.05)

    def test_netrep_gives_an_angle(self) -> None:
        assert debiased_cka(X, X) == pytest.approx(1.0)
        assert debiased_cka(X, Y) != pytest.approx(np.arccos(0.5287913907521))

    @pytest.mark.parametrize("rows", [64, 256])
    def test_resi_and_netrep_are_biased(self, rows: int) -> None:
        x, y = gaussian(0, rows, 768), gaussian(1, rows, 768)
        assert biased_cka(x, y) == pytest.approx({64: 0.924, 256: 0.750}[rows], abs=0.01)
        assert abs(debiased_cka(x, y)) < 0.05

    def test_dmarx_subtracts_the_diagonal_from_every_row(self) -> None:
        assert hsic(X, X) > 0
        assert hsic(X, Y) == pytest.approx(hsic_of_definition(X @ X.T, Y @ Y.T), abs=1e-9)

    def test_numpee_nan_without_saying_why(self) -> None:
        broken = X.astype(float)
        broken[2, 1] = np.nan
        with pytest.raises(UserError, match="teacher, x: there are values that are not finite"):
            debiased_cka(broken, Y)
        still = cka_heatmap({"x": X}, {"flat": np.full((6, 3), 0.1), "y": Y}, halves=0)
        assert np.isnan(still.values_TS[0, 0])
        assert still.values_TS[0, 1] == pytest.approx(0.5287913907521, abs=1e-8)
        assert json.loads(json.dumps(still.as_json(), allow_nan=False))["values_TS"][0][0] is None

    def test_yuanli_centres_with_matrices_of_rows_by_rows(self) -> None:
        """Memory: the tiles and a centred copy, and no Gram matrix of all rows."""
        rows = 5_000
        x, y = gaussian(0, rows, 8).astype(np.float32), gaussian(1, rows, 8).astype(np.float32)
        tracemalloc.start()
        debiased_cka(x, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * rows * rows  # one matrix in fp32; two in fp64 would be four times that


class TestFalseSimilarity:
    """Independent features, and what makes other estimates call them alike."""

    @pytest.mark.parametrize(("rows", "biased"), [(64, 0.924), (256, 0.750), (768, 0.499), (2000, 0.277)])
    def test_few_rows_against_the_width(self, rows: int, biased: float) -> None:
        x, y = gaussian(2, rows, 768).astype(np.float32), gaussian(3, rows, 768).astype(np.float32)
        assert biased_cka(x, y) == pytest.approx(biased, abs=0.01)
        assert abs(debiased_cka(x, y)) < 3.5 * null_deviation(rows)

    @pytest.mark.parametrize("width", [128, 768])
    def test_rows_drawn_twice(self, width: int) -> None:
        x, y = gaussian(0, 500, width), gaussian(1, 500, width)
        twice = np.random.default_rng(0).integers(500, size=500)
        assert debiased_cka(x[twice], y[twice]) > {128: 0.15, 768: 0.5}[width]
        found = cka_heatmap({"x": x}, {"y": y}, halves=20)
        assert found.draws_HTS is not None
        assert abs(found.draws_HTS.mean()) < 0.01
        for chosen in half_sets(500, 20, 0):
            assert chosen.sum() == 250  # each once

    def test_a_shared_outlying_dimension(self) -> None:
        x, y = gaussian(0, 2000, 128), gaussian(1, 2000, 128)
        outlier = gaussian(2, 2000, 1) * np.sqrt(128)
        x, y = np.concatenate([x, outlier], 1), np.concatenate([y, outlier], 1)
        assert debiased_cka(x, y) > 0.9
        assert abs(cka_heatmap({"x": x}, {"y": y}, standardise=True).values_TS[0, 0]) < 0.02

    def test_a_few_rows_moved_far_away(self) -> None:
        """Subset translation (Davari et al. 2022) is a real weakness of CKA; Procrustes beside it shows it too."""
        x = gaussian(0, 2000, 32)
        moved = x.copy()
        moved[:20] += 20 * np.sqrt(32) * np.eye(32)[0]
        assert debiased_cka(x, moved) < 0.1

    def test_standardising_needs_no_feature_to_vary(self) -> None:
        x = np.concatenate([gaussian(0, 100, 4), np.full((100, 2), 0.3)], 1)
        y = gaussian(0, 100, 4) * [1, 10, 100, 1000]
        assert cka_heatmap({"x": x}, {"y": y}, standardise=True).values_TS[0, 0] == pytest.approx(1.0, abs=1e-9)


def test_half_subsamples_hold_the_truth_as_often_as_they_say() -> None:
    mixing = gaussian(0, 6, 5)

    def pair(seed: int, rows: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        both = gaussian(seed, rows, 11)
        return both[:, :6], both[:, :6] @ mixing * 0.3 + both[:, 6:]

    cross, own = 0.3 * mixing, 0.09 * mixing.T @ mixing + np.eye(5)
    truth = np.linalg.norm(cross) ** 2 / (np.linalg.norm(np.eye(6)) * np.linalg.norm(own))
    held = 0
    for seed in range(80):
        x, y = pair(seed, 150)
        found = cka_heatmap({"x": x}, {"y": y}, halves=50, seed=seed)
        assert found.low_TS is not None
        assert found.high_TS is not None
        held += int(found.low_TS[0, 0] <= truth <= found.high_TS[0, 0])
    assert 0.88 <= held / 80 <= 1.0


def test_which_student_is_nearer() -> None:
    base = gaussian(0, 400, 20)
    teacher = {"t": base}
    close, far = ({"s": base + noise * gaussian(1, 400, 20)} for noise in (0.5, 1.5))
    kd, sft = (cka_heatmap(teacher, one, halves=30, seed=3) for one in (close, far))
    found = nearer(kd, sft)
    assert found.interval[0] > 0
    assert found.mean == pytest.approx(float(kd.values_TS[0, 0] - sft.values_TS[0, 0]))
    assert nearer(kd, kd).interval == (0.0, 0.0)
    turned = nearer(sft, kd)
    assert turned.mean == -found.mean
    with pytest.raises(ValueError, match="half-subsamples"):
        nearer(kd, cka_heatmap(teacher, far))
    with pytest.raises(ValueError, match="other layers, rows or half-subsamples"):
        nearer(kd, cka_heatmap(teacher, far, halves=30, seed=4))


def test_draws_are_paired_so_a_difference_is_surer_than_its_parts() -> None:
    base, noise = gaussian(0, 200, 10) ** 3, gaussian(1, 200, 10)
    kd = cka_heatmap({"t": base}, {"s": base + 0.9 * noise}, halves=50)
    sft = cka_heatmap({"t": base}, {"s": base + noise}, halves=50)
    found = nearer(kd, sft)
    assert kd.high_TS is not None
    assert found.interval[1] - found.interval[0] < (kd.high_TS - kd.values_TS)[0, 0]


def test_too_few_rows_for_an_interval_say_how_many() -> None:
    with pytest.raises(UserError, match="an interval by half-subsamples needs at least 8 rows, there are 6"):
        cka_heatmap({"x": X}, {"y": Y}, halves=5)


def test_the_null_has_the_exact_deviation_for_any_features() -> None:
    x, y = gaussian(0, 9, 2) ** 3, np.abs(gaussian(1, 9, 3))
    rng = np.random.default_rng(0)
    values = [cka_of_definition(x, y[rng.permutation(9)]) for _ in range(4000)]
    assert np.mean(values) == pytest.approx(0.0, abs=4 * null_deviation(9) / np.sqrt(4000))
    assert np.std(values) == pytest.approx(null_deviation(9), rel=0.06)


def test_permuted_rows_tell_what_is_shared_from_what_is_not() -> None:
    base = gaussian(0, 300, 20)
    teacher = {"flat": np.full((300, 3), 0.7), "related": base, "unrelated": gaussian(5, 300, 20)}
    found = permutation_null(teacher, {"s": base + 3 * gaussian(1, 300, 20)}, rows=120, permutations=99)
    assert np.isnan(found.p_TS[0, 0])
    assert found.p_TS[1, 0] == pytest.approx(0.01)
    assert found.p_TS[2, 0] > 0.05
    assert found.observed_TS[1, 0] > found.upper_of_all >= found.upper_TS[2, 0]
    assert (found.rows, found.rows_of_heatmap, found.deviation) == (120, 300, null_deviation(300))
    again = permutation_null(teacher, {"s": base + 3 * gaussian(1, 300, 20)}, rows=120, permutations=99)
    assert json.dumps(again.as_json()) == json.dumps(found.as_json())


def test_a_null_of_layers_that_do_not_vary() -> None:
    found = permutation_null({"flat": np.full((20, 3), 0.7)}, {"s": gaussian(1, 20, 4)}, permutations=3).as_json()
    assert found["p_TS"] == found["upper_TS"] == [[None]]
    assert found["upper_of_all"] is None


def test_p_of_unrelated_features_is_even() -> None:
    drawn = [
        permutation_null({"x": gaussian(2 * seed, 30, 5)}, {"y": gaussian(2 * seed + 1, 30, 4)}, permutations=39)
        for seed in range(200)
    ]
    p = [one.p_TS[0, 0] for one in drawn]
    assert np.mean(np.array(p) <= 0.25) == pytest.approx(0.25, abs=0.09)


def test_the_observed_value_on_all_rows_is_the_heatmap() -> None:
    teacher, student = {"x": gaussian(0, 50, 6)}, {"y": gaussian(0, 50, 6) + gaussian(1, 50, 6)}
    null = permutation_null(teacher, student, rows=50, permutations=3)
    np.testing.assert_allclose(null.observed_TS, cka_heatmap(teacher, student).values_TS, atol=1e-12)


def test_procrustes_against_the_rotation_that_scipy_finds() -> None:
    from scipy.linalg import orthogonal_procrustes

    a, b = gaussian(0, 60, 8), gaussian(1, 60, 8)
    b += a
    a0, b0 = ((side - side.mean(0)) / np.linalg.norm(side - side.mean(0)) for side in (a, b))
    rotation, scale = orthogonal_procrustes(b0, a0)
    assert procrustes(a, b) == pytest.approx(scale, abs=1e-12)
    assert 2 * (1 - procrustes(a, b)) == pytest.approx(np.linalg.norm(a0 - b0 @ rotation) ** 2, abs=1e-12)
    assert procrustes(a, 5 * a @ np.linalg.qr(gaussian(2, 8, 8))[0] + 3) == pytest.approx(1.0, abs=1e-12)
    assert procrustes(a, b[:, :3]) == pytest.approx(procrustes(b[:, :3], a), abs=1e-12)
    assert np.isnan(procrustes(a, np.zeros((60, 2))))


def test_procrustes_of_unrelated_features_is_its_floor() -> None:
    teacher, student = {"t": gaussian(0, 300, 40)}, {"a": gaussian(1, 300, 40), "b": gaussian(0, 300, 40)}
    found = procrustes_heatmap(teacher, student)
    assert found.floor_TS[0, 0] > 0.2
    assert found.values_TS[0, 0] == pytest.approx(found.floor_TS[0, 0], abs=0.03)
    assert found.values_TS[0, 1] == pytest.approx(1.0)
    only = procrustes_heatmap(teacher, student, [(0, 1)])
    assert np.isnan(only.values_TS[0, 0])
    assert only.values_TS[0, 1] == pytest.approx(1.0)


def test_everything_together_is_json_and_the_same_each_time() -> None:
    base = gaussian(0, 60, 6)
    teacher = {"0": base, "1": base**2}
    student = {"0": base[:, :4], "1": base[:, :2] ** 2}
    found = similarity(teacher, student, halves=5).as_json()
    text = json.dumps(found, allow_nan=False)
    assert text == json.dumps(similarity(teacher, student, halves=5).as_json(), allow_nan=False)
    assert "draws_HTS" not in text
    assert found["cka"]["values_TS"][1][1] == pytest.approx(debiased_cka(base**2, base[:, :2] ** 2))
    assert found["standardised"]["standardised"]
    assert np.shape(found["procrustes"]["values_TS"]) == np.shape(found["null"]["p_TS"]) == (2, 2)


def test_wide_layers_have_procrustes_for_their_best_match_alone() -> None:
    base = gaussian(0, 30, 401)
    found = similarity({"a": base[:, :3], "b": base}, {"s": base + 0.1}, halves=2).procrustes
    assert np.isnan(found.values_TS[0, 0])
    assert found.values_TS[1, 0] == pytest.approx(1.0)


def test_no_layers_and_no_width() -> None:
    with pytest.raises(UserError, match="teacher: there are no layers"):
        cka_heatmap({}, {"y": Y})
    with pytest.raises(UserError, match="features are rows by widths"):
        cka_heatmap({"x": np.zeros((5, 0))}, {"y": Y})
