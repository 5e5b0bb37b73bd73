"""Supervised fine-tuning: cross-entropy against the labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from forge.models.head import Head
from forge.objectives.auxiliary import Auxiliary
from forge.objectives.base import LossReport, Objective
from forge.objectives.rows import run_to_rows, sum_over_rows, valid_positions
from forge.tasks.base import IGNORED_LABEL, Batch, forward


class SFT(Objective):
    """Mean over valid labels of −Σ_c y(c) · log softmax(logits)(c), in nats, from 0 to ∞.

    y is one-hot, or with label smoothing ε: (1 − ε) · one-hot + ε / C (Szegedy et al. 2016, arXiv 1512.00567, §7).
    Rows labelled IGNORED_LABEL count for nothing. Computed in fp32 whatever the model's precision. A model that writes
    text has a label a token; with its `head` given, the logits of all tokens are never there at once. `beside` are
    losses on what else the data says, added with their weights.
    """

    name = "sft"

    def __init__(self, label_smoothing: float = 0.0, head: Head | None = None, beside: Auxiliary | None = None) -> None:
        self.label_smoothing, self.head, self.beside = label_smoothing, head, beside
        self.extra = beside.extra if beside else None
        self.restarts_at = beside.alone_steps if beside else 0

    def begin(self, step: int) -> None:
        """What is beside may depend on the step."""
        if self.beside:
            self.beside.begin(step)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of valid labels, and what the terms beside count."""
        labels = {"labels": float((batch["labels"] != IGNORED_LABEL).sum())}
        return labels | self.beside.counts(batch) if self.beside else labels

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """Sum over this micro-batch's valid labels, over the global number of them, and the terms beside."""
        if self.beside is None:
            return LossReport(self._task(model, batch, totals))
        if self.beside.alone:
            loss, shares = self.beside.lead(model, batch, totals)
            parts = {}
        else:
            loss = self._task(model, batch, totals)
            shares, parts = self.beside.beside(batch, totals), {"task": loss.detach()}
        weights = self.beside.weights()
        loss = torch.stack([loss, *(weights[name] * share for name, share in shares.items())]).sum()
        return LossReport(loss, parts | {name: share.detach() for name, share in shares.items()})

    def _task(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> torch.Tensor:
        if batch["labels"].ndim == 1:
            return self.share(forward(model, batch).logits, batch, totals)
        labels_M = batch["labels"].flatten()
        states_BTX = run_to_rows(model, batch, self.head)
        loss, _ = sum_over_rows(
            states_BTX.flatten(0, 1),
            self.head,
            valid_positions(labels_M != IGNORED_LABEL),
            lambda logits_nV, positions_n: self.sum(logits_nV, labels_M[positions_n])[None],
            [1.0 / max(totals["labels"], 1.0)],
        )
        return loss

    def share(self, logits_BC: torch.Tensor, batch: Batch, totals: Mapping[str, float]) -> torch.Tensor:
        """The same, of logits that are there already."""
        return self.sum(logits_BC.float().flatten(0, -2), batch["labels"].flatten()) / max(totals["labels"], 1.0)

    def sum(self, logits_NC: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
        """Σ_n of the loss of rows, a scalar; labels of IGNORED_LABEL add nothing."""
        return functional.cross_entropy(
            logits_NC, labels_N, ignore_index=IGNORED_LABEL, label_smoothing=self.label_smoothing, reduction="sum"
        )
