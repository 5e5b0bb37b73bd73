"""The closed table of distillation losses: name, family, and how a term is made from its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from forge.config.schema import Loss
from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.models.capture import AttentionSite, HiddenSite, Stack
from forge.objectives.kd.layers import Rule, layer_pairs
from forge.objectives.kd.losses.cosine import cosine
from forge.objectives.kd.losses.dkd import dkd
from forge.objectives.kd.losses.forward_kl import forward_kl
from forge.objectives.kd.losses.hidden_mse import hidden_mse
from forge.objectives.kd.losses.jsd import jsd
from forge.objectives.kd.losses.linear_cka import linear_cka
from forge.objectives.kd.losses.logit_mse import logit_mse
from forge.objectives.kd.losses.rkd import rkd
from forge.objectives.kd.losses.skew_kl import skew_kl
from forge.objectives.kd.losses.topk_kl import top_k, topk_kl
from forge.objectives.kd.losses.uld import uld
from forge.objectives.kd.projections import make_projections
from forge.objectives.kd.terms import Attention, Feature, Grouped, Relation, Response, Scores, Term
from forge.objectives.kd.top_k import TopK

Family = Literal["response", "feature", "attention"]


@dataclass(frozen=True)
class Pairing:
    """The two models that a run compares."""

    student: Mapping[str, Stack]
    teacher: Mapping[str, Stack]
    layers: Rule  # for losses that name no layers of their own
    seed: int

    def hidden(self, name: str, rule: Rule | None) -> list[tuple[HiddenSite, HiddenSite]]:
        """Pairs of hidden states in every stack that both models have."""
        return [
            (HiddenSite(stack, mine), HiddenSite(stack, its))
            for stack in self._stacks(name)
            for mine, its in self._pairs(name, rule, stack, lowest=0)
        ]

    def attention(self, name: str, rule: Rule | None, cross: bool = True) -> list[tuple[AttentionSite, AttentionSite]]:
        """Pairs of attentions in every stack that both models have."""
        return [
            (AttentionSite(stack, kind, mine), AttentionSite(stack, kind, its))
            for stack in self._stacks(name)
            for kind in self.student[stack].kinds
            if kind in self.teacher[stack].kinds and (cross or kind == "self")
            for mine, its in self._pairs(name, rule, stack, lowest=1)
        ]

    def relation_heads(self, name: str, wanted: int | None) -> int:
        """Heads that every width can be cut into: as asked, or the most that fit, up to the teacher's heads."""
        widths = {
            heads * stack.head_dim
            for side in (self.student, self.teacher)
            for stack in side.values()
            for heads in (stack.heads, stack.kv_heads)
            if heads
        }
        fitting = [n for n in range(1, min(widths) + 1) if all(width % n == 0 for width in widths)]
        if wanted is None:
            most = max(stack.heads for stack in self.teacher.values())
            return max(n for n in fitting if n <= most)
        if wanted not in fitting:
            raise UserError(
                f"distill.{name}.relation_heads: {wanted} does not divide the widths "
                f"{', '.join(map(str, sorted(widths)))}; {', '.join(map(str, fitting))} do"
            )
        return wanted

    def _stacks(self, name: str) -> list[str]:
        both = [stack for stack in self.student if stack in self.teacher]
        if not both:
            raise UserError(
                f"distill.{name}: the student's layers are those of its {' and '.join(self.student)}, the teacher's "
                f"those of its {' and '.join(self.teacher)}, which cannot be compared; leave feature and attention "
                "losses out"
            )
        return both

    def _pairs(self, name: str, rule: Rule | None, stack: str, lowest: int) -> list[tuple[int, int]]:
        key = "distill.layers" if rule is None else f"distill.{name}.layers"
        depths = self.student[stack].depth, self.teacher[stack].depth
        named = stack if len(self._stacks(name)) > 1 else ""
        return layer_pairs(self.layers if rule is None else rule, *depths, key=key, lowest=lowest, stack=named)


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    family: Family
    make: Callable[[str, Any, Pairing], Term]


