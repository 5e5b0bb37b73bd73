"""A model and its tokenizer from a local directory or an embedded name, with the label names in its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from forge.config.schema import Model
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import derive_seed
from forge.models.embedded import EMBEDDED_MODELS, build_config
from forge.tasks.labels import LabelPlan

HEAD_SUFFIX = "ForSequenceClassification"


def peek(asset: Asset, settings: Model) -> PretrainedConfig | None:
    """The model's configuration without its weights; None for an embedded model, which is built to fit."""
    if asset.source == "embedded":
        if asset.location not in EMBEDDED_MODELS:
            raise UserError(f"model.name: there is no {asset.location}; embedded are {', '.join(EMBEDDED_MODELS)}")
        return None
    with _Readable(asset, "config.json"):
        return AutoConfig.from_pretrained(asset.location, trust_remote_code=settings.trust_remote_code)


def trained_labels(config: PretrainedConfig | None, settings: Model) -> tuple[list[str], bool]:
    """Label names of the model, and whether it has a trained classification head."""
    if config is None:
        return [], False
    architectures = config.architectures or []
    has_head = settings.init == "pretrained" and any(name.endswith(HEAD_SUFFIX) for name in architectures)
    names = settings.labels or [str(config.id2label[i]) for i in sorted(config.id2label or {})]
    return names, has_head


def load_tokenizer(asset: Asset, settings: Model, texts: Sequence[str]) -> PreTrainedTokenizerBase:
    """The model's tokenizer; an embedded model gets one trained on `texts`, the run's own training texts."""
    if settings.tokenizer is None and asset.source == "embedded":
        from forge.tasks.embedded.tokenizer import build_tokenizer

        return build_tokenizer(texts)
    with _Readable(asset, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            settings.tokenizer or asset.location, trust_remote_code=settings.trust_remote_code
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token  # decoder-only models come without one
    if tokenizer.pad_token is None:
        raise UserError(f"model.tokenizer: {settings.tokenizer or asset.asked} has no padding token")
    return tokenizer


def load_classifier(
    asset: Asset, settings: Model, plan: LabelPlan, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """The network in fp32, its label names in its config, new weights drawn from `seed` alone."""
    torch.manual_seed(derive_seed(seed, "init"))
    if asset.source == "embedded":
        config = build_config(asset.location, len(tokenizer), plan.names)
        return _with_dropout_from_config(config, settings)
    config = peek(asset, settings)
    assert config is not None
    config.num_labels = len(plan.names)
    config.id2label = dict(enumerate(plan.names))
    config.label2id = {name: i for i, name in enumerate(plan.names)}
    config.pad_token_id = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
    _set_dropout(config, settings.dropout)
    if settings.init == "random":
        return _with_dropout_from_config(config, settings)
    if plan.keep_head:
        return _from_pretrained(AutoModelForSequenceClassification, asset, config, settings)
    model = _with_dropout_from_config(config, settings)
    encoder = _from_pretrained(AutoModel, asset, config, settings)
    missing = model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    if missing:
        raise UserError(f"model.name: {asset.asked} lacks weights that {type(model).__name__} needs: {missing[0]}, …")
    return model


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse inputs longer than the model has positions for."""
    # RoBERTa's table has two entries more than its longest input, counted from the padding index.
    positions = getattr(model.config, "max_position_embeddings", None)
    offset = 2 if model.config.model_type in {"roberta", "xlm-roberta", "camembert", "longformer"} else 0
    if positions and max_length > positions - offset:
        raise UserError(f"data.max_length is {max_length}, but the model reads at most {positions - offset} tokens")


def _with_dropout_from_config(config: PretrainedConfig, settings: Model) -> PreTrainedModel:
    _set_dropout(config, settings.dropout)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        config, trust_remote_code=settings.trust_remote_code
    )
    return model


def _from_pretrained(auto_class: Any, asset: Asset, config: PretrainedConfig, settings: Model) -> PreTrainedModel:
    with _Readable(asset, "weights"):
        model: PreTrainedModel = auto_class.from_pretrained(
            asset.location,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
        )
    return model


def _set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    if dropout is None:
        return
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float | None):
            setattr(config, name, dropout)


class _Readable:
    """Turn what transformers raises for an unreadable directory into one UserError."""

    def __init__(self, asset: Asset, what: str) -> None:
        self.asset, self.what = asset, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError | ValueError | KeyError) or type(error).__name__ == "SafetensorError":
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(f"model.name: cannot read the {self.what} of {self.asset.location}: {reason}") from error
