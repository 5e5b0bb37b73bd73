"""Texts become token ids once, before training; large sets are kept memory-mapped on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets import config as datasets_config
from numpy.typing import NDArray
from pyarrow import compute, types
from transformers import PreTrainedTokenizerBase

from forge.core.hashing import digest
from forge.core.io import storage_errors

IN_MEMORY_ROWS = 50_000  # below this, encoding again is quicker than a file is worth
TEXTS_AT_ONCE = 10_000  # that a digest copies out of a table


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    columns: Mapping[str, Sequence[Any]],
    max_length: int,
    key: object,
) -> Dataset:
    """Encode `text` (and `text_pair`); other columns travel along. Adds `length` in tokens.

    `key` says what determines the result; sets above IN_MEMORY_ROWS are encoded once per key and machine.
    """
    rows = len(columns["text"])

    def encode(batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        pairs = list(batch["text_pair"]) if "text_pair" in batch else None
        encoded = tokenizer(
            list(batch["text"]), pairs, truncation="longest_first", max_length=max_length, padding=False
        )
        out = {name: encoded[name] for name in encoded if name != "attention_mask"}
        return out | {"length": [len(ids) for ids in encoded["input_ids"]]}

    kept = {name: values for name, values in columns.items() if name not in {"text", "text_pair"}}
    if rows <= IN_MEMORY_ROWS:
        return Dataset.from_dict(encode(columns) | kept)
    table = Dataset.from_dict(dict(columns))
    dropped = [name for name in ("text", "text_pair") if name in columns]
    return encode_rows(table, encode, dropped, [key, max_length, tokenizer_mark(tokenizer)])


def encode_rows(
    rows: Dataset, encode: Callable[[Mapping[str, Sequence[Any]]], dict[str, Any]], drop: Sequence[str], key: object
) -> Dataset:
    """Encode rows in batches into a memory-mapped file, once for each key and machine, so that any number of them
    costs no memory.
    """
    folder = Path(datasets_config.HF_DATASETS_CACHE) / "forge-encoded"
    cache = folder / f"{digest(key, 24)}.arrow"
    if cache.is_file():
        return Dataset.from_file(str(cache))
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    try:
        with storage_errors(f"encoding texts into {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            rows.map(encode, batched=True, remove_columns=list(drop), cache_file_name=str(temporary), desc="encoding")
            temporary.replace(cache)
    finally:
        temporary.unlink(missing_ok=True)
    return Dataset.from_file(str(cache))


def tokenizer_mark(tokenizer: PreTrainedTokenizerBase) -> str:
    """What a tokenizer is, by content: one trained on other texts has the same name and size, and other ids."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return digest([type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.special_tokens_map])
    state = json.loads(backend.to_str())
    # These two are set by each call.
    return digest({name: value for name, value in state.items() if name not in {"truncation", "padding"}})


def encoded_mark(data: Dataset) -> str:
    """What an encoded data set is, by content: ids, labels, texts and their order."""
    table = data.with_format("arrow")[:].combine_chunks()
    content = hashlib.sha256()
    for name in sorted(table.column_names):
        for chunk in table.column(name).chunks:
            _absorb(content, name, chunk)
    return content.hexdigest()


def _absorb(content: Any, name: str, values: Any) -> None:
    """Add a column to a digest. Of lists and texts numpy would give addresses: they are taken apart."""
    content.update(f"{name} {len(values)} {values.type}".encode())
    if types.is_primitive(values.type):
        content.update(values.to_numpy(zero_copy_only=False).tobytes())
    elif types.is_nested(values.type):
        content.update(compute.list_value_length(values).to_numpy(zero_copy_only=False).tobytes())
        _absorb(content, name, values.flatten())
    elif not types.is_null(values.type):
        content.update(compute.binary_length(values).to_numpy(zero_copy_only=False).tobytes())
        for first in range(0, len(values), TEXTS_AT_ONCE):
            for text in values.slice(first, TEXTS_AT_ONCE).to_pylist():
                content.update(text.encode() if isinstance(text, str) else text or b"")


def list_lengths(data: Dataset, column: str) -> NDArray[np.int64]:
    """Lengths of the N lists in a column, without making Python objects of them."""
    values = data.select_columns([column]).with_format("arrow")[:].column(column)
    lengths: NDArray[np.int64] = compute.list_value_length(values).to_numpy().astype(np.int64)
    return lengths


def pad(sequences: Sequence[Sequence[int]], value: int, length: int = 0) -> torch.Tensor:
    """Right-pad sequences of ids to one tensor of shape (B, L), L the longest, or `length` where it is more."""
    longest = max(length, *(len(sequence) for sequence in sequences))
    padded_BL = np.full((len(sequences), longest), value, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        padded_BL[row, : len(sequence)] = sequence
    return torch.from_numpy(padded_BL)
