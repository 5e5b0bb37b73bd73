"""The training loop, the same for every objective: update, and when due log, evaluate, save.

What an update does is in `step.py`; what a checkpoint holds in `checkpoint.py`. This file decides when.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from forge.core.errors import CheckpointError, DivergedError, StoppedError, StorageError, UserError
from forge.core.events import Evaluated, Event, Finished, Notice, Progressed, Sink, Started, StepLogged
from forge.core.manifest import AVERAGE, WEIGHTS_FILE, verify
from forge.objectives.base import Remarks
from forge.tasks.base import HIGHER_IS_BETTER
from forge.train.averaging import Average, newest_good, on_schedule, write_average
from forge.train.clock import Clock
from forge.train.engine import Engine
from forge.train.evaluate import HaltedError, infer
from forge.train.extra import WithExtra
from forge.train.optim import build_optimizer, learning_rate
from forge.train.parts import Parts, total_steps
from forge.train.saving import Saver
from forge.train.shards import cut_by_blocks, fill, is_sharding
from forge.train.signals import StopRequest
from forge.train.state import Best, TrainingState
from forge.train.step import Counted, StepResult, Updater
from forge.train.stream import StepBatches, stream
from forge.train.window import Window
from forge.train.zero import ZeroEngine, zero_stage

EXTRA = "extra"  # begins the names of what an objective trains along with the model
REMEDY = "try a smaller train.learning_rate, a longer warm-up, or train.precision: fp32"
MOST_SKIPPED = 10  # steps in a row whose gradient may be not finite, with `train.nonfinite: skip`


class Trainer:
    """Drives one run from its start, or from a checkpoint, to its end."""

    def __init__(self, parts: Parts, emit: Sink, resume_from: Path | None, stop: StopRequest | None = None) -> None:
        self.parts, self.settings, self.accelerator = parts, parts.settings, parts.accelerator
        self.emit = emit if self.accelerator.is_main_process else _discard
        self.stop = stop or StopRequest()
        self.total_steps = total_steps(self.settings, parts.plan)
        if self.settings.train.compile:
            parts.model.compile(dynamic=True)
        self.extra = parts.objective.extra
        optimizer = build_optimizer(parts.model, self.settings.train, self.extra, parts.objective.extra_learning_rate)
        trained = WithExtra(parts.model, self.extra) if self.extra else parts.model
        if is_sharding(self.accelerator):
            self._refuse_balance()
            cut_by_blocks(self.accelerator, parts.model)
        build = ZeroEngine if zero_stage(self.accelerator) else Engine
        self.engine = build(self.accelerator, trained, optimizer, parts.objective, self.settings.train)
        self.updater = Updater(self.engine, self.settings.seed)
        self.saver = Saver(parts, self.engine)
        self.state = self.saver.restore(resume_from) if resume_from else TrainingState()
        self._saved = self.state.step, self.state.evaluated  # of the newest checkpoint
        self.averaged: Average | None = None  # once training has ended, where that was asked for
        self.window = Window(self.accelerator, self.state.window)
        self._last_norm: tuple[int, torch.Tensor] | None = None

    def run(self) -> TrainingState:
        """Train to the end and return the final state. Raises DivergedError, StorageError, StoppedError."""
        state, started = self.state, time.monotonic()
        self.saver.prune(state, state.step)  # a life that was killed between saving and pruning left one too many
        evaluated = state.evaluated if state.step else -1  # what was measured before the first step comes again
        self.emit(Started(state.step, self.total_steps, str(self.parts.store.run_dir), evaluated))
        self._progress()
        self.engine.model.train()
        try:
            self._measure_start()
            self._settle()  # a life that was asked to stop left an evaluation for this one
            self._train()
        except BaseException:
            with suppress(StorageError):  # what is on its way is good; the first error is the one to tell
                self._finish_save()
            raise
        self._finish_save()
        if not self.settings.checkpoint.average:  # else it is told once that is measured
            self._tell_without_gain()
        reason = state.stopped or f"all {self.total_steps} steps done"
        self.emit(Finished(state.step, reason, time.monotonic() - started))
        return state

    def _train(self) -> None:
        assert self.parts.data.train is not None
        with stream(
            self.parts.data.train,
            self.parts.task.collate,
            self.parts.plan,
            self.state.cursor,
            self.accelerator.process_index,
            self.settings.train.num_workers,
            self.parts.objective.enrich,
        ) as steps:
            self._take_steps(steps)

    def _take_steps(self, steps: Iterator[StepBatches]) -> None:
        state, clock = self.state, Clock(self.state)
        while state.step < self.total_steps and not state.stopped:
            batches = next(steps)
            self._finish_save(wait=False)
            self.parts.objective.begin(state.step)
            batches = self.updater.gather(batches, state.step)
            counted = self.updater.count(batches, self._asked())
            if counted.stop:
                raise self._leave()
            rate = learning_rate(self.settings.train, state.step, self.total_steps, self.parts.objective.restarts_at)
            norms = self._norms_if_due(batches, counted)
            result = self.updater.update(batches, counted, state.step, rate)
            state.step += 1
            state.cursor, state.epoch = batches.after, batches.epoch_done
            state.samples_seen += batches.examples
            state.tokens_seen += counted.tokens
            self._note(result, self._heed(self.parts.objective.remarks()))
            last = bool(state.stopped) or state.step == self.total_steps
            if last or norms or state.step == 1 or state.step % self.settings.log.every == 0:
                self._log({"learning_rate": rate} | norms, clock.speed(state))
                clock = Clock(state)
            if self._settle():
                clock = Clock(state)  # speed is that of training alone

    def _settle(self) -> bool:
        """Evaluate and save if the present step asks for it and it has not been done; whether anything was saved."""
        improved = self._evaluate_if_due()
        return self._save_if_due(improved)

    def _heed(self, said: Remarks) -> Mapping[str, torch.Tensor]:
        """Tell what the objective says, end where it says so; its figures, for the log."""
        for event in said.events:
            self.emit(event)
        self.state.stopped = self.state.stopped or said.stop
        device = self.accelerator.device
        return {name: torch.tensor(value, dtype=torch.float64, device=device) for name, value in said.figures.items()}

    def _asked(self) -> bool:
        return bool(self.stop.why)

    def _leave(self) -> StoppedError:
        """Save where the run stands, between two steps; the error that ends the run."""
        step, why = self.state.step, self.stop.why or "another process was asked to stop"
        self.emit(Notice(f"asked to stop ({why}): saving after step {step}"))
        if step > self._saved[0]:
            self._save(best=False)
        self._finish_save()
        saved = f"checkpoint-{step} is saved" if step else "nothing was trained yet"
        return StoppedError(f"stopped after step {step:,} ({why}); {saved}, and the same command continues")

    def average(self) -> None:
        """Average the newest checkpoints if asked to; the better of that and of the best one becomes the result."""
        asked, store, main = self.settings.checkpoint.average, self.parts.store, self.accelerator.is_main_process
        if self.updater.any_process(self._asked()):  # all are here: the last checkpoint is in place
            raise self._leave()
        of = self._to_average(asked) if asked else []
        if len(of) < 2:
            if main:
                store.drop_average()
            self.averaged = Average(asked) if asked else None
            if asked:
                self._tell_without_gain()
            self._progress()
            return
        folders = [store.run_dir / name for name in of]
        halt = self._asked if self.accelerator.num_processes == 1 else lambda: False
        if main:
            try:
                store.save_average(partial(write_average, folders, halt), {"average_of": of} | dict(self.parts.about))
            except HaltedError:
                raise self._leave() from None
        self.accelerator.wait_for_everyone()
        fill(self.parts.model, store.run_dir / AVERAGE / WEIGHTS_FILE)
        self.averaged = self._measure_average(Average(self.settings.checkpoint.average or 0, of))
        self._tell_without_gain()
        self._progress()

    def _to_average(self, asked: int) -> list[str]:
        """Names of the checkpoints to average, the same in every process."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            names = on_schedule(self.parts.store, self.settings, self.state.step, ended=True)
            found[0], skipped = newest_good(self.parts.store, names, asked)
            for line in skipped:
                self.emit(Notice(line, "warning"))
        of: list[str] = broadcast_object_list(found)[0]
        if len(of) < 2:
            self.emit(Notice(f"checkpoint.average: {asked}, but the run keeps no two checkpoints: nothing is averaged"))
        elif len(of) < asked:
            self.emit(Notice(f"checkpoint.average: {asked}, but the run keeps {len(of)} checkpoints: averaging those"))
        return of

    def _measure_average(self, average: Average) -> Average:
        """Measure the model, which holds the average, as training measures; whether it is better than the best."""
        state, metric = self.state, self.settings.evaluate.metric
        splits = self.parts.data.validation
        measured = [self._measure(split, final=False, step=state.step, of=AVERAGE) for split in splits]
        for event in measured:
            self.emit(event)
        assert state.best
        value, sign = measured[0].figures[metric], 1.0 if HIGHER_IS_BETTER[metric] else -1.0
        chosen = sign * value > sign * state.best.value
        first, last = (average.of[end].removeprefix("checkpoint-") for end in (0, -1))
        result = "the average" if chosen else f"checkpoint-{state.best.step}"
        self.emit(
            Notice(
                f"averaged checkpoints {first} … {last} ({len(average.of)}): {measured[0].split} {metric} {value:.4f} "
                f"(best single {state.best.value:.4f}): {result} is the result"
            )
        )
        validation = {event.split: dict(event.figures) for event in measured}
        return replace(average, value=value, validation=validation, chosen=chosen)

    def measure_best(self) -> None:
        """Load the result's weights, the best checkpoint's or the average's, and measure the test splits with them."""
        if not self.parts.data.test:
            return
        self.accelerator.wait_for_everyone()  # the main process may still be putting the last checkpoint in place
        best = self.state.best.step if self.state.best else self.state.step
        chosen = self.averaged is not None and self.averaged.chosen
        folder = self.parts.store.run_dir / (AVERAGE if chosen else f"checkpoint-{best}")
        if damage := verify(folder):
            other = f"measure {self.state.checkpoint} with `forge.py evaluate --checkpoint last`"
            raise CheckpointError(f"{folder}  was the best and is damaged: {damage}; {other}")
        fill(self.parts.model, folder / WEIGHTS_FILE)
        for split in self.parts.data.test:
            step, of = (self.state.step, AVERAGE) if chosen else (best, "")
            self.emit(self._measure(split, final=True, step=step, of=of))

    def _note(self, result: StepResult, figures: Mapping[str, torch.Tensor]) -> None:
        """Put a step into the window, with what its objective says of it.

        A norm is looked at one step late, when the device has long finished it.
        """
        self._refuse_divergence()
        state = self.state
        if not result.skipped:
            state.skipped_in_row = 0
            self._last_norm = (state.step, result.grad_norm)
            self.window.add(result.shares, {"grad_norm": result.grad_norm, **figures})
            return
        if self.accelerator.scaler is not None:  # fp16 tries scales until one fits
            return
        state.skipped_in_row += 1
        self.emit(Notice(f"step {state.step}: the gradient is not finite; its update was left out", "warning"))
        if state.skipped_in_row >= MOST_SKIPPED:
            raise DivergedError(
                f"step {state.step}: the gradient was not finite {MOST_SKIPPED} steps in a row; nothing after "
                f"{state.checkpoint or 'the start'} was saved; {REMEDY}"
            )

    def _refuse_divergence(self) -> None:
        if self._last_norm is None:
            return
        step, norm = self._last_norm
        if not math.isfinite(float(norm)):
            raise DivergedError(
                f"step {step}: the gradient is not finite (norm {float(norm)}); nothing after the last checkpoint was "
                f"saved; {REMEDY}"
            )
        self._last_norm = None

    def _finite(self, figures: dict[str, float]) -> dict[str, float]:
        """The same. A loss can leave the finite numbers while its gradient is zero."""
        wrong = [name for name, value in figures.items() if not math.isfinite(value)]
        if wrong:
            raise DivergedError(f"step {self.state.step}: {wrong[0]} is not finite since the last log line; {REMEDY}")
        return figures

    def _norms_if_due(self, batches: StepBatches, counted: Counted) -> dict[str, float]:
        """Gradient norms of the objective's terms, weighted, before the steps at which they are wanted."""
        objective, step = self.parts.objective, self.state.step + 1
        every = None if is_sharding(self.accelerator) else objective.norms_every  # a part of a gradient has no norm
        balance = objective.wants_balance and step > objective.restarts_at
        if not (balance or (every and (step == 1 or step % every == 0))):
            return {}
        norms = self.updater.gradient_norms(batches, counted, self.state.step)
        if balance:
            self.emit(Notice(objective.balance(norms)))
        weights = objective.weights()
        return {f"grad_norm.{name}": weights[name] * norm for name, norm in norms.items()}

    def _log(self, figures: Mapping[str, float], speed: Mapping[str, float]) -> None:
        state = self.state
        self._refuse_divergence()
        if not self.window.steps:  # every step since the last line was left out
            return
        state.last = self._finite(self.window.take_means()) | dict(figures)
        self.emit(StepLogged(state.step, state.epoch, state.last, state.samples_seen, state.tokens_seen, speed))
        self._progress()

    def _evaluate_if_due(self) -> bool:
        """Measure every validation split; True when the deciding figure is the best so far.

        Asked to stop, it leaves the measuring to the next life, which finds it due and not done.
        """
        every, state = self.settings.evaluate.every, self.state
        last = bool(state.stopped) or state.step == self.total_steps
        due = last or bool(every and state.step % every == 0)
        if not due or state.evaluated == state.step:
            return False
        self._finish_save()
        measured = [self._measure(split, final=False, step=state.step) for split in self.parts.data.validation]
        state.evaluated = state.step
        for event in measured:
            self.emit(event)
        metric = self.settings.evaluate.metric
        value = measured[0].figures[metric]
        sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
        improved = state.best is None or sign * value > sign * state.best.value
        state.validation = {event.split: dict(event.figures) for event in measured}
        state.best = Best(value, state.step, state.validation) if improved else state.best
        state.stale_evaluations = 0 if improved else state.stale_evaluations + 1
        said = self.parts.objective.measured(metric, value)
        self._heed(replace(said, stop="") if last else said)
        patience = self.settings.evaluate.patience
        if patience and state.stale_evaluations >= patience and not last:
            state.stopped = f"no better {metric} in {patience} evaluations"
        return improved

    def _measure_start(self) -> None:
        """Measure the model before its first step, for an objective that compares with it."""
        if self.state.step or not self.parts.objective.wants_baseline:
            return
        measured = [self._measure(split, final=False, step=0) for split in self.parts.data.validation]
        for event in measured:
            self.emit(event)
        metric = self.settings.evaluate.metric
        self.state.start = measured[0].figures[metric]
        self._heed(self.parts.objective.measured(metric, self.state.start))

    def _measure(self, split: str, final: bool, step: int, of: str = "") -> Evaluated:
        data = (self.parts.data.test if final else self.parts.data.validation)[split]
        started, size = time.monotonic(), self.settings.evaluate.batch_size
        task = self.parts.task.thorough() if final else self.parts.task
        if self.updater.any_process(self._asked()):
            raise self._leave()
        try:
            outputs = infer(self.accelerator, task, self.engine.model, data, size, self._asked)
        except HaltedError:
            raise self._leave() from None
        scores = task.score(outputs, data)
        if not all(math.isfinite(value) for value in scores.figures.values()):
            raise DivergedError(f"step {step}: the model's answers on {split} are not finite; nothing of it was saved")
        seconds = time.monotonic() - started
        return Evaluated(step, split, scores.figures, scores.detail, seconds, final, of, scores.rows)

    def _save_if_due(self, improved: bool) -> bool:
        every, state = self.settings.checkpoint.every or self.settings.evaluate.every, self.state
        last = bool(state.stopped) or state.step == self.total_steps
        due = last or bool(every and state.step % every == 0)
        # What stands there may have been saved before the evaluation of its step.
        if improved or (due and self._saved != (state.step, state.evaluated)):
            self._save(improved)
            return True
        return False

    def _save(self, best: bool) -> None:
        self._refuse_divergence()
        state = self.state
        state.window = self._finite(self.window.sums())
        self._finish_save()
        self.saver.begin(state, best)
        self._saved = state.step, state.evaluated

    def _finish_save(self, wait: bool = True) -> None:
        """Report the save that was begun last, once it is on the disk."""
        if saved := self.saver.finish(self.state, wait):
            self.emit(saved)
            self._progress()

    def _refuse_balance(self) -> None:
        if self.parts.objective.wants_balance:
            raise UserError(
                "distill.balance: gradient_norm needs whole gradients, which FSDP takes apart; take none, or launch "
                "with configs/accelerate/ddp.yaml"
            )

    def _without_gain(self) -> str:
        averaged = self.averaged.value if self.averaged else None
        return self.state.without_gain(self.settings.evaluate.metric, averaged)

    def _tell_without_gain(self) -> None:
        if warning := self._without_gain():
            self.emit(Notice(warning, "warning"))

    def _progress(self) -> None:
        state, best = self.state, self.state.best
        progress = {
            "step": state.step,
            "total_steps": self.total_steps,
            "epoch": state.epoch,
            "samples_seen": state.samples_seen,
            "tokens_seen": state.tokens_seen,
            "last": dict(state.last),
            "validation": dict(state.validation),
            "best": {"metric": self.settings.evaluate.metric} | asdict(best) if best else None,
            "checkpoint": self.saver.newest,
            "start": state.start,
            "remark": self._without_gain(),
        }
        self.emit(Progressed(progress | ({"average": asdict(self.averaged)} if self.averaged else {})))


def _discard(_: Event) -> None:
    """Only the main process reports."""
