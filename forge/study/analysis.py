"""What a study's results say: every number of its report, and no choice left to whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forge.core.hashing import derive_seed
from forge.study.cells import CellFigures, Comparison, cell_figures, control_comparisons
from forge.study.contrasts import Contrast, contrasts
from forge.study.effects import Effect, Interval, Spread
from forge.study.fidelity import Fidelity, fidelity
from forge.study.grid import Grid, arrange
from forge.study.pooling import PooledEffect, pool
from forge.study.results import Declared, Result
from forge.study.statistics.anova import Source, anova, residual_deviation
from forge.study.statistics.bootstrap import multi_bootstrap
from forge.study.statistics.lenth import Lenth, lenth
from forge.study.statistics.power import Detectable, Plan, detectable, plan_seeds
from forge.study.statistics.testing import ALPHA, FloatArray, TTests, critical, holm_levels, t_tests
from forge.tasks.metrics.multiple import holm

COSTS = ("cpu_seconds", "wall_seconds", "steps")


@dataclass(frozen=True)
class Secondary:
    """An effect on another figure: a description, its interval is not corrected for their number."""

    measure: str
    effect: str
    estimate: float
    interval: Interval | None


@dataclass(frozen=True)
class Analysis:
    """One study."""

    grid: Grid
    effects: tuple[Effect, ...]
    sigma: float | None
    """Standard deviation of one run after cell and seed; None with one seed."""
    detectable: Detectable | None
    """Of the effect that is hardest to see, by the mean deviation of all effects."""
    plan: Plan | None
    lenth: Lenth | None
    """With one seed."""
    anova: Mapping[str, Source]
    cells: tuple[CellFigures, ...]
    controls: tuple[Comparison, ...]
    secondary: tuple[Secondary, ...]
    fidelity: tuple[Fidelity, ...]
    """Of classifiers; empty where it is not known of any whole block."""

    @property
    def declared(self) -> Declared:
        """What was said before the first run."""
        return self.grid.declared

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.declared.seeds)

    @property
    def best(self) -> tuple[CellFigures, ...]:
        """Cells that cannot be told apart from the best, best first."""
        return tuple(sorted((cell for cell in self.cells if cell.perhaps_best), key=lambda cell: cell.rank))


@dataclass(frozen=True)
class Findings:
    """All studies of a report."""

    studies: tuple[Analysis, ...]
    pooled: tuple[PooledEffect, ...]
    """Empty for one study, and for studies of different effects."""

    @property
    def tests(self) -> int:
        """How many effects Holm's correction counts."""
        return sum(len(study.effects) for study in self.studies)

    def label(self, study: Analysis) -> str:
        """What tells this study from the others: its task, else its name, else both."""
        told = [(one.declared.task, one.declared.name) for one in self.studies]
        task, name = study.declared.task, study.declared.name
        if len({one for one, _ in told}) == len(told):
            return task
        return name if len({one for _, one in told}) == len(told) else f"{name}, {task}"


def analyse(studies: Sequence[tuple[Declared, Sequence[Result]]]) -> Findings:
    """Analyse studies that are reported together. Raises UserError where a study is not complete."""
    grids = [arrange(declared, results) for declared, results in studies]
    found = [contrasts(grid.declared.factors, grid.cells) for grid in grids]
    many = sum(map(len, found))
    tests = [
        t_tests(weights_of(effects) @ grid.outcome_CS) if len(grid.declared.seeds) > 1 else None
        for grid, effects in zip(grids, found, strict=True)
    ]
    tested = [test.p for test in tests if test]
    family = np.concatenate(tested) if tested else np.zeros(0)
    adjusted, levels = iter(holm(family)), iter(holm_levels(family))
    analyses = []
    for grid, effects, test in zip(grids, found, tests, strict=True):
        if test is None:
            analyses.append(_unreplicated(grid, effects))
        else:
            p_holm, level = ([next(each) for _ in effects] for each in (adjusted, levels))
            analyses.append(_replicated(grid, effects, test, np.array([p_holm, level]), many))
    return Findings(tuple(analyses), pool([(one.grid, one.effects) for one in analyses]))


def weights_of(effects: Sequence[Contrast]) -> FloatArray:
    """(effects, cells)."""
    return np.array([effect.weights_C for effect in effects])


