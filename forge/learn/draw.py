"""Pictures of results as text: they say the same without colour, and fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

WIDTH = 72
TABLE_WIDTH, LEAST_COLUMN = 100, 12
PLOT_WIDTH, PLOT_HEIGHT = 56, 10
SHADES = " ·░▒▓█"
SIGNS = "●○▲△■□"


def draw(picture: Mapping[str, Any]) -> str:
    """A picture of any kind, with its title."""
    body = _DRAWERS[picture["kind"]](picture)
    return "\n".join([picture["title"], *body, *([picture["note"]] if picture.get("note") else [])])


def _lines(picture: Mapping[str, Any]) -> list[str]:
    points = [(x, y) for series in picture["series"] for x, y in series["points"]]
    if not points:
        return ["(no points)"]
    edges = [picture[edge] for edge in ("low", "high") if picture.get(edge) is not None]
    (left, right), (low, high) = _span([x for x, _ in points]), _span([*(y for _, y in points), *edges])
    grid = [[" "] * PLOT_WIDTH for _ in range(PLOT_HEIGHT)]
    for mark in picture.get("marks", ()):
        for row in grid:
            row[_place(mark["x"], left, right, PLOT_WIDTH)] = "┊"
    for sign, series in zip(SIGNS, picture["series"], strict=False):
        for x, y in series["points"]:
            grid[PLOT_HEIGHT - 1 - _place(y, low, high, PLOT_HEIGHT)][_place(x, left, right, PLOT_WIDTH)] = sign
    names = {0: f"{high:.4g}", PLOT_HEIGHT - 1: f"{low:.4g}"}
    out = [f"{names.get(i, ''):>8} │{''.join(row)}" for i, row in enumerate(grid)]
    out.append(f"{'':>8} └{'─' * PLOT_WIDTH}")
    ends = f"{left:g}", f"{picture['x']}", f"{right:g}"
    out.append(f"{'':>10}{ends[0]}{ends[1]:^{PLOT_WIDTH - len(ends[0]) - len(ends[2])}}{ends[2]}")
    for sign, series in zip(SIGNS, picture["series"], strict=False):
        if series["points"]:
            first, last = series["points"][0][1], series["points"][-1][1]
            out.append(f"{'':>10}{sign} {series['name']}: {picture['y']} from {first:.4g} to {last:.4g}")
    return out


def _heat(picture: Mapping[str, Any]) -> list[str]:
    values = picture["values"]
    flat = [abs(value) for row in values for value in row]
    most = max(flat, default=0.0) or 1.0
    wide = max(len(row) for row in picture["rows"])
    if picture["show_values"]:
        return _table({"header": ["", *picture["columns"]],
                       "rows": [[name, *(f"{v:.3g} {_shade(v, most)}" for v in row)]
                                for name, row in zip(picture["rows"], values, strict=True)]})  # fmt: skip
    cell = 2 if len(picture["columns"]) * 2 + wide < WIDTH else 1
    out = [
        f"{name:>{wide}} │{''.join(_shade(v, most) * cell for v in row)}│"
        for name, row in zip(picture["rows"], values, strict=True)
    ]
    return [*out, f"{'':>{wide}}  {_some(picture['columns'], cell)}", f"(█ is {most:.3g}, blank is 0)"]


def _some(names: Sequence[str], cell: int) -> str:
    """Names of columns below them where they fit, else those of the first and the last."""
    if all(len(name) <= cell for name in names):
        return "".join(f"{name:<{cell}}" for name in names)
    return f"columns: {names[0]} … {names[-1]}" if len(" ".join(names)) > WIDTH else f"columns: {' '.join(names)}"


def _bars(picture: Mapping[str, Any]) -> list[str]:
    wide = max((len(bar["label"]) for bar in picture["bars"]), default=0)
    most = picture["most"]
    out = []
    for bar in picture["bars"]:
        length = round(40 * min(max(bar["value"] / most, 0.0), 1.0))
        out.append(f"{bar['label']:>{wide}} │{'█' * length:<40} {bar['value']:.3g}{'  ◀' if bar['strong'] else ''}")
    return out


def _table(picture: Mapping[str, Any]) -> list[str]:
    rows = [picture["header"], *picture["rows"]]
    wide = _fitting([max(len(row[i]) for row in rows) for i in range(len(picture["header"]))])
    head, *body = ([textwrap.wrap(cell, max(w, 1)) for cell, w in zip(row, wide, strict=True)] for row in rows)
    return [*_row(head, wide), "  ".join("─" * w for w in wide), *(line for row in body for line in _row(row, wide))]


def _row(cells: Sequence[Sequence[str]], wide: Sequence[int]) -> list[str]:
    """A row's lines: as many as its tallest cell has."""
    lines = zip_longest(*cells, fillvalue="")
    return ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, wide, strict=True)).rstrip() for line in lines] or [""]


def _fitting(wide: Sequence[int]) -> list[int]:
    """Widths of columns that fit together, the widest cut down first."""
    kept = list(wide)
    while sum(kept) + 2 * (len(kept) - 1) > TABLE_WIDTH and max(kept) > LEAST_COLUMN:
        kept[kept.index(max(kept))] -= 1
    return kept


def _diff(picture: Mapping[str, Any]) -> list[str]:
    signs = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
    return [" ".join(signs[kind].format(text) for kind, text in picture["pieces"])]


def _text(picture: Mapping[str, Any]) -> list[str]:
    return [f"  {line}" for line in picture["text"].splitlines()]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _place(value: float, low: float, high: float, cells: int) -> int:
    return min(cells - 1, max(0, round((value - low) / (high - low) * (cells - 1))))


def _shade(value: float, most: float) -> str:
    edges = [0.02, 0.2, 0.4, 0.6, 0.8]
    return SHADES[sum(abs(value) / most > edge for edge in edges)]


_DRAWERS = {"lines": _lines, "heat": _heat, "bars": _bars, "table": _table, "diff": _diff, "text": _text}
