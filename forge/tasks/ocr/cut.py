"""Evaluation splits of whole documents, from pages that have none.

Pages of one document are alike, so a document is never in two splits. Which split it is in follows from its name and
the seed alone: adding documents moves few of the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.tasks.parallel.overlap import HeldOut
from forge.tasks.sources import Table

SHORT = 60
"""Characters. Shorter texts (a line, a heading) are equal on pages that are not; they are compared as images."""
BATCH = 64


@dataclass(frozen=True)
class PageCut:
    """Splits that share no document, and what a person should hear about them."""

    train: Table
    validation: Table | None
    test: Table | None
    notices: tuple[str, ...]


def cut_by_document(table: Table, validation: int | None, test: int | None, seed: int) -> PageCut:
    """Take documents for test, then for validation, in an order that is random but fixed: those that still fit.

    `validation` and `test` are pages, at most; None cuts none. Training pages whose Markdown equals one of theirs, or
    nearly (see `parallel.overlap`), are left out. Raises UserError where a split would stay empty.
    """
    documents: list[str] = table.column("document", "data.columns.document")
    sizes = Counter(documents)
    order = sorted(sizes, key=lambda name: digest([seed, name]))
    taken: dict[str, str] = {}
    for role, pages in (("test", test), ("validation", validation)):
        if pages:
            taken |= dict.fromkeys(_fitting(table.name, role, pages, order, sizes, taken), role)
    rows = {
        role: [row for row, name in enumerate(documents) if taken.get(name, "train") == role]
        for role in ("train", "validation", "test")
    }
    if not rows["train"]:
        raise UserError(
            f"{table.name}  has {len(documents):,} pages of {len(sizes):,} documents, and data.cut takes all of them; "
            "nothing is left to train on"
        )
    held_out = sorted([*rows["validation"], *rows["test"]])
    equal, nearly = _too_close(table, rows["train"], held_out)
    kept = [row for row in rows["train"] if row not in equal and row not in nearly]
    if not kept:
        raise UserError(f"{table.name}  has no training page that differs from all that data.cut takes")
    settings = [validation, test, seed]
    splits = {
        role: _part(table, role, chosen, settings) if chosen else None
        for role, chosen in (("validation", rows["validation"]), ("test", rows["test"]))
    }
    parts = [f"{role} {_told(rows[role], documents)}" for role in splits if rows[role]]
    notice = (
        f"cut: {' and '.join(parts)} from {table.name}; {len(equal):,} training pages equal to one of theirs and "
        f"{len(nearly):,} nearly equal are left out"
    )
    return PageCut(_part(table, "train", kept, settings), **splits, notices=(notice,) if parts else ())


def _fitting(
    name: str, role: str, pages: int, order: Sequence[str], sizes: Counter[str], taken: dict[str, str]
) -> list[str]:
    """Documents of no more pages together than are asked for, in order; those that are too large are passed over."""
    left, chosen = pages, []
    free = [document for document in order if document not in taken]
    for document in free:
        if sizes[document] <= left:
            chosen.append(document)
            left -= sizes[document]
    if not chosen:
        least = min((sizes[document] for document in free), default=0)
        why = f"the smallest document left has {least:,}" if least else "no document is left"
        raise UserError(f"{name}  data.cut.{role} takes whole documents of at most {pages:,} pages, and {why}")
    return chosen


def _too_close(table: Table, training: Sequence[int], held_out: Sequence[int]) -> tuple[set[int], set[int]]:
    """Training rows that equal a held-out one, and others that nearly do. Blank pages are not too close to any."""
    texts: list[str] = []
    images: set[bytes] = set()
    for row, text in _texts(table, held_out):
        if _is_short(text):
            images.add(_image(table, row))
        else:
            texts.append(text)
    held = HeldOut(texts)
    equal: set[int] = set()
    nearly: set[int] = set()
    long: list[tuple[int, str]] = []

    def compare() -> None:
        masks = held.compare([text for _, text in long])
        for rows, mask in zip((equal, nearly), masks, strict=True):
            rows.update(row for (row, _), is_close in zip(long, mask.tolist(), strict=True) if is_close)
        long.clear()

    for row, text in _texts(table, training):
        if not _is_short(text):
            long.append((row, text))
        elif images and text and _image(table, row) in images:
            equal.add(row)
        if len(long) == BATCH:
            compare()
    compare()
    return equal, nearly


def _is_short(text: str) -> bool:
    return sum(not character.isspace() for character in text) < SHORT


def _texts(table: Table, rows: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Rows in order with their Markdown, some at a time."""
    texts = table.rows.select_columns("markdown")
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        yield from zip(some, texts[list(some)]["markdown"], strict=True)


def _image(table: Table, row: int) -> bytes:
    image: bytes = table.rows.select_columns("image")[row]["image"]
    return hashlib.blake2b(image, digest_size=16).digest()


def _part(table: Table, role: str, rows: Sequence[int], settings: Sequence[object]) -> Table:
    mark = digest([table.fingerprint, role, settings, digest(list(rows))], 16)
    name = table.name if role == "train" else f"{table.name}, cut for {role}"
    return Table(name, table.rows.select(rows), mark, lambda row: table.where(rows[row]))


def _told(rows: Sequence[int], documents: Sequence[str]) -> str:
    count = len({documents[row] for row in rows})
    return f"{len(rows):,} page{'s' * (len(rows) != 1)} of {count:,} document{'s' * (count != 1)}"
