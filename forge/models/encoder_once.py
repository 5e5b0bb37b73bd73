"""Several texts of one prompt in a forward pass, with the prompt read once.

Shape letters: B prompts, G texts of each, N = B·G rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def encoded_once(model: nn.Module, copies: int, repeated: bool = True) -> Iterator[None]:
    """Within it, the encoder of an encoder-decoder reads every G-th of the N rows it is given, and answers for all N.

    With `repeated` false it is given the B prompts themselves, since images, unlike texts, are too large to be copied.
    The rows of a prompt must stand beside each other. Hooks do it, so what wraps the model (DDP, a casting of numbers)
    sees one call as ever. `model` may be wrapped.
    """
    if copies == 1:
        yield
        return
    bare: Any = model
    while isinstance(getattr(bare, "module", None), nn.Module):
        bare = bare.module

    def thin(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        return tuple(map(first_of_each, arguments)), {name: first_of_each(value) for name, value in named.items()}

    def first_of_each(value: Any) -> Any:
        return value[::copies] if isinstance(value, torch.Tensor) and value.ndim > 0 else value

    def spread(_: nn.Module, __: Any, output: Any) -> Any:
        states: Tensor = output.last_hidden_state
        output.last_hidden_state = states.repeat_interleave(copies, 0)
        return output

    encoder = bare.get_encoder()
    hooks = [encoder.register_forward_hook(spread)]
    if repeated:
        hooks.append(encoder.register_forward_pre_hook(thin, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
