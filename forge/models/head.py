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

    Asks the model itself, with one token (and a blank image where it reads one), whether hidden states and head give
    its logits.
    """
    asked: Any = model
    layer = asked.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        return None
    head, training = Head(model, layer), model.training
    one = torch.zeros(1, 1, dtype=torch.long, device=layer.weight.device)
    inputs = _smallest_image(asked, layer.weight) if asked.main_input_name == "pixel_values" else {"input_ids": one}
    if asked.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = one
    model.eval()
    with torch.no_grad(), head.held_back() as seen:
        logits_BTV = asked(**inputs).logits
    model.train(training)
    made_BTV = nn.functional.linear(seen[0], head.weight, head.bias)
    return head if torch.allclose(made_BTV, logits_BTV, rtol=1e-4, atol=1e-5) else None


def _smallest_image(model: Any, like: Tensor) -> dict[str, Tensor]:
    """One that the encoder takes: of the size that it insists on, or of two cells each way."""
    config = model.config.encoder
    size = getattr(config, "image_size", None) or [2 * pixels for pixels in config.stride]
    height, width = (size, size) if isinstance(size, int) else size
    return {"pixel_values": torch.zeros(1, config.num_channels, height, width, dtype=like.dtype, device=like.device)}
