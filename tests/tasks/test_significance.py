"""Paired tests against the sacreBLEU command line, scipy and enumeration."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy import stats

from forge.core.errors import UserError
from forge.tasks.metrics import significance
from forge.tasks.metrics.significance import (
    BOOTSTRAP,
    MCNEMAR,
    RANDOMISATION,
    RESAMPLES,
    TRIALS,
    as_json,
    compare_correct,
    compare_translations,
    compare_values,
)

SHOWN = {"BLEU": "bleu", "chrF2++": "chrf", "TER": "ter"}
TEXT = "un une homme femme chien regarde porte l'eau rouge vert dans la rue , d'un parc avec des enfants ."
WORDS = TEXT.split()


def corpus(seed, lines=40):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(4, 15))) for _ in range(lines)]


def worse(references, rate, seed):
    rng = random.Random(seed)
    return [" ".join(w if rng.random() > rate else rng.choice(WORDS) for w in line.split()) for line in references]


REFERENCES = corpus(0)
OURS, THEIRS = worse(REFERENCES, 0.3, 1), worse(REFERENCES, 0.36, 2)


@pytest.fixture(scope="module")
def compared():
    return compare_translations(OURS, THEIRS, REFERENCES)


def printed(tmp_path, test):
    """The cells of sacreBLEU's own table: figure → score, p; and its signatures."""
    paths = []
    for name, lines in (("ref", REFERENCES), ("theirs", THEIRS), ("ours", OURS)):
        paths.append(tmp_path / name)
        paths[-1].write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    words = [sys.executable, "-m", "sacrebleu", str(paths[0]), "-i", str(paths[1]), str(paths[2]), test, "-w", "4"]
    words += ["-m", "bleu", "chrf", "ter", "--chrf-word-order", "2", "-f", "text", "--no-color"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
    names = [cell.split(" ")[0] for cell in rows[0][1:]]
    scores, marks = rows[-2][1:], rows[-1][1:]
    assert rows[-2][0].endswith("ours")
    signatures = dict(re.findall(r"^ - (\S+) +(\S+)$", out, re.MULTILINE))
    return {
        SHOWN[name]: (scores[i].split(" ")[0], re.search(r"p = ([\d.]+)", marks[i])[1], signatures[name])
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize(("option", "test"), [("--paired-bs", BOOTSTRAP), ("--paired-ar", RANDOMISATION)])
def test_the_command_line_of_sacrebleu_prints_the_same(compared, tmp_path, option, test):
    mine = {one.figure: one for one in compared if one.test == test}
    table = printed(tmp_path, option)
    assert set(mine) == set(table) == {"bleu", "chrf", "ter"}
    for figure, (score, p, signature) in table.items():
        assert f"{mine[figure].value:.4f}" == score
        assert f"{mine[figure].p:.4f}" == p, figure
        assert mine[figure].signature == signature


def test_the_seed_is_fixed_whatever_the_shell_says(compared, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    assert compare_translations(OURS, THEIRS, REFERENCES) == compared
    assert {(one.test, one.trials, one.seed) for one in compared} == {
        (BOOTSTRAP, 1_000, 12_345),
        (RANDOMISATION, 10_000, 12_345),
    }
    assert all("seed:12345" in one.signature for one in compared)


def test_the_interval_is_of_the_difference(compared):
    for one in compared:
        low, high = one.interval
        assert low < one.delta < high
        assert one.delta == one.value - one.baseline


def test_who_is_the_baseline_only_turns_the_sign(compared):
    for one, other in zip(compared, compare_translations(THEIRS, OURS, REFERENCES), strict=True):
        assert (one.value, one.baseline) == (other.baseline, other.value)
        assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))
        assert one.p == pytest.approx(other.p, abs=0.02)  # the randomisation's draws fall on the other system


def test_a_system_does_not_differ_from_itself():
    """SacreBLEU's own p would be 1/1001 here."""
    for one in compare_translations(OURS, list(OURS), REFERENCES):
        assert (one.delta, one.p, one.interval) == (0.0, 1.0, (0.0, 0.0))


def test_a_clear_difference_is_significant():
    for one in compare_translations(REFERENCES, worse(REFERENCES, 0.8, 3), REFERENCES):
        assert one.p == pytest.approx(1 / (one.trials + 1))
        assert not one.interval[0] <= 0 <= one.interval[1]


def test_ter_is_left_out_together_with_its_figure():
    found = compare_translations(OURS, THEIRS, REFERENCES, word_pairs=10)
    assert {one.figure for one in found} == {"bleu", "chrf"}


def test_what_is_refused(monkeypatch):
    with pytest.raises(UserError, match="there are 1 hypotheses and 40 references"):
        compare_translations(OURS, ["a"], REFERENCES)
    monkeypatch.setattr(significance, "PAIRED_LINES", 39)
    with pytest.raises(UserError, match="40 lines are too many for sacreBLEU's paired tests, up to 39"):
        compare_translations(OURS, THEIRS, REFERENCES)
    with pytest.raises(UserError, match="two values of each example, not 3 and 2 in all"):
        compare_values("loss", np.zeros(3), np.zeros(2))


# One value for each example


def test_randomisation_against_all_swaps():
    """Twelve examples have 4,096 swaps: the exact p, which 10,000 trials meet within its sampling error."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=12) + 0.4, rng.normal(size=12)
    difference = ours - theirs
    every = np.array([np.dot(signs, difference) for signs in product([-1, 1], repeat=12)])
    exact = np.mean(np.abs(every) >= abs(difference.sum()) - 1e-12)
    found = compare_values("loss", ours, theirs)
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / TRIALS) + 1 / TRIALS)
    assert (found.test, found.trials, found.seed) == (RANDOMISATION, 10_000, 12_345)


@pytest.mark.parametrize("test", [RANDOMISATION, BOOTSTRAP])
def test_against_the_t_test_where_that_holds(test):
    rng = np.random.default_rng(1)
    theirs = rng.normal(size=400)
    ours = theirs + rng.normal(0.08, 1, size=400)
    found = compare_values("loss", ours, theirs, test)
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, abs=0.03)
    expected = stats.t.interval(0.95, 399, found.delta, stats.sem(ours - theirs))
    assert found.interval == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("test", [RANDOMISATION, BOOTSTRAP])
def test_the_rate_of_false_alarms_is_the_level(test, monkeypatch):
    """Two systems of one kind differ at p < 0.05 about once in twenty: 300 tries, four standard errors."""
    monkeypatch.setattr(significance, "TRIALS", 400)
    monkeypatch.setattr(significance, "RESAMPLES", 400)
    rng = np.random.default_rng(2)
    alarms = [compare_values("loss", rng.normal(size=60), rng.normal(size=60), test).p < 0.05 for _ in range(300)]
    assert 0.01 < np.mean(alarms) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)


def test_parts_of_the_draws_fit_in_memory_and_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    ours, theirs = rng.normal(size=97), rng.normal(size=97)
    whole = [compare_values("loss", ours, theirs, test) for test in (RANDOMISATION, BOOTSTRAP)]
    assert [compare_values("loss", ours, theirs, test) for test in (RANDOMISATION, BOOTSTRAP)] == whole
    monkeypatch.setattr(significance, "DRAWS_AT_ONCE", 97 * 10)
    parts = [compare_values("loss", ours, theirs, test) for test in (RANDOMISATION, BOOTSTRAP)]
    for one, other in zip(whole, parts, strict=True):
        assert one.p == pytest.approx(other.p, abs=0.05)


def test_equal_values_have_p_1():
    values = np.array([0.1, 0.2, 0.3])
    for test in (RANDOMISATION, BOOTSTRAP):
        assert compare_values("loss", values, values, test).p == 1.0


# Right and wrong


@pytest.mark.parametrize(("wins", "losses", "both"), [(9, 2, 30), (5, 5, 5), (0, 4, 1), (30, 12, 100), (1, 0, 0)])
def test_mcnemar_by_hand(wins, losses, both):
    """Twice the binomial tail of the smaller count at one half, at most 1."""
    ours = np.array([True] * wins + [False] * losses + [True] * both)
    theirs = np.array([False] * wins + [True] * losses + [True] * both)
    found = compare_correct("accuracy", ours, theirs)
    n = wins + losses
    tail = sum(comb(n, k) for k in range(min(wins, losses) + 1)) / 2**n
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    assert (found.test, found.trials, found.seed) == (MCNEMAR, n, None)
    assert found.delta == pytest.approx((wins - losses) / len(ours))


def test_mcnemar_agrees_with_randomisation():
    rng = np.random.default_rng(4)
    ours, theirs = rng.random(500) < 0.8, rng.random(500) < 0.76
    mcnemar = compare_correct("accuracy", ours, theirs)
    other = compare_values("accuracy", ours.astype(float), theirs.astype(float))
    assert mcnemar.p == pytest.approx(other.p, abs=0.02)
    assert mcnemar.interval == other.interval


def test_two_perfect_classifiers():
    found = compare_correct("accuracy", np.ones(5, bool), np.ones(5, bool))
    assert (found.p, found.trials, found.interval) == (1.0, 0, (0.0, 0.0))


def test_plain_values():
    (row,) = as_json([compare_correct("accuracy", np.array([True, True]), np.array([True, False]))])
    assert row["delta"] == 0.5
    assert row["interval"] == [0.0, 1.0]
    assert RESAMPLES == 1_000
