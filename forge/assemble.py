"""The one file that knows every layer: a checked configuration becomes a run.

preflight → read tables → labels → model, tokenizer → encode → objective → trainer → run directory
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from datasets import Dataset, disable_progress_bars

from forge.building import Built, Site, build
from forge.building.rewards import reinforce
from forge.config.schema import Settings
from forge.core.assets import Asset
from forge.core.errors import CheckpointError, StoppedError
from forge.core.events import Notice, Sink, fan_out
from forge.models.load import as_saved
from forge.objectives.base import Objective
from forge.objectives.sft import SFT
from forge.preflight import Preflight
from forge.runs.completions import CompletionsLog
from forge.runs.console import make_console
from forge.runs.facts import git_state, hardware, job, versions
from forge.runs.lines import duration
from forge.runs.report import write_report
from forge.runs.run_dir import RunDirectory, check_room, outcome
from forge.runs.sinks import MetricsLog, OutputLog, StateFile
from forge.runs.trackers import make_trackers
from forge.teaching import Student, Teaching, find_teacher, prepare_on_policy, prepare_teaching
from forge.train.batching import BatchPlan
from forge.train.checkpoint import CheckpointStore
from forge.train.device import leave_processes, make_accelerator
from forge.train.loop import Trainer
from forge.train.parts import Parts, total_steps
from forge.train.shards import is_sharding
from forge.train.signals import StopRequest
from forge.train.zero import zero_stage

CHECKPOINT_COPIES = 3  # weights, and Adam's two moments


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to train, and what to tell about it."""

    parts: Parts
    header: list[str]
    notices: list[str]
    facts: Mapping[str, Any]  # about the task, for who uses the run later
    fingerprints: dict[str, str]
    teaching: Teaching | None


def train(
    found: Preflight,
    command: Sequence[str],
    stop: StopRequest | None = None,
    also: Sequence[Sink] = (),
    console: bool = True,
) -> None:
    """Run to the end, or continue and run to the end. Raises what went wrong after writing it down.

    `also` are sinks beside those of the run; the terminal is one of the run's unless `console` is false.
    """
    stop = stop or StopRequest()
    quiet_libraries()
    settings = found.resolved.settings
    accelerator = make_accelerator(settings)
    main, existed = accelerator.is_main_process, found.run.exists
    store = CheckpointStore(found.run.path, settings.checkpoint.keep)
    with ExitStack() as stack:
        stack.callback(found.run.release)
        if main and existed:  # an earlier life may still be saving: look at its checkpoints once it has ended
            found.run.claim(say=_tell)
        accelerator.wait_for_everyone()
        resume = store.newest_good() if existed else None
        checkpoint = resume.path if resume else None
        prepared = prepare_run(found, checkpoint, accelerator, store)
        if prepared.teaching:
            prepared.notices.append(prepared.teaching.check())
        if resume:
            prepared.notices.extend(resume.skipped)
        state_file = StateFile(found.run)
        if main:
            _claim(found.run, prepared, settings, existed)
            stop.saves = True  # from here on a stop is written down
            found.run.begin_life(_facts(found, prepared), job() | {"command": list(command)})
        try:
            sinks = [*_open_sinks(found, state_file, stack, console), *also] if main else []
            accelerator.wait_for_everyone()
            _train(found, prepared, fan_out(*sinks), checkpoint, stop)
            if main:
                store.clean()
                _complete(found.run, state_file)
        except BaseException as error:
            if main:
                _write_down(error, found.run, state_file)
            if isinstance(error, StoppedError):  # all agree to stop; another error may be one process's own
                leave_processes()
            raise
    leave_processes()


def _train(found: Preflight, prepared: Prepared, emit: Sink, checkpoint: Path | None, stop: StopRequest) -> None:
    for line in [*prepared.header, *prepared.notices]:
        emit(Notice(line))
    for line in found.resolved.warnings:
        emit(Notice(line, "warning"))
    stop.saves = True
    # One process asks: the others follow it, and a cluster's controller is not asked by hundreds at once.
    if prepared.parts.accelerator.is_main_process:
        left = stop.heed_time_limit(found.resolved.settings.run.stop_early)
        if left is not None:
            emit(Notice(f"this job ends in {duration(left)}; the run saves and leaves in time"))
    if prepared.teaching:
        prepared.teaching.begin(emit, stop)
    trainer = Trainer(prepared.parts, emit, checkpoint, stop)
    trainer.run()
    trainer.average()
    trainer.measure_best()


