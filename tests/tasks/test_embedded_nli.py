"""The embedded NLI data: labels are right, splits do not leak, nothing can be read off one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from nli_oracle import UnreadableError, judge, read, truths
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from forge.tasks.embedded.nli import LABELS, SPLITS, generate, split_of
from forge.tasks.embedded.nli_lexicon import MISMATCHED

SIZES = {"train": 6_000, "validation": 2_000, "validation_mismatched": 2_000, "test": 2_000}
# sha256 of `generate(split, 200)` as JSON; a change here changes every number measured on this data.
PINNED = {
    "train": "f29523b85fb83e8c211a566ad48417229dfd8c9e32cfeb7815ede006504d1a5f",
    "validation": "ee4d41c857fe3658c6719332d3b9502dde03c5cabf6f6f12d6f5c53097933b84",
    "validation_mismatched": "ef88ab485db23e9a3874853d48fa42ac57b0af87433343f6be0929de11bd1d6e",
    "test": "f7d246057aa48f869b8c0dc77f9f0154ee481f519c4775e91ae02edc01faa915",
}
PINNED_IN_A_PROCESS = """
import hashlib, json, sys
from forge.tasks.embedded.nli import SPLITS, generate
assert not {"torch", "transformers"} & set(sys.modules)
print(json.dumps({s: hashlib.sha256(json.dumps(generate(s, 200)).encode()).hexdigest() for s in SPLITS}))
"""


@pytest.fixture(scope="module")
def data():
    return {split: generate(split, size) for split, size in SIZES.items()}


def words(text):
    return text.lower().split()


def both(row):
    return words(f"{row['premise']} {row['hypothesis']}")


# --- labels


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("split", SPLITS)
def test_labels_agree_with_worlds(split, difficulty):
    """The proof that labels are right: an independent reading of the English, checked in many worlds."""
    checked: Counter[tuple[str, str]] = Counter()
    for row in generate(split, 480, seed=11, difficulty=difficulty):
        found = truths(row["premise"], row["hypothesis"])
        allowed = {
            "entailment": ({(True, True)}, {(True, False)}),
            "contradiction": ({(True, False)}, {(True, True)}),
            "neutral": ({(True, True), (True, False)}, set()),
        }
        present, absent = allowed[row["label"]]
        assert present <= found, row
        assert not absent & found, row
        checked[row["phenomenon"], row["label"]] += 1
    assert len(checked) == 9
    assert min(checked.values()) >= 30


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("All dogs ran", "Some poodles moved", "entailment"),
        ("Some dogs ran", "Some poodles ran", "neutral"),
        ("All old dogs ran", "Some dogs ran", "entailment"),
        ("No dogs moved", "Some poodles ran", "contradiction"),
        ("All boys slept", "No boys ran", "entailment"),
        ("All boys smiled", "No boys ran", "neutral"),
        ("All artists ran", "Not all painters rested", "entailment"),
        ("All girls ran", "No artists ran", "neutral"),
        ("All dogs ran outside", "All dogs ran", "entailment"),
        ("All dogs ran today", "All dogs ran", "entailment"),
        ("All dogs ran", "All dogs ran today", "neutral"),
        ("All dogs ran outside", "Some dogs walked inside", "contradiction"),
        ("Some hungry dogs ran", "Some dogs ran", "entailment"),
        ("All young dogs ran", "No old dogs ran", "neutral"),
        ("Not all dogs ran", "All dogs ran", "contradiction"),
        ("At least three poodles ran", "More than two dogs ran", "entailment"),
        ("At most two dogs ran", "Fewer than three poodles ran", "entailment"),
        ("At most two poodles ran", "Fewer than three dogs ran", "neutral"),
        ("More than seven poodles ran", "At most seven dogs ran", "contradiction"),
        ("At least two boys ran", "At least two girls ran", "neutral"),
        ("The nurse called the pilot", "The nurse once called the pilot", None),
        ("The nurse once called the pilot", "The pilot once called the nurse", "neutral"),
        ("The nurse near the judge once saw the pilot", "The pilot was once seen by the nurse", "entailment"),
        ("The pilot was never seen by the nurse near the judge", "The nurse once saw the pilot", "contradiction"),
        ("The nurse near the nurse once saw the pilot", "The nurse once saw the pilot", None),
        ("All old young dogs ran", "All dogs ran", None),
    ],
)
def test_the_oracle_itself(premise, hypothesis, label):
    if label is None:
        with pytest.raises(UnreadableError):
            judge(premise, hypothesis)
    else:
        assert judge(premise, hypothesis) == label


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced(data, split):
    counts = Counter(row["label"] for row in data[split])
    assert set(counts) == set(LABELS)
    assert max(counts.values()) - min(counts.values()) <= 0.01 * len(data[split])


# --- the same rows everywhere


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_pinned(split):
    assert hashlib.sha256(json.dumps(generate(split, 200)).encode()).hexdigest() == PINNED[split]


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_same_rows_in_another_process(hash_seed):
    out = subprocess.run(
        [sys.executable, "-c", PINNED_IN_A_PROCESS],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(out.stdout) == PINNED


def test_seed_difficulty_and_split_change_the_rows():
    drawn = [
        generate("train", 50),
        generate("train", 50, seed=1),
        generate("train", 50, difficulty=0.6),
        generate("test", 50),
    ]
    assert all(one != two for one, two in combinations(drawn, 2))


# --- splits


def test_splits_share_words_but_no_combination(data):
    pairs = {s: {(r["premise"], r["hypothesis"]) for r in rows} for s, rows in data.items()}
    contents = {s: {read(r["hypothesis"]).content for r in rows} for s, rows in data.items()}
    for one, two in combinations(SPLITS, 2):
        assert not pairs[one] & pairs[two]
        assert not contents[one] & contents[two]
    for split in SPLITS:
        assert {split_of(content) for content in contents[split]} == {split}


def test_every_word_occurs_in_train(data):
    seen = {word for row in data["train"] for word in both(row)}
    for split in SPLITS[1:]:
        assert {word for row in data[split] for word in both(row)} <= seen


def test_mismatched_leans_on_other_words(data):
    def share(split):
        used = [word for row in data[split] for word in words(row["hypothesis"])]
        return np.mean([word in MISMATCHED for word in used])

    assert share("validation_mismatched") > 1.5 * max(share(s) for s in SPLITS if s != "validation_mismatched")


# --- what the words alone give away


def accuracy(data, features, ngrams):
    """Of a logistic regression on the presence of words, trained on train and asked about test and validation."""
    asked = data["test"] + data["validation"]
    vectorizer = CountVectorizer(ngram_range=ngrams, binary=True)
    x = vectorizer.fit_transform([features(row) for row in data["train"]])
    model = LogisticRegression(max_iter=300).fit(x, [row["label"] for row in data["train"]])
    guessed = model.predict(vectorizer.transform([features(row) for row in asked]))
    return np.mean(guessed == [row["label"] for row in asked])


def test_hypothesis_alone_says_nothing(data):
    assert accuracy(data, lambda row: row["hypothesis"], (1, 2)) <= 0.42


def test_words_without_their_order_say_little(data):
    def marked(row):
        return " ".join([*(f"p{w}" for w in words(row["premise"])), *(f"h{w}" for w in words(row["hypothesis"]))])

    assert accuracy(data, marked, (1, 1)) <= 0.62


# --- difficulty and arguments


def test_difficulty_adds_words_and_differences():
    lengths, differences = [], []
    for difficulty in (0.0, 0.5, 1.0):
        rows = generate("train", 4_000, difficulty=difficulty)
        bags = [(Counter(words(r["premise"])), Counter(words(r["hypothesis"]))) for r in rows]
        lengths.append(np.mean([p.total() + h.total() for p, h in bags]))
        differences.append(np.mean([((p - h) + (h - p)).total() for p, h in bags]))
    assert lengths[0] < lengths[1] < lengths[2] - 1
    assert differences[0] < differences[1] < differences[2] - 0.5


@pytest.mark.parametrize(
    ("split", "difficulty", "says"),
    [
        ("dev", 0.5, "no split"),
        ("", 0.5, "no split"),
        ("train", 1.5, "difficulty"),
        ("train", -0.1, "difficulty"),
        ("train", float("nan"), "difficulty"),
    ],
)
def test_wrong_arguments(split, difficulty, says):
    with pytest.raises(ValueError, match=says):
        generate(split, 1, difficulty=difficulty)
