"""Translation: parallel text → tokenizer and model → encoded splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forge.building.asked import translation_prompts
from forge.building.base import Built, Sampling, Site, whole_head
from forge.config.schema import Model, Settings
from forge.core.errors import UserError
from forge.models.adapt import adapt
from forge.models.generate import Decoding, write
from forge.models.languages import Direction, direction, set_languages
from forge.models.load import load_tokenizer, longest_input, peek, tokenizer_files
from forge.models.seq2seq import load_seq2seq, start_token
from forge.tasks.base import TaskData
from forge.tasks.encoding import IN_MEMORY_ROWS, encode_rows, tokenizer_mark
from forge.tasks.metrics.translation import TER_WORD_PAIRS
from forge.tasks.parallel import ParallelData, read_parallel
from forge.tasks.sources import Table
from forge.tasks.translation import TranslationTask
from forge.tasks.written import end_tokens

EMBEDDED_PIECES = 1_200  # of the tokenizer that an embedded model gets
TRAINED_ON = 1_000_000  # pairs, at most, from which a tokenizer learns its pieces


def build_translation(site: Site) -> Built:
    """Raises UserError for texts, languages or a model that do not go together."""
    settings, source, wanted = site.settings, site.source, site.wanted
    with site.accelerator.main_process_first():  # it writes the tables that the others then find
        parallel = read_parallel(settings.data, site.found.data)
    assert parallel.train is not None
    tokenizer = _tokenizer(site, parallel)
    model = load_seq2seq(source, wanted, tokenizer, settings.seed)
    adapt(model, wanted, settings.seed, site.found.model.stand_in)
    told = direction(_peek(site), tokenizer, parallel.source_language, parallel.target_language)
    set_languages(tokenizer, told)
    _require_end(model, tokenizer, wanted)
    files = tokenizer_files(source, wanted, tokenizer)
    task = translation_task(settings, model, tokenizer, told, parallel.target_language)

    def again(task: TranslationTask) -> TaskData:
        return encode_splits(task, parallel, site)

    data = again(task)
    languages = [parallel.source_language, parallel.target_language]
    facts = {"languages": languages}
    header = [f"languages: {' → '.join(language or 'unnamed' for language in languages)}"]
    longest = longest_input(model.config) or settings.data.max_length
    assert data.train is not None
    sampling = Sampling(
        start_token(model),
        told.target_token,
        _most_target(settings, longest),
        longest - 1,
        partial(load_seq2seq, site.found.model, settings.model, tokenizer, settings.seed),
        translation_prompts(data.train, parallel.target_language),
    )
    return Built(
        task,
        data,
        model,
        files,
        facts,
        again,
        whole_head(site, model),
        header,
        list(parallel.notices),
        sampling=sampling,
    )


def translation_task(
    settings: Settings, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, told: Direction, target: str | None
) -> TranslationTask:
    """The task for a model: what it can read, and how it is made to write."""
    asked: Any = model
    longest = longest_input(asked.config) or settings.data.max_length
    most_source = min(settings.data.max_length, longest)
    beam = decoding(settings, longest, told)
    quick = replace(beam, beams=settings.generate.beams_while_training)
    return TranslationTask(
        tokenizer,
        most_source,
        _most_target(settings, longest),
        start_token(model),
        partial(write, decoding=quick),
        partial(write, decoding=beam),
        target,
        told.prefix,
        None if settings.evaluate.metric == "ter" else TER_WORD_PAIRS,
    )


def decoding(settings: Settings, longest: int, told: Direction) -> Decoding:
    """How a model that takes at most `longest` tokens is made to write when results are measured."""
    chosen = settings.generate
    most = min(chosen.max_length or _most_target(settings, longest), longest - 1)
    return Decoding(chosen.beams, most, chosen.length_penalty, told.target_token)


def _most_target(settings: Settings, longest: int) -> int:
    return min(settings.data.max_target_length or settings.data.max_length, longest - 1)


def encode_splits(task: TranslationTask, parallel: ParallelData, site: Site) -> TaskData:
    """Encode every split. Evaluation splits keep their texts, to score against and to show."""
    limit, evaluated = site.settings.data.max_train_examples, site.settings.evaluate.max_examples
    assert parallel.train is not None

    def encode(table: Table, limit: int | None, texts: bool) -> Dataset:
        with site.accelerator.main_process_first():
            return encode_table(task, table, limit, texts)

    train = encode(parallel.train, limit, texts=site.settings.rl is not None)  # rewards look at texts
    validation = {name: encode(table, evaluated, texts=True) for name, table in parallel.validation.items()}
    test = {name: encode(table, evaluated, texts=True) for name, table in parallel.test.items()}
    return TaskData(train, validation, test, parallel.fingerprints)


def encode_table(task: TranslationTask, table: Table, limit: int | None, texts: bool) -> Dataset:
    """The pairs of a table as token ids; `texts` keeps them beside, as columns `source` and `target`."""
    rows = table.rows.select(range(min(limit, len(table.rows)))) if limit else table.rows
    rows = rows.select_columns(["source", "target"])
    drop = [] if texts else ["source", "target"]

    def encode(batch: Any) -> dict[str, Any]:
        return task.encode_pairs(batch["source"], batch["target"])

    if len(rows) <= IN_MEMORY_ROWS:
        columns = rows[:]
        return Dataset.from_dict(encode(columns) | {name: columns[name] for name in columns if name not in drop})
    marks = [tokenizer_mark(task.tokenizer), task.max_length, task.max_target_length, task.prefix, task.target_language]
    return encode_rows(rows, encode, drop, [table.fingerprint, limit, texts, *marks])


def _peek(site: Site) -> Any:
    """The configuration of a model that has one before it is made."""
    return None if site.source.source in {"built", "embedded"} else peek(site.source, site.wanted)


def _tokenizer(site: Site, parallel: ParallelData) -> PreTrainedTokenizerBase:
    """The model's own, or as named; one trained on the training texts for a model that is made from nothing.

    A student that is made from nothing takes its teacher's, so that the two read alike.
    """
    source, wanted, teacher, chosen = site.source, site.wanted, site.found.teacher, site.settings.teacher
    made = source.source in {"built", "embedded"}
    if made and not wanted.tokenizer and teacher and teacher.source not in {"built", "embedded"}:
        its = Model(name=teacher.location, revision=chosen.revision, trust_remote_code=chosen.trust_remote_code)
        return load_tokenizer(teacher, its, [], "teacher.name")
    if made and not wanted.tokenizer:
        from forge.tasks.embedded.tokenizer import train_joint_bpe

        pieces = EMBEDDED_PIECES if source.source == "embedded" else wanted.build.vocab_size
        return train_joint_bpe(_texts(parallel), pieces)
    return load_tokenizer(source, wanted, [])


def _require_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, wanted: Model) -> None:
    """A model whose references have no end learns no end, and writes each translation up to the longest length."""
    ends = end_tokens(model)
    if not ends & set(tokenizer(text_target="a")["input_ids"]):
        key, name = ("model.tokenizer", wanted.tokenizer) if wanted.tokenizer else ("model.name", wanted.name)
        end = "any token" if None in ends else str(tokenizer.convert_ids_to_tokens(min(ends)))
        raise UserError(
            f"{key}: the tokenizer of {name} does not end a text with {end}, at which the model stops; "
            "take one that does"
        )


def _texts(parallel: ParallelData) -> Iterator[str]:
    assert parallel.train is not None
    rows = parallel.train.rows
    for batch in rows.select(range(min(TRAINED_ON, len(rows)))).iter(batch_size=1_000):
        yield from chain(batch["source"], batch["target"])
