"""Knowledge distillation: the labels' loss and any weighted combination of losses against a frozen teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from forge.core.errors import CheckpointError
from forge.models.capture import Recorder, Stack
from forge.objectives.base import LossReport, Objective
from forge.objectives.kd.masks import Masks, count
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.shuffled import of_another
from forge.objectives.kd.teacher import CachedTeacher, OnlineTeacher, Wanted
from forge.objectives.kd.terms import Comparison, Response, Side, Term, extras, sites_of
from forge.objectives.rows import WholeRows, labels_of_rows, rows_of, sum_over_rows, valid_positions
from forge.objectives.sft import SFT
from forge.tasks.base import IGNORED_LABEL, Batch, forward

TASK = "task"


class KD(Objective):
    """(1 − α) · task loss + α · Σ_k weight_k · scale_k · loss_k, each loss a mean over the whole step.

    The task loss is that of SFT. `scale` is 1, or fixed by gradient norms (`balance`). The student's
    hidden states and projections come from hooks on the layers that the losses name. Of a model that writes text, with
    a label a token, all losses on logits are taken together, a few tokens at a time. `causal`: it is a decoder alone.
    What the task has beside it counts as part of the task loss: it is about the data too. `shuffles`: the control in
    which labels learn from the teacher's logits of other examples.
    """

    name = "kd"
    shuffles = False

    def __init__(
        self,
        task: SFT,
        alpha: float,
        terms: Sequence[Term],
        student: torch.nn.Module,
        stacks: Mapping[str, Stack],
        balanced: bool = False,
        norms_every: int | None = None,
        causal: bool = False,
    ) -> None:
        self.task, self.alpha, self.terms, self.norms_every = task, alpha, list(terms), norms_every
        self._teacher: OnlineTeacher | CachedTeacher | None = None
        self._stacks = stacks
        self._causal = causal
        self._responses = [term for term in terms if isinstance(term, Response)]
        self._layered = [term for term in terms if not isinstance(term, Response)]
        self._beside = task.beside
        self.restarts_at = task.restarts_at
        self.extra = extras([*self.terms, *(task.beside.terms if task.beside else [])])
        self.wants_balance = balanced
        self._scales = dict.fromkeys((term.name for term in terms), 1.0)
        read = read_sites(self.terms, "student")
        # No hooks where nothing but logits is compared: then any architecture will do.
        self._recorder = Recorder(student, read.hidden, read.attention) if read.hidden or read.attention else None

    def learn_from(self, teacher: OnlineTeacher | CachedTeacher) -> None:
        """Take the teacher's outputs from here; called once, before the first step."""
        self._teacher = teacher
        self.enrich = teacher.enrich if isinstance(teacher, CachedTeacher) else None

    def begin(self, step: int) -> None:
        """What is beside the task may depend on the step."""
        self.task.begin(step)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Valid labels, examples, tokens and pairs of query and key; what the terms beside the task count."""
        own = count(batch, self._stacks, self._causal)
        return own | self._beside.counts(batch) if self._beside else own

    def compute(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> LossReport:
        """Forward of both models, then every term in fp32."""
        if self._beside and self._beside.alone:
            nothing, raw = self._beside.lead(model, batch, totals)
            assert self.extra is not None
            idle = [0.0 * parameter.sum() for parameter in self.extra.parameters()]  # with a gradient, as the model
            return self._report(torch.stack([nothing, *idle]).sum(), raw)
        seen, weights = self._look(model, batch, totals), self.weights()
        if seen.student.rows is None:
            raw = self._of_examples(seen, batch)
            return self._report(None, raw)
        names = [TASK, *(term.name for term in self._responses)]
        loss, of_rows = self._of_rows(seen, [weights[name] for name in names])
        return self._report(loss, self._of_layers(seen), of_rows)

    def _report(
        self,
        loss: torch.Tensor | None,
        raw: Mapping[str, torch.Tensor],
        done: Mapping[str, torch.Tensor] = MappingProxyType({}),
    ) -> LossReport:
        """`loss` and the weighted sum of `raw`; shares in `done` are in `loss` already."""
        weights = self.weights()
        weighted = [weights[name] * value for name, value in raw.items()]
        loss = torch.stack(weighted if loss is None else [loss, *weighted]).sum()
        parts = {name: value.detach() for name, value in {**done, **raw}.items()}
        parts |= {f"weighted.{name}": weights[name] * value for name, value in parts.items()}
        return LossReport(loss, parts)

    def unweighted(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> dict[str, torch.Tensor]:
        """The task's share and every term's."""
        seen = self._look(model, batch, totals)
        if seen.student.rows is None:
            return self._of_examples(seen, batch)
        names = [TASK, *(term.name for term in self._responses)]
        alone = {name: [float(name == other) for other in names] for name in names}
        return {name: self._of_rows(seen, weights)[0] for name, weights in alone.items()} | self._of_layers(seen)

    def _look(self, model: torch.nn.Module, batch: Batch, totals: Mapping[str, float]) -> Comparison:
        """Run both models."""
        assert self._teacher is not None, "learn_from comes first"
        teacher = self._teacher.outputs(batch)
        if self.shuffles:
            labels = batch["labels"]
            valid_M = labels_of_rows(labels, self._causal) != IGNORED_LABEL if labels.ndim > 1 else None
            teacher = of_another(teacher, None if valid_M is None else valid_M.view_as(labels))
        if batch["labels"].ndim == 1:
            student = Outputs(forward(model, batch).logits)
        else:
            student = Outputs(rows=rows_of(model, batch, self.task.head))
        if self._recorder:
            captured = self._recorder.take()
            student = replace(student, hidden=captured.hidden, attention=captured.attention)
        if self._beside:
            captured = self._beside.take()
            student = replace(
                student,
                hidden={**student.hidden, **captured.hidden},
                attention={**student.attention, **captured.attention},
            )
        return Comparison(student, teacher, Masks(batch, self._stacks), totals, batch)

    def _of_examples(self, seen: Comparison, batch: Batch) -> dict[str, torch.Tensor]:
        """Every term of models with one label an example."""
        logits = seen.student.logits
        assert logits is not None
        with torch.autocast(logits.device.type, enabled=False):
            raw = {TASK: self.task.share(logits, batch, seen.totals)}
            for term in self.terms:
                raw[term.name] = term.share(seen)
        return raw

    def _of_rows(self, seen: Comparison, weights: Sequence[float]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted sum of the losses on logits, differentiable, and each one's share, for the log."""
        mine, its = seen.student.rows, seen.teacher.rows
        assert isinstance(mine, WholeRows)
        labels_M = labels_of_rows(seen.masks.targets, self._causal)

        def losses(logits_nV: torch.Tensor, positions_n: torch.Tensor) -> torch.Tensor:
            labels_n = labels_M[positions_n]
            found = [self.task.sum(logits_nV, labels_n)]
            if self._responses:
                assert its is not None
                teacher_n = its.at(positions_n)
                found += [term.sum(logits_nV, teacher_n, labels_n) for term in self._responses]
            return torch.stack(found)

        scale = 1.0 / max(seen.totals["labels"], 1.0)
        states_MX, places_P = mine.states_BTX.flatten(0, 1), valid_positions(labels_M != IGNORED_LABEL)
        loss, sums_K = sum_over_rows(states_MX, mine.head, places_P, losses, [scale * weight for weight in weights])
        names = [TASK, *(term.name for term in self._responses)]
        return loss, dict(zip(names, sums_K * scale, strict=True))

    def _of_layers(self, seen: Comparison) -> dict[str, torch.Tensor]:
        """The terms that look inside the models, and those beside the task."""
        with torch.autocast(seen.masks.targets.device.type, enabled=False):
            found = {term.name: term.share(seen) for term in self._layered}
        return found | self._beside.shares(seen) if self._beside else found

    def weights(self) -> dict[str, float]:
        """The factor of each term in the loss of the present step."""
        alone = self._beside is not None and self._beside.alone
        alpha = 0.0 if alone else self.alpha
        listening = {term.name: alpha * term.weight * self._scales[term.name] for term in self.terms}
        told = {TASK: float(not alone)} | (self._beside.weights() if self._beside else {})
        return {name: (1.0 - self.alpha) * weight for name, weight in told.items()} | listening

    def balance(self, norms: Mapping[str, float]) -> str:
        """scale_k = ‖∇ task loss‖ / ‖∇ loss_k‖, so that a weight of 1 means the same pull from every loss."""
        for term in self.terms:
            if norms[term.name] > 0:
                self._scales[term.name] = norms[TASK] / norms[term.name]
        self.wants_balance = False
        shown = ", ".join(f"{name} × {scale:.4g}" for name, scale in self._scales.items())
        return f"balance: gradient norms were matched to the task loss's: {shown}"

    def state(self) -> dict[str, Any]:
        """The scales; a run that was balanced once stays so."""
        return {"scales": dict(self._scales), "balanced": not self.wants_balance}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        if set(saved.get("scales", {})) != set(self._scales):
            raise CheckpointError("the checkpoint holds the state of other distillation losses")
        self._scales = {name: float(scale) for name, scale in saved["scales"].items()}
        self.wants_balance = self.wants_balance and not saved["balanced"]


def read_sites(terms: Sequence[Term], side: Side) -> Wanted:
    """Every place inside one model that some term reads, and at which attentions it reads values."""
    hidden, attention = sites_of(terms, side)
    values = sites_of([term for term in terms if term.reads_values()], side)[1]
    return Wanted(tuple(hidden), tuple(attention), frozenset(values))
