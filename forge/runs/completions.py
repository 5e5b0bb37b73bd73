"""completions.jsonl: what the model wrote in a run that learns from rewards, and what it was worth.

One record a rollout and prompt: step, prompt (or `page`, its name), reference, and for each sample its text, the reward
of each part, the whole reward and the advantage.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from forge.core.events import Event, Sampled, Started
from forge.core.io import from_json, storage_errors
from forge.runs.run_dir import COMPLETIONS, RunDirectory


class CompletionsLog:
    """Each rollout once, however often the run was killed: a life that starts again at step N drops what came after,
    which is about to come again.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._path = run.path / COMPLETIONS

    def __call__(self, event: Event) -> None:
        """Append the rollout's records."""
        match event:
            case Started(step=step):
                self._keep_up_to(step)
            case Sampled(step=step, groups=groups):
                lines = [json.dumps({"step": step, **group}, ensure_ascii=False) + "\n" for group in groups]
                with storage_errors(f"writing {COMPLETIONS}"), self._path.open("ab") as file:
                    file.write("".join(lines).encode())

    def _keep_up_to(self, step: int) -> None:
        if not self._path.is_file():
            return
        with storage_errors(f"writing {COMPLETIONS}"), self._path.open("rb+") as file:
            end = 0
            for line in file:
                if _step_of(line) > step:
                    break
                end += len(line)
            file.truncate(end)
            os.fsync(file.fileno())


def read_completions(path: Path, step: int | None = None) -> list[dict[str, Any]]:
    """The records, or those of one step; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        lines = [line for line in file if line.endswith(b"\n")]
    records: list[dict[str, Any]] = [from_json(line) for line in lines]
    return records if step is None else [record for record in records if record["step"] == step]


def _step_of(line: bytes) -> float:
    """Of a record; of a line that is none, later than any."""
    try:
        return float(from_json(line)["step"]) if line.endswith(b"\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")
