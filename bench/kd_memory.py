"""Peak memory and time of a step of word-level distillation at a vocabulary of 60,000: Forge's losses against plain ones.

Teacher and student are Transformers of width 256 with 2 + 2 layers and weights drawn at random; a batch has about 2,000
target tokens. The loss is half cross-entropy, half forward KL at temperature 1. `plain` is what one writes by hand: logits
of both models for the whole batch, `log_softmax`, `kl_div`, `cross_entropy`, padding masked. `Forge` is its KD objective with
the teacher running; `Forge, top 64` reads the teacher's 64 likeliest tokens from memory, as from a filled cache, without a
teacher. All sides take the same step around it: backward, clipping, fused AdamW. The first two must have the same loss.

Every measurement has a process of its own. The figure is by how much its resident memory peaked (VmHWM, set back before)
over what it had before the step, with models and Adam's moments in place: unlike torch's profiler, which sees what tensors
ask for, it also has what kernels take for themselves and what the allocator rounds up; that is what a machine must have.
The allocator gives back at once what is freed, so nothing of before is used again unseen.

    python -m bench.kd_memory

`--quick` measures a small vocabulary once; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import MarianMTModel

from bench.apart import alone, in_turn, memory, over_plain, peak_begins
from bench.machine import write_table
from forge.config.schema import Build
from forge.models.built import draw_weights, marian_config
from forge.models.head import find_head
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.topk_kl import topk_kl
from forge.objectives.kd.objective import KD
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.teacher import OnlineTeacher, Wanted
from forge.objectives.kd.terms import Response
from forge.objectives.kd.top_k import TopK
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch, forward

VOCABULARY, PADDING, END = 60_000, 0, 1
TEXTS, LONGEST, KEPT, ALPHA = 80, 32, 64, 0.5
STEPS, ROUNDS = 2, 3
Loss = Callable[[Batch], Tensor]


def model(vocabulary: int) -> Any:
    made = MarianMTModel(marian_config(Build(layers=2, width=256, heads=4, dropout=0.0), vocabulary, PADDING, END))
    draw_weights(made)
    return made


def batch_of(texts: int, vocabulary: int) -> Batch:
    """Targets of 18 to 32 tokens, sources alike."""
    lengths = torch.linspace(LONGEST * 9 // 16, LONGEST, texts).long()
    valid = torch.arange(LONGEST) < lengths[:, None]
    ids = torch.randint(2, vocabulary, valid.shape)
    labels = torch.where(valid, torch.randint(2, vocabulary, valid.shape), IGNORED_LABEL)
    start = functional.pad(labels[:, :-1].clamp(min=0), (1, 0), value=PADDING)
    return {
        "input_ids": torch.where(valid, ids, PADDING), "attention_mask": valid.long(), "labels": labels,
        "decoder_input_ids": start,
    }  # fmt: skip


def plain(student: Any, teacher: Any, batch: Batch) -> Tensor:
    labels_BT = batch["labels"]
    with torch.no_grad():
        teacher_BTV = forward(teacher, batch).logits
    student_BTV = forward(student, batch).logits
    task = functional.cross_entropy(student_BTV.flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED_LABEL)
    log_q, log_p = student_BTV.log_softmax(-1), teacher_BTV.log_softmax(-1)
    kl_BT = functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    return (1 - ALPHA) * task + ALPHA * kl_BT[labels_BT != IGNORED_LABEL].mean()


def forge(objective: KD, student: Any, batch: Batch) -> Tensor:
    return objective.compute(student, batch, objective.counts(batch)).loss


class FromMemory:
    """Gives what a cache with the likeliest tokens gives."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._kept: dict[torch.Size, TopK] = {}

    def prepare(self, batch: Batch) -> None:
        places = (*batch["labels"].shape, KEPT)
        spread = torch.randn(*places[:2], KEPT + 1).log_softmax(-1)[..., :KEPT].contiguous()
        tokens = torch.randint(self._vocabulary // KEPT, places) + torch.arange(KEPT) * (self._vocabulary // KEPT)
        self._kept[batch["labels"].shape] = TopK(spread, tokens.int(), self._vocabulary)

    def outputs(self, batch: Batch) -> Outputs:
        return Outputs(rows=self._kept[batch["labels"].shape])


def make(name: str, vocabulary: int, batches: list[Batch]) -> tuple[Any, Loss]:
    """A student, and its loss on a batch."""
    student = model(vocabulary)
    if name == "Forge, top 64":
        known = FromMemory(vocabulary)
        for batch in batches:
            known.prepare(batch)
        term = Response("topk_kl", 1.0, topk_kl, of_top_k=_of_top_k)
        source: Any = known
    else:
        teacher = model(vocabulary).eval().requires_grad_(False)
        if name == "plain":
            return student, partial(plain, student, teacher)
        term = Response("forward_kl", 1.0, forward_kl)
        source = OnlineTeacher(teacher, Wanted(), head=find_head(teacher))
    objective = KD(SFT(0.0, find_head(student)), ALPHA, [term], student, {})
    objective.learn_from(source)
    return student, partial(forge, objective, student)


def _of_top_k(student_NC: Tensor, known: TopK) -> Tensor:
    return topk_kl(student_NC, known.logprobs_MK, known.indices_MK)


def side(name: str, vocabulary: int, steps: int) -> dict[str, float]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch, small = batch_of(TEXTS, vocabulary), batch_of(2, vocabulary)
    torch.manual_seed(1)
    student, loss_of = make(name, vocabulary, [batch, small])
    student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)

    def step(batch: Batch) -> float:
        loss = loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    step(small)  # Adam's moments are there from now on
    before = peak_begins()
    first = step(batch)
    peak = memory("VmHWM") - before
    start = time.process_time()
    for _ in range(steps):
        step(batch)
    tokens = int((batch["labels"] != IGNORED_LABEL).sum())
    return {"loss": first, "peak": peak, "ms": (time.process_time() - start) / steps * 1e3, "tokens": tokens}


