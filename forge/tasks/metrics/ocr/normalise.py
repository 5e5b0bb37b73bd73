"""Text as olmOCR-bench compares it: without marks of emphasis, white space collapsed, signs in one spelling."""

from __future__ import annotations

import re
import unicodedata

BREAK = re.compile(r"<br ?/?>")
TAG = re.compile(r"</?[bi]>")
MARKS = tuple(re.compile(pattern) for pattern in (r"\*\*(.*?)\*\*", r"__(.*?)__", r"([*_])(.*?)\1"))
"""Each pattern stays in its line and, where the closing mark is missing, fails once a line: no text makes it slow."""
DASHES = "\N{EN DASH}\N{EM DASH}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{MINUS SIGN}"
SINGLE = "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{SINGLE LOW-9 QUOTATION MARK}"
DOUBLE = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}\N{DOUBLE LOW-9 QUOTATION MARK}"
SIGNS = str.maketrans(
    dict.fromkeys(DASHES, "-")
    | dict.fromkeys(SINGLE, "'")
    | dict.fromkeys(DOUBLE, '"')
    | {"\N{FULLWIDTH LOW LINE}": "_", "\N{MICRO SIGN}": "\N{GREEK SMALL LETTER MU}"}
)


def normalise(text: str) -> str:
    """One spelling of a text, for both what a check asks for and what a model wrote.

    A line break tag becomes a space; `**`, `__`, `*`, `_` in pairs and the tags b and i go; white space collapses; NFC;
    dashes become "-", curly quotation marks straight, a fullwidth low line "_", the micro sign a Greek mu.
    """
    text = TAG.sub("", MARKS[1].sub(r"\1", MARKS[0].sub(r"\1", BREAK.sub(" ", text))))
    text = MARKS[2].sub(r"\2", text)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", text)).translate(SIGNS)
