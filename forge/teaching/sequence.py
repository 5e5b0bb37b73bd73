"""Sequence-level distillation: training targets become what the teacher writes.

Kim & Rush 2016 (arXiv 1606.07947): `teacher` is their Seq-KD, `closest` their Seq-Inter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets

from forge.core.errors import StorageError
from forge.core.hashing import digest
from forge.models.generate import write_several
from forge.tasks.encoding import tokenizer_mark
from forge.tasks.written import WritingTask
from forge.teaching.progress import reporter
from forge.teaching.text_teacher import TextTeacher
from forge.teaching.texts import TextCache, Texts

Likeness = Callable[[str, str], float]


@dataclass(frozen=True)
class Rewritten:
    """Training data with the teacher's texts, and what a person should hear of them."""

    train: Dataset
    notice: str
    mark: str  # a digest of the texts
    folder: Path


def rewrite(found: TextTeacher, task: WritingTask, train: Dataset, root: Path) -> Rewritten:
    """Let the teacher write its text of every training example of the student's, or read what it wrote before.

    Every process must ask.
    """
    chosen = found.settings.distill.sequence
    cache = TextCache(root, _identity(found), len(found.train))
    texts = _filled(cache, found)
    lacking = [number for number, candidates in enumerate(texts) if not any(candidates)]
    needed = list(range(len(train))) if chosen.targets in {"closest", "both"} else lacking
    # Asked to decode nothing, tokenizers give one empty text.
    references = dict(zip(needed, task.references(train.select(needed)), strict=True)) if needed else {}
    targets = _targets(texts, references, task.likeness if chosen.targets == "closest" else None)
    taught = task.with_targets(train, targets)
    if chosen.targets == "both":
        known = "labels" in train.column_names
        own = train if known else task.with_targets(train, list(references.values()))
        taught = concatenate_datasets([own.select_columns(taught.column_names), taught])
    notice = f"targets: the teacher's {found.made} ({chosen.targets}, {chosen.beams} beams), kept in {cache.folder}"
    if lacking:
        notice += f"; {len(lacking):,} are empty or did not come to an end, and the reference stays in their place"
    return Rewritten(taught, notice, digest([cache.digest, targets]), cache.folder)


def _filled(cache: TextCache, found: TextTeacher) -> list[Texts]:
    """What the teacher wrote: each process makes its share of what is missing."""
    accelerator = found.accelerator
    write, report = _writer(found), reporter(found.did, str(cache.folder))
    cache.fill(write, report, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    with accelerator.local_main_process_first():  # of machines that share no disk, each writes what it does not see
        if accelerator.is_local_main_process:
            cache.fill(write, report)
    texts = cache.read()
    if texts is None:
        raise StorageError(f"{cache.folder}  was changed while it was filled; run again")
    return texts


def _targets(texts: Sequence[Texts], references: Mapping[int, str], likeness: Likeness | None) -> list[str]:
    """One target an example: the best text, or by `likeness` the closest; the reference where there is none."""
    targets = []
    for number, candidates in enumerate(texts):
        good = [text for text in candidates if text]
        if not good:
            targets.append(references[number])
        elif likeness:
            reference = references[number]
            targets.append(max(good, key=lambda text: likeness(text, reference)))
        else:
            targets.append(good[0])
    return targets


def _identity(found: TextTeacher) -> dict[str, str | int]:
    chosen, data = found.settings.distill.sequence, found.settings.data
    return {
        "teacher_name": found.asset.location if found.asset.source == "embedded" else found.name,
        "data_name": " ".join(filter(None, [data.name or str(data.train), data.subset])),
        "teacher_weights_sha256": found.weights_mark,
        "tokenizer_sha256": digest(tokenizer_mark(found.tokenizer)),
        "inputs_sha256": found.inputs_mark(),
        "precision": found.accelerator.mixed_precision,
        "beams": chosen.beams,
        "length_penalty": str(chosen.length_penalty),
        "kept": _kept(found),
        "max_length": found.decoding.max_length,
        "examples_per_search": found.at_once(),
    }


def _kept(found: TextTeacher) -> int:
    chosen = found.settings.distill.sequence
    return chosen.beams if chosen.targets == "closest" else 1


def _writer(found: TextTeacher) -> Callable[[Sequence[int]], list[Texts]]:
    chosen, task = found.settings.distill.sequence, found.task
    decoding = replace(found.decoding, beams=chosen.beams, length_penalty=chosen.length_penalty)

    @torch.inference_mode()
    def write(ids: Sequence[int]) -> list[Texts]:
        rows = found.inputs(ids)
        order = np.argsort([-len(row.get("input_ids", ())) for row in rows], kind="stable").tolist()  # like lengths
        texts: list[Texts] = [[] for _ in rows]
        for first in range(0, len(order), found.at_once()):
            places = order[first : first + found.at_once()]
            batch = task.collate([rows[place] for place in places])
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
