"""report.html: curves, figures and settings of one run in one file that opens offline."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from forge.core.io import storage_errors, write_atomic
from forge.core.manifest import average_of
from forge.runs.run_dir import METRICS, REPORT, RunDirectory
from forge.runs.samples import HEADER, shown_samples
from forge.runs.sinks import read_metrics

Records = Sequence[Mapping[str, Any]]
WEIGHTED, NORM = "weighted.", "grad_norm."  # begin the figures of single terms of the loss

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
td,th{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
svg{max-width:100%;height:auto}pre{background:#f5f5f5;padding:1rem;overflow:auto;font-size:.85rem}
.samples td{text-align:left;vertical-align:top;white-space:pre-wrap}
.verdict{font-size:1.1rem}.heat td{text-align:center}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}
td,th{border-color:#444}pre{background:#242424}svg{background:#fff;border-radius:4px}}
"""


def write_report(run: RunDirectory, state: Mapping[str, Any]) -> None:
    """Draw the report of a run that stands at `state` from its files."""
    records = read_metrics((run.path / METRICS).read_text(encoding="utf-8"))
    page = render(run.metadata(), state, records, shown_samples(run))
    with storage_errors(f"writing {REPORT}"):
        write_atomic(run.path / REPORT, page)


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
        f"<h1>{_text(metadata['name'])}</h1>",
        f"<p class=verdict>{_text(_verdict(state, evaluations, tests))}</p>",
        "<p>" + "<br>".join(_text(line) for line in metadata["header"]) + "</p>",
    ]
    if steps:
        body += ["<h2>Training</h2>", _curves(steps, evaluations, metadata)]
        if any(f"{WEIGHTED}{name}" in steps[0] for name in steps[0]):
            body += ["<h2>What the student learns from</h2>", _terms(steps)]
        if "reward" in steps[0]:
            body += ["<h2>Rewards</h2>", _rewards(steps)]
    for heading, rows in samples.items():
        body += [f"<h2>{_text(heading)}</h2>", _table(HEADER, rows, "samples")]
    last = {record["split"]: record for record in evaluations}
    for record in [*last.values(), *averages, *tests]:
        when = "with the average of checkpoints" if "checkpoint" in record else f"after step {record['step']}"
        body.append(f"<h2>{_text(record['split'])} {when}</h2>")
        body += _tables(record)
    lives = [[life["started"], life["ended"] or "", life["why"] or "running"] for life in metadata["lives"]]
    body += ["<h2>Lives of this run</h2>", _table(["started (UTC)", "ended", "why"], lives)]
    body += ["<h2>Settings</h2>", f"<pre>{_text(json.dumps(metadata['config'], indent=2, ensure_ascii=False))}</pre>"]
    title = _text(metadata["name"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{title}</title><style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )


def _verdict(state: Mapping[str, Any], evaluations: Records, tests: Records) -> str:
    best = state.get("best")
    if not best:
        return f"{state.get('status', 'running')} at step {state.get('step', 0)}"
    first = evaluations[0]["split"] if evaluations else "validation"
    text = f"{state.get('status')}: best {best['metric']} {best['value']:.4f} on {first}, at step {best['step']}"
    average = average_of(state)
    if average.get("of"):
        verdict = " is the result" if average["chosen"] else " is not better"
        text += f"; the average of {len(average['of'])} checkpoints, {average['value']:.4f},{verdict}"
    figures = [f"{record['split']} {record[best['metric']]:.4f}" for record in tests]
    text += f"; measured once on {', '.join(figures)}" if figures else ""
    if state.get("status") == "completed" and state.get("step") != state.get("total_steps"):
        text += f". Ended early: {state.get('reason', '')}"
    return text + (f". Mind: {state['remark']}" if state.get("remark") else "")


def _curves(steps: Records, evaluations: Records, metadata: Mapping[str, Any]) -> str:
    splits = sorted({record["split"] for record in evaluations})
    metric, teacher = metadata["config"]["evaluate"]["metric"], metadata.get("teacher", {})
    figure, axes = _three_axes()
    if metric in teacher:
        axes[1].axhline(teacher[metric], color="gray", linestyle="--", linewidth=1, label="teacher")
    shown = "task" if "task" in steps[0] else "loss"  # of a distillation loss, the term that validation has too
    axes[0].plot([r["step"] for r in steps], [r[shown] for r in steps], label="train")
    for split in splits:
        rows = [record for record in evaluations if record["split"] == split]
        axes[0].plot([r["step"] for r in rows], [r["loss"] for r in rows], "o-", markersize=3, label=split)
        axes[1].plot([r["step"] for r in rows], [r[metric] for r in rows], "o-", markersize=3, label=split)
    axes[2].plot([r["step"] for r in steps], [r["learning_rate"] for r in steps])
    return _drawn(figure, axes, ("loss (nats)", metric, "learning rate"))


def _terms(steps: Records) -> str:
    """Each term of a distillation loss: as it falls, as a part of the loss, and how hard it pulls."""
    figure, axes = _three_axes()
    names = [name for name in steps[0] if f"{WEIGHTED}{name}" in steps[0]]
    measured = [record for record in steps if f"{NORM}{names[0]}" in record]
    for name in names:
        first = abs(steps[0][name]) or 1.0
        axes[0].plot([r["step"] for r in steps], [r[name] / first for r in steps], label=name)
        axes[1].plot([r["step"] for r in steps], [r[f"{WEIGHTED}{name}"] for r in steps])
        axes[2].plot([r["step"] for r in measured], [r[f"{NORM}{name}"] for r in measured], "o-", markersize=3)
    return _drawn(figure, axes, ("each term, 1 at step 1", "its part in the loss", "norm of its weighted gradient"))


def _rewards(steps: Records) -> str:
    """What samples were worth, how much the model still hesitates, how long its texts are."""
    figure, axes = _three_axes()
    at = [r["step"] for r in steps]
    for name in (name for name in steps[0] if name == "reward" or name.startswith("reward.")):
        axes[0].plot(at, [r[name] for r in steps], label=name.removeprefix("reward."))
    axes[1].plot(at, [r["entropy"] for r in steps], label="entropy")
    if "kl" in steps[0]:
        axes[1].plot(at, [r["kl"] for r in steps], label="distance to the start")
    axes[2].plot(at, [r["length"] for r in steps])
    return _drawn(figure, axes, ("mean reward of samples", "nats a token", "tokens a sample"))


def _three_axes() -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "forge", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot as plt

    return plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")


def _drawn(figure: Any, axes: Any, titles: Sequence[str]) -> str:
    from matplotlib import pyplot as plt

    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return out.getvalue()[out.getvalue().index("<svg") :]


def _tables(record: Mapping[str, Any]) -> list[str]:
    figures = [name for name, value in record.items() if isinstance(value, float) and name != "epoch"]
    tables = [_table([*figures, "examples"], [[*(f"{record[name]:.4f}" for name in figures), record["examples"]]])]
    if "samples" in record:
        columns = list(next(iter(record["samples"]), {}))
        rows = [[sample[name] for name in columns] for sample in record["samples"]]
        return [*tables, _table(columns, rows, "samples")]
    rows = [
        [name, *(f"{row[column]:.3f}" for column in ("precision", "recall", "f1")), row["support"]]
        for name, row in record["per_class"].items()
    ]
    tables.append(_table(["class", "precision", "recall", "F1", "examples"], rows))
    header = ["true ↓ predicted →", *record["labels"]]
    return [*tables, _heat(header, record["labels"], record["confusion"])]


def _heat(header: Sequence[str], names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = max(1, sum(row))
        cells = [f"<td style='background:rgba(66,133,244,{count / total:.2f})'>{count}</td>" for count in row]
        rows.append(f"<tr><td>{_text(name)}</td>{''.join(cells)}</tr>")
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    return f"<table class=heat><tr>{head}</tr>{''.join(rows)}</table>"


def _table(header: Sequence[object], rows: Sequence[Sequence[object]], kind: str = "") -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table{f' class={kind}' if kind else ''}><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
