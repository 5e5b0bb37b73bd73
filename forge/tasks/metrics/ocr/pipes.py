"""Tables of Markdown, written with pipes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge.tasks.metrics.ocr.grid import MOST_SLOTS, Table, Written

RULE_CELL = re.compile(r"\s*:?-+:?\s*")
RULE_SIGNS = frozenset("|-: \t")


def pipe_tables(text: str, loose: bool = False) -> list[Table]:
    """Blocks of lines with pipes. The first row is the heading, and with `loose` the first column too.

    A table of Markdown (GitHub's) has a line of dashes below its first row. With `loose`, as in olmOCR-bench, any two
    lines in a row with a pipe are one.
    """
    found: list[Table] = []
    block: list[tuple[int, str]] = []
    at, left = 0, MOST_SLOTS
    for line in [*text.split("\n"), ""]:
        if "|" in line:
            block.append((at, line))
        else:
            if len(block) >= 2 and left and (table := _pipe_table(block, loose, left)):
                found.append(table)
                left -= len(table.cells)
            block = []
        at += len(line) + 1
    return found


def _pipe_table(block: Sequence[tuple[int, str]], loose: bool, left: int) -> Table | None:
    if not loose:
        rule = next((i for i, (_, line) in enumerate(block[1:], start=1) if _is_rule(line)), None)
        if rule is None:
            return None
        block = block[rule - 1 :]
    rows: list[tuple[Written, ...]] = []
    cut = False
    for at, (_, line) in enumerate(block):
        if set(line) <= RULE_SIGNS and "-" in line and (loose or at == 1):
            continue
        cells = [part.strip().replace("\\|", "|") for part in re.split(r"(?<!\\)\|", line)]
        cells = cells[cells[:1] == [""] :]
        cells = cells[: len(cells) - (cells[-1:] == [""])]
        written = (Written(cell, heading=not rows or (loose and not i)) for i, cell in enumerate(cells[:left]))
        if row := tuple(written):
            rows.append(row)
        cut, left = cut or len(cells) > left, left - len(row)
    if not rows:
        return None
    return Table(tuple(rows), 1, (block[0][0], block[-1][0] + len(block[-1][1])), html=False, cut=cut)


def _is_rule(line: str) -> bool:
    parts = line.strip().strip("|").split("|")
    return "|" in line and all(RULE_CELL.fullmatch(part) for part in parts)