def _response(
    function: Callable[..., Any],
    *options: str,
    with_labels: bool = False,
    any_classes: bool = False,
    of_top_k: Callable[..., Any] | None = None,
) -> Entry:
    def make(name: str, settings: Any, _: Pairing) -> Term:
        chosen = {option: getattr(settings, option) for option in options}
        short = partial(of_top_k, **chosen) if of_top_k else None
        return Response(name, settings.weight, partial(function, **chosen), with_labels, any_classes, short)

    return Entry("response", make)


def _feature(function: Callable[..., Any]) -> Entry:
    def make(name: str, settings: Any, pairing: Pairing) -> Term:
        pairs = pairing.hidden(name, settings.layers)
        widths = [(pairing.student[mine.stack].width, pairing.teacher[its.stack].width) for mine, its in pairs]
        seed = derive_seed(pairing.seed, "projection", name)
        projections = make_projections(pairs, widths, settings.projection, seed, f"distill.{name}.projection")
        return Feature(name, settings.weight, pairs, function, projections)

    return Entry("feature", make)


def _grouped(function: Callable[..., Any], *options: str, pooled: bool) -> Entry:
    def make(name: str, settings: Any, pairing: Pairing) -> Term:
        chosen = {option: getattr(settings, option) for option in options}
        pairs = pairing.hidden(name, settings.layers)
        return Grouped(name, settings.weight, pairs, partial(function, **chosen), settings.group, pooled)

    return Entry("feature", make)


def _scores(name: str, settings: Any, pairing: Pairing) -> Term:
    return Scores(name, settings.weight, pairing.attention(name, settings.layers), settings.center)


def _attention(name: str, settings: Any, pairing: Pairing) -> Term:
    heads = pairing.relation_heads(name, settings.relation_heads) if settings.value_relation else None
    return Attention(name, settings.weight, pairing.attention(name, settings.layers), heads)


def _relation(name: str, settings: Any, pairing: Pairing) -> Term:
    heads = pairing.relation_heads(name, settings.relation_heads)
    return Relation(name, settings.weight, pairing.attention(name, settings.layers, cross=False), heads)


def _topk(student_NC: Any, teacher_NC: Any, *, k: int, temperature: float) -> Any:
    logprobs_NK, indices_NK = top_k(teacher_NC, min(k, teacher_NC.shape[-1]), temperature)
    return topk_kl(student_NC, logprobs_NK, indices_NK, temperature=temperature)


def _topk_of_cached(student_NC: Any, teacher: TopK, *, k: int, temperature: float) -> Any:
    """Sorted as they were found: the first k are the likeliest k, whatever the temperature."""
    logprobs_NK = teacher.tempered(temperature)[..., :k]
    return topk_kl(student_NC, logprobs_NK, teacher.indices_MK[..., :k], temperature=temperature)


LOSSES: Mapping[str, Entry] = {
    "forward_kl": _response(forward_kl, "temperature", "standardise"),
    "jsd": _response(jsd, "beta", "temperature"),
    "dkd": _response(dkd, "temperature", "target_weight", "other_weight", with_labels=True),
    "hidden_mse": _feature(hidden_mse),
    "cosine": _feature(cosine),
    "linear_cka": _grouped(linear_cka, pooled=False),
    "score_mse": Entry("attention", _scores),
    "attention_kl": Entry("attention", _attention),
    "self_relation": Entry("attention", _relation),
    "logit_mse": _response(logit_mse, "center"),
    "skew_kl": _response(skew_kl, "skew", "temperature"),
    "topk_kl": _response(_topk, "k", "temperature", of_top_k=_topk_of_cached),
    "uld": _response(uld, "temperature", any_classes=True),
    "rkd": _grouped(rkd, "distance_weight", "angle_weight", pooled=True),
}
"""Every loss of `distill:`, the nine first. A new one is its file, its settings, and a line here."""


def make_terms(losses: Mapping[str, Loss], pairing: Pairing) -> list[Term]:
    """The terms of a run, in the order of the configuration's schema."""
    return [LOSSES[name].make(name, settings, pairing) for name, settings in losses.items()]


def only_responses(losses: Mapping[str, Loss]) -> bool:
    """Whether the losses look at logits alone, so that any two architectures can be compared."""
    return all(LOSSES[name].family == "response" for name in losses)
