"""A model and its tokenizer from a local directory or an embedded name, with the label names in its config."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
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
from forge.core.io import read_json
from forge.core.manifest import TOKENIZER_LIST
from forge.models.directory import CONFIG_FILE, listed_tokenizer, refuse_other_weights
from forge.models.embedded import EMBEDDED_MODELS, align_queries_and_keys, build_config
from forge.models.layout import COVERED, find
from forge.tasks.labels import LabelPlan

HEAD_SUFFIX = "ForSequenceClassification"
UNREADABLE = {"SafetensorError", "StrictDataclassFieldValidationError", "StrictDataclassClassValidationError"}
# Their position table has two entries more than their longest input, counted from the padding index.
OFFSET_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}


def peek(asset: Asset, settings: Model, key: str = "model.name") -> PretrainedConfig | None:
    """The model's configuration without its weights; None for an embedded model, which is built to fit."""
    if asset.source == "embedded":
        if asset.location not in EMBEDDED_MODELS:
            raise UserError(f"{key}: there is no {asset.location}; embedded are {', '.join(EMBEDDED_MODELS)}")
        return None
    with Readable(asset.location, CONFIG_FILE, key):
        read_json(Path(asset.location) / CONFIG_FILE)  # transformers bears any size, and no deep nesting
        return AutoConfig.from_pretrained(asset.location, trust_remote_code=settings.trust_remote_code)


def trained_labels(config: PretrainedConfig | None, settings: Model, section: str = "model") -> tuple[list[str], bool]:
    """Label names of the model, and whether it has a trained classification head; `section` says who names them."""
    if config is None:
        return [], False
    architectures = config.architectures or []
    has_head = settings.init == "pretrained" and any(name.endswith(HEAD_SUFFIX) for name in architectures)
    if settings.labels and has_head and settings.head != "new" and len(settings.labels) != config.num_labels:
        raise UserError(
            f"{section}.labels names {len(settings.labels)} labels, but {settings.name} has {config.num_labels} outputs"
        )
    names = settings.labels or [str(config.id2label[i]) for i in sorted(config.id2label or {})]
    return names, has_head


