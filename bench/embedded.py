"""Five seeds of the embedded teacher and student: test accuracy, and CPU seconds of the whole command."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.machine import write_table

ROOT = Path(__file__).parent.parent
CONFIGS = {
    "teacher, tiny BERT": "configs/classification/embedded_nli/tiny_bert/00_teacher.yaml",
    "student, tiny DistilBERT, SFT": "configs/classification/embedded_nli/tiny_distilbert/00_sft.yaml",
}
SEEDS = (1, 2, 3, 4, 5)


def one(config: str, seed: int, folder: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "forge.py", "--config", config, f"seed={seed}", f"run.dir={folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = next(path.parent for path in Path(folder).rglob("metrics.jsonl") if path.parent.name.startswith(f"{seed}-"))
    state = json.loads((run / "training_state.json").read_text())
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return state["test"]["test"]["accuracy"], seconds


def main() -> None:
    lines = [
        "| model | test accuracy of seeds 1–5 | mean | standard deviation | CPU s, start-up included: mean (max) |"
    ]
    lines.append("|---|---|---|---|---|")
    for name, config in CONFIGS.items():
        with tempfile.TemporaryDirectory() as folder:
            measured = [one(config, seed, folder) for seed in SEEDS]
        accuracies, seconds = [a for a, _ in measured], [s for _, s in measured]
        shown = ", ".join(f"{a:.4f}" for a in accuracies)
        lines.append(
            f"| {name} | {shown} | {statistics.mean(accuracies):.4f} | {statistics.stdev(accuracies):.4f} "
            f"| {statistics.mean(seconds):.0f} ({max(seconds):.0f}) |"
        )
    title = "Embedded teacher and student: five seeds"
    write_table("embedded", title, "\n".join(lines), "python -m bench.embedded")


if __name__ == "__main__":
    main()
