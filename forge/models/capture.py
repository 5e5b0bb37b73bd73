"""Hidden states and attention projections of chosen layers, recorded by hooks while the model runs as ever.

Models are never asked for `output_attentions`: that would switch off SDPA, or return an empty tuple, and what eager
attention returns is after dropout. The hooks keep references; the arithmetic waits for `take` and `scores`.

Shape letters of this module: B examples, L tokens of one input, Q queries, K keys, H query heads, G key and value
heads, D and E widths of queries and of keys (heads times head width, or G times it), d width of one head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from forge.models.layout import AttentionSite, FoundStack, HiddenSite, Stack, find, find_stack, layout, unwrap

__all__ = ["AttentionSite", "Captured", "HiddenSite", "Projections", "Recorder", "Stack", "layout", "scores"]


@dataclass(frozen=True)
class Projections:
    """Queries, keys and values of one attention as its softmax sees them: normed and rotated, heads side by side."""

    q_BQD: Tensor
    k_BKE: Tensor
    v_BKE: Tensor
    heads: int
    kv_heads: int
    scale: float
    bias_HQK: Tensor | None  # T5's bias for relative positions


@dataclass(frozen=True)
class Captured:
    """What one forward left at every site that was asked for."""

    hidden: dict[HiddenSite, Tensor]
    attention: dict[AttentionSite, Projections]


def scores(projections: Projections) -> Tensor:
    """Attention scores S_BHQK = scale · q kᵀ (+ bias), before mask and softmax, in the dtype of the projections."""
    p = projections
    batch, queries, width = p.q_BQD.shape
    q_BHQd = (p.q_BQD * p.scale).view(batch, queries, p.heads, -1).transpose(1, 2)
    k_BGdK = p.k_BKE.view(batch, -1, p.kv_heads, width // p.heads).permute(0, 2, 3, 1)
    # Query heads that share a key head stand in a row, so they multiply it as one matrix of R rows: no key is copied.
    q_BGRd = q_BHQd.reshape(batch, p.kv_heads, -1, width // p.heads)
    s_BHQK = torch.matmul(q_BGRd, k_BGdK).view(batch, p.heads, queries, -1)
    return s_BHQK if p.bias_HQK is None else s_BHQK + p.bias_HQK


class Recorder:
    """Hooks on the named sites of a model, there until `close`; `take` hands over what the last forward left.

    Only a forward of the whole model counts, so blocks that gradient checkpointing runs again are not mistaken for
    one. Register before `torch.compile`. Of a model in inference mode the tensors are inference tensors: clone what
    enters a loss with gradients.
    """

    def __init__(
        self, model: nn.Module, hidden: Iterable[HiddenSite] = (), attention: Iterable[AttentionSite] = ()
    ) -> None:
        stacks = find(model)
        self._hidden = {site: find_stack(stacks, site) for site in hidden}
        self._attention = {site: find_stack(stacks, site) for site in attention}
        self._store: dict[str, Any] = {}
        self._recording = False
        self._grad_mode = False
        outputs, inputs = self._watched()
        root = unwrap(model)
        self._handles: list[RemovableHandle] = [root.register_forward_pre_hook(self._begin)]
        for key, module in inputs.items():
            self._handles.append(module.register_forward_pre_hook(self._keep_input(key), with_kwargs=True))
        for key, module in outputs.items():
            self._handles.append(module.register_forward_hook(self._keep_output(key)))
        self._handles.append(root.register_forward_hook(self._end))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every hook and forget what they kept."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._store.clear()

    def take(self) -> Captured:
        """What the last forward left, once. A site that received nothing is an error: its loss would be silently 0."""
        store = dict(self._store)
        self._store.clear()
        try:
            return Captured(
                {site: _state(store[str(site)], found.plan.grid) for site, found in self._hidden.items()},
                {site: _projections(site, found, store) for site, found in self._attention.items()},
            )
        except KeyError as error:
            raise RuntimeError(
                f"nothing was recorded at {error.args[0]}: since the last take no forward ran, or it skipped this "
                "part, or cut it from the gradients (reentrant checkpointing)"
            ) from None

    def _watched(self) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
        """Modules whose outputs, and modules whose inputs are kept, by the key to keep them under."""
        outputs: dict[str, nn.Module] = {}
        inputs: dict[str, nn.Module] = {}
        for site, found in self._hidden.items():
            (outputs if site.layer else inputs)[str(site)] = found.block(site)
        for at, found in self._attention.items():
            attention, plan = found.attention(at), found.plan
            query, key, value = plan.projections
            query, key = plan.norms or (query, key)
            for letter, part in (("q", query), ("k", key), ("v", value)):
                outputs[f"{at}.{letter}"] = attention.get_submodule(part)
            if plan.rotary:
                outputs[f"{at.stack}.rotary"] = found.base.get_submodule(plan.rotary)
            if plan.bias and at.kind == "self":
                outputs[f"{at.stack}.bias"] = found.blocks[0].get_submodule(plan.bias)
        return outputs, inputs

    def _begin(self, _module: nn.Module, _arguments: Any) -> None:
        self._store.clear()
        self._recording = True
        self._grad_mode = torch.is_grad_enabled()

    def _end(self, _module: nn.Module, _arguments: Any, _output: Any) -> None:
        self._recording = False

    def _keep_output(self, key: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
            # Reentrant checkpointing runs a block without gradients: what it leaves would train nothing.
            if self._recording and torch.is_grad_enabled() == self._grad_mode:
                self._store[key] = output

        return keep

    def _keep_input(self, key: str) -> Callable[[nn.Module, Any, dict[str, Any]], None]:
        def keep(_module: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
            if self._recording:
                self._store[key] = arguments[0] if arguments else named["hidden_states"]

        return keep


def _state(output: Any, grid: bool) -> Tensor:
    """The hidden state in what a block returns: alone, or first in a tuple; of a map BDHW its cells, row by row."""
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state.flatten(2).transpose(1, 2) if grid else state


def _projections(site: AttentionSite, found: FoundStack, store: dict[str, Any]) -> Projections:
    stack, plan = found.stack, found.plan
    q_BQD, k_BKE, v_BKE = (store[f"{site}.{letter}"].flatten(2) for letter in "qkv")
    if plan.rotary:
        cosines_BLd, sines_BLd = store[f"{site.stack}.rotary"]
        q_BQD, k_BKE = (_rotate(x_BLD, cosines_BLd, sines_BLd) for x_BLD in (q_BQD, k_BKE))
    bias_HQK = store[f"{site.stack}.bias"].permute(2, 0, 1) if plan.bias and site.kind == "self" else None
    scale = stack.head_dim**-0.5 if plan.scaled else 1.0
    return Projections(q_BQD, k_BKE, v_BKE, stack.heads, stack.kv_heads, scale, bias_HQK)


def _rotate(x_BLD: Tensor, cosines_BLd: Tensor, sines_BLd: Tensor) -> Tensor:
    """Rotary positions in the half-by-half convention: each head (a, b) becomes (a, b)·cos + (−b, a)·sin."""
    x_BLHd = x_BLD.view(*x_BLD.shape[:2], -1, cosines_BLd.shape[-1])
    a_BLHr, b_BLHr = x_BLHd.chunk(2, dim=-1)
    turned_BLHd = torch.cat((-b_BLHr, a_BLHr), dim=-1)
    rotated_BLHd: Tensor = x_BLHd * cosines_BLd.unsqueeze(2) + turned_BLHd * sines_BLd.unsqueeze(2)
    return rotated_BLHd.flatten(2)
