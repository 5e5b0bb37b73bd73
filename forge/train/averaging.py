"""The average of a run's newest checkpoints (Vaswani et al. 2017, arXiv 1706.03762, section 6.1).

It is a folder like a checkpoint's, sealed alike, without what continuing needs. It depends on nothing but the
checkpoints that the schedule asks for, so that a run which was killed or stopped on its way averages the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from forge.config.schema import Settings
from forge.core.manifest import (
    ADAPTER_FILE,
    EXTRA_FILE,
    MEMORY_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    sealed_files,
    verify,
)
from forge.train.checkpoint import PREFIX, CheckpointStore
from forge.train.evaluate import HaltedError
from forge.train.state import restoring

NOT_AVERAGED = {ADAPTER_FILE, EXTRA_FILE, MEMORY_FILE, OPTIMIZER_FILE, STATE_FILE, WEIGHTS_FILE}


@dataclass(frozen=True)
class Average:
    """What became of the average of a run's checkpoints, as its state records it."""

    asked: int  # `checkpoint.average`
    of: list[str] = field(default_factory=list)  # oldest first; empty where there was nothing to average
    value: float | None = None  # of evaluate.metric on the first validation split
    validation: dict[str, dict[str, float]] = field(default_factory=dict)  # split → figures
    chosen: bool = False  # whether it is the run's result


def on_schedule(store: CheckpointStore, settings: Settings, step: int, ended: bool) -> list[str]:
    """Checkpoints up to `step` that the schedule asks for, and the last one of a run that has ended; oldest first.

    A stop leaves others, and a best evaluation may: an average wants equal distances, and the same in every life.
    """
    every = settings.checkpoint.every or settings.evaluate.every
    steps = [int(name.removeprefix(PREFIX)) for name in store.names()]
    return [f"{PREFIX}{at}" for at in steps if at <= step and ((every and at % every == 0) or (ended and at == step))]


def newest_good(store: CheckpointStore, names: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """The newest `count` of them that verify, oldest first, and what was passed over."""
    good: list[str] = []
    skipped: list[str] = []
    for name in reversed(names):
        if len(good) == count:
            break
        if damage := verify(store.run_dir / name):
            skipped.append(f"{name} is damaged and left out of the average: {damage}")
        else:
            good.append(name)
    return good[::-1], skipped


def write_average(checkpoints: Sequence[Path], halt: Callable[[], bool], folder: Path) -> None:
    """Fill `folder` with the average of checkpoints, oldest first. Raises HaltedError when `halt` says so."""
    newest = checkpoints[-1]
    for name in sealed_files(newest):
        if name not in NOT_AVERAGED:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(newest / name, folder / name)
    with safe_open(newest / WEIGHTS_FILE, "pt") as file:
        about = file.metadata()
    save_file(mean_weights(checkpoints, halt), folder / WEIGHTS_FILE, about)


def mean_weights(checkpoints: Sequence[Path], halt: Callable[[], bool] = lambda: False) -> dict[str, torch.Tensor]:
    """The mean of each tensor over checkpoints, the newest last; no more than one tensor of each is in memory."""
    with ExitStack() as stack:
        files = [
            (path / WEIGHTS_FILE, stack.enter_context(safe_open(path / WEIGHTS_FILE, "pt"))) for path in checkpoints
        ]
        found = {}
        for name in files[-1][1].keys():  # noqa: SIM118  it is no dict
            if halt():
                raise HaltedError
            mean = _Mean(files[-1][1].get_tensor(name))
            for path, file in files[:-1]:
                with restoring(path):
                    mean.add(file.get_tensor(name))
            found[name] = mean.value()
    return found


class _Mean:
    """A mean in fp32 of tensors of one shape; the newest of them, bit by bit, where none differs or they count."""

    def __init__(self, newest: torch.Tensor) -> None:
        self.newest, self.count, self.differs = newest, 1, False
        self.total = newest.to(torch.float32, copy=True)

    def add(self, other: torch.Tensor) -> None:
        if other.shape != self.newest.shape:
            raise ValueError(f"a weight of shape {list(other.shape)} where the newest has {list(self.newest.shape)}")
        self.count += 1
        if not torch.equal(other, self.newest):
            self.differs = True
        self.total += other

    def value(self) -> torch.Tensor:
        if self.differs and self.newest.is_floating_point():
            return (self.total / self.count).to(self.newest.dtype)
        return self.newest
