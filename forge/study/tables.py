"""The tables of a study's report: what every figure shows, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from forge.reports.page import table
from forge.reports.words import MINUS, decimal, ends, probability
from forge.study.analysis import COSTS, Analysis, Findings
from forge.study.effects import Interval
from forge.study.pooling import PooledEffect
from forge.study.statistics.ranks import mean_ranks, nemenyi_difference
from forge.study.wording import interval, number, says


def effects(study: Analysis) -> str:
    """All effects with their intervals, and what is said of each."""
    declared, marked = study.declared, [effect.found for effect in study.effects]
    if study.sigma is None:
        return _unreplicated(study, marked)
    tests = ["95 %, other seeds", "95 %, other seeds and examples", "p", "p (Holm)", "had to reach", "p (pooled error)"]
    header = ["effect", f"size, {declared.unit}", *tests, "says"]
    rows = []
    for effect in study.effects:
        spread = effect.spread
        assert spread is not None
        figures = [number(declared, effect.estimate, True), interval(declared, spread.interval)]
        figures += [interval(declared, spread.interval_examples), probability(spread.p), probability(spread.p_holm)]
        rows.append(
            [effect.name, *figures, number(declared, effect.needed), probability(spread.pooled_p), says(study, effect)]
        )
    return table(header, rows, marked, word=True)


def _unreplicated(study: Analysis, marked: Sequence[bool]) -> str:
    declared, rows = study.declared, []
    p = study.lenth.p if study.lenth else [None] * len(study.effects)
    for effect, chance in zip(study.effects, p, strict=True):
        sizes = [number(declared, effect.estimate, True), number(declared, effect.needed)]
        rows.append([effect.name, *sizes, probability(chance), says(study, effect)])
    return table(
        ["effect", f"size, {declared.unit}", "had to reach", "p (Lenth, alone)", "says"], rows, marked, word=True
    )


def by_seed(study: Analysis) -> str:
    """The contrasts that the tests are made of."""
    declared = study.declared
    header = ["effect", *(f"seed {seed}" for seed in declared.seeds), "mean", "deviation"]
    rows = []
    for effect in study.effects:
        values = [number(declared, value, True) for value in effect.per_seed]
        deviation = number(declared, effect.spread.deviation) if effect.spread else "–"
        rows.append([effect.name, *values, number(declared, effect.estimate, True), deviation])
    return table(header, rows, [effect.found for effect in study.effects])


def interactions(study: Analysis) -> str:
    """Means of each pair of levels over everything else."""
    names, levels = list(study.declared.factors), list(study.declared.factors.values())
    rows = []
    for first, second in combinations(range(len(names)), 2):
        for one in levels[first]:
            for other in levels[second]:
                picked = [cell.mean for cell in study.cells if (cell.cell[first], cell.cell[second]) == (one, other)]
                told = [f"{names[first]} {one}", f"{names[second]} {other}"]
                rows.append([*told, len(picked) * study.seeds, number(study.declared, float(np.mean(picked)))])
    return table(["", "", "runs", f"mean {study.declared.outcome}"], rows)


def cells(study: Analysis) -> str:
    """Each cell, best first."""
    declared = study.declared
    header = ["cell", f"{declared.outcome}, {declared.unit}", "95 %", "against none", "95 %", "p (Holm)", "p (Dunnett)",
              "mean rank", "best?"]  # fmt: skip
    rows = []
    for cell in sorted(study.cells, key=lambda cell: cell.mean, reverse=declared.higher_is_better):
        other, against = cell.against_baseline, ["–"] * 3
        if other:
            interval_of = interval(declared, other.interval)
            against = [number(declared, other.difference, True), interval_of, probability(other.p_holm)]
        figures = [number(declared, cell.mean), interval(declared, cell.interval, signed=False), *against]
        best = "" if study.sigma is None or not cell.perhaps_best else "perhaps" if len(study.best) > 1 else "yes"
        rows.append([cell.name, *figures, probability(cell.p_dunnett), f"{cell.rank:.1f}", best])
    return table(header, rows, word=True)


def costs(study: Analysis) -> str:
    """Means of a run of each cell, and how many times that of the baseline."""
    names = [name for name in COSTS if name in study.grid.measures]
    grid = study.grid
    base = study.cells[grid.baseline].measures[names[0]] if grid.baseline is not None else 0.0
    header = ["cell", *(name.replace("_", " ") for name in names), *(["against none"] if base else [])]
    spent = [(cell.name, cell.measures) for cell in study.cells]
    for name, found in grid.control_measures.items():
        if all(measure in found for measure in names):
            spent.append((name.replace("_", " "), {measure: float(found[measure].mean()) for measure in names}))
    rows = [
        [
            label,
            *(f"{values[name]:,.{name != 'steps':d}f}" for name in names),
            *([f"× {values[names[0]] / base:.2f}"] if base else []),
        ]
        for label, values in spent
    ]
    return table(header, rows)


def comparisons(study: Analysis) -> str:
    """Controls with the baseline and with the response cell."""
    declared = study.declared
    rows = [
        [f"{one.name} {MINUS} {one.other}", number(declared, one.difference, True), interval(declared, one.interval),
         probability(one.p), probability(one.p_holm)]
        for one in study.controls
    ]  # fmt: skip
    means = [
        [name.replace("_", " "), number(declared, float(outcome_S.mean())), "–", "–", "–"]
        for name, outcome_S in study.grid.controls.items()
    ]
    return table(["", f"{declared.outcome}, {declared.unit}", "95 %", "p", "p (Holm)"], [*means, *rows])


def fidelity(study: Analysis) -> str:
    """How often each cell's students answer as their teacher, the most alike first."""
    header = ["", "same answer, %", "95 %", "against none, points", "95 %", "where the teacher is wrong, %"]
    rows = []
    for one in sorted(study.fidelity, key=lambda one: one.agreement, reverse=True):
        gain, between = (None if one.gain is None else 100 * one.gain), _hundredfold(one.gain_interval)
        told = [decimal(100 * one.agreement), ends(_hundredfold(one.interval)), decimal(gain, signed=True)]
        wrong = decimal(None if one.where_wrong is None else 100 * one.where_wrong)
        rows.append([one.name, *told, ends(between, signed=True), wrong])
    return table(header, rows)


