"""Draw docs/images/first_run.svg: the terminal panel, fed with what a real run left in its directory.

python forge.py --config configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml
python docs/images/make_images.py runs/classification/embedded_nli/tiny_distilbert/00_sft/latest
"""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from forge.core.events import Evaluated, Event, Finished, Notice, Started, StepLogged
from forge.runs.console import LiveConsole
from forge.runs.sinks import read_metrics

OUT = Path(__file__).parent / "first_run.svg"
WIDTH = 112
COUNTERS = {"kind", "step", "epoch", "samples_seen", "tokens_seen", "time"}
DETAIL = {"labels", "per_class", "confusion", "examples"}


def events(run: Path) -> Iterator[Event]:
    """The events of a finished run, read back from its files."""
    metadata = json.loads((run / "run_metadata.json").read_text(encoding="utf-8"))
    state = json.loads((run / "training_state.json").read_text(encoding="utf-8"))
    records = read_metrics((run / "metrics.jsonl").read_text(encoding="utf-8"))
    yield from (Notice(line) for line in metadata["header"])
    yield Started(0, state["total_steps"], str(run))
    yield from (_event(record) for record in records)
    yield Finished(state["step"], state["reason"], _seconds(records))


def _event(record: dict[str, Any]) -> Event:
    if record["kind"] == "step":
        figures = {name: value for name, value in record.items() if name not in COUNTERS}
        counts = record["samples_seen"], record["tokens_seen"]
        return StepLogged(record["step"], record["epoch"], figures, *counts, record["time"])
    figures = {name: value for name, value in record.items() if name not in COUNTERS | DETAIL | {"split"}}
    detail = {name: record[name] for name in DETAIL}
    return Evaluated(record["step"], record["split"], figures, detail, record["time"]["seconds"])


def _seconds(records: list[dict[str, Any]]) -> float:
    """How long the run took: its steps and its evaluations."""
    seconds, before = 0.0, 0
    for record in records:
        if record["kind"] == "step":
            seconds += record["time"]["seconds_per_step"] * (record["step"] - before)
            before = record["step"]
        else:
            seconds += record["time"]["seconds"]
    return seconds


def draw(run: Path) -> str:
    """The terminal as SVG, without the web font that rich would load."""
    recorder = Console(record=True, force_terminal=True, width=WIDTH, file=io.StringIO())
    console = LiveConsole(recorder)
    for event in events(run):
        console(event)
        if isinstance(event, Finished):
            console._begun = time.monotonic() - event.seconds
    recorder.print(console._panel())
    command = "python forge.py --config configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml"
    svg = recorder.export_svg(title=command, theme=SVG_EXPORT_THEME, unique_id="forge")
    return re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_images.py RUN_DIRECTORY")
    OUT.write_text(draw(Path(sys.argv[1])), encoding="utf-8")
