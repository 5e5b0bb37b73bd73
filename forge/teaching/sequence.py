"""Sequence-level distillation: training targets become what the teacher writes.

Kim & Rush 2016 (arXiv 1606.07947): `teacher` is their Seq-KD, `closest` their Seq-Inter.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets

from forge.core.errors import StorageError
from forge.core.hashing import digest
from forge.models.generate import write_several
from forge.tasks.encoding import encoded_mark, tokenizer_mark
from forge.tasks.metrics.translation import sentence_bleu
from forge.tasks.translation import TranslationTask
from forge.teaching.student import Student
from forge.teaching.texts import TextCache, Texts
from forge.teaching.translator import Translator

BATCH = 64  # examples that the teacher writes at once; part of the identity, because it changes the last bits
REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class Rewritten:
    """Training data with the teacher's texts, and what a person should hear of them."""

    train: Dataset
    notice: str
    mark: str  # a digest of the texts
    folder: Path


def rewrite(found: Translator, student: Student, root: Path) -> Rewritten:
    """Let the teacher translate the training texts, or read what it wrote before. Every process must ask."""
    task, train = student.task, student.data.train
    assert isinstance(task, TranslationTask)
    assert train is not None
    chosen = found.settings.distill.sequence
    cache = TextCache(root, _identity(found), len(found.train))
    accelerator = found.accelerator
    write, report = _writer(found), _reporter(cache)
    cache.fill(write, report, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    with accelerator.local_main_process_first():  # of machines that share no disk, each writes what it does not see
        if accelerator.is_local_main_process:
            cache.fill(write, report)
    texts = cache.read()
    if texts is None:
        raise StorageError(f"{cache.folder}  was changed while it was filled; run again")
    references = task.texts(train["labels"][:]) if chosen.targets == "closest" or _unfinished(texts) else None
    targets, kept = _targets(texts, references, closest=chosen.targets == "closest")
    taught = task.with_targets(train, targets)
    if chosen.targets == "both":
        taught = concatenate_datasets([train.select_columns(taught.column_names), taught])
    notice = f"targets: the teacher's translations ({chosen.targets}, {chosen.beams} beams), kept in {cache.folder}"
    if kept:
        notice += f"; {kept:,} did not come to an end, and the reference stays in their place"
    return Rewritten(taught, notice, digest([cache.digest, targets]), cache.folder)


def _targets(texts: Sequence[Texts], references: Sequence[str] | None, closest: bool) -> tuple[list[str], int]:
    """One target an example, and for how many of them it is the reference."""
    targets, kept = [], 0
    for number, candidates in enumerate(texts):
        good = [text for text in candidates if text]
        if not good:
            assert references is not None
            targets.append(references[number])
            kept += 1
        elif closest and references is not None:
            reference = references[number]
            targets.append(max(good, key=lambda text: sentence_bleu(text, reference)))
        else:
            targets.append(good[0])
    return targets, kept


def _unfinished(texts: Sequence[Texts]) -> bool:
    return any(not any(candidates) for candidates in texts)


def _identity(found: Translator) -> dict[str, str | int]:
    chosen, data = found.settings.distill.sequence, found.settings.data
    assert isinstance(found.task, TranslationTask)
    return {
        "teacher_name": found.asset.location if found.asset.source == "embedded" else found.name,
        "data_name": " ".join(filter(None, [data.name or str(data.train), data.subset])),
        "teacher_weights_sha256": found.weights_mark,
        "tokenizer_sha256": digest(tokenizer_mark(found.tokenizer)),
        "inputs_sha256": encoded_mark(found.train.select_columns(["input_ids"])),
        "precision": found.accelerator.mixed_precision,
        "beams": chosen.beams,
        "length_penalty": str(chosen.length_penalty),
        "kept": _kept(found),
        "max_length": found.decoding.max_length,
        "examples_per_search": BATCH,
    }


def _kept(found: Translator) -> int:
    chosen = found.settings.distill.sequence
    return chosen.beams if chosen.targets == "closest" else 1


def _writer(found: Translator) -> Callable[[Sequence[int]], list[Texts]]:
    chosen, task = found.settings.distill.sequence, found.task
    assert isinstance(task, TranslationTask)
    decoding = replace(found.decoding, beams=chosen.beams, length_penalty=chosen.length_penalty)

    @torch.inference_mode()
    def write(ids: Sequence[int]) -> list[Texts]:
        rows = found.train[list(ids)]["input_ids"]
        order = np.argsort([-len(row) for row in rows], kind="stable").tolist()  # like lengths together
        texts: list[Texts] = [[] for _ in rows]
        for first in range(0, len(order), BATCH):
            places = order[first : first + BATCH]
            batch = task.collate([{"input_ids": rows[place]} for place in places])
            on_device = {name: tensor.to(found.accelerator.device) for name, tensor in batch.items()}
            with found.accelerator.autocast():
                written = write_several(found.load(), on_device, decoding, _kept(found))
            ends = found.ends()
            for place, candidates in zip(places, written, strict=True):
                made = task.texts(candidates)
                whole = [bool(tokens and tokens[-1] in ends) for tokens in candidates]
                texts[place] = [text if ended else None for text, ended in zip(made, whole, strict=True)]
        return texts

    return write


def _reporter(cache: TextCache) -> Callable[[int, int], None]:
    """The run has no log yet: progress goes to the terminal."""
    started = time.monotonic()

    def say(done: int, total: int) -> None:
        left = (time.monotonic() - started) * (total - done) / max(done, 1)
        line = f"forge: the teacher has translated {done:,} of {total:,} texts, {left:.0f} s left ({cache.folder})"
        print(line, file=sys.stderr, flush=True)  # noqa: T201

    return say