def _hundredfold(interval: Interval | None) -> Interval | None:
    return None if interval is None else (100 * interval[0], 100 * interval[1])


def variance(study: Analysis) -> str:
    """Sums of squares."""
    rows = [
        [name, f"{one.squares:.4g}", one.df, "–" if one.f is None else f"{one.f:.3g}", probability(one.p)]
        for name, one in study.anova.items()
    ]
    return table(["source", "sum of squares", "df", "F", "p"], rows)


def secondary(study: Analysis) -> str:
    """Effects on other measures."""
    rows = []
    for one in study.secondary:
        between = "–" if one.interval is None else " to ".join(_plain(end) for end in one.interval)
        rows.append([one.measure.replace("_", " "), one.effect, _plain(one.estimate), between])
    return table(["figure", "effect", "size", "95 %, not corrected"], rows)


def pooled(found: Sequence[PooledEffect], tasks: Sequence[str]) -> str:
    """Standardised effects by task and over all."""
    header = ["effect", *tasks, "all, σ", "95 %", "df", "p", "p (Holm)"]
    rows = []
    for effect in found:
        figures = [_units(effect.gain), " to ".join(_units(end) for end in effect.interval), f"{effect.df:.1f}"]
        tested = [probability(effect.p), probability(effect.p_holm)]
        rows.append([effect.name, *(_units(task.gain) for task in effect.tasks), *figures, *tested])
    return table(header, rows, [effect.found for effect in found])


def ranks_over_tasks(findings: Findings) -> str:
    """Mean ranks of cells, with how far they would have to be apart; empty where tasks have different cells."""
    grids = [study.grid for study in findings.studies]
    if any(grid.cells != grids[0].cells for grid in grids):
        return ""
    gains = [grid.outcome_CS.mean(1) * (1 if grid.declared.higher_is_better else -1) for grid in grids]
    ranks = mean_ranks(np.stack(gains, axis=1), True)
    apart = nemenyi_difference(len(ranks), len(grids))
    rows = [[grids[0].label(grids[0].cells[at]), f"{ranks[at]:.2f}"] for at in np.argsort(ranks, kind="stable")]
    return table(
        ["cell", "mean rank"],
        [*rows, [f"apart by chance alone, up to (Nemenyi; {len(ranks) - 1} is the most)", f"{apart:.2f}"]],
    )


def _plain(value: float) -> str:
    return f"{value:+.3g}".replace("-", MINUS)


def _units(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)
