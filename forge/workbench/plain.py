"""Results as plain values, ready for JSON, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np


class Plain:
    """A dataclass whose `as_json` gives its fields as plain values, but for those with `repr=False`."""

    def as_json(self) -> dict[str, Any]:
        """Lists, numbers and texts; what is not a finite number is null."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self) if field.repr}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """The same of any value: arrays become lists, dataclasses maps, NaN and infinities null."""
    if isinstance(value, Plain):
        return value.as_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class FormError(ValueError):
    """Plain values that are not of the form of a record; says where."""


def typed(kind: Any, value: Any, where: str = "value") -> Any:
    """A plain value as what a record's annotation says: the inverse of `plain`, for records of plain values.

    Knows records, tuples, maps with text keys, Literal, `… | None`, and float, int, bool and str. Raises FormError.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (other,) = (part for part in parts if part is not NoneType)
        return None if value is None else typed(other, value, where)
    if origin is tuple and isinstance(value, list):
        return _tuple(parts, value, where)
    if origin is Mapping and isinstance(value, dict):
        return {key: typed(parts[1], one, f"{where}.{key}") for key, one in value.items()}
    if origin is Literal and value in parts:
        return value
    if kind is float and type(value) in {int, float}:
        return float(value)
    if isinstance(kind, type) and issubclass(kind, Plain) and isinstance(value, dict):
        return _record(kind, value, where)
    if origin is None and type(value) is kind:
        return value
    raise FormError(where)


def _tuple(parts: tuple[Any, ...], value: list[Any], where: str) -> tuple[Any, ...]:
    kinds = [parts[0]] * len(value) if parts[-1:] == (Ellipsis,) else list(parts)
    if len(kinds) != len(value):
        raise FormError(where)
    return tuple(typed(kind, one, f"{where}[{n}]") for n, (kind, one) in enumerate(zip(kinds, value, strict=True)))


def _record(kind: type[Plain], value: dict[str, Any], where: str) -> Plain:
    hints = _hints(kind)  # type: ignore[arg-type]
    if set(value) != set(hints):
        wrong = sorted(set(value).symmetric_difference(hints))[0]
        raise FormError(f"{where}.{wrong}")
    return kind(**{name: typed(hints[name], one, f"{where}.{name}") for name, one in value.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
