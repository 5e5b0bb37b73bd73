"""From a study's file to configurations of runs: what is trained first, the cells, and where everything goes.

No torch here: everything that can be wrong with a cell's configuration is found, and named, before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from forge.config.resolve import ResolvedConfig, resolve
from forge.config.schema.study import First, Study
from forge.config.study import StudyFile, read_study, setting
from forge.config.tree import Node
from forge.config.wording import fail
from forge.core.errors import ConfigError, Problem
from forge.core.hashing import digest
from forge.preflight import FIGURES, preflight
from forge.study.design import Cell, cells_of

PERCENT = frozenset({"accuracy", "macro_f1", "ece", "cer", "wer", "edit_similarity", "nid"})
"""Figures from 0 to 1, which people read in per cent."""
COMBINE = {"accuracy": "mean", "bleu": "bleu", "cer": "ratio", "wer": "ratio", "edit_similarity": "mean", "nid": "mean"}
"""Figures that are made again of sums of each example, and how; the others have seeds alone to be sure by."""
MATCHING = "matching"
RESPONSES = ("forward_kl", "jsd", "dkd", "logit_mse", "skew_kl", "topk_kl", "uld")
CONTROL_SETTINGS: Mapping[str, Mapping[str, str | bool]] = {
    "random_teacher": {"teacher.init": "random"},
    "shuffled_logits": {"distill.shuffle_logits": True},
}
Weights = Mapping[str, float]


@dataclass(frozen=True)
class Job:
    """One cell with one seed."""

    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        """As its files are called."""
        return f"{self.cell.name}.{self.seed}"

    @property
    def shown(self) -> str:
        """For people."""
        return f"{self.cell.shown} seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A study that can be run: its file, and settings from the command line that hold for every cell."""

    file: StudyFile
    overrides: tuple[str, ...] = ()
    _probed: dict[str, ResolvedConfig] = field(default_factory=dict, compare=False, repr=False)

    @property
    def study(self) -> Study:
        """What the file says."""
        return self.file.study

    @cached_property
    def cells(self) -> list[Cell]:
        """In the order of the file, controls last."""
        return cells_of(self.study)

    @property
    def sample(self) -> ResolvedConfig:
        """A cell's configuration as far as all cells have it in common."""
        return self.probe(self.cells[0])

    @property
    def folder(self) -> Path:
        """Where the study keeps what is its own."""
        return Path(self.sample.settings.run.dir).expanduser() / "studies" / self.file.name

    @property
    def scale(self) -> float:
        """From the figure to points."""
        return 100.0 if self.study.outcome.figure in PERCENT else 1.0

    def jobs(self, seeds: Sequence[int]) -> list[Job]:
        """Seed by seed, so that blocks are whole as soon as can be."""
        return [Job(cell, seed) for seed in seeds for cell in self.cells]

    def probe(self, cell: Cell) -> ResolvedConfig:
        """A cell before it is known where its teacher is and what its losses weigh."""
        if cell.name not in self._probed:
            self._probed[cell.name] = self._resolve([*self._levels(cell), setting("alpha", 0.0, self._here)])
        return self._probed[cell.name]

    def resolved(self, job: Job, weights: Weights | None) -> ResolvedConfig:
        """A cell's run. `weights` are those by which gradients match; None where they are not asked for."""
        cell, here = job.cell, self._here
        layers = [*self._levels(cell), *self._firsts(), setting("seed", job.seed, here)]
        layers += self._taught(self.probe(cell), weights)
        if cell.control:
            layers += [setting(key, value, here) for key, value in CONTROL_SETTINGS[cell.control].items()]
        return self._resolve(layers, f"studies/{self.file.name}/cells/{cell.name}")

    def matching(self) -> ResolvedConfig:
        """The short run with all losses of the study on, in which the gradients of each are measured."""
        settings, here = self.sample.settings, self._here
        train, alone = settings.train, settings.glyphs.alone_steps
        warmup = train.warmup_steps
        if warmup is None:
            warmup = round(train.warmup_ratio * (train.max_steps or 0))
        values: dict[str, str | float | bool | None] = {
            "alpha": self.study.alpha,
            "seed": self.study.seeds[0],
            "distill.balance": "gradient_norm",
            "distill.gradient_norm_every": 1,
            "train.max_steps": alone + self.study.match_steps,
            "train.schedule": "constant",
            "train.warmup_steps": warmup,
            "data.test": None,
            "evaluate.every": None,
            "evaluate.max_examples": 32,
            "log.every": 1,
        }
        layers = [*self._all_levels(), *self._firsts()]
        layers += [setting(key, value, here) for key, value in values.items()]
        return self._resolve(layers, f"studies/{self.file.name}/{MATCHING}")

    def teaching(self) -> ResolvedConfig:
        """The teacher before the test splits of cells: what its own answers are asked by."""
        layers = [*self._all_levels(), *self._firsts(), setting("alpha", self.study.alpha, self._here)]
        return self._resolve(layers, f"studies/{self.file.name}/teacher_answers")

    @property
    def answers_identity(self) -> str | None:
        """What the teacher's answers must have been made with; None where models do not classify, or none teaches."""
        if self.sample.settings.task != "classification" or not self.losses():
            return None
        return digest([self.teaching().digest(), self.study.outcome.split], 12)

    def first(self, which: str) -> ResolvedConfig:
        """The run that teaches, or whose weights cells start from."""
        told, settings = self.file.tree.children or {}, self.sample.settings
        here = told[which]
        layers = [self.file.settings(which, "set"), setting("run.dir", settings.run.dir, here)]
        layers += [setting("assets", settings.assets, here), setting("train.num_workers", 0, here)]
        layers += [setting("train.threads", settings.train.threads, here)]
        return resolve(self.file.config(which, "config"), (), layers)

    def firsts(self) -> list[str]:
        """Which runs come before the cells; the one to start from may be taught by the teacher."""
        return [which for which in ("teacher", "start") if isinstance(getattr(self.study, which), First)]

    def identity(self, job: Job, weights: Weights | None) -> str:
        """What a result must have been made with to count as that of a job."""
        outcome = self.study.outcome
        return digest([self.resolved(job, weights).digest(), job.seed, outcome.figure, outcome.split], 12)

    def losses(self) -> dict[str, float]:
        """All losses of the study with their weights as the file has them."""
        found: dict[str, float] = {}
        for cell in self.cells:
            found |= {name: loss.weight for name, loss in self.probe(cell).settings.distill.losses().items()}
        return found

    @property
    def _here(self) -> Node:
        children = self.file.tree.children or {}
        return children["factors"]

    def _levels(self, cell: Cell) -> list[Node]:
        chosen = [self.file.settings("factors", factor, level) for factor, level in cell.levels.items()]
        return [self.file.settings("always"), *chosen]

    def _all_levels(self) -> list[Node]:
        levels = [(factor, level) for factor, named in self.study.factors.items() for level in named]
        return [self.file.settings("always"), *(self.file.settings("factors", *pair) for pair in levels)]

    def _firsts(self) -> list[Node]:
        keys = {"teacher": "teacher.name", "start": "model.name"}
        children = self.file.tree.children or {}
        return [setting(keys[which], str(run_of(self.first(which))), children[which]) for which in self.firsts()]

    def _taught(self, probe: ResolvedConfig, weights: Weights | None) -> list[Node]:
        """How much the teacher weighs, and each loss."""
        losses, here = probe.settings.distill.losses(), self._here
        taught = bool(losses) or probe.settings.distill.sequence.targets != "reference"
        layers = [setting("alpha", self.study.alpha if taught else 0.0, here)]
        if weights is not None:
            layers.append(setting("distill.balance", "none", here))
            layers += [
                setting(f"distill.{name}.weight", loss.weight * weights[name], here) for name, loss in losses.items()
            ]
        return layers

    def _resolve(self, layers: Sequence[Node], named: str = "") -> ResolvedConfig:
        return resolve(self.file.config("base"), self.overrides, layers, named)


