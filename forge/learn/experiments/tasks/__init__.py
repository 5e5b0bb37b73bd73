"""Experiments of phase 3, NLP tasks: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.tasks import documents

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({"documents": documents.run})
