"""Tiny models of real architectures, built from a config instead of downloaded weights.

They take the place of BERT-base and DistilBERT in lessons, tests and smoke runs: ``embedded/tiny-bert`` is the size of
a teacher, ``embedded/tiny-distilbert`` that of its student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from transformers import BertConfig, DistilBertConfig, PretrainedConfig

MAX_POSITIONS = 64
_PAD = 0


def _tiny_bert(vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The teacher. A learning rate of 7e-4 suits it at a batch of 64."""
    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=MAX_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        # 0.02 suits 768 units. Narrow layers need wider draws, or attention starts out flat and stays so for long.
        initializer_range=0.15,
        pad_token_id=_PAD,
        **_label_maps(labels),
    )


def _tiny_distilbert(vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The student: as deep, a quarter of the width. A learning rate of 1e-3 suits it at a batch of 64."""
    return DistilBertConfig(
        vocab_size=vocab_size,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=MAX_POSITIONS,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
        initializer_range=0.15,
        pad_token_id=_PAD,
        **_label_maps(labels),
    )


def _label_maps(labels: Sequence[str]) -> dict[str, dict[int, str] | dict[str, int]]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


EMBEDDED_MODELS: Mapping[str, Callable[[int, Sequence[str]], PretrainedConfig]] = MappingProxyType(
    {
        "embedded/tiny-bert": _tiny_bert,
        "embedded/tiny-distilbert": _tiny_distilbert,
    }
)


def build_config(name: str, vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The config of an embedded model, for ``AutoModelForSequenceClassification.from_config``."""
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model {name!r}: choose one of {', '.join(EMBEDDED_MODELS)}")
    return EMBEDDED_MODELS[name](vocab_size, labels)
