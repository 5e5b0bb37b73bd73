"""From `teacher:` and `distill:` to a distillation objective: what can fail, before anything is written.

Then `Teaching.begin` does what takes time, once the run has a log to tell of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from forge.config.schema import Loss, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.models.capture import Stack, layout
from forge.objectives.kd.cache import TeacherCache, describe_difference
from forge.objectives.kd.objective import KD, read_sites
from forge.objectives.kd.shard import CacheError, Field
from forge.objectives.kd.table import LOSSES, Pairing, make_terms, only_responses
from forge.objectives.kd.teacher import Wanted, fields
from forge.objectives.rl.objective import GRPO
from forge.objectives.sft import SFT
from forge.tasks.encoding import tokenizer_mark
from forge.tasks.written import WritingTask
from forge.teaching.classifier import find_classifier
from forge.teaching.found import FoundTeacher
from forge.teaching.pages import find_page_teacher
from forge.teaching.sequence import Rewritten, rewrite
from forge.teaching.student import Student
from forge.teaching.teaching import Teaching
from forge.teaching.text_teacher import TextTeacher
from forge.teaching.translator import find_translator
from forge.train.batching import BatchPlan

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
GIGABYTE = 1e9


FINDERS: Mapping[str, Callable[[Settings, Asset, Student, Accelerator], FoundTeacher]] = {
    "classification": find_classifier,
    "translation": find_translator,
    "ocr": find_page_teacher,
}


def find_teacher(
    settings: Settings, asset: Asset, student: Student, accelerator: Accelerator
) -> tuple[FoundTeacher, Rewritten | None]:
    """The teacher, and the training data with its texts where they are the targets. Raises UserError.

    Its texts take long the first time, and no run has begun yet: what is whole of them stays when this is interrupted.
    """
    found = FINDERS[settings.task](settings, asset, student, accelerator)
    if settings.distill.sequence.targets == "reference":
        return found, None
    if not isinstance(found, TextTeacher):
        raise UserError(f"distill.sequence: a teacher of {settings.task} writes no text; leave it out")
    task, train = student.task, student.data.train
    assert isinstance(task, WritingTask)
    assert train is not None
    rewritten = rewrite(found, task, train, _cache_root(settings))
    found.train = rewritten.train
    return found, rewritten


def prepare_teaching(
    found: FoundTeacher,
    student: Student,
    plan: BatchPlan,
    steps: int,
    filling: bool,
    rewritten: Rewritten | None = None,
) -> Teaching:
    """Check that the two models can be compared as configured. Raises UserError; nothing is written or trained.

    `plan` and `steps` are the student's. `filling`: the cache is to be made now, so it need not be there yet.
    """
    settings = found.settings
    losses = settings.distill.losses()
    sft = SFT(settings.train.label_smoothing, student.head, student.beside)
    if not losses:
        assert rewritten
        header = f"teacher: {found.asset.describe()}; losses: the task's, on its texts"
        return Teaching(sft, header, found, None, [], Wanted(), rewritten)
    responses = only_responses(losses)
    if settings.teacher.tokenizer == "own" and not responses:
        raise UserError(
            "teacher.tokenizer: own, so teacher and student read different tokens, which feature and attention losses "
            "cannot compare; leave those losses out"
        )
    mine = {} if responses else _stacks(student.model, losses, "student")
    if not responses:
        found.stacks = _stacks(found.architecture(), losses, "teacher")
    terms = make_terms(losses, Pairing(mine, found.stacks, settings.distill.layers, settings.seed))
    _check_groups(settings, plan)
    _check_shuffled(settings, plan)
    wanted = _with_logits(read_sites(terms, "teacher"), settings, found)
    balanced = settings.distill.balance == "gradient_norm"
    objective = KD(sft, settings.alpha, terms, student.model, mine, balanced, settings.distill.gradient_norm_every)
    objective.extra_learning_rate = settings.distill.projection_learning_rate
    objective.shuffles = settings.distill.shuffle_logits
    asked = fields(wanted, found.stacks, DTYPES[settings.distill.cache.dtype])
    cache = _cache(found, asked, plan, steps)
    if cache and not filling and settings.distill.cache.mode == "require" and cache.missing(asked).shards:
        raise _not_full(found, cache)
    how = f"cached in {cache.folder}" if cache else "runs in every step"
    header = f"teacher: {found.asset.describe()}, {how}; losses: {_shown(settings)}"
    return Teaching(objective, header, found, cache, asked, wanted, rewritten)


def prepare_on_policy(found: FoundTeacher, objective: GRPO) -> Teaching:
    """A teacher that speaks along the samples of a run with rewards: nothing of it can be kept, since they change."""
    chosen = objective.chosen.distill
    header = f"teacher: {found.asset.describe()}, runs in every step along the samples; gkd with beta {chosen.beta:g}"
    return Teaching(objective, header, found, None, [], Wanted())


def _with_logits(wanted: Wanted, settings: Settings, found: FoundTeacher) -> Wanted:
    """What is kept of the logits: all of a classifier's; of text as many as the losses or the user say."""
    if found.side is None:
        return replace(wanted, classes=found.classes)
    responses = {name: loss for name, loss in settings.distill.losses().items() if LOSSES[name].family == "response"}
    top_k = settings.distill.cache.top_k
    if top_k is None and set(responses) == {"topk_kl"}:  # looks at no other
        top_k = settings.distill.topk_kl.k
    kept = min(top_k, found.classes) if top_k else None
    return replace(wanted, classes=found.classes, side=found.side, logits=bool(responses), top_k=kept)


