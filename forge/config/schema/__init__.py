"""The whole configuration as pydantic models, a file a section. What is not declared here is an error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from forge.config.schema._base import Section
from forge.config.schema.data import Columns, Data, Embedded
from forge.config.schema.distill import LOSS_NAMES, Distill, Loss
from forge.config.schema.generate import Generate
from forge.config.schema.model import Build, Model
from forge.config.schema.run import Checkpoint, Evaluate, Log, Run
from forge.config.schema.teacher import Teacher
from forge.config.schema.train import Train

__all__ = [
    "LOSS_NAMES",
    "Build",
    "Checkpoint",
    "Columns",
    "Data",
    "Distill",
    "Embedded",
    "Evaluate",
    "Generate",
    "Log",
    "Loss",
    "Model",
    "Run",
    "Section",
    "Settings",
    "Teacher",
    "Train",
]


class Settings(Section):
    """One experiment."""

    task: Literal["classification"]
    """The problem: `classification` of one text or a pair."""
    alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Weight of the teacher: 0.0 is supervised fine-tuning on the labels alone, above it is distillation."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 1
    """Source of all randomness: weights, shuffles, dropout."""
    assets: Literal["auto", "hub", "local", "embedded"] = "auto"
    """Where models and data may come from. `auto`: disk, then hub, then (smoke runs only) the embedded stand-ins;
    `hub`: disk or hub; `local`: disk only; `embedded`: the stand-ins."""
    data: Data
    """Where the examples come from."""
    model: Model
    """Which network is trained."""
    teacher: Teacher = Teacher()
    """Which network it learns from, when `alpha` is above 0."""
    distill: Distill = Distill()
    """What it learns from the teacher, and how the two are compared."""
    train: Train = Train()
    """How it is trained."""
    generate: Generate = Generate()
    """How a model that writes text is made to write."""
    evaluate: Evaluate = Evaluate()
    """When it is measured."""
    checkpoint: Checkpoint = Checkpoint()
    """When it is saved."""
    log: Log = Log()
    """What is reported."""
    run: Run = Run()
    """Where the run goes."""
