"""From `teacher:` and `distill:` to a distillation objective: find, check, measure, and remember in the cache.

`prepare_teaching` does what can fail before anything is written; `Teaching.begin` does what takes time, once the run
has a log to tell of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from forge.config.schema import Loss, Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.events import Notice, Sink
from forge.core.hashing import digest
from forge.core.io import write_json
from forge.models.capture import Stack, layout
from forge.models.embedded import MAX_POSITIONS
from forge.models.identity import architecture_of, weights_sha256
from forge.models.load import load_classifier, load_tokenizer, longest_input, peek, trained_labels
from forge.objectives.kd.cache import TeacherCache, describe_difference
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.shard import CacheError, Field
from forge.objectives.kd.table import LOSSES, Pairing, make_terms, only_responses
from forge.objectives.kd.teacher import CachedTeacher, OnlineTeacher, Wanted, fields, split
from forge.objectives.sft import SFT
from forge.tasks.base import TaskData
from forge.tasks.classification import ClassificationTask
from forge.tasks.encoding import encoded_mark, tokenizer_mark
from forge.tasks.labels import LabelPlan, order_in, plan_teacher_labels
from forge.tasks.metrics.classification import better_order, score_classification
from forge.train.batching import BatchPlan
from forge.train.evaluate import infer

TEACHER_SEED = 0  # of weights that are drawn: a stand-in, or the control with a teacher that knows nothing
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
GIGABYTE = 1e9
REPORT_SECONDS = 10.0
PROBES = 200  # texts that two tokenizers must cut alike


@dataclass
class Teaching:
    """A distillation objective and the teacher that it will learn from."""

    objective: KD
    header: str
    found: _Found
    cache: TeacherCache | None
    fields: list[Field]
    wanted: Wanted
    measured: dict[str, Any] = field(default_factory=dict)  # by `check`

    def check(self) -> str:
        """Measure the teacher, or remember what was measured, and refuse a bad one; the line for the log.

        Nothing is written yet, so a refused teacher leaves no run behind.
        """
        known = _remembered(self.cache, self.found)
        self.measured = known or self.found.measure()
        return _judge(self.measured, self.found)

    def begin(self, emit: Sink) -> None:
        """Fill the cache or load the teacher, and hand it to the objective. Before the first step."""
        found, cache = self.found, self.cache
        if cache is None:
            self.objective.learn_from(OnlineTeacher(found.load(), self.wanted, found.order))
            return
        with found.accelerator.main_process_first():
            if found.accelerator.is_local_main_process:
                self._fill(cache, emit)
                _remember(cache, found, self.measured)
        found.forget()
        emit(
            Notice(f"teacher cache: full, {cache.size() / 1e6:,.1f} MB in {cache.folder}; no teacher runs in training")
        )
        self.objective.learn_from(CachedTeacher(cache.open(self.fields), self.wanted, found.stacks))

    def fingerprints(self) -> dict[str, str]:
        """What the teacher is, to refuse a run that continues with another."""
        return {"teacher": self.found.weights_mark}

    def _fill(self, cache: TeacherCache, emit: Sink) -> None:
        found = self.found
        source: OnlineTeacher | None = None

        def compute(ids: np.ndarray, asked: Sequence[Field]) -> dict[str, list[torch.Tensor]]:
            nonlocal source
            source = source or OnlineTeacher(found.load(), self.wanted, found.order)
            batch = found.task.collate(found.train.__getitems__(ids.tolist()))
            on_device = {name: tensor.to(found.accelerator.device) for name, tensor in batch.items()}
            with found.accelerator.autocast():
                outputs = source.outputs(on_device)
            return split(outputs, found.train[ids.tolist()]["length"], asked)

        for damage in cache.fill(self.fields, compute, _reporter(emit), emit):
            emit(Notice(f"teacher cache: {damage}; it was made again", "warning"))


@dataclass
class _Found:
    """The teacher as found, before and after it is loaded."""

    settings: Settings
    asset: Asset
    model: Model
    labels: list[str]  # in the teacher's own order
    order: list[int] | None  # output of the teacher for each of the data's labels; None where the orders agree
    tokenizer: PreTrainedTokenizerBase
    task: ClassificationTask  # encodes and collates as the teacher reads
    train: Dataset
    validation: Dataset
    accelerator: Accelerator
    stacks: dict[str, Stack]
    _loaded: PreTrainedModel | None = None

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return str(self.settings.teacher.name)

    @property
    def untrained(self) -> bool:
        """Whether its weights are drawn, so that its answers mean nothing."""
        return self.asset.source == "embedded" or self.model.init == "random"

    @cached_property
    def weights_mark(self) -> str:
        """A digest of the weights and of what its outputs mean."""
        drawn = f"{self.asset.location} drawn from seed {TEACHER_SEED}"
        weights = drawn if self.untrained else weights_sha256(Path(self.asset.location))
        return digest([weights, self.labels, self.order])

    def load(self) -> PreTrainedModel:
        """The frozen network on the run's device, loaded once."""
        if self._loaded is None:
            plan = LabelPlan(self.labels, keep_head=True)
            model = load_classifier(self.asset, self.model, plan, self.tokenizer, TEACHER_SEED, "teacher.name")
            self._loaded = model.to(self.accelerator.device).eval().requires_grad_(False)
        return self._loaded

    def forget(self) -> None:
        """Give back the memory of a teacher that will not be asked again."""
        self._loaded = None

    def measure(self) -> dict[str, Any]:
        """Its figures on the first validation split, and what they would be with its outputs in their best order."""
        size = self.settings.evaluate.batch_size
        logits_NC = np.stack(infer(self.accelerator, self.task, self.load(), self.validation, size))
        logits_NC = logits_NC if self.order is None else logits_NC[:, self.order]
        labels_N = np.asarray(self.validation["label"][: len(logits_NC)])
        figures = dict(score_classification(logits_NC, labels_N, self.task.labels).figures)
        accuracy, order = better_order(logits_NC, labels_N)
        return {"figures": figures, "examples": len(labels_N), "best": {"accuracy": accuracy, "order": order}}


