"""What a model is, without running it: its architecture from the configuration, its weights by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from forge.core.hashing import digest, file_sha256
from forge.core.manifest import RESUME_ONLY


def weights_sha256(folder: Path) -> str:
    """One digest of all weight files of a model directory, read in full: a manifest beside them may say anything."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.name not in RESUME_ONLY)
    return digest([[path.name, file_sha256(path)] for path in files])


def architecture_of(auto_class: Any, config: PretrainedConfig, trust_remote_code: bool) -> nn.Module:
    """The network without memory for its weights, to ask it about its layers."""
    with torch.device("meta"):
        model: nn.Module = auto_class.from_config(config, trust_remote_code=trust_remote_code)
    return model
