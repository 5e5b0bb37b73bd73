"""A teacher that translates: it must cut texts into the same tokens, start its decoder alike, and read as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from forge.building.translation import decoding, translation_task
from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.models.languages import direction, set_languages
from forge.models.load import load_tokenizer, longest_input, peek
from forge.models.seq2seq import load_seq2seq, seq2seq_architecture
from forge.tasks.encoding import encoded_mark
from forge.tasks.translation import TranslationTask
from forge.teaching.found import TEACHER_SEED, check_tokenizers
from forge.teaching.student import Student
from forge.teaching.text_teacher import TextTeacher, refuse_labels

BY_TEXT = "let it teach by its translations alone: distill.sequence.targets: teacher"


@dataclass
class Translator(TextTeacher):
    """An encoder-decoder that was told its languages."""

    made: ClassVar[str] = "translations"
    did: ClassVar[str] = "the teacher has translated {} of {} texts"

    def meaning(self) -> list[Any]:
        """Which languages it was told."""
        assert isinstance(self.task, TranslationTask)
        return [self.task.prefix, self.task.target_language]

    def architecture(self) -> torch.nn.Module:
        """The network without memory for its weights."""
        return seq2seq_architecture(self.asset, self.model, self.tokenizer, "teacher.name")

    def inputs(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        """Tokens of the sources."""
        return [{"input_ids": row} for row in self.train[list(ids)]["input_ids"]]

    def inputs_mark(self) -> str:
        """Of the tokens of all sources."""
        return encoded_mark(self.train.select_columns(["input_ids"]))

    def _load(self) -> PreTrainedModel:
        return load_seq2seq(self.asset, self.model, self.tokenizer, TEACHER_SEED, "teacher.name")


def find_translator(settings: Settings, asset: Asset, student: Student, accelerator: Accelerator) -> Translator:
    """The teacher that the configuration names, if it reads and writes the student's tokens. Raises UserError."""
    task, chosen = student.task, settings.teacher
    assert isinstance(task, TranslationTask)
    refuse_labels(chosen, "a translator")
    model = Model(
        name=asset.location,
        revision=chosen.revision,
        init=chosen.init,
        trust_remote_code=chosen.trust_remote_code,
        build=settings.model.build,
    )
    made = asset.source in {"embedded", "built"}
    tokenizer = task.tokenizer if made else load_tokenizer(asset, model, [], "teacher.name")
    # A teacher that teaches by texts alone may cut them as it likes.
    same_tokens = bool(settings.distill.losses()) or settings.rl is not None
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
