"""Long texts in pieces that a model can read, cut where it hurts least: between sentences, clauses, words."""

from __future__ import annotations

import re
from collections.abc import Callable

ENDS = re.compile(r"(?<=[.!?…])[\"'»”’)\]]*\s+(?=[\"'«“‘(\[]*[^\W\d_a-zß-öø-ÿ]|[\"'«“‘(\[]*\d)")
CLAUSES = re.compile(r"(?<=[;:,–—])\s+")
WORDS = re.compile(r"\s+")
NO_END = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|[Nn]o|[Aa]rt|[Pp]p?|vs|etc|e\.g|i\.e|cf|approx|M|MM|Mme|Mlle)|\b[A-Z])\.$"
)


def sentences(text: str) -> list[str]:
    """The sentences of a text, in order, without the spaces between them; `Mr. Smith` and `J. Smith` stay whole."""
    found: list[str] = []
    start = 0
    for border in ENDS.finditer(text):
        closing = border.group().rstrip()
        end = border.start() + len(closing)
        if NO_END.search(text[start:end]):
            continue
        found.append(text[start:end].strip())
        start = border.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if sentence]


def pieces(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text in as few pieces as `fits` allows, cut between sentences; one too long between clauses, then words.

    A single word that does not fit is a piece of its own. Joined by spaces, the pieces are the text, spaces apart.
    """
    if fits(text) or not text.strip():
        return [text]
    for split in (sentences, CLAUSES.split, WORDS.split):
        parts = [part for part in split(text) if part]
        if len(parts) > 1:
            return _packed([piece for part in parts for piece in pieces(part, fits)], fits)
    return [text]


def _packed(parts: list[str], fits: Callable[[str], bool]) -> list[str]:
    packed = [parts[0]]
    for part in parts[1:]:
        joined = f"{packed[-1]} {part}"
        if fits(joined):
            packed[-1] = joined
        else:
            packed.append(part)
    return packed
