"""DeepSpeed's ZeRO-1 and ZeRO-2: whole weights in each process, the optimizer's state split over them.

ZeRO lays the parameters of a group end to end, and each process updates one stretch of that. A checkpoint shows nothing
of it: what is saved is whole, by the parameters' names, as one process would save it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.hooks import RemovableHandle

from forge.core.errors import UserError
from forge.objectives.base import LossReport, Objective
from forge.tasks.base import Batch
from forge.train.contents import SLOTS, Named, OptimizerState, read_optimizer
from forge.train.engine import Engine

USE, STAGE = "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_ZERO_STAGE"
OFFLOAD = ("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE")
CONFIG_FILE = "ACCELERATE_DEEPSPEED_CONFIG_FILE"
BUCKET = 50_000_000  # numbers whose gradients are added up in one go: 200 MB
OTHERWISE = "take configs/accelerate/fsdp2.yaml"


def _asked() -> bool:
    return os.environ.get(USE, "false").lower() == "true"


def zero_stage(accelerator: Accelerator) -> int:
    """1 or 2 under DeepSpeed, otherwise 0. One process has nothing to split."""
    return int(os.environ.get(STAGE, "2")) if _asked() and accelerator.num_processes > 1 else 0


def refuse_zero(precision: str) -> None:
    """Raise UserError where DeepSpeed was asked for what it cannot do here."""
    if not _asked():
        return
    if (stage := os.environ.get(STAGE, "2")) not in {"1", "2"}:
        raise UserError(f"zero_stage: {stage} is none of 1 and 2; to split weights as well, {OTHERWISE}")
    if any(os.environ.get(name, "none") != "none" for name in OFFLOAD):
        raise UserError(f"DeepSpeed's offloading is not done by Forge; to need less memory on a GPU, {OTHERWISE}")
    if os.environ.get(CONFIG_FILE, "none") != "none":
        raise UserError("deepspeed_config_file: Forge tells DeepSpeed itself what it needs; name zero_stage alone")
    if precision == "fp16":
        raise UserError("train.precision: fp16 does not go together with DeepSpeed; take bf16")
    if find_spec("deepspeed") is None:
        raise UserError(f"DeepSpeed is not installed: pip install 'forge-distill[deepspeed]', or {OTHERWISE}")


@contextmanager
def unseen() -> Iterator[None]:
    """Accelerate without DeepSpeed: processes and autocast are then those of DDP, and only the optimizer is ZeRO's."""
    asked = os.environ.pop(USE, None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[USE] = asked


class _Loss(torch.nn.Module):
    """What is trained, with its loss as output.

    DeepSpeed prepares for a backward pass by a hook on the output, and turns autocast off around the module. So the
    loss, which may be of hidden states alone, has to be the output, and autocast to begin inside.
    """

    def __init__(self, trained: torch.nn.Module, objective: Objective, accelerator: Accelerator) -> None:
        super().__init__()
        self.trained, self._objective, self._accelerator = trained, objective, accelerator

    def forward(self, batch: Batch, totals: Mapping[str, float]) -> tuple[torch.Tensor, LossReport]:
        """The number to go backward from, and what it was made of."""
        with self._accelerator.autocast():
            report = self._objective.compute(self.trained, batch, totals)
        return report.loss * self._accelerator.num_processes, report  # the factor: gradients are averaged


class ZeroEngine(Engine):
    """Forward, backward, clip and update through DeepSpeed."""

    def learn(self, batch: Batch, totals: Mapping[str, float], last: bool) -> LossReport:
        """Forward and backward of a micro-batch; gradients are added up over processes as they come."""
        self._deepspeed.set_gradient_accumulation_boundary(last)
        loss, report = self._deepspeed(batch, totals)
        self._deepspeed.backward(loss)
        return report  # type: ignore[no-any-return]

    def step(self) -> tuple[torch.Tensor, bool]:
        """Clip, update, forget. Where the norm is not finite, DeepSpeed leaves the update out and calls it infinite."""
        self._check_reached()
        self._deepspeed.step()
        norm = torch.as_tensor(self._deepspeed.get_global_grad_norm(), device=self.accelerator.device)
        return norm, self.skip_nonfinite and not self._deepspeed.was_step_applied()

    def optimizer_state(self, parameters: Named, keep: bool) -> OptimizerState:
        """What to save, put together parameter by parameter; all processes lend their stretches."""
        tensors: dict[str, torch.Tensor] = {}
        idle = []
        for name, parameter in parameters.items():
            state = self.optimizer.state.get(self._stretch.get(parameter, parameter), {})
            if parameter.requires_grad and not state:
                idle.append(name)
            for slot, value in state.items():
                full = value.clone() if slot == "step" else _put_together(parameter, value)
                if keep:
                    tensors[f"{slot}:{name}"] = full.cpu()
        return OptimizerState(tensors, sorted(idle))

    def load_optimizer(self, parameters: Named, folder: Path) -> None:
        """Put back what was saved, each process its stretches. Raises CheckpointError for what does not fit."""
        self._deepspeed.optimizer.refresh_fp32_params()  # of weights that were loaded after it was made
        tensors = read_optimizer(parameters, folder)
        for stretch in set(self._stretch.values()):
            names = [name for name, parameter in parameters.items() if self._stretch.get(parameter) is stretch]
            counts = {float(tensors[f"step:{name}"]) if f"step:{name}" in tensors else 0.0 for name in names}
            if len(counts) > 1:
                raise UserError(
                    f"{folder}  holds parameters that have taken different numbers of steps, and ZeRO keeps one for "
                    f"many; {OTHERWISE}"
                )
            if (count := counts.pop()) == 0.0:
                continue
            state = self.optimizer.state[stretch]
            state["step"] = torch.tensor(count, device=stretch.device)
            for slot in SLOTS[1:]:
                state[slot] = torch.zeros_like(stretch)
                for name in names:
                    _take_part(parameters[name], tensors[f"{slot}:{name}"], state[slot])

    def _prepare(self, trained: torch.nn.Module) -> torch.nn.Module:
        import deepspeed
        import deepspeed.ops

        if self.accelerator.device.type == "cpu":
            # Else it compiles a kernel for shared memory, which takes half a minute and which nothing here calls.
            deepspeed.ops.__compatible_ops__ = {}
        groups = [list(group["params"]) for group in self.optimizer.param_groups]
        total = sum(parameter.numel() for group in groups for parameter in group)
        self._deepspeed, *_ = deepspeed.initialize(
            model=_Loss(trained, self.objective, self.accelerator),
            optimizer=self.optimizer,
            config={
                "train_micro_batch_size_per_gpu": 1,  # batches are cut by Forge
                "gradient_accumulation_steps": 1,  # and so are steps: `learn` says which micro-batch is the last
                "gradient_clipping": self.max_grad_norm or 0.0,
                "zero_optimization": {
                    "stage": zero_stage(self.accelerator),
                    "reduce_bucket_size": min(total, BUCKET),
                },
                "zero_allow_untested_optimizer": True,
            },
        )
        # The optimizer now holds, for each group, this process's stretch of it.
        self._stretch: dict[torch.nn.Parameter, torch.Tensor] = {
            parameter: group["params"][0]
            for members, group in zip(groups, self.optimizer.param_groups, strict=True)
            for parameter in members
        }
        self._unreached = set(self._stretch)
        self._watches = [_call_when_reached(parameter, self._unreached.discard) for parameter in self._stretch]
        return trained

    def _check_reached(self) -> None:
        """At the first step: AdamW leaves a parameter alone that has no gradient, but ZeRO would decay it."""
        if not self._watches:
            return
        for watch in self._watches:
            watch.remove()
        self._watches.clear()
        if self._unreached:
            names = {parameter: name for name, parameter in self.model.named_parameters()}
            first = min(names[parameter] for parameter in self._unreached)
            raise UserError(f"no loss reaches {first}, and DeepSpeed would decay it all the same; {OTHERWISE}")


def _call_when_reached(parameter: torch.nn.Parameter, call: Callable[[torch.nn.Parameter], None]) -> RemovableHandle:
    return parameter.register_post_accumulate_grad_hook(call)  # type: ignore[no-any-return,no-untyped-call]


def _put_together(parameter: torch.Tensor, stretch: torch.Tensor) -> torch.Tensor:
    """What the processes' stretches hold of a parameter. All must ask."""
    full = torch.zeros(parameter.numel(), dtype=stretch.dtype, device=stretch.device)
    place: Any = parameter._hp_mapping  # type: ignore[attr-defined]  # where they overlap, if they do
    if place is not None:
        _cut(full, place.lp_fragment_address).copy_(_cut(stretch, place.hp_fragment_address))
    # Bits, of which all processes but one have none: adding the numbers themselves would turn -0 into 0.
    torch.distributed.all_reduce(full.view(torch.int32))
    return full.view_as(parameter)


def _take_part(parameter: torch.Tensor, full: torch.Tensor, stretch: torch.Tensor) -> None:
    """The inverse, for this process."""
    place: Any = parameter._hp_mapping  # type: ignore[attr-defined]
    if place is not None:
        _cut(stretch, place.hp_fragment_address).copy_(_cut(full.flatten(), place.lp_fragment_address))


def _cut(flat: torch.Tensor, address: Any) -> torch.Tensor:
    return flat[address.start : address.start + address.numel]
