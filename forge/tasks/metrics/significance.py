"""Whether two systems differ by more than the choice of test examples explains: paired tests on the same examples.

They say nothing about the luck of a seed: two runs of one configuration may differ significantly (use several seeds).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.tasks.metrics.translation import TER_WORD_PAIRS, check_pairs, metrics_of, ter_too_long

FloatArray = NDArray[np.float64]

RESAMPLES = 1_000  # of a bootstrap
TRIALS = 10_000  # of an approximate randomisation
SEED = 12_345  # sacreBLEU's own, so that its command line prints the same p
PAIRED_LINES = 10_000
"""Most lines that sacreBLEU's paired tests take: it holds every resample at once, 0.75 GB at 5,000 lines (measured)."""
DRAWS_AT_ONCE = 4_000_000

BOOTSTRAP = "paired bootstrap"
RANDOMISATION = "paired approximate randomisation"
MCNEMAR = "exact McNemar"


@dataclass(frozen=True)
class Comparison:
    """One figure of two systems on the same examples, and one test of their difference."""

    figure: str
    value: float  # of the system, in the figure's own unit
    baseline: float
    interval: tuple[float, float]  # 95 % of the difference, percentiles of a paired bootstrap
    p: float  # two-sided, in (0, 1]
    test: str
    trials: int  # resamples, trials, or for McNemar the examples on which exactly one of the two is right
    seed: int | None  # None where nothing is drawn
    signature: str = ""  # sacreBLEU's, where it made the figure

    @property
    def delta(self) -> float:
        """How much more the system has than the baseline; whether that is better depends on the figure."""
        return self.value - self.baseline


def compare_translations(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: Sequence[str],
    language: str | None = None,
    word_pairs: int | None = TER_WORD_PAIRS,
) -> list[Comparison]:
    """BLEU, chrF++ and TER of two systems, each by sacreBLEU's paired bootstrap and by its paired randomisation.

    p is what `sacrebleu --paired-bs` and `--paired-ar` print (Koehn 2004; Riezler and Maxwell 2005), with one
    exception: for systems whose sufficient statistics are the same line by line it is 1, where sacreBLEU, which counts
    strictly greater differences, has its smallest p. TER is absent above `word_pairs`, as in `score_translations`.

    Judge by the randomisation. sacreBLEU's bootstrap centres absolute differences by their mean, which makes its p too
    small: of 300 pairs of equally good systems on 200 lines it called 9.0 % different at p < 0.05, the randomisation
    4.0 % (BLEU, measured). It is here because papers report it.
    """
    for system in (hypotheses, baseline):
        check_pairs(system, references)
    check_paired(len(references))
    metrics: dict[str, Any] = dict(metrics_of(language))
    if any(ter_too_long(system, references, word_pairs) for system in (hypotheses, baseline)):
        del metrics["ter"]
    found = []
    for name, metric in metrics.items():
        metric._ref_cache = metric._cache_references([list(references)])
        _remember_statistics(metric)
        found += _compare_metric(name, metric, list(hypotheses), list(baseline))
    return found


def check_paired(lines: int) -> None:
    """Raises UserError for more lines than sacreBLEU's paired tests bear."""
    if lines > PAIRED_LINES:
        raise UserError(f"{lines:,} lines are too many for sacreBLEU's paired tests, up to {PAIRED_LINES:,}")


def _compare_metric(name: str, metric: Any, hypotheses: list[str], baseline: list[str]) -> list[Comparison]:
    from sacrebleu.significance import PairedTest

    ours, theirs = (np.array(metric._extract_corpus_statistics(texts, None)) for texts in (hypotheses, baseline))
    interval = _interval_of_metric(metric, ours, theirs)
    found = []
    for kind, test, trials in (("bs", BOOTSTRAP, RESAMPLES), ("ar", RANDOMISATION, TRIALS)):
        paired = PairedTest(
            [("baseline", baseline), ("system", hypotheses)], {name: metric}, None, test_type=kind, n_samples=trials
        )
        paired._seed = SEED  # else the environment's SACREBLEU_SEED, and the p of a report depends on the shell
        signatures, scores = paired()
        ((shown, results),) = ((shown, values) for shown, values in scores.items() if shown != "System")
        base, system = (result for result in results if not isinstance(result, str))
        p = 1.0 if np.array_equal(ours, theirs) else float(system.p_value or 0.0)
        signature = signatures[shown]
        signature.update("seed", str(SEED))
        value, other = float(system.score), float(base.score)
        found.append(Comparison(name, value, other, interval, p, test, trials, SEED, signature.format()))
    return found


