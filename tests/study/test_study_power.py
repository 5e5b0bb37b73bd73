"""Thousands of made-up studies: what is found where there is nothing, and what is missed where there is something."""

from __future__ import annotations

import numpy as np
import pytest

from forge.study.contrasts import contrasts, full_grid
from forge.study.statistics.anova import residual_deviation
from forge.study.statistics.bootstrap import multi_bootstrap
from forge.study.statistics.comparisons import perhaps_best
from forge.study.statistics.power import detectable, plan_seeds
from forge.study.statistics.testing import t_tests
from forge.tasks.metrics.multiple import holm

FACTORS = dict.fromkeys("FAR", ("off", "on"))
WEIGHTS_EC = np.array([one.weights_C for one in contrasts(FACTORS, full_grid(FACTORS))])
STUDIES, SIGMA = 1_000, 0.73  # points, of one run with the seed taken out


def _outcomes(rng, studies=STUDIES, seeds=5, cells=8):
    """Cells and seeds of studies in which nothing helps; a seed moves all cells by 1.27 points or so."""
    return SIGMA * rng.standard_normal((studies, cells, seeds)) + 1.27 * rng.standard_normal((studies, 1, seeds))


def _found(outcomes_KCS, many=7):
    tests = t_tests(np.einsum("ec,kcs->kes", WEIGHTS_EC, outcomes_KCS))
    p = np.concatenate([tests.p, np.ones((len(tests.p), many - 7))], axis=1)
    return holm(p)[:, :7] <= 0.05


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_of_studies_of_nothing_few_find_something(seeds):
    found = _found(_outcomes(np.random.default_rng(seeds), seeds=seeds))
    assert 0.03 < found.any(1).mean() <= 0.06


def _with_interaction_of_seed(rng, seeds=5):
    """Studies in which one factor helps in some seeds and harms in others, by 2 points or so, on average by none."""
    turns = 2.0 * rng.standard_normal((STUDIES, 1, seeds)) * 2 * WEIGHTS_EC[0][None, :, None]
    return _outcomes(rng, seeds=seeds) + turns


def test_an_effect_that_turns_with_the_seed_is_not_found_where_pooled_residuals_find_it():
    outcomes = _with_interaction_of_seed(np.random.default_rng(1))
    assert _found(outcomes).any(1).mean() <= 0.06
    from scipy.stats import t as student

    pooled = []
    for outcome_CS in outcomes:
        sigma, df = residual_deviation(outcome_CS)
        t = WEIGHTS_EC @ outcome_CS.mean(1) / (sigma * np.sqrt(0.5 / outcome_CS.shape[1]))
        pooled.append(holm(2 * student.sf(np.abs(t), df)).min() <= 0.05)
    assert np.mean(pooled) > 0.12


@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_an_effect_of_the_size_that_is_stated_is_found_four_times_out_of_five(seeds):
    rng = np.random.default_rng(seeds)
    stated = detectable(SIGMA * np.sqrt(0.5), seeds, 7)
    for size, alone in ((stated.alone, True), (stated.corrected, False)):
        outcomes = _outcomes(rng, seeds=seeds) + 2 * size * WEIGHTS_EC[1][None, :, None]
        tests = t_tests(np.einsum("ec,kcs->kes", WEIGHTS_EC, outcomes))
        assert tests.estimate[:, 1].mean() == pytest.approx(size, abs=0.1)
        found = tests.p[:, 1] <= (0.05 if alone else 0.05 / 7)
        assert 0.75 < found.mean() < 0.85


def test_a_plan_from_three_seeds_mostly_has_the_power_that_it_promises():
    rng, effect = np.random.default_rng(4), 0.5
    from forge.study.statistics.power import power_of

    enough = []
    for outcome_CS in _outcomes(rng, studies=100, seeds=3):
        sigma, df = residual_deviation(outcome_CS)
        seeds = plan_seeds(sigma * np.sqrt(0.5), df, effect, 7).corrected
        enough.append(power_of(effect / (SIGMA * np.sqrt(0.5)) * np.sqrt(seeds), seeds - 1, 0.05 / 7) >= 0.8)
    assert 0.7 < np.mean(enough) < 0.9  # the limit holds in 80 % of cases


def test_plans_at_the_ends():
    assert plan_seeds(0.0, 14, 0.5, 7).corrected == 2
    assert plan_seeds(100.0, 14, 0.5, 7).corrected is None
    some = plan_seeds(0.5, 14, 0.5, 7)
    assert some.deviation_limit > 0.5
    assert 2 < some.alone < some.corrected


def test_the_best_cell_is_seldom_ruled_out_and_a_far_better_one_is_named():
    rng, kept = np.random.default_rng(6), []
    for outcome_CS in _outcomes(rng, studies=300):
        outcome_CS[3] += 0.3
        kept.append(3 in perhaps_best(outcome_CS, True))
        assert perhaps_best(-outcome_CS, False) == perhaps_best(outcome_CS, True)
    assert np.mean(kept) >= 0.95
    outcome_CS = _outcomes(rng, studies=1, seeds=8)[0]
    outcome_CS[5] += 6
    assert perhaps_best(outcome_CS, True) == [5]


def _drawn_study(rng, effect, seeds, examples):
    """Right or wrong of 2 cells: seeds and examples each make some of the difference between the cells."""
    skill_CS = np.array([[0.0], [effect]]) + 0.3 * rng.standard_normal((2, seeds)) + 0.4 * rng.standard_normal(seeds)
    easy_CN = 1.0 * rng.standard_normal(examples) + 0.6 * rng.standard_normal((2, examples))
    return (skill_CS[:, :, None] + easy_CN[:, None] + rng.standard_normal((2, seeds, examples)) > 0)[..., None]


@pytest.mark.parametrize("seeds", [4, 8])
def test_intervals_for_other_seeds_and_examples_hold_the_truth(seeds):
    from scipy.stats import norm

    rng, examples, effect = np.random.default_rng(seeds), 150, 0.3
    spread = np.sqrt(0.3**2 + 0.4**2 + 1 + 0.6**2 + 1)
    true = 100 * (norm.cdf(effect / spread) - 0.5)
    held = []
    for _ in range(300):
        study = _drawn_study(rng, effect, seeds, examples).astype(float)
        low, high = multi_bootstrap(study, np.array([[-1.0, 1.0]]), "mean", 100.0, 1, repetitions=200)
        held.append(low[0] <= true <= high[0])
    assert 0.92 <= np.mean(held) <= 0.995


def test_the_bootstrap_is_that_of_its_seed_and_not_narrower_than_seeds_alone():
    study = _drawn_study(np.random.default_rng(9), 0.5, 6, 400).astype(float)
    first, again, other = (multi_bootstrap(study, np.array([[-1.0, 1.0]]), "mean", 100.0, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    means_CS = 100 * study.mean((2, 3))
    low, high = t_tests((means_CS[1] - means_CS[0])[None]).interval()
    assert first[1][0] - first[0][0] > 0.95 * (high[0] - low[0])
