"""Devices, processes and precision: Accelerate, told what Forge needs of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin

from forge.config.schema import Settings
from forge.core.errors import UserError
from forge.train.heap import keep_freed_memory
from forge.train.zero import refuse_zero, unseen

ACCELERATE_FILE = "FORGE_ACCELERATE"  # names a file of configs/accelerate, for launchers that do not read it themselves

ENGINES = {  # the section of such a file, what says that it counts, and what its keys begin with in the environment
    "FSDP": ("fsdp_config", "ACCELERATE_USE_FSDP", ""),
    "DEEPSPEED": ("deepspeed_config", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_"),
}


def make_accelerator(settings: Settings) -> Accelerator:
    """Device, processes and precision. Raises UserError for what this machine cannot do."""
    if settings.train.threads:
        torch.set_num_threads(settings.train.threads)
    precision = settings.train.precision
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        keep_freed_memory()
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not on_gpu:
        raise UserError("train.precision: fp16 needs a GPU, and this machine shows none; take bf16 or fp32")
    _heed_file()
    AcceleratorState._reset_state()  # else a second run in this process would be refused another precision
    refuse_zero(precision)
    # Without a GPU, Accelerate joins the processes of torchrun only when told that the CPU is meant.
    on_cpu = not torch.accelerator.is_available()
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed, where it is installed, says it found no GPU
    with unseen():
        accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=on_cpu)
    if accelerator.distributed_type is DistributedType.MULTI_CPU and _wants("ACCELERATE_USE_FSDP"):
        # Accelerate shards over GPUs only; on CPUs it would copy the whole model to each process without a word.
        accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
    _refuse(accelerator, settings)
    return accelerator


def leave_processes() -> None:
    """Say goodbye to the other processes, where there are any.

    To be called where all of them come to: an interpreter that ends with the group alive may be aborted by its threads,
    and torchrun then calls a run failed that was not.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _refuse(accelerator: Accelerator, settings: Settings) -> None:
    kind = accelerator.distributed_type
    if kind is DistributedType.MEGATRON_LM:
        raise UserError(f"{kind.value} is not an engine of Forge; take configs/accelerate/fsdp2.yaml, or ddp.yaml")
    if kind is not DistributedType.FSDP:
        return
    plugin = accelerator.state.fsdp_plugin
    if plugin.fsdp_version != 2:
        raise UserError("fsdp_version: Forge shards with version 2; take configs/accelerate/fsdp2.yaml")
    if plugin.cpu_ram_efficient_loading:
        raise UserError(
            "fsdp_cpu_ram_efficient_loading leaves a teacher without weights on most processes; set it to false"
        )
    if settings.train.compile:
        raise UserError("train.compile does not go together with FSDP; set it to false, or launch with ddp.yaml")
    if accelerator.mixed_precision == "fp16":
        raise UserError("train.precision: fp16 does not go together with FSDP; take bf16")
    plugin.mixed_precision_policy = None  # autocast rounds as it does without sharding; weights and sums stay fp32


def _wants(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def _heed_file() -> None:
    """Tell Accelerate through the environment, as `accelerate launch` does, what a file says about sharding."""
    named = os.environ.get(ACCELERATE_FILE)
    if not named:
        return
    path = Path(named)
    if not path.is_file():
        raise UserError(f"{ACCELERATE_FILE}: there is no {path}; configs/accelerate has ddp, fsdp2 and deepspeed.yaml")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        section, use, prefix = ENGINES.get(content["distributed_type"], ("", "", ""))
        asked = content[section] if section else {}
        told = {prefix + key.removeprefix("deepspeed_").upper(): str(value) for key, value in asked.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise UserError(f"{ACCELERATE_FILE}: {path} is not a configuration of Accelerate: {error}") from error
    os.environ.update(told | ({use: "true"} if use else {}))
