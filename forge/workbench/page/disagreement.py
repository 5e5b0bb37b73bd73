"""Where answers part: who says what, confidence, texts, kinds of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge.reports.drawing import GREY, SERIES, THEME, drawn
from forge.reports.heat import Cell, heat
from forge.reports.page import folded, heading, paragraph, table, text
from forge.reports.words import probability
from forge.workbench.findings import ClassDisagreement, Dynamics, Findings, ModelCalibration, SliceRow, TextDisagreement
from forge.workbench.page.models import Look, both, legend, looks, percent, percents, short

SIZE = 4.5, 3.2
FOUND = 0.05
MOST_CLASSES = 20  # of a table of answers that is still looked at


def section(findings: Findings) -> list[str]:
    """All of it."""
    models, parted = looks(findings), findings.disagreement
    shown = []
    if parted.classes:
        shown += [*_answers(parted.classes, models, findings.rows.labels), *_calibration(parted.calibration, models)]
    if parted.texts:
        shown += _texts(parted.texts, models)
    both_kinds: list[ClassDisagreement | TextDisagreement] = [*parted.classes, *parted.texts]
    return shown + _slices([one for one in both_kinds if one.slices], models, parted.dynamics)


def _answers(found: Sequence[ClassDisagreement], models: Mapping[str, Look], labels: Sequence[str]) -> list[str]:
    reference = models[found[0].reference].name
    note = (
        f"How often each answer of {reference} met each answer of another model, shaded by its share of the row; "
        "on the diagonal both say the same."
    )
    shown = [heading("Who says what", 2), paragraph(note, "note")]
    if len(labels) <= MOST_CLASSES:
        shown.append(f"<div class=maps>{''.join(_confusion(one, models, labels) for one in found)}</div>")
    return [*shown, _outcomes(found, models)]


def _confusion(one: ClassDisagreement, models: Mapping[str, Look], labels: Sequence[str]) -> str:
    names = models[one.reference].name, models[one.other].name
    cells = [
        [
            Cell(
                f"{count:,}",
                count / max(1, sum(counts)),
                _met(names, (labels[row], labels[column]), count, sum(counts)),
            )
            for column, count in enumerate(counts)
        ]
        for row, counts in enumerate(one.answers_CC)
    ]
    told = f"Answers of {names[0]} by row and of {names[1]} by column"
    drawing = heat("", labels, labels, cells, told)
    return f"<figure><figcaption>{text(names[0])} ↓ {text(names[1])} →</figcaption>{drawing}</figure>"


def _met(names: tuple[str, str], said: tuple[str, str], count: int, total: int) -> str:
    share = percent(count / max(1, total))
    return f"{names[0]} {said[0]}, {names[1]} {said[1]}: {count:,}, {share} % of the row"


def _outcomes(found: Sequence[ClassDisagreement], models: Mapping[str, Look]) -> str:
    header = ["model", "both right", "only reference right", "only it right", "both wrong, same", "both wrong, apart",
              "errors shared, %"]  # fmt: skip
    rows = [
        [models[one.other].name, *(f"{count:,}" for count in (one.both_right, one.reference_only_right,
         one.other_only_right, one.both_wrong_alike, one.both_wrong_apart)), percent(one.error_overlap)]
        for one in found
    ]  # fmt: skip
    return table(header, rows)


def _calibration(found: Sequence[ModelCalibration], models: Mapping[str, Look]) -> list[str]:
    if not found:
        return []
    note = (
        "Mean confidence and accuracy of rows of like confidence; on the line a model is as often right as it says. "
        "The floor is the error that a perfectly calibrated model shows on as many rows."
    )
    header = [
        "model",
        "calibration error, points",
        "floor",
        "beyond it",
        "p",
        "confidence, %",
        "accuracy, %",
    ]
    rows = [
        [models[one.model].name, both(one.ece), percent(one.floor), percent(one.excess, True), probability(one.p),
         percent(one.confidence), percent(one.accuracy)]
        for one in found
    ]  # fmt: skip
    bins = [
        [models[one.model].name, f"{part.rows:,}", percent(part.confidence), percent(part.accuracy)]
        for one in found
        for part in one.bins
    ]
    return [
        heading("Whether they know when they are wrong", 2),
        paragraph(note, "note"),
        f"<div class=figures>{_reliability(found, models)}</div>",
        table(header, rows),
        folded("The points", table(["model", "rows", "confidence, %", "accuracy, %"], bins)),
    ]


def _reliability(found: Sequence[ModelCalibration], models: Mapping[str, Look]) -> str:
    def draw(axis: Any) -> None:
        points = [100 * end for one in found for part in one.bins for end in (part.confidence, part.accuracy)]
        low = max(0.0, min(points, default=0.0) - 4)
        axis.plot([low, 100], [low, 100], color=GREY, linewidth=1, linestyle=":")
        for one in found:
            confidence, accuracy = (
                [100 * getattr(part, end) for part in one.bins] for end in ("confidence", "accuracy")
            )
            axis.plot(confidence, accuracy, markersize=4, linewidth=1.2, **models[one.model].style)
        axis.set(xlabel="confidence, %", ylabel="accuracy, %", xlim=(low, 102), ylim=(low, 102))
        axis.grid(alpha=0.3)
        legend(axis)

    return drawn("calibration", SIZE, draw, "Accuracy by confidence", themed=True)


def _texts(found: Sequence[TextDisagreement], models: Mapping[str, Look]) -> list[str]:
    reference = models[found[0].reference].name
    note = (
        f"Share of texts that are still those of {reference}, word for word, after a share of their length; at the "
        "right end those that are the same throughout. What follows a first difference says nothing more: from "
        "there on the two read different texts."
    )
    header = ["model", "same throughout, %", "half of all texts part by, % of length"]
    rows = [[models[one.other].name, percent(one.exact), percent(one.median_divergence)] for one in found]
    points = [
        [f"{100 * at:.0f}", *(percent(one.survival[n][1]) for one in found)]
        for n, (at, _) in enumerate(found[0].survival)
    ]
    return [
        heading("Where texts part", 2),
        paragraph(note, "note"),
        f"<div class=figures>{survival('survival', found, models)}{table(header, rows)}</div>",
        folded("The curve", table(["length, %", *(models[one.other].name for one in found)], points)),
    ]


def survival(name: str, found: Sequence[TextDisagreement], models: Mapping[str, Look]) -> str:
    """Share of texts that have not parted, over their length."""

    def draw(axis: Any) -> None:
        for one in found:
            at, left = zip(*one.survival, strict=True)
            style = {**models[one.other].style, "marker": ""}
            axis.plot([100 * x for x in at], [100 * y for y in left], drawstyle="steps-post", linewidth=1.8, **style)
        axis.set(xlabel="share of the length, %", ylabel="texts still the same, %", xlim=(0, 100), ylim=(0, 102))
        axis.grid(alpha=0.3)
        legend(axis)

    return drawn(name, SIZE, draw, f"Share of texts still those of {models[found[0].reference].name}", themed=True)


def _slices(
    found: Sequence[ClassDisagreement | TextDisagreement], models: Mapping[str, Look], dynamics: Sequence[Dynamics]
) -> list[str]:
    if not found:
        return []
    note = (
        "Agreement on one kind of example against all others. Filled: p below 0.05 after correction for all kinds of "
        "that model (Holm); kinds with few rows have no p. Kinds overlap and are no causes."
    )
    shown = [heading("Kinds of examples", 2), paragraph(note, "note")]
    shown += [paragraph(_course(one, models), "note") for one in dynamics]
    for number, one in enumerate(found):
        name = models[one.other].name
        part = [
            f"<div class=figures>{forest(f'kinds {number}', one, models)}</div>",
            _kinds(one.slices),
        ]
        shown += [heading(name, 3), *part] if number == 0 else [folded(f"Kinds of examples of {name}", "".join(part))]
    return shown


def _course(one: Dynamics, models: Mapping[str, Look]) -> str:
    """How rows came to be easy, ambiguous or hard."""
    steps = f"{', '.join(f'{step:,}' for step in one.steps[:-1])} and {one.steps[-1]:,}"
    name = models[one.model].name
    return (
        f"Training dynamics are those of {name}: how probable the true class of each of these rows was to it after "
        f"{steps} steps. The third of the rows where that varied the most is ambiguous, which rows that were learned "
        "in between can be too; of the others, the half with the higher mean is easy to learn, the other half hard. "
        f"Agreement of {name} itself has no p there, since its own answers made these kinds."
    )


def forest(name: str, one: ClassDisagreement | TextDisagreement, models: Mapping[str, Look]) -> str:
    """Agreement on each kind with its interval, and over all."""
    rows, reference = one.slices[::-1], models[one.reference].name
    overall = one.agreement if isinstance(one, ClassDisagreement) else one.on_gold

    def draw(axis: Any) -> None:
        if overall and overall.value is not None:
            axis.axvline(100 * overall.value, color=GREY, linestyle=":", linewidth=1.2)
        for at, row in enumerate(rows):
            if row.agreement.value is None:
                continue
            found = row.p_holm is not None and row.p_holm < FOUND
            colour = GREY if row.p is None else SERIES[1] if found else THEME
            low, high = row.agreement.interval or (None, None)
            if low is not None and high is not None:
                axis.plot([100 * low, 100 * high], [at, at], color=colour, linewidth=1.5)
            axis.plot(
                100 * row.agreement.value, at, "D", color=colour, markersize=5.5, fillstyle="full" if found else "none"
            )
        axis.set_yticks(range(len(rows)), [short(f"{row.axis}: {row.kind}", 34) for row in rows])
        axis.set(xlabel=f"agreement with {short(reference)}, %", ylim=(-0.6, len(rows) - 0.4))
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)

    size = SIZE[0], 0.9 + 0.27 * len(rows)
    return drawn(name, size, draw, f"Agreement of {models[one.other].name} with {reference} by kind", themed=True)


def _kinds(rows: Sequence[SliceRow]) -> str:
    header = ["kind", "rows", "agreement, %", "95 %", "elsewhere, %", "p", "p (Holm)"]
    quality = any(row.other_quality for row in rows)
    body = []
    for row in rows:
        figures = [percent(row.agreement), percents(row.agreement), percent(row.elsewhere), probability(row.p)]
        right = [percent(row.reference_quality), percent(row.other_quality)] if quality else []
        body.append([f"{row.axis}: {row.kind}", f"{row.rows:,}", *figures, probability(row.p_holm), *right])
    header += ["reference right, %", "it right, %"] if quality else []
    return table(header, body, [row.p_holm is not None and row.p_holm < FOUND for row in rows])
