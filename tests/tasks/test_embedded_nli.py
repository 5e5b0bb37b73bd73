"""The embedded NLI data: labels are right, splits do not leak, nothing can be read off one sentence."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from nli_oracle import UnreadableError, oracle_label
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoTokenizer

from forge.tasks.embedded.nli import DEFAULT_SIZES, LABELS, SPLITS, content_words, generate, split_of
from forge.tasks.embedded.tokenizer import build_tokenizer

# sha256 of the first 200 rows as JSON; a change here changes every number measured on this data.
PINNED = {
    "train": "a810ceb3e4f8dca0ba68d8a3e12a54cb922c93b34df16b42e21e181073ea753f",
    "validation": "c07ad3a3697b11e1a5665bfa81104d8409d1d9fb66354949cef9ea9e368554d1",
    "validation_mismatched": "9576d350ae9fd1a59cb3e8c3e39f21ddebc8655992ca2c37074480dd1484e059",
    "test": "4f778b63abd8394543679aa020de0a0e894223d8d25f9d83d37e7dc7a138e1f2",
}


@pytest.fixture(scope="module")
def data():
    return {split: generate(split, size) for split, size in DEFAULT_SIZES.items()}


@pytest.fixture(scope="module")
def tokenizer(data):
    return build_tokenizer(text for row in data["train"] for text in (row["premise"], row["hypothesis"]))


def words(row):
    return set(re.findall(r"[a-z]+", f"{row['premise']} {row['hypothesis']}".lower()))


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_pinned(data, split):
    text = json.dumps(data[split][:200], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED[split]


def test_same_arguments_same_rows_in_another_process():
    code = "from forge.tasks.embedded.nli import generate; import sys, json; print(json.dumps(generate('test', 50, 3)))"
    code += "; assert not {'torch', 'transformers'} & set(sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == generate("test", 50, 3)
    assert generate("test", 50, 3) != generate("test", 50, 4)


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced(data, split):
    counts = Counter(row["label"] for row in data[split])
    assert set(counts) == set(LABELS)
    assert max(counts.values()) - min(counts.values()) <= 0.01 * len(data[split])


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_labels_agree_with_enumerated_worlds(difficulty):
    """The proof that labels are right: an independent reading of the English, checked in every small world."""
    checked: Counter[str] = Counter()
    unread = 0
    for split in ("train", "test"):
        for row in generate(split, 1_000, seed=11, difficulty=difficulty):
            try:
                found = oracle_label(row["premise"], row["hypothesis"])
            except UnreadableError:
                unread += 1
                continue
            assert found == row["label"], row
            checked[row["phenomenon"]] += 1
    assert unread <= 40
    assert len(checked) == 11
    assert min(checked.values()) >= 50


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("All poodles are running", "Some dogs are moving", "entailment"),
        ("Exactly three dogs are running", "At least two dogs are running", "entailment"),
        ("No dogs are running", "Most poodles are running", "contradiction"),
        ("Anna called Omar", "Omar called Anna", "neutral"),
        ("Anna called Omar", "Omar was called by Anna", "entailment"),
        ("Anna did not buy a dog", "Anna bought a red poodle", "contradiction"),
        ("Anna is not happy", "Anna is sad", "neutral"),
        ("Anna is not awake", "Anna is asleep", "entailment"),
        ("Hugo left before Anna and Anna left before Omar", "Omar left after Hugo",
         "entailment"),
    ],
)  # fmt: skip
def test_the_oracle_itself(premise, hypothesis, label):
    assert oracle_label(premise, hypothesis) == label


def test_splits_share_words_but_no_combination(data):
    pairs = {s: {(r["premise"], r["hypothesis"]) for r in rows} for s, rows in data.items()}
    combinations = {s: {content_words(r["hypothesis"]) for r in rows} for s, rows in data.items()}
    for i, one in enumerate(SPLITS):
        for two in SPLITS[i + 1 :]:
            assert not pairs[one] & pairs[two]
            assert not combinations[one] & combinations[two]
        assert {split_of(r["hypothesis"]) for r in data[one]} == {one}
    seen = set().union(*map(words, data["train"]))
    for split in SPLITS[1:]:
        assert set().union(*map(words, data[split])) <= seen


def test_mismatched_is_another_mix_of_words(data):
    def share(split):
        counts = Counter(w for row in data[split] for w in words(row))
        total = sum(counts.values())
        return {w: n / total for w, n in counts.items()}

    matched, other, mismatched = share("test"), share("validation"), share("validation_mismatched")

    def distance(a, b):
        return sum(abs(a.get(w, 0) - b.get(w, 0)) for w in {*a, *b})

    assert distance(matched, mismatched) > 2 * distance(matched, other)


def test_hypothesis_alone_says_nothing(data):
    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True)
    x = vectorizer.fit_transform([r["hypothesis"] for r in data["train"]])
    model = LogisticRegression(max_iter=200).fit(x, [r["label"] for r in data["train"]])
    test = data["test"] + data["validation"]
    guessed = model.predict(vectorizer.transform([r["hypothesis"] for r in test]))
    assert np.mean(guessed == [r["label"] for r in test]) <= 0.38


def test_difficulty_adds_steps():
    lengths, turned = [], []
    for difficulty in (0.0, 0.5, 1.0):
        rows = generate("train", 6_000, difficulty=difficulty)
        lengths.append(np.mean([len(r["premise"].split()) for r in rows]))
        turned.append(np.mean(["false" in f"{r['premise']} {r['hypothesis']}" for r in rows]))
    assert lengths == sorted(lengths)
    assert turned == sorted(turned)
    assert lengths[-1] > lengths[0] + 2


@pytest.mark.parametrize(("split", "difficulty"), [("dev", 0.5), ("train", 1.5)])
def test_wrong_arguments(split, difficulty):
    with pytest.raises(ValueError, match=r"no split|difficulty"):
        generate(split, 1, difficulty=difficulty)


def test_tokenizer_is_bert_shaped(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    pair = tokenizer("Anna left", "Noah did not leave")
    tokens = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    assert tokens == ["[CLS]", "anna", "left", "[SEP]", "noah", "did", "not", "leave", "[SEP]"]
    assert pair["token_type_ids"] == [0] * 4 + [1] * 5


def test_tokenizer_reads_every_word_whole(tokenizer, data):
    for row in data["test"][:300]:
        ids = tokenizer(row["premise"])["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == (
            row["premise"].lower().replace(" ", "")
        )
    longest = max(len(tokenizer(r["premise"], r["hypothesis"])["input_ids"]) for r in data["train"])
    assert longest <= 40


def test_tokenizer_survives_the_disk_and_a_second_training(tokenizer, data, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    again = build_tokenizer(text for row in data["train"] for text in (row["premise"], row["hypothesis"]))
    row = data["test"][0]
    expected = tokenizer(row["premise"], row["hypothesis"])
    assert dict(loaded(row["premise"], row["hypothesis"])) == dict(expected)
    assert loaded.get_vocab() == tokenizer.get_vocab() == again.get_vocab()
