"""What can be read from each layer, by model, beside what words alone give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forge.reports.drawing import GREY, SERIES, drawn
from forge.reports.page import folded, heading, paragraph, table
from forge.reports.words import decimal
from forge.workbench.findings import Curve, Figure, Findings, Probing, stack_name
from forge.workbench.page.models import Look, both, legend, looks, percent, percents

SIZE = 4.5, 3.4
LEAST_SPLITS = 3  # of bands: Student's t with one degree of freedom reaches over the whole picture
_WORDS = SERIES[4]
_NOTE = (
    "A linear classifier is trained to read a label from the frozen features of one layer. It shows what can be "
    "read, not what the model uses. Bands: what other splits of these rows would have given. Compare models by the "
    "table of differences, made on the same splits, not by whether bands touch."
)


def section(findings: Findings) -> list[str]:
    """Every label of every stack."""
    if not findings.probing:
        return []
    shown = [heading("What can be read from each layer", 2), paragraph(_NOTE, "note")]
    for one in findings.probing:
        shown += _probing(one, looks(findings))
    return shown


def _probing(told: Probing, models: Mapping[str, Look]) -> list[str]:
    train, validation, test = told.parts
    rows = (
        f"{told.splits} splits of {told.rows:,} rows: {train:,} to train, {validation:,} to choose, {test:,} to test."
    )
    few = " Two splits say too little for bands." if told.splits < LEAST_SPLITS else ""
    shown = [
        heading(f"{told.label[:1].upper()}{told.label[1:]}, {stack_name(told.stack)}", 3),
        paragraph(f"{told.about} {rows}{few}", "note"),
        f"<div class=figures>{curve(f'{told.stack} {told.label}', told, models)}{_levels(told, models)}</div>",
    ]
    if told.differences:
        shown.append(folded("Differences on the same splits, points", _differences(told, models)))
    return [*shown, folded("Every layer", layers(told, models))]


def curve(name: str, told: Probing, models: Mapping[str, Look]) -> str:
    """Accuracy of all models over depth, words alone and the largest class as lines across."""

    def draw(axis: Any) -> None:
        for one in told.curves:
            _line(axis, one, models[one.model], told.splits >= LEAST_SPLITS)
        if told.bag_of_words and told.bag_of_words.value is not None:
            axis.axhline(
                100 * told.bag_of_words.value, color=_WORDS, linestyle="-.", linewidth=1.5, label="words alone"
            )
            if (reach := _reach(told.bag_of_words)) is not None and told.splits >= LEAST_SPLITS:
                axis.axhspan(*reach, color=_WORDS, alpha=0.12, linewidth=0)
        axis.axhline(100 * told.majority, color=GREY, linestyle=":", linewidth=1.2, label="largest class")
        axis.set(xlabel="depth (0: embeddings, 1: last layer)", ylabel="accuracy, %", xlim=(-0.03, 1.03))
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, 0), min(high, 101))
        axis.grid(axis="y", alpha=0.3)
        legend(axis)

    return drawn(
        name, SIZE, draw, f"Accuracy of probes for {told.label} by layer of the {stack_name(told.stack)}", themed=True
    )


def _line(axis: Any, one: Curve, look: Look, band: bool) -> None:
    known = [(at, point.accuracy) for at, point in enumerate(one.layers) if point.accuracy.value is not None]
    if not known:
        return
    depths = [at / max(1, len(one.layers) - 1) for at, _ in known]
    axis.plot(depths, [100 * (figure.value or 0.0) for _, figure in known], markersize=5, **look.style)
    reaches = [_reach(figure) for _, figure in known]
    if band and all(reach is not None for reach in reaches):
        low, high = zip(*(reach for reach in reaches if reach), strict=True)
        axis.fill_between(depths, low, high, color=look.colour, alpha=0.12, linewidth=0)


def _reach(figure: Figure) -> tuple[float, float] | None:
    low, high = figure.interval or (None, None)
    return None if low is None or high is None else (100 * low, 100 * high)


def _levels(told: Probing, models: Mapping[str, Look]) -> str:
    """The best layer of each model and the last one, and what they are compared with."""
    rows = []
    for one in told.curves:
        best = max(one.layers, key=lambda point: point.accuracy.value or 0.0)
        rows.append([models[one.model].name, both(best.accuracy), best.layer, both(one.layers[-1].accuracy)])
    if told.bag_of_words:
        rows.append(["words alone", both(told.bag_of_words), "–", "–"])
    rows.append(["largest class", percent(told.majority), "–", "–"])
    return table(["", "best layer, %", "which", "last layer, %"], rows)


def _differences(told: Probing, models: Mapping[str, Look]) -> str:
    rows = [
        [f"{models[one.model].name} less {models[one.than].name}", at, both(figure, True)]
        for one in told.differences
        for at, figure in enumerate(one.layers)
    ]
    return table(["", "layer", "points"], rows)


def layers(told: Probing, models: Mapping[str, Look]) -> str:
    """All figures of all layers."""
    header = ["model", "layer", "accuracy, %", "95 %", "on training rows, %", "selectivity, points", "compression, ×"]
    rows = [
        [models[one.model].name, point.layer, percent(point.accuracy), percents(point.accuracy),
         percent(point.train_accuracy), both(point.selectivity, True), decimal(point.compression)]
        for one in told.curves
        for point in one.layers
    ]  # fmt: skip
    return table(header, rows)
