"""Translating with a run: any number of texts, in order, batched by length; long ones in pieces."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from forge.assemble import quiet_libraries
from forge.building.translation import translation_task
from forge.core.assets import Asset
from forge.core.errors import CheckpointError, UserError
from forge.core.manifest import verify
from forge.inference.saved import model_in, settings_of
from forge.models.languages import direction, set_languages
from forge.models.load import load_tokenizer, peek
from forge.models.seq2seq import load_seq2seq
from forge.runs.run_dir import RunDirectory
from forge.tasks.sentences import pieces
from forge.tasks.sources import FILE_SUFFIXES, from_file, not_utf8
from forge.tasks.translation import TranslationTask

CHUNK = 2_000  # texts read before the first translation is written
TOKENS_AT_ONCE = 8_192  # padded source tokens times beams of a batch
REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class Translator:
    """A run's trained model with the task it was trained for."""

    task: TranslationTask
    model: Any
    accelerator: Accelerator
    beams: int
    batch_size: int  # of a measurement
    checkpoint: str


def load_translator(run: RunDirectory, which: str = "best", beams: int | None = None) -> Translator:
    """Load a verified checkpoint of a run; `beams` in place of the run's own. Raises UserError, CheckpointError."""
    quiet_libraries()
    folder = run.checkpoint(which)
    if damage := verify(folder):
        raise CheckpointError(f"{folder}  is damaged: {damage}; try --checkpoint last, or an earlier step")
    metadata = run.metadata()
    settings = settings_of(run)
    if beams:
        settings = settings.model_copy(update={"generate": settings.generate.model_copy(update={"beams": beams})})
    asset = Asset(str(folder), "path", str(folder))
    wanted = model_in(folder, settings)
    tokenizer = load_tokenizer(asset, wanted, [])
    model = load_seq2seq(asset, wanted, tokenizer, seed=0)
    source, target = metadata["languages"]
    told = direction(peek(asset, wanted), tokenizer, source, target)
    set_languages(tokenizer, told)
    accelerator = Accelerator()
    model.to(accelerator.device).eval()
    task = translation_task(settings, model, tokenizer, told, target)
    return Translator(task, model, accelerator, settings.generate.beams, settings.evaluate.batch_size, folder.name)


def translate(loaded: Translator, texts: Iterable[str]) -> Iterator[str]:
    """A translation of each text, in order; an empty one of an empty one. Speed goes to standard error."""
    began = told = time.monotonic()
    done, remaining = 0, iter(texts)
    while chunk := list(islice(remaining, CHUNK)):
        yield from _translate_chunk(loaded, chunk)
        done, now = done + len(chunk), time.monotonic()
        if now - told >= REPORT_SECONDS:
            told = now
            print(f"forge: {done:,} texts, {done / (now - began):,.1f} a second", file=sys.stderr)  # noqa: T201


def texts_to_translate(texts: Sequence[str], file: str | None) -> Iterator[str]:
    """What to translate: arguments, a file (of lines, or a table's column `source`), or standard input."""
    if texts:
        yield from texts
    elif file and Path(file).suffix in FILE_SUFFIXES:
        yield from from_file(Path(file).expanduser()).column("source", "--file")
    elif file:
        yield from _lines_of(Path(file).expanduser())
    else:
        yield from _lines_of_input()


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from (line.rstrip("\n") for line in lines)
    except UnicodeDecodeError as error:
        raise UserError(not_utf8(path)) from error
    except OSError as error:
        raise UserError(f"--file: cannot read {path}: {os.strerror(error.errno or 0)}") from error


def _lines_of_input() -> Iterator[str]:
    try:
        for line in sys.stdin:
            yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"standard input  is not UTF-8 text: {error.reason}") from error


def _translate_chunk(loaded: Translator, texts: Sequence[str]) -> list[str]:
    tokenizer, limit = loaded.task.tokenizer, loaded.task.max_length

    def fits(text: str) -> bool:
        return len(tokenizer(loaded.task.prefix + text)["input_ids"]) <= limit

    cut = [pieces(text, fits) if text.strip() else [] for text in texts]
    flat = [piece for parts in cut for piece in parts]
    written = iter(_translate_pieces(loaded, flat))
    return [" ".join(islice(written, len(parts))) for parts in cut]


@torch.inference_mode()
def _translate_pieces(loaded: Translator, texts: Sequence[str]) -> list[str]:
    columns = loaded.task.encode_pairs(texts, None)
    rows = [{"input_ids": ids} for ids in columns["input_ids"]]
    order = sorted(range(len(rows)), key=lambda row: -columns["length"][row])  # like lengths together: little padding
    found: dict[int, list[int]] = {}
    for batch in _batches(order, columns["length"], TOKENS_AT_ONCE // loaded.beams):
        tensors = loaded.task.collate([rows[row] for row in batch])
        on_device = {name: tensor.to(loaded.accelerator.device) for name, tensor in tensors.items()}
        with loaded.accelerator.autocast():
            found.update(zip(batch, loaded.task.write_best(loaded.model, on_device), strict=True))
    return loaded.task.texts([found[row] for row in range(len(rows))])


def _batches(order: Sequence[int], lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of falling length in batches of at most `budget` padded tokens, or of one row that is longer."""
    batch: list[int] = []
    for row in order:
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
