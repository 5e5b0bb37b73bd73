"""From a file and command-line settings to one checked configuration that knows where each value came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from forge.config.fields import keys
from forge.config.inherit import ROOT_NAME, configuration_root, entry_file, load_layers
from forge.config.merge import Merger, Setter, merge_all
from forge.config.origins import DEFAULT, Origin
from forge.config.overrides import read_overrides
from forge.config.problems import describe_errors, where_is
from forge.config.rewards import judged_by_its_reward, places_unused, rl_problems
from forge.config.schema import LOSS_NAMES, Section, Settings
from forge.config.tree import Node, find, plain
from forge.config.wording import fail
from forge.core.errors import Problem

WITHOUT_EFFECT = frozenset(
    {
        "run",
        "log",
        "seed",
        "train.num_workers",
        "train.threads",
        "checkpoint.average",
        "distill.gradient_norm_every",
        "distill.cache.dir",
    }
)
"""Keys that do not change what an experiment is: where it goes, what it reports, how fast it runs, what is made of its
checkpoints after training, and its seed, which stands in the run's directory name by itself."""

LATER: Mapping[str, Any] = MappingProxyType({"rl": None, "distill.shuffle_logits": False})
"""Keys that are left out of a run's name where they have this value."""


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration after inheritance, command line and checks. `origins` and `history` go by dotted leaf path."""

    settings: Settings
    origins: Mapping[str, Origin]
    history: Mapping[str, tuple[Setter, ...]]
    path: Path
    chain: tuple[Path, ...]
    mode: str
    mode_line: str
    warnings: tuple[str, ...] = ()
    named: str = ""

    @property
    def name(self) -> str:
        """As told; else the file's path below its `configs` directory, without suffix; its stem if it lies in none."""
        if self.named:
            return self.named
        root = configuration_root(self.path)
        return self.path.relative_to(root).with_suffix("").as_posix() if root.name == ROOT_NAME else self.path.stem

    def as_dict(self) -> dict[str, Any]:
        """All settings, defaults included, as plain JSON values."""
        return self.settings.model_dump(mode="json")

    def changed(self) -> dict[str, Any]:
        """Only what differs from the defaults, and what has none."""
        return _changed(self.settings, ())

    def digest(self, extra: Mapping[str, str] = MappingProxyType({})) -> str:
        """Eight hex digits that stand for the experiment: everything but `WITHOUT_EFFECT`, and `extra`."""
        content = [_canonical(self.settings, ""), sorted(extra.items())]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def resolve(
    path: str | Path, overrides: Sequence[str] = (), between: Sequence[Node] = (), named: str = ""
) -> ResolvedConfig:
    """Reads, merges and checks a configuration. Raises ConfigError with all problems that could be found.

    Maps of `between` are laid over the files, the weakest first, and below the command line's `overrides`; `named`
    takes the place of the name that the file's path gives.
    """
    entry = entry_file(path)
    layers = load_layers(entry)
    problems: list[Problem] = []
    top = read_overrides(overrides, problems)
    merger = Merger()
    tree = merge_all([*(layer.node for layer in layers), *between, *([top] if top else [])], merger)
    if merger.problems:
        raise fail([*merger.problems, *problems])
    try:
        settings = Settings.model_validate(plain(tree))
    except ValidationError as error:
        raise fail([*problems, *describe_errors(error, tree, entry)]) from None
    problems += _distillation_problems(settings, where_is(tree, ("alpha",), entry))
    problems += rl_problems(settings, lambda steps: where_is(tree, steps, entry))
    if problems:
        raise fail(problems)
    origins = {".".join(leaf): _origin(tree, leaf) for leaf in leaf_paths(settings)}
    block = find(tree, ("rl",))
    mode, mode_line = _mode(settings, origins, block.key if block else None)
    history = {name: tuple(setters) for name, setters in merger.history.items()}
    chain = tuple(layer.file for layer in layers)
    warnings = (
        *_without_effect(settings, origins),
        *_short_of_the_peak(settings, origins),
        *judged_by_its_reward(settings, origins),
        *places_unused(settings, origins),
    )
    return ResolvedConfig(
        settings, MappingProxyType(origins), MappingProxyType(history), entry, chain, mode, mode_line, warnings, named
    )


