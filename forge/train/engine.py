"""What learning from a batch takes: forward, backward, clip, update, and what the optimizer remembers.

Accelerate does it here: one process, DDP, FSDP2. `zero.py` does the same with DeepSpeed.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator

from forge.config.schema import Train
from forge.objectives.base import LossReport, Objective
from forge.tasks.base import Batch
from forge.train.contents import Named, OptimizerState, load_optimizer, optimizer_state
from forge.train.shards import whole


class Engine:
    """A model and its optimizer, made ready for the processes of this run."""

    def __init__(
        self,
        accelerator: Accelerator,
        trained: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        objective: Objective,
        settings: Train,
    ) -> None:
        self.accelerator, self.optimizer, self.objective = accelerator, optimizer, objective
        self.max_grad_norm, self.skip_nonfinite = settings.max_grad_norm, settings.nonfinite == "skip"
        self.model = self._prepare(trained)

    def learn(self, batch: Batch, totals: Mapping[str, float], last: bool) -> LossReport:
        """Forward and backward of a micro-batch, `last` of its step or not; gradients add up until `step`."""
        with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                report = self.objective.compute(self.model, batch, totals)
            # DDP and FSDP average gradients over processes, but shares must be added: hence the factor.
            loss, scaler = report.loss * self.accelerator.num_processes, self.accelerator.scaler
            (scaler.scale(loss) if scaler else loss).backward()
        return report

    def step(self) -> tuple[torch.Tensor, bool]:
        """Clip, update, forget the gradients: their norm before clipping, and whether the update was left out."""
        norm = whole(self.accelerator.clip_grad_norm_(self._parameters, self.max_grad_norm or math.inf))
        skipped = self._update(norm)
        self._wrapped.zero_grad(set_to_none=True)
        return norm, skipped

    def optimizer_state(self, parameters: Named, keep: bool) -> OptimizerState:
        """What to save of the optimizer. Every process must ask; `keep` is whether it gets the result."""
        return optimizer_state(self.optimizer, parameters, keep)

    def load_optimizer(self, parameters: Named, folder: Path) -> None:
        """Put back what was saved, once all weights are in place. Raises CheckpointError for what does not fit."""
        load_optimizer(self.optimizer, parameters, folder)

    def _prepare(self, trained: torch.nn.Module) -> torch.nn.Module:
        model, self._wrapped = self.accelerator.prepare(trained, self.optimizer)
        self._parameters = list(model.parameters())
        return model  # type: ignore[no-any-return]

    def _update(self, norm: torch.Tensor) -> bool:
        """Update the weights; True where it was left out. Looking at the norm makes the host wait for the device."""
        if self.accelerator.scaler is not None:
            self._wrapped.step()
            return bool(self._wrapped.step_was_skipped)
        if self.skip_nonfinite and not math.isfinite(float(norm)):
            return True
        self.optimizer.step()  # the wrapper looks for optional packages at each call: 0.4 ms
        return False
