"""Texts that the tests of this folder share: a page with everything, and what a broken model may write."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st

SOME = settings(max_examples=60, deadline=None)
FEW = settings(max_examples=25, deadline=None)
PIECES = [
    "# ", "## ", "\n", "\n\n", "word", "a", "é", " ", "|", "|---|---|\n", "| a | b |\n", "\\|", "<table>", "</table>",
    "<tr>", "</tr>", "<td>", "</td>", "<th>", "<td colspan=3 rowspan='2'>", "<td rowspan=0>", "<thead>", "</thead>",
    "<br>", "<!--", "<b x=\"", "**", "*", "__", "_", "$", "$$", "\\(", "\\)", "\\[", "<sup>1</sup>", "[^1]", "¹",
    "&amp;", "\u4e00", "\U0001f600", "\x00", "\u2028", "![x](y)", "<h1>", "</h1>",
]  # fmt: skip
MARKUP = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
ANY = st.one_of(st.text(max_size=80), MARKUP)

PAGE = """# Annual report

The mill at Alder Creek ground 1,240 tons of rye in 1931, and twice as much of wheat.

## Yields

| Year | Rye | Wheat |
|------|-----|-------|
| 1930 | 980 | 2,100 |
| 1931 | 1,240 | 2,480 |

Prices fell in autumn. The board met on the third of May.

<table><thead><tr><th colspan="2">Fruit</th></tr></thead>
<tr><td>Pears</td><td>12</td></tr><tr><td>Plums</td><td>7</td></tr></table>

## Outlook

Nobody expects a better year.
"""


def words(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices("etaoinshrdlu", k=rng.randrange(2, 9))) for _ in range(count))


def long_page(characters: int, seed: int = 0) -> str:
    """Headings, paragraphs and tables, about so many characters."""
    rng = random.Random(seed)
    parts: list[str] = []
    while sum(map(len, parts)) < characters:
        rows = "".join(f"| {words(rng, 1)} | {rng.randrange(999)} | {words(rng, 2)} |\n" for _ in range(6))
        table = f"| a | b | c |\n|---|---|---|\n{rows}"
        parts += [f"## {words(rng, 3)}", *(words(rng, 60) for _ in range(4)), *([table] if rng.random() < 0.5 else [])]
    return "\n\n".join(parts)[:characters]


def misread(text: str, rate: float, seed: int = 1) -> str:
    """Letters replaced at a rate; lines and marks stay."""
    rng = random.Random(seed)
    return "".join(rng.choice("etaoin") if sign.isalpha() and rng.random() < rate else sign for sign in text)
