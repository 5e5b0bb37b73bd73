"""Checks of how text is marked: headings, bold, italic, footnotes, formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from rapidfuzz import fuzz

from forge.tasks.metrics.ocr.checks.base import (
    PASSED,
    Check,
    Outcome,
    Page,
    Row,
    best_part,
    failed,
    quoted,
    threshold,
)
from forge.tasks.metrics.ocr.normalise import normalise

MARKDOWN = {
    "heading": (re.compile(r"^#{1,6}\s+(.+?)$", re.MULTILINE),),
    "bold": (re.compile(r"\*\*(.*?)\*\*", re.DOTALL), re.compile(r"__(.*?)__", re.DOTALL)),
    "italic": (
        re.compile(r"(?<!\*)\*(?!\*)(.*?)(?<!\*)\*(?!\*)", re.DOTALL),
        re.compile(r"(?<!_)_(?!_)(.*?)(?<!_)_(?!_)", re.DOTALL),
    ),
}
HTML = {"heading": ("h1", "h2", "h3", "h4", "h5", "h6"), "bold": ("b", "strong"), "italic": ("i", "em")}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
REACH = 200
MOST_MARKERS = 1_000
DELIMITERS = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"), ("$", "$"))
MOST_RENDERED = 200


@dataclass(frozen=True, kw_only=True)
class Format(Check):
    """The text is in a heading, in bold or in italics, of Markdown or HTML (partial ratio as for `present`)."""

    types = ("format",)

    text: str
    format: str
    case_sensitive: bool = True

    @classmethod
    def read(cls, row: Row) -> Format:
        """From a line of a file."""
        if (form := row.text("format", required=True)) not in MARKDOWN:
            raise ValueError(f"`format` must be heading, bold or italic, not '{form}'")
        case = row.flag("case_sensitive", True)
        return cls(**cls.common(row), text=row.wanted("text", True), format=form, case_sensitive=case)

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        wanted = self.text if self.case_sensitive else self.text.lower()
        least, seen = threshold(wanted, self.max_diffs), 0
        for part in marked(page.text, self.format):
            text, seen = normalise(part), seen + 1
            text = text if self.case_sensitive else text.lower()
            if len(text) >= len(wanted) - self.max_diffs and best_part(wanted, text, least) >= least:
                return PASSED
        return failed(f"{quoted(self.text)} is in none of {seen} stretches of {self.format}")


def marked(text: str, form: str) -> Iterator[str]:
    """What is marked as `form`, in Markdown or HTML."""
    for pattern in MARKDOWN[form]:
        yield from (match[1] for match in pattern.finditer(text))
    for tag in HTML[form]:
        yield from _between_tags(text, tag)


def _between_tags(text: str, tag: str) -> Iterator[str]:
    """Contents of an HTML element, each from an opening tag to the next closing one. One pass over the text."""
    start = None
    for match in re.finditer(rf"<(/?){tag}\b[^<>]{{0,1000}}>", text, re.IGNORECASE):
        if not match[1]:
            start = match.end() if start is None else start
        elif start is not None:
            yield text[start : match.start()]
            start = None


@dataclass(frozen=True, kw_only=True)
class Footnote(Check):
    """The marker is there as `[^1]`, `<sup>1</sup>` or a superscript of Unicode, with stated text before or after it.

    The stated texts are looked for in twice their length next to the marker, at most 200 characters away, letters and
    digits alone compared, in lower case (partial ratio as for `present`). Each may be at another place of the marker.
    """

    types = ("footnote",)

    marker: str
    before: str = ""
    after: str = ""

    @classmethod
    def read(cls, row: Row) -> Footnote:
        """From a line of a file."""
        marker = row.text("marker", required=True)
        if any(sign.isspace() for sign in marker):
            raise ValueError(f"`marker` must not have white space: '{marker}'")
        before, after = row.wanted("appears_before_marker"), row.wanted("appears_after_marker")
        return cls(**cls.common(row), marker=marker, before=before, after=after)

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        matches = re.finditer(self._pattern(), page.text, re.IGNORECASE)
        spans = [match.span() for match in islice(matches, MOST_MARKERS)]
        if not spans:
            return failed(f"the marker {quoted(self.marker)} is not there")
        before = (_bare(page.text[max(0, start - REACH) : start]) for start, _ in spans)
        if self.before and not any(self._has(text, self.before, -1) for text in before):
            return failed(f"{quoted(self.before)} does not stand before the marker")
        after = (_bare(page.text[end : end + REACH]) for _, end in spans)
        if self.after and not any(self._has(text, self.after, 1) for text in after):
            return failed(f"{quoted(self.after)} does not stand after the marker")
        return PASSED

    def _pattern(self) -> str:
        marker = re.escape(self.marker)
        forms = [rf"\[\^{marker}\](?!:)", rf"<sup\b[^<>]{{0,1000}}>{marker}</sup>"]
        if self.marker.isascii() and self.marker.isdigit():
            forms.append(self.marker.translate(SUPERSCRIPTS))
        return "|".join(forms)

    def _has(self, text: str, stated: str, side: int) -> bool:
        wanted, least = _bare(stated), threshold(stated, self.max_diffs)
        near = text[: 2 * len(wanted)] if side > 0 else text[-2 * len(wanted) :]
        return bool(near) and best_part(wanted, near, least) >= least


def _bare(text: str) -> str:
    return "".join(sign for sign in normalise(text) if sign.isalnum()).lower()


@dataclass(frozen=True, kw_only=True)
class Math(Check):
    r"""The formula is on the page, between `$`, `$$`, `\(` or `\[`: the same string, or one that looks the same.

    Without a way to render formulas, a formula that is not there as the same string is "left out": nobody can tell.
    """

    types = ("math",)

    math: str
    no_dollars: bool = False

    @classmethod
    def read(cls, row: Row) -> Math:
        """From a line of a file."""
        no_dollars = row.flag("ignore_dollar_delimited", False)
        return cls(**cls.common(row), math=row.text("math", True), no_dollars=no_dollars)

    def run(self, page: Page) -> Outcome:
        """Whether it holds on that page."""
        found = formulas(page.text, dollars=not self.no_dollars)
        if self.math in found or self.math.strip() in found:
            return PASSED
        if not found:
            return failed("there is no formula")
        if page.same is None:
            return Outcome("left out", "no formula is the same string, and there is nothing to render them with")
        found.sort(key=lambda formula: -fuzz.ratio(formula[:1000], self.math))
        if any(page.same(self.math, formula) for formula in found[:MOST_RENDERED]):
            return PASSED
        return failed(f"no formula looks like {quoted(self.math)}")


def formulas(text: str, dollars: bool = True) -> list[str]:
    """What stands between delimiters of formulas; those found by one kind are gone for the next."""
    found: list[str] = []
    for opening, closing in DELIMITERS[: len(DELIMITERS) if dollars else 2]:
        rest, at = [], 0
        while (start := text.find(opening, at)) >= 0:
            inside = start + len(opening)
            end = text.find(closing, inside + 1)  # a formula has one character at least
            if end < 0:
                break
            found.append(text[inside:end].strip())
            rest.append(text[at:start])
            at = end + len(closing)
        text = "".join([*rest, text[at:]])
    return found


def exact_strings_alone(wanted: str, formula: str) -> bool:
    """A `SameFormula` that takes no formula for another: what is not the same string fails and is not left out."""
    return wanted == formula
