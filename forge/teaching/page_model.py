"""A teacher that reads pages through a processor, from a directory or a run: Idefics3, Qwen2-VL, Donut, …"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from transformers import PretrainedConfig, PreTrainedModel

from forge.building.page_model import load_page_model, page_decoding, page_task
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.models.image_text import image_text_architecture
from forge.models.processor import load_processor
from forge.tasks.encoding import encoded_mark
from forge.tasks.ocr.prompted import Prompted
from forge.tasks.ocr.seen import Seen
from forge.tasks.ocr.task import OcrTask
from forge.teaching.found import TEACHER_SEED, check_tokenizers
from forge.teaching.page_reader import BY_TEXT
from forge.teaching.student import Student
from forge.teaching.text_teacher import TextTeacher


@dataclass
class PageModel(TextTeacher):
    """An image-text-to-text model that is prompted, or a vision-encoder-decoder."""

    form: Prompted | Seen = field(kw_only=True)
    pages: str = field(kw_only=True)  # a digest of the training pages
    config: PretrainedConfig = field(kw_only=True)

    made: ClassVar[str] = "readings"
    did: ClassVar[str] = "the teacher has read {} of {} pages"
    uncached: ClassVar[str] = "how many tokens a page takes, its processor says page by page"

    def meaning(self) -> list[Any]:
        """What it is asked, in the words of its own chat template."""
        return [self.form.chat.prompt, self.form.chat.lead] if isinstance(self.form, Prompted) else [self.form.start]

    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights."""
        network: torch.nn.Module = image_text_architecture(self.asset, self.model, self.config, "teacher.name")
        return network

    def at_once(self) -> int:
        """As many as are evaluated at once: a page can be thousands of tokens."""
        return self.settings.evaluate.batch_size

    def inputs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """The rows themselves: a page's picture is drawn or opened when it is collated."""
        rows: list[dict[str, Any]] = self.train.__getitems__(list(ids))
        return rows

    def inputs_mark(self) -> str:
        """Which pages, what was on them when they were read or drawn, and how large it sees them."""
        processor = json.loads(self.form.processor.image_processor.to_json_string())
        seen = {name: value for name, value in processor.items() if "path" not in name}
        return digest([self.pages, encoded_mark(self.train.select_columns(["page"])), self.form.longest_edge, seen])

    def _load(self) -> PreTrainedModel:
        return load_page_model(self.asset, self.model, self.config, TEACHER_SEED, "teacher.name")[0]


def find_page_model(
    settings: Settings,
    asset: Asset,
    model: Model,
    config: PretrainedConfig,
    student: Student,
    accelerator: Accelerator,
) -> PageModel:
    """A model from a directory as teacher, if it takes pages as the student does. Raises UserError."""
    task = student.task
    assert isinstance(task, OcrTask)
    architecture = image_text_architecture(asset, model, config, "teacher.name")
    processor = load_processor(asset, model, config, "teacher.name")
    reads = page_task(settings, architecture, processor)
    assert isinstance(reads.form, Prompted | Seen)
    if settings.distill.losses() or settings.rl:
        assert isinstance(task.form, Prompted | Seen)
        check_tokenizers(task.form.processor.tokenizer, processor.tokenizer, asset.asked, BY_TEXT)
        _check_alike(student, reads, asset.asked)
    splits = student.encode(reads)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    head: Any = architecture.get_output_embeddings()
    return PageModel(
        settings,
        asset,
        model,
        processor.tokenizer,
        reads,
        splits.train,
        validation,
        accelerator,
        classes=len(head.weight),
        decoding=page_decoding(settings, architecture),
        form=reads.form,
        pages=splits.fingerprints["train"],
        config=config,
    )


def _check_alike(student: Student, reads: OcrTask, name: str) -> None:
    """Both read a batch that the student's processor makes, so the teacher's must make the same of a page."""
    assert student.data.train is not None
    row = student.data.train.__getitems__([0])
    mine, its = student.task.collate(row), reads.collate(row)
    for part in sorted(mine.keys() | its.keys()):
        one, other = mine.get(part), its.get(part)
        if one is None or other is None or one.shape != other.shape or not torch.equal(one, other):
            raise UserError(
                f"teacher.name: {name} takes a page otherwise than the student ({part} differs), so no token of one is "
                f"a token of the other; take a student with the same processor, or {BY_TEXT}"
            )