def _stacks(model: nn.Module, losses: Mapping[str, Loss], whose: str) -> dict[str, Stack]:
    """The layers that feature and attention losses compare."""
    try:
        return layout(model)
    except UserError as error:
        named = ", ".join(f"distill.{name}" for name in losses if LOSSES[name].family != "response")
        raise UserError(f"{named}: the {whose}'s architecture {error}") from error


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


def _check_shuffled(settings: Settings, plan: BatchPlan) -> None:
    """The control needs logits to mix up, and a second example to take them from."""
    if not settings.distill.shuffle_logits:
        return
    if not any(LOSSES[name].family == "response" for name in settings.distill.losses()):
        raise UserError("distill.shuffle_logits: no loss of distill looks at logits; give a response loss a weight")
    cut = settings.train.micro_batch_size or -(-settings.train.batch_size // plan.processes)
    if not plan.batch_tokens and cut < 2:
        raise UserError("distill.shuffle_logits: micro-batches of one example have no other; make them larger")


def _cache_root(settings: Settings) -> Path:
    run_root = Path(settings.run.dir).expanduser()
    return Path(settings.distill.cache.dir).expanduser() if settings.distill.cache.dir else run_root / "teacher_cache"


def _cache(found: FoundTeacher, asked: list[Field], plan: BatchPlan, steps: int) -> TeacherCache | None:
    """The cache that this run uses, or None. What decides is known before the first step and never changes."""
    settings = found.settings
    chosen = settings.distill.cache
    must = chosen.mode in {"on", "require"} or settings.teacher.tokenizer == "own"
    if found.uncached:
        if must:
            raise UserError(
                f"distill.cache.mode: {chosen.mode}, but of {found.name} nothing can be kept: {found.uncached}; take "
                "mode: off, or let it teach by its texts, which are kept (distill.sequence.targets: teacher)"
            )
        return None
    if chosen.mode == "off":
        if settings.teacher.tokenizer == "own":
            raise UserError(
                "distill.cache.mode: off, but teacher.tokenizer: own, and such a teacher is read from its cache; "
                "take mode: auto"
            )
        return None
    if not must and steps <= plan.steps_per_epoch():  # no example is seen twice
        return None
    cache = TeacherCache(_cache_root(settings), _identity(found, settings), found.lengths())
    if not must and cache.bytes_needed(asked) > chosen.max_gigabytes * GIGABYTE:
        return None
    return cache


def _identity(found: FoundTeacher, settings: Settings) -> dict[str, str | int]:
    data = settings.data
    return {
        "teacher_name": found.asset.location if found.asset.source == "embedded" else found.name,
        "data_name": " ".join(filter(None, [data.name or str(data.train), data.subset])),
        "teacher_weights_sha256": found.weights_mark,
        "tokenizer_sha256": digest(tokenizer_mark(found.tokenizer)),
        "inputs_sha256": found.train_mark(),
        "max_length": settings.data.max_length,
        "precision": found.accelerator.mixed_precision,
        "dtype": settings.distill.cache.dtype,
        "examples": len(found.train),
    }


def _not_full(found: FoundTeacher, cache: TeacherCache) -> UserError:
    other = describe_difference(cache.folder.parent, cache.identity)
    why = (
        f"it is stale: {other}" if other else f"there is none in {cache.folder}, or a part of it is missing or damaged"
    )
    return CacheError(
        f"distill.cache.mode: require, but the cache of {found.name} cannot be used: {why}; "
        "fill it with `forge.py prepare --config …` where the teacher is"
    )


def _shown(settings: Settings) -> str:
    return ", ".join(f"{name} × {loss.weight:g}" for name, loss in settings.distill.losses().items())
