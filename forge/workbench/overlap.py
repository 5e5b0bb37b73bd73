"""Which rows of a split the training data has too, by their texts; case, width of letters and spaces do not count."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from forge.workbench.findings import Overlap

Key = tuple[str, ...]


def key_of(*texts: str) -> Key:
    """What rows of the same text, or texts, have in common."""
    return tuple(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)


def parted_from(
    rows: Sequence[int], keys: Sequence[Key], trained: Collection[Key], what: str
) -> tuple[list[int], Overlap]:
    """Those of the rows that training had not, and how many it had; `what` of a row is compared, such as "the text"."""
    free = [row for row in rows if keys[row] not in trained]
    return free, Overlap(len(rows) - len(free), what)
