"""A loss with its layers, masks and normaliser: what one term of a run adds to a micro-batch.

The losses themselves are pure functions (`losses/`). A term picks what they compare, leaves out what does not count,
and divides by the *global* number of what does, so that its shares add up however a step was cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forge.models.capture import AttentionSite, HiddenSite
from forge.objectives.kd.losses.attention_kl import attention_kl
from forge.objectives.kd.losses.score_mse import score_mse
from forge.objectives.kd.losses.self_relation import self_relation
from forge.objectives.kd.masks import Masks
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.top_k import TopK
from forge.tasks.base import IGNORED_LABEL, Batch

Side = Literal["student", "teacher"]
Loss = Callable[..., Tensor]


@dataclass(frozen=True)
class Comparison:
    """What models say about a micro-batch, what of it counts, and how much counts in the whole step.

    Terms that compare with the data, and not with a teacher, read the batch.
    """

    student: Outputs
    teacher: Outputs
    masks: Masks
    totals: Mapping[str, float]
    batch: Batch = field(default_factory=dict)


class Term(ABC):
    """One loss of a run. `share` is this micro-batch's part of its mean over the step."""

    name: str
    weight: float
    projections: nn.Module | None = None  # trained along

    def counts(self, batch: Batch) -> dict[str, float]:  # noqa: ARG002
        """Normalisers of its own that a micro-batch adds, by names of its own."""
        return {}

    @abstractmethod
    def share(self, seen: Comparison) -> Tensor:
        """The unweighted loss, a scalar in fp32."""

    def sites(self) -> list[tuple[Any, Any]]:
        """Pairs of student site and teacher site whose hidden states or projections it reads; None: no such site."""
        return []

    def reads_values(self) -> bool:
        """Whether it reads the values of attentions, and not only queries and keys."""
        return False


@dataclass
class Response(Term):
    """Compares logits, a row a label: one an example, or one a target token."""

    name: str
    weight: float
    loss: Loss  # (student_NC, teacher_NC) → loss_N
    with_labels: bool = False
    any_classes: bool = False  # whether the two may have different numbers of classes
    of_top_k: Loss | None = None  # (student_NC, the teacher's TopK) → loss_N, where that needs no other classes

    def share(self, seen: Comparison) -> Tensor:
        """The mean over labels, of models that have one label an example."""
        assert seen.student.logits is not None
        assert seen.teacher.logits is not None
        total = self.sum(seen.student.logits, seen.teacher.logits, seen.masks.targets)
        return total / at_least_one(seen.totals["labels"])

    def sum(self, student_NC: Tensor, teacher_NC: Tensor | TopK, labels_N: Tensor) -> Tensor:
        """The sum over labels that count."""
        if isinstance(teacher_NC, TopK):
            if self.of_top_k:
                return _sum(self.of_top_k(student_NC, teacher_NC), labels_N != IGNORED_LABEL)
            teacher_NC = teacher_NC.logits()
        if not self.any_classes:  # embeddings may be padded to different sizes behind the tokens that both have
            shared = min(student_NC.shape[-1], teacher_NC.shape[-1])
            student_NC, teacher_NC = student_NC[..., :shared], teacher_NC[..., :shared]
        labels = (labels_N,) if self.with_labels else ()
        return _sum(self.loss(student_NC, teacher_NC, *labels), labels_N != IGNORED_LABEL)


@dataclass
class _Layered(Term):
    """Compares pairs of sites; the mean over the pairs."""

    name: str
    weight: float
    pairs: Sequence[tuple[Any, Any]]

    def share(self, seen: Comparison) -> Tensor:
        """The mean over pairs of sites."""
        shares = [self._of_pair(mine, its, seen) for mine, its in self.pairs]
        return torch.stack(shares).mean() if len(shares) > 1 else shares[0]

    @abstractmethod
    def _of_pair(self, mine: Any, its: Any, seen: Comparison) -> Tensor:
        """The share of one pair of sites."""

    def sites(self) -> list[tuple[Any, Any]]:
        """Its pairs."""
        return list(self.pairs)


@dataclass
class Feature(_Layered):
    """Compares hidden states token by token; the mean over tokens."""

    loss: Loss  # (student_BLD, teacher_BLD) → loss_BL
    projections: nn.ModuleDict | None = None

    def _of_pair(self, mine: HiddenSite, its: HiddenSite, seen: Comparison) -> Tensor:
        student_BLD = seen.student.hidden[mine].float()
        if self.projections is not None:
            student_BLD = self.projections[projection_key(mine, its, self.projections)](student_BLD)
        total = _sum(self.loss(student_BLD, seen.teacher.hidden[its]), seen.masks.tokens(mine.stack))
        return total / at_least_one(seen.totals[f"{mine.stack}.tokens"])


