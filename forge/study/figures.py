"""The pictures of a study's report, each an SVG of its own that stays readable on a telephone.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; what they say is said by shape or fill too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from forge.reports.drawing import BETTER, GREY, INK, MARKERS, SERIES, WORSE, drawn
from forge.study.analysis import Analysis
from forge.study.effects import Effect
from forge.study.pooling import PooledEffect
from forge.study.statistics.testing import ALPHA, FloatArray, critical
from forge.study.wording import number

WIDTH, ROW, EDGE = 4.9, 0.36, 1.05  # inches
WRAPPED = 24


def pareto(study: Analysis) -> str:
    """Absolute effects, the largest on top, with the size that each had to reach."""
    effects = sorted(study.effects, key=lambda effect: abs(effect.estimate))

    def draw(axis: Any) -> None:
        for at, effect in enumerate(effects):
            colour = BETTER if effect.gain >= 0 else WORSE
            fill = {"color": colour} if effect.found else {"facecolor": "none", "edgecolor": colour, "hatch": "////"}
            axis.barh(at, abs(effect.estimate), height=0.62, linewidth=1, **fill)
            if effect.needed is not None and study.sigma is not None:
                axis.plot([effect.needed] * 2, [at - 0.42, at + 0.42], color=INK, linewidth=2)
        _rows(axis, [effect.name for effect in effects])
        _limits(axis, study)
        axis.set_xlabel(f"absolute effect, {_unit(study)}")
        axis.set_xlim(left=0)
        axis.grid(axis="x", alpha=0.3)

    return drawn("pareto", _tall([effect.name for effect in effects]), draw, "Bars: absolute size of each effect")


def _limits(axis: Any, study: Analysis) -> None:
    axis.axvline(study.declared.smallest_effect, color=GREY, linestyle=":", linewidth=1.5)
    if study.lenth:
        axis.axvline(study.lenth.margin, color=INK, linestyle="--", linewidth=1.2)
        axis.axvline(study.lenth.simultaneous_margin, color=INK, linewidth=1.2)


def by_seed(study: Analysis) -> str:
    """The contrast of each seed, their mean and its interval."""
    effects = study.effects[::-1]

    def draw(axis: Any) -> None:
        axis.axvline(0, color=INK, linewidth=0.8)
        for at, effect in enumerate(effects):
            colour = _colour(effect)
            spots = np.linspace(0.24, -0.24, len(effect.per_seed)) if len(effect.per_seed) > 1 else [0.0]
            axis.scatter(
                effect.per_seed, at + np.asarray(spots), s=14, facecolors="none", edgecolors=GREY, linewidths=1
            )
            if effect.spread:
                axis.plot(effect.spread.interval, [at, at], color=colour, linewidth=2)
            axis.plot(
                effect.estimate, at, "D", color=colour, markersize=6, fillstyle="full" if effect.found else "none"
            )
        _rows(axis, [effect.name for effect in effects])
        axis.set_xlabel(f"effect in each seed, {_unit(study)}")
        axis.grid(axis="x", alpha=0.3)

    return drawn("seeds", _tall([effect.name for effect in effects]), draw, "Dots: each effect in each seed")


def interactions(study: Analysis) -> list[str]:
    """For each two factors the mean of their levels over everything else; parallel lines mean that they only add."""
    declared, outcome_CS = study.declared, study.grid.outcome_CS
    panels = [_means(study, first, second) for first, second in combinations(range(len(declared.factors)), 2)]
    if not panels:
        return []
    ends = [value for _, _, means, reach in panels for value in (means - reach, means + reach)]
    low, high = min(end.min() for end in ends), max(end.max() for end in ends)
    margin = 0.08 * (high - low) or 0.05 * max(1.0, abs(float(outcome_CS.mean())))
    return [_interaction(study, panel, (low - margin, high + margin)) for panel in panels]


def _means(study: Analysis, first: int, second: int) -> tuple[int, int, FloatArray, float]:
    """Means (levels of the first, levels of the second), and how far their intervals reach once seeds are taken out."""
    levels = list(study.declared.factors.values())
    mean_C, cells = study.grid.outcome_CS.mean(1), study.grid.cells
    picked = [
        [
            [mean_C[at] for at, cell in enumerate(cells) if (cell[first], cell[second]) == (one, other)]
            for other in levels[second]
        ]
        for one in levels[first]
    ]
    means = np.array([[np.mean(values) for values in row] for row in picked])
    if study.sigma is None:
        return first, second, means, 0.0
    runs, df = len(picked[0][0]) * study.seeds, (len(cells) - 1) * (study.seeds - 1)
    return first, second, means, float(critical(ALPHA, df) * study.sigma / np.sqrt(runs))


def _interaction(study: Analysis, panel: tuple[int, int, FloatArray, float], limits: tuple[float, float]) -> str:
    first, second, means, reach = panel
    names, levels = list(study.declared.factors), list(study.declared.factors.values())

    def draw(axis: Any) -> None:
        at = np.arange(len(levels[first]))
        for place, level in enumerate(_shown(levels[second])):
            shift = 0.03 * (place - (means.shape[1] - 1) / 2)
            style = {"color": SERIES[place % len(SERIES)], "marker": MARKERS[place % len(MARKERS)], "capsize": 3}
            line = "-" if place % 2 else "--"
            axis.errorbar(
                at + shift, means[:, place], reach or None, linestyle=line, label=f"{names[second]} {level}", **style
            )
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if len(at) > 2 else {}
        axis.set_xticks(at, _shown(levels[first]), **slanted)
        axis.set(xlabel=names[first], ylabel=_unit(study), ylim=limits, xlim=(-0.3, len(at) - 0.7))
        axis.grid(axis="y", alpha=0.3)
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1, fontsize=9, frameon=False)

    size = (3.3, 2.9 + 0.2 * means.shape[1])
    return drawn(f"{names[first]} {names[second]}", size, draw, f"Means by {names[first]} and {names[second]}")


def cell_map(study: Analysis) -> str:
    """Mean of every cell with its interval; darker is better, an outline marks what may be the best."""
    names = list(study.declared.factors)
    places, rows, columns = _places(study)
    values = [cell.mean for cell in study.cells]
    worst, best = (min(values), max(values)) if study.declared.higher_is_better else (max(values), min(values))

    def draw(axis: Any) -> None:
        for cell, (x, y, extra) in zip(study.cells, places, strict=True):
            depth = (cell.mean - worst) / (best - worst) if best != worst else 0.5
            axis.add_patch(_square(x, y, depth, cell.perhaps_best and study.sigma is not None))
            reach = f"\n± {number(study.declared, (cell.interval[1] - cell.interval[0]) / 2)}" if cell.interval else ""
            told, ink = f"{extra}{number(study.declared, cell.mean)}{reach}", "white" if depth > 0.6 else INK
            axis.text(x, y, told, ha="center", va="center", color=ink, fontsize=7.5 if extra else 9)
        across = names[-1] if study.grid.full else names[1]
        axis.set(xlim=(-0.52, len(columns) - 0.48), ylim=(len(rows) - 0.48, -0.52), xlabel=across)
        axis.set_xticks(range(len(columns)), [_wrapped(level, max(10, 30 // len(columns))) for level in columns])
        axis.set_yticks(range(len(rows)), rows)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)

    lines = max([rows[0].count("\n") + 1, *(2 + extra.count("\n") for _, _, extra in places)])
    size = (WIDTH, EDGE + (0.18 * lines + 0.12) * len(rows))
    return drawn("cells", size, draw, f"Mean {study.declared.outcome} of every cell")


def _places(study: Analysis) -> tuple[list[tuple[int, int, str]], list[str], list[str]]:
    """Column, row and what else to say of each cell, and names of rows and columns.

    The last factor goes across, all others down; of an array, where two factors name a cell, the second and the first.
    """
    across = -1 if study.grid.full else 1
    down = slice(None, -1) if study.grid.full else slice(0, 1)
    levels = list(study.declared.factors.values())
    rows = list(dict.fromkeys(cell.cell[down] for cell in study.cells))
    places = []
    for cell in study.cells:
        extra = "" if study.grid.full else "".join(f"{_wrapped(level, 12)}\n" for level in cell.cell[2:])
        places.append((list(levels[across]).index(cell.cell[across]), rows.index(cell.cell[down]), extra))
    return places, [_row_name(study, row) for row in rows], _shown(levels[across])


def _square(x: int, y: int, depth: float, outlined: bool) -> Any:
    from matplotlib.patches import Rectangle

    light, dark = np.array([0.93, 0.96, 0.98]), np.array([0.0, 0.27, 0.47])
    colour = tuple(light + (dark - light) * depth)
    edge, width = ("#E69F00", 3) if outlined else ("white", 1)
    return Rectangle((x - 0.46, y - 0.45), 0.92, 0.9, facecolor=colour, edgecolor=edge, linewidth=width)


def _row_name(study: Analysis, row: Sequence[str]) -> str:
    parts = []
    for (factor, levels), level in zip(study.declared.factors.items(), row, strict=False):
        parts.append(f"{factor} {_shown(levels)[list(levels).index(level)]}")
    return "\n".join(parts)


def costs(study: Analysis, measure: str) -> str:
    """What a run of each cell costs."""
    cells = study.cells[::-1]

    def draw(axis: Any) -> None:
        values = [cell.measures[measure] for cell in cells]
        axis.barh(range(len(cells)), values, height=0.62, color="#56B4E9")
        _rows(axis, [cell.name for cell in cells])
        axis.set_xlabel(f"{measure.replace('_', ' ')}, mean of a run")
        axis.grid(axis="x", alpha=0.3)

    return drawn("costs", _tall([cell.name for cell in cells]), draw, f"Mean {measure} of a run of each cell")


def controls(study: Analysis, rows: Sequence[tuple[str, FloatArray, bool]]) -> str:
    """Outcome of controls and of what they are compared with, seed by seed; the flag marks controls."""

    def draw(axis: Any) -> None:
        for at, (_, outcome_S, control) in enumerate(rows[::-1]):
            colour = WORSE if control else BETTER
            spots = np.linspace(0.2, -0.2, len(outcome_S)) if len(outcome_S) > 1 else np.zeros(1)
            axis.scatter(outcome_S, at + spots, s=14, facecolors="none", edgecolors=GREY, linewidths=1)
            axis.plot(outcome_S.mean(), at, "s" if control else "D", color=colour, markersize=7)
        _rows(axis, [name for name, _, _ in rows[::-1]])
        axis.set_xlabel(f"{_unit(study)}, each seed and their mean")
        axis.grid(axis="x", alpha=0.3)

    return drawn("controls", _tall([name for name, _, _ in rows]), draw, "Outcome of controls, each seed and the mean")


def forest(effects: Sequence[PooledEffect], tasks: Sequence[str]) -> str:
    """Each effect by task and over all, in σ of one run, positive if better."""
    rows, space = effects[::-1], len(tasks) + 1.8

    def draw(axis: Any) -> None:
        axis.axvline(0, color=INK, linewidth=0.8)
        for at, effect in enumerate(rows):
            middle = at * space
            for place, task in enumerate(effect.tasks):
                height, colour = middle + len(tasks) / 2 - place, SERIES[place % len(SERIES)]
                axis.plot(task.interval, [height] * 2, color=colour, linewidth=1.5)
                axis.plot(task.gain, height, MARKERS[place % len(MARKERS)], color=colour, markersize=5,
                          label=tasks[place] if at == 0 else None)  # fmt: skip
            low, height = middle - len(tasks) / 2, 0.4
            (left, right), centre = effect.interval, effect.gain
            shape = [(left, low), (centre, low + height), (right, low), (centre, low - height)]
            axis.fill(*zip(*shape, strict=True), facecolor=INK if effect.found else "none", edgecolor=INK, linewidth=1,
                      label="all tasks" if at == 0 else None)  # fmt: skip
            if at:
                axis.axhline(middle - space / 2, color="#dddddd", linewidth=0.8)
        axis.set_yticks([at * space for at in range(len(rows))], [_wrapped(effect.name) for effect in rows])
        axis.set(xlabel="gain in σ of one run", ylim=(-space / 2, (len(rows) - 0.5) * space))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
        axis.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2, fontsize=9, frameon=False)

    return drawn(
        "forest", (WIDTH, EDGE + 0.3 + 0.15 * space * len(rows)), draw, "Each effect by task and over all tasks"
    )


def _rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [_wrapped(name) for name in names])
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.tick_params(axis="y", length=0)


def _tall(names: Sequence[str]) -> tuple[float, float]:
    lines = max(_wrapped(name).count("\n") + 1 for name in names)
    return WIDTH, EDGE - 0.25 + len(names) * max(ROW, 0.17 * lines + 0.08)


def _wrapped(name: str, width: int = WRAPPED) -> str:
    return "\n".join(textwrap.wrap(name.replace("_", " "), width, break_long_words=True)) or name


def _shown(levels: Sequence[str]) -> list[str]:
    """Levels of a factor as off and on where there are two."""
    return ["off", "on"] if len(levels) == 2 else [level.replace("_", " ") for level in levels]


def _colour(effect: Effect) -> str:
    if not effect.found:
        return INK
    return BETTER if effect.gain >= 0 else WORSE


def _unit(study: Analysis) -> str:
    declared = study.declared
    return f"{declared.outcome} ({declared.unit})" if declared.unit else declared.outcome