def run_of(resolved: ResolvedConfig) -> Path:
    """The directory of a run."""
    return preflight(resolved).run.path


def load_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads a study and checks every cell. Raises ConfigError with all problems that could be found."""
    plan = Plan(read_study(path), tuple(overrides))
    problems = [*_cell_problems(plan)] or [*_whole_problems(plan)]
    if problems:
        raise fail(problems)
    return plan


def _cell_problems(plan: Plan) -> Iterator[Problem]:
    """What is wrong with cells: each thing once, in the name of the first cell that has it."""
    told: set[tuple[str, str]] = set()
    for cell in plan.cells:
        try:
            plan.probe(cell)
        except ConfigError as error:
            for problem in error.problems:
                if (problem.where, problem.message) not in told:
                    told.add((problem.where, problem.message))
                    yield replace(problem, message=f"cell {cell.shown}: {problem.message}")


def _whole_problems(plan: Plan) -> Iterator[Problem]:
    """What is wrong with the study as a whole, once every cell can be read."""
    yield from _outcome_problems(plan)
    if plan.sample.settings.train.max_steps is None:
        told = "cells are compared at equal numbers of steps, but train.max_steps is not set"
        yield Problem(told, plan.file.where("always"), "set it in always:")
    for cell in plan.cells:
        if cell.control == "shuffled_logits" and not set(RESPONSES) & set(plan.probe(cell).settings.distill.losses()):
            told = "controls.shuffled_logits: this cell has no loss on logits, so there is nothing to shuffle"
            yield Problem(told, plan.file.where("controls", cell.control), "name the level of a factor that has one")
    for which in plan.firsts():
        try:
            plan.first(which)
        except ConfigError as error:
            yield from (replace(problem, message=f"{which}: {problem.message}") for problem in error.problems)
    if plan.study.teacher is None and plan.losses() and plan.sample.settings.teacher.name is None:
        yield Problem(
            "cells have distillation losses, but there is no teacher",
            plan.file.where("factors"),
            "set teacher: {config: …}",
        )


def _outcome_problems(plan: Plan) -> Iterator[Problem]:
    outcome, settings = plan.study.outcome, plan.sample.settings
    measured = FIGURES[settings.task]
    if outcome.figure not in measured:
        told = f"outcome.figure: {settings.task} does not measure {outcome.figure}; it measures {', '.join(measured)}"
        yield Problem(told, plan.file.where("outcome", "figure"))
    test = settings.data.test
    splits = list(test) if isinstance(test, dict) else ["test"] if test or settings.data.cut.test else []
    if not splits:
        yield Problem("outcome.split: cells have no test split", plan.file.where("outcome"), "set data.test in always:")
    elif outcome.split not in splits:
        told = f"outcome.split: cells have no test split {outcome.split}; they have {', '.join(splits)}"
        yield Problem(told, plan.file.where("outcome", "split"))
