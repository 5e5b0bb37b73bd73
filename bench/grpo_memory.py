"""Peak memory and time of an update that learns from rewards at vocabularies of 60,000 and 150,000: in chunks, or all at once.

A Marian of width 256 with 2 + 2 layers and weights drawn at random learns from 16 samples of 32 tokens at temperature 0.7,
with its advantages given: forward, the clipped loss, backward, clipping, fused AdamW. `plain` is what one writes by hand:
all logits over the temperature, `log_softmax`, `gather`. `log-probabilities` takes Forge's `sampled_log_probs`, which makes
a few rows of logits at a time and makes them once more in the backward pass; `loss` takes Forge's whole loss of a step, which
also tells the entropy and needs each row but once. All have the same loss, which is checked.

Every measurement has a process of its own. The figure is by how much its resident memory peaked (VmHWM, set back before)
over what it had before the update, with model and Adam's moments in place, as in `bench.kd_memory`. What no side can save is
the gradient of the embeddings: width × vocabulary × 4 bytes.

    python -m bench.grpo_memory

`--quick` measures a small vocabulary once; its figures are a check that the benchmark works.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.apart import alone, in_turn, memory, over_plain, peak_begins
from bench.kd_memory import model
from bench.machine import write_table
from forge.models.head import find_head
from forge.objectives.rl.logprobs import sampled_log_probs, to_samples, tokens_of
from forge.objectives.rl.losses import Policy, policy_loss
from forge.objectives.rl.rules import Rules
from forge.objectives.rl.samples import decoder_inputs
from forge.objectives.rl.share import Drawn, Mixture, share_of
from forge.objectives.rows import rows_of
from forge.tasks.base import Batch, forward

VOCABULARIES, PADDING = (60_000, 150_000), 0
SAMPLES, LENGTH, TEMPERATURE = 16, 32, 0.7
ROUNDS, AIM = 1, 0.4
SIDES = ("plain", "log-probabilities", "loss")
Loss = Callable[[Any, Batch], Tensor]


def batch_of(samples: int, vocabulary: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    sources, tokens = torch.randint(2, vocabulary, (2, samples, LENGTH), generator=generator)
    return {"input_ids": sources, "attention_mask": torch.ones_like(sources), "decoder_input_ids": decoder_inputs(tokens, PADDING), "tokens": tokens}  # fmt: skip


def inputs(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "tokens"}


def advantages(batch: Batch) -> Tensor:
    return torch.linspace(-1, 1.5, len(batch["tokens"]))


def averaged(logp_NT: Tensor, batch: Batch) -> Tensor:
    """The loss of the first update, by the whole matrix of log-probabilities."""
    mask_NT = torch.ones_like(batch["tokens"], dtype=torch.bool)
    return policy_loss(logp_NT, logp_NT.detach(), advantages(batch), mask_NT, Policy()).mean()


def plain(student: Any, batch: Batch) -> Tensor:
    logits_NTV = forward(student, inputs(batch)).logits / TEMPERATURE
    return averaged(logits_NTV.log_softmax(-1).gather(-1, batch["tokens"][..., None]).squeeze(-1), batch)


def log_probabilities(student: Any, batch: Batch) -> Tensor:
    rows, tokens_NT = rows_of(student, inputs(batch), find_head(student)), batch["tokens"]
    places_P = torch.arange(tokens_NT.numel())
    logp_P, _ = sampled_log_probs(rows, places_P, tokens_of(tokens_NT), Rules(TEMPERATURE), entropy=False)
    return averaged(to_samples(logp_P, places_P, (len(tokens_NT), LENGTH)), batch)


def loss(student: Any, batch: Batch) -> Tensor:
    rows, tokens_NT = rows_of(student, inputs(batch), find_head(student)), batch["tokens"]
    weights_M = torch.full((tokens_NT.numel(),), 1 / tokens_NT.numel())
    drawn = Drawn(tokens_of(tokens_NT), weights_M, advantages(batch)[:, None].expand_as(tokens_NT).flatten())
    return share_of(rows, drawn, Mixture(), Rules(TEMPERATURE))[0]


LOSSES: dict[str, Loss] = dict(zip(SIDES, (plain, log_probabilities, loss), strict=True))


def side(name: str, vocabulary: int, samples: int) -> dict[str, float]:
    """One measured update after one on two samples, and one that is timed."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    student = model(vocabulary).eval()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4, fused=True)

    def update(batch: Batch) -> float:
        found = LOSSES[name](student, batch)
        found.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(found.detach())

    update(batch_of(2, vocabulary))  # Adam's moments are there from now on
    batch = batch_of(samples, vocabulary)
    before = peak_begins()
    began = time.process_time()
    first = update(batch)
    ended = time.process_time()
    return {"loss": first, "peak": memory("VmHWM") - before, "ms": (ended - began) * 1e3}


def one(name: str, vocabulary: int, samples: int) -> dict[str, float]:
    found: dict[str, float] = alone("bench.grpo_memory", "--side", name, vocabulary, samples)
    return found


def measure(vocabulary: int, samples: int, rounds: int) -> list[str]:
    """A row a side."""
    found = in_turn(SIDES, rounds, lambda name: one(name, vocabulary, samples))
    losses = [its[0]["loss"] for its in found.values()]
    assert max(losses) - min(losses) < 1e-5, losses
    lines = []
    for name in SIDES:
        lines.append(f"| {vocabulary:,} | {name} {over_plain(found, name)}")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="a small vocabulary, once: a check, no measurement")
    reader.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    chosen = reader.parse_args()
    if chosen.side:
        print(json.dumps(side(chosen.side[0], *map(int, chosen.side[1:]))))
        return
    vocabularies, samples, rounds = ((4_000,), 8, 1) if chosen.quick else (VOCABULARIES, SAMPLES, ROUNDS)
    lines = ["| vocabulary | side | peak over start, MB | over plain: median (min – max) | CPU ms an update | over plain: median (min – max) |", "|---|---|---|---|---|---|"]  # fmt: skip
    for vocabulary in vocabularies:
        lines += measure(vocabulary, samples, rounds)
    sizes = ", ".join(
        f"{samples * LENGTH * vocabulary * 4 / 1e6:,.0f} MB at {vocabulary:,}" for vocabulary in vocabularies
    )
    text = "\n".join(lines) + (
        f"\n\n{rounds} rounds, one thread. {samples} samples of {LENGTH} tokens, 2 + 2 layers of width 256; one tensor of all logits has "
        f"{sizes}. Target for memory: at most {AIM}."
    )
    write_table(
        "grpo_memory",
        "Learning from rewards at a large vocabulary: memory of an update",
        text,
        "python -m bench.grpo_memory",
        quick=chosen.quick,
    )


if __name__ == "__main__":
    main()
