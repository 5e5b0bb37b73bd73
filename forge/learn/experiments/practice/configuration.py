"""A configuration that the learner writes, read by Forge: who set each value, or what is wrong in which line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from forge.config import ResolvedConfig, resolve
from forge.core.errors import ConfigError
from forge.core.io import storage_errors
from forge.learn.experiments.base import Live, word
from forge.learn.experiments.practice.command import Told, split_words, type_in, workplace
from forge.learn.questions import Value
from forge.learn.results import Bar, Bars, Block, Result, Table

FILE = "configs/classification/embedded_nli/tiny_distilbert/mine.yaml"
FIRST = "extends: _base.yaml\ntrain:\n  learning_rate: 1e-3\n"  # what the learner begins with, its remark aside
EXPLAINED = "train.learning_rate"
NOTHING = "nothing"
WHO: Mapping[str, str] = MappingProxyType(
    {"default": "Forge's defaults", "parent": "the files it inherits from", "file": "your file", "cli": "your command"}
)


def run(controls: Mapping[str, Value], live: Live) -> Result:
    """The learner's `file`, with the settings `typed` behind the command, as Forge's own commands show it."""
    place = workplace(live)
    written = str(controls["file"]).rstrip() + "\n"
    typed = word(controls, "typed")
    words = [] if typed == NOTHING else split_words(typed)
    at_first = _resolve(FIRST, place, [])
    mine = _resolve(written, place, words)
    live.progress(0.4, "the command reads your file")
    shown = type_in(["config", "show", "--changed", "--sources", "--config", FILE, *words], place)
    block = Block(title="What Forge makes of it, and who said so", text=shown.as_terminal())
    if isinstance(mine, ConfigError):
        count = len(mine.problems)
        return Result(
            said=f"Exit code {shown.code}: {count} problem{'s' if count > 1 else ''}, found before anything was "
            "started. Each says where it is.",
            numbers={"problems": count, "exit_code": shown.code},
            pictures=[block],
            command=shown.typed,
        )
    live.progress(0.7, "and explains one setting")
    explained = type_in(["config", "explain", EXPLAINED, "--config", FILE, *words], place)
    return _valid(mine, at_first, written, shown, explained)


def _resolve(text: str, place: Path, words: list[str]) -> ResolvedConfig | ConfigError:
    """A text as the learner's file, read by Forge."""
    with storage_errors("writing your file"):
        (place / FILE).write_text(text, encoding="utf-8")
    try:
        return resolve(place / FILE, words)
    except ConfigError as error:
        return error


def _valid(
    mine: ResolvedConfig, at_first: ResolvedConfig | ConfigError, written: str, shown: Told, explained: Told
) -> Result:
    assert isinstance(at_first, ResolvedConfig), "the file that the lesson begins with is valid"
    who = _who(mine)
    same = mine.digest() == at_first.digest()
    retold = same and _lines(written) != _lines(FIRST)
    train = mine.settings.train
    root = next((turn.origin for turn in mine.history.get(EXPLAINED, ()) if turn.origin.kind == "file"), None)
    return Result(
        said=f"This experiment has {sum(who.values())} settings. Your file made {who['file']} of them, your command "
        f"{who['cli']}, the files it inherits from {who['parent']}. The learning rate is {train.learning_rate:g}.",
        numbers={
            "problems": 0,
            "exit_code": shown.code,
            "settings": sum(who.values()),
            "by_file": who["file"],
            "by_command": who["cli"],
            "learning_rate": train.learning_rate,
            "batch_size": train.batch_size,
            "max_steps": train.max_steps or 0,
            "alpha": mine.settings.alpha,
            "first_line": root.line if root else 0,
            "retold": int(retold),
        },
        pictures=[
            Block(title="What differs from Forge's defaults, and who said so", text=shown.as_terminal()),
            Block(title="One setting explained", text=explained.as_terminal()),
            _bars(who),
            _fingerprints(mine, at_first),
        ],
        command=shown.typed,
    )


def _who(mine: ResolvedConfig) -> Counter[str]:
    """How many settings each made."""
    return Counter(
        "parent" if origin.kind == "file" and origin.file != mine.path else origin.kind
        for origin in mine.origins.values()
    )


def _lines(text: str) -> list[str]:
    """What is written, without remarks: a remark alone is not other words."""
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _bars(who: Counter[str]) -> Bars:
    return Bars(
        title="Who set how many settings",
        bars=[Bar(label=label, value=who[kind], strong=kind == "file") for kind, label in WHO.items()],
        most=sum(who.values()),
    )


def _fingerprints(mine: ResolvedConfig, at_first: ResolvedConfig) -> Table:
    return Table(
        title="The fingerprint of the settings, as in the name of the run directory",
        header=["file", "fingerprint"],
        rows=[["as it was at first", at_first.digest()], ["yours", mine.digest()]],
    )
