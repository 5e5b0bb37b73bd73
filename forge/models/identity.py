"""What a model is, without running it: its architecture from the configuration, its weights by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.hashing import digest, file_sha256
from forge.core.manifest import RESUME_ONLY
from forge.models.embedded import build_config
from forge.models.load import peek


def weights_sha256(folder: Path) -> str:
    """One digest of all weight files of a model directory, read in full: a manifest beside them may say anything."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.name not in RESUME_ONLY)
    return digest([[path.name, file_sha256(path)] for path in files])


def architecture_of(asset: Asset, settings: Model, labels: Sequence[str], vocab_size: int) -> nn.Module:
    """The network without memory for its weights, to ask it about its layers."""
    config = peek(asset, settings) or build_config(asset.location, vocab_size, labels)
    with torch.device("meta"):
        model: nn.Module = AutoModelForSequenceClassification.from_config(
            config, trust_remote_code=settings.trust_remote_code
        )
    return model
