"""What a command costs before it does its work: light commands, and the way from `python forge.py` to step 1."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import write_table

ROOT = Path(__file__).parent.parent
CONFIG = "configs/classification/mnli/distilbert/00_sft.yaml"
LIGHT = {
    "forge.py --help": ["--help"],
    "forge.py config validate": ["config", "validate", "--config", CONFIG],
    "forge.py config show --sources": ["config", "show", "--config", CONFIG, "--sources"],
    "a configuration error": ["--config", CONFIG, "train.lr=1"],
}
STAGES = """
import sys, time
t0 = time.process_time()
def mark(name):
    global t0
    now = time.process_time()
    print(f"{name}|{now - t0:.3f}")
    t0 = now
from forge.config import resolve
from forge.preflight import preflight
resolved = resolve(sys.argv[1], ["max_steps=10", "run.dir=" + sys.argv[2], "assets=embedded"])
found = preflight(resolved)
mark("configuration and preflight")
import torch
mark("import torch")
import transformers
mark("import transformers")
import datasets
mark("import datasets")
import accelerate
mark("import accelerate")
from transformers import DistilBertForSequenceClassification
mark("import DistilBERT's modelling code")
from forge import assemble
mark("import the rest of Forge")
from forge.core.events import Started, StepLogged
from forge.train.checkpoint import CheckpointStore
from forge.train.device import make_accelerator
from forge.train.loop import Trainer
assemble.quiet_libraries()
accelerator = make_accelerator(resolved.settings)
prepared = assemble.prepare_run(found, None, accelerator, CheckpointStore(found.run.path, 2))
mark("generate, tokenize and encode data, build the model")
class Stop(Exception): pass
def sink(event):
    if isinstance(event, StepLogged):
        raise Stop
try:
    Trainer(prepared.parts, sink, None).run()
except Stop:
    mark("optimizer and first step")
"""


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    lines = ["| command | CPU s: median (min – max) of 9 |", "|---|---|"]
    for name, words in LIGHT.items():
        times = [cpu_seconds([sys.executable, "forge.py", *words]) for _ in range(9)]
        lines.append(f"| {name} | {statistics.median(times):.2f} ({min(times):.2f} – {max(times):.2f}) |")
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", STAGES, CONFIG, folder],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        wall = time.perf_counter() - began
    stages = [line.split("|") for line in done.stdout.splitlines() if "|" in line]
    total = sum(float(seconds) for _, seconds in stages)
    lines += ["", f"Smoke run, from start to the first step: {total:.1f} CPU s ({wall:.1f} s on the wall).", ""]
    lines += ["| part | CPU s |", "|---|---|", *(f"| {name} | {seconds} |" for name, seconds in stages)]
    write_table(
        "startup",
        "Start-up: light commands, and the way to the first step",
        "\n".join(lines),
        "python -m bench.startup",
    )


if __name__ == "__main__":
    main()
