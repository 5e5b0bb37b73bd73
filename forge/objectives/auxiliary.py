"""Losses beside the labels' own, on data that says more than labels do; the first may train alone for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from forge.models.capture import Captured, Recorder, layout
from forge.objectives.kd.masks import Masks
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.terms import Comparison, Term, extras, sites_of
from forge.tasks.base import Batch, forward


class Auxiliary:
    """Terms that an objective adds to its task loss, with what they train along and where they look.

    In the first `alone_steps` steps the first term is the whole loss. What a step is made of is a function of its
    number alone, so a resumed run is at the right stage.
    """

    def __init__(self, terms: Sequence[Term], model: torch.nn.Module, alone_steps: int = 0) -> None:
        self.terms, self.alone_steps, self.alone = list(terms), alone_steps, alone_steps > 0
        self.extra = extras(self.terms)
        self._stacks = layout(model)
        self._recorder = Recorder(model, *sites_of(self.terms, "student"))

    def begin(self, step: int) -> None:
        """Update number `step`, counted from 0, comes next."""
        self.alone = step < self.alone_steps

    def counts(self, batch: Batch) -> dict[str, float]:
        """The terms' own normalisers."""
        return {name: count for term in self.terms for name, count in term.counts(batch).items()}

    def take(self) -> Captured:
        """What the last forward pass left."""
        return self._recorder.take()

    def weights(self) -> dict[str, float]:
        """The factor of each term beside the task loss."""
        return {term.name: term.weight if term in self._present else 0.0 for term in self.terms}

    def shares(self, seen: Comparison) -> dict[str, torch.Tensor]:
        """Each present term's share, unweighted."""
        with torch.autocast(seen.masks.targets.device.type, enabled=False):
            return {term.name: term.share(seen) for term in self._present}

    def beside(self, batch: Batch, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The same after a forward pass of the model alone."""
        captured = self.take()
        student = Outputs(hidden=captured.hidden, attention=captured.attention)
        return self.shares(Comparison(student, Outputs(), Masks(batch, self._stacks), totals, batch))

    def lead(
        self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(nothing, shares) while the first term is alone: the decoder reads one token, and learns nothing.

        What is left out has gradients of 0, and not none, so that every parameter takes every step on any number of
        processes. Adding the first number to the loss makes it so.
        """
        first = {"decoder_input_ids": batch["decoder_input_ids"][:, :1]} if "decoder_input_ids" in batch else {}
        logits = forward(model, batch | first).logits
        return 0.0 * logits.float().sum(), self.beside(batch, totals)

    @property
    def _present(self) -> list[Term]:
        return self.terms[:1] if self.alone else self.terms
