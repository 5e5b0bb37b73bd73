"""Saving a run, and restoring it. Training goes on while a checkpoint gets to the disk."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from forge.core.events import CheckpointSaved
from forge.core.io import read_json, to_json
from forge.core.manifest import STATE_FILE
from forge.models.lora import beside, merged, scales
from forge.train.averaging import on_schedule
from forge.train.contents import (
    OptimizerState,
    copied,
    load_adapters,
    load_extra,
    load_memory,
    save_adapters,
    save_extra,
    save_memory,
    save_optimizer,
)
from forge.train.engine import Engine
from forge.train.parts import Parts
from forge.train.shards import gathered
from forge.train.state import TrainingState, restoring

EXTRA = "extra"  # begins the names of what an objective trains along with the model


@dataclass(frozen=True)
class _Content:
    weights: dict[str, torch.Tensor]
    adapters: dict[str, torch.Tensor]
    optimizer: OptimizerState
    extra: dict[str, torch.Tensor]
    memory: dict[str, torch.Tensor]
    record: str  # of everything that is no tensor


@dataclass(frozen=True)
class _Begun:
    step: int
    name: str
    best: bool
    at: float  # on the monotonic clock


class Saver:
    """Writes a run's checkpoints one after the other. All processes call it together."""

    def __init__(self, parts: Parts, engine: Engine) -> None:
        self.parts, self.engine, self.extra = parts, engine, parts.objective.extra
        self.newest: str | None = None  # of those that are on the disk
        self._begun: _Begun | None = None

    def restore(self, folder: Path) -> TrainingState:
        """Load what `begin` saved, but for the model's weights, which are loaded already. Raises CheckpointError."""
        with restoring(folder / STATE_FILE):
            record = read_json(folder / STATE_FILE)
            state = TrainingState.from_json(record["state"])
            self.parts.objective.load_state(record.get("objective", {}))
            self.parts.objective.load_tensors(load_memory(folder))
            if record["scaler"] and self.parts.accelerator.scaler:
                self.parts.accelerator.scaler.load_state_dict(record["scaler"])
        if scales(self.parts.model):
            load_adapters(self.parts.model, folder)
        if self.extra:
            load_extra(self.extra, folder)
        self.engine.load_optimizer(self._named(), folder)
        self.newest = state.checkpoint
        return state

    def begin(self, state: TrainingState, best: bool) -> None:
        """Write a checkpoint of this state; it is on the disk once `finish` says so."""
        began = time.monotonic()
        state.checkpoint = f"checkpoint-{state.step}"
        content = self._content(state)
        if self.parts.accelerator.is_main_process:
            self.parts.store.begin(state.step, partial(self._write, content), dict(self.parts.about))
        self.parts.accelerator.wait_for_everyone()
        self._begun = _Begun(state.step, state.checkpoint, best, began)

    def finish(self, state: TrainingState, wait: bool = True) -> CheckpointSaved | None:
        """What was begun last, when it is on the disk, and once only. Raises StorageError where it never gets there."""
        begun, store = self._begun, self.parts.store
        if begun is None or not (wait or store.published):
            return None
        self._begun = None
        store.wait()
        self.prune(state, begun.step)
        self.newest = begun.name
        return CheckpointSaved(begun.step, begun.name, begun.best, time.monotonic() - begun.at)

    def prune(self, state: TrainingState, step: int) -> None:
        """Delete checkpoints up to this step that are neither among the newest, nor the best, nor to be averaged."""
        if self.parts.accelerator.is_main_process:
            store, wanted = self.parts.store, self.parts.settings.checkpoint.average
            best = {f"checkpoint-{state.best.step}"} if state.best else set()
            averaged = on_schedule(store, self.parts.settings, step, ended=False)[-wanted:] if wanted else []
            store.prune(step, best.union(averaged))

    def _content(self, state: TrainingState) -> _Content:
        """A checkpoint's content, whole, in the main process; the others lend their parts of sharded tensors."""
        accelerator = self.parts.accelerator
        keep, scaler = accelerator.is_main_process, accelerator.scaler
        record = {
            "state": state.as_json(),
            "objective": self.parts.objective.state(),
            "scaler": scaler.state_dict() if scaler else None,
        }
        weights, adapted = gathered(self.parts.model.state_dict(), keep), scales(self.parts.model) if keep else {}
        return _Content(
            merged(weights, adapted) if adapted else weights,
            beside(weights, adapted),
            self.engine.optimizer_state(self._named(), keep),
            gathered(self.extra.state_dict(), keep) if self.extra else {},
            copied(self.parts.objective.tensors()) if keep else {},
            to_json(record),
        )

    def _write(self, content: _Content, folder: Path) -> None:
        self.parts.model.save_pretrained(folder, state_dict=content.weights, max_shard_size="1TB")
        for name, text in self.parts.tokenizer_files.items():
            (folder / name).write_bytes(text)
        save_optimizer(content.optimizer, folder)
        if content.adapters:
            save_adapters(content.adapters, folder)
        if content.extra:
            save_extra(content.extra, folder)
        if content.memory:
            save_memory(content.memory, folder)
        (folder / STATE_FILE).write_text(content.record, encoding="utf-8")

    def _named(self) -> dict[str, torch.nn.Parameter]:
        """Everything that is trained, by name."""
        mine = {f"{EXTRA}.{name}": value for name, value in self.extra.named_parameters()} if self.extra else {}
        return dict(self.parts.model.named_parameters()) | mine