def one(name: str, vocabulary: int, steps: int) -> dict[str, float]:
    found: dict[str, float] = alone("bench.kd_memory", "--side", name, "--vocabulary", vocabulary, "--steps", steps)
    return found


SIDES = ("plain", "Forge", "Forge, top 64")


def measure(vocabulary: int, steps: int, rounds: int) -> list[str]:
    """A row a side."""
    found = in_turn(SIDES, rounds, lambda name: one(name, vocabulary, steps))
    pair = [found[name][0]["loss"] for name in ("plain", "Forge")]
    assert abs(pair[0] - pair[1]) < 1e-4 * abs(pair[0]), pair
    lines = []
    for name in SIDES:
        lines.append(f"| {name} {over_plain(found, name)}")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="a small vocabulary, once: a check, no measurement")
    reader.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    reader.add_argument("--vocabulary", type=int, help=argparse.SUPPRESS)
    reader.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    if chosen.side:
        print(json.dumps(side(chosen.side, chosen.vocabulary, chosen.steps)))
        return
    vocabulary, steps, rounds = (4_000, 1, 1) if chosen.quick else (VOCABULARY, STEPS, ROUNDS)
    lines = ["| side | peak over start, MB | over plain: median (min – max) | CPU ms a step | over plain: median (min – max) |", "|---|---|---|---|---|"]  # fmt: skip
    lines += measure(vocabulary, steps, rounds)
    tokens = int((batch_of(TEXTS, vocabulary)["labels"] != IGNORED_LABEL).sum())
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds, one thread; time is the mean of {steps} steps. Vocabulary {vocabulary:,}, {TEXTS} texts, {tokens:,} target "
        f"tokens ({TEXTS * LONGEST:,} with padding), student and teacher 2 + 2 layers of width 256; one tensor of all logits has "
        f"{TEXTS * LONGEST * vocabulary * 4 / 1e6:,.0f} MB. Target for memory: at most 0.4."
    )
    write_table(
        "kd_memory",
        "Distillation at a large vocabulary: memory of a step",
        text,
        "python -m bench.kd_memory",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
