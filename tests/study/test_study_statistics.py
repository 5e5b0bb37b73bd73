"""The formulas of a study against textbook values, independent programs and what must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge.study.contrasts import contrasts, full_grid, is_orthogonal, three_factor_array
from forge.study.statistics.anova import anova, residual_deviation
from forge.study.statistics.combine import combine
from forge.study.statistics.comparisons import dunnett_p
from forge.study.statistics.lenth import lenth
from forge.study.statistics.power import detectable_shift, power_of
from forge.study.statistics.ranks import mean_ranks, nemenyi_difference, nemenyi_q
from forge.study.statistics.testing import holm_levels, t_tests
from forge.tasks.metrics.multiple import holm

UNHURRIED = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
ABC = dict.fromkeys("ABC", ("off", "on"))
ETCH = [[550, 604], [1037, 1052], [633, 601], [1075, 1063], [669, 650], [749, 868], [642, 635], [729, 860]]
"""Montgomery's plasma etch experiment, cells in the order of `full_grid` (C changes fastest)."""
NAMES = ["A", "B", "C", "A × B", "A × C", "B × C", "A × B × C"]
EFFECTS = [-101.625, 7.375, 306.125, -24.875, -153.625, -2.125, 5.625]


def _weights(factors, cells=None):
    return np.array([one.weights_C for one in contrasts(factors, cells or full_grid(factors))])


def test_effects_of_the_textbook():
    found = contrasts(ABC, full_grid(ABC))
    assert [one.name for one in found] == NAMES
    assert _weights(ABC) @ np.mean(ETCH, axis=1) == pytest.approx(EFFECTS, abs=1e-9)
    assert t_tests(_weights(ABC) @ np.array(ETCH, float)).estimate == pytest.approx(EFFECTS, abs=1e-9)


def test_variance_of_the_textbook():
    codes = {one.name: one.weights_C[:, None] for one in contrasts(ABC, full_grid(ABC))}
    table = anova(np.array(ETCH, float), codes, blocks=False)
    assert (table["residual"].squares, table["residual"].df) == (pytest.approx(18020.5), 8)
    assert table["total"].squares == pytest.approx(531420.9375)
    assert table["A"].f == pytest.approx(18.3394, abs=1e-4)
    assert table["A"].p == pytest.approx(0.002679, abs=1e-6)
    assert table["C"].f == pytest.approx(166.41, abs=5e-3)
    assert table["A × C"].f == pytest.approx(41.909, abs=1e-3)
    assert 2 * np.sqrt(18020.5 / 8 / 16) == pytest.approx(23.7306, abs=1e-4)  # its standard error of an effect


def test_seeds_as_blocks_take_their_part_of_what_is_left():
    codes = {one.name: one.weights_C[:, None] for one in contrasts(ABC, full_grid(ABC))}
    table = anova(np.array(ETCH, float), codes)
    seed = 8 * ((np.mean(ETCH, axis=0) - np.mean(ETCH)) ** 2).sum()
    assert (table["seed"].squares, table["seed"].df) == (pytest.approx(seed), 1)
    assert (table["residual"].squares, table["residual"].df) == (pytest.approx(18020.5 - seed), 7)
    assert residual_deviation(np.array(ETCH, float)) == (pytest.approx(np.sqrt((18020.5 - seed) / 7)), 7)


def test_lenth_of_the_textbook():
    found = lenth(np.array(EFFECTS))
    assert found.pseudo_error == pytest.approx(9.75)
    assert found.margin == pytest.approx(36.700, abs=5e-4)
    assert found.simultaneous_margin == pytest.approx(87.831, abs=5e-4)
    assert found.df == pytest.approx(7 / 3)
    assert lenth(np.array([1.0, 2.0])) is None
    assert lenth(np.array([0.0, 0.0, 0.0, 5.0])) is None


def test_nemenyi_of_the_tables():
    expected = [1.960, 2.344, 2.569, 2.728, 2.850, 2.948, 3.031, 3.102, 3.164]
    assert [round(nemenyi_q(cells), 3) for cells in range(2, 11)] == expected
    assert nemenyi_difference(8, 3) == pytest.approx(6.06, abs=5e-3)
    assert nemenyi_difference(8, 15) == pytest.approx(2.71, abs=5e-3)


def test_ranks_share_ties_and_know_what_is_better():
    outcome_CB = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 4.0]])
    assert mean_ranks(outcome_CB, True).tolist() == [2.25, 1.75, 2.0]
    assert mean_ranks(outcome_CB, False).tolist() == [1.75, 2.25, 2.0]


