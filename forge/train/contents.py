"""The tensors of a checkpoint: weights, the optimizer's state, what an objective trains along with the model."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from forge.core.io import from_json
from forge.core.manifest import ADAPTER_FILE, EXTRA_FILE, MEMORY_FILE, OPTIMIZER_FILE
from forge.models.lora import beside, scales
from forge.train.shards import fill, gathered, laid_out
from forge.train.state import restoring

SLOTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter that has had a gradient
IDLE = "without_state"  # in the optimizer file's metadata: parameters that never had one
Named = Mapping[str, torch.nn.Parameter]


@dataclass(frozen=True)
class OptimizerState:
    """The tensors of an optimizer by `<slot>:<parameter>`, and the parameters that have none."""

    tensors: dict[str, torch.Tensor]
    idle: list[str]


def optimizer_state(optimizer: torch.optim.Optimizer, parameters: Named, keep: bool = True) -> OptimizerState:
    """What to save of an optimizer. Of sharded tensors every process must ask; `keep` is whether it gets the result."""
    tensors = {
        f"{slot}:{name}": value
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }
    trained = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    idle = sorted(name for name, parameter in trained.items() if parameter not in optimizer.state)
    return OptimizerState(gathered(tensors, keep), idle)


def save_optimizer(state: OptimizerState, folder: Path) -> None:
    """Write it into the directory of a checkpoint."""
    save_file(state.tensors, folder / OPTIMIZER_FILE, {IDLE: json.dumps(state.idle)} if state.idle else None)


def read_optimizer(parameters: Named, folder: Path) -> dict[str, torch.Tensor]:
    """The tensors that `save_optimizer` wrote. Raises CheckpointError where they do not fit these parameters."""
    path = folder / OPTIMIZER_FILE
    with restoring(path):
        tensors, idle = _read_tensors(path)
        if misfit := _misfit(tensors, idle, parameters):
            raise ValueError(misfit)
    return tensors


def load_optimizer(optimizer: torch.optim.Optimizer, parameters: Named, folder: Path) -> None:
    """Put back what `save_optimizer` wrote. Raises CheckpointError, having put back nothing, for what does not fit."""
    for key, value in read_optimizer(parameters, folder).items():
        slot, name = key.split(":", maxsplit=1)
        parameter = parameters[name]
        # A fused optimizer counts its steps on the parameter's device, any other on the CPU.
        count = value.to(parameter.device) if optimizer.defaults.get("fused") else value
        optimizer.state[parameter][slot] = count if slot == "step" else laid_out(value, parameter)


def save_extra(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """What was trained along with the model, in a file of its own: the model beside it loads without."""
    save_file(tensors, folder / EXTRA_FILE)


def copied(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same on the CPU, which nothing changes any more while it is written."""
    return {name: value.cpu().contiguous().clone() for name, value in tensors.items()}


def save_memory(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Write what an objective remembers from step to step."""
    save_file(tensors, folder / MEMORY_FILE)


def load_memory(folder: Path) -> dict[str, torch.Tensor]:
    """What `save_memory` wrote, or nothing."""
    path = folder / MEMORY_FILE
    return load_file(path) if path.is_file() else {}


def load_extra(extra: torch.nn.Module, folder: Path) -> None:
    """Put back what `save_extra` wrote. Raises CheckpointError for what does not fit."""
    path = folder / EXTRA_FILE
    with restoring(path):
        fill(extra, path)


def save_adapters(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Adapters, and the matrices that they were merged into."""
    save_file(tensors, folder / ADAPTER_FILE)


def load_adapters(model: torch.nn.Module, folder: Path) -> None:
    """Put back what `save_adapters` wrote, bit by bit. Raises CheckpointError for what does not fit."""
    path = folder / ADAPTER_FILE
    with restoring(path):
        found, own = load_file(path), model.state_dict(keep_vars=True)
        if found.keys() != beside(own, scales(model)).keys():
            raise ValueError("it holds adapters of other layers")
        with torch.no_grad():
            for name, value in found.items():
                own[name].copy_(laid_out(value, own[name]))


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Collection[str]]:
    """A file's tensors, and the names of parameters that it says have no state."""
    with safe_open(path, "pt") as file:
        idle = from_json((file.metadata() or {}).get(IDLE, "[]"))
        return {name: file.get_tensor(name) for name in file.keys()}, frozenset(idle)  # noqa: SIM118  it is no dict


def _misfit(tensors: Mapping[str, torch.Tensor], idle: Collection[str], parameters: Named) -> str:
    """How an optimizer's tensors differ from those of these parameters, or an empty text."""
    expected = {
        f"{slot}:{name}": (torch.Size(), torch.float32) if slot == "step" else (parameter.shape, parameter.dtype)
        for name, parameter in parameters.items()
        if parameter.requires_grad and name not in idle
        for slot in SLOTS
    }
    for key in tensors:
        if key not in expected:
            return f"it holds {key!r}, which the model does not train"
    for key, (shape, dtype) in expected.items():
        if key not in tensors:
            return f"it lacks {key!r}"
        if (tensors[key].shape, tensors[key].dtype) != (shape, dtype):
            found, kind = list(tensors[key].shape), tensors[key].dtype
            return f"{key!r} is {found} of {kind}, where the model has {list(shape)} of {dtype}"
    return ""
