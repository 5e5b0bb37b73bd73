"""Texts to ids: truncation, the cache on disk, batches."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets, disable_progress_bars
from support import ROOT
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from forge.config.schema import Columns
from forge.core.errors import StorageError, UserError
from forge.tasks import encoding
from forge.tasks.base import IGNORED_LABEL, forward
from forge.tasks.classification import ClassificationTask
from forge.tasks.embedded.tokenizer import build_tokenizer
from forge.tasks.encoding import encode_texts, encoded_mark, pad, tokenizer_mark
from forge.tasks.sources import from_rows

disable_progress_bars()
TEXTS = [f"word {' '.join(['dog'] * n)}" for n in range(30)]
COLUMNS = {"text": TEXTS, "text_pair": [f"a cat {i}" for i in range(30)], "label": [i % 2 for i in range(30)]}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([*TEXTS, *COLUMNS["text_pair"]], 80)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """On disk from 11 rows on; → the list of its files."""
    monkeypatch.setattr(encoding, "IN_MEMORY_ROWS", 10)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    return lambda: sorted(path.name for path in tmp_path.glob("forge-encoded/*"))


def test_the_longer_of_a_pair_is_truncated_first(tokenizer):
    data = encode_texts(tokenizer, {"text": ["dog " * 50], "text_pair": ["a cat"]}, 12, None)
    words = tokenizer.convert_ids_to_tokens(data["input_ids"][0])
    assert words == ["[CLS]", *["dog"] * 7, "[SEP]", "a", "cat", "[SEP]"]
    assert data["token_type_ids"][0] == [0] * 9 + [1] * 3
    assert data["length"][:] == [12]


def test_ids_are_those_of_the_tokenizer_and_length_counts_them(tokenizer):
    data = encode_texts(tokenizer, COLUMNS, 16, None)
    assert set(data.column_names) == {"input_ids", "token_type_ids", "label", "length"}
    for row, text, pair in zip(data, TEXTS, COLUMNS["text_pair"], strict=True):
        assert row["input_ids"] == tokenizer(text, pair, truncation="longest_first", max_length=16)["input_ids"]
        assert row["length"] == len(row["input_ids"]) <= 16
    assert data["label"][:] == COLUMNS["label"]


def test_on_disk_as_in_memory_and_the_second_call_reads_the_file(tokenizer, cache, monkeypatch):
    with monkeypatch.context() as inner:
        inner.setattr(encoding, "IN_MEMORY_ROWS", 1_000)
        expected = encode_texts(tokenizer, COLUMNS, 16, "key").to_dict()
    assert cache() == []
    assert encode_texts(tokenizer, COLUMNS, 16, "key").to_dict() == expected
    files = cache()
    assert len(files) == 1
    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", None)  # whoever encodes now, fails
    assert encode_texts(tokenizer, COLUMNS, 16, "key").to_dict() == expected
    assert cache() == files


def test_what_determines_the_result_determines_the_file(tokenizer, cache):
    def files(key="key", length=16, chosen=tokenizer):
        encode_texts(chosen, COLUMNS, length, key)
        return len(cache())

    assert files() == 1
    assert files(key="other") == 2
    assert files(length=8) == 3
    tokenizer("a call with other lengths leaves its mark in the tokenizer", truncation=True, max_length=5)
    assert files() == 3


def test_a_tokenizer_trained_on_other_texts_never_meets_the_cache_of_another(tokenizer, cache):
    """Name and size are the same, the ids are not."""
    other = build_tokenizer([*reversed(TEXTS), *[text[::-1] for text in COLUMNS["text_pair"]] * 3], len(tokenizer))
    other.add_tokens([f"extra{i}" for i in range(len(tokenizer) - len(other))])
    assert (other.name_or_path, len(other)) == (tokenizer.name_or_path, len(tokenizer))
    first = encode_texts(tokenizer, COLUMNS, 16, "key")["input_ids"][:]
    second = encode_texts(other, COLUMNS, 16, "key")["input_ids"][:]
    assert second == [other(a, b, truncation=True, max_length=16)["input_ids"] for a, b in _pairs()]
    assert second != first


def _pairs():
    return zip(TEXTS, COLUMNS["text_pair"], strict=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_killed_writer_leaves_no_half_cache(tokenizer, cache, monkeypatch, failure):
    with monkeypatch.context() as inner:
        inner.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(failure))
        with pytest.raises(StorageError if isinstance(failure, OSError) else KeyboardInterrupt):
            encode_texts(tokenizer, COLUMNS, 16, "key")
    assert cache() == []
    assert len(encode_texts(tokenizer, COLUMNS, 16, "key")) == 30
    assert len(cache()) == 1


def test_pad():
    padded = pad([[1, 2, 3], [4], []], 9)
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[1, 2, 3], [4, 9, 9], [9, 9, 9]]


def test_collate_shapes_mask_and_labels(tokenizer):
    task = ClassificationTask(["a", "b"], tokenizer, 16)
    data = encode_texts(tokenizer, COLUMNS, 16, None)
    batch = task.collate(list(data.select([0, 9, 3])))
    lengths = [data[i]["length"] for i in (0, 9, 3)]
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (3, max(lengths)),
        "attention_mask": (3, max(lengths)),
        "token_type_ids": (3, max(lengths)),
        "labels": (3,),
    }
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert torch.equal(batch["input_ids"] == tokenizer.pad_token_id, batch["attention_mask"] == 0)
    assert not batch["token_type_ids"][batch["attention_mask"] == 0].any()
    assert batch["labels"].tolist() == [0, 1, 1]


def test_texts_without_labels_collate_to_the_ignored_label(tokenizer):
    task = ClassificationTask(["a", "b"], tokenizer, 16)
    free = task.encode_free(["dog"])
    assert task.collate(list(free))["labels"].tolist() == [IGNORED_LABEL]
    pair = task.encode_free(["dog"], ["a cat"])
    assert pair["input_ids"][0] == tokenizer("dog", "a cat")["input_ids"]


def test_encode_leaves_out_what_nobody_labelled_and_keeps_the_order(tokenizer):
    task = ClassificationTask(["a", "b"], tokenizer, 16)
    rows = [{"text": f"dog {i}", "label": label} for i, label in enumerate(["a", "-1", "b", "-", "a"])]
    data, unlabelled = task.encode(from_rows("t", rows), Columns())
    assert (data["label"][:], unlabelled) == ([0, 1, 0], 2)
    assert data["input_ids"][1] == tokenizer("dog 2")["input_ids"]
    limited, _ = task.encode(from_rows("t", rows), Columns(), limit=2)
    assert limited["label"][:] == [0, 1]
    with pytest.raises(UserError, match="t  no row has a label; point the split to labelled data"):
        task.encode(from_rows("t", [{"text": "x", "label": -1}] * 3), Columns())


def test_a_model_gets_the_inputs_it_knows():
    class Net(torch.nn.Module):
        def forward(self, input_ids, attention_mask=None):
            return input_ids, attention_mask

    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *inputs, **named):
            return self.module(*inputs, **named)

    names = ("input_ids", "attention_mask", "token_type_ids", "labels")
    batch = {name: torch.tensor(i) for i, name in enumerate(names)}
    for model in (Net(), Wrapped(Net()), Wrapped(Wrapped(Net()))):
        assert [int(tensor) for tensor in forward(model, batch)] == [0, 1]


def test_scores_take_the_truth_of_as_many_rows_as_there_are_outputs(tokenizer):
    task = ClassificationTask(["a", "b"], tokenizer, 16)
    data = encode_texts(tokenizer, COLUMNS, 16, None)
    outputs = [np.eye(2)[i % 2] for i in range(30)]
    assert task.score(outputs, data).figures["accuracy"] == 1.0
    assert task.score(outputs[:7], data).detail["examples"] == 7


def test_the_mark_of_a_tokenizer_is_its_content(tokenizer, tmp_path):
    again = build_tokenizer([*TEXTS, *COLUMNS["text_pair"]], 80)
    assert tokenizer_mark(tokenizer) == tokenizer_mark(again)
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_mark(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == tokenizer_mark(tokenizer)
    assert tokenizer_mark(build_tokenizer(["other words entirely"], 80)) != tokenizer_mark(tokenizer)


def test_the_mark_of_a_tokenizer_ignores_what_each_call_sets_and_sees_what_changes_ids(tokenizer):
    before = tokenizer_mark(tokenizer)
    tokenizer(["dog"] * 2, padding=True, truncation=True, max_length=5)
    assert tokenizer_mark(tokenizer) == before
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    changes = [
        lambda state: state["normalizer"].update(lowercase=False),
        lambda state: state["normalizer"].update(strip_accents=False),
        lambda state: state["model"].update(continuing_subword_prefix="@@"),
        lambda state: state["post_processor"]["single"].pop(),
    ]
    marks = {before}
    for change in changes:
        altered = json.loads(json.dumps(state))
        change(altered)
        marks.add(tokenizer_mark(PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(altered)))))
    assert len(marks) == len(changes) + 1


def test_a_tokenizer_without_a_backend_has_a_mark_too():
    class Slow:
        special_tokens_map: ClassVar = {"pad_token": "[PAD]"}

        def __init__(self, words):
            self.words = words

        def get_vocab(self):
            return {word: i for i, word in enumerate(self.words)}

    assert tokenizer_mark(Slow(["a", "b"])) == tokenizer_mark(Slow(["a", "b"]))
    assert tokenizer_mark(Slow(["a", "b"])) != tokenizer_mark(Slow(["b", "a"]))


def _changed(**changes):
    columns = {"input_ids": [[2, 5, 3], [2, 3], [2, 6, 7, 3]], "label": [0, 1, 0], "length": [3, 2, 4]}
    return Dataset.from_dict(columns | changes)


def test_the_mark_of_encoded_data_sees_ids_labels_and_their_order():
    marks = [
        encoded_mark(_changed()),
        encoded_mark(_changed(label=[1, 1, 0])),
        encoded_mark(_changed(input_ids=[[2, 5, 3], [2, 3], [2, 6, 8, 3]])),
        encoded_mark(_changed(input_ids=[[2, 3], [2, 5, 3], [2, 6, 7, 3]], length=[2, 3, 4])),
        encoded_mark(_changed(token_type_ids=[[0, 0, 0], [0, 0], [0, 0, 1, 1]])),
        encoded_mark(_changed().select([0, 1])),
        encoded_mark(_changed().select([2, 1, 0])),
    ]
    assert len(set(marks)) == len(marks)
    assert encoded_mark(_changed()) == marks[0]


def test_the_mark_of_encoded_data_does_not_depend_on_where_it_lies(tokenizer, cache, monkeypatch):
    """Memory, a file, a selection: the same rows have the same mark, or a cache would be made again elsewhere."""
    on_disk = encode_texts(tokenizer, COLUMNS, 16, "key")
    monkeypatch.setattr(encoding, "IN_MEMORY_ROWS", 1_000)
    in_memory = encode_texts(tokenizer, COLUMNS, 16, "key")
    assert encoded_mark(on_disk) == encoded_mark(in_memory)
    assert encoded_mark(in_memory.select(range(30))) == encoded_mark(in_memory)


def test_the_mark_of_encoded_data_sees_where_one_text_ends():
    """The same tokens, cut otherwise."""
    assert encoded_mark(_changed(input_ids=[[2, 5], [3, 2, 3], [2, 6, 7, 3]], length=[2, 3, 4])) != encoded_mark(
        _changed()
    )


def test_the_mark_of_encoded_data_does_not_depend_on_how_it_is_cut_into_chunks():
    whole = _changed()
    assert encoded_mark(concatenate_datasets([whole.select([0]), whole.select([1, 2])])) == encoded_mark(whole)


def test_the_mark_of_texts_is_their_content():
    """numpy gives the addresses of texts, which differ between two processes."""
    columns = {"page": ["a", "bc", ""], "boxes": [[[1.0, 2.0], [3.0]], [], [[4.0]]], "image": [b"\x00", None, b"\xff"]}
    script = (
        "from datasets import Dataset; from forge.tasks.encoding import encoded_mark;"
        f"print(encoded_mark(Dataset.from_dict({columns!r})))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    mark = encoded_mark(Dataset.from_dict(columns))
    assert told.strip() == mark
    others = [
        {"page": ["ab", "c", ""]},
        {"page": ["a", "", "bc"]},
        {"boxes": [[[1.0], [2.0, 3.0]], [], [[4.0]]]},
        {"boxes": [[[1.0, 2.0]], [[3.0]], [[4.0]]]},
        {"image": [b"\x00", None, b"\xfe"]},
    ]
    found = [encoded_mark(Dataset.from_dict(columns | other)) for other in others]
    assert len({mark, *found}) == 6
