"""The embedded models are real BERT and DistilBERT, and the student is clearly the smaller one."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    DistilBertForSequenceClassification,
)

from forge.models.embedded import EMBEDDED_MODELS, MAX_POSITIONS, build_config

LABELS = ("entailment", "neutral", "contradiction")
VOCAB = 600


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_config_carries_labels_and_padding_through_disk(name, tmp_path):
    build_config(name, VOCAB, LABELS).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: i for i, label in enumerate(LABELS)}
    assert (config.vocab_size, config.pad_token_id, config.num_labels) == (VOCAB, 0, 3)


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_padding_changes_nothing(name):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(build_config(name, VOCAB, LABELS)).eval()
    ids = torch.randint(5, VOCAB, (2, 11))
    padded = torch.nn.functional.pad(ids, (0, MAX_POSITIONS - 11))
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        wide = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
    assert plain.shape == (2, 3)
    torch.testing.assert_close(plain, wide, atol=1e-5, rtol=1e-4)


def test_classes_and_sizes():
    models = {
        name: AutoModelForSequenceClassification.from_config(build_config(name, VOCAB, LABELS))
        for name in EMBEDDED_MODELS
    }
    teacher, student = models["embedded/tiny-bert"], models["embedded/tiny-distilbert"]
    assert isinstance(teacher, BertForSequenceClassification)
    assert isinstance(student, DistilBertForSequenceClassification)
    assert teacher.num_parameters() > 4 * student.num_parameters()
    assert teacher.config.num_hidden_layers % student.config.n_layers == 0  # layers can be paired evenly
    assert teacher.config.num_attention_heads % student.config.n_heads == 0


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="embedded/tiny-bert"):
        build_config("embedded/huge-bert", VOCAB, LABELS)
