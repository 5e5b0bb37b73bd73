"""Classification of one text or a pair: label names, encoding, scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from forge.config.schema import Columns
from forge.core.errors import UserError
from forge.tasks.base import IGNORED_LABEL, Batch, Scores, Side, forward
from forge.tasks.encoding import encode_texts, pad
from forge.tasks.metrics.classification import score_classification
from forge.tasks.sources import Table, kind_of

UNLABELLED = {"-1", "-"}  # GLUE's test sets; SNLI and MNLI where annotators disagreed


class ClassificationTask:
    """Turns tables into encoded data, rows into batches, logits into scores."""

    name = "classification"

    def __init__(self, labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self.labels = list(labels)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._pad_id = tokenizer.pad_token_id or 0

    def encode(self, table: Table, columns: Columns, limit: int | None = None) -> tuple[Dataset, int]:
        """Encode a table; also returns how many rows were left out because nobody labelled them."""
        texts, labels = read_texts(table, columns), read_labels(table, columns.label, self.labels)
        keep = [row for row, label in enumerate(labels) if label is not None][:limit]
        if not keep:
            raise UserError(f"{table.name}  no row has a label; point the split to labelled data")
        kept = {name: [values[row] for row in keep] for name, values in (texts | {"label": labels}).items()}
        key = [table.fingerprint, columns.model_dump(), self.labels, limit]
        return encode_texts(self.tokenizer, kept, self.max_length, key), labels.count(None)

    def encode_free(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Dataset:
        """Encode texts that have no labels, to predict on."""
        columns: dict[str, Sequence[Any]] = {"text": list(texts)}
        if pairs is not None:
            columns["text_pair"] = list(pairs)
        return encode_texts(self.tokenizer, columns, self.max_length, key=None)

    def lengths(self, data: Dataset) -> dict[Side, NDArray[np.int64]]:
        """Tokens of each example; of a pair, both texts together."""
        return {"input": np.asarray(data["length"][:], dtype=np.int64)}

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """input_ids_BL, attention_mask_BL, token_type_ids_BL where the tokenizer makes them, labels_B."""
        ids_BL = pad([row["input_ids"] for row in rows], self._pad_id)
        mask_BL = pad([[1] * len(row["input_ids"]) for row in rows], 0)
        batch = {"input_ids": ids_BL, "attention_mask": mask_BL}
        if "token_type_ids" in rows[0]:
            batch["token_type_ids"] = pad([row["token_type_ids"] for row in rows], 0)
        batch["labels"] = torch.tensor([row.get("label", IGNORED_LABEL) for row in rows])
        return batch

    def infer(self, model: torch.nn.Module, batch: Batch) -> list[Any]:
        """logits_C of each example, fp32."""
        return list(forward(model, batch).logits.float().cpu().numpy())

    def score(self, outputs: Iterable[Any], data: Dataset) -> Scores:
        """Scores of logits_NC against the data's labels."""
        logits_NC = np.stack(list(outputs))
        return score_classification(logits_NC, np.asarray(data["label"][: len(logits_NC)]), self.labels)

    def thorough(self) -> ClassificationTask:
        """There is one way to measure it."""
        return self


def read_texts(table: Table, columns: Columns) -> dict[str, list[Any]]:
    """The text columns, every cell checked to be a text."""
    wanted = {"text": columns.text} | ({"text_pair": columns.text_pair} if columns.text_pair else {})
    texts: dict[str, list[Any]] = {}
    for part, column in wanted.items():
        values = table.column(column, f"data.columns.{part}")
        for row, value in enumerate(values):
            if not isinstance(value, str):
                held = "nothing" if value is None else kind_of(value)
                raise UserError(f"{table.where(row)}  column '{column}' must hold a text, this row has {held}")
        texts[part] = values
    return texts


def read_labels(table: Table, column: str, names: Sequence[str]) -> list[int | None]:
    """Labels as indices into `names`; None where nobody labelled the row. Raises UserError for an unknown label."""
    values = table.column(column, "data.columns.label")
    own_names = table.label_names(column)
    index = {name: i for i, name in enumerate(names)}
    labels: list[int | None] = []
    for row, value in enumerate(values):
        name = _label_name(value, own_names, names)
        if name in index:
            labels.append(index[name])
        elif _as_text(value) in UNLABELLED:
            labels.append(None)
        else:
            shown = "nothing" if value is None else f"'{name}'"
            raise UserError(
                f"{table.where(row)}  label is {shown} in column '{column}', known: {', '.join(names)} (data.labels)"
            )
    return labels


def label_names(table: Table, column: str, configured: Sequence[str] | None) -> list[str]:
    """Label names in the data's order: as configured, as the data set declares, or as the rows show, sorted."""
    own = table.label_names(column)
    if configured:
        if own and set(own) != set(configured):
            raise UserError(f"data.labels names {', '.join(configured)}, but {table.name} declares {', '.join(own)}")
        return list(configured)
    if own:
        return own
    seen = {_as_text(value) for value in table.column(column, "data.columns.label") if value is not None} - UNLABELLED
    names = sorted(seen, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))
    if len(names) < 2:
        found = f"only the label '{names[0]}'" if names else "no labels"
        raise UserError(f"{table.name}  column '{column}' has {found}, two are needed")
    if len(names) > len(table.rows) // 2 and len(names) > 100:
        raise UserError(f"{table.name}  column '{column}' has {len(names)} different values; is it the label?")
    return names


def _label_name(value: Any, own_names: list[str] | None, names: Sequence[str]) -> str:
    if own_names and isinstance(value, int) and 0 <= value < len(own_names):
        return own_names[value]
    text = _as_text(value)
    # Names that are numbers themselves leave no room for indices: 0 among 1, 2, 3 is unknown, not the first.
    is_index = text.isdecimal() and int(text) < len(names) and not any(name.isdecimal() for name in names)
    return names[int(text)] if is_index else text


def _as_text(value: object) -> str:
    """A label as text; whole numbers that came as 1.0 (a column that once had gaps) are 1."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