def _remember_statistics(metric: Any) -> None:
    """Let a metric look at each system once: both tests and the interval need its statistics, and TER's are dear."""
    extract: Callable[[Sequence[str], Any], Any] = metric._extract_corpus_statistics
    known: dict[tuple[str, ...], Any] = {}

    def once(hypotheses: Sequence[str], references: Any) -> Any:
        key = tuple(hypotheses)
        if key not in known:
            known[key] = extract(hypotheses, references)
        return known[key]

    metric._extract_corpus_statistics = once


def _interval_of_metric(metric: Any, ours: NDArray[Any], theirs: NDArray[Any]) -> tuple[float, float]:
    """Of the difference, over the very resamples that sacreBLEU's bootstrap draws; it reports none itself."""
    lines = len(ours)
    draws = np.random.default_rng(SEED).choice(lines, size=(RESAMPLES, lines), replace=True)

    def score(statistics: NDArray[Any], chosen: NDArray[Any]) -> float:
        return float(metric._compute_score_from_stats(statistics[chosen].sum(0)).score)

    return _middle(np.array([score(ours, chosen) - score(theirs, chosen) for chosen in draws]))


def compare_values(figure: str, values: FloatArray, baseline: FloatArray, test: str = RANDOMISATION) -> Comparison:
    """A figure that is the mean of one value for each of N examples: loss, accuracy, a sentence-level score.

    Randomisation swaps the two systems' values of an example with probability one half (Noreen 1989); the bootstrap
    resamples examples, and its differences are shifted to mean 0 for p (Efron and Tibshirani 1993, section 16.4).
    """
    differences = _paired(values, baseline)
    resampled = _resampled_means(differences)
    if test == BOOTSTRAP:
        null, trials = resampled - differences.mean(), RESAMPLES
    elif test == RANDOMISATION:
        null, trials = _swapped_means(differences), TRIALS
    else:
        raise ValueError(test)
    real = abs(differences.mean())
    tied = 1e-12 * max(1.0, float(np.abs(differences).max()))  # sums in another order differ in the last bits
    p = float((np.count_nonzero(np.abs(null) >= real - tied) + 1) / (trials + 1))
    return Comparison(
        figure, float(values.mean()), float(baseline.mean()), _middle(resampled), min(p, 1.0), test, trials, SEED
    )


def compare_correct(figure: str, correct: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> Comparison:
    """Accuracy of two classifiers by the exact McNemar test on the examples where exactly one of them is right.

    The two-sided binomial form (Dietterich 1998 has the chi-square one, which needs 25 such examples or so).
    """
    from scipy.stats import binomtest

    differences = _paired(correct.astype(np.float64), baseline.astype(np.float64))
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    middle = _middle(_resampled_means(differences))
    return Comparison(figure, float(correct.mean()), float(baseline.mean()), middle, p, MCNEMAR, wins + losses, None)


def as_json(comparisons: Sequence[Comparison]) -> list[Mapping[str, Any]]:
    """Plain values, the difference included."""
    return [vars(one) | {"delta": one.delta, "interval": list(one.interval)} for one in comparisons]


def _paired(values: FloatArray, baseline: FloatArray) -> FloatArray:
    if values.shape != baseline.shape or values.ndim != 1 or not len(values):
        raise UserError(f"a paired test needs two values of each example, not {len(values)} and {len(baseline)} in all")
    return np.asarray(values - baseline, dtype=np.float64)


def _resampled_means(differences: FloatArray) -> FloatArray:
    def means(rng: np.random.Generator, rows: int) -> FloatArray:
        return np.asarray(differences[rng.integers(len(differences), size=(rows, len(differences)))].mean(1))

    return _in_parts(means, RESAMPLES, len(differences))


def _swapped_means(differences: FloatArray) -> FloatArray:
    def means(rng: np.random.Generator, rows: int) -> FloatArray:
        signs = rng.integers(2, size=(rows, len(differences)), dtype=np.int8) * np.int8(2) - np.int8(1)
        return np.asarray(signs @ differences / len(differences))

    return _in_parts(means, TRIALS, len(differences))


def _in_parts(draw: Callable[[np.random.Generator, int], FloatArray], trials: int, examples: int) -> FloatArray:
    """All trials from one generator, in parts that fit the memory whatever the number of examples."""
    rng, rows = np.random.default_rng(SEED), max(1, DRAWS_AT_ONCE // examples)
    return np.concatenate([draw(rng, min(rows, trials - start)) for start in range(0, trials, rows)])


def _middle(values: FloatArray) -> tuple[float, float]:
    """The middle 95 %, by the ranks that sacreBLEU takes."""
    ordered, cut = np.sort(values), len(values) // 40
    return float(ordered[cut]), float(ordered[-cut - 1])
