"""A teacher that translates: it must cut texts into the same tokens, start its decoder alike, and read as much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from forge.building.translation import decoding, translation_task
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.generate import Decoding, end_tokens
from forge.models.head import Head, find_head
from forge.models.languages import direction, set_languages
from forge.models.load import load_tokenizer, longest_input, peek
from forge.models.seq2seq import load_seq2seq, seq2seq_architecture
from forge.tasks.translation import TranslationTask
from forge.teaching.found import TEACHER_SEED, FoundTeacher, check_tokenizers
from forge.teaching.student import Student
from forge.train.evaluate import infer
from forge.train.shards import is_sharding

BY_TEXT = "let it teach by its translations alone: distill.sequence.targets: teacher"


@dataclass
class Translator(FoundTeacher):
    """A teacher with a row of logits for each token of a translation, a column a token of the vocabulary."""

    decoding: Decoding = field(kw_only=True)  # how it is made to write when its texts become targets

    def meaning(self) -> list[Any]:
        """Which languages it was told."""
        assert isinstance(self.task, TranslationTask)
        return [self.task.prefix, self.task.target_language]

    def head(self) -> Head | None:
        """Its head, so that its logits are made a few tokens at a time."""
        return None if is_sharding(self.accelerator) else find_head(self.load())

    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights."""
        return seq2seq_architecture(self.asset, self.model, self.tokenizer, "teacher.name")

    def ends(self) -> set[int]:
        """Tokens that end its texts."""
        return end_tokens(self.load())

    def measure(self) -> dict[str, Any]:
        """Its figures, translations searched for as while training."""
        size = self.settings.evaluate.batch_size
        outputs = infer(self.accelerator, self.task, self.load(), self.validation, size)
        scores = self.task.score(outputs, self.validation)
        return {"figures": dict(scores.figures), "examples": len(outputs), "best": {}}

    def judge(self, measured: Mapping[str, Any]) -> None:
        """Any may teach: what is a good figure depends on the data."""

    def _load(self) -> PreTrainedModel:
        return load_seq2seq(self.asset, self.model, self.tokenizer, TEACHER_SEED, "teacher.name")


def find_translator(settings: Settings, asset: Asset, student: Student, accelerator: Accelerator) -> Translator:
    """The teacher that the configuration names, if it reads and writes the student's tokens. Raises UserError."""
    task, chosen = student.task, settings.teacher
    assert isinstance(task, TranslationTask)
    if chosen.labels or chosen.min_accuracy is not None:
        key = "labels" if chosen.labels else "min_accuracy"
        raise UserError(f"teacher.{key}: a translator has none; leave it out")
    model = Model(
        name=asset.location,
        revision=chosen.revision,
        init=chosen.init,
        trust_remote_code=chosen.trust_remote_code,
        build=settings.model.build,
    )
    made = asset.source in {"embedded", "built"}
    tokenizer = task.tokenizer if made else load_tokenizer(asset, model, [], "teacher.name")
    same_tokens = bool(settings.distill.losses())  # a teacher that teaches by texts alone may cut them as it likes
    if same_tokens:
        check_tokenizers(task.tokenizer, tokenizer, asset.asked, BY_TEXT)
    config = peek(asset, model, "teacher.name") if not made else None
    told = direction(config, tokenizer, student.source_language, task.target_language)
    set_languages(tokenizer, told)
    architecture: Any = seq2seq_architecture(asset, model, tokenizer, "teacher.name")
    reads = translation_task(settings, architecture, tokenizer, told, task.target_language)
    longest = longest_input(architecture.config)
    if same_tokens:
        _check_alike(task, reads, longest, asset.asked)
        splits = student.data
    else:
        splits = student.encode(reads)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    return Translator(
        settings,
        asset,
        model,
        tokenizer,
        reads,
        splits.train,
        validation,
        accelerator,
        classes=architecture.config.vocab_size,
        side="target",
        decoding=decoding(settings, longest or settings.data.max_length, told),
    )


def _check_alike(mine: TranslationTask, its: TranslationTask, longest: int | None, name: str) -> None:
    most = max(mine.max_length, mine.max_target_length)
    if longest and longest < most:
        raise UserError(
            f"data.max_length: the student reads {most} tokens, but the teacher ({name}) at most {longest}; lower it"
        )
    if mine.start != its.start:
        start, other = (one.tokenizer.convert_ids_to_tokens(one.start) for one in (mine, its))
        raise UserError(
            f"teacher.name: the decoder of {name} starts with {other}, the student's with {start}, so they read "
            f"different tokens; take a student that was made from the same model, or {BY_TEXT}"
        )
    if mine.prefix != its.prefix:
        raise UserError(
            f"teacher.name: {name} is asked with '{its.prefix}', the student with '{mine.prefix}', so they read "
            f"different tokens; {BY_TEXT}"
        )
