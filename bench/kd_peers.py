"""Samples a CPU second of distillation: Forge against TextBrewer, torchdistill and a subclass of transformers.Trainer.

Every side has one thread, the same student, teacher, batches, batch size, loss and optimizer (fused AdamW, clipping at
1, a linear schedule), and measures itself between its steps, without start-up. Sides run one after the other in
processes of their own, in turn, over several rounds. Peers get batches that are padded already; Forge reads, pads and
counts its own. `Forge, cache` is a second epoch: the teacher's outputs are there and it does not run.

The peers live in an environment of their own, which is never the project's:

    python3 -m venv /tmp/kd_peers
    /tmp/kd_peers/bin/pip install torch==2.13.0 torchvision==0.28.0 transformers==5.23.0 accelerate==1.15.0 \\
        textbrewer==0.2.1.post1 torchdistill==1.1.5
    python -m bench.kd_peers --python /tmp/kd_peers/bin/python

Losses: `kl` is ½ cross-entropy + ½ · 4 · KL at temperature 2; `kl+hidden` adds ½ of the mean squared difference of
three pairs of hidden states. TextBrewer has cross-entropy in place of KL; torchdistill averages over padding as well.

`--quick` measures the same with fewer rounds and steps; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.kd_case import BATCH, Shape, prepare, run_trainer, save_models, shown, training_texts
from bench.machine import write_table
from forge import assemble

LOSSES = {"kl": ["forward_kl"], "kl+hidden": ["forward_kl", "hidden_mse"]}
OURS = {"Forge": "off", "Forge, cache": "on"}
PEERS = ("TextBrewer", "torchdistill", "Trainer")
SIDE = Path(__file__).with_name("kd_peers_side.py")


def save_batches(folder: Path, steps: int) -> None:
    parts = prepare(folder, steps).parts
    data: Any = parts.data.train
    tensors = {}
    for number, (rows,) in enumerate(parts.plan.epoch(0)[:steps]):
        batch = parts.task.collate(data.__getitems__(rows.tolist()))
        tensors |= {f"{number}.{name}": tensor for name, tensor in batch.items()}
    save_file(tensors, folder / "batches.safetensors")


def forge_side(name: str, loss: str, folder: Path, steps: int) -> None:
    assemble.quiet_libraries()
    cache = [f"distill.cache.mode={OURS[name]}", f"distill.cache.dir={folder / 'cache'}"]
    prepared = prepare(folder, steps, LOSSES[loss], *cache)
    assert prepared.teaching is not None
    prepared.teaching.begin(lambda _: None)
    print(json.dumps({"samples_per_second": (steps - 1) * BATCH / run_trainer(prepared)[0]}))


def one(name: str, loss: str, folder: Path, steps: int, peers: str) -> float:
    ours = [sys.executable, "-m", "bench.kd_peers", "--side", name, "--loss", loss, "--folder", str(folder), "--steps", str(steps)]  # fmt: skip
    command = ours if name in OURS else [peers, str(SIDE), name, loss, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["samples_per_second"])


def measure(loss: str, folder: Path, steps: int, rounds: int, peers: str) -> list[str]:
    names = (*OURS, *PEERS)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            speeds[name].append(one(name, loss, folder, steps, peers))
    lines = []
    for name in names:
        over = [ours / its for ours, its in zip(speeds["Forge"], speeds[name], strict=True)]
        lines.append(f"| {loss} | {name} | {statistics.median(speeds[name]):.1f} | {shown(over)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="fewer rounds: a check, no measurement")
    reader.add_argument("--python", default="/tmp/kd_peers/bin/python", help="interpreter of the peers' environment")
    reader.add_argument("--side", choices=OURS, help=argparse.SUPPRESS)
    reader.add_argument("--loss", choices=LOSSES, help=argparse.SUPPRESS)
    reader.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    reader.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    torch.set_num_threads(1)
    if chosen.side:
        forge_side(chosen.side, chosen.loss, chosen.folder, chosen.steps)
        return
    if not Path(chosen.python).is_file():
        raise SystemExit(f"{chosen.python} is not there; make the peers' environment first:\n{__doc__}")
    assemble.quiet_libraries()
    steps, rounds = (5, 1) if chosen.quick else (14, 5)
    lines = ["| loss | side | samples a CPU second, median | Forge with the teacher running, over it: median (min – max) |", "|---|---|---|---|"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), Shape(), training_texts())
        save_batches(Path(folder), steps)
        for loss in LOSSES:
            lines += measure(loss, Path(folder), steps, rounds, chosen.python)
    asked = "import importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in ('torch', 'transformers', 'textbrewer', 'torchdistill')))"
    versions = subprocess.run([chosen.python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds of {steps} steps, every side in a process of its own, one thread. Teacher BERT 6 × 384, "
        f"student 3 × 384, batches of {BATCH} pairs of sentences, about 30 tokens a pair. Peers' environment: {versions}. "
        "More than 1 means that Forge is quicker."
    )
    write_table(
        "kd_peers", "Distillation: Forge against its peers", text, "python -m bench.kd_peers", quick=chosen.quick
    )


if __name__ == "__main__":
    main()