@dataclass(frozen=True)
class Student:
    """What of a run is there before its objective."""

    model: PreTrainedModel
    task: ClassificationTask
    data: TaskData
    plan: BatchPlan
    steps: int
    encode: Callable[[ClassificationTask], TaskData]  # the same splits with another tokenizer
    run_root: Path


def prepare_teaching(
    settings: Settings, asset: Asset, student: Student, accelerator: Accelerator, filling: bool
) -> Teaching:
    """Check that the two models can be compared as configured. Raises UserError; nothing is written or trained.

    `filling`: the cache is to be made now, so it need not be there yet.
    """
    found = _find(settings, asset, student, accelerator)
    losses = settings.distill.losses()
    responses = only_responses(losses)
    if settings.teacher.tokenizer == "own" and not responses:
        raise UserError(
            "teacher.tokenizer: own, so teacher and student read different tokens, which feature and attention losses "
            "cannot compare; leave those losses out"
        )
    mine = {} if responses else _stacks(student.model, losses, "student")
    if not responses:
        architecture = architecture_of(asset, found.model, found.labels, len(found.tokenizer))
        found.stacks = _stacks(architecture, losses, "teacher")
    terms = make_terms(losses, Pairing(mine, found.stacks, settings.distill.layers, settings.seed))
    _check_groups(settings, student.plan)
    wanted = read_sites(terms, "teacher")
    sft = SFT(settings.train.label_smoothing)
    balanced = settings.distill.balance == "gradient_norm"
    objective = KD(sft, settings.alpha, terms, student.model, mine, balanced, settings.distill.gradient_norm_every)
    objective.extra_learning_rate = settings.distill.projection_learning_rate
    asked = fields(wanted, len(student.task.labels), found.stacks, DTYPES[settings.distill.cache.dtype])
    cache = _cache(found, asked, settings, student)
    if cache and not filling and settings.distill.cache.mode == "require" and cache.missing(asked).shards:
        raise _not_full(found, cache)
    how = f"cached in {cache.folder}" if cache else "runs in every step"
    header = f"teacher: {asset.describe()}, {how}; losses: {_shown(settings)}"
    return Teaching(objective, header, found, cache, asked, wanted)


