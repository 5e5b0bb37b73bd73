"""Supervised fine-tuning: cross-entropy against the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from forge.objectives.base import LossReport, Objective
from forge.tasks.base import IGNORED_LABEL, Batch, forward


class SFT(Objective):
    """Mean over valid labels of −Σ_c y(c) · log softmax(logits)(c), in nats, from 0 to ∞.

    y is one-hot, or with label smoothing ε: (1 − ε) · one-hot + ε / C (Szegedy et al. 2016, arXiv 1512.00567, §7).
    Rows labelled IGNORED_LABEL count for nothing. Computed in fp32 whatever the model's precision.
    """

    name = "sft"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of valid labels."""
        return {"labels": float((batch["labels"] != IGNORED_LABEL).sum())}

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """Sum over this micro-batch's valid labels, over the global number of them."""
        return LossReport(self.share(forward(model, batch).logits, batch, totals))

    def share(self, logits_BC: torch.Tensor, batch: Batch, totals: Mapping[str, float]) -> torch.Tensor:
        """The same, of logits that are there already."""
        total = functional.cross_entropy(
            logits_BC.float().flatten(0, -2),
            batch["labels"].flatten(),
            ignore_index=IGNORED_LABEL,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return total / max(totals["labels"], 1.0)
