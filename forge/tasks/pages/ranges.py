"""Which pages: `1-5,8,12-` as ranges that cost the same however many pages they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from forge.core.errors import UserError

_PART = re.compile(r"(\d{1,9})?(\s*-\s*)?(\d{1,9})?", re.ASCII)
END = 10**9  # `3-` runs to here

Spans = tuple[tuple[int, int], ...]


def parse_pages(text: str | None) -> Spans | None:
    """Ascending spans (first, last) that do not touch; None means every page. Raises UserError for bad syntax."""
    if text is None:
        return None
    spans: list[tuple[int, int]] = []
    for first, last in sorted(_span(part.strip(), text) for part in text.split(",")):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return tuple(spans)


def within(spans: Spans | None, count: int) -> tuple[Iterator[int], str]:
    """The page numbers that a document of `count` pages has, and in words those that it lacks (often none)."""
    if spans is None:
        return iter(range(1, count + 1)), ""
    there = chain.from_iterable(range(first, min(last, count) + 1) for first, last in spans)
    beyond = [(max(first, count + 1), last) for first, last in spans if last > count and (last < END or first > count)]
    return there, ", ".join(_worded(first, last) for first, last in beyond)


def _span(part: str, text: str) -> tuple[int, int]:
    found = _PART.fullmatch(part)
    if not found or not part.strip("- "):
        raise UserError(f"pages '{text}' is not a list of pages such as 1-5,8 or 3-")
    first = int(found[1] or 1)
    last = int(found[3] or END) if found[2] else first
    if first < 1 or last < first:
        raise UserError(f"pages '{text}': '{part}' is empty; pages are counted from 1")
    return first, last


def _worded(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{'' if last == END else last}"