def _find(settings: Settings, asset: Asset, student: Student, accelerator: Accelerator) -> _Found:
    task, data = student.task, student.data
    chosen = settings.teacher
    model = Model(
        name=asset.location,
        revision=chosen.revision,
        init=chosen.init,
        labels=chosen.labels,
        trust_remote_code=chosen.trust_remote_code,
    )
    config = peek(asset, model, "teacher.name")
    longest = longest_input(config) if config else MAX_POSITIONS
    if longest and task.max_length > longest:
        raise UserError(f"data.max_length is {task.max_length}, but the teacher reads at most {longest} tokens")
    names, has_head = trained_labels(config, model, "teacher")
    labels = list(task.labels)
    if asset.source != "embedded" and chosen.init == "pretrained":
        labels = plan_teacher_labels(task.labels, names, has_head, asset.asked, bool(chosen.labels))
    order = order_in(task.labels, labels)
    own = task.tokenizer if asset.source == "embedded" else load_tokenizer(asset, model, [], "teacher.name")
    reads, splits = task, data
    if chosen.tokenizer == "own":
        reads = ClassificationTask(task.labels, own, task.max_length)
        splits = student.encode(reads)
    else:
        _check_tokenizers(task.tokenizer, own, asset.asked)
    assert splits.train is not None
    validation = next(iter(splits.validation.values()))
    return _Found(settings, asset, model, labels, order, own, reads, splits.train, validation, accelerator, {})


def _stacks(model: nn.Module, losses: Mapping[str, Loss], whose: str) -> dict[str, Stack]:
    """The layers that feature and attention losses compare."""
    try:
        return layout(model)
    except UserError as error:
        named = ", ".join(f"distill.{name}" for name in losses if LOSSES[name].family != "response")
        raise UserError(f"{named}: the {whose}'s architecture {error}") from error


