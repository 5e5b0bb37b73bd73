"""What a run should be able to say about itself later: versions, code, machine, job."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from forge.core.version import VERSION

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "numpy", "pydantic")
# An allow-list: an environment holds secrets, so nothing else of it is ever written down.
ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE", "WORLD_SIZE", "RANK", "LOCAL_RANK")
ALLOCATOR = ("LD_PRELOAD", "MALLOC_CONF")  # another malloc changes how long a step takes on a CPU
SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST", "SLURM_RESTART_COUNT")


def versions() -> dict[str, str]:
    """Versions of Python, Forge and the libraries that decide the numbers."""
    found = {"python": platform.python_version(), "forge": VERSION}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def hardware() -> dict[str, Any]:
    """The machine."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
    }


def git_state() -> dict[str, Any]:
    """Commit of the code and whether it was changed since; empty outside a checkout."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    return {"commit": commit, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def job() -> dict[str, Any]:
    """The present life: process, command and Slurm ids."""
    wanted = {name: os.environ[name] for name in (*ENVIRONMENT, *ALLOCATOR, *SLURM) if name in os.environ}
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {"pid": os.getpid(), "command": command, "launch": launch(), "environment": wanted}


def launch() -> list[str]:
    """The words that start this run where they are not `python`: run_training.sh and its flags, or torchrun."""
    if told := os.environ.get("FORGE_LAUNCH"):
        return shlex.split(told)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return []
    nodes, processes = (os.environ.get(name, "1") for name in ("GROUP_WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    several = [] if nodes == "1" else [f"--nnodes={nodes}"]
    return ["torchrun", *several, f"--nproc_per_node={processes}"]


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(  # noqa: S603 - fixed program, fixed arguments
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
