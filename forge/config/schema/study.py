"""A study's file: which parts of a recipe are switched on and off, over which seeds, and what decides.

A study is not a run: it has a schema of its own. What stands in `always` and in a factor's levels are settings of runs,
which are checked as those are, cell by cell.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from forge.config.schema._base import Section

LEAST_SEEDS = 3
"""Of a spread over fewer than three seeds nothing can be said: with two the t of one degree of freedom is 12.7."""
SQUARE_LEVELS = 4

Overrides = dict[str, Any]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
CONTROLS = ("random_teacher", "shuffled_logits")


class Outcome(Section):
    """What decides, said before anything runs."""

    figure: str
    """A figure that the task measures, such as `accuracy`, `bleu` or `cer`."""
    split: str = "test"
    """The test split that it is measured on."""


class First(Section):
    """A run that cells build upon; it is trained first, as part of the study."""

    config: Annotated[str, Field(min_length=1)]
    """Its configuration, relative to this file."""
    set: Overrides = Field(default={})
    """Settings laid over it."""


class Study(Section):
    """A factorial study."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] | None = None
    """What the study is called; null takes the file's name."""
    base: Annotated[str, Field(min_length=1)]
    """The configuration that every cell starts from, relative to this file."""
    factors: Annotated[dict[str, dict[str, Overrides | None]], Field(min_length=1)]
    """Name → level → the settings of a run that it stands for. The first level is the low one, such as `off: {}`."""
    design: Literal["grid", "square"] = "grid"
    """`grid`: every combination of levels. `square`: three factors of four levels in 16 cells in place of 64, the
    third's level being the exclusive or of the others' (every pair of levels of two factors meets once); for a first
    look at main effects."""
    alpha: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Weight of the teacher in every cell that has a distillation loss. A cell without one is trained on the task's
    loss alone."""
    always: Overrides = Field(default={})
    """Settings of every cell."""
    seeds: Annotated[list[Seed], Field(min_length=1)]
    """Seeds, the same in every cell: each sets first weights and the order of the data, and is a block of the study."""
    max_seeds: Positive | None = None
    """Most seeds that `study run --top-up` may add up to, in whole blocks; null adds none."""
    outcome: Outcome
    """The primary outcome."""
    smallest_effect: Annotated[float, Field(gt=0)]
    """The smallest effect worth knowing of, in points (per cent for figures from 0 to 1, BLEU as it is reported)."""
    controls: dict[str, dict[str, str]] = Field(default={})
    """Cells beside the design, each with levels by factor (the low one where a factor is not named).
    `random_teacher`: its teacher is untrained; `shuffled_logits`: each example hears what it said of another."""
    match_gradients: bool = False
    """Measure once, over the first `match_steps` steps with all losses on, how long the gradient of each is, and weigh
    it so that a weight of 1 pulls as hard as the task's loss; those weights then hold for every cell and seed."""
    match_steps: Positive = 20
    """Steps of that measurement."""
    teacher: First | None = None
    """The run that teaches; its directory becomes `teacher.name`."""
    start: First | None = None
    """The run whose weights every cell starts from; its directory becomes `model.name`."""
    keep: Literal["none", "best", "all"] = "none"
    """Checkpoints that stay when a cell has been measured."""
