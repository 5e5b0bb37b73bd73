"""`evaluate:`, `checkpoint:`, `log:`, `run:` what a run measures, keeps and reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from forge.config.schema._base import Section

Positive = Annotated[int, Field(ge=1)]


class Evaluate(Section):
    """When the model is measured, and which figure decides."""

    every: Positive | None = 500
    """Steps between evaluations; null measures only at the end. The end is always measured."""
    batch_size: Positive = 128
    """Examples per forward pass and device."""
    metric: Literal[
        "accuracy", "macro_f1", "loss", "ece", "bleu", "chrf", "ter", "cer", "wer", "edit_similarity", "nid"
    ] = "accuracy"
    """Figure of the first validation split that chooses the best checkpoint; a translation's is `bleu`, a page's `cer`
    unless set.
    `ter` is then computed however long the texts are, which takes hours for pages."""
    patience: Positive | None = None
    """Stop early after so many evaluations without improvement; null never stops early."""
    max_examples: Positive | None = None
    """Measure on the first so many examples of each split; null measures all."""


class Checkpoint(Section):
    """When the state of training is saved. The best and the last are always kept."""

    every: Positive | None = None
    """Steps between checkpoints; null saves at each evaluation."""
    keep: Annotated[int, Field(ge=2)] = 2
    """How many of the newest checkpoints stay on disk, beside the best one and those that `average` needs."""
    average: Annotated[int, Field(ge=2)] | None = None
    """When training has ended, average the weights of so many newest checkpoints (Vaswani et al. 2017): of those at
    `every`, and the last. The average is the run's result where it measures better than the best checkpoint. So many
    are kept, whatever `keep` says. It may be set, changed or taken back of a run that is there; null never does."""


class Log(Section):
    """What is reported while training. None of it changes the result or the run's directory."""

    every: Positive = 10
    """Steps between two lines of output.log and two records of metrics.jsonl."""
    sinks: list[Literal["tensorboard", "trackio", "wandb", "mlflow"]] = Field(default=[])
    """Trackers to feed beside metrics.jsonl; each must be installed, none asks for a login."""


class Run(Section):
    """Where the run goes."""

    dir: Annotated[str, Field(min_length=1)] = "runs"
    """Directory that holds all runs."""
    stop_early: Annotated[float, Field(ge=0)] = 120.0
    """Seconds before the end of its Slurm job at which the run saves and leaves with exit code 75; of a short job a
    quarter of what is left."""
