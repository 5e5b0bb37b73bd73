"""What surviving costs: a sealed checkpoint against a plain one, from signal to checkpoint, resuming far into the data.

A plain save writes the same files with the same library and stops there: no fsync, no sha256, no manifest, no rename.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import save_file

from bench.machine import write_table
from forge.train.batching import BatchPlan
from forge.train.checkpoint import CheckpointStore
from forge.train.stream import Cursor, stream

ROOT = Path(__file__).parent.parent
MEGABYTES, TENSORS = 500, 60  # of a model and Adam's two moments
SAVES, SIGNALS, STARTS = 9, 20, 7
FAR, BATCH = 100_000, 16
RUN = "runs/classification/embedded_nli/tiny_bert/00_teacher/*"
SIGNALLED = [
    "--config", "configs/classification/embedded_nli/tiny_bert/00_teacher.yaml", "max_steps=100000", "train.threads=1",
    "evaluate.every=100000", "log.every=1",
]  # fmt: skip


def spread(values: list[float], digits: int = 3) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} – {high:.{digits}f})"


def saving() -> list[str]:
    """Plain and sealed in alternation. Training stands still for `begin`; `wait` is what goes on beside it."""
    size = MEGABYTES * 10**6 // 4 // 3 // TENSORS
    weights = {f"layer.{i}.weight": torch.randn(size) for i in range(TENSORS)}
    moments = {f"{slot}:{name}": torch.randn(size) for name in weights for slot in ("exp_avg", "exp_avg_sq")}

    def write(folder: Path) -> None:
        save_file(weights, folder / "model.safetensors")
        save_file(moments, folder / "optimizer.safetensors")

    times: dict[str, list[float]] = {"plain": [], "begin": [], "durable": []}
    with tempfile.TemporaryDirectory(dir=os.environ.get("FORGE_BENCH_DIR")) as folder:
        store = CheckpointStore(Path(folder), keep=1)
        for turn in range(SAVES + 1):  # the first warms up
            target = Path(folder) / "plain"
            target.mkdir()
            os.sync()
            began = time.perf_counter()
            write(target)
            plain = time.perf_counter() - began
            shutil.rmtree(target)
            os.sync()
            began = time.perf_counter()
            store.begin(turn, write, {})
            begun = time.perf_counter() - began
            store.wait()
            durable = time.perf_counter() - began
            store.prune(turn, set())
            if turn:
                for name, value in (("plain", plain), ("begin", begun), ("durable", durable)):
                    times[name].append(value)
    pairs = list(zip(times["plain"], times["begin"], times["durable"], strict=True))
    return [
        f"Checkpoint of {MEGABYTES} MB (weights and Adam's moments), {SAVES} alternations.",
        "",
        "| | median (min – max) |",
        "|---|---|",
        f"| plain save, s | {spread(times['plain'])} |",
        f"| sealed: training stands still for, s | {spread(times['begin'])} |",
        f"| sealed: on the disk after, s | {spread(times['durable'])} |",
        f"| stands still / plain | {spread([begun / plain for plain, begun, _ in pairs])} |",
        f"| on the disk / plain | {spread([durable / plain for plain, _, durable in pairs])} |",
    ]


def signals() -> list[str]:
    """SIGUSR1 at random moments of training; until the checkpoint has its final name, as another process sees it."""
    latency: list[float] = []
    allowed: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        rng = random.Random(3)
        for _ in range(SIGNALS):
            before = set(Path(folder).glob(f"{RUN}/checkpoint-*"))
            running = subprocess.Popen(
                [sys.executable, "forge.py", *SIGNALLED, f"run.dir={folder}/runs"], cwd=ROOT, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            at_least = (latest_step(Path(folder)) or 0) + 20
            while (latest_step(Path(folder)) or 0) < at_least:
                assert running.poll() is None
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.2))
            running.send_signal(signal.SIGUSR1)
            asked = time.perf_counter()
            while set(Path(folder).glob(f"{RUN}/checkpoint-*")) <= before:
                time.sleep(0.0005)
            latency.append(time.perf_counter() - asked)
            assert running.wait() == 75
            allowed.append(step_and_save(Path(folder)))
    late = sorted(latency)[-1]
    return [
        f"Signal to durable checkpoint, embedded/tiny-bert, {SIGNALS} lives of one run; the slowest {late * 1e3:.0f} ms.",
        "",
        "| | median (min – max), ms |",
        "|---|---|",
        f"| SIGUSR1 until the checkpoint has its name | {spread([1e3 * value for value in latency], 0)} |",
        f"| the slowest of the 20 steps before, and the save | {spread([1e3 * value for value in allowed], 0)} |",
    ]


def logs(folder: Path) -> list[dict[str, Any]]:
    found = [path for path in folder.glob(f"{RUN}/metrics.jsonl") if not path.parent.is_symlink()]
    lines = found[0].read_text().splitlines() if found else []
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def latest_step(folder: Path) -> int | None:
    records = logs(folder)
    return int(records[-1]["step"]) if records else None


def step_and_save(folder: Path) -> float:
    """Seconds of the slowest step lately, and of the save as the run's own log has them."""
    steps = [record["time"]["seconds_per_step"] for record in logs(folder)[-20:] if record["kind"] == "step"]
    log = next(path for path in folder.glob(f"{RUN}/output.log") if not path.parent.is_symlink()).read_text()
    saved = [line for line in log.splitlines() if " saved checkpoint-" in f" {line}"][-1]
    return max(steps) + float(saved.split(" in ")[1].split()[0])


def resuming() -> list[str]:
    """The first step from a cursor at the start and at batch 100,000 of one epoch."""
    rows = Dataset.from_dict({"input_ids": np.zeros(((FAR + 1_000) * BATCH, 1), dtype=np.int32)}).with_format("numpy")
    lengths = np.random.default_rng(1).integers(5, 60, len(rows))
    lines = [
        "First step from a cursor, 1.6 million examples.",
        "",
        "| | batch 0, s | batch 100,000, s |",
        "|---|---|---|",
    ]
    for grouped in (False, True):
        plan = BatchPlan(lengths, 1, BATCH, None, None, grouped)
        times: dict[int, list[float]] = {0: [], FAR: []}
        for turn in range(2 * STARTS):
            position = (0, FAR)[turn % 2]
            began = time.perf_counter()
            with stream(
                rows, lambda chosen: {"labels": torch.zeros(len(chosen))}, plan, Cursor(0, position), 0, 0
            ) as steps:
                assert next(steps).after.position == position + 1
            times[position].append(time.perf_counter() - began)
        name = "grouped by length" if grouped else "shuffled"
        lines.append(f"| {name} | {spread(times[0])} | {spread(times[FAR])} |")
    return lines


def main() -> None:
    parts = [saving(), [""], signals(), [""], resuming()]
    write_table(
        "survive",
        "What surviving costs",
        "\n".join(line for part in parts for line in part),
        "python -m bench.survive",
    )


if __name__ == "__main__":
    main()
