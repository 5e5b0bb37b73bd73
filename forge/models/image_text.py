"""Models that write what an image says: an embedded page reader, or one from a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModel,
    AutoModelForImageTextToText,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    VisionEncoderDecoderModel,
)
from transformers.utils import GENERATION_CONFIG_NAME

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.models.identity import architecture_of
from forge.models.load import Readable, load_weights, peek, set_dropout
from forge.models.page_encoder import PageEncoderConfig
from forge.models.reader import EMBEDDED_READERS, Characters, build_reader, build_reader_config


def peek_reader(asset: Asset, settings: Model, key: str = "model.name") -> PretrainedConfig | None:
    """The model's configuration without its weights; None for an embedded reader, which is built to fit."""
    if asset.source == "built":
        raise UserError(f"{key}: there is no {asset.location} for pages; embedded are {', '.join(EMBEDDED_READERS)}")
    if asset.source == "embedded":
        if asset.location not in EMBEDDED_READERS:
            raise UserError(f"{key}: there is no {asset.location}; embedded are {', '.join(EMBEDDED_READERS)}")
        return None
    return peek(asset, settings, key)


def is_sheet_reader(config: PretrainedConfig | None) -> bool:
    """Whether it is an embedded reader, or was one before it was trained: pages on a sheet, characters as tokens."""
    return config is None or isinstance(getattr(config, "encoder", None), PageEncoderConfig)


def sheet_of(config: PretrainedConfig | None) -> tuple[int, int] | None:
    """Height and width in pixels of the sheet that a trained reader knows."""
    size = getattr(getattr(config, "encoder", None), "image_size", None)
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None


def load_sheet_reader(
    asset: Asset,
    settings: Model,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    most: int,
    sheet: tuple[int, int],
    key: str = "model.name",
) -> PreTrainedModel:
    """An embedded reader in fp32: new weights drawn from `seed` alone, or those of a directory. Raises UserError."""
    config = peek_reader(asset, settings, key)
    if config is None:
        return build_reader(asset.location, characters_of(tokenizer), seed, most, sheet)
    set_dropout(config, settings.dropout)
    if settings.init == "random":
        torch.manual_seed(derive_seed(seed, "init"))
        drawn: PreTrainedModel = VisionEncoderDecoderModel(config)
        return drawn
    model = load_weights(AutoModelForImageTextToText, asset, config, settings, key)
    if len(tokenizer) > model.config.decoder.vocab_size:
        raise UserError(
            f"model.tokenizer: has {len(tokenizer):,} characters, {key} ({asset.asked}) writes "
            f"{model.config.decoder.vocab_size:,}; take the model's own"
        )
    return model


def load_image_text(
    asset: Asset, settings: Model, config: PretrainedConfig, seed: int, key: str = "model.name"
) -> PreTrainedModel:
    """A model that writes text about an image, in fp32, new weights drawn from `seed` alone. Raises UserError."""
    refuse_other(asset, settings, config, key)
    set_dropout(config, settings.dropout)
    if settings.init == "pretrained":
        return load_weights(AutoModelForImageTextToText, asset, config, settings, key)
    torch.manual_seed(derive_seed(seed, "init"))
    with Readable(asset.location, "model", key):
        drawn: PreTrainedModel = AutoModelForImageTextToText.from_config(
            config, trust_remote_code=settings.trust_remote_code
        )
    return drawn


def image_text_architecture(asset: Asset, settings: Model, config: PretrainedConfig, key: str) -> PreTrainedModel:
    """The same without memory for its weights; how it writes is known."""
    refuse_other(asset, settings, config, key)
    made: Any = architecture_of(AutoModelForImageTextToText, config, settings.trust_remote_code)
    if (Path(asset.location) / GENERATION_CONFIG_NAME).is_file():
        with Readable(asset.location, "generation configuration", key):
            made.generation_config = GenerationConfig.from_pretrained(asset.location)
    model: PreTrainedModel = made
    return model


def refuse_other(asset: Asset, settings: Model, config: PretrainedConfig, key: str) -> None:
    """Raises UserError for a model that does not read images."""
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING and not settings.trust_remote_code:
        raise UserError(
            f"{key}: {asset.asked} writes no text about an image ({config.model_type}); take an image-text-to-text "
            "model such as Idefics3, Qwen2-VL, LightOnOCR or Donut"
        )


def settle_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens at which the model stops writing; one whose files name none, and no padding, is told here."""
    told: Any = model.generation_config
    parts = [getattr(model.config, name, None) for name in ("text_config", "decoder")]
    named = [told, model.config, *parts, tokenizer]
    for name in ("eos_token_id", "pad_token_id"):
        known = (getattr(one, name, None) for one in named)
        setattr(told, name, next((value for value in known if value is not None), None))
    if told.eos_token_id is None:
        raise UserError("model.name: neither the model nor its tokenizer says which token ends a text")
    return frozenset(told.eos_token_id if isinstance(told.eos_token_id, list) else [told.eos_token_id])


def encoder_places(model: PreTrainedModel, pixels: tuple[int, ...]) -> int:
    """Places that a vision-encoder-decoder's encoder makes of images of this shape (channels, height, width)."""
    encoder: Any = architecture_of(AutoModel, model.config.encoder, trust_remote_code=False)
    with torch.no_grad():
        return int(encoder(pixel_values=torch.zeros(1, *pixels, device="meta")).last_hidden_state.shape[1])


def reader_architecture(
    asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase, most: int, key: str
) -> nn.Module:
    """The network without memory for its weights, to ask it about its layers."""
    config: Any = peek_reader(asset, settings, key)
    if config is None:
        config = build_reader_config(asset.location, characters_of(tokenizer), most)
    return architecture_of(AutoModelForImageTextToText, config, settings.trust_remote_code)


def characters_of(tokenizer: PreTrainedTokenizerBase) -> Characters:
    """What a reader with this tokenizer writes."""
    return Characters(len(tokenizer), tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