def load_tokenizer(
    asset: Asset, settings: Model, texts: Sequence[str], named_by: str = "model.name"
) -> PreTrainedTokenizerBase:
    """The model's tokenizer; an embedded model gets one trained on `texts`, the run's own training texts."""
    if settings.tokenizer is None and asset.source == "embedded":
        from forge.tasks.embedded.tokenizer import build_tokenizer

        return build_tokenizer(texts)
    key, source = ("model.tokenizer", settings.tokenizer) if settings.tokenizer else (named_by, asset.location)
    with Readable(source, "tokenizer", key):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, trust_remote_code=settings.trust_remote_code
        )
    # transformers makes an empty tokenizer, which turns every word into [UNK], where the files of one are missing.
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        other = ", or name another in model.tokenizer" if key.startswith("model.") else ""
        raise UserError(f"{key}: {source} has no tokenizer files; put them there{other}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token  # decoder-only models come without one
    if tokenizer.pad_token is None:
        raise UserError(f"model.tokenizer: {settings.tokenizer or asset.asked} has no padding token")
    return tokenizer


def as_saved(settings: Model) -> Model:
    """Settings that load a checkpoint as it is: what drew new weights at the start must not draw again."""
    return settings.model_copy(
        update={"tokenizer": None, "init": "pretrained", "head": "auto", "labels": None, "keep_layers": None}
    )


def tokenizer_files(asset: Asset, settings: Model, tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """The tokenizer as files by name. Saving a loaded tokenizer can change its bytes, so a checkpoint's are copied."""
    if settings.tokenizer is None and (Path(asset.location) / TOKENIZER_LIST).is_file():
        return listed_tokenizer(asset)
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        files = {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir()) if path.is_file()}
    return files | {TOKENIZER_LIST: json.dumps(sorted(files)).encode()}


def load_classifier(
    asset: Asset,
    settings: Model,
    plan: LabelPlan,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    named_by: str = "model.name",
) -> PreTrainedModel:
    """The network in fp32, its label names in its config, new weights drawn from `seed` alone."""
    torch.manual_seed(derive_seed(seed, "init"))
    model = _classifier(asset, settings, plan, tokenizer, named_by)
    if settings.keep_layers and not (asset.stand_in and max(settings.keep_layers) > _depth(model)):
        keep_blocks(model, settings.keep_layers)
    return model


def _classifier(
    asset: Asset, settings: Model, plan: LabelPlan, tokenizer: PreTrainedTokenizerBase, key: str
) -> PreTrainedModel:
    if asset.source == "embedded":
        config = build_config(asset.location, len(tokenizer), plan.names)
        model = _with_dropout_from_config(config, settings)
        align_queries_and_keys(model)
        return model
    config = peek(asset, settings, key)
    assert config is not None
    config.num_labels = len(plan.names)
    config.id2label = dict(enumerate(plan.names))
    config.label2id = {name: i for i, name in enumerate(plan.names)}
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = tokenizer.pad_token_id
    set_dropout(config, settings.dropout)
    if plan.keep_head and settings.init == "pretrained":
        return load_weights(AutoModelForSequenceClassification, asset, config, settings, key)
    with Readable(asset.location, "model", key):
        model = _with_dropout_from_config(config, settings)
    if settings.init == "random":
        return model
    encoder = load_weights(AutoModel, asset, config, settings, key)
    missing = model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    if missing:
        raise UserError(f"{key}: {asset.asked} lacks weights that {type(model).__name__} needs: {missing[0]}, …")
    return model


def keep_blocks(model: PreTrainedModel, keep: Sequence[int]) -> None:
    """Leave only these blocks, counted from 1, in this order. Raises UserError for a block that is not there."""
    if model.config.model_type not in COVERED:
        raise UserError(
            f"model.keep_layers: the blocks of {type(model).__name__} are not known; known are {', '.join(COVERED)}"
        )
    stacks = find(model)
    if len(stacks) != 1:
        raise UserError(
            f"model.keep_layers: {type(model).__name__} has layers in its {' and its '.join(stacks)}, so a number does "
            "not say which to keep; take a model with one of the two"
        )
    (found,) = stacks.values()
    depth = found.stack.depth
    if max(keep) > depth:
        raise UserError(f"model.keep_layers: asks for layer {max(keep)} of a model that has {depth}")
    if len(set(keep)) < len(keep):
        raise UserError("model.keep_layers names a layer twice")
    kept = torch.nn.ModuleList(found.blocks[number - 1] for number in keep)
    attentions: list[tuple[int, Any]] = [(place, part) for place, block in enumerate(kept) for part in block.modules()]
    for place, part in attentions:
        if hasattr(part, "layer_idx"):
            part.layer_idx = place  # where a decoder's cache puts its keys and values
    parent, _, name = found.plan.blocks.rpartition(".")
    setattr(found.base.get_submodule(parent), name, kept)
    model.config.num_hidden_layers = len(kept)
    if types := getattr(model.config, "layer_types", None):
        model.config.layer_types = [types[number - 1] for number in keep]


def _depth(model: PreTrainedModel) -> int:
    return max(found.stack.depth for found in find(model).values())


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse inputs longer than the model has positions for."""
    longest = longest_input(model.config)
    if longest and max_length > longest:
        raise UserError(f"data.max_length is {max_length}, but the model reads at most {longest} tokens")


def longest_input(config: PretrainedConfig) -> int | None:
    """Tokens that a model of this configuration has positions for; None where it names no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    offset = 2 if config.model_type in OFFSET_POSITIONS else 0
    return int(positions) - offset if positions and positions > 0 else None


def _with_dropout_from_config(config: PretrainedConfig, settings: Model) -> PreTrainedModel:
    set_dropout(config, settings.dropout)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(
        config, trust_remote_code=settings.trust_remote_code
    )
    return model


def load_weights(auto_class: Any, asset: Asset, config: PretrainedConfig, settings: Model, key: str) -> PreTrainedModel:
    """The model with its trained weights, in fp32. Raises UserError where the file lacks some."""
    model: PreTrainedModel
    with Readable(asset.location, "weights", key):
        refuse_other_weights(asset, config)
        model, report = auto_class.from_pretrained(
            asset.location,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=settings.trust_remote_code,
            output_loading_info=True,
        )
    # What the file lacks is drawn at random in silence. An encoder may lack its pooler, a trained head nothing.
    missing = sorted(key for key in report["missing_keys"] if auto_class is not AutoModel or "pooler" not in key)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(f"{key}: the weights of {asset.location} lack {missing[0]}{more}")
    return model


def set_dropout(config: PretrainedConfig, dropout: float | None) -> None:
    """Replace every dropout probability, those of a model's parts too; None leaves the model's own."""
    if dropout is None:
        return
    for part in vars(config).values():
        if isinstance(part, PretrainedConfig):
            set_dropout(part, dropout)
    for name, value in config.to_dict().items():
        is_probability = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if ("dropout" in name or name.endswith("pdrop")) and is_probability:
            setattr(config, name, dropout)


class Readable:
    """Turn what transformers raises for an unreadable directory into one UserError."""

    def __init__(self, source: str, what: str, key: str = "model.name") -> None:
        self.source, self.what, self.key = source, what, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        unread = f"{self.key}: cannot read the {self.what} of {self.source}"
        if isinstance(error, RuntimeError) and "ignore_mismatched_sizes" in str(error):
            raise UserError(f"{unread}: their shapes are not those that its config.json describes") from error
        if (
            isinstance(error, OSError | ValueError | KeyError | ImportError | RecursionError)
            or type(error).__name__ in UNREADABLE
        ):
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"{unread}: {reason}") from error