def _replicated(grid: Grid, found: Sequence[Contrast], tests: TTests, corrected: FloatArray, many: int) -> Analysis:
    weights_EC, seeds = weights_of(found), grid.outcome_CS.shape[1]
    sigma, df = residual_deviation(grid.outcome_CS)
    deviation = sigma * float(np.sqrt((weights_EC**2).sum(1).max()))
    examples = _examples_intervals(grid, weights_EC)
    per_seed_ES, (low, high), (p_holm, level) = weights_EC @ grid.outcome_CS, tests.interval(), corrected
    effects = []
    for at, contrast in enumerate(found):
        pooled = sigma * float(np.sqrt((weights_EC[at] ** 2).sum() / seeds))
        spread = Spread(
            float(tests.deviation[at]),
            float(tests.standard_error[at]),
            tests.df,
            float(tests.t[at]),
            float(tests.p[at]),
            float(p_holm[at]),
            (float(low[at]), float(high[at])),
            examples[at] if examples else None,
            pooled,
            _two_sided(float(tests.estimate[at]), pooled, df),
        )
        needed = float(critical(level[at], tests.df) * spread.standard_error)
        negligible = bool(max(-low[at], high[at]) < grid.declared.smallest_effect and spread.deviation > 0)
        effects.append(_effect(grid, contrast, per_seed_ES[at], spread, needed, spread.p_holm <= ALPHA, negligible))
    return Analysis(
        grid,
        tuple(effects),
        sigma,
        detectable(deviation, seeds, many),
        plan_seeds(deviation, df, grid.declared.smallest_effect, many) if sigma > 0 else None,
        None,
        anova(grid.outcome_CS, _codes(grid, found)),
        cell_figures(grid),
        control_comparisons(grid),
        _secondary(grid, found),
        fidelity(grid),
    )


def _unreplicated(grid: Grid, found: Sequence[Contrast]) -> Analysis:
    per_seed_ES = weights_of(found) @ grid.outcome_CS
    noise = lenth(per_seed_ES[:, 0])
    needed = noise.simultaneous_margin if noise else None
    effects = [
        _effect(grid, contrast, values_S, None, needed, needed is not None and abs(values_S[0]) > needed, False)
        for contrast, values_S in zip(found, per_seed_ES, strict=True)
    ]
    codes = _codes(grid, found)
    cells, controls, secondary = cell_figures(grid), control_comparisons(grid), _secondary(grid, found)
    table = anova(grid.outcome_CS, codes, blocks=False)
    return Analysis(grid, tuple(effects), None, None, None, noise, table, cells, controls, secondary, fidelity(grid))


def _effect(
    grid: Grid,
    contrast: Contrast,
    per_seed_S: FloatArray,
    spread: Spread | None,
    needed: float | None,
    found: bool,
    negligible: bool,
) -> Effect:
    estimate = float(per_seed_S.mean())
    gain = estimate if grid.declared.higher_is_better else -estimate
    return Effect(contrast, tuple(per_seed_S.tolist()), estimate, gain, spread, needed, bool(found), negligible)


def _two_sided(estimate: float, error: float, df: int) -> float:
    from scipy.stats import t as student

    return float(2 * student.sf(abs(estimate) / error, df)) if error > 0 else 1.0


def _examples_intervals(grid: Grid, weights_EC: FloatArray) -> list[Interval] | None:
    if grid.examples_CSNK is None:
        return None
    declared = grid.declared
    seed = derive_seed(0, "multi-bootstrap", declared.name, declared.task)
    low, high = multi_bootstrap(grid.examples_CSNK, weights_EC, declared.combine, declared.scale, seed)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _codes(grid: Grid, found: Sequence[Contrast]) -> dict[str, FloatArray]:
    """Columns of each effect; the levels of one factor belong together."""
    if grid.two_level:
        return {contrast.name: contrast.weights_C[:, None] for contrast in found}
    codes = {}
    for place, (factor, levels) in enumerate(grid.declared.factors.items()):
        is_level = [[float(cell[place] == level) for level in levels[1:]] for cell in grid.cells]
        codes[factor] = np.array(is_level)
    return codes


def _secondary(grid: Grid, found: Sequence[Contrast]) -> tuple[Secondary, ...]:
    rows = []
    for measure, values_CS in grid.measures.items():
        if measure in COSTS:
            continue
        per_seed_ES = weights_of(found) @ values_CS
        ends = t_tests(per_seed_ES).interval() if per_seed_ES.shape[1] > 1 else None
        for at, contrast in enumerate(found):
            interval = (float(ends[0][at]), float(ends[1][at])) if ends else None
            rows.append(Secondary(measure, contrast.name, float(per_seed_ES[at].mean()), interval))
    return tuple(rows)
