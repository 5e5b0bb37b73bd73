"""The whole configuration as pydantic models, a file a section. What is not declared here is an error."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section
from forge.config.schema.data import Columns, Data, Embedded
from forge.config.schema.distill import LOSS_NAMES, Distill, Loss
from forge.config.schema.generate import Generate
from forge.config.schema.model import Build, Lora, Model
from forge.config.schema.pages import Glyphs, Pages
from forge.config.schema.parallel import Clean, Cut, Languages, two_files
from forge.config.schema.rl import RL
from forge.config.schema.run import Checkpoint, Evaluate, Log, Run
from forge.config.schema.teacher import Teacher
from forge.config.schema.train import Train

__all__ = [
    "LOSS_NAMES",
    "RL",
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
    "Glyphs",
    "Languages",
    "Log",
    "Lora",
    "Loss",
    "Model",
    "Pages",
    "Run",
    "Section",
    "Settings",
    "Teacher",
    "Train",
]


class Settings(Section):
    """One experiment."""

    task: Literal["classification", "translation", "ocr"]
    """The problem: `classification` of one text or a pair, `translation` of a text into another language, or `ocr`, the
    Markdown of a page."""
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
    rl: RL | None = None
    """Learning from rewards, in place of the labels; null is learning from the labels."""
    glyphs: Glyphs = Glyphs()
    """What a page reader learns of where characters are."""
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
        if self.task in MAIN_FIGURE and "metric" not in self.evaluate.model_fields_set:
            chosen = self.evaluate.model_copy(update={"metric": MAIN_FIGURE[self.task]})
            object.__setattr__(self, "evaluate", chosen)  # a section is frozen once it is made, and this is still that
        return self

    @model_validator(mode="after")
    def _data_fits_the_task(self) -> Settings:
        if problem := _foreign_to(self.task, self.data) or _parallel_text(self.task, self.data):
            raise ValueError(problem)
        if self.task != "ocr" and self.glyphs.wanted:
            raise ValueError(f"glyphs is set, but task: {self.task} has no pages")
        return self


MAIN_FIGURE = {"translation": "bleu", "ocr": "cer"}
"""What `evaluate.metric` is unless set; a classification's is its default."""
LABELLED_KEYS = ("labels", "columns.text", "columns.text_pair", "columns.label")
PARALLEL_KEYS = ("languages", "clean", "columns.source", "columns.target")
PAGE_KEYS = ("pages", "columns.page", "columns.markdown", "columns.document", "embedded.preset")
FOREIGN = {
    "classification": (*PARALLEL_KEYS, *PAGE_KEYS, "cut", "max_target_length"),
    "translation": (*LABELLED_KEYS, *PAGE_KEYS),
    "ocr": (*LABELLED_KEYS, *PARALLEL_KEYS),
}


def _foreign_to(task: str, data: Data) -> str:
    """What `data` says that only another task reads, or nothing."""
    default = Data()
    key = next((key for key in FOREIGN[task] if _differ(data, default, key)), "")
    if not key:
        return ""
    if task == "translation" and key in LABELLED_KEYS:
        return f"data.{key} is set, but task: translation has none"
    reads = [other for other in FOREIGN if key not in FOREIGN[other]]
    return f"data.{key} is set, but only task: {' or '.join(reads)} reads it"


def _parallel_text(task: str, data: Data) -> str:
    for key, reference in data.references() if task != "translation" else ():
        is_tmx = not data.name and reference.lower().removesuffix(".gz").endswith(".tmx")
        if two_files(reference) or is_tmx:
            return f"{key} is parallel text ({reference}), which only task: translation reads"
    return ""


def _differ(data: Data, default: Data, key: str) -> bool:
    return bool(attrgetter(key)(data) != attrgetter(key)(default))