def _complete(run: RunDirectory, state_file: StateFile) -> None:
    """Write down that the run reached its end. Its state says so last: what can fail is done by then, or done again."""
    status, why = outcome(None)
    run.end_life(why)
    write_report(run, state_file.state | {"status": status})
    state_file.end(status, why)


def _write_down(failure: BaseException, run: RunDirectory, state_file: StateFile) -> None:
    """Write down why the run stops here, as far as that can be written: the failure itself is what to hear of."""
    status, why = outcome(failure)
    with suppress(Exception):
        state_file.end(status, why)
    with suppress(Exception):
        run.end_life(why)


def fill_cache(found: Preflight, say: Callable[[str], None]) -> None:
    """Fill the teacher cache that a run would use, without the run; says so where it would use none."""
    quiet_libraries()
    accelerator = make_accelerator(found.resolved.settings)
    prepared = prepare_run(found, None, accelerator, CheckpointStore(found.run.path, keep=2), filling=True)
    assert prepared.teaching
    if prepared.teaching.rewritten:
        say(prepared.teaching.rewritten.notice)
    if prepared.teaching.cache is None:
        if not prepared.teaching.rewritten:
            say("teacher cache: this run would use none (distill.cache.mode)")
        return
    say(prepared.teaching.check())
    prepared.teaching.begin(lambda event: say(event.text) if isinstance(event, Notice) else None)


def prepare_run(
    found: Preflight,
    checkpoint: Path | None,
    accelerator: Accelerator,
    store: CheckpointStore,
    filling: bool = False,
) -> Prepared:
    """Read, load and encode everything; raises UserError before anything is written."""
    settings = found.resolved.settings
    source, wanted = found.model, settings.model
    if found.tokenizer:
        wanted = wanted.model_copy(update={"tokenizer": found.tokenizer.location})
    if checkpoint:
        source, wanted = Asset(source.asked, "path", str(checkpoint)), as_saved(wanted)
    site = Site(found, source, wanted, accelerator)
    built = build(site)
    about, data, student = {"config": found.digest, "versions": versions()}, built.data, _student(built)
    teacher = rewritten = teaching = None
    if found.teacher:
        teacher, rewritten = find_teacher(settings, found.teacher, student, accelerator)
        data = replace(data, train=rewritten.train) if rewritten else data
    assert data.train is not None
    batches = _batch_plan(settings, data.train, accelerator.num_processes)
    reinforced = reinforce(site, built) if settings.rl else None
    if teacher and reinforced:
        teaching = prepare_on_policy(teacher, reinforced.objective)
    elif teacher:
        teaching = prepare_teaching(teacher, student, batches, total_steps(settings, batches), filling, rewritten)
    sft = SFT(settings.train.label_smoothing, built.head, built.beside)
    objective: Objective = reinforced.objective if reinforced else teaching.objective if teaching else sft
    parts = Parts(
        settings,
        built.task,
        data,
        built.model,
        built.tokenizer_files,
        objective,
        batches,
        accelerator,
        store,
        about,
    )
    header = _header(found, parts, [*built.header, *(reinforced.header if reinforced else [])])
    header += [teaching.header] if teaching else []
    fingerprints = dict(data.fingerprints) | (teaching.fingerprints() if teaching else {})
    fingerprints |= reinforced.fingerprints if reinforced else {}
    return Prepared(parts, header, list(built.notices), built.facts, fingerprints, teaching)


def _student(built: Built) -> Student:
    language = built.facts.get("languages", [None])[0]
    return Student(built.model, built.task, built.data, built.again, built.head, language, built.beside)


