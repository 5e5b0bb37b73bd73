"""How often students answer as their teacher: what is counted, over which seeds, and what the report says of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from toy_study import CLASSIFICATION, FIVE, PAGES, controls_of, results_of

from forge.study.analysis import analyse
from forge.study.fidelity import AGREEMENT, AGREEMENT_WRONG, agreement
from forge.study.report import render, write_report
from forge.study.store import Store
from forge.study.wording import likeness

TAUGHT = replace(CLASSIFICATION, answers=True)
TITLE = "Agreement with the teacher"


def rows(*columns):
    return np.array(columns, dtype=np.float64).T


def without(results, seeds):
    """As a version wrote them that kept no answers."""
    bare = {
        name: {key: value for key, value in one.measures.items() if key != AGREEMENT}
        for name, one in enumerate(results)
    }
    return [replace(one, measures=bare[at]) if one.seed in seeds else one for at, one in enumerate(results)]


def test_shares_by_hand():
    student, teacher, true = [0, 1, 2, 2, 1], [0, 1, 1, 2, 0], [0, 0, 2, 2, 1]
    found = agreement(rows(student), rows(teacher, true))
    assert found == {AGREEMENT: pytest.approx(3 / 5), AGREEMENT_WRONG: pytest.approx(1 / 3)}


def test_a_teacher_without_errors_has_none_to_repeat():
    assert agreement(rows([0, 1]), rows([0, 2], [0, 2])) == {AGREEMENT: 0.5}


@pytest.mark.parametrize("answers", [rows([0, 1, 1]), rows([0])])
def test_answers_to_other_questions_are_not_compared(answers):
    assert agreement(answers, rows([0, 1], [0, 1])) == {}


def test_each_cell_and_control_over_its_seeds():
    results = results_of(TAUGHT) + controls_of(TAUGHT)
    (study,) = analyse([(TAUGHT, results)]).studies
    assert len(study.fidelity) == 8 + 2
    none, whole = study.fidelity[0], study.fidelity[7]
    shares = [one.measures[AGREEMENT] for one in results]
    assert (none.name, none.gain, none.where_wrong) == ("none", None, None)
    assert none.agreement == pytest.approx(np.mean(shares[:5]))
    assert whole.gain == pytest.approx(np.mean(shares[35:40]) - np.mean(shares[:5]))
    assert whole.interval[0] < whole.agreement < whole.interval[1]
    assert [one.name for one in study.fidelity[8:]] == ["random teacher", "shuffled logits"]


def test_it_changes_no_verdict():
    (with_it,) = analyse([(TAUGHT, results_of(TAUGHT))]).studies
    (without_it,) = analyse([(TAUGHT, without(results_of(TAUGHT), FIVE))]).studies
    assert with_it.effects == without_it.effects
    assert without_it.fidelity == ()


def test_seeds_that_an_older_version_ran_are_left_out_whole():
    (study,) = analyse([(TAUGHT, without(results_of(TAUGHT), FIVE[:3]))]).studies
    later = [one.measures[AGREEMENT] for one in results_of(TAUGHT) if one.seed in FIVE[3:]]
    assert study.fidelity[0].agreement == pytest.approx(np.mean(later[:2]))
    assert "over seeds 14 and 15 alone: results of earlier versions lack it" in likeness(study)
    assert all(row.measure != AGREEMENT for row in study.secondary)


def test_one_cell_without_it_takes_its_seed_from_all():
    results = results_of(TAUGHT)
    (study,) = analyse([(TAUGHT, [*without(results[:1], FIVE), *results[1:]])]).studies
    assert "over seeds 12, 13, 14 and 15 alone" in likeness(study)


def test_the_report_shows_it_beside_the_outcome_or_says_why_not(tmp_path):
    write_report([(TAUGHT, results_of(TAUGHT))], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.index("<h3>Cells</h3>") < page.index(TITLE) < page.index("To look up")
    numbers = json.loads((tmp_path / "effects.json").read_text())["studies"][0]["fidelity"]
    most = max(numbers, key=lambda one: one["agreement"])
    assert f"most often by {most['name']}, to {100 * most['agreement']:.2f} % of the examples" in page
    assert f"by none to {100 * numbers[0]['agreement']:.2f} %" in page
    assert "agreement" in (tmp_path / "results.csv").read_text().splitlines()[0]
    old = render(analyse([(TAUGHT, without(results_of(TAUGHT), FIVE))]))
    assert "is not known" in old[old.index(TITLE) :]


@pytest.mark.parametrize("declared", [PAGES, CLASSIFICATION])
def test_nothing_is_said_where_there_is_nothing_to_compare(declared):
    results = without(results_of(declared, {}), FIVE)
    assert TITLE not in render(analyse([(declared, results)]))


def test_one_seed_has_no_interval():
    one = replace(TAUGHT, seeds=(4,))
    (study,) = analyse([(one, results_of(one))]).studies
    assert {cell.interval for cell in study.fidelity} == {None}
    assert TITLE in render(analyse([(one, results_of(one))]))


def test_answers_are_kept_whole_or_not_at_all(tmp_path):
    store, kept = Store(tmp_path), rows([0, 1, 2])
    store.keep_result("a.1", {"identity": "x"}, kept, kept)
    record = store.result("a.1", "x")
    assert store.answers("a.1", record).tolist() == kept.tolist()
    assert store.answers("a.1", {"identity": "x", "examples": None}) is None  # as older versions wrote it
    (tmp_path / "results/a.1.answers.npz").write_bytes(b"no archive")
    assert store.answers("a.1", record) is None
    store.keep_teacher_answers("y", rows([0, 1], [1, 1]))
    assert store.teacher_answers("y").tolist() == [[0, 1], [1, 1]]
    assert store.teacher_answers("z") is None
