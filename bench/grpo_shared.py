"""One encoder pass for all samples of a prompt, against prompts that are repeated: time and memory of a rollout and of an update.

A Marian of width 256 with 3 + 3 layers, weights drawn at random, and 8 samples of each prompt. `shared` is Forge's
sampler: a prompt is read once, and its states are repeated for its samples, in sampling and in the update. `repeated` is the
same sampler given each prompt 8 times with one sample each, as trainers do whose sampler repeats rows. Both draw the same
samples and have the same loss, which is checked. No sample ends, so lengths are fixed. An update is forward, loss,
backward, clipping and fused AdamW.

Times are CPU seconds of sides that run in turn in one process. A peak has a process of its own: by how much its resident
memory peaked (VmHWM, set back before) over what it had before, with model and Adam's moments in place.

    python -m bench.grpo_shared

`--quick` measures a small model once; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bench.apart import alone, memory, peak_begins
from bench.kd_case import shown
from bench.machine import write_table
from forge.config.schema import Build
from forge.models.built import draw_weights, marian_config
from forge.models.head import find_head
from forge.objectives.rl.drawing import uniforms
from forge.objectives.rl.logprobs import tokens_of
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.sampling import EncoderDecoder
from forge.objectives.rl.share import Drawn, Mixture, share_of
from forge.tasks.base import Batch

PADDING, END = 0, 1
SIDES, PARTS = ("shared", "repeated"), ("rollout", "update")
ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    prompts: int = 4
    samples: int = 8
    source: int = 32  # tokens of a prompt
    length: int = 32  # tokens of a sample
    vocabulary: int = 8_000
    width: int = 256
    layers: int = 3


QUICK = Shape(2, 4, 8, 8, 200, 32, 1)


class Side:
    """A sampler with its batch, and the model; both sides have one model and one optimizer."""

    def __init__(self, name: str, shape: Shape, model: Any, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer, self.shape = model, optimizer, shape
        rules = Rules(forbidden=(PADDING, END))
        sampler = EncoderDecoder(rules, frozenset({END}), PADDING, PADDING, shape.samples, shape.length)
        generator = torch.Generator().manual_seed(2)
        ids = torch.randint(2, shape.vocabulary, (shape.prompts, shape.source), generator=generator)
        self.uniform_NT = uniforms(1, 0, range(shape.prompts), shape.samples, shape.length)
        if name == "repeated":
            sampler, ids = replace(sampler, samples=1), ids.repeat_interleave(shape.samples, 0)
        self.sampler = sampler
        self.batch: Batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def rollout(self) -> Tensor:
        return self.sampler.sample(self.model, self.batch, self.uniform_NT).tokens_NT

    def update(self, tokens_NT: Tensor) -> float:
        advantages_N = torch.linspace(-1, 1, len(tokens_NT))
        drawn = Drawn(
            tokens_of(tokens_NT),
            torch.full((tokens_NT.numel(),), 1 / tokens_NT.numel()),
            advantages_N[:, None].expand_as(tokens_NT).flatten(),
        )
        rows = self.sampler.rows(self.model, find_head(self.model), self.batch, tokens_NT)
        loss, _ = share_of(rows, drawn, Mixture(), self.sampler.rules)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())


def make(shape: Shape) -> tuple[Any, torch.optim.Optimizer]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    build = Build(layers=shape.layers, width=shape.width, heads=4, dropout=0.0)
    model = draw(marian_config(build, shape.vocabulary, PADDING, END))
    return model, torch.optim.AdamW(
        model.parameters(), lr=0.0, weight_decay=0.0, fused=True
    )  # the model stays as it is


def draw(config: Any) -> Any:
    from transformers import MarianMTModel

    model = MarianMTModel(config)
    draw_weights(model)
    return model.eval()


def times(shape: Shape, rounds: int) -> dict[str, dict[str, list[float]]]:
    """CPU seconds, part → side → by round. The first round warms up."""
    model, optimizer = make(shape)
    sides = {name: Side(name, shape, model, optimizer) for name in SIDES}
    found: dict[str, dict[str, list[float]]] = {part: {name: [] for name in SIDES} for part in PARTS}
    for number in range(rounds + 1):
        drawn: dict[str, Tensor] = {}
        losses: dict[str, float] = {}
        for name in SIDES if number % 2 == 0 else SIDES[::-1]:
            began = time.process_time()
            drawn[name] = sides[name].rollout()
            between = time.process_time()
            losses[name] = sides[name].update(drawn[name])
            ended = time.process_time()
            if number:
                found["rollout"][name].append(between - began)
                found["update"][name].append(ended - between)
        assert torch.equal(drawn["shared"], drawn["repeated"])
        assert abs(losses["shared"] - losses["repeated"]) < 1e-5, losses
    return found


def peak(shape: Shape, name: str, part: str) -> float:
    """MB over the start, in this process; the sides' model has been updated once before, on one prompt."""
    model, optimizer = make(shape)
    small = Side(name, replace(shape, prompts=1, samples=2, length=2), model, optimizer)
    small.update(small.rollout())
    side = Side(name, shape, model, optimizer)
    shape_NT = (shape.prompts * shape.samples, shape.length)
    tokens_NT = torch.randint(2, shape.vocabulary, shape_NT, generator=torch.Generator().manual_seed(3))
    before = peak_begins()
    _ = side.rollout() if part == "rollout" else side.update(tokens_NT)
    return memory("VmHWM") - before


def peak_apart(name: str, part: str, quick: bool) -> float:
    """The same in a process of its own, whose allocator gives back at once what is freed."""
    return float(alone("bench.grpo_shared", "--peak", name, part, *(["--quick"] if quick else [])))


def rows(found: dict[str, dict[str, list[float]]], peaks: dict[tuple[str, str], float]) -> list[str]:
    lines = [
        "| part | side | CPU ms, median | over shared: median (min – max) | peak over start, MB | over shared |",
        "|---|---|---|---|---|---|",
    ]
    for part in PARTS:
        for name in SIDES:
            over = [its / ours for its, ours in zip(found[part][name], found[part]["shared"], strict=True)]
            highest, ours = peaks[name, part], peaks["shared", part]
            lines.append(
                f"| {part} | {name} | {statistics.median(found[part][name]) * 1e3:,.0f} | {shown(over)} | "
                f"{highest:,.0f} | {highest / ours if ours else 1.0:.2f} |"
            )
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="a small model, once: a check, no measurement")
    reader.add_argument("--peak", nargs=2, metavar=("SIDE", "PART"), help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    shape, rounds = (QUICK, 1) if chosen.quick else (Shape(), ROUNDS)
    if chosen.peak:
        print(json.dumps(peak(shape, *chosen.peak)))
        return
    peaks = {(name, part): peak_apart(name, part, chosen.quick) for part in PARTS for name in SIDES}
    text = "\n".join(rows(times(shape, rounds), peaks)) + (
        f"\n\n{rounds} rounds, one thread. {shape.prompts} prompts of {shape.source} tokens, {shape.samples} samples of "
        f"{shape.length} tokens each; {shape.layers} + {shape.layers} layers of width {shape.width}, vocabulary "
        f"{shape.vocabulary:,}. Both sides draw the same samples and have the same loss."
    )
    write_table(
        "grpo_shared",
        "Samples of one prompt: read once, or once for each",
        text,
        "python -m bench.grpo_shared",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
