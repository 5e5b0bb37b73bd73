"""Several texts that go on from one prompt, with the prompt read once: decoders alone, and those that see images.

Shape letters: B prompts, P tokens of the longest, G texts of each, N = B·G rows beside each other, n rows that remain,
t tokens that are new, T tokens of a text, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from forge.core.errors import UserError
from forge.models.generate import prompts_of
from forge.models.layout import unwrap
from forge.tasks.base import Batch, forward


class ReadPrompts:
    """What a model knows after the prompts of a batch: keys and values, one row a text, and what comes first.

    A batch may hold answers behind its prompts (`prompt_tokens` says where they begin), or prompts alone, padded on the
    left. Images are read here and never again. `logits_B1V` are of the first token; where a head holds them back they
    are of no use, and its hook has the states they are made of.
    """

    def __init__(self, model: nn.Module, batch: Batch, copies: int, room: int = 0) -> None:
        bare: Any = unwrap(model)
        prompts: dict[str, Any] = dict(prompts_of(batch))
        positions = bare._prepare_position_ids_for_generation(prompts["input_ids"], prompts)
        self._cache: Any = DynamicCache(config=bare.config.get_text_config(decoder=True))
        more = {"position_ids": positions, "past_key_values": self._cache, "use_cache": True, "logits_to_keep": 1}
        self.logits_B1V: Tensor = forward(bare, prompts | more).logits[:, -1:]
        self._copies = copies
        self._mask = prompts["attention_mask"].repeat_interleave(copies, 0)
        self._next = _after(positions).repeat_interleave(copies, -2)  # (N, 1), or several of them
        self._room(room)

    def inputs(self, tokens_Nt: Tensor) -> dict[str, Any]:
        """Of a forward pass that goes on with these tokens."""
        count = tokens_Nt.shape[1]
        new = torch.arange(count, device=tokens_Nt.device)
        positions, self._next = self._next + new, self._next + count
        self._mask = torch.cat((self._mask, self._mask.new_ones(len(tokens_Nt), count)), 1)
        return {
            "input_ids": tokens_Nt,
            "attention_mask": self._mask,
            "position_ids": positions,
            "past_key_values": self._cache,
            "use_cache": True,
        }

    def keep(self, rows_n: Tensor) -> None:
        """Only these rows remain."""
        for layer in self._cache.layers:
            layer.batch_select_indices(rows_n)
        self._mask, self._next = self._mask.index_select(0, rows_n), self._next.index_select(-2, rows_n)

    def _room(self, more: int) -> None:
        layers = self._cache.layers
        for place, layer in enumerate(layers):
            attends = type(layer) in {DynamicLayer, DynamicSlidingWindowLayer} and layer.get_seq_length()
            if not attends:
                raise UserError(
                    f"model.name: what this model remembers of a prompt (in a {type(layer).__name__}) cannot be shared "
                    "between samples, which rl: needs; take a model whose layers all attend"
                )
            if more and type(layer) is DynamicLayer:
                layers[place] = _Roomy(layer, self._copies, more)
            else:
                layer.batch_repeat_interleave(self._copies)


class PromptedRows:
    """Texts of N rows that are being written, token by token."""

    def __init__(self, model: nn.Module, batch: Batch, copies: int, longest: int) -> None:
        self._model, self._copies = unwrap(model), copies
        self._read = ReadPrompts(model, batch, copies, longest)

    def first(self) -> Tensor:
        """logits_NV of the first token."""
        return self._read.logits_B1V[:, -1].repeat_interleave(self._copies, 0)

    def next(self, new_n1: Tensor) -> Tensor:
        """logits_nV of the token after these."""
        logits_n1V: Tensor = forward(self._model, self._read.inputs(new_n1)).logits
        return logits_n1V[:, -1]

    def keep(self, rows_n: Tensor) -> None:
        """Only these rows remain."""
        self._read.keep(rows_n)


@contextmanager
def read_once(model: nn.Module, batch: Batch, copies: int) -> Iterator[list[ReadPrompts]]:
    """Within it, a forward pass of token ids (N, T) goes on from the batch's prompts, each read once for G rows.

    The prompts are read inside that pass, so what wraps the model (DDP, a casting of numbers) sees one call as ever,
    and gradients flow through both. What was read lands in the list. `model` may be wrapped.
    """
    found: list[ReadPrompts] = []
    reading = False

    def go_on(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        nonlocal reading
        if reading:
            return arguments, named
        reading = True
        found.append(ReadPrompts(model, batch, copies))
        return (), found[0].inputs(named["input_ids"])

    hook = unwrap(model).register_forward_pre_hook(go_on, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def _after(positions: Tensor) -> Tensor:
    """Where the next token stands, (B, 1) or (R, B, 1). An image takes places of height and width beside those of text.

    Of four rows (Qwen-VL and its kin) the first counts tokens, the others are time, height and width, and text goes on
    behind the farthest of them.
    """
    if positions.ndim == 2:
        return positions.amax(-1, keepdim=True) + 1
    last_RB1 = positions.amax(-1, keepdim=True)
    whole_1B1 = last_RB1[-3:].amax(0, keepdim=True)
    return torch.cat((last_RB1[:-3], whole_1B1.expand(3, -1, -1))) + 1


class _Roomy(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room for what is to come: the others need not be copied at each token."""

    def __init__(self, read: DynamicLayer, copies: int, more: int) -> None:
        super().__init__()
        self.lazy_initialization(read.keys, read.values)
        self._length: int = read.keys.shape[-2]
        self._whole = [_with_room(part, copies, more) for part in (read.keys, read.values)]
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Those of all tokens so far, the new ones among them."""
        end = self._length + key_states.shape[-2]
        for whole, new in zip(self._whole, (key_states, value_states), strict=True):
            whole[:, :, self._length : end] = new
        self._length = end
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only these rows remain."""
        self._whole = [whole.index_select(0, indices) for whole in self._whole]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (whole[:, :, : self._length] for whole in self._whole)
        return self.keys, self.values


def _with_room(read_BHPD: Tensor, copies: int, more: int) -> Tensor:
    count, heads, length, width = read_BHPD.shape
    whole = read_BHPD.new_empty(count, copies, heads, length + more, width)
    whole[:, :, :, :length] = read_BHPD[:, None]
    return whole.flatten(0, 1)
