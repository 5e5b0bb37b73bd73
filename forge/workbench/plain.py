"""Results as plain values, ready for JSON."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

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
