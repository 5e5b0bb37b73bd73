"""Experiments of phase 5, Forge in practice: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.practice import configuration, first_run, outputs

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "first-run": first_run.run,
        "configuration": configuration.run,
        "outputs": outputs.run,
    }
)
