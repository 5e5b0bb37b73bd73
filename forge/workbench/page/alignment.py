"""How alike layers are: shaded tables, one measure at a time, and layers of like depth as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge.reports.drawing import GREY, drawn
from forge.reports.heat import Cell, heat, scale
from forge.reports.page import folded, heading, paragraph, table, text
from forge.reports.words import MINUS, decimal, ends, probability
from forge.workbench.findings import Alignment, Findings, Grid, Nearer, stack_name
from forge.workbench.page.models import Look, legend, looks, short

SIZE = 4.5, 3.1
MEASURES = (("cka", "CKA"), ("standardised", "CKA, every feature on one scale"), ("procrustes", "Procrustes"))
_HINT = "Point at a cell for its interval and what chance gives; arrow keys lead on from there."
_NOTE = (
    "1: one layer is the other, turned, moved and scaled; 0: nothing in common. Rows are layers of the reference, "
    "columns those of the other model, 0 the embeddings; underlined: layers of like depth, which the means are of. "
    "Shared inputs alone make most pairs differ from chance, so compare models with each other. A CKA that falls "
    "when every feature is put on one scale was made by a few outlying dimensions; Procrustes has a floor far above "
    "0 and also hears small ones."
)


def section(findings: Findings) -> list[str]:
    """Every stack, all models beside the reference."""
    stacks = list(dict.fromkeys(one.stack for one in findings.alignment))
    shown: list[str] = [heading("How alike they are inside", 2), paragraph(_NOTE, "note")] if stacks else []
    for number, stack in enumerate(stacks):
        found = [one for one in findings.alignment if one.stack == stack]
        nearer = [one for one in findings.nearer if one.stack == stack]
        if len(stacks) > 1:
            shown.append(heading(stack_name(stack).capitalize(), 3))
        shown += [_maps(found, looks(findings), f"measure{number}"), *_like_depth(findings, found, nearer)]
    return shown


def _maps(found: Sequence[Alignment], models: Mapping[str, Look], group: str) -> str:
    """Maps of all models under one switch, which works without a script."""
    asked = [(key, name) for key, name in MEASURES if any(_known(getattr(one, f"{key}_TS")) for one in found)]
    switch = "".join(
        f"<input type=radio name={group} id={group}{key} class=at-{key}{' checked' * (not number)}>"
        f"<label for={group}{key}>{text(name)}</label>"
        for number, (key, name) in enumerate(asked)
    )
    panels = "".join(
        f"<div class='maps in-{key}'>{''.join(_map(one, models, key, name) for one in found)}</div>"
        for key, name in asked
    )
    readout = f"<p class=readout role=status>{_HINT}</p>"
    return f"<fieldset class=switch><legend>Measure</legend>{switch}{readout}{panels}{scale('0', '1')}</fieldset>"


def _known(grid: Grid) -> bool:
    return any(value is not None for row in grid for value in row)


def _map(one: Alignment, models: Mapping[str, Look], measure: str, name: str) -> str:
    grid: Grid = getattr(one, f"{measure}_TS")
    reference, other = models[one.reference].name, models[one.other].name
    cells = [
        [Cell(_short(value), value, _told(one, measure, row, column)) for column, value in enumerate(values)]
        for row, values in enumerate(grid)
    ]
    marked = set(one.matched)
    down, across = _numbers(one.reference_layers), _numbers(one.other_layers)
    drawn_map = heat("", across, down, cells, f"{name}: layers of {reference} and of {other}", marked)
    return f"<figure><figcaption>{text(reference)} ↓ {text(other)} →</figcaption>{drawn_map}</figure>"


def _told(one: Alignment, measure: str, row: int, column: int) -> str:
    """All that is to say of a pair of layers."""
    pair = f"{one.reference_layers[row]} × {one.other_layers[column]}"
    value = decimal(getattr(one, f"{measure}_TS")[row][column], 3)
    if measure == "procrustes":
        floor = decimal(one.procrustes_floor_TS[row][column], 3)
        return f"{pair}: Procrustes {value}, by chance {floor}; {one.rows:,} rows"
    if measure == "standardised":
        return f"{pair}: {value} on one scale, {decimal(one.cka_TS[row][column], 3)} as it is; {one.rows:,} rows"
    null = f"by chance below {decimal(one.null.upper_TS[row][column], 3)}, p {probability(one.null.p_TS[row][column])}"
    return f"{pair}: CKA {value}, 95 % {_interval(one, row, column)}; {null}; {one.rows:,} rows"


def _interval(one: Alignment, row: int, column: int) -> str:
    return ends((one.low_TS[row][column], one.high_TS[row][column]), 3) if one.low_TS and one.high_TS else "–"


def _short(value: float | None) -> str:
    """.83 as small as it goes."""
    if value is None:
        return "–"
    told = f"{abs(value):.2f}"
    return (MINUS if value < 0 and float(told) else "") + (told[1:] if told[0] == "0" else told)


def _numbers(layers: Sequence[str]) -> list[str]:
    """Names of layers without what all of them begin with."""
    last = [name.replace(".", " ").split()[-1] for name in layers]
    return last if len(set(last)) == len(layers) else list(layers)


def _like_depth(findings: Findings, found: Sequence[Alignment], nearer: Sequence[Nearer]) -> list[str]:
    models = looks(findings)
    shown = [heading("Layers of like depth", 3)]
    if max(len(one.matched) for one in found) < 2:
        shown.append(means(found, models))
    else:
        note = "Bands: what other halves of these rows would have given. Dotted: 95 % of what chance gives."
        shown += [paragraph(note, "note"), curves(f"depth {found[0].stack}", found, models)]
    if nearer:
        shown.append(_nearer(nearer, models))
    return [*shown, folded("Every pair of layers", pairs(found, models))]


def curves(name: str, found: Sequence[Alignment], models: Mapping[str, Look]) -> str:
    """CKA of matched layers over the depth of the other model, and the largest that chance gives."""

    def draw(axis: Any) -> None:
        for one in found:
            look = models[one.other]
            depths = [column / max(1, len(one.other_layers) - 1) for _, column in one.matched]
            known = [
                (depth, one.cka_TS[row][column], one.low_TS[row][column], one.high_TS[row][column])
                for depth, (row, column) in zip(depths, one.matched, strict=True)
                if one.cka_TS[row][column] is not None
            ]
            if not known:
                continue
            at, values, low, high = zip(*known, strict=True)
            axis.plot(at, values, markersize=5, **look.style)
            if None not in low + high:
                axis.fill_between(at, low, high, color=look.colour, alpha=0.15, linewidth=0)
        highest = [one.null.upper_of_all for one in found if one.null.upper_of_all is not None]
        if highest:
            axis.axhline(max(highest), color=GREY, linestyle=":", linewidth=1.2)
        axis.set(
            xlabel="depth (1: last layer)",
            ylabel=f"CKA with {short(models[found[0].reference].name)}",
            xlim=(-0.02, 1.02),
        )
        axis.set_ylim(min(0.0, axis.get_ylim()[0]), max(1.0, axis.get_ylim()[1]))
        axis.grid(axis="y", alpha=0.3)
        legend(axis)

    told = f"CKA with {models[found[0].reference].name} of layers of like depth"
    return f"<div class=figures>{drawn(name, SIZE, draw, told, themed=True)}{means(found, models)}</div>"


def means(found: Sequence[Alignment], models: Mapping[str, Look]) -> str:
    """Mean CKA over layers of like depth."""
    rows = [[models[one.other].name, decimal(one.matched_mean, 3), len(one.matched), f"{one.rows:,}"] for one in found]
    return table(["", f"mean CKA with {models[found[0].reference].name}", "pairs", "rows"], rows)


def _nearer(found: Sequence[Nearer], models: Mapping[str, Look]) -> str:
    rows = [
        [
            models[one.model].name,
            models[one.than].name,
            decimal(one.mean.value, 3, True),
            ends(one.mean.interval, 3, True),
        ]
        for one in found
    ]
    return table(["who", "than", "CKA more, mean", "95 %"], rows)


def pairs(found: Sequence[Alignment], models: Mapping[str, Look]) -> str:
    """All figures of all pairs."""
    header = ["other model", "layers", "CKA", "95 %", "on one scale", "by chance below", "p", "Procrustes", "its floor"]
    rows = []
    for one in found:
        for row, reference in enumerate(one.reference_layers):
            for column, other in enumerate(one.other_layers):
                figures = [decimal(one.cka_TS[row][column], 3), _interval(one, row, column)]
                figures += [decimal(one.standardised_TS[row][column], 3), decimal(one.null.upper_TS[row][column], 3)]
                figures += [probability(one.null.p_TS[row][column]), decimal(one.procrustes_TS[row][column], 3)]
                figures.append(decimal(one.procrustes_floor_TS[row][column], 3))
                rows.append([models[one.other].name, f"{reference} × {other}", *figures])
    return table(header, rows)
