"""One optimizer update: micro-batches forward and backward, clip, update.

Nothing random carries over from step to step: every draw is seeded by (seed, step, micro-batch). That makes a
resumed run equal to an uninterrupted one, and two processes equal to one.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from forge.core.hashing import derive_seed
from forge.objectives.base import Objective
from forge.tasks.base import Batch
from forge.train.stream import StepBatches


@dataclass(frozen=True)
class StepResult:
    """What an update did. Tensors stay on the device."""

    shares: Mapping[str, torch.Tensor]  # this process's share of the loss and of its named parts
    grad_norm: torch.Tensor  # before clipping, the same on every process
    skipped: bool  # fp16 leaves out a step whose scaled gradients overflow
    tokens: int  # of the whole step, over all processes, without padding


def seed_draws(device: torch.device, seed: int) -> None:
    """Seed the generators that a forward pass on `device` draws from.

    torch.manual_seed would also queue a seed for a GPU that is not in use, with a stack trace: 1 ms a call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@dataclass(frozen=True)
class Updater:
    """The machinery of an update, prepared by Accelerate."""

    accelerator: Accelerator
    model: torch.nn.Module
    parameters: list[torch.nn.Parameter]
    optimizer: AcceleratedOptimizer
    objective: Objective
    seed: int
    max_grad_norm: float | None

    def update(self, batches: StepBatches, step: int, learning_rate: float) -> StepResult:
        """Run update number `step` (from 0) with the given learning rate."""
        totals, tokens = self._count(batches)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        shares: dict[str, torch.Tensor] = {}
        for turn, (number, batch) in enumerate(batches.micro_batches):
            last = turn + 1 == len(batches.micro_batches)
            seed_draws(self.accelerator.device, derive_seed(self.seed, "dropout", step, number))
            for name, value in self._forward_backward(batch, totals, sync=last).items():
                shares[name] = shares[name] + value if name in shares else value
        norm = self.accelerator.clip_grad_norm_(self.parameters, self.max_grad_norm or math.inf)
        skipped = self._step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepResult(shares, norm, skipped, tokens)

    def _step(self) -> bool:
        """Update the weights; True where fp16's scaler left it out."""
        if self.accelerator.scaler is None:
            self.optimizer.optimizer.step()  # the wrapper looks for optional packages at each call: 0.4 ms
            return False
        self.optimizer.step()
        return bool(self.optimizer.step_was_skipped)

    def _forward_backward(self, batch: Batch, totals: Mapping[str, float], sync: bool) -> dict[str, torch.Tensor]:
        device, processes = self.accelerator.device, self.accelerator.num_processes
        on_device = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
        with contextlib.nullcontext() if sync else self.accelerator.no_sync(self.model):
            with self.accelerator.autocast():
                report = self.objective.compute(self.model, on_device, totals)
            # DDP averages gradients over processes, but shares must be added: hence the factor.
            loss, scaler = report.loss * processes, self.accelerator.scaler
            (scaler.scale(loss) if scaler else loss).backward()
        return {"loss": report.loss.detach().double()} | {
            name: value.detach().double() for name, value in report.parts.items()
        }

    def _count(self, batches: StepBatches) -> tuple[dict[str, float], int]:
        """Normalisers and tokens of the whole step, over all micro-batches and processes."""
        totals: dict[str, float] = {}
        tokens = 0.0
        for _, batch in batches.micro_batches:
            counts = self.objective.counts(batch)
            for name, count in counts.items():
                totals[name] = totals.get(name, 0.0) + count
            if any(counts.values()):  # an empty micro-batch holds a filler row that counts for nothing
                tokens += float(batch["attention_mask"].sum())
        if self.accelerator.num_processes > 1:
            mine = torch.tensor([*totals.values(), tokens], dtype=torch.float64, device=self.accelerator.device)
            *summed, tokens = self.accelerator.reduce(mine, "sum").tolist()
            totals = dict(zip(totals, summed, strict=True))
        return totals, int(tokens)