def quiet_libraries() -> None:
    """Libraries talk about themselves; a run's log is about the run."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*(pin_memory|lr_scheduler|all_gather_into_tensor).*")


def _tell(line: str) -> None:
    print(f"forge: {line}", file=sys.stderr, flush=True)  # noqa: T201  the run's log is another's


def _claim(run: RunDirectory, prepared: Prepared, settings: Settings, existed: bool) -> None:
    weights = sum(parameter.numel() * parameter.element_size() for parameter in prepared.parts.model.parameters())
    kept = max(settings.checkpoint.keep, settings.checkpoint.average or 0) + 1
    check_room(run.path, weights * CHECKPOINT_COPIES * kept)
    if run.exists:
        _refuse_changed_data(run.metadata()["fingerprints"], prepared.fingerprints)
    run.claim(say=_tell)
    if run.exists and not existed:
        raise StoppedError(f"{run.path}  was begun by another process meanwhile; the same command continues it")
    run.clean()
    prepared.parts.store.clean()


def _refuse_changed_data(recorded: dict[str, str], current: dict[str, str]) -> None:
    changed = sorted(name for name in recorded if current.get(name) != recorded[name])
    if changed:
        raise CheckpointError(
            f"what this run began with has changed ({', '.join(changed)}), so it cannot continue; "
            f"put back what was there, or delete the run directory"
        )


def _open_sinks(found: Preflight, state_file: StateFile, stack: ExitStack, console: bool) -> list[Sink]:
    """Files, trackers and, if asked, the terminal, closed with the stack."""
    resolved = found.resolved
    trackers = make_trackers(list(resolved.settings.log.sinks), found.run.path, resolved.name, resolved.as_dict())
    for tracker in trackers:
        stack.enter_context(tracker)
    completions = [CompletionsLog(found.run)] if resolved.settings.rl else []
    files: list[Sink] = [OutputLog(found.run), MetricsLog(found.run), state_file, *completions, *trackers]
    if not console:
        return files
    terminal = make_console()
    stack.enter_context(terminal)
    return [*files, terminal]


def _facts(found: Preflight, prepared: Prepared) -> dict[str, Any]:
    resolved, data = found.resolved, found.data
    cache = prepared.teaching.cache if prepared.teaching else None
    described = {
        "model": vars(found.model) | {"description": found.model.describe()},
        "data": (vars(data) | {"description": data.describe()})
        if data
        else {"asked": str(resolved.settings.data.train), "source": "path", "description": "local files"},
    }
    return {
        "name": resolved.name,
        "mode": resolved.mode,
        "header": prepared.header,
        "config": resolved.as_dict(),
        "config_files": [str(path) for path in resolved.chain],
        "config_sources": {key: str(origin) for key, origin in resolved.origins.items()},
        "assets": described,
        **prepared.facts,
        "fingerprints": prepared.fingerprints,
        "teacher": prepared.teaching.measured["figures"] if prepared.teaching else {},
        "teacher_cache": str(cache.folder.absolute()) if cache else None,
        "parameters": sum(parameter.numel() for parameter in prepared.parts.model.parameters()),
        "versions": versions(),
        "git": git_state(),
        "hardware": hardware(),
    }


def _header(found: Preflight, parts: Parts, about_task: Sequence[str]) -> list[str]:
    settings, accelerator = parts.settings, parts.accelerator
    data = found.data.describe() if found.data else "local files"
    sizes = {"train": parts.data.train, **parts.data.validation, **parts.data.test}
    shown = ", ".join(f"{name} {len(split):,}" for name, split in sizes.items() if split is not None)
    parameters = sum(parameter.numel() for parameter in parts.model.parameters())
    per_step = (
        f"{settings.train.batch_tokens:,} tokens"
        if settings.train.batch_tokens
        else (f"{settings.train.batch_size} examples")
    )
    steps = total_steps(settings, parts.plan)
    lines = [
        f"run {found.resolved.name}, seed {settings.seed}, in {found.run.path}",
        f"mode: {found.resolved.mode_line}",
        f"model: {found.model.describe()}, {type(parts.model).__name__}, {parameters:,} parameters",
        f"data: {data}: {shown} examples",
        *about_task,
        f"device: {accelerator.device}, {_processes(accelerator)}, "
        f"precision {accelerator.mixed_precision.replace('no', 'fp32')}, {torch.get_num_threads()} thread(s)",
        f"plan: {steps:,} steps of {per_step}, {parts.plan.steps_per_epoch():,} steps an epoch",
    ]
    if found.stand_ins:
        why = "as told" if settings.assets == "embedded" else "because what is named cannot be reached"
        names = " and ".join(asset.location for asset in found.stand_ins)
        lines.append(f"STAND-INS: {names}, {why}; the figures say nothing about {found.stand_ins[0].asked}")
    return lines


def _processes(accelerator: Accelerator) -> str:
    count = accelerator.num_processes
    if is_sharding(accelerator):
        return f"{count} processes that share the model (FSDP2)"
    if stage := zero_stage(accelerator):
        return f"{count} processes that share the optimizer's state (DeepSpeed ZeRO-{stage})"
    return f"{count} processes" if count > 1 else "1 process"


def _batch_plan(settings: Settings, data: Dataset, processes: int) -> BatchPlan:
    train = settings.train
    return BatchPlan(
        np.asarray(data["length"][:], dtype=np.int64),
        settings.seed,
        train.batch_size,
        train.batch_tokens,
        train.micro_batch_size,
        train.group_by_length,
        processes,
        settings.rl.updates if settings.rl else 1,
    )
