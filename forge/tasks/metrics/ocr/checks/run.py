"""Running checks: what passes, why not, and the score of a set with its interval."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from forge.tasks.base import Scores
from forge.tasks.metrics.ocr.checks.base import Check, Outcome, Page, SameFormula, failed
from forge.tasks.metrics.ocr.checks.read import CheckFile

RESAMPLES = 1_000
SEED = 12345
UNDECIDABLE = "math"
"""The type of check that needs to render what it compares."""


@dataclass(frozen=True)
class Result:
    """What one check of one file said."""

    file: str
    check: Check
    outcome: Outcome


def run_checks(
    files: Sequence[CheckFile], pages: Mapping[tuple[str, int], str], same: SameFormula | None = None
) -> list[Result]:
    """Each check on its page, (pdf, page) → text. A page that is not there fails; a rejected check is not run."""
    ready: dict[tuple[str, int], Page] = {}
    results = []
    for file in files:
        for check in file.checks:
            key = check.pdf, check.page
            if check.rejected:
                continue
            if key in pages and key not in ready:
                ready[key] = Page(pages[key], same)
            outcome = check.run(ready[key]) if key in ready else failed("there is no text of this page")
            results.append(Result(file.name, check, outcome))
    return results


def check_pages(
    files: Sequence[CheckFile], pages: Mapping[tuple[str, int], str], same: SameFormula | None = None
) -> Scores:
    """Run all checks and score them."""
    return score_checks(run_checks(files, pages, same), same)


def share_passed(checks: Iterable[Check], text: str, same: SameFormula | None = None) -> float:
    """The share of a page's checks that pass, 0 to 1, for a reward; 1 of none. Without `same` formulas do not count."""
    page = Page(text, same)
    run = [check for check in checks if not check.rejected and (same or check.type != UNDECIDABLE)]
    return mean(check.run(page).passed for check in run) if run else 1.0


def score_checks(results: Sequence[Result], same: SameFormula | None = None) -> Scores:
    """`pass_rate`: the mean over files of the share of checks that pass, 0 to 1, as olmOCR-bench scores.

    Without a way to render formulas (`same`) checks of formulas are in no rate, those that pass neither: else only they
    would be counted. The detail has how many there are, rates by file and type, the middle 95 % of `pass_rate` over
    1,000 resamples of the checks of each file (Efron and Tibshirani 1993, chapter 13), and every check that failed.
    """
    counted = [one for one in results if same or one.check.type != UNDECIDABLE]
    by_file, by_type = (_grouped(counted, key) for key in (lambda one: one.file, lambda one: one.check.type))
    formulas = [one.outcome for one in results if one.check.type == UNDECIDABLE]
    figures = {"pass_rate": mean(mean(passed) for passed in by_file.values())} if counted else {}
    detail: dict[str, Any] = {
        "interval": _interval(list(by_file.values())) if counted else None,
        "files": {name: _rate(passed) for name, passed in by_file.items()},
        "types": {name: _rate(passed) for name, passed in by_type.items()},
        "failed": [_shown(one) for one in results if one.outcome.verdict == "failed"],
        "checks": len(results),
    }
    if formulas and not same:
        passed = sum(outcome.passed for outcome in formulas)
        detail["left_out"] = {"math": f"nothing renders formulas; {passed} of {len(formulas)} are the same string"}
    return Scores(figures, detail)


def _grouped(results: Iterable[Result], key: Any) -> dict[str, list[bool]]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for one in results:
        groups[key(one)].append(one.outcome.passed)
    return groups


def _rate(passed: Sequence[bool]) -> dict[str, float]:
    return {"pass_rate": mean(passed), "passed": sum(passed), "checks": len(passed)}


def _shown(one: Result) -> dict[str, Any]:
    check = one.check
    return {
        "file": one.file,
        "id": check.id,
        "type": check.type,
        "pdf": check.pdf,
        "page": check.page,
        "reason": one.outcome.reason,
    }


def _interval(files: Sequence[Sequence[bool]]) -> tuple[float, float]:
    rng = np.random.default_rng(SEED)
    # how many of n draws from a file pass is binomial, so no draw needs to be made
    rates = [rng.binomial(len(passed), sum(passed) / len(passed), RESAMPLES) / len(passed) for passed in files]
    low, high = np.percentile(np.mean(rates, axis=0), [2.5, 97.5])
    return float(low), float(high)