@dataclass
class Grouped(_Layered):
    """Compares how examples relate to each other, in groups of fixed size, so that cutting a step changes nothing."""

    loss: Loss  # (student_ND, teacher_NE, mask_N) → a scalar
    group: int
    pooled: bool  # one row an example, the mean over its tokens; else one row a token

    def _of_pair(self, mine: HiddenSite, its: HiddenSite, seen: Comparison) -> Tensor:
        mask_BL = seen.masks.tokens(mine.stack)
        total = torch.zeros((), device=mask_BL.device)
        for first in range(0, len(mask_BL), self.group):
            mask_GL = mask_BL[first : first + self.group]
            mine_ND, its_NE = (
                self._rows(hidden_BLD[first : first + self.group], mask_GL)
                for hidden_BLD in (seen.student.hidden[mine], seen.teacher.hidden[its])
            )
            valid_N = mask_GL.any(1) if self.pooled else mask_GL.flatten()
            if valid_N.device.type == "cpu":  # a GPU would have to wait to learn how many rows count
                kept = valid_N.nonzero().flatten()
                mine_ND, its_NE, valid_N = (x.index_select(0, kept) for x in (mine_ND, its_NE, valid_N))
            total = total + self.loss(mine_ND, its_NE, valid_N) * valid_N.sum()
        return total / at_least_one(seen.totals["examples" if self.pooled else f"{mine.stack}.tokens"])

    def _rows(self, hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        if not self.pooled:
            return hidden_BLD.flatten(0, 1)
        total_BD = torch.where(mask_BL[..., None], hidden_BLD.float(), 0.0).sum(1)
        return total_BD / mask_BL.sum(1, keepdim=True).clamp(min=1)


@dataclass
class Scores(_Layered):
    """Mean squared difference of attention scores over valid pairs of query and key, and heads."""

    center: bool

    def _of_pair(self, mine: AttentionSite, its: AttentionSite, seen: Comparison) -> Tensor:
        a_BHQK, b_BHQK, mask_BQK = (
            seen.student.scores(mine),
            seen.teacher.scores(its),
            seen.masks.pairs(mine.stack, mine.kind),
        )
        average = a_BHQK.shape[1] != b_BHQK.shape[1]
        loss_BQ = score_mse(a_BHQK, b_BHQK, mask_BQK, center=self.center, average_heads=average)
        return loss_BQ.sum() / at_least_one(seen.totals[f"{mine.stack}.{mine.kind}.pairs"])


@dataclass
class Attention(_Layered):
    """KL between attention distributions, the mean over valid queries and heads."""

    value_heads: int | None  # heads of the value relation, None without it

    def reads_values(self) -> bool:
        """Only for the value relation."""
        return self.value_heads is not None

    def _of_pair(self, mine: AttentionSite, its: AttentionSite, seen: Comparison) -> Tensor:
        a_BHQK, b_BHQK, mask_BQK = (
            seen.student.scores(mine),
            seen.teacher.scores(its),
            seen.masks.pairs(mine.stack, mine.kind),
        )
        loss_BQ = attention_kl(a_BHQK, b_BHQK, mask_BQK, average_heads=a_BHQK.shape[1] != b_BHQK.shape[1])
        if self.value_heads and mine.kind == "self":
            a_BKE, b_BKE = seen.student.attention[mine].v_BKE, seen.teacher.attention[its].v_BKE
            loss_BQ = loss_BQ + self_relation(a_BKE, b_BKE, mask_BQK, relation_heads=self.value_heads)
        return loss_BQ.sum() / at_least_one(seen.totals[f"{mine.stack}.tokens"])


@dataclass
class Relation(_Layered):
    """KL between the relations among queries, among keys and among values; their sum, the mean over valid tokens."""

    heads: int

    def reads_values(self) -> bool:
        """Always."""
        return True

    def _of_pair(self, mine: AttentionSite, its: AttentionSite, seen: Comparison) -> Tensor:
        a, b, mask_BQK = (
            seen.student.attention[mine],
            seen.teacher.attention[its],
            seen.masks.pairs(mine.stack, mine.kind),
        )
        losses = [
            self_relation(x, y, mask_BQK, relation_heads=self.heads).sum()
            for x, y in ((a.q_BQD, b.q_BQD), (a.k_BKE, b.k_BKE), (a.v_BKE, b.v_BKE))
        ]
        return torch.stack(losses).sum() / at_least_one(seen.totals[f"{mine.stack}.tokens"])


def projection_key(mine: HiddenSite, its: HiddenSite, projections: nn.ModuleDict | None = None) -> str:
    """The name of a pair's projection: its own, or its stack's shared one. No dots, which module names cannot have."""
    shared = f"shared-{mine.stack}"
    return shared if projections is not None and shared in projections else f"{mine.stack}-{mine.layer}-to-{its.layer}"


def extras(terms: Sequence[Term]) -> nn.ModuleDict | None:
    """What the terms of a run train along, by term, or None."""
    found = {term.name: term.projections for term in terms if term.projections is not None}
    return nn.ModuleDict(found) if found else None


def sites_of(terms: Sequence[Term], side: Side) -> tuple[list[HiddenSite], list[AttentionSite]]:
    """Every place inside one model that some term reads."""
    read = {pair[("student", "teacher").index(side)] for term in terms for pair in term.sites()}
    hidden = sorted(site for site in read if isinstance(site, HiddenSite))
    return hidden, sorted(site for site in read if isinstance(site, AttentionSite))


def _sum(loss: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, loss, 0.0).sum()


def at_least_one(total: float) -> float:
    """A normaliser to divide by."""
    return max(total, 1.0)
