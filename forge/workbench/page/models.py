"""How each model is called and drawn, the same in every picture; figures as the page writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from forge.reports.drawing import GREY, SERIES, THEME
from forge.reports.words import decimal, ends
from forge.workbench.findings import Figure, Findings

_STUDENTS = [(SERIES[0], "o"), (SERIES[2], "D"), (SERIES[3], "^"), (SERIES[4], "v"), (SERIES[5], "P"), (SERIES[7], "X")]
DASHED = "--"


@dataclass(frozen=True)
class Look:
    """Name, colour, marker and line of one model."""

    name: str
    colour: str
    marker: str
    line: str = "-"

    @property
    def style(self) -> dict[str, str]:
        """For `plot`."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, "label": short(self.name)}


def looks(findings: Findings) -> dict[str, Look]:
    """By key; the teacher in the colour of the text, who did not learn from it with broken lines."""
    found, students = {}, iter(_STUDENTS * len(findings.subjects))
    for one in findings.subjects:
        match one.role:
            case "teacher":
                found[one.key] = Look(one.name, THEME, "s")
            case "baseline":
                found[one.key] = Look(one.name, SERIES[1], "X", DASHED)
            case "random_init":
                found[one.key] = Look(one.name, GREY, ".", ":")
            case "student":
                found[one.key] = Look(one.name, *next(students))
    return found


def short(name: str, most: int = 26) -> str:
    """A name as far as a picture has room for it; tables have it whole."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def legend(axis: Any) -> None:
    """Names above the picture, where there are any."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)


def percent(figure: Figure | float | None, signed: bool = False) -> str:
    """A share in percent, or a difference of shares in points."""
    value = figure.value if isinstance(figure, Figure) else figure
    return decimal(None if value is None else 100 * value, 1, signed)


def percents(figure: Figure | None, signed: bool = False) -> str:
    """Its interval; of a share, as far as shares go."""
    if figure is None or figure.interval is None:
        return "–"
    low, high = figure.interval
    if low is None or high is None:
        return "–"
    if not signed:
        low, high = max(low, 0.0), min(high, 1.0)
    return ends((100 * low, 100 * high), 1, signed)


def both(figure: Figure | None, signed: bool = False) -> str:
    """A share and its interval in one cell."""
    if figure is None or figure.value is None:
        return "–"
    told = percents(figure, signed)
    return percent(figure, signed) + ("" if told == "–" else f" ({told})")
