"""What a study's workers save: its wall time against that of its cells, run one by one from the command line.

`python -m bench.study` takes some minutes. Both sides prepare for themselves (teacher, weights, teacher cache) and then do
the same twelve cells: one with `study run`, whose two workers fork each cell from a process with all imports behind it; the
other with a process for each cell, `study run --index I`, one after the other. `--workers 1` shows what the imports alone
are worth.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import write_table

ROOT = Path(__file__).parent.parent
STUDY = """
base: {root}/configs/classification/embedded_nli/tiny_distilbert/_kd.yaml
teacher:
  config: {root}/configs/classification/embedded_nli/tiny_bert/00_teacher.yaml
  set: {{train: {{max_steps: 200}}, evaluate: {{every: null}}, data: {{embedded: {{train_size: 2000}}}}}}
always:
  data: {{validation: validation, embedded: {{train_size: 2000}}}}
  train: {{max_steps: {steps}}}
  evaluate: {{every: null}}
  distill: {{cache: {{mode: "on"}}}}
  run: {{dir: {folder}/runs}}
factors:
  attention: {{off: {{}}, attention_kl: {{distill: {{attention_kl: {{weight: 1.0, layers: uniform}}}}}}}}
  response: {{off: {{}}, forward_kl: {{distill: {{forward_kl: {{weight: 1.0}}}}}}}}
match_gradients: true
seeds: [1, 2, 3]
outcome: {{figure: accuracy}}
smallest_effect: 1.0
"""
CELLS = 12


def timed(*words: str) -> float:
    began = time.perf_counter()
    command = [sys.executable, "forge.py", "study", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    return time.perf_counter() - began


def written(folder: Path, steps: int) -> str:
    folder.mkdir()
    path = folder / "small.yaml"
    path.write_text(STUDY.format(root=ROOT, folder=folder, steps=steps), encoding="utf-8")
    return str(path)


def one_by_one(study: str) -> tuple[float, float]:
    """Seconds to prepare, and of all cells."""
    prepared = timed("run", "--prepare", "--workers", "1", "--config", study)
    from forge.study.plan import load_plan
    from forge.study.submit import freeze

    plan = load_plan(study)
    jobs = freeze(plan, plan.study.seeds)
    assert len(jobs) == CELLS
    return prepared, sum(timed("run", "--index", str(index), "--config", study) for index in range(CELLS))


def cpu(study: str) -> float:
    folder = Path(study).parent / "runs/studies/small/results"
    return sum(json.loads(path.read_text())["cpu_seconds"] for path in folder.glob("*.json"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", default="2")
    parser.add_argument("--steps", type=int, default=200)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = (written(Path(folder) / name, chosen.steps) for name in ("study", "cells"))
        whole = timed("run", "--workers", chosen.workers, "--config", ours)
        prepared, cells = one_by_one(theirs)
        lines = [
            "| | seconds on the wall | CPU s of the cells after imports |",
            "|---|---|---|",
            f"| study, {chosen.workers} workers | {whole:.0f} | {cpu(ours):.0f} |",
            f"| {CELLS} cells one by one | {prepared + cells:.0f} (prepared in {prepared:.0f}) | {cpu(theirs):.0f} |",
            f"| ratio | {whole / (prepared + cells):.2f} | {cpu(ours) / cpu(theirs):.2f} |",
        ]
    told = f"{chosen.steps} steps a cell on embedded sentence pairs; each side once."
    write_table(
        "study", "A study against its cells, one by one", "\n".join([*lines, "", told]), "python -m bench.study"
    )


if __name__ == "__main__":
    main()
