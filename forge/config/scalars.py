"""Scalars by the YAML 1.2 core rules, read and written: `1e-5` is a number, `no` is a word, `12:30:00` is text."""

from __future__ import annotations

import json
import math
import re

Scalar = None | bool | int | float | str

LONGEST_INTEGER = 30

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})
# Letters first, so that nothing in here can be an indicator, a number or a directive.
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+-]+)*")
# What YAML reads as a line break, refuses to read, or what an editor hides.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar. Raises ValueError for an integer too long to mean anything."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        if len(text) > LONGEST_INTEGER:
            raise ValueError(f"an integer of {len(text)} characters is too long")
        base = 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10
        return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return float("-inf" if text.startswith("-") else "inf")
    return float("nan") if text in _NAN else text


def write_scalar(value: Scalar) -> str:
    """YAML text that reads back as exactly this value, quoted only where it must be."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and isinstance(resolve_plain(value), str)
        return value if plain else _quote(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _quote(text: str) -> str:
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
