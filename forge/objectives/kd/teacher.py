"""Where a batch's teacher outputs come from: the frozen teacher itself, or the cache that it filled once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from forge.models.capture import AttentionSite, HiddenSite, Projections, Recorder, Stack
from forge.objectives.kd.outputs import Outputs
from forge.objectives.kd.reader import Reader
from forge.objectives.kd.shard import Field
from forge.tasks.base import Batch, forward

LOGITS = "logits"
PREFIX = "teacher."  # begins the names of cached outputs in a batch


@dataclass(frozen=True)
class Wanted:
    """What the terms of a run read of the teacher. `values`: attentions whose values are read, not only q and k."""

    hidden: tuple[HiddenSite, ...] = ()
    attention: tuple[AttentionSite, ...] = ()
    values: frozenset[AttentionSite] = frozenset()

    def letters(self, site: AttentionSite) -> str:
        """Which projections of an attention are read."""
        return "qkv" if site in self.values else "qk"


class OnlineTeacher:
    """Runs the teacher on every batch: in evaluation mode, frozen, without gradients.

    `order` puts its logits into the data's label order: output c is its output order[c].
    """

    def __init__(self, model: torch.nn.Module, wanted: Wanted, order: Sequence[int] | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        device = next(model.parameters()).device
        self._order = None if order is None else torch.tensor(list(order), device=device)
        sites = bool(wanted.hidden or wanted.attention)
        self._recorder = Recorder(model, wanted.hidden, wanted.attention) if sites else None

    # Not inference_mode: autograd refuses to save its tensors, and every loss saves the teacher's.
    @torch.no_grad()
    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs for a batch on its device."""
        logits = forward(self.model, batch).logits
        if self._order is not None:
            logits = logits.index_select(-1, self._order)
        if self._recorder is None:
            return Outputs(logits)
        captured = self._recorder.take()
        return Outputs(logits, captured.hidden, captured.attention)


class CachedTeacher:
    """Reads the teacher's outputs from its cache; no teacher is loaded."""

    def __init__(self, reader: Reader, wanted: Wanted, stacks: Mapping[str, Stack]) -> None:
        self._reader, self._wanted, self._stacks = reader, wanted, stacks

    def enrich(self, batch: Batch, rows: np.ndarray) -> None:
        """Add what the cache holds of these training examples to their batch, on the CPU."""
        for name, tensor in self._reader.read(rows, batch["attention_mask"].shape[1]).items():
            batch[f"{PREFIX}{name}"] = tensor

    def outputs(self, batch: Batch) -> Outputs:
        """The teacher's outputs from an enriched batch."""
        hidden = {site: batch[f"{PREFIX}{site}"] for site in self._wanted.hidden}
        attention = {site: self._projections(site, batch) for site in self._wanted.attention}
        return Outputs(batch[f"{PREFIX}{LOGITS}"], hidden, attention)

    def _projections(self, site: AttentionSite, batch: Batch) -> Projections:
        stack, found = self._stacks[site.stack], {"v": torch.empty(0)}
        found |= {letter: batch[f"{PREFIX}{site}.{letter}"] for letter in self._wanted.letters(site)}
        scale = stack.head_dim**-0.5
        return Projections(found["q"], found["k"], found["v"], stack.heads, stack.kv_heads, scale, None)


def fields(wanted: Wanted, labels: int, stacks: Mapping[str, Stack], dtype: torch.dtype) -> list[Field]:
    """What a cache must hold of each example for these terms."""
    found = [Field(LOGITS, labels, False, torch.float32)]
    found += [Field(str(site), stacks[site.stack].width, True, dtype) for site in wanted.hidden]
    for site in wanted.attention:
        stack = stacks[site.stack]
        widths = {"q": stack.heads * stack.head_dim} | dict.fromkeys("kv", stack.kv_heads * stack.head_dim)
        found += [Field(f"{site}.{letter}", widths[letter], True, dtype) for letter in wanted.letters(site)]
    return found


def split(outputs: Outputs, lengths: Sequence[int], asked: Sequence[Field]) -> dict[str, list[torch.Tensor]]:
    """A batch's outputs as one tensor an example, without padding, by the name of the field."""
    attention = {f"{site}.q": p.q_BQD for site, p in outputs.attention.items()}
    attention |= {f"{site}.k": p.k_BKE for site, p in outputs.attention.items()}
    attention |= {f"{site}.v": p.v_BKE for site, p in outputs.attention.items()}
    named = {LOGITS: outputs.logits} | {str(site): state for site, state in outputs.hidden.items()} | attention
    found: dict[str, list[torch.Tensor]] = {}
    for field in asked:
        rows = named[field.name].float().cpu()
        found[field.name] = [
            row[:length] if field.per_token else row for row, length in zip(rows, lengths, strict=True)
        ]
    return found
