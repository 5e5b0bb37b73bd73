"""Which experiment belongs to which lesson. A lesson's line stands in its phase's table."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from forge.learn.experiments import basics, deeper, language_models, paradigms, practice, tasks
from forge.learn.experiments.base import Experiment

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        **basics.EXPERIMENTS,
        **language_models.EXPERIMENTS,
        **tasks.EXPERIMENTS,
        **paradigms.EXPERIMENTS,
        **practice.EXPERIMENTS,
        **deeper.EXPERIMENTS,
    }
)


def warm_up() -> None:
    """Load what most experiments need and would load only when they need it."""
    import sklearn.metrics
    import torch
    from transformers.models.bert import modeling_bert
    from transformers.models.distilbert import modeling_distilbert

    from forge.assemble import quiet_libraries

    assert sklearn.metrics
    assert modeling_bert
    assert modeling_distilbert
    torch.set_num_threads(1)
    quiet_libraries()
