"""Experiments of phase 2, Language models: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.language_models import attention, bert

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "attention": attention.run,
        "bert": bert.run,
    }
)
