"""The last layer of a language model, taken out of its forward pass: logits can then be made a few rows at a time.

Shape letters: B examples, T tokens, N rows, D width, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Head:
    """Makes logits of hidden states: logits_NV = hidden_ND · weightᵀ (+ bias)."""

    def __init__(self, model: nn.Module, layer: nn.Linear) -> None:
        self._model, self._layer = model, layer

    @property
    def weight(self) -> Tensor:
        """weight_VD, as it is now: a model that moves to a device takes it along."""
        return self._layer.weight

    @property
    def bias(self) -> Tensor | None:
        """bias_V, a weight of the layer or a constant beside it (BART and its kin), or None."""
        beside: Tensor | None = getattr(self._model, "final_logits_bias", None)
        return self._layer.bias if beside is None else beside.flatten()

    @contextmanager
    def held_back(self) -> Iterator[list[Tensor]]:
        """Within it, a forward pass makes logits of first tokens only, and its hidden_BTD lands in the list."""
        seen: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(inputs[0])
            return (inputs[0][:, :1],)

        hook = self._layer.register_forward_pre_hook(keep)
        try:
            yield seen
        finally:
            hook.remove()


def find_head(model: nn.Module) -> Head | None:
    """The head of a language model, or None where its logits are more than a linear map (a soft cap, a scale).

    Asks the model itself, with one token (and one place of an image, blank, where it reads images alone), whether
    hidden states and head give its logits.
    """
    asked: Any = model
    layer = asked.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        return None
    head, training = Head(model, layer), model.training
    one = torch.zeros(1, 1, dtype=torch.long, device=layer.weight.device)
    inputs: dict[str, Any] = {"input_ids": one}
    if asked.main_input_name == "pixel_values":
        width = asked.config.encoder.hidden_size
        inputs = {"encoder_outputs": (torch.zeros(1, 1, width, dtype=layer.weight.dtype, device=one.device),)}
    if asked.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = one
    model.eval()
    with torch.no_grad(), head.held_back() as seen:
        logits_BTV = asked(**inputs).logits
    model.train(training)
    made_BTV = nn.functional.linear(seen[0], head.weight, head.bias)
    return head if torch.allclose(made_BTV, logits_BTV, rtol=1e-4, atol=1e-5) else None
