"""MHS: how alike the outlines of two pages are, as opendataloader-bench defines it.

    MHS(A, B) = 1 − d(A, B) / max(|A|, |B|)           0 to 1

d is the edit distance of the trees document → headings → what stands below each, one node of text (what stands above
the first heading hangs from the document). Renaming costs 1 between kinds of nodes and else the Levenshtein distance of
both texts over the longer one, white space collapsed. MHS-S leaves texts out. The levels of headings are not compared.
Where the reference has headings and the page has none, both are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forge.tasks.metrics.ocr.likeness import EXACT_PAIRS, Likeness, likeness
from forge.tasks.metrics.ocr.trees import Node

MOST_LEVELS = 6
MOST_SECTIONS = 1_000
"""Sections of each text that are compared, from its start: more than a page of real text has."""


@dataclass(frozen=True)
class Heading:
    """A heading of Markdown, 1 (`#`) to 6."""

    level: int
    text: str


def heading(line: str) -> Heading | None:
    """The heading that a line is, if it is one: at most three spaces, one to six `#`, a space, a text."""
    bare = line.lstrip(" ")
    marks = len(bare) - len(bare.lstrip("#"))
    text = bare[marks:].strip()
    if len(line) - len(bare) > 3 or not 1 <= marks <= MOST_LEVELS or not text or not bare[marks].isspace():
        return None
    closing = text.rstrip("#")
    return Heading(marks, " ".join((closing if closing.endswith((" ", "\t")) else text).split()))


def headings(text: str) -> list[Heading]:
    """All headings of a page in order."""
    return [found for line in text.split("\n") if (found := heading(line))]


def mhs(hypothesis: str, reference: str, with_text: bool = True) -> Likeness | None:
    """MHS of a page, or without texts MHS-S; None where its reference has no heading."""
    ours, theirs = _sections(hypothesis), _sections(reference)
    if not any(node.label == "heading" for node in theirs):
        return None
    if not any(node.label == "heading" for node in ours):
        return Likeness(0.0)
    found = likeness(ours[:MOST_SECTIONS], theirs[:MOST_SECTIONS], _document, with_text, EXACT_PAIRS // 2)
    return Likeness(found.value, found.exact and max(len(ours), len(theirs)) <= MOST_SECTIONS)


def _document(sections: Sequence[Node]) -> Node:
    return Node("document", children=tuple(sections))


def _sections(text: str) -> list[Node]:
    found: list[Node] = []
    title, below = None, [""]
    for line in [*text.split("\n"), "# end"]:
        if (here := heading(line)) is None:
            below.append(line)
            continue
        content = " ".join(" ".join(below).split())
        inner = (Node("content", content),) if content else ()
        found += inner if title is None else (Node("heading", title, inner),)
        title, below = here.text, [""]
    return found
