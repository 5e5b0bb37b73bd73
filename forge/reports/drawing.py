"""Pictures as SVG that opens offline, each small enough to stay readable on a telephone.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; what they say is said by shape or fill too.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any

BETTER, WORSE, GREY, INK = "#0072B2", "#D55E00", "#8a8a8a", "#1a1a1a"
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8a8a8a")
MARKERS = "osD^vPX*"
THEME = "#0a0b0c"
"""Replaced by the colour of the page's text where a picture is themed."""
STYLE = "svg.themed{background:none}"
"""What a page with themed pictures adds to its own."""


def drawn(name: str, size: tuple[float, float], draw: Callable[[Any], None], told: str, themed: bool = False) -> str:
    """The SVG of one pair of axes, `size` in inches; `told` is read aloud in its place.

    `themed` gives words, axes and what is drawn in `THEME` the colour of the page's text, dark or light. Equal calls
    give equal bytes.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    look: dict[Any, Any] = {"svg.hashsalt": f"forge {name}", "svg.fonttype": "none", "font.family": "sans-serif"}
    look |= {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.6,
        "axes.axisbelow": True,
        "font.size": 10,
    }
    if themed:
        look |= dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), THEME)
        look["legend.frameon"] = False
    with mpl.rc_context(look | {"text.parse_math": False}):
        figure, axis = plt.subplots(figsize=size, layout="constrained")
        draw(axis)
        out = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", metadata=nothing, transparent=True)
        plt.close(figure)
    svg = out.getvalue()[out.getvalue().index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<g|<path) id="[\w.]+_\d+"', r"\1", svg)  # the same in every figure, and nothing refers to them
    if themed:
        svg = svg.replace(THEME, "currentColor").replace("<svg ", '<svg class="themed" ', 1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(told)}" ', 1)
