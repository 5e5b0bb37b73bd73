"""Tiny models of real architectures, built from a config instead of downloaded weights.

They take the place of BERT-base and DistilBERT in lessons, tests and smoke runs: ``embedded/tiny-bert`` is the size of
a teacher, ``embedded/tiny-distilbert`` that of its student. For translation these are ``embedded/small-marian`` and
``embedded/tiny-marian``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from transformers import BertConfig, DistilBertConfig, PretrainedConfig

from forge.config.schema import Build
from forge.models.built import marian_config

MAX_POSITIONS = 128
_PAD = 0
_END = 1  # of `train_joint_bpe`


def _tiny_bert(vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The teacher, 200 thousand parameters. A learning rate of 1.5e-3 suits it at a batch of 32."""
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.08,  # 0.02 suits 768 units; narrow layers need wider draws
        pad_token_id=_PAD,
        **_label_maps(labels),
    )


def _tiny_distilbert(vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The student, 15 thousand parameters: as deep as the teacher, a fifth of its width. It likes 3e-3."""
    return DistilBertConfig(
        vocab_size=vocab_size,
        dim=20,
        n_layers=2,
        n_heads=2,
        hidden_dim=40,
        max_position_embeddings=MAX_POSITIONS,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
        initializer_range=0.12,
        pad_token_id=_PAD,
        **_label_maps(labels),
    )


def _small_marian(vocab_size: int) -> PretrainedConfig:
    """The teacher of translators, 850 thousand parameters at 1,200 pieces. It likes 2e-3 after 200 steps of warm-up."""
    return _marian(vocab_size, width=128, layers=2, heads=4)


def _tiny_marian(vocab_size: int) -> PretrainedConfig:
    """The student, half as wide and half as deep: 180 thousand parameters. The teacher's learning rate suits it too."""
    return _marian(vocab_size, width=64, layers=1, heads=4)


def _marian(vocab_size: int, width: int, layers: int, heads: int) -> PretrainedConfig:
    shape = Build(
        layers=layers, width=width, heads=heads, feedforward=2 * width, dropout=0.0, max_positions=MAX_POSITIONS
    )
    config = marian_config(shape, vocab_size, _PAD, _END)
    config.init_std = width**-0.5  # with scale_embedding, tokens start as large as positions
    return config


def align_queries_and_keys(model: torch.nn.Module) -> None:
    """Start every head with orthogonal queries and keys that equal them, so that like tokens attend to like.

    Matching words across two sentences is what a transformer trained from nothing learns last: with this start it
    takes hundreds of steps instead of thousands. Pretrained models need no such help.
    """
    for module in model.modules():
        query = getattr(module, "query", None) or getattr(module, "q_lin", None)
        key = getattr(module, "key", None) or getattr(module, "k_lin", None)
        if isinstance(query, torch.nn.Linear) and isinstance(key, torch.nn.Linear):
            torch.nn.init.orthogonal_(query.weight)
            with torch.no_grad():
                key.weight.copy_(query.weight)


def _label_maps(labels: Sequence[str]) -> dict[str, dict[int, str] | dict[str, int]]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


EMBEDDED_MODELS: Mapping[str, Callable[[int, Sequence[str]], PretrainedConfig]] = MappingProxyType(
    {
        "embedded/tiny-bert": _tiny_bert,
        "embedded/tiny-distilbert": _tiny_distilbert,
    }
)


EMBEDDED_TRANSLATORS: Mapping[str, Callable[[int], PretrainedConfig]] = MappingProxyType(
    {
        "embedded/small-marian": _small_marian,
        "embedded/tiny-marian": _tiny_marian,
    }
)


def build_config(name: str, vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The config of an embedded model, for ``AutoModelForSequenceClassification.from_config``."""
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model {name!r}: choose one of {', '.join(EMBEDDED_MODELS)}")
    return EMBEDDED_MODELS[name](vocab_size, labels)


def build_translator_config(name: str, vocab_size: int) -> PretrainedConfig:
    """The config of an embedded translator, for ``AutoModelForSeq2SeqLM.from_config``."""
    if name not in EMBEDDED_TRANSLATORS:
        raise ValueError(f"no embedded translator {name!r}: choose one of {', '.join(EMBEDDED_TRANSLATORS)}")
    return EMBEDDED_TRANSLATORS[name](vocab_size)
