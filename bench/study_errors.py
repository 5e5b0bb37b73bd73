"""How often a study of nothing finds something, by what it takes for the error of an effect; and which intervals hold.

A made-up study has 8 cells (three factors) and r seeds. A seed moves all cells by 1.27 points (standard deviation), a run
has 0.73 points of its own, as in a pilot. In *turning* studies the first factor helps in some seeds and harms in others, by
0.5 or 1 point (standard deviation), and on average does nothing. Counted is any effect of seven with Holm's p ≤ 0.05:
the t test on the contrasts of the seeds (r − 1 degrees of freedom), against one on the residuals of cells and seeds
pooled (7 (r − 1) degrees of freedom).

Intervals: 2 cells, r seeds and 150 examples, each with a part in the difference of the cells; counted is how often the 95 %
interval holds the difference that all seeds and examples would have.

    python -m bench.study_errors
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from bench.machine import write_table
from forge.study.contrasts import contrasts, full_grid
from forge.study.statistics.anova import residual_deviation
from forge.study.statistics.bootstrap import multi_bootstrap
from forge.study.statistics.testing import t_tests
from forge.tasks.metrics.multiple import holm

FACTORS = dict.fromkeys(("feature", "attention", "response"), ("off", "on"))
WEIGHTS_EC = np.array([one.weights_C for one in contrasts(FACTORS, full_grid(FACTORS))])
STUDIES, SEEDS, TURNS = 10_000, (3, 5, 8, 10), (0.0, 0.5, 1.0)
DRAWN, EXAMPLES, REPETITIONS, EFFECT = 500, 150, 300, 0.3
Array = NDArray[np.float64]


def outcomes(rng: np.random.Generator, seeds: int, turn: float) -> Array:
    """(studies, cells, seeds), in points."""
    runs = 0.73 * rng.standard_normal((STUDIES, 8, seeds)) + 1.27 * rng.standard_normal((STUDIES, 1, seeds))
    turns = turn * rng.standard_normal((STUDIES, 1, seeds))
    return np.asarray(runs + turns * 2 * WEIGHTS_EC[0][None, :, None])


def by_seed(outcomes_KCS: Array) -> float:
    """Share of studies that find something, by the contrasts of the seeds."""
    p_KE = t_tests(np.einsum("ec,kcs->kes", WEIGHTS_EC, outcomes_KCS)).p
    return float((holm(p_KE) <= 0.05).any(1).mean())


def pooled(outcomes_KCS: Array) -> float:
    """The same by pooled residuals."""
    found = []
    for outcome_CS in outcomes_KCS:
        sigma, df = residual_deviation(outcome_CS)
        t_E = WEIGHTS_EC @ outcome_CS.mean(1) / (sigma * np.sqrt(0.5 / outcome_CS.shape[1]))
        found.append(holm(2 * student.sf(np.abs(t_E), df)).min() <= 0.05)
    return float(np.mean(found))


def right_answers(rng: np.random.Generator, seeds: int) -> Array:
    """(cells, seeds, examples) of 0 and 1."""
    skill_CS = np.array([[0.0], [EFFECT]]) + 0.3 * rng.standard_normal((2, seeds)) + 0.4 * rng.standard_normal(seeds)
    easy_CN = rng.standard_normal(EXAMPLES) + 0.6 * rng.standard_normal((2, EXAMPLES))
    shaken = rng.standard_normal((2, seeds, EXAMPLES))
    return np.asarray(skill_CS[:, :, None] + easy_CN[:, None] + shaken > 0, dtype=np.float64)


def percentiles(answers_CSN: Array, seed: int) -> tuple[float, float]:
    """The middle 95 % of repetitions that draw r of r seeds and all examples, as in the paper of the multi-bootstrap."""
    rng = np.random.default_rng(seed)
    _, seeds, examples = answers_CSN.shape
    found = []
    for _ in range(REPETITIONS):
        drawn = answers_CSN[:, rng.integers(seeds, size=seeds)][:, :, rng.integers(examples, size=examples)]
        found.append(100 * (drawn[1].mean() - drawn[0].mean()))
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def held(seeds: int) -> list[float]:
    """Shares of intervals with the truth: Forge's, percentiles, and t on seeds alone."""
    rng = np.random.default_rng(seeds)
    truth = 100 * (norm.cdf(EFFECT / np.sqrt(0.3**2 + 0.4**2 + 1 + 0.6**2 + 1)) - 0.5)
    hits = []
    for study in range(DRAWN):
        answers_CSN = right_answers(rng, seeds)
        difference = np.array([[-1.0, 1.0]])
        both = multi_bootstrap(answers_CSN[..., None], difference, "mean", 100.0, study, REPETITIONS)
        alone = t_tests(100 * difference @ answers_CSN.mean(2)).interval()
        ends = [(both[0][0], both[1][0]), percentiles(answers_CSN, study), (alone[0][0], alone[1][0])]
        hits.append([low <= truth <= high for low, high in ends])
    return [float(share) for share in np.mean(hits, axis=0)]


def main() -> None:
    """Both tables."""
    rows = ["| seeds | turns by, points | contrasts of seeds | pooled residuals |", "|---|---|---|---|"]
    for seeds in SEEDS:
        for turn in TURNS:
            made = outcomes(np.random.default_rng([seeds, int(10 * turn)]), seeds, turn)
            rows.append(f"| {seeds} | {turn} | {100 * by_seed(made):.1f} % | {100 * pooled(made):.1f} % |")
    rows += [
        "",
        "| seeds | seeds and examples, as in the report | percentiles of r draws | seeds alone |",
        "|---|---|---|---|",
    ]
    for seeds in (3, *SEEDS[1:3]):
        rows.append(f"| {seeds} | {' | '.join(f'{100 * share:.1f} %' for share in held(seeds))} |")
    text = "\n".join(rows)
    note = f"First table: {STUDIES:,} studies a row, 5 % is meant. Second: {DRAWN} studies a row, 95 % is meant."
    write_table("study_errors", "Studies of nothing", f"{text}\n\n{note}", "python -m bench.study_errors")


if __name__ == "__main__":
    main()
