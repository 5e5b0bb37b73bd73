"""How much an output reads like the text of its language, by a language model of words or by a causal one.

Both look at the output alone: the most fluent text is one that says something else. So their scale ends where real text
is (nothing is gained by being more usual than that), and they belong beside a reward that looks at source or reference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.nn import functional

from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.tasks.rewards.base import Named, PerSample, Sample, Values
from forge.tasks.rewards.kneser_ney import KneserNey, words

LEAST_LINES = 50
HELD_OUT = 10  # one line in so many is for the scale
MOST_SCALED = 1_000


@dataclass(frozen=True)
class Scale:
    """Nats a word to 0 … 1: 1 at `good` and below, 0 at `bad` and above, straight between."""

    good: float
    bad: float

    def of(self, nats: float) -> float:
        """0 to 1."""
        return min(1.0, max(0.0, (self.bad - nats) / (self.bad - self.good)))


def find_scale(lines: Sequence[str], nats: Callable[[Sequence[str]], Sequence[float]], seed: int = 0) -> Scale:
    """`good` is the median of real lines, `bad` that of the same lines with their words in any order.

    Raises UserError where the model cannot tell one from the other.
    """
    chosen = [line for line in lines if len(words(line)) > 2][:MOST_SCALED]
    shuffled = []
    for number, line in enumerate(chosen):
        parts = line.split()
        random.Random(derive_seed(seed, "shuffled", number)).shuffle(parts)
        shuffled.append(" ".join(parts))
    if not chosen:
        raise UserError("reward fluency: there are no lines of three words or more to find its scale with")
    scale = Scale(median(nats(chosen)), median(nats(shuffled)))
    if scale.bad - scale.good < 0.1:
        raise UserError(
            f"reward fluency: the language model does not tell real text ({scale.good:.2f} nats a word) from the same "
            f"words in any order ({scale.bad:.2f}); it needs more text"
        )
    return scale


@dataclass(frozen=True)
class Fluency(PerSample):
    """A word n-gram model of the training targets. An empty output gets 0, an unknown word costs most."""

    model: KneserNey
    scale: Scale

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        found = words(sample.output)
        return self.scale.of(self.model.nats(found)) if found else 0.0


def train_fluency(lines: Sequence[str], order: int = 3, seed: int = 0) -> Fluency:
    """Count the lines but for one in ten, which give the scale. The same lines give the same reward."""
    if len(lines) < LEAST_LINES:
        raise UserError(f"reward fluency: {len(lines)} lines are too few to learn from, it needs {LEAST_LINES}")
    model = KneserNey((words(line) for at, line in enumerate(lines) if at % HELD_OUT), order)

    def nats(texts: Sequence[str]) -> list[float]:
        return [model.nats(words(text)) for text in texts]

    return Fluency(model, find_scale(lines[::HELD_OUT], nats, seed))


@dataclass(frozen=True)
class CausalFluency(Named):
    """A causal language model that is loaded already, in evaluation mode and frozen; on the device it is on."""

    model: Any
    tokenizer: Any
    scale: Scale
    batch: int = 16

    def __call__(self, samples: Sequence[Sample]) -> Values:
        """0 to 1 each; an empty output gets 0."""
        filled = [at for at, sample in enumerate(samples) if sample.output.strip()]
        found: Values = [0.0] * len(samples)
        nats = token_nats(self.model, self.tokenizer, [samples[at].output for at in filled], self.batch)
        for at, value in zip(filled, nats, strict=True):
            found[at] = self.scale.of(value)
        return found


def causal_fluency(model: Any, tokenizer: Any, lines: Sequence[str], batch: int = 16, seed: int = 0) -> CausalFluency:
    """With a scale from real lines of the target language."""
    scale = find_scale(lines, lambda texts: token_nats(model, tokenizer, texts, batch), seed)
    return CausalFluency(model, tokenizer, scale, batch)


@torch.inference_mode()
def token_nats(model: Any, tokenizer: Any, texts: Sequence[str], batch: int = 16) -> list[float]:
    """Mean −log P of each text's tokens, in nats a token. The end of text stands before the first and after the last.

    Padding is on the right and masked, so what else is in a batch changes nothing.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.bos_token_id
    longest = getattr(model.config, "max_position_embeddings", None) or 1024
    device, found = next(model.parameters()).device, []
    for first in range(0, len(texts), batch):
        rows = [
            [end, *tokenizer(text, add_special_tokens=False)["input_ids"][: longest - 2], end]
            for text in texts[first : first + batch]
        ]
        width = max(len(row) for row in rows)
        ids_BT = torch.tensor([row + [end] * (width - len(row)) for row in rows], device=device)
        lengths_B = torch.tensor([len(row) for row in rows], device=device)
        mask_BT = torch.arange(width, device=device) < lengths_B[:, None]
        logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT.long()).logits[:, :-1].float()
        loss_BT = functional.cross_entropy(logits_BTV.transpose(1, 2), ids_BT[:, 1:], reduction="none")
        loss_B = (loss_BT * mask_BT[:, 1:]).sum(-1) / (lengths_B - 1)
        found += loss_B.tolist()
    return found
