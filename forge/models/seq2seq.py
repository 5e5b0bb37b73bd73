"""Encoder-decoders: from a directory, embedded, or built from nothing."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSeq2SeqLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.models.built import BUILT_MODELS, draw_weights, marian_config
from forge.models.embedded import EMBEDDED_TRANSLATORS, build_translator_config
from forge.models.identity import architecture_of
from forge.models.load import Readable, load_weights, peek, set_dropout


def load_seq2seq(
    asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase, seed: int, named_by: str = "model.name"
) -> PreTrainedModel:
    """An encoder-decoder in fp32, new weights drawn from `seed` alone. Raises UserError for any other model."""
    torch.manual_seed(derive_seed(seed, "init"))
    if asset.source in {"built", "embedded"}:
        model = _from_nothing(asset, settings, tokenizer)
    else:
        model = _from_directory(asset, settings, tokenizer, named_by)
    _freeze_unsaved(model)
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"model.tokenizer: has {len(tokenizer):,} tokens, {named_by} ({asset.asked}) has embeddings for "
            f"{model.config.vocab_size:,}; take the model's own tokenizer"
        )
    return model


def _freeze_unsaved(model: PreTrainedModel) -> None:
    """Sines and cosines of positions are computed and not saved, but a loaded model has them as trainable weights."""
    unsaved = [re.compile(pattern) for pattern in model._keys_to_ignore_on_save or ()]
    for name, parameter in model.named_parameters():
        if any(pattern.search(name) for pattern in unsaved):
            parameter.requires_grad_(False)


def start_token(model: nn.Module) -> int:
    """The token that the decoder reads first."""
    asked: Any = model
    for config in (asked.generation_config, asked.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            if isinstance(value := getattr(config, name, None), int):
                return value
    raise UserError(f"model.name: {type(model).__name__} does not say which token its decoder starts with")


def seq2seq_architecture(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase, key: str) -> nn.Module:
    """The network without memory for its weights, to ask it about its layers."""
    if asset.source in {"built", "embedded"}:
        config = _made_config(asset, settings, tokenizer)
    else:
        found = peek(asset, settings, key)
        assert found is not None
        _require_encoder_decoder(found, asset, key)
        config = found
    return architecture_of(AutoModelForSeq2SeqLM, config, settings.trust_remote_code)


def _made_config(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    if asset.source == "built":
        return _built_config(asset, settings, tokenizer)
    if asset.location in EMBEDDED_TRANSLATORS:
        return build_translator_config(asset.location, len(tokenizer))
    raise UserError(f"model.name: there is no {asset.location}; embedded are {', '.join(EMBEDDED_TRANSLATORS)}")


def _from_nothing(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = _made_config(asset, settings, tokenizer)
    set_dropout(config, settings.dropout)
    model: PreTrainedModel = AutoModelForSeq2SeqLM.from_config(config)
    if asset.source == "built":
        draw_weights(model)
    return model


def _built_config(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    if asset.location not in BUILT_MODELS:
        raise UserError(f"model.name: there is no {asset.location}; a model is built as {', '.join(BUILT_MODELS)}")
    padding, end = tokenizer.pad_token_id, tokenizer.eos_token_id
    if padding is None or end is None:
        raise UserError("model.tokenizer: a built model needs a tokenizer with a padding and an end-of-text token")
    return marian_config(settings.build, len(tokenizer), padding, end)


def _from_directory(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase, key: str) -> PreTrainedModel:
    config = peek(asset, settings, key)
    assert config is not None
    _require_encoder_decoder(config, asset, key)
    set_dropout(config, settings.dropout)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    if settings.init == "random":
        with Readable(asset.location, "model", key):
            model: Any = AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=settings.trust_remote_code)
        return model
    return load_weights(AutoModelForSeq2SeqLM, asset, config, settings, key)


def _require_encoder_decoder(config: PretrainedConfig, asset: Asset, key: str) -> None:
    if not config.is_encoder_decoder:
        raise UserError(
            f"{key}: {asset.asked} is no encoder-decoder ({config.model_type}); translation takes Marian, T5, mBART, "
            "NLLB and their kin, or built/marian"
        )
