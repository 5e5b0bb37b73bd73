"""The best and the worst of what a model sampled, for the report of a run that learns from rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge.runs.completions import read_completions
from forge.runs.run_dir import COMPLETIONS, RunDirectory

SHOWN = 5  # prompts
HEADER = ("prompt or page", "reference", "best sample", "reward", "worst sample", "reward")


def shown_samples(run: RunDirectory) -> dict[str, list[list[str]]]:
    """Tables of the first and the last rollout by what to call them, prompts whose samples differ most first."""
    records = read_completions(run.path / COMPLETIONS)
    if not records:
        return {}
    first, last = records[0]["step"], records[-1]["step"]
    return {
        f"Samples before step {step}": _rows([record for record in records if record["step"] == step])
        for step in dict.fromkeys((first, last))
    }


def _rows(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows: list[tuple[float, list[str]]] = []
    for record in records:
        scored = [sample for sample in record["samples"] if sample["reward"] is not None]
        if not scored:
            continue
        best, worst = (pick(scored, key=lambda sample: float(sample["reward"])) for pick in (max, min))
        cells = [record.get("page") or record.get("prompt") or "", record["reference"] or ""]
        cells += [best["text"], f"{best['reward']:.3f}", worst["text"], f"{worst['reward']:.3f}"]
        rows.append((worst["reward"] - best["reward"], cells))
    return [cells for _, cells in sorted(rows, key=lambda row: row[0])[:SHOWN]]
