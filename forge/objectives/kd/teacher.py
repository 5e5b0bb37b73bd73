"""Where a batch's teacher outputs come from: the frozen teacher itself, or the cache that it filled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from forge.models.capture import AttentionSite, HiddenSite, Projections, Recorder, Stack
from forge.models.head import Head
from forge.objectives.kd.losses.topk_kl import top_k
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.reader import Reader
from forge.objectives.kd.shard import Field
from forge.objectives.kd.top_k import TopK
from forge.objectives.rows import Rows, WholeRows, rows_at_once, rows_of
from forge.tasks.base import Batch, Side, forward

LOGITS = "logits"
PREFIX = "teacher."  # begins the names of cached outputs in a batch


@dataclass(frozen=True)
class Wanted:
    """What the terms of a run read of the teacher. `values`: attentions whose values are read, not only q and k."""

    hidden: tuple[HiddenSite, ...] = ()
    attention: tuple[AttentionSite, ...] = ()
    values: frozenset[AttentionSite] = frozenset()
    logits: bool = True
    classes: int = 0  # columns of the teacher's logits: labels, or tokens of its vocabulary
    side: Side | None = None  # whose tokens have logits; None: there is one row an example
    top_k: int | None = None  # of logits that a cache keeps for each token; None keeps all

    def letters(self, site: AttentionSite) -> str:
        """Which projections of an attention are read."""
        return "qkv" if site in self.values else "qk"


class OnlineTeacher:
    """Runs the teacher on every batch: in evaluation mode, frozen, without gradients.

    `order` puts its logits into the data's label order: output c is its output order[c].
    """

    def __init__(
        self,
        model: torch.nn.Module,
        wanted: Wanted,
        order: Sequence[int] | None = None,
        head: Head | None = None,
    ) -> None:
        self.model, self._head = model.eval().requires_grad_(False), head
        device = next(model.parameters()).device
        self._order = None if order is None else torch.tensor(list(order), device=device)
        sites = bool(wanted.hidden or wanted.attention)
        self._recorder = Recorder(model, wanted.hidden, wanted.attention) if sites else None

    # Not inference_mode: autograd refuses to save its tensors, and every loss saves the teacher's.
    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch on its device."""
        if batch["labels"].ndim > 1:
            found = Outputs(rows=rows_of(self.model, batch, self._head))
        else:
            logits = forward(self.model, batch).logits
            found = Outputs(logits if self._order is None else logits.index_select(-1, self._order))
        if self._recorder is None:
            return found
        captured = self._recorder.take()
        return replace(found, hidden=captured.hidden, attention=captured.attention)


