"""An epoch with a full teacher cache, and one with the teacher running, against an SFT epoch of the same student.

All three are the real Trainer.run() over the same batches in the same order, in alternation. The cache was filled
before and is read from memory (the system's page cache): the figures are about Forge, not about a disk. `combined` is
one loss of each family: forward_kl, linear_cka, attention_kl. Also told: how large the cache is and how long it takes
to fill, the teacher's forward included.

`--quick` measures the same with fewer rounds and steps; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.kd_case import (  # fmt: skip
    FAMILY,
    FAR,
    NINE,
    Shape,
    alternate,
    now,
    prepare,
    ratios,
    run_trainer,
    save_models,
    shown,
    since,
    training_texts,
)
from bench.machine import write_table
from forge import assemble
from forge.assemble import Prepared
from forge.train.signals import StopRequest

TARGETS = {"response": 1.05, "feature": 1.30, "attention": 1.30}


def begun(prepared: Prepared) -> Prepared:
    assert prepared.teaching is not None
    prepared.teaching.begin(lambda _: None)
    return prepared


def measure(folder: Path, name: str, losses: Sequence[str], steps: int, rounds: int) -> str:
    place = folder / f"cache_{name}"
    cached = prepare(folder, steps, losses, "distill.cache.mode=on", f"distill.cache.dir={place}")
    assert cached.teaching is not None
    assert cached.teaching.cache is not None
    cached.teaching.found.load()
    start = now()
    cached.teaching._fill(cached.teaching.cache, lambda _: None, StopRequest())
    filled = since(start)
    begun(cached)
    size, examples = cached.teaching.cache.size() / 1e6, len(cached.teaching.found.train)
    online, plain = begun(prepare(folder, steps, losses, "distill.cache.mode=off")), prepare(folder, steps)
    same = [parts.plan.epoch(0)[0][0].tolist() for parts in (cached.parts, online.parts, plain.parts)]
    assert same[0] == same[1] == same[2]
    sides = [lambda run=run: run_trainer(run) for run in (cached, online, plain)]
    with_cache, with_teacher, sft = alternate(sides, rounds)
    shutil.rmtree(place)
    target = f"≤ {TARGETS[FAMILY[name]]:.2f}" if name in FAMILY else "–"
    base = statistics.median(cpu for cpu, _ in sft) / (steps - 1) * 1e3
    return (
        f"| {FAMILY.get(name, 'all three')} | {name} | {base:.0f} | {shown(ratios(with_cache, sft, 0))} | "
        f"{shown(ratios(with_cache, sft, 1))} | {target} | {shown(ratios(with_teacher, sft, 0))} | {size:.2f} | "
        f"{size / examples * 1e3:.1f} | {filled[0]:.1f} |"
    )


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--quick", action="store_true", help="fewer rounds: a check, no measurement")
    reader.add_argument("--losses", nargs="+", choices=(*NINE, "combined"), default=(*NINE, "combined"))
    chosen = reader.parse_args()
    steps, rounds = (4, 1) if chosen.quick else (9, 5)
    assemble.quiet_libraries()
    torch.set_num_threads(1)
    lines = [
        "| family | loss | SFT step, CPU ms | cached over SFT, CPU: median (min – max) | cached over SFT, wall | target | "
        "teacher running over SFT, CPU | cache, MB | kB an example | fill, CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), Shape(), training_texts())
        for name in chosen.losses:
            lines.append(measure(Path(folder), name, FAR if name == "combined" else [name], steps, rounds))
            print(lines[-1], flush=True)
    text = "\n".join(lines) + (
        f"\n\n{rounds} alternations of {steps - 1} steps for each loss, one thread. Teacher BERT 6 × 384, student "
        "3 × 384, 12 heads, batches of 32 pairs of sentences, about 30 tokens a pair; the cache holds 512 of them, "
        "hidden states and projections in fp16, and is read from memory."
    )
    if chosen.quick or len(chosen.losses) <= len(NINE):
        print(text)
    else:
        write_table("kd_cache", "Distillation from a full teacher cache against SFT", text, "python -m bench.kd_cache")


if __name__ == "__main__":
    main()
