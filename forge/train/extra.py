"""What an objective trains along with the model, for example projections of hidden states."""

from __future__ import annotations

from typing import Any

import torch


class WithExtra(torch.nn.Module):
    """A model and what is trained along with it, as one module: DDP then averages the gradients of both."""

    def __init__(self, model: torch.nn.Module, extra: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.extra = model, extra

    def forward(self, **inputs: torch.Tensor) -> Any:
        """That of the model; the objective calls the rest."""
        return self.module(**inputs)


def inner_model(bare: torch.nn.Module) -> torch.nn.Module:
    """The model itself, without what is trained along."""
    return bare.module if isinstance(bare, WithExtra) else bare
