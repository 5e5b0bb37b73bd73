"""What a configuration says: shown in full, key by key, or against another one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forge.config.fields import Key, describe, keys
from forge.config.json_schema import json_schema
from forge.config.merge import Setter
from forge.config.origins import DEFAULT, Origin
from forge.config.overrides import find_key
from forge.config.resolve import ResolvedConfig, leaf_paths
from forge.config.scalars import write_scalar

__all__ = ["Difference", "diff", "diff_text", "explain", "json_schema", "show"]


def show(config: ResolvedConfig, *, sources: bool = False, changed: bool = False) -> str:
    """The settings as YAML that resolves to the same settings; `sources` adds who set each value as a comment."""
    content = config.changed() if changed else config.as_dict()
    lines = list(_lines(content, (), config))
    width = max((len(text) for text, _ in lines), default=0)
    if not sources:
        return "\n".join(text for text, _ in lines) + "\n"
    return "\n".join(f"{text:<{width}}  # {origin.short}" if origin else text for text, origin in lines) + "\n"


def explain(name: str, config: ResolvedConfig | None = None) -> str:
    """Meaning, type and default of a key, and in a configuration its value and everyone who set it."""
    key = find_key(name)
    lines = [
        key.dotted,
        *textwrap.wrap(" ".join(key.description.split()), 96, initial_indent="  ", subsequent_indent="  "),
    ]
    if key.section is not None:
        inside = [other for other in keys().values() if other.path[:-1] == key.path]
        return "\n".join([*lines, "  keys:", *(f"    {other.path[-1]:<20} {_summary(other)}" for other in inside)])
    lines.append(f"  type:     {describe(key.annotation, key.metadata)}")
    lines.append(f"  default:  {'none, it must be set' if key.required else _flow(key.default)}")
    if config is not None:
        lines += _current(key, config)
    return "\n".join(lines)


@dataclass(frozen=True)
class Difference:
    """One key that two configurations set differently; a side that lacks the key has no origin."""

    key: str
    left: Any
    right: Any
    left_origin: Origin | None
    right_origin: Origin | None


def diff(left: ResolvedConfig, right: ResolvedConfig) -> tuple[Difference, ...]:
    """Every leaf in which the two differ, in the order of the schema."""
    a, b = _values(left), _values(right)
    return tuple(
        Difference(name, a.get(name), b.get(name), left.origins.get(name), right.origins.get(name))
        for name in dict.fromkeys([*a, *b])
        if a.get(name) != b.get(name) or (name in a) != (name in b)
    )


def diff_text(left: ResolvedConfig, right: ResolvedConfig) -> str:
    """`diff` for a reader, three lines a key."""
    blocks = [
        f"{item.key}\n  - {_side(item.left, item.left_origin)}\n  + {_side(item.right, item.right_origin)}"
        for item in diff(left, right)
    ]
    return "\n".join(blocks) or "no difference"


def _side(value: Any, origin: Origin | None) -> str:
    return f"{_flow(value)}  ({origin})" if origin else "not set"


def _values(config: ResolvedConfig) -> dict[str, Any]:
    content = config.as_dict()
    return {".".join(path): _at(content, path) for path in leaf_paths(config.settings)}


def _at(content: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        content = content.get(step) if isinstance(content, dict) else None
    return content


def _current(key: Key, config: ResolvedConfig) -> list[str]:
    """The present value, and below it what it overrode, the latest first."""
    value = _at(config.as_dict(), key.path)
    names = [name for name in config.origins if name == key.dotted or name.startswith(f"{key.dotted}.")]
    lines: list[str] = [f"  value:    {_flow(value)}"]
    for name in names:
        label = "" if name == key.dotted else f"{name.removeprefix(key.dotted + '.')}: "
        setters = config.history.get(name, ())
        lines.append(f"  set by:   {label}{config.origins[name]}")
        # The last turn is the present value, unless it was a removal.
        earlier = setters if setters and setters[-1].removed else setters[:-1]
        lines += [f"  over:     {label}{_turn(setter)}" for setter in reversed(earlier)]
    return lines


def _turn(setter: Setter) -> str:
    return f"removed  ({setter.origin})" if setter.removed else f"{_flow(setter.value)}  ({setter.origin})"


def _summary(key: Key) -> str:
    return key.description.split("\n")[0]


def _lines(
    content: dict[str, Any], path: tuple[str, ...], config: ResolvedConfig
) -> Iterator[tuple[str, Origin | None]]:
    indent = "  " * len(path)
    for name, value in content.items():
        here = (*path, name)
        if isinstance(value, dict) and value:
            yield f"{indent}{write_scalar(name)}:", None
            yield from _lines(value, here, config)
        else:
            origin = config.origins.get(".".join(here), DEFAULT)
            yield f"{indent}{write_scalar(name)}: {_flow(value)}", origin


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{write_scalar(name)}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return write_scalar(value)
