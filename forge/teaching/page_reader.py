"""A teacher that is an embedded reader: it must know the student's characters, and see pages on a like sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel

from forge.building.ocr import decoding, sheet_task
from forge.building.page_splits import most_labels, with_longest
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.models.image_text import load_sheet_reader, reader_architecture, sheet_of
from forge.models.load import load_tokenizer
from forge.tasks.base import Side
from forge.tasks.encoding import encoded_mark
from forge.tasks.ocr.read import CANVAS
from forge.tasks.ocr.sheet import Sheet
from forge.tasks.ocr.task import Form, OcrTask
from forge.teaching.found import TEACHER_SEED, check_tokenizers
from forge.teaching.progress import reporter
from forge.teaching.student import Student
from forge.teaching.text_teacher import TextTeacher

BY_TEXT = "let it teach by its Markdown alone: distill.sequence.targets: teacher"
AT_ONCE = 1_000  # pages whose text is drawn between two reports


@dataclass
class PageReader(TextTeacher):
    """An embedded reader, or one that a run has trained."""

    form: Sheet = field(kw_only=True)  # how it sees pages
    pages: str = field(kw_only=True)  # a digest of the training pages

    made: ClassVar[str] = "readings"
    did: ClassVar[str] = "the teacher has read {} of {} pages"

    def meaning(self) -> list[Any]:
        """Nothing: characters mean what its tokenizer says."""
        return []

    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights."""
        return reader_architecture(self.asset, self.model, self.tokenizer, self.form.most, "teacher.name")

    def inputs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The rows themselves: a page's picture is drawn or opened when it is collated."""
        rows: list[dict[str, Any]] = self.train.__getitems__(list(ids))
        return rows

    def inputs_mark(self) -> str:
        """Which pages, what was on them when they were read or drawn, and on which sheet they lie."""
        return digest([self.pages, encoded_mark(self.train.select_columns(["page"])), *self.form.grid.size])

    def train_mark(self) -> str:
        """The pages and their labels; where those are drawn with the pages, how long they may be."""
        known = encoded_mark(self.train.select_columns(["labels"])) if self._labelled else self.form.most
        return digest([self.inputs_mark(), known])

    def lengths(self) -> dict[Side, NDArray[np.int64]]:
        """As the task says. Texts of embedded pages are made for that, which for very many pages takes its time."""
        if self._labelled:
            return self.task.lengths(self.train)
        say = reporter("lengths of {} of {} pages", last_line=False)
        parts, total = [], len(self.train)
        for first in range(0, total, AT_ONCE):
            part = self.train.select(range(first, min(first + AT_ONCE, total)))
            parts.append(self.task.lengths(part))
            say(first + len(part), total)
        return {side: np.concatenate([part[side] for part in parts]) for side in parts[0]}

    @property
    def _labelled(self) -> bool:
        return "labels" in self.train.column_names

    def _load(self) -> PreTrainedModel:
        most, sheet = self.form.most, self.form.grid.size
        return load_sheet_reader(self.asset, self.model, self.tokenizer, TEACHER_SEED, most, sheet, "teacher.name")


def find_page_reader(
    settings: Settings,
    asset: Asset,
    model: Model,
    config: PretrainedConfig | None,
    student: Student,
    accelerator: Accelerator,
) -> PageReader:
    """An embedded reader as teacher, if it sees what the student sees. Raises UserError."""
    task = student.task
    assert isinstance(task, OcrTask)
    mine = task.form
    # A teacher that teaches by texts alone may see and write otherwise.
    alike = bool(settings.distill.losses() or settings.rl)
    if config is not None:
        tokenizer = load_tokenizer(asset, model, [], "teacher.name")
    elif isinstance(mine, Sheet):
        tokenizer = mine.tokenizer
        settings = with_longest(settings, mine.most)  # one that has learnt nothing comes to no end
    else:
        raise UserError(f"teacher.name: {asset.asked} has learnt nothing yet; name a run of one, or a directory")
    if alike:
        assert isinstance(mine, Sheet)
        check_tokenizers(mine.tokenizer, tokenizer, asset.asked, BY_TEXT)
    architecture: Any = reader_architecture(asset, model, tokenizer, most_labels(settings), "teacher.name")
    reads = sheet_task(settings, architecture, tokenizer, sheet_of(config) or _sheet(mine))
    its = reads.form
    assert isinstance(its, Sheet)
    if alike:
        assert isinstance(mine, Sheet)
        _check_alike(mine, its, asset.asked)
    splits = student.data if alike else student.encode(reads)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    return PageReader(
        settings,
        asset,
        model,
        tokenizer,
        reads,
        splits.train,
        validation,
        accelerator,
        classes=architecture.config.decoder.vocab_size,
        decoding=decoding(settings, its.most),
        form=its,
        pages=splits.fingerprints["train"],
    )


def _sheet(form: Form) -> tuple[int, int]:
    return form.grid.size if isinstance(form, Sheet) else CANVAS


def _check_alike(mine: Sheet, its: Sheet, name: str) -> None:
    if mine.grid != its.grid:
        (height, width), (its_height, its_width) = mine.grid.size, its.grid.size
        raise UserError(
            f"data.pages.canvas: the student sees pages on a sheet of {height} × {width} pixels, the teacher ({name}) "
            f"of {its_height} × {its_width}, so no place on one is a place on the other; set data.pages.canvas: "
            f"[{its_height}, {its_width}], or {BY_TEXT}"
        )
    if its.most < mine.most:
        raise UserError(
            f"data.max_target_length: the student writes up to {mine.most} characters, but the teacher ({name}) at "
            f"most {its.most}; lower it"
        )