DETECTABLE = [  # in deviations of one run, 8 cells: per seed alone, per seed Holm / 7, pooled alone, / 7, / 21
    (2, 8.17, 57.11, 1.60, 2.30, 2.73),
    (3, 2.31, 6.13, 1.22, 1.63, 1.85),
    (5, 1.19, 2.03, 0.91, 1.18, 1.32),
    (8, 0.82, 1.20, 0.71, 0.91, 1.01),
    (10, 0.70, 0.99, 0.63, 0.81, 0.90),
]


@pytest.mark.parametrize("row", DETECTABLE, ids=lambda row: f"{row[0]} seeds")
def test_detectable_effects(row):
    seeds, error = row[0], 1 / np.sqrt(2 * row[0])
    found = [error * detectable_shift(seeds - 1, 0.05 / many) for many in (1, 7)]
    found += [error * detectable_shift(8 * (seeds - 1), 0.05 / many) for many in (1, 7, 21)]
    assert [round(value, 2) for value in found] == list(row[1:])


@pytest.mark.parametrize(
    ("df", "alpha", "shift"), [(2, 0.05, 5.0), (4, 0.05 / 7, 6.0), (9, 0.05, 0.0), (70, 0.01, 3.0)]
)
def test_power_is_that_of_the_noncentral_t(df, alpha, shift):
    from scipy.stats import nct, t

    edge = t.isf(alpha / 2, df)
    expected = nct.sf(edge, df, shift) + nct.cdf(-edge, df, shift) if shift else alpha
    assert power_of(shift, df, alpha) == pytest.approx(expected, abs=1e-6)


def test_power_with_one_degree_of_freedom_against_drawing():
    rng = np.random.default_rng(5)
    contrasts_NS = rng.standard_normal((200_000, 2)) + 8.0
    assert power_of(8.0 * np.sqrt(2), 1) == pytest.approx(np.mean(t_tests(contrasts_NS).p < 0.05), abs=0.005)


def test_dunnett_against_scipy_and_the_tables():
    from scipy.stats import dunnett

    assert dunnett_p(np.array([2.38]), 2, 20)[0] == pytest.approx(0.05, abs=5e-4)
    assert dunnett_p(np.array([2.86]), 7, 20)[0] == pytest.approx(0.05, abs=5e-4)
    rng = np.random.default_rng(3)
    groups = [rng.standard_normal(6) + shift for shift in (0.0, 0.4, 1.2, 2.0)]
    theirs = dunnett(*groups[1:], control=groups[0], rng=np.random.default_rng(1))
    df = 20
    pooled = np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / df)
    t = np.array([(group.mean() - groups[0].mean()) / (pooled * np.sqrt(2 / 6)) for group in groups[1:]])
    assert t == pytest.approx(theirs.statistic)
    assert dunnett_p(t, 3, df) == pytest.approx(theirs.pvalue, abs=2e-3)


def test_holm_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_levels(p) == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_against_statsmodels():
    api = pytest.importorskip("statsmodels.formula.api", reason="part of the test extra")
    from pandas import DataFrame
    from statsmodels.stats.anova import anova_lm
    from statsmodels.stats.multitest import multipletests

    cells, rng = full_grid(ABC), np.random.default_rng(2)
    outcome_CS = rng.standard_normal((8, 4)) + 3 * rng.standard_normal(4)
    rows = {name: [1 if cell[at] == "on" else -1 for cell in cells for _ in range(4)] for at, name in enumerate(ABC)}
    rows |= {"y": outcome_CS.ravel(), "seed": [seed for _ in cells for seed in range(4)]}
    renamed = {"P": rows["A"], "Q": rows["B"], "R": rows["C"], "y": rows["y"], "seed": rows["seed"]}  # C() is theirs
    fitted = api.ols("y ~ P*Q*R + C(seed)", DataFrame(renamed)).fit()
    ours = anova(outcome_CS, {one.name: one.weights_C[:, None] for one in contrasts(ABC, cells)})
    for kind in (2, 3):
        theirs = anova_lm(fitted, typ=kind)
        for name in NAMES:
            row = theirs.loc[name.replace(" × ", ":").translate(str.maketrans("ABC", "PQR"))]
            assert ours[name].squares == pytest.approx(row["sum_sq"], rel=1e-9)
            assert ours[name].p == pytest.approx(row["PR(>F)"], rel=1e-9)
        assert ours["seed"].squares == pytest.approx(theirs.loc["C(seed)"]["sum_sq"])
        assert ours["residual"].squares == pytest.approx(theirs.loc["Residual"]["sum_sq"])
    p = rng.random(9) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@UNHURRIED
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_keeps_the_order_and_agrees_with_its_levels(values):
    p = np.array(values)
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= 1).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    assert adjusted.min() == pytest.approx(min(1.0, p.min() * len(p)))
    close = np.abs(adjusted - 0.05) < 1e-9
    assert (((adjusted <= 0.05) == (p <= holm_levels(p))) | close).all()
    assert holm(p[::-1])[::-1] == pytest.approx(adjusted)


