"""How the numbers of a report were made, for its reader and for a paper."""

from __future__ import annotations

from forge.study.analysis import Analysis, Findings
from forge.study.statistics.bootstrap import REPETITIONS
from forge.study.statistics.ranks import nemenyi_difference
from forge.study.wording import number


def methods(findings: Findings) -> list[str]:
    """Paragraphs."""
    paragraphs = [_design(study, findings.label(study)) for study in findings.studies]
    if any(study.sigma is not None for study in findings.studies):
        paragraphs += [_tests(findings), *_noise(findings)]
    if any(study.sigma is None for study in findings.studies):
        paragraphs.append(
            "With one seed, Lenth's method (1989) takes the middle of the sizes of all effects as their error, on the "
            "assumption that most of them are nothing."
        )
    if findings.pooled:
        paragraphs.append(
            "Over tasks: each effect in units of that task's σ, the noise of one run; the mean of all tasks with "
            "equal weight, its error by Welch and Satterthwaite, Holm over the pooled effects. The tasks are those "
            "that were chosen, not a sample of all tasks; σ is taken as known."
        )
    return paragraphs


def _design(study: Analysis, label: str) -> str:
    declared = study.declared
    levels = "; ".join(f"{factor}: {', '.join(names)}" for factor, names in declared.factors.items())
    what = "all combinations" if study.grid.full else "an orthogonal array, whose main effects hide interactions"
    return (
        f"{label}: {len(study.cells)} cells ({what}) of {levels}; seeds {', '.join(map(str, declared.seeds))}, "
        f"the same in every cell. Said before running: outcome {declared.outcome}, smallest effect worth knowing "
        f"{number(declared, declared.smallest_effect)} {declared.unit}."
    )


def _tests(findings: Findings) -> str:
    return (
        "An effect is, for each seed, the mean of the cells with the part less the mean of those without; an "
        "interaction is half of how much one effect changes with the other. The test is Student's on the values of "
        "the seeds, with one degree of freedom less than there are seeds, so an effect that comes and goes with the "
        f"seed does not count as found. Holm's correction (1979) is over all {findings.tests} tests of this report: "
        "the chance of any false finding is at most 5 %. “Below” says that the 95 % interval lies within ± the "
        "smallest effect worth knowing. The analysis of variance and the p with pooled error assume that seeds shift "
        "all cells alike, and are shown as a check. Intervals of effects are not corrected for their number. A cell "
        "is ruled out as the best where some other beats it, by t tests on seeds at 5 % over all its "
        "comparisons (Bonferroni). Dunnett's p (1955) has a pooled error."
    )


def _noise(findings: Findings) -> list[str]:
    told = [_noise_of(study, findings.label(study)) for study in findings.studies if study.sigma is not None]
    if any(study.grid.examples_CSNK is not None for study in findings.studies):
        told.append(
            f"Intervals for other seeds and examples: {REPETITIONS:,} repetitions draw both at once, the same for all "
            "cells (multi-bootstrap, Sellam et al. 2022), one seed fewer than there are, which makes up for the "
            "spread that few seeds lack; the interval is ± t times their deviation."
        )
    return told


def _noise_of(study: Analysis, label: str) -> str:
    declared, cells = study.declared, len(study.cells)
    words = f"{label}: σ of one run, after cell and seed, is {number(declared, study.sigma)} {declared.unit}."
    if study.plan:
        words += (
            f" The deviation of one seed's effect is below {number(declared, study.plan.deviation_limit)} with a "
            f"confidence of 80 %; with that, {number(declared, declared.smallest_effect)} {declared.unit} takes "
            f"{study.plan.corrected or 'over 1,000'} seeds for a power of 80 % after correction, "
            f"{study.plan.alone or 'over 1,000'} alone."
        )
    apart = nemenyi_difference(cells, study.seeds)
    return (
        f"{words} Mean ranks over seeds are a description; Nemenyi's test would ask for a difference of {apart:.1f}, "
        f"where {cells - 1} is the most there can be."
    )