class CachedTeacher:
    """Reads the teacher's outputs from its cache; no teacher is loaded."""

    def __init__(self, reader: Reader, wanted: Wanted, stacks: Mapping[str, Stack]) -> None:
        self._reader, self._wanted, self._stacks = reader, wanted, stacks

    def enrich(self, batch: Batch, rows: np.ndarray) -> None:
        """Add what the cache holds of these training examples to their batch, on the CPU."""
        longest: dict[Side, int] = {"input": batch["attention_mask"].shape[1], "target": batch["labels"].shape[-1]}
        for name, tensor in self._reader.read(rows, longest).items():
            batch[f"{PREFIX}{name}"] = tensor

    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs from an enriched batch."""
        hidden = {site: batch[f"{PREFIX}{site}"] for site in self._wanted.hidden}
        attention = {site: self._projections(site, batch) for site in self._wanted.attention}
        if self._wanted.side is None:
            return Outputs(batch[f"{PREFIX}{LOGITS}"], hidden, attention)
        return Outputs(None, hidden, attention, self._rows(batch))

    def _rows(self, batch: Batch) -> Rows | None:
        wanted = self._wanted
        if not wanted.logits:
            return None
        if wanted.top_k is None:
            return WholeRows(batch[f"{PREFIX}{LOGITS}"], None)
        kept = [batch[f"{PREFIX}{name}"] for name in _top_names(wanted.top_k)]
        return TopK(kept[0], kept[1], wanted.classes)

    def _projections(self, site: AttentionSite, batch: Batch) -> Projections:
        stack, found = self._stacks[site.stack], {"v": torch.empty(0)}
        found |= {letter: batch[f"{PREFIX}{site}.{letter}"] for letter in self._wanted.letters(site)}
        scale = stack.head_dim**-0.5
        return Projections(found["q"], found["k"], found["v"], stack.heads, stack.kv_heads, scale, None)


def fields(wanted: Wanted, stacks: Mapping[str, Stack], dtype: torch.dtype) -> list[Field]:
    """What a cache must hold of each example for these terms."""
    sides = {name: _side(name, stacks) for name in stacks}
    found = _logit_fields(wanted) if wanted.logits else []
    found += [Field(str(site), stacks[site.stack].width, True, dtype, sides[site.stack]) for site in wanted.hidden]
    for site in wanted.attention:
        stack = stacks[site.stack]
        widths = {"q": stack.heads * stack.head_dim} | dict.fromkeys("kv", stack.kv_heads * stack.head_dim)
        for letter in wanted.letters(site):
            side = "input" if site.kind == "cross" and letter != "q" else sides[site.stack]  # keys of the encoder
            found.append(Field(f"{site}.{letter}", widths[letter], True, dtype, side))
    return found


def _logit_fields(wanted: Wanted) -> list[Field]:
    if wanted.side is None:
        return [Field(LOGITS, wanted.classes, False, torch.float32)]
    if wanted.top_k is None:
        return [Field(LOGITS, wanted.classes, True, torch.float32, wanted.side)]
    dtypes = (torch.float32, torch.int32)
    named = zip(_top_names(wanted.top_k), dtypes, strict=True)
    return [Field(name, wanted.top_k, True, dtype, wanted.side) for name, dtype in named]


def _top_names(k: int) -> tuple[str, str]:
    return f"top{k}.logprobs", f"top{k}.indices"


def _side(stack: str, stacks: Mapping[str, Stack]) -> Side:
    """The decoder beside an encoder reads what is to be written; every other stack reads the input."""
    return "target" if stack == "decoder" and "encoder" in stacks else "input"


def split(
    outputs: Outputs, lengths: Mapping[Side, Sequence[int]], asked: Sequence[Field], wanted: Wanted
) -> dict[str, list[torch.Tensor]]:
    """A batch's outputs as one tensor an example, without padding, by the name of the field."""
    attention = {f"{site}.q": p.q_BQD for site, p in outputs.attention.items()}
    attention |= {f"{site}.k": p.k_BKE for site, p in outputs.attention.items()}
    attention |= {f"{site}.v": p.v_BKE for site, p in outputs.attention.items()}
    named = {str(site): state for site, state in outputs.hidden.items()} | attention
    if outputs.logits is not None:
        named[LOGITS] = outputs.logits
    elif wanted.logits and any(field.name in {LOGITS, *_top_names(wanted.top_k or 0)} for field in asked):
        named |= _looked_at(outputs, wanted)
    found: dict[str, list[torch.Tensor]] = {}
    for field in asked:
        values = named[field.name]
        rows = (values.float() if values.is_floating_point() else values).cpu()
        found[field.name] = [
            row[:length] if field.per_token else row for row, length in zip(rows, lengths[field.side], strict=True)
        ]
    return found


def _looked_at(outputs: Outputs, wanted: Wanted) -> dict[str, torch.Tensor]:
    """Logits of all tokens, or the likeliest of each, a few tokens at a time."""
    assert wanted.side is not None
    assert isinstance(outputs.rows, WholeRows)
    examples, tokens = outputs.rows.states_BTX.shape[:2]
    device = outputs.rows.states_BTX.device
    kept: list[tuple[torch.Tensor, ...]] = []
    for positions_n in torch.split(
        torch.arange(examples * tokens, device=device), rows_at_once(wanted.classes, device)
    ):
        logits_nV = outputs.rows.at(positions_n)
        kept.append((logits_nV,) if wanted.top_k is None else top_k(logits_nV, wanted.top_k))
    names = (LOGITS,) if wanted.top_k is None else _top_names(wanted.top_k)
    whole = [torch.cat(parts).view(examples, tokens, -1) for parts in zip(*kept, strict=True)]
    return dict(zip(names, whole, strict=True))
