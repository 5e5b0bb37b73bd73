"""What only parallel text has: two languages, two-file text, cleaning, a cut into splits."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from forge.config.schema._base import Section

BRACES = re.compile(r"(?P<before>[^{}]*)\{(?P<source>[^{},]+),(?P<target>[^{},]+)\}(?P<after>[^{}]*)")
LANGUAGE = re.compile(r"[a-zA-Z]{2,3}([-_][a-zA-Z0-9]{2,8})*")
NOT_LANGUAGES = {"src", "tgt", "trg", "ref", "hyp"}  # three letters, as in `train.{src,tgt}`


class Languages(Section):
    """Languages of the two sides as tags like `en` or `en-GB`; null takes them from file or column names."""

    source: str | None = None
    """Language of the source side; null takes it from `{en,fr}` in a file name or a column like `translation.en`."""
    target: str | None = None
    """Language of the target side; null as for the source."""


class Clean(Section):
    """Which training pairs are left out, before training. Evaluation pairs are never filtered. Words are what
    stands between spaces.
    """

    min_words: Annotated[int, Field(ge=1)] | None = None
    """Fewest words of a side; null has no limit."""
    max_words: Annotated[int, Field(ge=1)] | None = 150
    """Most words of a side; null has no limit."""
    max_ratio: Annotated[float, Field(gt=1.0)] | None = 3.0
    """Most that one side may be longer than the other: (longer + 3 words) / (shorter + 3 words); null has no limit.
    The 3 spare short pairs, where a word more is no sign of a mistake."""
    deduplicate: Literal["none", "pair", "source"] = "pair"
    """`pair` keeps the first of equal pairs, `source` the first pair of a source text, `none` all."""
    copies: bool = True
    """Leave out pairs whose two sides are the same text."""
    garbled: bool = True
    """Leave out pairs with control characters, replacement characters, or UTF-8 that was read as Latin-1."""
    language: bool = False
    """Leave out pairs with a side that is clearly in another language than `data.languages` says. Takes about 100 s a
    million pairs."""


class Cut(Section):
    """Evaluation splits cut from a data set that has only a training split: the end of it, in its own order; of pages
    whole documents, whichever a hash of their names chooses. Training pairs with a side that equals one of an
    evaluation pair, or nearly, and such pages, are then left out.
    """

    validation: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Pairs (or pages) of the validation split; they come before those of the test split. Null cuts none."""
    test: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Pairs (or pages) of the test split, the last ones. Null cuts none."""


def two_files(reference: str) -> tuple[str, str] | None:
    """`a.{en,fr}` → (`a.en`, `a.fr`), the source's file first; None for the name of one file."""
    found = BRACES.fullmatch(reference)
    if not found:
        return None
    before, after = found["before"], found["after"]
    return f"{before}{found['source']}{after}", f"{before}{found['target']}{after}"


def languages_of(reference: str) -> tuple[str | None, str | None]:
    """The languages that braces name, where they look like such."""
    found = BRACES.fullmatch(reference)
    return (language_in(found["source"]), language_in(found["target"])) if found else (None, None)


def language_in(name: str) -> str | None:
    """A name's language, where all of it, or its end after the last dot, is a tag: `en`, `translation.en`."""
    last = name.rsplit(".", maxsplit=1)[-1]
    return last if LANGUAGE.fullmatch(last) and last.lower() not in NOT_LANGUAGES else None


def primary_tag(language: str) -> str:
    """`en-GB` → `en`."""
    return re.split("[-_]", language, maxsplit=1)[0].lower()
