"""Small words of every message: one-line text, values as a reader sees them, lists with *or*."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from forge.core.errors import ConfigError, Problem

LONGEST_VALUE = 60
MOST_PROBLEMS = 100


def one_line(text: str) -> str:
    """The text with every character that could break a line or a terminal spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def quoted(value: object) -> str:
    """A value inside a message: text in double quotes, shortened; collections by their kind."""
    if isinstance(value, str):
        text = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
        return '"' + one_line(text).replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "a map" if value else "an empty map"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    return json.dumps(value)


def got(value: object) -> str:
    """As `quoted`, with the word *text* before text, so that "3" and 3 are told apart."""
    return f"text {quoted(value)}" if isinstance(value, str) else quoted(value)


def number(value: float) -> str:
    """A limit: 10 rather than 10.0, 1,000,000 rather than 1000000."""
    return f"{int(value) if float(value).is_integer() else value:,}"


def either(words: Sequence[str], last: str = "or") -> str:
    """``a, b or c``."""
    return f" {last} ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else ""


def fail(problems: Sequence[Problem]) -> ConfigError:
    """The error for these problems: each once, a file's from top to bottom, no more than a reader can take in."""
    problems = [_on_one_line(problem) for problem in problems]
    files = {_place(problem)[0]: number for number, problem in reversed(list(enumerate(problems)))}
    distinct = sorted(dict.fromkeys(problems), key=lambda problem: (files[_place(problem)[0]], *_place(problem)[1:]))
    if len(distinct) > MOST_PROBLEMS:
        rest = len(distinct) - MOST_PROBLEMS
        distinct = [*distinct[:MOST_PROBLEMS], Problem(f"{rest} more problems follow", distinct[MOST_PROBLEMS].where)]
    return ConfigError(distinct)


def _on_one_line(problem: Problem) -> Problem:
    return Problem(one_line(problem.message), one_line(problem.where), one_line(problem.hint))


def _place(problem: Problem) -> tuple[str, int, int]:
    found = re.fullmatch(r"(.*):([0-9]+):([0-9]+)", problem.where)
    if found is None:
        return problem.where.partition(":")[0], 0, 0
    return found[1], int(found[2]), int(found[3])
