"""From results to findings: what is refused, what is found, and for whom Holm counts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from toy_study import CLASSIFICATION, FACTORS, FIVE, PAGES, TRANSLATION, controls_of, exact, results_of

from forge.core.errors import UserError
from forge.study.analysis import analyse
from forge.study.contrasts import full_grid, three_factor_array
from forge.study.results import Result
from forge.study.wording import best_cells, headline, needed_seeds, outlook, pooled_headline, says, verdict
from forge.tasks.metrics.multiple import holm


def _one(declared, results):
    return analyse([(declared, results)]).studies[0]


def _additive(cell, seed):
    """Attention gives 2, response 1, both together 1 less; each seed moves all cells and a little of each."""
    attention, response = cell["attention"] != "off", cell["response"] != "off"
    wobble = 0.05 * np.sin(7 * seed + 3 * attention + 5 * response + 11 * (cell["feature"] != "off"))
    return 70 + 2 * attention + response - (attention and response) + seed % 7 + wobble


def test_planted_effects_are_found_and_worded():
    study = _one(CLASSIFICATION, exact(CLASSIFICATION, _additive))
    found = {effect.name: effect for effect in study.effects if effect.found}
    assert found["attention"].estimate == pytest.approx(1.5, abs=0.1)
    assert found["response"].estimate == pytest.approx(0.5, abs=0.1)
    assert found["attention × response"].estimate == pytest.approx(-0.5, abs=0.1)
    assert headline(study).startswith("On classification, attention helps (+1.47 points), response helps")
    assert "attention and response together give" in headline(study)
    assert "points less than their sum" in headline(study)
    assert "would mostly have been missed" in headline(study)
    assert "four times out of five after correction for 7 tests" in outlook(study)
    assert says(study, found["attention"]) == "helps"
    assert says(study, found["attention × response"]) == "less than the sum"
    assert study.effects[0].negligible
    assert says(study, study.effects[0]) == "below 0.50"
    assert needed_seeds(study) == "these seeds are enough for it"


def test_where_lower_is_better_a_fall_helps():
    declared = replace(CLASSIFICATION, higher_is_better=False, outcome="CER")
    study = _one(declared, exact(declared, lambda cell, seed: 100 - _additive(cell, seed)))
    attention = study.effects[1]
    assert (attention.estimate < 0, attention.gain > 0, attention.found) == (True, True, True)
    assert "attention helps (\N{MINUS SIGN}1.47 points)" in headline(study)
    assert "less than their sum" in headline(study)
    assert study.best[0].rank < 2.5
    assert "attention" in study.best[0].name


def test_of_nothing_nothing_is_said():
    study = _one(CLASSIFICATION, results_of(CLASSIFICATION, {}, luck=4))
    assert not any(effect.found for effect in study.effects)
    assert "no effect of feature, attention and response can be told from chance" in headline(study)
    assert "none of the 8 can be ruled out" in best_cells(study) or "cannot be told apart" in best_cells(study)


def test_what_is_missing_is_named_with_its_seeds_and_a_command():
    results = [
        one for one in results_of(CLASSIFICATION) if not (one.cell["attention"] != "off" and one.seed in (12, 14))
    ]
    results = [one for one in results if tuple(one.cell.values()) != ("off", "off", "off") or one.seed != 11]
    with pytest.raises(UserError) as caught:
        analyse([(CLASSIFICATION, results)])
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("study far  lacks 9 of 40 runs: feature=off attention=off response=off (seed 11), ")
    assert "feature=off attention=attention_kl response=off (seeds 12, 14)" in message
    assert message.endswith("and 1 more; python forge.py study run --config FILE runs what is missing")


def test_a_missing_run_of_a_control_is_missing_too():
    results = results_of(CLASSIFICATION) + controls_of(CLASSIFICATION)[:-1]
    with pytest.raises(UserError, match=r"lacks 1 of 50 runs: shuffled_logits \(seed 15\)"):
        analyse([(CLASSIFICATION, results)])


def _first(results, **change):
    return [replace(results[0], **change), *results[1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": float("nan")}, "accuracy of feature=off attention=off response=off with seed 11 is no number"),
        ({"seed": 99}, "with seed 99, not a declared one"),
        ({"seed": 12}, "has 2 results of feature=off attention=off response=off with seed 12; keep one"),
        (
            {"cell": {"feature": "cka", "attention": "off", "response": "off"}},
            "a result of feature=cka, .*no cell of it",
        ),
        ({"cell": {"feature": "off"}}, "a result of feature=off, no cell of it"),
        ({"outcome": 1.0}, r"make 6\d.*, but its accuracy is 1; run it again"),
        ({"examples": np.ones((3, 1))}, "shapes 3×1, 600×1, not all of one number of rows and 1 columns"),
    ],
)
def test_what_has_no_place_is_refused_in_one_line(change, words):
    with pytest.raises(UserError, match=words) as caught:
        analyse([(CLASSIFICATION, _first(results_of(CLASSIFICATION), **change))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"factors": {}}, "has no factors"),
        ({"factors": {"response": ("off",)}}, "factor response has levels off; it needs two or more"),
        ({"seeds": ()}, "needs seeds, each once, not none"),
        ({"seeds": (1, 1)}, "needs seeds, each once, not 1, 1"),
        ({"combine": "median"}, "combine: median is none of mean, ratio, bleu"),
    ],
)
def test_a_study_of_nothing_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        analyse([(replace(CLASSIFICATION, **change), [])])


def test_the_order_of_results_changes_nothing():
    results = results_of(CLASSIFICATION) + controls_of(CLASSIFICATION)
    shuffled = [results[at] for at in np.random.default_rng(1).permutation(len(results))]
    first, second = (_one(CLASSIFICATION, each) for each in (results, shuffled))
    assert first.effects[0].spread == second.effects[0].spread
    assert first.controls == second.controls
    assert first.cells == second.cells


def test_holm_counts_the_effects_of_all_tasks():
    studies = [(one, results_of(one, luck=2)) for one in (CLASSIFICATION, TRANSLATION)]
    findings = analyse(studies)
    p = np.array([effect.spread.p for study in findings.studies for effect in study.effects])
    together = [effect.spread.p_holm for study in findings.studies for effect in study.effects]
    assert together == pytest.approx(holm(p).tolist())
    assert findings.tests == findings.studies[0].detectable.tests == 14
    for study, alone in zip(findings.studies, studies, strict=True):
        single = _one(*alone)
        assert single.detectable.corrected < study.detectable.corrected
        assert all(a.spread.p_holm <= b.spread.p_holm for a, b in zip(single.effects, study.effects, strict=True))
    for effect in (effect for study in findings.studies for effect in study.effects):
        assert effect.found == (abs(effect.estimate) >= effect.needed) == (effect.spread.p_holm <= 0.05)


def test_tasks_pool_with_equal_weight_and_one_direction():
    help_pages = {("attention",): -1.9, ("response",): -0.6}
    studies = [(CLASSIFICATION, results_of(CLASSIFICATION)), (PAGES, results_of(PAGES, help_pages, level=12))]
    findings = analyse(studies)
    attention = findings.pooled[1]
    gains = [study.effects[1].gain / study.sigma for study in findings.studies]
    errors = [study.effects[1].spread.standard_error / study.sigma for study in findings.studies]
    assert min(gains) > 0
    assert attention.gain == pytest.approx(np.mean(gains))
    assert attention.standard_error == pytest.approx(np.hypot(*errors) / 2)
    assert 4 <= attention.df <= 8
    assert attention.found
    assert "attention helps (+" in pooled_headline(findings)
    assert len(verdict(findings)) == 7


def test_studies_of_other_effects_are_not_pooled():
    other = replace(CLASSIFICATION, task="other", factors={"response": ("off", "forward_kl")})
    findings = analyse([(CLASSIFICATION, results_of(CLASSIFICATION)), (other, results_of(other, {}))])
    assert findings.pooled == ()
    assert findings.tests == 8


def test_sixteen_cells_of_sixty_four_give_main_effects():
    levels = {
        "feature": ("off", "a", "b", "c"),
        "attention": ("off", "d", "e", "f"),
        "response": ("off", "g", "h", "i"),
    }
    declared = replace(CLASSIFICATION, factors=levels)
    cells = three_factor_array(levels)
    study = _one(declared, results_of(declared, {("attention",): 3.0}, cells=cells))
    assert (study.grid.full, len(study.cells), len(study.effects)) == (False, 16, 9)
    assert [effect.name for effect in study.effects if effect.found] == [f"attention: {level}" for level in "def"]
    assert all(effect.estimate == pytest.approx(3.0, abs=0.8) for effect in study.effects if effect.found)
    assert study.anova["attention"].df == 3
    with pytest.raises(UserError, match="lacks 5 of 80 runs: feature=off attention=off response=off"):
        analyse(
            [(declared, [one for one in results_of(declared, {}, cells=cells) if set(one.cell.values()) != {"off"}])]
        )
    assert _one(declared, results_of(declared, {})).grid.full


@pytest.mark.parametrize("factors", [1, 2, 4, 5])
def test_any_number_of_factors(factors):
    declared = replace(CLASSIFICATION, factors={f"f{at}": ("off", "on") for at in range(factors)})
    study = _one(declared, results_of(declared, {("f0",): 4.0}, examples=200))
    assert len(study.effects) == 2**factors - 1
    assert study.effects[0].found
    assert headline(study).startswith("On classification, f0 helps (+")


def test_one_seed_is_judged_by_lenth_and_says_so():
    declared = replace(CLASSIFICATION, seeds=(3,))
    study = _one(declared, exact(declared, lambda cell, seed: _additive(cell, seed) + 20 * (cell["feature"] != "off")))
    assert [effect.name for effect in study.effects if effect.found] == ["feature"]
    assert study.effects[0].spread is None
    assert study.effects[0].needed == study.lenth.simultaneous_margin
    assert (study.sigma, study.detectable, study.plan) == (None, None, None)
    assert "One seed" in outlook(study)
    assert "with one seed that says little" in best_cells(study)
    few = replace(declared, factors={"response": ("off", "forward_kl")})
    alone = _one(few, exact(few, lambda cell, seed: len(cell["response"])))
    assert not alone.effects[0].found
    assert "nothing measures the noise" in headline(alone)


def test_seeds_that_do_not_differ_find_nothing():
    study = _one(CLASSIFICATION, exact(CLASSIFICATION, lambda cell, seed: 70 + 5 * (cell["response"] != "off")))
    assert not any(effect.found or effect.negligible for effect in study.effects)
    assert says(study, study.effects[2]) == "all seeds alike, cannot be tested"
    assert "the seeds do not differ at all" in outlook(study)


def test_controls_meet_the_baseline_and_their_counterpart():
    study = _one(CLASSIFICATION, results_of(CLASSIFICATION) + controls_of(CLASSIFICATION))
    pairs = [(one.name, one.other) for one in study.controls]
    assert pairs == [
        ("random teacher", "none"),
        ("response", "random teacher"),
        ("shuffled logits", "none"),
        ("response", "shuffled logits"),
    ]
    means = {cell.name: cell.mean for cell in study.cells}
    control = float(study.grid.controls["random_teacher"].mean())
    assert study.controls[0].difference == pytest.approx(control - means["none"])
    assert study.controls[1].difference == pytest.approx(means["response"] - control)
    assert [one.p_holm for one in study.controls] == pytest.approx(
        holm(np.array([one.p for one in study.controls])).tolist()
    )


def test_a_control_may_name_its_cell():
    all_on = dict(zip(FACTORS, full_grid(FACTORS)[7], strict=True))
    controls = [replace(one, cell=all_on) for one in controls_of(CLASSIFICATION) if one.control == "random_teacher"]
    study = _one(CLASSIFICATION, results_of(CLASSIFICATION) + controls)
    pairs = [(one.name, one.other) for one in study.controls]
    assert pairs == [("random teacher", "none"), ("feature + attention + response", "random teacher")]
    mixed = [replace(controls[0], cell={}), *controls[1:]]
    with pytest.raises(UserError, match="seeds of random_teacher are controls of different cells"):
        analyse([(CLASSIFICATION, results_of(CLASSIFICATION) + mixed)])
    unknown = [replace(one, cell=all_on | {"response": "cka"}) for one in controls]
    with pytest.raises(UserError, match="response=cka, no cell of it"):
        analyse([(CLASSIFICATION, results_of(CLASSIFICATION) + unknown)])


def test_cells_are_compared_with_the_one_without_anything():
    study = _one(CLASSIFICATION, results_of(CLASSIFICATION))
    assert study.cells[0].against_baseline is None
    others = [cell.against_baseline for cell in study.cells[1:]]
    assert {one.other for one in others} == {"none"}
    assert others[0].difference == pytest.approx(study.cells[1].mean - study.cells[0].mean)
    assert all(0 <= cell.p_dunnett <= 1 for cell in study.cells[1:])
    assert sum(cell.rank for cell in study.cells) == pytest.approx(36)


def test_intervals_with_examples_are_wider_and_absent_without_any():
    with_examples = _one(CLASSIFICATION, results_of(CLASSIFICATION))
    assert all(effect.spread.interval_examples for effect in with_examples.effects)
    low, high = with_examples.effects[1].spread.interval_examples
    assert low < with_examples.effects[1].estimate < high
    results = _first(results_of(CLASSIFICATION), examples=None)
    assert all(effect.spread.interval_examples is None for effect in _one(CLASSIFICATION, results).effects)


def test_other_figures_are_described_but_costs_are_not_among_them():
    study = _one(CLASSIFICATION, results_of(CLASSIFICATION))
    assert {row.measure for row in study.secondary} == {"agreement"}
    assert study.secondary[0].estimate == pytest.approx(0.015, abs=0.006)
    assert study.cells[7].measures["cpu_seconds"] > study.cells[0].measures["cpu_seconds"]


def test_a_study_grows_by_whole_blocks():
    more = replace(CLASSIFICATION, seeds=(*FIVE, 16))
    with pytest.raises(UserError, match="lacks 8 of 48 runs"):
        analyse([(more, results_of(CLASSIFICATION))])
    assert analyse([(replace(more, seeds=FIVE), results_of(CLASSIFICATION))]).studies[0].plan.corrected > 5


def test_levels_are_read_by_name_not_by_place():
    cell = dict(reversed(list(zip(FACTORS, full_grid(FACTORS)[5], strict=True))))
    results = [
        Result(cell, one.control, one.seed, one.outcome, one.measures, one.examples) if one.cell == cell else one
        for one in results_of(CLASSIFICATION)
    ]
    assert list(results[25].cell) == ["response", "attention", "feature"]
    assert _one(CLASSIFICATION, results).effects == _one(CLASSIFICATION, results_of(CLASSIFICATION)).effects


def test_the_analysis_and_its_report_import_no_torch():
    heavy = {"torch", "transformers", "datasets", "scipy", "matplotlib"}
    code = f"import sys, forge.study.report; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
