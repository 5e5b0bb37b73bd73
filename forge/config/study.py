"""Reads a study's file: strictly, every problem with its place, before torch is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from forge.config.inherit import entry_file
from forge.config.interpolate import interpolate
from forge.config.origins import start_of
from forge.config.problems import describe_errors, where_is
from forge.config.schema.study import CONTROLS, LEAST_SEEDS, SQUARE_LEVELS, First, Study
from forge.config.strict_yaml import load_file
from forge.config.suggest import nearest
from forge.config.tree import Node, find, leaves
from forge.config.wording import fail
from forge.core.errors import ConfigError, Problem

Steps = tuple[str | int, ...]


@dataclass(frozen=True)
class StudyFile:
    """A study as its file says, and where it says so."""

    study: Study
    path: Path
    tree: Node

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.study.name or self.path.stem

    def where(self, *steps: str | int) -> str:
        """The place of a value in the file."""
        return where_is(self.tree, steps, self.path)

    def settings(self, *steps: str) -> Node:
        """The settings of a run that stand at a place of the file; an empty map where there are none."""
        node = find(self.tree, steps)
        return node if node is not None and node.children is not None else map_of({}, node)

    def config(self, *steps: str) -> Path:
        """The configuration that the value at a place names. Raises ConfigError where it is not there."""
        node = find(self.tree, steps)
        assert node is not None
        try:
            return entry_file(self.path.parent / str(node.value))
        except ConfigError as error:
            named = ".".join(steps)
            raise ConfigError(
                [
                    replace(problem, message=f"{named}: {problem.message}", where=node.origin.where)
                    for problem in error.problems
                ]
            ) from None


def map_of(children: Mapping[str, Node], like: Node | None = None) -> Node:
    """A map of settings that stands where `like` does."""
    origin = like.origin if like else next((child.origin for child in children.values()), start_of(Path()))
    return Node(dict(children), origin, origin)


def setting(path: str, value: str | float | bool | None, like: Node) -> Node:
    """The map that sets one key, on behalf of what stands at `like`."""
    node = Node(value, like.origin, like.origin)
    for name in reversed(path.split(".")):
        node = map_of({name: node}, like)
    return node


def read_study(path: str | Path) -> StudyFile:
    """Reads and checks a study's file. Raises ConfigError with all problems that could be found."""
    entry = entry_file(path)
    problems: list[Problem] = []
    tree = interpolate(load_file(entry), problems)
    study = _validated(tree, entry, problems)
    if study is None:
        raise fail(problems)
    file = StudyFile(study, entry, tree)
    problems += [*_factor_problems(file), *_seed_problems(file), *_control_problems(file), *_config_problems(file)]
    if problems:
        raise fail(problems)
    return file


def _validated(tree: Node, entry: Path, problems: list[Problem]) -> Study | None:
    """The study, without the keys that the schema finds wrong, so that all else is checked too; None if that fails."""
    values = _plain(tree)
    assert isinstance(values, dict)
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        problems += describe_errors(error, tree, entry, Study)
        wrong = {detail["loc"][0] for detail in error.errors(include_url=False)}
    try:
        return Study.model_validate({key: value for key, value in values.items() if key not in wrong})
    except ValidationError:
        return None


def _plain(node: Node) -> object:
    """The values alone. Settings of runs may carry directives for merging, which are the runs' business."""
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    return [_plain(item) for item in node.value] if isinstance(node.value, tuple) else node.value


def _factor_problems(file: StudyFile) -> Iterator[Problem]:
    factors = file.study.factors
    for name, levels in factors.items():
        if len(levels) < 2:
            told = f"factors.{name} has {len(levels)} level, so there is nothing to compare"
            yield Problem(told, file.where("factors", name), "the first is the low one, such as off: {}")
        for word in (name, *levels):
            if not word or not all(sign.isalnum() or sign in "_-+" for sign in word):
                place = ("factors", name) if word == name else ("factors", name, word)
                yield Problem(
                    f"factors: {word!r} cannot be a name",
                    file.where(*place),
                    "letters, digits, _ - and + can: it names files",
                )
    if file.study.design == "square" and [len(levels) for levels in factors.values()] != [SQUARE_LEVELS] * 3:
        yield Problem("design: square is for three factors of four levels each", file.where("design"))


def _seed_problems(file: StudyFile) -> Iterator[Problem]:
    seeds, most = file.study.seeds, file.study.max_seeds
    if len(set(seeds)) < len(seeds):
        yield Problem("seeds names a seed twice", file.where("seeds"))
    if len(seeds) < LEAST_SEEDS:
        told = f"seeds has {len(seeds)}, but the analysis needs the spread over at least {LEAST_SEEDS}"
        yield Problem(told, file.where("seeds"), "five are a floor for conclusions, eight to ten are useful")
    if most is not None and most < len(seeds):
        yield Problem(f"max_seeds is {most}, but seeds has {len(seeds)} already", file.where("max_seeds"))


def _control_problems(file: StudyFile) -> Iterator[Problem]:
    for control, levels in file.study.controls.items():
        if control not in CONTROLS:
            near = nearest(control, CONTROLS)
            told = f"controls: there is no control {control}; there are {', '.join(CONTROLS)}"
            yield Problem(told, file.where("controls", control), f"did you mean {near}?" if near else "")
        for factor, level in levels.items():
            if problem := wrong_level(file.study, factor, level):
                where = file.where("controls", control, factor)
                yield replace(problem, message=f"controls.{control}: {problem.message}", where=where)


def wrong_level(study: Study, factor: str, level: str) -> Problem | None:
    """What is wrong with a factor and a level that somebody names, if anything is."""
    for word, known, what in (
        (factor, study.factors, f"there is no factor {factor}; there are"),
        (level, study.factors.get(factor, {}), f"factor {factor} has no level {level}; it has"),
    ):
        if word not in known:
            near = nearest(word, known)
            return Problem(f"{what} {', '.join(known)}", hint=f"did you mean {near}?" if near else "")
    return None


def _config_problems(file: StudyFile) -> Iterator[Problem]:
    """Configurations that are not there."""
    named: list[tuple[str, ...]] = [("base",)]
    named += [(key, "config") for key in ("teacher", "start") if isinstance(getattr(file.study, key), First)]
    for steps in named:
        try:
            file.config(*steps)
        except ConfigError as error:
            yield from error.problems


def levels_named(words: list[str]) -> list[tuple[str, str]]:
    """`factor=level` words as pairs. Raises ConfigError for another shape."""
    pairs = [word.partition("=") for word in words]
    wrong = [word for word, (name, equals, level) in zip(words, pairs, strict=True) if not (name and equals and level)]
    if wrong:
        raise ConfigError([Problem(f"--only: {word} is not factor=level", "command line") for word in wrong])
    return [(name, level) for name, _, level in pairs]


def has_settings(node: Node) -> bool:
    """Whether a map of settings sets anything."""
    return any(path for path, _ in leaves(node))