def leaf_paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every value that is not a section or a map with entries."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaf_paths(getattr(value, name), (*path, name))
    elif isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaf_paths(inner, (*path, name))
    else:
        yield path


def _distillation_problems(settings: Settings, where: str) -> list[Problem]:
    """A teacher's weight without a teacher, or without a loss that listens to it."""
    if settings.alpha == 0:
        return []
    problems = []
    if settings.teacher.name is None:
        message = f"alpha = {settings.alpha} turns distillation on, but teacher.name is not set"
        problems.append(Problem(message, where, "name a trained model or a Forge run, or set alpha: 0.0"))
    if settings.rl is None and not settings.distill.losses() and settings.distill.sequence.targets == "reference":
        message = f"alpha = {settings.alpha} turns distillation on, but no loss of distill has a weight"
        hint = f"for example distill.forward_kl.weight: 1.0; the losses are {', '.join(LOSS_NAMES)}"
        problems.append(Problem(message, where, hint))
    return problems


def _without_effect(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    """Settings of distillation that somebody made and that change nothing."""
    made = [name for name, origin in origins.items() if origin.kind != "default"]
    if settings.alpha == 0:
        idle = [name for name in made if name.startswith(("teacher.", "distill."))]
        idle += [name for name in made if name.startswith("rl.distill.")]
        why = "alpha is 0.0"
    elif settings.rl:
        idle = [name for name in made if name.startswith("distill.")]
        why = "rl is set, and the teacher is heard through rl.distill"
    else:
        left_out = tuple(f"distill.{loss}." for loss in LOSS_NAMES if loss not in settings.distill.losses())
        idle = [name for name in made if name.startswith(left_out) and not name.endswith(".weight")]
        why = "its loss has weight 0"
    if idle:
        more = f" and {len(idle) - 1} more" if len(idle) > 1 else ""
        yield f"{origins[idle[0]].where}  {idle[0]}{more} has no effect, because {why}"


def _short_of_the_peak(settings: Settings, origins: Mapping[str, Origin]) -> Iterator[str]:
    """No error: a few steps of any configuration are how a newcomer tries it out."""
    warmup, steps = settings.train.warmup_steps, settings.train.max_steps
    if warmup and steps and warmup > steps:
        yield (
            f"{origins['train.warmup_steps'].where}  the learning rate never reaches its peak: train.warmup_steps is "
            f"{warmup:,}, train.max_steps is {steps:,}"
        )


def _origin(tree: Node, path: tuple[str, ...]) -> Origin:
    node = find(tree, path)
    return node.origin if node else DEFAULT


def _mode(settings: Settings, origins: Mapping[str, Origin], rl: Origin | None) -> tuple[str, str]:
    if settings.rl:
        taught = f", with a teacher because alpha = {settings.alpha}" if settings.alpha > 0 else ""
        return "rl", f"rl, because rl is set ({(rl or DEFAULT).short}){taught}"
    mode = "kd" if settings.alpha > 0 else "sft"
    return mode, f"{mode}, because alpha = {settings.alpha} ({origins['alpha'].short})"


def _changed(section: Section, path: tuple[str, ...]) -> dict[str, Any]:
    different: dict[str, Any] = {}
    values = section.model_dump(mode="json")
    for name in type(section).model_fields:
        key, value = keys()[".".join((*path, name))], getattr(section, name)
        if isinstance(value, Section):
            inner = _changed(value, (*path, name))
            if inner or key.required:
                different[name] = inner
        elif key.required or value != key.default:
            different[name] = values[name]
    return different


def _canonical(value: object, path: str) -> Any:
    """JSON in which the order of a user's own map counts (its first entry chooses the best checkpoint)."""
    if isinstance(value, BaseModel):
        names = {name: f"{path}.{name}".removeprefix(".") for name in type(value).model_fields}
        # What came later leaves the names of runs that do not use it as they were before there was such a thing.
        left_out = [name for name, full in names.items() if full in LATER and getattr(value, name) == LATER[full]]
        kept = {name: full for name, full in names.items() if full not in WITHOUT_EFFECT and name not in left_out}
        return {name: _canonical(getattr(value, name), full) for name, full in kept.items()}
    if isinstance(value, dict):
        return [[key, _canonical(inner, path)] for key, inner in value.items()]
    return [_canonical(item, path) for item in value] if isinstance(value, list | tuple) else value
