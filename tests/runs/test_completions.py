"""completions.jsonl over lives that end anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.core.events import Sampled, Started
from forge.runs.completions import CompletionsLog, read_completions
from forge.runs.run_dir import COMPLETIONS, RunDirectory
from forge.runs.samples import shown_samples


def group(prompt: str, *rewards: float | None) -> dict[str, Any]:
    samples = [{"text": f"text {reward}", "reward": reward} for reward in rewards]
    return {"prompt": prompt, "reference": "r\u2028s", "samples": samples}


def test_a_rollout_is_there_once_however_the_life_before_ended(tmp_path: Path) -> None:
    log, path = CompletionsLog(RunDirectory(tmp_path)), tmp_path / COMPLETIONS
    log(Started(0, 9, "x"))
    for step in (1, 3, 5):
        log(Sampled(step, [group("a", 0.1), group("b", 0.2)]))
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"step": 7, "prom')  # killed while it wrote
    log(Started(5, 9, "x"))
    assert path.read_bytes() == whole
    log(Started(4, 9, "x"))  # the checkpoint is older than the last rollout
    assert [record["step"] for record in read_completions(path)] == [1, 1, 3, 3]
    log(Sampled(5, [group("a", 0.1), group("b", 0.2)]))
    assert path.read_bytes() == whole
    log(Started(0, 9, "x"))
    assert path.read_bytes() == b""


def test_the_report_shows_where_samples_differ_most(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert shown_samples(run) == {}
    log = CompletionsLog(run)
    log(Sampled(1, [group("narrow", 0.4, 0.5), group("wide", 0.9, None, 0.1), group("unknown", None)]))
    log(Sampled(2, [group("one", 0.4, 0.5)]))
    tables = shown_samples(run)
    assert list(tables) == ["Samples before step 1", "Samples before step 2"]
    first = tables["Samples before step 1"]
    assert [row[0] for row in first] == ["wide", "narrow"]
    assert first[0][2:] == ["text 0.9", "0.900", "text 0.1", "0.100"]
