"""One optimizer update: micro-batches forward and backward, clip, update.

Nothing random carries over from step to step: every draw is seeded by (seed, step, micro-batch). That makes a
resumed run equal to an uninterrupted one, and two processes equal to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator

from forge.core.hashing import derive_seed
from forge.objectives.base import Objective
from forge.tasks.base import IGNORED_LABEL, Batch
from forge.train.engine import Engine
from forge.train.extra import inner_model
from forge.train.stream import StepBatches


@dataclass(frozen=True)
class Counted:
    """What has to be known of a whole step, over all micro-batches and processes, before its first forward pass."""

    totals: Mapping[str, float]  # normalisers
    tokens: int  # without padding
    stop: bool  # whether any process was asked to stop: then all leave together, before the step


@dataclass(frozen=True)
class StepResult:
    """What an update did. Tensors stay on the device."""

    shares: Mapping[str, torch.Tensor]  # this process's share of the loss and of its named parts
    grad_norm: torch.Tensor  # before clipping, the same on every process
    skipped: bool  # left out: fp16's scaled gradients overflow, or they are not finite and `skip_nonfinite`


def seed_draws(device: torch.device, seed: int) -> None:
    """Seed the generators that a forward pass on `device` draws from.

    torch.manual_seed would also queue a seed for a GPU that is not in use, with a stack trace: 1 ms a call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@dataclass(frozen=True)
class Updater:
    """Takes the steps of a run, with the machinery of its engine."""

    engine: Engine
    seed: int

    @property
    def accelerator(self) -> Accelerator:
        """Processes, device and precision."""
        return self.engine.accelerator

    @property
    def objective(self) -> Objective:
        """Where the loss comes from."""
        return self.engine.objective

    def gather(self, batches: StepBatches, step: int) -> StepBatches:
        """What update number `step` learns from, in place of what was collated."""
        bare = inner_model(self.accelerator.unwrap_model(self.engine.model))
        with self.accelerator.autocast():
            return replace(batches, micro_batches=self.objective.gather(bare, batches.micro_batches, step))

    def update(self, batches: StepBatches, counted: Counted, step: int, learning_rate: float) -> StepResult:
        """Run update number `step` (from 0) with the given learning rate."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        shares: dict[str, torch.Tensor] = {}
        for turn, (number, batch) in enumerate(batches.micro_batches):
            last = turn + 1 == len(batches.micro_batches)
            seed_draws(self.accelerator.device, derive_seed(self.seed, "dropout", step, number))
            for name, value in self._learn(batch, counted.totals, last).items():
                shares[name] = shares[name] + value if name in shares else value
        norm, skipped = self.engine.step()
        return StepResult(shares, norm, skipped)

    def gradient_norms(self, batches: StepBatches, counted: Counted, step: int) -> dict[str, float]:
        """Norm of each unweighted term's gradient in the model's weights, over the whole step, before it is taken.

        The forward passes are those of `update`, dropout included; the model and its gradients stay as they are.
        """
        bare = self.accelerator.unwrap_model(self.engine.model)
        weights = [weight for weight in inner_model(bare).parameters() if weight.requires_grad]
        sums: dict[str, list[torch.Tensor]] = {}
        for number, batch in batches.micro_batches:
            seed_draws(self.accelerator.device, derive_seed(self.seed, "dropout", step, number))
            # Not compiled: a compiled backward gives its buffers away, and here each term takes one more.
            with torch.compiler.set_stance("force_eager"), self.accelerator.autocast():
                terms = self.objective.unweighted(bare, self._on_device(batch), counted.totals)
            for name, term in terms.items():
                found = torch.autograd.grad(term, weights, retain_graph=True, allow_unused=True)
                full = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
                sums[name] = [a + b for a, b in zip(sums[name], full, strict=True)] if name in sums else full
        return {name: self._norm(gradients) for name, gradients in sums.items()}

    def _norm(self, gradients: list[torch.Tensor]) -> float:
        if self.accelerator.num_processes > 1:
            gradients = [self.accelerator.reduce(gradient, "sum") for gradient in gradients]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _on_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}

    def _learn(self, batch: Batch, totals: Mapping[str, float], last: bool) -> dict[str, torch.Tensor]:
        report = self.engine.learn(self._on_device(batch), totals, last)
        return {"loss": report.loss.detach().double()} | {
            name: value.detach().double() for name, value in report.parts.items()
        }

    def count(self, batches: StepBatches, stop: bool = False) -> Counted:
        """Add up over micro-batches and processes; `stop` is whether this process was asked to stop."""
        totals: dict[str, float] = {}
        tokens = 0.0
        for _, batch in batches.micro_batches:
            counts = self.objective.counts(batch)
            for name, count in counts.items():
                totals[name] = totals.get(name, 0.0) + count
            if any(counts.values()):  # an empty micro-batch holds a filler row that counts for nothing
                tokens += float(batch["attention_mask"].sum())
                if "decoder_input_ids" in batch:
                    tokens += float((batch["labels"] != IGNORED_LABEL).sum())
        if self.accelerator.num_processes > 1:
            values = [*totals.values(), tokens, float(stop)]
            mine = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
            *summed, tokens, asked = self.accelerator.reduce(mine, "sum").tolist()
            totals, stop = dict(zip(totals, summed, strict=True)), asked > 0
        return Counted(totals, int(tokens), stop)

    def any_process(self, true_here: bool) -> bool:
        """Whether it is true on any process; all must ask together."""
        if self.accelerator.num_processes == 1:
            return true_here
        mine = torch.tensor(float(true_here), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum") > 0)