def _check_tokenizers(student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, name: str) -> None:
    if tokenizer_mark(student) == tokenizer_mark(teacher):
        return
    mine, its = student.get_vocab(), teacher.get_vocab()
    if mine != its:
        shared = sum(1 for token, number in its.items() if mine.get(token) == number)
        difference = f"{len(mine):,} and {len(its):,} tokens, {shared:,} of them the same"
    else:
        words = [token for token in sorted(mine) if token.isalnum()]
        words = words[:: max(1, len(words) // PROBES)]
        texts = [text for word in words for text in (word, word.title(), f"{word}é")]  # casing and accents too
        differing = [text for text in texts if student(text, text)["input_ids"] != teacher(text, text)["input_ids"]]
        if not differing:
            return
        difference = f"the same tokens, but they cut '{differing[0]}' differently"
    raise UserError(
        f"teacher.name: {name} has another tokenizer than the student ({difference}); take a student with the "
        "teacher's tokenizer (model.tokenizer), or set teacher.tokenizer: own and use response losses only"
    )


def _check_groups(settings: Settings, plan: BatchPlan) -> None:
    """Losses that compare examples with each other need whole groups, or cutting a step would change them."""
    for name, loss in settings.distill.losses().items():
        group = getattr(loss, "group", None)
        if group is None:
            continue
        key = f"distill.{name}.group"
        if plan.batch_tokens:
            raise UserError(f"{key}: batches of so many tokens cut groups anywhere; set train.batch_size instead")
        step = settings.train.batch_size
        cut = settings.train.micro_batch_size or -(-step // plan.processes)
        if cut < step and cut % group:
            raise UserError(
                f"{key}: groups of {group} examples do not fit into micro-batches of {cut}; take a divisor of {cut}"
            )


def _cache(found: _Found, asked: list[Field], settings: Settings, student: Student) -> TeacherCache | None:
    """The cache that this run uses, or None. What decides is known before the first step and never changes."""
    chosen = settings.distill.cache
    must = chosen.mode in {"on", "require"} or settings.teacher.tokenizer == "own"
    if chosen.mode == "off":
        if settings.teacher.tokenizer == "own":
            raise UserError(
                "distill.cache.mode: off, but teacher.tokenizer: own, and such a teacher is read from its cache; "
                "take mode: auto"
            )
        return None
    if not must and student.steps <= student.plan.steps_per_epoch():  # no example is seen twice
        return None
    root = Path(chosen.dir or student.run_root / "teacher_cache").expanduser()
    cache = TeacherCache(root, _identity(found, settings), np.asarray(found.train["length"][:]))
    if not must and cache.bytes_needed(asked) > chosen.max_gigabytes * GIGABYTE:
        return None
    return cache


def _identity(found: _Found, settings: Settings) -> dict[str, str | int]:
    data = settings.data
    return {
        "teacher_name": found.asset.location if found.asset.source == "embedded" else found.name,
        "data_name": " ".join(filter(None, [data.name or str(data.train), data.subset])),
        "teacher_weights_sha256": found.weights_mark,
        "tokenizer_sha256": digest(tokenizer_mark(found.tokenizer)),
        "inputs_sha256": encoded_mark(found.train),
        "max_length": found.task.max_length,
        "precision": found.accelerator.mixed_precision,
        "dtype": settings.distill.cache.dtype,
        "examples": len(found.train),
    }


def _not_full(found: _Found, cache: TeacherCache) -> UserError:
    other = describe_difference(cache.folder.parent, cache.identity)
    why = (
        f"it is stale: {other}" if other else f"there is none in {cache.folder}, or a part of it is missing or damaged"
    )
    return CacheError(
        f"distill.cache.mode: require, but the cache of {found.name} cannot be used: {why}; "
        "fill it with `forge.py prepare --config …` where the teacher is"
    )


def _remembered(cache: TeacherCache | None, found: _Found) -> dict[str, Any] | None:
    """What was measured of the teacher when its cache was filled; None where it must be measured."""
    if cache is None:
        return None
    try:
        known: dict[str, Any] = json.loads(_record(cache, found).read_text(encoding="utf-8"))
        return known if {"figures", "examples", "best"} <= set(known) else None
    except (OSError, ValueError, TypeError):
        return None


def _remember(cache: TeacherCache, found: _Found, figures: dict[str, Any]) -> None:
    path = _record(cache, found)
    if not path.is_file():
        write_json(path, figures)


def _record(cache: TeacherCache, found: _Found) -> Path:
    return cache.folder / f"measured-{encoded_mark(found.validation)[:12]}.json"


def _judge(measured: dict[str, Any], found: _Found) -> str:
    """Say how good the teacher is, and refuse one whose outputs are in another order than its labels say."""
    figures, examples, best = measured["figures"], measured["examples"], measured["best"]
    shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    line = f"teacher: {found.asset.describe()} on validation:  {shown}  ({examples} examples)"
    if found.untrained:
        return line
    accuracy, labels = figures["accuracy"], found.task.labels
    # Three standard errors more than a quarter: chance does not do that.
    if best["accuracy"] - accuracy > 0.25 + 1.5 / examples**0.5:
        names = [labels[place] for place in best["order"]]
        own = names if found.order is None else [names[found.order.index(output)] for output in range(len(names))]
        raise UserError(
            f"teacher.labels: the outputs of {found.name} are not in the order {', '.join(found.labels)}: accuracy "
            f"{accuracy:.3f}, but {best['accuracy']:.3f} as {', '.join(own)}; set teacher.labels: [{', '.join(own)}]"
        )
    least = found.settings.teacher.min_accuracy
    if least is not None and accuracy < least:
        raise UserError(f"teacher.min_accuracy: {found.name} reaches {accuracy:.4f} on validation, less than {least}")
    return line


def _shown(settings: Settings) -> str:
    return ", ".join(f"{name} × {loss.weight:g}" for name, loss in settings.distill.losses().items())


def _reporter(emit: Sink) -> Callable[[int, int], None]:
    started = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_SECONDS or done == total:
            last = now
            left = (now - started) * (total - done) / max(done, 1)
            emit(Notice(f"teacher cache: {done:,} of {total:,} examples, {left:.0f} s left"))

    return report