SIZES = st.integers(1, 5)


@UNHURRIED
@given(SIZES, st.integers(2, 6), st.integers(0, 2**31))
def test_effects_are_orthogonal_and_add_up_to_the_cells(factors, seeds, luck):
    named = {f"f{at}": ("off", "on") for at in range(factors)}
    weights_EC = _weights(named)
    assert weights_EC.shape == (2**factors - 1, 2**factors)
    assert weights_EC @ weights_EC.T == pytest.approx(np.eye(2**factors - 1) * 4 / 2**factors)
    assert weights_EC.sum(1) == pytest.approx(0)
    outcome_CS = np.random.default_rng(luck).standard_normal((2**factors, seeds))
    means_C = outcome_CS.mean(1)
    again = means_C.mean() + weights_EC.T @ (weights_EC @ means_C) * 2**factors / 4
    assert again == pytest.approx(means_C)
    mean_square = t_tests(weights_EC @ outcome_CS).deviation ** 2
    assert mean_square.mean() == pytest.approx(residual_deviation(outcome_CS)[0] ** 2 * 4 / 2**factors)


@UNHURRIED
@given(st.integers(0, 2**31), st.floats(-50, 50), st.floats(0.1, 10))
def test_what_a_seed_does_to_all_cells_changes_nothing(luck, shift, scale):
    rng = np.random.default_rng(luck)
    outcome_CS, blocks_S = rng.standard_normal((8, 4)), shift * rng.standard_normal(4)
    plain, moved = (t_tests(_weights(ABC) @ values) for values in (outcome_CS, scale * (outcome_CS + blocks_S)))
    assert moved.estimate == pytest.approx(scale * plain.estimate, abs=1e-9)
    assert moved.p == pytest.approx(plain.p, abs=1e-6)


def test_contrasts_that_do_not_differ_are_not_certainty():
    found = t_tests(np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0], [0.5, 0.6, 0.5]]))
    assert found.p[:2].tolist() == [1.0, 1.0]
    assert found.p[2] < 0.01


FOUR = {"f": "0123", "g": "abcd", "h": "wxyz"}


def test_the_array_of_sixteen_cells_has_every_pair_once():
    cells = three_factor_array(FOUR)
    assert len(set(cells)) == 16
    assert ("0", "a", "w") in cells
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert len({(cell[first], cell[second]) for cell in cells}) == 16
    assert is_orthogonal(cells)
    assert not is_orthogonal(cells[:15])
    assert three_factor_array(ABC) is None  # its main effects would be interactions
    assert three_factor_array({"f": "012", "g": "012", "h": "012"}) is None


@pytest.mark.parametrize("cells", [full_grid(FOUR), three_factor_array(FOUR)], ids=["full", "array"])
def test_main_effects_of_levels_are_found_exactly(cells):
    true = {
        "f": dict(zip("0123", (0.0, 1.0, -2.0, 0.5), strict=True)),
        "g": dict(zip("abcd", (0, 0, 3, 1), strict=True)),
    }
    mean_C = np.array([true["f"][cell[0]] + true["g"][cell[1]] for cell in cells])
    found = contrasts(FOUR, cells)
    assert [one.name for one in found][:4] == ["f: 1", "f: 2", "f: 3", "g: b"]
    assert _weights(FOUR, cells) @ mean_C == pytest.approx([1, -2, 0.5, 0, 3, 1, 0, 0, 0])


BLEU_LINES = [
    ("the cat sat on the mat today", "the cat sat on a mat today"),
    ("a b", "a b c d"),
    ("completely different words here", "nothing of this is there"),
    ("one two three four five six", "one two three four five six"),
]


@pytest.mark.parametrize("lines", [BLEU_LINES, BLEU_LINES[1:3], BLEU_LINES[2:3], BLEU_LINES[3:], BLEU_LINES[:2]])
def test_bleu_of_sums_is_that_of_sacrebleu(lines):
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    hypotheses, references = ([line[at] for line in lines] for at in (0, 1))
    score = metric.corpus_score(hypotheses, [references])
    sums = np.array([*score.counts, *score.totals, score.sys_len, score.ref_len], float)
    stacked = np.stack([sums, 2 * sums])
    assert combine(stacked, "bleu", len(lines))[0] == pytest.approx(score.score, abs=1e-9)
    assert combine(np.zeros(10), "bleu", 1) == 0


def test_means_and_ratios_of_sums():
    assert combine(np.array([[3.0], [1.0]]), "mean", 4).tolist() == [0.75, 0.25]
    assert combine(np.array([[3.0, 6.0], [0.0, 0.0]]), "ratio", 4).tolist() == [0.5, 0.0]
