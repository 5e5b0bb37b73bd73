"""All hidden states of a model on a batch, stack by stack, and which of their rows count.

Stacks are `encoder`, `decoder` and `vision`. Layer 0 is the input of the first block (the embeddings), layer m what
block m gives. Where `models.layout` knows the architecture, states come from the hooks that distillation uses, before
any norm after the last block; elsewhere they are what transformers calls `hidden_states`, whose last may be normed.

Shape letters: B examples, L positions of a stack, R rows that count, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from forge.core.errors import UserError
from forge.models.capture import HiddenSite, Recorder, layout
from forge.models.layout import unwrap
from forge.tasks.base import IGNORED_LABEL, Batch
from forge.workbench.sight import TOWERS, Tower, find_tower, patches

VISION = "vision"


Missed = dict[str, str]
"""Stacks that could not be read, and why."""


@contextmanager
def missing(missed: Missed | None, *stacks: str) -> Iterator[None]:
    """Note a UserError as the reason why these stacks cannot be read; without `missed` it is raised."""
    try:
        yield
    except UserError as error:
        if missed is None:
            raise
        for stack in stacks:
            missed.setdefault(stack, str(error).removeprefix("representations: "))


@dataclass(frozen=True)
class Rows:
    """The rows of one layer that count, in order of examples and positions."""

    owner_R: Tensor  # which example of the batch
    position_R: Tensor  # which token or patch of it, counted from 0
    states_RD: Tensor  # in the model's precision


class Observed:
    """A model whose hidden states are looked at while it runs; leaves no hook behind. Use it as a context manager."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._bare = model, unwrap(model)
        self._sites: list[HiddenSite] = []
        self._recorder: Recorder | None = None
        self._tower = find_tower(model)
        self._seen: dict[int, Any] = {}
        self._handles: list[Any] = []
        try:
            stacks = layout(model)
        except UserError:  # an architecture that distillation has no hooks for
            return
        self._sites = [HiddenSite(name, layer) for name, stack in stacks.items() for layer in range(stack.depth + 1)]

    def __enter__(self) -> Self:
        if self._sites:
            self._recorder = Recorder(self._model, self._sites)
        if self._tower:
            self._handles.append(self._tower.blocks[0].register_forward_pre_hook(self._keep_input, with_kwargs=True))
            for layer, block in enumerate(self._tower.blocks, start=1):
                self._handles.append(block.register_forward_hook(self._keep_output(layer)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._seen.clear()
        if self._recorder:
            self._recorder.close()

    def rows(
        self, batch: Batch, examples: int, leave_out: Collection[int] = (), missed: Missed | None = None
    ) -> dict[str, dict[int, Rows]]:
        """By stack and layer, of one run of the model; token ids in `leave_out` do not count.

        Raises UserError for a stack that cannot be read, or notes it in `missed`, where that is given.
        """
        self._seen.clear()
        states = self._run(batch, missed)
        out, with_encoder = self._left_out(leave_out), "encoder" in states
        found = {}
        for stack, layers in states.items():
            with missing(missed, stack):
                found[stack] = {
                    layer: _of_tokens(stack, state, batch, out, with_encoder) for layer, state in layers.items()
                }
        if self._tower and self._seen:
            with missing(missed, VISION):
                found[VISION] = _of_patches(self._tower, self._seen, batch, examples)
        elif missed is not None and "pixel_values" in batch and "encoder" not in states:
            missed.setdefault(VISION, self._why_unseen())
        return found

    def _why_unseen(self) -> str:
        if self._tower:
            return "it did not run on these images"
        kind = getattr(getattr(self._bare, "config", None), "model_type", type(self._bare).__name__)
        return f"where {kind} has its blocks is not known; it is of {', '.join(TOWERS)}"

    def _run(self, batch: Batch, missed: Missed | None) -> dict[str, dict[int, Tensor]]:
        """states_BLD by stack and layer."""
        accepted = inspect.signature(type(self._bare).forward).parameters
        inputs: dict[str, Any] = {name: value for name, value in batch.items() if name in accepted and name != "labels"}
        if self._recorder:
            self._model(**inputs)
            hidden = self._recorder.take().hidden
            states: dict[str, dict[int, Tensor]] = {}
            for site, state in hidden.items():
                states.setdefault(site.stack, {})[site.layer] = state
            return states
        output = self._model(**inputs, output_hidden_states=True, return_dict=True)
        if getattr(output, "encoder_hidden_states", None):
            told = {"encoder": output.encoder_hidden_states, "decoder": output.decoder_hidden_states}
        else:
            writes = bool(getattr(self._bare, "can_generate", bool)())
            told = {"decoder" if writes else "encoder": getattr(output, "hidden_states", None)}
        if not any(told.values()):
            with missing(missed, *told):
                raise UserError(f"representations: {type(self._bare).__name__} gives no hidden states")
        return {stack: dict(enumerate(layers)) for stack, layers in told.items() if layers}

    def _left_out(self, leave_out: Collection[int]) -> list[int]:
        """Positions that stand for patches are images, not text."""
        config = getattr(self._bare, "config", None)
        image = [getattr(config, name, None) for name in ("image_token_id", "video_token_id")]
        return sorted({*leave_out, *(token for token in image if token is not None)})

    def _keep_input(self, _module: nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        self._seen[0] = arguments[0] if arguments else named["hidden_states"]

    def _keep_output(self, layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self._seen[layer] = output[0] if isinstance(output, tuple) else output

        return keep


def _of_tokens(stack: str, state_BLD: Tensor, batch: Batch, leave_out: Collection[int], with_encoder: bool) -> Rows:
    shape = state_BLD.shape[:2]
    if stack == "decoder" and with_encoder:
        mask_BL, ids_BL = _decoder_mask(batch), batch.get("decoder_input_ids")
    else:
        mask_BL, ids_BL = batch.get("attention_mask"), batch.get("input_ids")
    if mask_BL is not None and mask_BL.shape == shape:
        kept_BL = mask_BL.bool()
    elif "pixel_values" in batch and stack == "encoder":  # images of one size: no padding
        kept_BL = torch.ones(shape, dtype=torch.bool, device=state_BLD.device)
    else:
        raise UserError(f"representations: the batch does not say which of the {stack}'s tokens are padding")
    if leave_out and ids_BL is not None and ids_BL.shape == shape:
        kept_BL = kept_BL & ~torch.isin(ids_BL, torch.tensor(list(leave_out), device=ids_BL.device))
    owner_R, position_R = kept_BL.nonzero(as_tuple=True)
    return Rows(owner_R, position_R, state_BLD[kept_BL])


def _decoder_mask(batch: Batch) -> Tensor | None:
    """The decoder reads the labels shifted by one: one input for each label."""
    labels_BT = batch.get("labels")
    return batch.get("decoder_attention_mask") if labels_BT is None else labels_BT != IGNORED_LABEL


def _of_patches(tower: Tower, seen: dict[int, Tensor], batch: Batch, examples: int) -> dict[int, Rows]:
    owner_R, place_R = patches(tower, batch, examples)
    if len(place_R) and any(int(place_R.max()) >= state.flatten(0, -2).shape[0] for state in seen.values()):
        raise UserError(f"representations: a block of {tower.kind} works on other patches than its images have")
    counts_B = torch.bincount(owner_R, minlength=examples)
    starts_B = counts_B.cumsum(0) - counts_B
    position_R = torch.arange(len(owner_R), device=owner_R.device) - starts_B[owner_R]
    return {layer: Rows(owner_R, position_R, state.flatten(0, -2)[place_R]) for layer, state in sorted(seen.items())}
