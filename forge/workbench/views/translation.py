"""Translators: sources and translations, probed for length and for tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from accelerate import Accelerator
from datasets import Dataset

from forge.building.translation import encode_table, translation_task
from forge.config.schema.parallel import primary_tag
from forge.core.errors import UserError
from forge.inference.splits import noted_data
from forge.models.languages import direction, set_languages
from forge.models.load import load_tokenizer, peek
from forge.models.seq2seq import load_seq2seq
from forge.runs.run_dir import RunDirectory
from forge.tasks.parallel import read_parallel
from forge.tasks.sources import Table
from forge.tasks.translation import TranslationTask
from forge.workbench.overlap import key_of, parted_from
from forge.workbench.probe_inputs import bag_of_words, words_of
from forge.workbench.probed import Labelled
from forge.workbench.slices import Axis, negation_axis, quantile_axis
from forge.workbench.views.base import (
    Loaded,
    Made,
    Shown,
    Source,
    TokenRows,
    chosen_rows,
    observe,
    only,
    require_left,
)
from forge.workbench.views.writing import TOKEN_TEXTS, Look, WritingView

LENGTHS = 4


@dataclass(frozen=True)
class TranslationView(WritingView):
    """Translation's part."""

    kind: Literal["translation", "ocr"] = "translation"
    most: int = 1_000
    most_quick: int = 200

    def show(self, run: RunDirectory, split: str, table: Table, most: int) -> Shown:
        """Pairs whose source is not in the training set."""
        sources, targets = table.rows["source"][:], table.rows["target"][:]
        data, asset = noted_data(run)
        trained = read_parallel(data, asset).train
        known = set(map(key_of, trained.rows["source"][:])) if trained else set()
        written = [row for row in range(len(sources)) if sources[row].strip() and targets[row].strip()]
        free, overlapping = parted_from(written, list(map(key_of, sources)), known, "the source text")
        require_left(free, table.name)
        rows = chosen_rows(free, most, table.fingerprint)
        language = run.metadata()["languages"][1]
        return Shown(
            split=split,
            table=only(table, rows),
            of=len(table.rows),
            overlap=overlapping,
            ids=tuple(f"{split} {row}" for row in rows),
            inputs=tuple({"source": sources[row]} for row in rows),
            gold=tuple(targets[row] for row in rows),
            groups=tuple(sources[row] for row in rows),
            fingerprint=table.fingerprint,
            language=language,
        )

    def check(self, source: Source, shown: Shown) -> None:
        """It translates to the same language."""
        its = source.facts["languages"][1]
        if shown.language and its and primary_tag(its) != primary_tag(shown.language):
            raise UserError(f"{source.path}  translates to {its}, the student to {shown.language}")

    def load(self, source: Source, shown: Shown) -> Loaded:  # noqa: ARG002
        """Told its languages."""
        asset, wanted = source.asset, source.wanted
        tokenizer = load_tokenizer(asset, wanted, [], source.path)
        model = load_seq2seq(asset, wanted, tokenizer, 0, source.path)
        languages = source.facts["languages"]
        told = direction(peek(asset, wanted, source.path), tokenizer, *languages)
        set_languages(tokenizer, told)
        accelerator = Accelerator()
        model.to(accelerator.device).eval()
        task = translation_task(source.settings, model, tokenizer, told, languages[1])
        return Loaded(source, task, model, accelerator, tokenizer)

    def encode(self, loaded: Loaded, shown: Shown) -> Dataset:
        """Pairs of texts."""
        assert isinstance(loaded.task, TranslationTask)
        data: Dataset = encode_table(loaded.task, shown.table, None, texts=True)
        return data

    def axes(self, shown: Shown, reference: Made | None) -> list[Axis]:
        """Length, and negation of the source."""
        return [*super().axes(shown, reference), negation_axis([row["source"] for row in shown.inputs])]

    def language(self, shown: Shown) -> str | None:
        """What they translate to."""
        return shown.language

    def labelled(self, stack: str, shown: Shown) -> list[Labelled]:
        """How long the text is that the stack reads."""
        sources = [row["source"] for row in shown.inputs]
        texts = sources if stack == "encoder" else list(shown.gold)
        lengths = quantile_axis("words", np.array([len(words_of(text)) for text in texts], np.float64), LENGTHS)
        what = "source" if stack == "encoder" else "reference"
        about = f"How many words the {what} has, in bins of like many rows: not what the task asks for."
        return [
            Labelled(
                f"length of the {what}",
                about,
                False,
                lengths.kinds,
                lengths.kind_N,
                shown.groups,
                bag_ND=bag_of_words(texts),
            )
        ]

    def token_rows(self, look: Look) -> Mapping[str, TokenRows]:
        """Of the first texts."""
        few = min(len(look.shown.ids), TOKEN_TEXTS // (3 if look.quick else 1))
        ids, task = look.shown.ids[:few], look.loaded.task
        assert isinstance(task, TranslationTask)
        part = look.data.select(range(few))
        read = {
            "encoder": dict(zip(ids, part["input_ids"][:], strict=True)),
            "decoder": dict(zip(ids, ([task.start, *labels[:-1]] for labels in part["labels"][:]), strict=True)),
        }
        found = {}
        for stack, seen in observe(look.loaded, part, ids, look.folder / "tokens", "tokens").items():
            numbers = [read[stack][one["id"]][one["position"]] for one in seen.records]
            found[stack] = TokenRows(seen, tuple(look.loaded.tokenizer.convert_ids_to_tokens(numbers)))
        return found
