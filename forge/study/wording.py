"""What a study found, in sentences for a person."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from forge.reports.words import MINUS, decimal, listed
from forge.study.analysis import Analysis, Findings
from forge.study.effects import Effect, Interval
from forge.study.fidelity import known_seeds, leader
from forge.study.results import Declared

NAMED = 4  # effects or cells in one sentence


def headline(study: Analysis) -> str:
    """The one sentence to read if only one is read: what was found, and what could not have been seen."""
    found = sorted(
        (one for one in study.effects if one.found), key=lambda one: (len(one.contrast.factors), -abs(one.estimate))
    )
    nothing = f"no effect of {listed(list(study.declared.factors))} can be told from chance"
    told = [_tells(study, effect) for effect in found] or [nothing]
    return f"On {study.declared.task}, {listed(_short(told, 'effect'))}; {_missed(study)}."


def _missed(study: Analysis) -> str:
    declared = study.declared
    if study.detectable:
        size = _size(declared, study.detectable.corrected)
        return f"effects on {declared.outcome} below {size} would mostly have been missed"
    if study.lenth:
        return f"with one seed, effects below {_size(declared, study.lenth.simultaneous_margin)} would have been missed"
    return "with one seed, nothing measures the noise"


def outlook(study: Analysis) -> str:
    """What the study can see, and what it would take to see the smallest effect worth knowing."""
    declared = study.declared
    if study.detectable is None:
        guess = "guessed from the effects themselves" if study.lenth else "not known"
        return f"One seed: the noise is {guess}. Run more seeds before acting on it."
    tests, only = study.detectable.tests, number(declared, study.detectable.alone)
    corrected = f" after correction for {tests} tests, one of {only} if it were the only test" if tests > 1 else ""
    return (
        f"With {study.seeds} seeds, an effect of {_size(declared, study.detectable.corrected)} is found four times out "
        f"of five{corrected}. The smallest worth knowing was declared as {_size(declared, declared.smallest_effect)}: "
        f"{needed_seeds(study)}."
    )


def needed_seeds(study: Analysis) -> str:
    """How many seeds the smallest interesting effect needs."""
    plan = study.plan
    if plan is None:
        return "the seeds do not differ at all, find out why"
    if plan.corrected is None:
        return "more than a thousand seeds would be needed for it"
    if study.detectable and study.detectable.corrected <= study.declared.smallest_effect:
        return "these seeds are enough for it"
    return f"about {max(plan.corrected, study.seeds + 1)} seeds in all would find it as surely"


def best_cells(study: Analysis) -> str:
    """The best cell where it is known, else all that may be it."""
    names = [cell.name for cell in study.best]
    if study.sigma is None:
        top = min(study.cells, key=lambda cell: cell.rank)
        return f"Highest cell: {top.name}; with one seed that says little." if study.cells else ""
    if len(names) == 1:
        return f"Best cell: {names[0]}; all others are ruled out."
    if len(names) == len(study.cells):
        return f"Best cell: not known, none of the {len(names)} can be ruled out."
    told = listed(_short(names, "cell"))
    return f"Best cell: not known, {len(names)} of {len(study.cells)} cannot be told apart: {told}."


def likeness(study: Analysis) -> str:
    """How often students answer as their teacher, and what that says; or why it is not known."""
    if not study.fidelity:
        return (
            "How often students answer as their teacher is not known: of no seed are the answers of all cells and of "
            "the teacher kept. Results of earlier versions lack them, new cells keep them."
        )
    most, base = leader(study.fidelity), next((one for one in study.fidelity if one.gain is None), None)
    told = (
        f"The teacher's answer is given most often by {most.name}, to {decimal(100 * most.agreement)} % of the examples"
    )
    if base and base is not most:
        told += f"; by {base.name} to {decimal(100 * base.agreement)} %"
    kept = [str(study.declared.seeds[at]) for at in known_seeds(study.grid)]
    if len(kept) < study.seeds:
        told += f" (over seed{'s' * (len(kept) > 1)} {listed(kept)} alone: results of earlier versions lack it)"
    return (
        f"{told}. A description beside the outcome, and no reason to prefer a cell: accuracy and likeness may part "
        "(Stanton et al. 2021, arXiv 2106.05945), and models that are mostly right agree without having learned from "
        "each other, so compare with none and with the controls."
    )


def pooled_headline(findings: Findings) -> str:
    """Over all tasks."""
    found = [one for one in findings.pooled if one.found]
    found.sort(key=lambda one: (one.name.count("×"), -abs(one.gain)))
    tasks = f"Over {len(findings.studies)} tasks of equal weight"
    if not found:
        return f"{tasks}, no effect can be told from chance."
    told = [_told(one.name.split(" × "), one.gain, one.gain, lambda size: f"{abs(size):.1f}") for one in found]
    return f"{tasks}, in units of the noise of one run, {listed(told)}."


def verdict(findings: Findings) -> list[str]:
    """All of it for a terminal, a line each."""
    lines = []
    for study in findings.studies:
        lines += [headline(study), outlook(study), best_cells(study)]
    return lines + ([pooled_headline(findings)] if findings.pooled else [])


def says(study: Analysis, effect: Effect) -> str:
    """One effect in a word or two."""
    if effect.spread and effect.spread.deviation == 0:
        return "all seeds alike, cannot be tested"
    if effect.found:
        words = ("helps", "harms") if len(effect.contrast.factors) == 1 else ("more than the sum", "less than the sum")
        word = words[effect.gain < 0] if len(effect.contrast.factors) < 3 else "depend on each other"
        return word + (", by little" if effect.negligible else "")
    if effect.negligible:
        return f"below {number(study.declared, study.declared.smallest_effect)}"
    return "cannot be told"


def decimals(declared: Declared) -> int:
    """Two digits of the smallest interesting effect."""
    if declared.smallest_effect <= 0:
        return 2
    return max(0, 1 - math.floor(math.log10(declared.smallest_effect)))


def number(declared: Declared, value: float | None, signed: bool = False) -> str:
    """A figure in the outcome's unit."""
    if value is None:
        return "–"
    text = f"{abs(value):.{decimals(declared)}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def interval(declared: Declared, ends: Interval | None, signed: bool = True) -> str:
    """Both ends."""
    return "–" if ends is None else " to ".join(number(declared, end, signed) for end in ends)


def _tells(study: Analysis, effect: Effect) -> str:
    declared, factors = study.declared, effect.name.split(" × ")
    return _told(factors, effect.gain, effect.estimate, lambda size: _size(declared, abs(size)))


def _told(factors: Sequence[str], gain: float, estimate: float, size: Callable[[float], str]) -> str:
    """One effect in a clause; of two factors how far their joint gain is from the sum, twice the interaction."""
    signed = f"{MINUS if estimate < 0 else '+'}{size(estimate)}"
    if len(factors) == 1:
        return f"{factors[0]} {'helps' if gain > 0 else 'harms'} ({signed})"
    if len(factors) == 2:
        return f"{listed(factors)} together give {size(2 * estimate)} {'more' if gain > 0 else 'less'} than their sum"
    return f"{listed(factors)} depend on each other ({signed})"


def _size(declared: Declared, value: float) -> str:
    return f"{number(declared, value)} {declared.unit}".strip()


def _short(names: Sequence[str], kind: str) -> list[str]:
    """The first few, and how many more."""
    more = len(names) - NAMED
    return list(names) if more < 2 else [*names[:NAMED], f"{more} {kind}s more"]
