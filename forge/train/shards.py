"""FSDP2: each process holds a part of every weight. What a file holds is whole all the same.

So a checkpoint does not show how it was trained: it loads without FSDP, and on any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from safetensors.torch import load_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from forge.models.layout import COVERED, find
from forge.models.lora import spread


def is_sharding(accelerator: Accelerator) -> bool:
    """Whether a model is split over the processes."""
    return bool(accelerator.distributed_type is DistributedType.FSDP)


def cut_by_blocks(accelerator: Accelerator, model: PreTrainedModel) -> None:
    """Let each Transformer block be gathered when it is its turn; many models do not say themselves what a block is."""
    plugin = accelerator.state.fsdp_plugin
    if plugin.transformer_cls_names_to_wrap is None:
        known = model.config.model_type in COVERED
        blocks = {type(block).__name__ for stack in find(model).values() for block in stack.blocks} if known else set()
        plugin.transformer_cls_names_to_wrap = sorted(blocks or model._no_split_modules or [])


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The same, put together where it is sharded. Every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """All of them whole and on the CPU; empty where `keep` is false, in a process that only lends its parts.

    Names for one and the same tensor go on sharing it.
    """
    found: dict[str, torch.Tensor] = {}
    seen: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for name, tensor in tensors.items():
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        full = whole(tensor.detach())
        if keep:
            place = local.data_ptr() or id(tensor), tensor.shape  # an empty part has no address
            found[name] = seen.setdefault(place, full.cpu().contiguous())
    return found


def laid_out(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `like`, and sharded as it is. Every process holds the same value already."""
    if not isinstance(like, DTensor):
        return value.to(like.device)
    placed = value.to(like.to_local().device)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)


def fill(module: torch.nn.Module, file: Path) -> None:
    """Load a module's weights from a file, into one with adapters too: they then add nothing.

    Raises RuntimeError where names or shapes do not fit.

    What is never trained may be missing: positions that are computed are not saved.
    """
    found = spread(module, _named_as_now(module, load_file(file), file.parent))
    own = module.state_dict(keep_vars=True)  # tied weights are then one object
    tied = {id(tensor) for name, tensor in own.items() if name in found}
    wrong = sorted(found.keys() - own.keys()) + [
        name for name, tensor in own.items() if tensor.requires_grad and name not in found and id(tensor) not in tied
    ]
    if wrong:
        raise RuntimeError(f"{file}  does not fit: {wrong[0]}")
    with torch.no_grad():
        for name, value in found.items():
            own[name].copy_(laid_out(value, own[name]))


def _named_as_now(module: torch.nn.Module, found: dict[str, torch.Tensor], folder: Path) -> Mapping[str, torch.Tensor]:
    """Weights by the names of the model. Files of some models go by older names, which transformers translates."""
    own = {name.replace(".base_layer.", ".") for name in module.state_dict()}
    if not isinstance(module, PreTrainedModel) or found.keys() <= own:
        return found
    again: Any = type(module).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    tensors: Mapping[str, torch.Tensor] = again.state_dict()
    return tensors


@contextmanager
def looking(module: torch.nn.Module) -> Iterator[None]:
    """Forward passes that nothing is learned from; what they put together of a sharded model is let go after."""
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    # Tensors made in inference mode can never be learned from, and a sharded model keeps what it has gathered.
    with torch.no_grad() if parts else torch.inference_mode():
        for whole_model in parts[:1]:
            whole_model.unshard()  # its own forward does that, but the model inside it may be called alone
        try:
            yield
        finally:
            for part in parts:
                part.reshard()
