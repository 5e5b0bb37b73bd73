"""The whole configuration as pydantic models, a file a section. What is not declared here is an error."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section
from forge.config.schema.data import Columns, Data, Embedded
from forge.config.schema.distill import LOSS_NAMES, Distill, Loss
from forge.config.schema.generate import Generate
from forge.config.schema.model import Build, Model
from forge.config.schema.parallel import Clean, Cut, Languages, two_files
from forge.config.schema.run import Checkpoint, Evaluate, Log, Run
from forge.config.schema.teacher import Teacher
from forge.config.schema.train import Train

__all__ = [
    "LOSS_NAMES",
    "Build",
    "Checkpoint",
    "Clean",
    "Columns",
    "Cut",
    "Data",
    "Distill",
    "Embedded",
    "Evaluate",
    "Generate",
    "Languages",
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

    task: Literal["classification", "translation"]
    """The problem: `classification` of one text or a pair, or `translation` of a text into another language."""
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

    @model_validator(mode="after")
    def _metric_of_the_task(self) -> Settings:
        if self.task == "translation" and "metric" not in self.evaluate.model_fields_set:
            chosen = self.evaluate.model_copy(update={"metric": "bleu"})
            object.__setattr__(self, "evaluate", chosen)  # a section is frozen once it is made, and this is still that
        return self

    @model_validator(mode="after")
    def _data_fits_the_task(self) -> Settings:
        if problem := _foreign_to(self.task, self.data):
            raise ValueError(problem)
        return self


PARALLEL_ONLY = ("languages", "clean", "cut", "max_target_length")


def _foreign_to(task: str, data: Data) -> str:
    """What `data` says that only another task reads, or nothing."""
    default = Data()
    if task == "translation":
        keys = ["labels", "columns.text", "columns.text_pair", "columns.label"]
        return next(
            (f"data.{key} is set, but task: translation has none" for key in keys if _differ(data, default, key)), ""
        )
    for key, reference in data.references():
        is_tmx = not data.name and reference.lower().removesuffix(".gz").endswith(".tmx")
        if two_files(reference) or is_tmx:
            return f"{key} is parallel text ({reference}), which only task: translation reads"
    keys = [*PARALLEL_ONLY, "columns.source", "columns.target"]
    return next(
        (f"data.{key} is set, but only task: translation reads it" for key in keys if _differ(data, default, key)), ""
    )


def _differ(data: Data, default: Data, key: str) -> bool:
    return bool(attrgetter(key)(data) != attrgetter(key)(default))
