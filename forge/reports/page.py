"""Pieces of an HTML page that opens offline."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from itertools import count
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.6rem;margin-bottom:.5rem}h2{font-size:1.3rem;margin-top:3rem;border-bottom:2px solid #ddd}
h3{font-size:1.05rem;margin:2rem 0 .25rem}p{max-width:46rem;margin:.5rem 0}
.verdict{font-size:1.15rem;font-weight:600}.note{color:#555;font-size:.9rem}
.figures{display:flex;flex-wrap:wrap;gap:.5rem 2rem;align-items:flex-start}.figures svg{max-width:100%;height:auto}
.figures .scroll{flex:1 1 20rem;min-width:0}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}table{border-collapse:collapse;font-size:.875rem}
td,th{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
th{vertical-align:bottom;font-weight:600}td{white-space:nowrap}
td:first-child,th:first-child,.word{text-align:left}
td:first-child,th:first-child{position:sticky;left:0;background:#fff;padding-left:0}
tr.found td:first-child{font-weight:600}summary{cursor:pointer}
@media(max-width:30rem){td:first-child{white-space:normal;min-width:7rem}

body{margin:1rem auto;padding:0 .75rem}h1{font-size:1.35rem}.verdict{font-size:1.05rem}}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}h2,td,th{border-color:#444}td:first-child,th:first-child{background:#181818}.note{color:#aaa}
svg{background:#fff;border-radius:4px}}
"""

NO_REQUESTS = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, body: Sequence[str], style: str = "", script: str = "") -> str:
    """The whole file. The page may run this very script, by its hash, and no other; it may request nothing at all."""
    policy, ran = NO_REQUESTS, ""
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, ran = f"{NO_REQUESTS}; script-src 'sha256-{digest}'", f"<script>{script}</script>"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f'<meta http-equiv=Content-Security-Policy content="{policy}">'
        f"<title>{text(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body>{_own_ids(chr(10).join(body))}{ran}</body></html>\n"
    )


def _own_ids(body: str) -> str:
    """Each picture's ids with its number in front: alike in every picture, and a page has each only once."""
    numbers = count(1)

    def numbered(svg: re.Match[str]) -> str:
        own = f"f{next(numbers)}_"
        return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}", svg[0])

    return re.sub(r"<svg .*?</svg>", numbered, body, flags=re.DOTALL)


def text(value: object) -> str:
    """Text, never markup."""
    return html.escape(str(value))


def data(name: str, value: Any) -> str:
    """Values for the script, by the id `name`: no text in them can end the element."""
    told = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f'<script type="application/json" id="{name}">{told.replace("<", chr(92) + "u003c")}</script>'


def paragraph(words: str, kind: str = "") -> str:
    """One paragraph."""
    return f"<p{f' class={kind}' if kind else ''}>{text(words)}</p>" if words else ""


def heading(words: str, level: int) -> str:
    """A heading."""
    return f"<h{level}>{text(words)}</h{level}>"


def figures(drawings: Sequence[str]) -> str:
    """Pictures side by side as far as there is room."""
    return f"<div class=figures>{''.join(drawings)}</div>"


def table(
    header: Sequence[str], rows: Sequence[Sequence[object]], marked: Sequence[bool] = (), word: bool = False
) -> str:
    """A table that scrolls in itself on a narrow screen; `word`: the last column is text."""
    last = len(header) - 1 if word else -1
    head = "".join(_cell("th", cell, at == last) for at, cell in enumerate(header))
    body = []
    for at, row in enumerate(rows):
        kind = " class=found" if at < len(marked) and marked[at] else ""
        body.append(f"<tr{kind}>{''.join(_cell('td', cell, place == last) for place, cell in enumerate(row))}</tr>")
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(body)}</table></div>"


def folded(summary: str, content: str) -> str:
    """What is looked up rather than read."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def _cell(tag: str, value: object, word: bool) -> str:
    return f"<{tag}{' class=word' if word else ''}>{text(value)}</{tag}>"
