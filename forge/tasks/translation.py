"""Translation: pairs of texts encoded, collated for teacher forcing, translated, scored.

Shape letters: B examples, S source tokens, T target tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from forge.core.hashing import digest
from forge.tasks.base import IGNORED_LABEL, Batch, Scores, Side
from forge.tasks.encoding import IN_MEMORY_ROWS, encode_rows, encoded_mark, list_lengths, pad, tokenizer_mark
from forge.tasks.metrics.translation import TER_WORD_PAIRS, score_translations, sentence_bleu
from forge.tasks.written import Write, Written, decoded, infer_written, mean_loss

SAMPLES = 10  # translations that a report shows


@dataclass(frozen=True)
class TranslationTask:
    """Turns pairs of texts into encoded data, rows into batches, token ids into texts and scores.

    `write` searches for translations while training, `write_best` when the result is measured.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int
    max_target_length: int
    start: int  # the token that the decoder reads first
    write: Write
    write_best: Write
    target_language: str | None = None
    prefix: str = ""  # before each source text
    ter_word_pairs: int | None = TER_WORD_PAIRS  # what TER may cost; None where the best checkpoint hangs on it
    name = "translation"

    def thorough(self) -> TranslationTask:
        """The task as the result is measured."""
        return replace(self, write=self.write_best)

    def encode_pairs(self, sources: Sequence[str], targets: Sequence[str] | None) -> dict[str, list[Any]]:
        """Columns `input_ids`, `labels` (where there are targets) and `length`, the longer side's tokens."""
        texts = [self.prefix + text for text in sources] if self.prefix else list(sources)
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length, padding=False)
        columns: dict[str, list[Any]] = {"input_ids": encoded["input_ids"]}
        lengths = [len(ids) for ids in columns["input_ids"]]
        if targets is not None:
            columns["labels"] = self._encode_targets(targets)
            lengths = [max(pair) for pair in zip(lengths, map(len, columns["labels"]), strict=True)]
        return columns | {"length": lengths}

    def with_targets(self, data: Dataset, targets: Sequence[str]) -> Dataset:
        """The encoded data with other targets in place of its own; columns of text are dropped."""
        rows = data.select_columns(["input_ids"]).add_column("target", list(targets))

        def encode(batch: Mapping[str, Any]) -> dict[str, list[Any]]:
            labels = self._encode_targets(batch["target"])
            pairs = zip(batch["input_ids"], labels, strict=True)
            return {"labels": labels, "length": [max(len(source), len(target)) for source, target in pairs]}

        if len(rows) <= IN_MEMORY_ROWS:
            columns = rows[:]
            return Dataset.from_dict({"input_ids": columns["input_ids"]} | encode(columns))
        mark = digest([list(targets), tokenizer_mark(self.tokenizer), self.max_target_length])
        return encode_rows(rows, encode, ["target"], [encoded_mark(data), mark])

    def lengths(self, data: Dataset) -> dict[Side, NDArray[np.int64]]:
        """Tokens of the source and of the target of each example."""
        columns: dict[Side, str] = {"input": "input_ids", "target": "labels"}
        return {side: list_lengths(data, column) for side, column in columns.items()}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """input_ids_BS, attention_mask_BS, and where there are references decoder_input_ids_BT and labels_BT."""
        padding = int(self.tokenizer.pad_token_id or 0)
        batch = {
            "input_ids": pad([row["input_ids"] for row in rows], padding),
            "attention_mask": pad([[1] * len(row["input_ids"]) for row in rows], 0),
        }
        if "labels" in rows[0]:
            batch["labels"] = pad([row["labels"] for row in rows], IGNORED_LABEL)
            batch["decoder_input_ids"] = pad([[self.start, *row["labels"][:-1]] for row in rows], padding)
        return batch

    def infer(self, model: torch.nn.Module, batch: Batch) -> list[Any]:
        """A translation of each example, and how likely the model holds the reference to be."""
        return list(infer_written(model, batch, self.write))

    def score(self, outputs: Iterable[Any], data: Dataset) -> Scores:
        """BLEU, chrF++ and length ratio of the translations; loss, the mean nats a token, of the references."""
        made: list[Written] = list(outputs)
        hypotheses = self.texts([one.ids for one in made])
        references, sources = data["target"][: len(made)], data["source"][: len(made)]
        scores = score_translations(hypotheses, references, self.target_language, self.ter_word_pairs)
        shown = [
            {"source": source, "reference": reference, "translation": hypothesis}
            for source, reference, hypothesis in zip(sources, references, hypotheses, strict=True)
        ]
        detail = dict(scores.detail) | {"examples": len(made), "samples": shown[:SAMPLES]}
        return Scores(dict(scores.figures) | {"loss": mean_loss(made)}, detail, scores.rows)

    def references(self, data: Dataset) -> list[str]:
        """The translations, as far as they were encoded."""
        return self.texts(data["labels"][:])

    def likeness(self, text: str, reference: str) -> float:
        """BLEU of one sentence."""
        return sentence_bleu(text, reference)

    def _encode_targets(self, targets: Sequence[str]) -> list[list[int]]:
        encoded: list[list[int]] = self.tokenizer(
            text_target=list(targets), truncation=True, max_length=self.max_target_length, padding=False
        )["input_ids"]
        return encoded

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Token ids as text, without special tokens."""
        return [text.strip() for text in decoded(self.tokenizer, ids)]
