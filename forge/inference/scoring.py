"""Measuring a translation run on pairs of texts, exactly as it was measured when its training had ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.building.translation import encode_table
from forge.config.schema import Columns
from forge.config.schema.parallel import primary_tag
from forge.core.errors import UserError
from forge.core.io import storage_errors, write_atomic
from forge.inference.splits import own_splits
from forge.inference.translation import Translator, load_translator
from forge.runs.run_dir import RunDirectory
from forge.tasks.parallel.given import read_given
from forge.tasks.sources import Table
from forge.tasks.text_lines import Extra, figures_of
from forge.tasks.written import mean_loss
from forge.train.evaluate import infer

CHANGED = "its figures would be of other examples; --data measures on what is there now"


@dataclass(frozen=True)
class Hypotheses:
    """What a model made of N pairs."""

    sources: list[str]
    references: list[str]
    texts: list[str]  # a line each
    loss: float  # of the references, nats a token


@dataclass(frozen=True)
class Request:
    """What a command line asks to be measured. Without `data` it is the run's own splits."""

    data: Sequence[str] = ()
    subset: str | None = None
    split: str | None = None
    source: str | None = None  # columns
    target: str | None = None
    beams: int | None = None
    language: str | None = None  # of the translations, in place of the run's own
    tokenised_lower: bool = False
    comet: str | None = None
    write_hypotheses: str | None = None


def evaluate_translations(run: RunDirectory, which: str, asked: Request) -> dict[str, Any]:
    """Figures with their signatures for each split, as plain values. Raises UserError, CheckpointError."""
    target = asked.language or run.metadata()["languages"][1]
    extra = Extra(target, asked.tokenised_lower, asked.comet)
    limit = None
    if asked.data:
        tables = {" and ".join(asked.data): given_pairs(run, asked.data, asked.subset, asked.split, columns_of(asked))}
    else:
        tables = own_splits(run, asked.split, CHANGED)
        limit = run.metadata()["config"]["evaluate"]["max_examples"]
    out = _writable(asked.write_hypotheses, tables)
    loaded = load_translator(run, which, asked.beams)
    splits = {}
    for name, table in tables.items():
        made = translate_table(loaded, table, limit)
        if out:
            with storage_errors(f"writing {out}"):
                write_atomic(out, "".join(f"{text}\n" for text in made.texts))
        splits[name] = figures(made, extra)
    return {"run": str(run.path), "checkpoint": loaded.checkpoint, "beams": loaded.beams, "splits": splits}


def given_pairs(
    run: RunDirectory, words: Sequence[str], subset: str | None, split: str | None, columns: dict[str, str]
) -> Table:
    """What `--data` names, read with the run's own columns and languages where the command line says nothing."""
    metadata = run.metadata()
    source, target = metadata["languages"]
    own = Columns(**metadata["config"]["data"]["columns"])
    return read_given(words, own.model_copy(update=columns), (source, target), subset, split)


def columns_of(asked: Request) -> dict[str, str]:
    """The columns that the command line names."""
    return {name: value for name in ("source", "target") if (value := getattr(asked, name))}


def translate_table(loaded: Translator, table: Table, limit: int | None) -> Hypotheses:
    """Translations of the first `limit` pairs, in order; sources longer than the model reads are cut off, and said."""
    encoded = encode_table(loaded.task, table, limit, texts=True)
    _tell_cut_off(loaded, table.name, encoded)
    outputs = infer(loaded.accelerator, loaded.task.thorough(), loaded.model, encoded, loaded.batch_size)
    # A line feed inside a translation would shift all lines below it of a file.
    texts = [" ".join(text.split("\n")) for text in loaded.task.texts([one.ids for one in outputs])]
    return Hypotheses(encoded["source"][:], encoded["target"][:], texts, mean_loss(outputs))


def figures(made: Hypotheses, extra: Extra) -> dict[str, Any]:
    """`figures` with the loss among them, `signatures`, and what explains both."""
    found = figures_of(made.texts, made.references, made.sources, extra)
    found["figures"]["loss"] = made.loss
    return found


def _tell_cut_off(loaded: Translator, name: str, encoded: Any) -> None:
    limit, task = loaded.task.max_length, loaded.task
    full = [text for text, ids in zip(encoded["source"][:], encoded["input_ids"][:], strict=True) if len(ids) >= limit]
    count = sum(len(task.tokenizer(task.prefix + text)["input_ids"]) > limit for text in full)
    if count:
        sources = "1 source is" if count == 1 else f"{count:,} sources are"
        message = f"{name}: {sources} longer than the {limit} tokens that the model was trained to read, and cut off"
        print(f"{message}; predict translates long texts in pieces", file=sys.stderr)  # noqa: T201


def _writable(name: str | None, tables: dict[str, Table]) -> Path | None:
    """Where hypotheses go; refused before anything is translated."""
    if not name:
        return None
    path = Path(name).expanduser()
    if len(tables) > 1:
        raise UserError(f"--write_hypotheses takes one split; choose it with --split: {', '.join(tables)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "is a directory" if path.is_dir() else f"lies in no directory ({path.absolute().parent})"
        raise UserError(f"--write_hypotheses: {name} {why}; give the name of a file")
    return path


def check_languages(ours: RunDirectory, theirs: RunDirectory) -> None:
    """Raises UserError for runs that translate between other languages."""
    both = [run.metadata()["languages"] for run in (ours, theirs)]
    for mine, its in zip(*both, strict=True):
        if mine and its and primary_tag(mine) != primary_tag(its):
            named = " and ".join(f"{run.path} is {a} → {b}" for run, (a, b) in zip((ours, theirs), both, strict=True))
            raise UserError(f"{named}; only runs between the same languages are compared")
