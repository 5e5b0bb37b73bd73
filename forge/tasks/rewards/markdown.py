"""Whether Markdown is well formed, as far as a page of text, tables and formulas goes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from forge.tasks.metrics.ocr.tables import find_tables
from forge.tasks.rewards.base import PerSample, Sample

FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)
BAD_HEADING = re.compile(r"^#{1,6}[^#\s]|^#{7,}", re.MULTILINE)
HEADING = re.compile(r"^#", re.MULTILINE)
TABLE_TAGS = ("table", "thead", "tbody", "tr", "td", "th")
RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Markdown(PerSample):
    r"""The share of the kinds of marks in a text that are all well formed, 0 to 1; 1 without marks, 0 of no text.

    Kinds: headings (`#` to `######` and a space), code fences (closed), formulas (`\( \[ $$` closed), tables in pipes
    (rows as wide as their heading) and in HTML (tags closed, cells cover a rectangle). Says nothing about what a page
    should have: text without a mark is well formed.
    """

    tasks = ("ocr",)

    def one(self, sample: Sample) -> float | None:
        """0 to 1."""
        if not sample.output.strip():
            return 0.0
        found = [is_well for is_well in kinds(sample.output).values() if is_well is not None]
        return sum(found) / len(found) if found else 1.0


def kinds(text: str) -> dict[str, bool | None]:
    """For each kind of mark whether all of it is well formed; None where the text has none."""
    outside, closed = _without_code(text)
    tables = find_tables(outside)
    pipes = [table for table in tables if not table.html]
    return {
        "code": closed,
        "headings": not BAD_HEADING.search(outside) if HEADING.search(outside) else None,
        "formulas": _formulas(outside),
        "pipe_tables": all(table.rectangular for table in pipes) if pipes else (False if _bare_rule(outside) else None),
        "html_tables": _html(outside, [table.rectangular for table in tables if table.html]),
    }


def _without_code(text: str) -> tuple[str, bool | None]:
    """The text outside fences, and whether all fences are closed."""
    kept: list[str] = []
    open_with, seen = "", False
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if mark and not open_with:
            open_with, seen = mark[1], True
        elif mark and open_with and line.strip().startswith(open_with) and not line.strip().strip(open_with[0]):
            open_with = ""
        elif not open_with:
            kept.append(line)
    return "\n".join(kept), (not open_with if seen else None)


def _formulas(text: str) -> bool | None:
    marks = [text.count(sign) for sign in (r"\(", r"\)", r"\[", r"\]", "$$")]
    if not any(marks):
        return None
    return marks[0] == marks[1] and marks[2] == marks[3] and marks[4] % 2 == 0


def _html(text: str, rectangular: list[bool]) -> bool | None:
    lowered = text.lower()
    balanced = []
    for tag in TABLE_TAGS:
        opened, closed = len(re.findall(rf"<{tag}\b", lowered)), lowered.count(f"</{tag}>")
        if opened or closed:
            balanced.append(opened == closed)
    return all(balanced) and all(rectangular) if balanced else None


def _bare_rule(text: str) -> bool:
    """A line of dashes and pipes that belongs to no table."""
    return any("|" in match[0] for match in RULE.finditer(text))
