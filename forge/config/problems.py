"""Turns what pydantic found into lines a reader understands, each with the place that caused it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from forge.config.fields import Key, describe, item_of, keys, names_in, options, words_of
from forge.config.origins import start_of
from forge.config.schema import Section, Settings
from forge.config.suggest import nearest, suggest_key
from forge.config.tree import Node, find
from forge.config.wording import either, got, number, quoted
from forge.core.errors import Problem

Steps = tuple[str | int, ...]

_BOUND = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_NUMERAL = re.compile(r"[-+]?[0-9][0-9_, ]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?")


def describe_errors(error: ValidationError, tree: Node, entry: Path, root: type[Section] = Settings) -> list[Problem]:
    """All problems, in the order of the files' lines as far as pydantic keeps it, one for each place.

    `root` is the schema that the tree was checked against.
    """
    found: dict[Steps, ErrorDetails] = {}
    for detail in error.errors(include_url=False):
        found.setdefault(_steps(detail, tree), detail)
    # The branches of a union each complain; the one that went deeper into the value is the one that was meant.
    return [
        _problem(steps, detail, tree, entry, root)
        for steps, detail in found.items()
        if detail["type"] == "value_error" or not any(_inside(other, steps) for other in found)
    ]


def where_is(tree: Node, steps: Sequence[str | int], entry: Path) -> str:
    """The place of a value, else of the nearest section around it in the entry file, else the entry file."""
    node = find(tree, steps)
    if node is not None:
        return node.origin.where
    around = find(tree, steps[:-1]) if len(steps) > 1 else None
    place = (around.key or around.origin) if around else None
    return place.where if place and place.file == entry else start_of(entry).where


def dotted(steps: Iterable[str | int]) -> str:
    """``data.labels[1]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _missing(detail: ErrorDetails) -> bool:
    """Whether a key is missing; a list that is too short says *missing* of its next position."""
    return detail["type"] == "missing" and isinstance(detail["loc"][-1], str)


def _inside(deeper: Steps, steps: Steps) -> bool:
    return len(deeper) > len(steps) and deeper[: len(steps)] == steps


def _steps(detail: ErrorDetails, tree: Node) -> Steps:
    """Where in the tree the error lies: pydantic's location without the names of union branches."""
    steps: list[str | int] = []
    node: Node | None = tree
    for position, step in enumerate(detail["loc"]):
        last = position == len(detail["loc"]) - 1
        below = find(node, [step]) if node is not None else None
        if below is not None or (last and _missing(detail)):
            steps.append(step)
            node = below
    return tuple(steps)


def _problem(steps: Steps, detail: ErrorDetails, tree: Node, entry: Path, root: type[Section]) -> Problem:
    kind, name = detail["type"], dotted(steps)
    if kind == "extra_forbidden":
        node = find(tree, steps)
        place = (node.key or node.origin) if node else start_of(entry)
        path = tuple(str(step) for step in steps)
        hint = suggest_key(path) if root is Settings else _suggest_here(path, root)
        return Problem(f"{name} is not a setting", place.where, hint)
    if _missing(detail):
        key = keys(root).get(name)
        what = f" ({describe(key.annotation, limits=False)})" if key and not key.section else ""
        return Problem(f"{name} is required{what}, and no file sets it", where_is(tree, steps, entry))
    if kind == "value_error":
        return _from_validator(steps, detail, tree, entry, root)
    message, hint = _expectation(steps, detail, root)
    return Problem(f"{name or 'the configuration'} {message}", where_is(tree, steps, entry), hint)


def _suggest_here(path: tuple[str, ...], root: type[Section]) -> str:
    """What an unknown key was probably meant to be, of a schema that other tools have no names for."""
    section, siblings = path[:-1], names_in(path[:-1], root)
    close = nearest(path[-1].replace("-", "_"), siblings)
    if close:
        return f"did you mean {'.'.join((*section, close))}?"
    return f"allowed in {'.'.join(section) or 'this file'}: {', '.join(siblings)}" if siblings else ""


def _from_validator(steps: Steps, detail: ErrorDetails, tree: Node, entry: Path, root: type[Section]) -> Problem:
    """A validator's own words, at the deepest key inside its section that they mention and somebody has set."""
    words = str(detail.get("ctx", {}).get("error", detail["msg"]))
    paths = [tuple(name.split(".")) for name in re.findall(r"[a-z_]+(?:\.[a-z_]+)*", words) if name in keys(root)]
    mentioned = [path for path in paths if path[: len(steps)] == steps]
    placed = [path for path in mentioned if find(tree, path) is not None]
    best: Steps = max(placed, key=len, default=steps)
    message = words if mentioned or not steps else f"{dotted(steps)}: {words}"
    return Problem(message, where_is(tree, best, entry))


def _expectation(steps: Steps, detail: ErrorDetails, root: type[Section]) -> tuple[str, str]:
    """What the value must be, and what to write instead."""
    value, kind, limits = detail["input"], detail["type"], detail.get("ctx", {})
    if kind in _BOUND:
        words, name = _BOUND[kind]
        return f"must be {words} {number(limits[name])}, got {got(value)}", ""
    if kind == "finite_number":
        return f"must be a finite number, got {value}", ""
    if kind == "string_too_short":
        return "must not be empty", ""
    if kind == "too_short":
        return f"needs at least {limits['min_length']} entries, got {limits['actual_length']}", ""
    annotation = _annotation(steps, root)
    if annotation is None:
        return f"is not right: {detail['msg']}", ""
    allowed = words_of(annotation)
    near = nearest(value, allowed) if isinstance(value, str) else ""
    hint = f"did you mean {near}?" if near else _mend(value, annotation)
    expected = describe(annotation, limits=False)
    if len(allowed) > 1 and {get_origin(option) for option in options(annotation)} == {Literal}:
        expected = f"one of {either(allowed)}"
    length = f" of {len(value)}" if isinstance(value, list) and kind in {"too_long", "missing"} else ""
    return f"must be {expected}, got {got(value)}{length}", hint


def _annotation(steps: Steps, root: type[Section]) -> Any:
    """The type that the schema gives for a place, following lists and maps; None where it says nothing."""
    for length in range(len(steps), 0, -1):
        key: Key | None = keys(root).get(".".join(str(step) for step in steps[:length]))
        if key is not None:
            annotation = key.annotation
            for step in steps[length:]:
                annotation = item_of(annotation, step)
            return annotation
    return None


def _mend(value: object, annotation: Any) -> str:
    """What to write instead, where the intention can be guessed."""
    kinds = options(annotation)
    if isinstance(value, str):
        return _mend_text(value, kinds)
    if isinstance(value, float) and int in kinds and value.is_integer():
        return f"write {int(value)}"
    if value is None and any(describe(kind) == "a section" for kind in kinds):
        return "leave out a section without keys"
    return f"put it in quotes: {quoted(str(value))}" if str in kinds and isinstance(value, int | float) else ""


def _mend_text(text: str, kinds: tuple[Any, ...]) -> str:
    if bool in kinds and text.lower() in {"yes", "on", "y", "1"}:
        return "write true"
    if bool in kinds and text.lower() in {"no", "off", "n", "0"}:
        return "write false"
    if {int, float} & set(kinds) and _NUMERAL.fullmatch(text):
        return f"write {re.sub('[_, ]', '', text)}, without quotes or separators"
    return ""
