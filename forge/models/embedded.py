"""Tiny models of real architectures, built from a config instead of downloaded weights.

They take the place of BERT-base and DistilBERT in lessons, tests and smoke runs: ``embedded/tiny-bert`` is the size of
a teacher, ``embedded/tiny-distilbert`` that of its student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from transformers import BertConfig, DistilBertConfig, PretrainedConfig

MAX_POSITIONS = 128
_PAD = 0


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


def build_config(name: str, vocab_size: int, labels: Sequence[str]) -> PretrainedConfig:
    """The config of an embedded model, for ``AutoModelForSequenceClassification.from_config``."""
    if name not in EMBEDDED_MODELS:
        raise ValueError(f"no embedded model {name!r}: choose one of {', '.join(EMBEDDED_MODELS)}")
    return EMBEDDED_MODELS[name](vocab_size, labels)
