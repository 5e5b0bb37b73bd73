"""Experiments of phase 1, AI basics: a file a lesson, and its line in this table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments.base import Experiment
from forge.learn.experiments.basics import neural_networks, vocabulary, what_is_ai

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "what-is-ai": what_is_ai.run,
        "neural-networks": neural_networks.run,
        "vocabulary": vocabulary.run,
    }
)
