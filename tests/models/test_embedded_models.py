"""The embedded models are real BERT and DistilBERT of the stated size; their tokenizer is the same in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    DistilBertForSequenceClassification,
)

from forge.models.embedded import EMBEDDED_MODELS, MAX_POSITIONS, align_queries_and_keys, build_config
from forge.tasks.embedded.nli import generate
from forge.tasks.embedded.tokenizer import MAX_LENGTH, SPECIAL_TOKENS, build_tokenizer

LABELS = ("entailment", "neutral", "contradiction")
VOCAB = 600
TOKENIZER_IN_A_PROCESS = """
import json
from forge.tasks.embedded.nli import generate
from forge.tasks.embedded.tokenizer import train_wordpiece
rows = generate("train", 1_000)
tokenizer = train_wordpiece(row[column] for row in rows for column in ("premise", "hypothesis"))
ids = [tokenizer.encode(row["premise"], row["hypothesis"]).ids for row in rows[:50]]
print(json.dumps([tokenizer.get_vocab(), ids], sort_keys=True))
"""


def texts():
    return [row[column] for row in generate("train", 1_000) for column in ("premise", "hypothesis")]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(texts())


def build(name, vocab_size=VOCAB):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(build_config(name, vocab_size, LABELS)).eval()


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_config_carries_labels_and_padding_through_disk(name, tmp_path):
    build_config(name, VOCAB, LABELS).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: i for i, label in enumerate(LABELS)}
    assert (config.vocab_size, config.pad_token_id, config.num_labels) == (VOCAB, 0, 3)


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_padding_changes_nothing(name):
    model = build(name)
    ids = torch.randint(5, VOCAB, (2, 11))
    padded = torch.nn.functional.pad(ids, (0, MAX_POSITIONS - 11))
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        wide = model(input_ids=padded, attention_mask=(padded > 0).long()).logits
    assert plain.shape == (2, 3)
    torch.testing.assert_close(plain, wide, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_model_reads_what_the_tokenizer_writes(name, tokenizer):
    model = build(name, len(tokenizer))
    batch = tokenizer(["All dogs ran"], ["Some dogs moved"], return_tensors="pt")
    if name == "embedded/tiny-distilbert":
        del batch["token_type_ids"]
    out = model(**batch, labels=torch.tensor([0]))
    assert torch.isfinite(out.loss)
    out.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_classes_and_sizes(tokenizer):
    teacher, student = (build(f"embedded/tiny-{kind}", len(tokenizer)) for kind in ("bert", "distilbert"))
    assert isinstance(teacher, BertForSequenceClassification)
    assert isinstance(student, DistilBertForSequenceClassification)
    assert 150_000 < teacher.num_parameters() < 250_000
    assert 12_000 < student.num_parameters() < 20_000
    assert teacher.config.num_hidden_layers == student.config.n_layers
    assert teacher.config.hidden_size >= 4 * student.config.dim
    assert teacher.config.num_attention_heads % student.config.n_heads == 0


@pytest.mark.parametrize("name", sorted(EMBEDDED_MODELS))
def test_heads_start_with_orthogonal_queries_equal_to_keys(name):
    model = build(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    align_queries_and_keys(model)
    weights = {key: value for key, value in model.state_dict().items() if key.endswith("weight")}
    queries = [key for key in weights if "query" in key or "q_lin" in key]
    keys = {key.replace("query", "key").replace("q_lin", "k_lin") for key in queries}
    assert len(queries) == len(keys) == model.config.num_hidden_layers
    for key in queries:
        weight = weights[key]
        assert torch.equal(weight, weights[key.replace("query", "key").replace("q_lin", "k_lin")])
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {*queries, *keys}


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="embedded/tiny-bert"):
        build_config("embedded/huge-bert", VOCAB, LABELS)


def test_tokenizer_is_the_same_in_every_process(tokenizer):
    """It was not: letters were numbered in the order of a hash map, and a resumed run read other words."""
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", TOKENIZER_IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, two = (command.communicate(timeout=120)[0] for command in commands)
    assert [command.returncode for command in commands] == [0, 0]
    assert one == two
    vocabulary, ids = json.loads(one)
    assert vocabulary == tokenizer.get_vocab()
    rows = generate("train", 1_000)[:50]
    assert ids == tokenizer([r["premise"] for r in rows], [r["hypothesis"] for r in rows])["input_ids"]


def test_tokenizer_survives_the_disk(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.model_max_length == tokenizer.model_max_length == MAX_LENGTH
    for row in generate("test", 50):
        pair = row["premise"], row["hypothesis"]
        assert dict(loaded(*pair)) == dict(tokenizer(*pair))


def test_pairs_are_laid_out_as_bert_does(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    pair = tokenizer("All dogs ran", "Not all dogs ran outside")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == [
        *("[CLS]", "all", "dogs", "ran", "[SEP]"),
        *("not", "all", "dogs", "ran", "outside", "[SEP]"),
    ]
    assert pair["token_type_ids"] == [0] * 5 + [1] * 6
    assert tokenizer("All dogs ran")["token_type_ids"] == [0] * 5


def test_every_word_is_read_whole_and_back(tokenizer):
    for row in generate("test", 300, difficulty=1.0):
        ids = tokenizer(row["premise"], row["hypothesis"])["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == f"{row['premise']} {row['hypothesis']}".lower()
        assert len(ids) <= MAX_LENGTH


def test_unknown_letters_become_unk(tokenizer):
    assert tokenizer.tokenize("dogs ж 9 ran") == ["dogs", "[UNK]", "[UNK]", "ran"]
    known = tokenizer.tokenize("rabbit")  # a new word of known letters is spelled out
    assert "[UNK]" not in known
    assert "".join(token.removeprefix("##") for token in known) == "rabbit"
