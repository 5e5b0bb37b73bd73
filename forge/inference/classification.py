"""Using a run: measure it on other data, predict with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from forge.assemble import quiet_libraries
from forge.config.schema import Columns
from forge.core.assets import Asset
from forge.core.errors import CheckpointError, UserError
from forge.core.manifest import verify
from forge.inference.saved import model_in, settings_of
from forge.models.load import load_classifier, load_tokenizer
from forge.runs.run_dir import RunDirectory
from forge.tasks.base import Scores
from forge.tasks.classification import ClassificationTask
from forge.tasks.labels import LabelPlan
from forge.tasks.metrics.classification import softmax
from forge.tasks.sources import Table, from_directory, from_file
from forge.train.evaluate import infer

PREDICT_CHUNK = 1_024  # examples read before the first answer is written


@dataclass(frozen=True)
class LoadedRun:
    """A run's trained model with the task it was trained for."""

    task: ClassificationTask
    model: torch.nn.Module
    accelerator: Accelerator
    columns: Columns
    batch_size: int
    checkpoint: str


def load_run(run: RunDirectory, which: str = "best") -> LoadedRun:
    """Load a verified checkpoint of a run. Raises UserError, CheckpointError."""
    quiet_libraries()
    folder = run.checkpoint(which)
    if damage := verify(folder):
        raise CheckpointError(f"{folder}  is damaged: {damage}; try --checkpoint last, or an earlier step")
    metadata = run.metadata()
    settings, labels = settings_of(run), metadata["labels"]
    asset = Asset(str(folder), "path", str(folder))
    wanted = model_in(folder, settings)
    tokenizer = load_tokenizer(asset, wanted, [])
    model = load_classifier(asset, wanted, LabelPlan(labels, keep_head=True), tokenizer, seed=0)
    accelerator = Accelerator()
    model.to(accelerator.device)
    limit = getattr(model.config, "max_position_embeddings", None) or settings.data.max_length
    task = ClassificationTask(labels, tokenizer, min(settings.data.max_length, limit))
    columns = Columns(**metadata["columns"])
    return LoadedRun(task, model, accelerator, columns, settings.evaluate.batch_size, folder.name)


def evaluate_run(
    loaded: LoadedRun, data: str, subset: str | None, split: str | None, columns: Mapping[str, str]
) -> Scores:
    """Measure a run on a file, or on a split of a local data set in hub format."""
    table = given_table(data, subset, split)
    chosen = loaded.columns.model_copy(update=dict(columns))
    encoded, unlabelled = loaded.task.encode(table, chosen)
    if unlabelled:
        print(f"{table.name}: {unlabelled} rows without a label were left out", file=sys.stderr)  # noqa: T201
    outputs = infer(loaded.accelerator, loaded.task, loaded.model, encoded, loaded.batch_size)
    return loaded.task.score(outputs, encoded)


def given_table(data: str, subset: str | None, split: str | None) -> Table:
    """What `--data` names: a file, or a split of a local data set in hub format."""
    path = Path(data).expanduser()
    return from_directory(str(path), subset, split or "test", "") if path.is_dir() else from_file(path)


def predict(loaded: LoadedRun, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each row with `text` (and `text_pair`): the row, its label and the probability of each label."""
    chunk: list[Mapping[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == PREDICT_CHUNK:
            yield from _predict_chunk(loaded, chunk)
            chunk = []
    if chunk:
        yield from _predict_chunk(loaded, chunk)


def _predict_chunk(loaded: LoadedRun, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
    encoded = loaded.task.encode_free([row["text"] for row in rows], pairs)
    logits_NC = np.stack(infer(loaded.accelerator, loaded.task, loaded.model, encoded, loaded.batch_size))
    for row, probabilities_C in zip(rows, softmax(logits_NC), strict=True):
        named = {name: round(float(p), 6) for name, p in zip(loaded.task.labels, probabilities_C, strict=True)}
        yield dict(row) | {"label": loaded.task.labels[int(probabilities_C.argmax())], "probabilities": named}


def rows_to_predict(loaded: LoadedRun, texts: Sequence[str], file: str | None) -> Iterator[dict[str, Any]]:
    """What to predict on: arguments, a file, or standard input (a line each; a tab between the texts of a pair)."""
    pair = loaded.columns.text_pair is not None
    if texts:
        yield from _from_arguments(texts, pair)
    elif file:
        yield from _from_table(loaded, Path(file).expanduser())
    else:
        yield from _from_lines(sys.stdin, pair, "standard input")


def _from_arguments(texts: Sequence[str], pair: bool) -> Iterator[dict[str, Any]]:
    if not pair:
        yield from ({"text": text} for text in texts)
    elif len(texts) % 2:
        raise UserError(f"this model reads pairs: give two texts for each, not {len(texts)} in all")
    else:
        yield from ({"text": a, "text_pair": b} for a, b in zip(texts[::2], texts[1::2], strict=True))


def _from_table(loaded: LoadedRun, path: Path) -> Iterator[dict[str, Any]]:
    from forge.tasks.classification import read_texts

    if path.suffix == ".txt":
        pair = loaded.columns.text_pair is not None
        try:
            with path.open(encoding="utf-8-sig") as file:
                yield from _from_lines(file, pair, str(path))
        except OSError as error:
            raise UserError(f"--file: cannot read {path}: {os.strerror(error.errno or 0)}") from error
        return
    texts = read_texts(from_file(path), loaded.columns)
    for values in zip(*texts.values(), strict=True):
        yield dict(zip(texts, values, strict=True))


def _from_lines(lines: Iterable[str], pair: bool, where: str) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _from_line(line.rstrip("\n"), pair, f"{where}:{number}")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}  is not UTF-8 text, after line {number}") from error


def _from_line(line: str, pair: bool, where: str) -> dict[str, Any]:
    if not pair:
        return {"text": line}
    first, tab, second = line.partition("\t")
    if not tab:
        raise UserError(f"{where}  this model reads pairs: put a tab between the two texts")
    return {"text": first, "text_pair": second}
