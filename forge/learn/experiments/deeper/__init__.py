"""Experiments of phase 6, Go deeper: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.deeper import losses, scale, workbench

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "losses": losses.run,
        "workbench": workbench.run,
        "scale": scale.run,
    }
)
