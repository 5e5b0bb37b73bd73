"""What counts in a batch: examples with a label, their tokens, their pairs of query and key.

Shape letters: B examples, L tokens of a stack, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from forge.models.capture import Stack
from forge.tasks.base import IGNORED_LABEL, Batch


class Masks:
    """Masks of one micro-batch, each made once. Nothing of it waits for the device."""

    def __init__(self, batch: Batch, stacks: Mapping[str, Stack]) -> None:
        self._batch, self._stacks = batch, stacks
        self._made: dict[str, torch.Tensor] = {}
        labels_BX = batch["labels"]
        self.targets = labels_BX
        self.labels = labels_BX != IGNORED_LABEL
        self.examples_B = self.labels.flatten(1).any(1) if labels_BX.ndim > 1 else self.labels

    def tokens(self, stack: str) -> torch.Tensor:
        """mask_BL: tokens of `stack` that are no padding, in examples that count."""
        if stack not in self._made:
            self._made[stack] = self._tokens(stack) & self.examples_B[:, None]
        return self._made[stack]

    def pairs(self, stack: str, kind: str) -> torch.Tensor:
        """mask_BQK: pairs of a query and a key that attention may join, both valid."""
        name = f"{stack}.{kind}"
        if name not in self._made:
            queries_BQ = self.tokens(stack)
            keys_BK = self.tokens("encoder") if kind == "cross" else queries_BQ
            pairs_BQK = queries_BQ[:, :, None] & keys_BK[:, None, :]
            if kind == "self" and self._stacks[stack].causal:
                pairs_BQK = pairs_BQK.tril()
            self._made[name] = pairs_BQK
        return self._made[name]

    def _tokens(self, stack: str) -> torch.Tensor:
        has_encoder = "encoder" in self._stacks
        if stack == "decoder" and has_encoder:
            return self.labels  # the decoder reads the labels shifted by one: one input for each label
        return self._batch["attention_mask"].bool()


def count(batch: Batch, stacks: Mapping[str, Stack], causal: bool = False) -> dict[str, float]:
    """How much of each unit a micro-batch holds; computed on the CPU, before the batch is moved.

    `causal`: logits are about the next token, so no logits are about the first one's label.
    """
    masks = Masks(batch, stacks)
    labels = masks.labels[:, 1:] if causal else masks.labels
    counts = {"labels": float(labels.sum()), "examples": float(masks.examples_B.sum())}
    lengths = {stack: masks.tokens(stack).sum(1).double() for stack in stacks}
    for stack, described in stacks.items():
        lengths_B = lengths[stack]
        counts[f"{stack}.tokens"] = float(lengths_B.sum())
        pairs_B = lengths_B * (lengths_B + 1) / 2 if described.causal else lengths_B * lengths_B
        counts[f"{stack}.self.pairs"] = float(pairs_B.sum())
        if "cross" in described.kinds:
            counts[f"{stack}.cross.pairs"] = float((lengths_B * lengths["encoder"]).sum())
    return counts
