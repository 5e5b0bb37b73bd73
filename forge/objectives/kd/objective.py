"""Knowledge distillation: the labels' loss and any weighted combination of losses against a frozen teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from forge.core.errors import CheckpointError
from forge.models.capture import AttentionSite, HiddenSite, Recorder, Stack
from forge.objectives.base import LossReport, Objective
from forge.objectives.kd.masks import Masks, count
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.table import extras
from forge.objectives.kd.teacher import CachedTeacher, OnlineTeacher, Wanted
from forge.objectives.kd.terms import Comparison, Response, Term
from forge.objectives.sft import SFT
from forge.tasks.base import Batch, forward

TASK = "task"


class KD(Objective):
    """(1 − α) · task loss + α · Σ_k weight_k · scale_k · loss_k, each loss a mean over the whole step.

    The task loss is that of SFT. `scale` is 1, or fixed before step 1 by the gradient norms (`balance`). The student's
    hidden states and projections come from hooks on the layers that the losses name.
    """

    name = "kd"

    def __init__(
        self,
        task: SFT,
        alpha: float,
        terms: Sequence[Term],
        student: torch.nn.Module,
        stacks: Mapping[str, Stack],
        balanced: bool = False,
        norms_every: int | None = None,
    ) -> None:
        self.task, self.alpha, self.terms, self.norms_every = task, alpha, list(terms), norms_every
        self._teacher: OnlineTeacher | CachedTeacher | None = None
        self._stacks = stacks
        self._causal = any(isinstance(term, Response) and term.causal for term in terms)
        self.extra = extras(self.terms)
        self.wants_balance = balanced
        self._scales = dict.fromkeys((term.name for term in terms), 1.0)
        read = read_sites(self.terms, "student")
        # No hooks where nothing but logits is compared: then any architecture will do.
        self._recorder = Recorder(student, read.hidden, read.attention) if read.hidden or read.attention else None

    def learn_from(self, teacher: OnlineTeacher | CachedTeacher) -> None:
        """Take the teacher's outputs from here; called once, before the first step."""
        self._teacher = teacher
        self.enrich = teacher.enrich if isinstance(teacher, CachedTeacher) else None

    def counts(self, batch: Batch) -> dict[str, float]:
        """Valid labels, examples, tokens and pairs of query and key."""
        return count(batch, self._stacks, self._causal)

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """Forward of both models, then every term in fp32."""
        assert self._teacher is not None, "learn_from comes first"
        teacher = self._teacher.outputs(batch)
        logits = forward(model, batch).logits
        captured = self._recorder.take() if self._recorder else None
        student = Outputs(logits, captured.hidden, captured.attention) if captured else Outputs(logits)
        with torch.autocast(logits.device.type, enabled=False):
            seen = Comparison(student, teacher, Masks(batch, self._stacks), totals)
            raw = {TASK: self.task.share(logits, batch, totals)}
            for term in self.terms:
                raw[term.name] = term.share(seen)
        weights = self.weights()
        weighted = {name: weights[name] * value for name, value in raw.items()}
        loss = torch.stack(list(weighted.values())).sum()
        parts = {name: value.detach() for name, value in raw.items()}
        parts |= {f"weighted.{name}": value.detach() for name, value in weighted.items()}
        return LossReport(loss, parts, raw)

    def weights(self) -> dict[str, float]:
        """The factor of each term in the loss."""
        listening = {term.name: self.alpha * term.weight * self._scales[term.name] for term in self.terms}
        return {TASK: 1.0 - self.alpha} | listening

    def balance(self, norms: Mapping[str, float]) -> str:
        """scale_k = ‖∇ task loss‖ / ‖∇ loss_k‖, so that a weight of 1 means the same pull from every loss."""
        for term in self.terms:
            if norms[term.name] > 0:
                self._scales[term.name] = norms[TASK] / norms[term.name]
        self.wants_balance = False
        shown = ", ".join(f"{name} × {scale:.4g}" for name, scale in self._scales.items())
        return f"balance: gradient norms before step 1 were matched to the task loss's: {shown}"

    def state(self) -> dict[str, Any]:
        """The scales; a run that was balanced once stays so."""
        return {"scales": dict(self._scales), "balanced": not self.wants_balance}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        if set(saved.get("scales", {})) != set(self._scales):
            raise CheckpointError("the checkpoint holds the state of other distillation losses")
        self._scales = {name: float(scale) for name, scale in saved["scales"].items()}
        self.wants_balance = self.wants_balance and not saved["balanced"]


def read_sites(terms: Sequence[Term], side: Literal["student", "teacher"]) -> Wanted:
    """Every place inside one model that some term reads."""
    index = 0 if side == "student" else 1
    read = {(pair[index], term.reads_values()) for term in terms for pair in term.sites()}
    hidden = sorted({site for site, _ in read if isinstance(site, HiddenSite)})
    attention = sorted({site for site, _ in read if isinstance(site, AttentionSite)})
    values = frozenset(site for site, with_values in read if with_values and isinstance(site, AttentionSite))
    return Wanted(tuple(hidden), tuple(attention), values)
