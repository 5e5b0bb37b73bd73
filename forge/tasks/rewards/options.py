"""Options of a reward that are not what it takes: said by name, before anything is scored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

KINDS: Mapping[type, str] = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


def check_options(made_by: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse what is no keyword with a plain type of the function or class, or not of that type. Raises ValueError."""
    kinds = _kinds(made_by)
    for name, value in options.items():
        if name not in kinds:
            near = get_close_matches(name, kinds, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(kinds) or 'none'}"
            raise ValueError(f"there is no option {name}; {hint}")
        if not _fits(value, kinds[name]):
            raise ValueError(f"{name} must be {_said(kinds[name])}, got {value!r:.60}")


def _kinds(made_by: Callable[..., Any]) -> dict[str, Any]:
    hints = get_type_hints(made_by)
    hints = {name: hints[name] for name in inspect.signature(made_by).parameters if name in hints}
    return {name: kind for name, kind in hints.items() if kind in KINDS or get_origin(kind) is Literal}


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _said(kind: Any) -> str:
    return KINDS.get(kind) or " or ".join(str(value) for value in get_args(kind))
