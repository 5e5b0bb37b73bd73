"""The vision towers of models that read an image into a prompt: their blocks, and whose patches a block works on.

Such models put the patches of all images of a batch into one tensor, each in its own way, so which rows belong to which
example has to be worked out from the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from forge.core.errors import UserError
from forge.models.layout import unwrap
from forge.tasks.base import Batch

TOWERS: Mapping[str, str] = {
    "idefics3": "vision_model.encoder.layers",
    "lighton_ocr": "vision_encoder.transformer.layers",
    "qwen2_5_vl": "visual.blocks",
    "qwen2_vl": "visual.blocks",
    "smolvlm": "vision_model.encoder.layers",
}
"""By `config.model_type`: where the blocks of the tower lie in the base model."""
_TILED = {"idefics3", "smolvlm"}
_GRID = {"qwen2_5_vl", "qwen2_vl"}


@dataclass(frozen=True)
class Tower:
    """Blocks, and what is needed to tell the patches of the examples apart."""

    kind: str
    blocks: nn.ModuleList
    patch: int


def find_tower(model: nn.Module) -> Tower | None:
    """The vision tower of a model, where it is one of `TOWERS`."""
    bare: Any = unwrap(model)
    kind = str(getattr(getattr(bare, "config", None), "model_type", None))
    if kind not in TOWERS:
        return None
    blocks = bare.base_model.get_submodule(TOWERS[kind])
    assert isinstance(blocks, nn.ModuleList)
    return Tower(kind, blocks, int(bare.config.vision_config.patch_size))


def patches(tower: Tower, batch: Batch, examples: int) -> tuple[Tensor, Tensor]:
    """(owner_R, place_R): the example of each patch that counts, and its row among all rows of a block's states.

    Raises UserError for another number of images than one an example where the model does not say whose they are.
    """
    if tower.kind in _TILED:
        return _tiled(tower, batch)
    counts = batch["image_grid_thw"].prod(-1) if tower.kind in _GRID else (batch["image_sizes"] // tower.patch).prod(-1)
    if len(counts) != examples:
        raise UserError(
            f"representations: {len(counts)} images in {examples} examples; {tower.kind} needs one for each"
        )
    owner_R = torch.repeat_interleave(torch.arange(examples, device=counts.device), counts)
    return owner_R, torch.arange(len(owner_R), device=counts.device)


def _tiled(tower: Tower, batch: Batch) -> tuple[Tensor, Tensor]:
    """Tiles that are all 0 are padding, which the model drops; of the others the patches with any valid pixel."""
    pixels_BTCHW = batch["pixel_values"]
    real_BT = (pixels_BTCHW != 0).flatten(2).any(-1)
    mask_BTHW = batch.get("pixel_attention_mask")
    if mask_BTHW is None:
        mask_BTHW = torch.ones_like(pixels_BTCHW[:, :, 0])
    grid = mask_BTHW[real_BT].unfold(1, tower.patch, tower.patch).unfold(2, tower.patch, tower.patch)
    valid_tP = (grid.sum((-1, -2)) > 0).flatten(1)
    owner_t = real_BT.nonzero()[:, 0]
    owner_R = owner_t[:, None].expand_as(valid_tP)[valid_tP]
    return owner_R, valid_tP.flatten().nonzero().flatten()
