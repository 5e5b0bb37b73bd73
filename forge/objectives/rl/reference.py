"""The model that a run began with, to measure how far it has moved, and to pull it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from forge.models.head import Head
from forge.models.lora import without_adapters


@dataclass(frozen=True)
class Reference:
    """A frozen copy, or where only adapters are trained the model itself without them (`frozen` is then None)."""

    frozen: nn.Module | None = None
    head: Head | None = None

    @contextmanager
    def beside(self, model: nn.Module, head: Head | None) -> Iterator[tuple[nn.Module, Head | None]]:
        """Within it, the model to ask, with its head; `model` is the trained one."""
        if self.frozen is not None:
            yield self.frozen, self.head
            return
        with without_adapters(model):
            yield model, head
