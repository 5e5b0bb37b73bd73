"""Sums since the last logged step, kept on the device so that a step never waits for the host."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator


class Window:
    """Adds up shares of figures in fp64; the mean over steps is what the log shows."""

    def __init__(self, accelerator: Accelerator, saved: Mapping[str, float]) -> None:
        self._accelerator = accelerator
        self._sums: dict[str, torch.Tensor] = {}
        self.steps = int(saved.get("steps", 0))
        if accelerator.is_main_process:  # what was saved is a sum over processes: one of them carries it on
            self._sums = {name: self._tensor(value) for name, value in saved.items() if name != "steps"}

    def add(self, shares: Mapping[str, torch.Tensor], same_everywhere: Mapping[str, torch.Tensor]) -> None:
        """Add one step: `shares` of this process, and values that every process has alike."""
        self.steps += 1
        mine = dict(shares)
        for name, value in same_everywhere.items():
            mine[name] = value if self._accelerator.is_main_process else torch.zeros_like(value)
        for name, value in mine.items():
            share = value.detach().double()
            self._sums[name] = self._sums[name] + share if name in self._sums else share

    def sums(self) -> dict[str, float]:
        """Sums over steps and processes, with the number of steps; every process must call it together."""
        names = sorted(self._sums)
        if not names:
            return {}
        stacked = torch.stack([self._sums[name] for name in names])
        if self._accelerator.num_processes > 1:
            stacked = self._accelerator.reduce(stacked, "sum")
        return dict(zip(names, stacked.tolist(), strict=True)) | {"steps": float(self.steps)}

    def take_means(self) -> dict[str, float]:
        """Means over the steps since the last call; starts again from nothing."""
        sums = self.sums()
        steps = max(1.0, sums.pop("steps", 1.0))
        self._sums, self.steps = {}, 0
        return {name: value / steps for name, value in sums.items()}

    def _tensor(self, value: float) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, device=self._accelerator.device)
