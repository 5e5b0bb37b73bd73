"""`${env:NAME,default}` inside text values: the one thing that is filled in from outside the files."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from forge.config.tree import Node
from forge.config.wording import one_line, quoted
from forge.core.errors import Problem

_MARK = "${env:"
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?:,([^{}]*))?\}")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")


def interpolate(node: Node, problems: list[Problem]) -> Node:
    """The tree with every reference filled in; what went in is kept in the origin's text."""
    if isinstance(node.value, dict):
        return replace(node, value={key: interpolate(child, problems) for key, child in node.value.items()})
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(interpolate(item, problems) for item in node.value))
    if not isinstance(node.value, str) or _MARK not in node.value:
        return node
    where = node.origin.where
    text = node.value
    known = len(problems)
    value = _REFERENCE.sub(lambda match: _filled(match, where, problems), text)
    if _MARK in value and len(problems) == known:
        problems.append(Problem(f"{quoted(text)} is not written ${{env:NAME}} or ${{env:NAME,default}}", where))
    origin = node.origin if node.origin.kind == "cli" else replace(node.origin, text=text)
    return replace(node, value=value, origin=origin)


def _filled(match: re.Match[str], where: str, problems: list[Problem]) -> str:
    name, default = match[1], match[2]
    value = os.environ.get(name)
    if any(word in name.upper() for word in _SECRET):
        # The resolved configuration is written into every run directory.
        problems.append(Problem(f"environment variable {name} looks like a secret, which no file may hold", where))
    elif value is None and default is None:
        hint = f"set it, or write ${{env:{name},default}}"
        problems.append(Problem(f"environment variable {name} is not set", where, hint))
    elif value is not None and (_MARK in value or not _is_text(value)):
        problems.append(
            Problem(f"environment variable {name} holds {one_line(value)[:40]}, which is not usable", where)
        )
    else:
        return value if value is not None else default.strip()
    return match[0]


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)
