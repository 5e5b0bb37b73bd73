"""Experiments of phase 4, training paradigms: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.paradigms import sft

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({"sft": sft.run})
