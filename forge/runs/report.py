"""report.html: curves, figures and settings of one run in one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from forge.core.io import storage_errors, write_atomic
from forge.core.manifest import average_of
from forge.reports import drawing
from forge.reports import heat as shades
from forge.reports.drawing import GREY, drawn
from forge.reports.page import figures, folded, heading, page, paragraph, table, text
from forge.runs.run_dir import METRICS, REPORT, RunDirectory
from forge.runs.samples import HEADER, shown_samples
from forge.runs.sinks import read_metrics

Records = Sequence[Mapping[str, Any]]
WEIGHTED, NORM = "weighted.", "grad_norm."  # begin the figures of single terms of the loss
PANEL = 3.4, 2.9  # inches, a picture

STYLE = (
    "pre{background:#f5f5f5;padding:1rem;overflow:auto;font-size:.85rem}"
    ".samples td{text-align:left;vertical-align:top;white-space:pre-wrap;min-width:8rem}"
    "p{overflow-wrap:anywhere}@media(prefers-color-scheme:dark){pre{background:#242424}}"
)


def write_report(run: RunDirectory, state: Mapping[str, Any]) -> None:
    """Draw the report of a run that stands at `state` from its files."""
    records = read_metrics((run.path / METRICS).read_text(encoding="utf-8"))
    drawn_page = render(run.metadata(), state, records, shown_samples(run))
    with storage_errors(f"writing {REPORT}"):
        write_atomic(run.path / REPORT, drawn_page)


def render(
    metadata: Mapping[str, Any],
    state: Mapping[str, Any],
    records: Records,
    samples: Mapping[str, Sequence[Sequence[str]]] = MappingProxyType({}),
) -> str:
    """The report as one HTML page; `samples` are tables of what was sampled, by their headings."""
    steps = [record for record in records if record["kind"] == "step"]
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    averages = [record for record in records if record["kind"] == "average"]
    tests = [record for record in records if record["kind"] == "test"]
    body = [
        heading(metadata["name"], 1),
        paragraph(_verdict(state, evaluations, tests), "verdict"),
        "<p>" + "<br>".join(text(line) for line in metadata["header"]) + "</p>",
    ]
    if steps:
        body += [heading("Training", 2), figures(_curves(steps, evaluations, metadata))]
        if any(f"{WEIGHTED}{name}" in steps[0] for name in steps[0]):
            body += [heading("What the student learns from", 2), figures(_terms(steps))]
        if "reward" in steps[0]:
            body += [heading("Rewards", 2), figures(_rewards(steps))]
    for title, rows in samples.items():
        body += [heading(title, 2), _samples(HEADER, rows)]
    last = {record["split"]: record for record in evaluations}
    for record in [*last.values(), *averages, *tests]:
        when = "with the average of checkpoints" if "checkpoint" in record else f"after step {record['step']}"
        body += [heading(f"{record['split']} {when}", 2), *_tables(record)]
    lives = [[life["started"], life["ended"] or "", life["why"] or "running"] for life in metadata["lives"]]
    body += [heading("Lives of this run", 2), table(["started (UTC)", "ended", "why"], lives)]
    settings = json.dumps(metadata["config"], indent=2, ensure_ascii=False)
    body += [heading("Settings", 2), folded("All settings of this run", f"<pre>{text(settings)}</pre>")]
    return page(metadata["name"], body, shades.STYLE + drawing.STYLE + STYLE)


def _verdict(state: Mapping[str, Any], evaluations: Records, tests: Records) -> str:
    best = state.get("best")
    if not best:
        return f"{state.get('status', 'running')} at step {state.get('step', 0)}"
    first = evaluations[0]["split"] if evaluations else "validation"
    told = f"{state.get('status')}: best {best['metric']} {best['value']:.4f} on {first}, at step {best['step']}"
    average = average_of(state)
    if average.get("of"):
        verdict = " is the result" if average["chosen"] else " is not better"
        told += f"; the average of {len(average['of'])} checkpoints, {average['value']:.4f},{verdict}"
    measured = [f"{record['split']} {record[best['metric']]:.4f}" for record in tests]
    told += f"; measured once on {', '.join(measured)}" if measured else ""
    if state.get("status") == "completed" and state.get("step") != state.get("total_steps"):
        told += f". Ended early: {state.get('reason', '')}"
    return told + (f". Mind: {state['remark']}" if state.get("remark") else "")


def _curves(steps: Records, evaluations: Records, metadata: Mapping[str, Any]) -> list[str]:
    splits = {
        record["split"]: [one for one in evaluations if one["split"] == record["split"]] for record in evaluations
    }
    metric, teacher = metadata["config"]["evaluate"]["metric"], metadata.get("teacher", {})
    shown = "task" if "task" in steps[0] else "loss"  # of a distillation loss, the term that validation has too

    def losses(axis: Any) -> None:
        _line(axis, steps, shown, label="train")
        for split, records in splits.items():
            _line(axis, records, "loss", "o-", label=split)

    def figure(axis: Any) -> None:
        if metric in teacher:
            axis.axhline(teacher[metric], color=GREY, linestyle="--", linewidth=1, label="teacher")
        for number, (split, records) in enumerate(splits.items(), 1):
            _line(axis, records, metric, "o-", color=f"C{number}", label=split)

    drawings = [_over_steps("loss (nats)", losses)]
    if splits:
        drawings.append(_over_steps(metric, figure))
    return [*drawings, _over_steps("learning rate", lambda axis: _line(axis, steps, "learning_rate"))]


def _terms(steps: Records) -> list[str]:
    """Each term of a distillation loss: as it falls, as a part of the loss, and how hard it pulls."""
    names = [name for name in steps[0] if f"{WEIGHTED}{name}" in steps[0]]
    measured = [record for record in steps if f"{NORM}{names[0]}" in record]

    def falls(axis: Any) -> None:
        for name in names:
            first = abs(steps[0][name]) or 1.0
            axis.plot([r["step"] for r in steps], [r[name] / first for r in steps], label=name)

    def parts(axis: Any) -> None:
        for name in names:
            _line(axis, steps, f"{WEIGHTED}{name}", label=name)

    def norms(axis: Any) -> None:
        for name in names:
            _line(axis, measured, f"{NORM}{name}", "o-", label=name)

    drawings = [_over_steps("each term, 1 at step 1", falls), _over_steps("its part in the loss", parts)]
    return [*drawings, *([_over_steps("norm of its weighted gradient", norms)] if measured else [])]


def _rewards(steps: Records) -> list[str]:
    """What samples were worth, how much the model still hesitates, how long its texts are."""

    def worth(axis: Any) -> None:
        for name in (name for name in steps[0] if name == "reward" or name.startswith("reward.")):
            _line(axis, steps, name, label=name.removeprefix("reward."))

    def hesitates(axis: Any) -> None:
        _line(axis, steps, "entropy", label="entropy")
        if "kl" in steps[0]:
            _line(axis, steps, "kl", label="distance to the start")

    return [
        _over_steps("mean reward of samples", worth),
        _over_steps("nats a token", hesitates),
        _over_steps("tokens a sample", lambda axis: _line(axis, steps, "length")),
    ]


def _line(axis: Any, records: Records, name: str, look: str = "-", **style: Any) -> None:
    axis.plot([r["step"] for r in records], [r[name] for r in records], look, markersize=3, **style)


def _over_steps(title: str, draw: Callable[[Any], None]) -> str:
    def whole(axis: Any) -> None:
        draw(axis)
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")

    return drawn(title, PANEL, whole, f"{title} over steps", themed=True)


def _tables(record: Mapping[str, Any]) -> list[str]:
    names = [name for name, value in record.items() if isinstance(value, float) and name != "epoch"]
    tables = [table([*names, "examples"], [[*(f"{record[name]:.4f}" for name in names), record["examples"]]])]
    if "samples" in record:
        columns = list(next(iter(record["samples"]), {}))
        return [*tables, _samples(columns, [[sample[name] for name in columns] for sample in record["samples"]])]
    rows = [
        [name, *(f"{row[column]:.3f}" for column in ("precision", "recall", "f1")), row["support"]]
        for name, row in record["per_class"].items()
    ]
    tables.append(table(["class", "precision", "recall", "F1", "examples"], rows))
    cells = [[shades.Cell(str(count), count / max(1, sum(row))) for count in row] for row in record["confusion"]]
    told = "How often each class was taken for each"
    return [*tables, shades.heat("true ↓ predicted →", record["labels"], record["labels"], cells, told)]


def _samples(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return f"<div class=samples>{table(header, rows)}</div>"
