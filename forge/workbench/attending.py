"""Where the last layer of an encoder looks, for the few examples on which two models are furthest apart.

Fused kernels keep no attention weights, and some libraries then hand over wrong ones, so the model computes them openly
(`eager`) here, one example at a time, and only here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor

from forge.workbench.findings import AttentionMap
from forge.workbench.views.base import Loaded

MOST_EXAMPLES = 20
MOST_TOKENS = 64


@torch.inference_mode()
def attention_maps(loaded: Loaded, data: Dataset, rows: Sequence[int]) -> dict[int, AttentionMap]:
    """A map for each row, mean over heads, of its first tokens; none where a model does not give its weights."""
    model: Any = loaded.model
    model.set_attn_implementation("eager")
    found = {}
    for row in rows:
        batch = loaded.task.collate(data.__getitems__([row]))
        weights_HLL = _last_layer(model, {name: tensor.to(loaded.accelerator.device) for name, tensor in batch.items()})
        if weights_HLL is None:
            return {}
        ids = batch["input_ids"][0, :MOST_TOKENS].tolist()
        shares_LL = weights_HLL.float().mean(0)[: len(ids), : len(ids)]
        found[row] = AttentionMap(
            model=loaded.source.key,
            stack="encoder",
            layer="last",
            tokens=tuple(map(str, loaded.tokenizer.convert_ids_to_tokens(ids))),
            weights=tuple(map(tuple, (255 * shares_LL).round().int().tolist())),
        )
    return found


def _last_layer(model: Any, batch: dict[str, Tensor]) -> Tensor | None:
    """weights_HLL of the only example of the batch."""
    if "input_ids" not in batch:
        return None
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    names = ("input_ids", "attention_mask", "token_type_ids")
    asked = {name: batch[name] for name in names if name in batch and (name != "token_type_ids" or _has_types(model))}
    layers = getattr(encoder(**asked, output_attentions=True, return_dict=True), "attentions", None)
    return layers[-1][0] if layers and layers[-1] is not None else None


def _has_types(model: Any) -> bool:
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 0
