"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): W + α/r · B · A, where A and B alone are trained.

A checkpoint holds merged weights, so that it is a model like any other. What merging rounds away cannot be taken back,
so the adapters and the matrices they belong to are kept beside them for a run that goes on (docs/decisions/024).

Shape letters: O outputs, I inputs of a linear layer, R rank.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from forge.config.schema import Lora
from forge.core.errors import UserError
from forge.core.hashing import derive_seed

_BASE, _A, _B = ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"


def add_adapters(model: PreTrainedModel, chosen: Lora, left_out: Collection[nn.Module], seed: int) -> None:
    """Put adapters into the linear layers that `chosen` names, drawn from `seed` alone; nothing else is trained.

    Raises UserError where there is no such layer, or peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("model.lora needs peft: pip install 'forge-distill[lora]', or take model.lora out") from error
    names = _targets(model, chosen, left_out)
    torch.manual_seed(derive_seed(seed, "lora"))
    config = LoraConfig(
        r=chosen.r, lora_alpha=chosen.alpha, lora_dropout=chosen.dropout, target_modules=names, bias="none"
    )
    inject_adapter_in_model(config, model)
    del model.peft_config  # a model that bears none is saved whole
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith((_A, _B)))


def scales(model: nn.Module) -> dict[str, float]:
    """α/r of each layer that has adapters, by the layer's name."""
    found: dict[str, float] = {}
    for name, module in model.named_modules():
        asked: Any = module
        if isinstance(getattr(module, "lora_A", None), nn.ModuleDict) and "default" in asked.scaling:
            found[name] = float(asked.scaling["default"])
    return found


def beside(weights: Mapping[str, Tensor], of: Mapping[str, float]) -> dict[str, Tensor]:
    """Of a state dict what must be kept beside merged weights: adapters, and the matrices as they were."""
    wanted = {f"{layer}{end}" for layer in of for end in (_A, _B, f"{_BASE}weight")}
    return {name: value for name, value in weights.items() if name in wanted}


def merged(weights: Mapping[str, Tensor], of: Mapping[str, float]) -> dict[str, Tensor]:
    """A state dict as the model would have without adapters: weight_OI = base_OI + scale · b_OR · a_RI."""
    found = {name.replace(_BASE, "."): value for name, value in weights.items() if not name.endswith((_A, _B))}
    for layer, scale in of.items():
        base_OI, a_RI, b_OR = (weights[f"{layer}{end}"] for end in (f"{_BASE}weight", _A, _B))
        found[f"{layer}.weight"] = base_OI + (scale * (b_OR.float() @ a_RI.float())).to(base_OI.dtype)
    return found


def spread(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A plain model's weights as those of the same model with adapters, which then add nothing."""
    of = scales(model)
    if not of:
        return dict(weights)
    own = model.state_dict()
    found = {}
    for name, value in weights.items():
        layer, _, end = name.rpartition(".")
        found[f"{layer}{_BASE}{end}" if layer in of else name] = value
    idle = [own[f"{layer}{end}"] for layer in of for end in (_A, _B)]
    names = [f"{layer}{end}" for layer in of for end in (_A, _B)]
    return found | {n: torch.zeros(one.shape, dtype=one.dtype) for n, one in zip(names, idle, strict=True)}


def _targets(model: PreTrainedModel, chosen: Lora, left_out: Collection[nn.Module]) -> list[str]:
    """Full names of the layers to adapt, whose weights are theirs alone."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found = {
        name: module
        for name, module in linear.items()
        if module not in left_out and any(name == one or name.endswith(f".{one}") for one in chosen.targets)
    }
    if not found:
        there = sorted({name.rpartition(".")[2] for name in linear})
        raise UserError(
            f"model.lora.targets: {type(model).__name__} has no {', '.join(chosen.targets)}; its linear layers are "
            f"{', '.join(there[:16])}"
        )
    tied = {id(parameter) for parameter in _shared(model)}
    for name, module in found.items():
        if id(module.weight) in tied:
            raise UserError(f"model.lora.targets: {name} shares its weights with another layer; leave it out")
    return list(found)


def _shared(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that go by two names."""
    seen: dict[int, int] = {}
    named = list(model.named_parameters(remove_duplicate=False))
    for _, parameter in named:
        seen[id(parameter)] = seen.get(id(parameter), 0) + 1
    return [parameter for _, parameter in named if seen[id(parameter)] > 1]


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Within it the adapters add nothing: the model is the one that they were put into."""
    layers: list[Any] = [
        module for module in model.modules() if isinstance(getattr(module, "lora_A", None), nn.ModuleDict)
    ]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False
