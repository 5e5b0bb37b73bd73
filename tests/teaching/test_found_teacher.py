"""What every teacher does alike."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from forge.teaching.found import FoundTeacher


class Drawn(FoundTeacher):
    """Nothing but weights."""

    def meaning(self) -> list[Any]:
        return []

    def architecture(self) -> Any:
        return None

    def measure(self) -> dict[str, Any]:
        return {}

    def judge(self, measured: Any) -> None:
        return None

    def _load(self) -> Any:
        return torch.nn.Linear(2, 2)


def test_weights_are_ordinary_tensors_whoever_loads_them_first() -> None:
    """A search for texts runs in inference mode, and a loss later saves what the same weights made."""
    nothing: Any = None
    there: Any = SimpleNamespace(device="cpu")
    found = Drawn(nothing, nothing, nothing, nothing, nothing, nothing, nothing, there, classes=2)
    with torch.inference_mode():
        model = found.load()
    assert not any(parameter.is_inference() or parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert found.load() is model
