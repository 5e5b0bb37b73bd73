"""Tables whose cells are shaded by what they hold: a picture that can be read aloud, copied, and walked with the keys.

One hue from the page's own background to full, so that readers who tell no colours apart see the same order, and pages
in light and dark need one picture; the figure stands in each cell. Why no SVG: docs/decisions/030.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from forge.reports.page import text

STEPS = 20
_INKS = (0.5, "var(--mid)"), (0.7, "#000"), (0.75, "var(--deep)")
"""From which shade on which ink: each has a contrast of 4.5 at least, on light paper and on dark."""


def _ink(depth: float) -> str:
    return "".join(f";color:{ink}" for least, ink in _INKS if depth >= least)


STYLE = (
    ":root{--heat:0,69,120;--mid:#000;--deep:#fff}"
    ".heat td,.heat th{text-align:center}.heat td{padding:.3rem .4rem;border:1px solid transparent;"
    "background-clip:padding-box;print-color-adjust:exact;-webkit-print-color-adjust:exact}"
    ".heat th{font-weight:400;padding:.25rem .35rem;border:0}.heat th[scope=row]{text-align:right;white-space:nowrap}"
    ".heat td:first-child,.heat th:first-child{padding-left:.35rem}"
    ".heat td:focus{outline:3px solid #e69f00;outline-offset:-1px}.heat .mark{text-decoration:underline}"
    + "".join(f".h{at}{{background:rgba(var(--heat),{at / STEPS:g}){_ink(at / STEPS)}}}" for at in range(STEPS + 1))
    + "@media(prefers-color-scheme:dark){:root{--heat:86,180,233;--mid:#fff;--deep:#000}"
    ".heat td,.heat th{border-color:transparent}}"
)


@dataclass(frozen=True)
class Cell:
    """What a cell shows, how deep it is shaded (0 to 1; None for not at all), and all that is to say of it."""

    shown: str
    depth: float | None
    told: str = ""


def heat(
    corner: str,
    across: Sequence[str],
    down: Sequence[str],
    cells: Sequence[Sequence[Cell]],
    told: str = "",
    marked: Collection[tuple[int, int]] = (),
) -> str:
    """The table, `told` its name for those who do not see it; `marked` cells (row, column) are underlined."""
    named = f' aria-label="{text(told)}"' if told else ""
    head = f"<tr><td>{text(corner)}</td>{''.join(f'<th scope=col>{text(name)}</th>' for name in across)}</tr>"
    rows = [
        f"<tr><th scope=row>{text(name)}</th>"
        f"{''.join(_cell(cell, (at, place) in marked) for place, cell in enumerate(row))}</tr>"
        for at, (name, row) in enumerate(zip(down, cells, strict=True))
    ]
    return f"<div class=scroll><table class=heat{named}>{head}{''.join(rows)}</table></div>"


def scale(low: str, high: str) -> str:
    """What the shades mean, from one end to the other."""
    swatches = "".join(f"<span class=h{at}></span>" for at in range(0, STEPS + 1, 2))
    return f"<p class=scale aria-hidden=true>{text(low)} <span class=ramp>{swatches}</span> {text(high)}</p>"


def _cell(cell: Cell, marked: bool) -> str:
    kinds = ["mark"] if marked else []
    if cell.depth is not None and math.isfinite(cell.depth):
        kinds.append(f"h{round(STEPS * min(1.0, max(0.0, cell.depth)))}")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    told = f' title="{text(cell.told)}"' if cell.told else ""
    return f"<td{kind}{told}>{text(cell.shown)}</td>"
