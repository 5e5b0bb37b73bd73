"""Every reward by its name. A new one is its class in a file here, and a line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from forge.core.errors import UserError
from forge.tasks.metrics.comet import require_comet
from forge.tasks.rewards.base import Named, Need, TaskName
from forge.tasks.rewards.fluency import CausalFluency, Fluency, causal_fluency, train_fluency
from forge.tasks.rewards.form import (
    Constant,
    Ended,
    Language,
    Length,
    NotCopied,
    NotEmpty,
    Random,
    Repetition,
)
from forge.tasks.rewards.kiwi import CometKiwi
from forge.tasks.rewards.markdown import Markdown
from forge.tasks.rewards.options import check_options
from forge.tasks.rewards.pages import EditSimilarity, NoLoop, Teds, UnitTests
from forge.tasks.rewards.reference import ChrF, SentenceBLEU


@dataclass(frozen=True)
class Setting:
    """What a run has that some rewards are made of. Functions are called only for rewards that take part."""

    task: TaskName
    has: Collection[Need]  # what the data has of every sample
    language: str | None = None  # of what is written
    lines: Callable[[], Sequence[str]] | None = None  # the training targets
    causal: Callable[[str], tuple[Any, Any]] | None = None  # a model's name → the model and its tokenizer


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    kind: type[Named]
    make: Callable[[Mapping[str, Any], Setting], Named]


def _plain(kind: type[Named]) -> Entry:
    def make(options: Mapping[str, Any], _: Setting) -> Named:
        check_options(kind, options)
        return kind(**options)

    return Entry(kind, make)


def _length(options: Mapping[str, Any], setting: Setting) -> Named:
    check_options(Length, options)
    against = "source" if "source" in setting.has or setting.task == "translation" else "reference"
    return Length(**{"against": against} | dict(options))


def _language(options: Mapping[str, Any], setting: Setting) -> Named:
    check_options(Language, options)
    language = options.get("language") or setting.language
    if not language:
        raise UserError("reward language: which one? set its `language`")
    return Language(language)


def _fluency(options: Mapping[str, Any], setting: Setting) -> Named:
    check_options(train_fluency, options)
    return train_fluency(_lines(setting, "fluency"), **options)


def _causal(options: Mapping[str, Any], setting: Setting) -> Named:
    if setting.causal is None or "model" not in options:
        raise UserError("reward causal_fluency: which language model? set its `model`")
    more = {name: value for name, value in options.items() if name != "model"}
    check_options(causal_fluency, more)
    return causal_fluency(*setting.causal(options["model"]), _lines(setting, "causal_fluency"), **more)


def _kiwi(options: Mapping[str, Any], _: Setting) -> Named:
    check_options(CometKiwi, options)
    require_comet()
    return CometKiwi(**options)


def _lines(setting: Setting, name: str) -> Sequence[str]:
    lines = setting.lines() if setting.lines else ()
    if not lines:
        raise UserError(f"reward {name}: it learns from the data's targets, and there are none")
    return lines


REWARDS: Mapping[str, Entry] = {
    "sentence_bleu": _plain(SentenceBLEU),
    "chrf": _plain(ChrF),
    "length": Entry(Length, _length),
    "language": Entry(Language, _language),
    "repetition": _plain(Repetition),
    "not_copied": _plain(NotCopied),
    "fluency": Entry(Fluency, _fluency),
    "causal_fluency": Entry(CausalFluency, _causal),
    "comet_kiwi": Entry(CometKiwi, _kiwi),
    "edit_similarity": _plain(EditSimilarity),
    "unit_tests": _plain(UnitTests),
    "teds": _plain(Teds),
    "markdown": _plain(Markdown),
    "no_loop": _plain(NoLoop),
    "ended": _plain(Ended),
    "not_empty": _plain(NotEmpty),
    "constant": _plain(Constant),
    "random": _plain(Random),
}
"""All rewards. Each can also be a gate, with the least value that passes."""


def make_reward(name: str, options: Mapping[str, Any], setting: Setting) -> Named:
    """The reward of that name for a run. Raises UserError of one line."""
    if name not in REWARDS:
        near = get_close_matches(name, REWARDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(REWARDS)}"
        raise UserError(f"there is no reward '{name}'; {hint}")
    entry = REWARDS[name]
    if setting.task not in entry.kind.tasks:
        able = ", ".join(other for other, one in REWARDS.items() if setting.task in one.kind.tasks)
        raise UserError(
            f"reward {name}: it is for {' and '.join(entry.kind.tasks)}, the task is {setting.task}; take one of {able}"
        )
    _check_needs(name, entry.kind.needs, setting)
    try:
        made = entry.make(options, setting)
    except (TypeError, ValueError) as error:
        raise UserError(f"reward {name}: {' '.join(str(error).split())}") from error
    _check_needs(name, made.wants(), setting)
    return made


def _check_needs(name: str, needs: frozenset[Need], setting: Setting) -> None:
    if missing := sorted(needs - set(setting.has)):
        raise UserError(f"reward {name}: it needs the {' and '.join(missing)} of each sample, and the data has none")


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights that say nothing. Raises UserError of one line."""
    if low := next((name for name, weight in weights.items() if weight < 0), None):
        raise UserError(f"reward {low}: its weight is {weights[low]:g}; a weight is at least 0")
    if weights and not sum(weights.values()) > 0:
        raise UserError("the weights of the rewards add up to 0: nothing would be learned")
