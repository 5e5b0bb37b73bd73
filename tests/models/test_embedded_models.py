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
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    DistilBertForSequenceClassification,
    MarianMTModel,
)

from forge.models.embedded import (
    EMBEDDED_MODELS,
    EMBEDDED_TRANSLATORS,
    MAX_POSITIONS,
    align_queries_and_keys,
    build_config,
    build_translator_config,
)
from forge.tasks.embedded.nli import generate
from forge.tasks.embedded.tokenizer import MAX_LENGTH, SPECIAL_TOKENS, build_tokenizer, train_joint_bpe
from forge.tasks.embedded.translation import generate as translations

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


# --- translators


JOINT_IN_A_PROCESS = """
import json
from forge.tasks.embedded.tokenizer import train_joint_bpe
from forge.tasks.embedded.translation import generate
tokenizer = train_joint_bpe((text for row in generate("train", 1_000) for text in row.values()), 700)
ids = tokenizer([row["target"] for row in generate("test", 50)])["input_ids"]
print(json.dumps([tokenizer.get_vocab(), ids], sort_keys=True))
"""


@pytest.fixture(scope="module")
def joint():
    return train_joint_bpe((text for row in translations("train", 1_000) for text in row.values()), 700)


def translator(name, vocab_size=700):
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(build_translator_config(name, vocab_size)).eval()


def test_joint_bpe_is_the_same_in_every_process(joint):
    outputs = [
        subprocess.run(
            [sys.executable, "-c", JOINT_IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    vocabulary, ids = json.loads(outputs[0])
    assert vocabulary == joint.get_vocab()
    assert ids == joint([row["target"] for row in translations("test", 50)])["input_ids"]


def test_joint_bpe_has_its_special_tokens(joint):
    assert joint.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    assert (joint.pad_token_id, joint.eos_token_id, joint.unk_token_id) == (0, 1, 2)
    assert joint("Bonjour")["input_ids"][-1] == 1
    assert set(joint("Bonjour")) == {"input_ids", "attention_mask"}
    assert len(joint) == 700


ODD_TEXTS = [
    "Qu'est-ce que c'est ? L'œuvre « n'est » pas   finie… aujourd'hui !",
    "  Two  spaces ,\ttabs\nand 3,14 % of 12/2004 :) ",
    "日本 – ŒUVRE ß 😀 e\u0301\u00a0\u202f!",
    "",
]


def test_joint_bpe_loses_nothing(joint):
    texts = [text for row in translations("test", 1_000, difficulty=1.0) for text in row.values()] + ODD_TEXTS
    for text, ids in zip(texts, joint(texts)["input_ids"], strict=True):
        assert 2 not in ids
        assert joint.decode(ids, skip_special_tokens=True) == text


def test_joint_bpe_survives_the_disk_beside_a_model(joint, tmp_path):
    joint.save_pretrained(tmp_path)
    translator("embedded/tiny-marian").save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [row["target"] for row in translations("test", 50)] + ODD_TEXTS
    assert loaded.get_vocab() == joint.get_vocab()
    assert dict(loaded(texts)) == dict(joint(texts))
    assert loaded.batch_decode(loaded(texts)["input_ids"], skip_special_tokens=True) == texts


@pytest.mark.parametrize("name", sorted(EMBEDDED_TRANSLATORS))
def test_translator_trains_generates_and_survives_the_disk(name, joint, tmp_path):
    model = translator(name)
    assert isinstance(model, MarianMTModel)
    rows = translations("train", 4)
    batch = joint([row["source"] for row in rows], padding=True, return_tensors="pt")
    labels = joint([row["target"] for row in rows], padding=True, return_tensors="pt")["input_ids"]
    loss = model(**batch, labels=labels.masked_fill(labels == 0, -100)).loss
    loss.backward()
    assert abs(loss.item() - torch.log(torch.tensor(700.0)).item()) < 1.5
    moved = [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert not moved
    written = model.generate(**batch, max_new_tokens=8)
    assert (written[:, 0] == 0).all()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded.generate(**batch, max_new_tokens=8), written)
    assert loaded.generation_config.forced_eos_token_id is None
    assert loaded.generation_config.num_beams in {None, 1}


def test_translator_ignores_padding():
    model = translator("embedded/small-marian")
    ids, start = torch.randint(3, 700, (2, 9)), torch.zeros(2, 1, dtype=torch.long)
    padded = torch.nn.functional.pad(ids, (0, 20))
    with torch.inference_mode():
        plain = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=start).logits
        wide = model(input_ids=padded, attention_mask=(padded > 0).long(), decoder_input_ids=start).logits
    torch.testing.assert_close(plain, wide, atol=1e-5, rtol=1e-4)


def test_sizes_of_the_translators():
    small, tiny = (translator(f"embedded/{kind}-marian", 1_200) for kind in ("small", "tiny"))
    assert 700_000 < small.num_parameters() < 1_000_000
    assert 100_000 < tiny.num_parameters() < 250_000
    for model in (small, tiny):
        encoder, decoder = model.get_encoder().embed_tokens.weight, model.get_decoder().embed_tokens.weight
        assert encoder.data_ptr() == decoder.data_ptr() == model.lm_head.weight.data_ptr()


def test_unknown_translator_lists_the_known_ones():
    with pytest.raises(ValueError, match="embedded/small-marian"):
        build_translator_config("embedded/huge-marian", 700)
