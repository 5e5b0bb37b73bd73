"""TEDS: how alike the tables of two pages are (Zhong, ShafieiBavani and Jimeno Yepes 2020, arXiv 1911.10683).

    TEDS(A, B) = 1 − d(A, B) / max(|A|, |B|)          0 to 1

d is the edit distance of the trees table → thead, tbody → tr → td. Renaming costs 1 between tags or spans that differ,
and between cells the Levenshtein distance of their texts over the longer one. TEDS-S leaves texts out.

So that a table in pipes equals the same one in HTML, `th` is a cell like `td`, rows of `th` alone at the top are the
`thead`, other rows the `tbody`, as a browser adds it. Cells are plain text, white space collapsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from forge.tasks.metrics.ocr.grid import Table, Written
from forge.tasks.metrics.ocr.likeness import EXACT_PAIRS, Likeness, likeness
from forge.tasks.metrics.ocr.tables import find_tables
from forge.tasks.metrics.ocr.trees import Node

MOST_IN_A_ROW = 300
MOST_TABLES = 100

Row = tuple[Node, bool]  # and whether it is in the heading


@dataclass(frozen=True)
class Teds:
    """Both similarities of one page, and how many tables it and its reference have."""

    teds: float
    teds_s: float
    exact: bool
    tables: int
    expected: int


def table_teds(a: Table, b: Table, with_text: bool = True, exact_pairs: int = EXACT_PAIRS) -> Likeness:
    """TEDS of two tables, or without texts TEDS-S. Cells of a row after the 300th are left out, which is not exact."""
    found = likeness(_rows(a), _rows(b), _tree, with_text, exact_pairs)
    cut = a.cut or b.cut or max(len(row) for row in (*a.rows, *b.rows)) > MOST_IN_A_ROW
    return Likeness(found.value, found.exact and not cut)


def page_teds(hypothesis: str, reference: str) -> Teds | None:
    """TEDS of a page's tables; None where neither the page nor its reference has one.

    Tables are paired in their order such that most cells are alike. The figures are the sums over pairs divided by the
    larger number of tables, so a table that is missing counts 0 and one that is invented costs as much.
    """
    ours, theirs = find_tables(hypothesis)[:MOST_TABLES], find_tables(reference)[:MOST_TABLES]
    most = max(len(ours), len(theirs))
    if not most:
        return None
    pairs = _paired(ours, theirs)
    nodes = sum((len(a.cells) + len(a.rows)) * (len(b.cells) + len(b.rows)) for a, b in pairs)
    each = EXACT_PAIRS if nodes <= EXACT_PAIRS else EXACT_PAIRS // len(pairs)
    full = [table_teds(a, b, exact_pairs=each) for a, b in pairs]
    bare = [table_teds(a, b, with_text=False, exact_pairs=each) for a, b in pairs]
    teds, teds_s = (sum(one.value for one in found) / most for found in (full, bare))
    return Teds(teds, teds_s, all(one.exact for one in (*full, *bare)), len(ours), len(theirs))


def teds(hypothesis: str, reference: str) -> float:
    """TEDS of a page, 0 to 1, for a reward; 1 where neither text has a table."""
    found = page_teds(hypothesis, reference)
    return found.teds if found else 1.0


def _rows(table: Table) -> list[Row]:
    return [(_row(cells, len(table.rows) - at), at < table.head) for at, cells in enumerate(table.rows)]


def _row(cells: Sequence[Written], left: int) -> Node:
    nodes = (Node(f"td {cell.columns} {min(cell.rows, left)}", cell.text) for cell in cells[:MOST_IN_A_ROW])
    return Node("tr", children=tuple(nodes))


def _tree(rows: Sequence[Row]) -> Node:
    parts = {label: tuple(row for row, head in rows if head is wanted) for label, wanted in _SECTIONS}
    return Node("table", children=tuple(Node(label, children=part) for label, part in parts.items() if part))


_SECTIONS = (("thead", True), ("tbody", False))


def _paired(ours: Sequence[Table], theirs: Sequence[Table]) -> list[tuple[Table, Table]]:
    """Pairs in order with the largest sum of shared cells; of equal sums, the one with most pairs."""
    bags = [[Counter(cell.text for cell in table.cells) for table in side] for side in (ours, theirs)]
    best = [[0.0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i in reversed(range(len(ours))):
        for j in reversed(range(len(theirs))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + _shared(bags[0][i], bags[1][j]))
    pairs, i, j = [], 0, 0
    while i < len(ours) and j < len(theirs):
        if best[i][j] == best[i + 1][j + 1] + _shared(bags[0][i], bags[1][j]):
            pairs.append((ours[i], theirs[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _shared(a: Counter[str], b: Counter[str]) -> float:
    return 2.0 * (a & b).total() / (a.total() + b.total()) + 0.001
