"""Attention for distillation: hooks on queries and keys with SDPA, against output_attentions with eager attention.

Both are written by hand around the same pure loss, `attention_kl` on all layer pairs or on the last one, for teacher
and student together: teacher forward without gradients, student forward, loss, backward. Every case runs in a process
of its own, which reports the CPU time of a step and by how much its resident memory grew over what the models and the
process took before the first step (ru_maxrss). Hooks and eager alternate over several rounds.

Eager attention hands out probabilities, whose logarithm is taken here after a floor; dropout is off on both sides,
since what eager hands out in training is after it.

`--quick` measures the same with fewer rounds and only the shortest length.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from bench.apart import alone, in_turn
from bench.kd_case import shown
from bench.machine import write_table
from forge.models.capture import AttentionSite, Recorder, scores
from forge.objectives.kd.losses.attention_kl import attention_kl

PAIRS = {"all layers": ((1, 2), (2, 4), (3, 6)), "last layer": ((3, 6),)}
LENGTHS = (128, 256, 512)
BATCH = 8
SMALLEST = 1e-12


def model(depth: int, attention: str) -> Any:
    config = BertConfig(
        vocab_size=1200, hidden_size=384, num_hidden_layers=depth, num_attention_heads=12, intermediate_size=1536,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=3, attn_implementation=attention,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def with_hooks(layers: str) -> Callable[[dict[str, Any], Any], Any]:
    student, teacher = model(3, "sdpa"), model(6, "sdpa").eval().requires_grad_(False)
    pairs = [tuple(AttentionSite("encoder", "self", layer) for layer in pair) for pair in PAIRS[layers]]
    ours, its = (
        Recorder(network, (), [pair[side] for pair in pairs]) for side, network in enumerate((student, teacher))
    )

    def step(inputs: dict[str, Any], mask: Any) -> Any:
        with torch.no_grad():
            teacher(**inputs)
        student(**inputs)
        mine, known = ours.take().attention, its.take().attention
        with torch.no_grad():
            targets = [scores(known[t]) for _, t in pairs]
        found = [attention_kl(scores(mine[s]), target, mask).sum() for (s, _), target in zip(pairs, targets, strict=True)]  # fmt: skip
        torch.stack(found).sum().backward()
        student.zero_grad()

    return step


def with_output_attentions(layers: str) -> Callable[[dict[str, Any], Any], Any]:
    student, teacher = model(3, "eager"), model(6, "eager").eval().requires_grad_(False)

    def step(inputs: dict[str, Any], mask: Any) -> Any:
        with torch.no_grad():
            known = teacher(**inputs, output_attentions=True).attentions
        mine = student(**inputs, output_attentions=True).attentions
        assert len(mine) == 3
        assert len(known) == 6
        found = []
        for s, t in PAIRS[layers]:
            # The probabilities are normalised already: only their logarithm is missing.
            p, log_q = known[t - 1], mine[s - 1].clamp(min=SMALLEST).log()
            rows = (p * (p.clamp(min=SMALLEST).log() - log_q)).sum(-1).mean(1)
            found.append((rows * mask.any(-1)).sum())
        torch.stack(found).sum().backward()
        student.zero_grad()

    return step


SIDES = {"hooks": with_hooks, "eager": with_output_attentions}


def resident() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def side(name: str, layers: str, length: int, steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = SIDES[name](layers)
    lengths = torch.linspace(length // 2, length, BATCH).long()
    valid = torch.arange(length)[None] < lengths[:, None]
    inputs = {"input_ids": torch.randint(5, 1200, (BATCH, length)), "attention_mask": valid.long()}
    mask = valid[:, :, None] & valid[:, None, :]
    before = resident()
    step(inputs, mask)
    start = time.process_time()
    for _ in range(steps):
        step(inputs, mask)
    print(json.dumps({"seconds": (time.process_time() - start) / steps, "megabytes": resident() - before}))


def one(name: str, layers: str, length: int, steps: int) -> tuple[float, float]:
    found = alone("bench.kd_hooks", "--side", name, "--layers", layers, "--length", length, "--steps", steps)
    return found["seconds"], found["megabytes"]


def measure(layers: str, length: int, steps: int, rounds: int) -> str:
    found = in_turn(list(SIDES), rounds, lambda name: one(name, layers, length, steps))
    speed = [eager[0] / hooks[0] for eager, hooks in zip(found["eager"], found["hooks"], strict=True)]
    seconds, memory = (
        {name: statistics.median(run[part] for run in runs) for name, runs in found.items()} for part in (0, 1)
    )
    return (
        f"| {layers} | {length} | {seconds['hooks'] * 1e3:.0f} | {seconds['eager'] * 1e3:.0f} | {shown(speed)} | "
        f"{memory['hooks']:.0f} | {memory['eager']:.0f} | {memory['eager'] / memory['hooks']:.2f} |"
    )


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--quick", action="store_true", help="fewer rounds: a check, no measurement")
    reader.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    reader.add_argument("--layers", choices=PAIRS, help=argparse.SUPPRESS)
    reader.add_argument("--length", type=int, help=argparse.SUPPRESS)
    reader.add_argument("--steps", type=int, default=3, help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    if chosen.side:
        side(chosen.side, chosen.layers, chosen.length, chosen.steps)
        return
    rounds, lengths = (1, LENGTHS[:1]) if chosen.quick else (2, LENGTHS)
    lines = [
        "| attention compared on | tokens | hooks and SDPA, CPU ms a step | eager, CPU ms | eager over hooks, CPU: median (min – max) | "
        "hooks and SDPA, peak MB over start | eager, peak MB | ratio of memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for layers in PAIRS:
        for length in lengths:
            lines.append(measure(layers, length, 1 if chosen.quick else 2, rounds))
            print(lines[-1], flush=True)
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds, one thread. Teacher BERT 6 × 384, student 3 × 384, 12 heads, {BATCH} texts of half to "
        "all of that many tokens, no dropout. More than 1 means that hooks are quicker, or need less."
    )
    write_table(
        "kd_hooks",
        "Attention for distillation: hooks and SDPA against eager attention",
        text,
        "python -m bench.kd_hooks",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
