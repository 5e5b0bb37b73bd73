"""Which weights of a model are trained: all, all but some parts, or low-rank adapters alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from forge.config.schema import Model
from forge.core.errors import UserError
from forge.models.lora import add_adapters

PARTS = {
    "vision": ("vision_model", "vision_tower", "vision_encoder", "visual"),
    "projector": ("connector", "multi_modal_projector", "vision_projection", "merger"),
    "text": ("text_model", "language_model"),
}
"""What different architectures call the same part."""


def adapt(
    model: PreTrainedModel, settings: Model, seed: int, stand_in: bool = False, head: Sequence[nn.Module] = ()
) -> None:
    """Freeze what `model.freeze` names and put `model.lora` into the rest. Raises UserError for what is not there.

    `head` is trained as it is, beside adapters too: it may be new. A `stand_in` is of another architecture than the
    model whose parts and layers are named, and is trained whole.
    """
    if stand_in:
        return
    frozen = [find_part(model, name) for name in settings.freeze or ()]
    for part in frozen:
        part.requires_grad_(False)
    if settings.lora.r:
        left_out = {module for part in [*frozen, *head] for module in part.modules()}
        add_adapters(model, settings.lora, left_out, seed)
        for parameter in (weight for part in head if part not in frozen for weight in part.parameters()):
            parameter.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(f"model.freeze: {', '.join(settings.freeze or ())} leaves nothing to train")


def find_part(model: nn.Module, name: str) -> nn.Module:
    """The outermost module of that name. Raises UserError."""
    called = PARTS.get(name, (name,))
    modules: dict[str, nn.Module] = dict(model.named_modules())
    found = [path for path in modules if any(path == one or path.endswith(f".{one}") for one in called)]
    if not found:
        shallow = sorted({path for path in modules if path and path.count(".") < 2})
        raise UserError(f"model.freeze: {type(model).__name__} has no {name}; it has {', '.join(shallow[:12])}")
    return modules[min(found, key=lambda path: path.count("."))]
