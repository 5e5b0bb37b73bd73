"""Files of pages become text: one stream, or a file for each; what cannot be read is told, and the rest goes on."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from forge.core.io import storage_errors, writing
from forge.inference.ocr import PageAnswer, Reader, read_documents
from forge.tasks.ocr.asked import Asked
from forge.tasks.ocr.table_forms import with_tables
from forge.tasks.pages.sizes import one_line
from forge.tasks.pages.stream import Page, Refusal, open_pages

REPORT_SECONDS = 10.0
SHRUNK = 1.1  # times smaller than it is: told from here on


def read_files(loaded: Reader, asked: Asked, screen: TextIO) -> int:
    """Read all documents and write them where they are asked for, else to `screen`; how many pages were read."""
    outputs, pages = _Outputs(asked, screen), _pages(loaded, asked)
    read, refused, began = 0, 0, time.monotonic()
    told = began
    with storage_errors("writing what was read"), outputs:
        for number, answer in read_documents(loaded, pages, asked.retries):
            if isinstance(answer, Refusal):
                refused += 1
                _tell(f"{one_line(asked.documents[number])}  {answer}")
            read += isinstance(answer, PageAnswer)
            outputs.take(number, answer)
            now = time.monotonic()
            if now - told >= REPORT_SECONDS:
                told = now
                _tell(
                    f"{read:,} pages, {read / (now - began):,.2f} a second" + f", {refused:,} refused" * (refused > 0)
                )
    return read


class _Outputs:
    """Where texts go: to one stream, or to a file for each document that has a page, whole or not at all."""

    def __init__(self, asked: Asked, screen: TextIO) -> None:
        self._asked, self._stack, self._out = asked, ExitStack(), screen
        self._current: int | None = None  # the document whose file is open
        self._begun = False  # whether something stands in it

    def __enter__(self) -> _Outputs:
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.__exit__(*raised)  # type: ignore[arg-type]

    def take(self, number: int, answer: PageAnswer | Refusal) -> None:
        """Write what there is of a page."""
        target = self._asked.targets[number]
        if target is not None and number != self._current:
            if isinstance(answer, Refusal) and not self._asked.as_json:
                return  # a file comes with the first page that can be read
            self._stack.close()
            target.parent.mkdir(exist_ok=True)
            self._out = self._stack.enter_context(writing(target))
            self._current, self._begun = number, False
        piece = self._line(number, answer) if self._asked.as_json else self._markdown(number, answer)
        if piece:
            self._out.write(piece)
            self._out.flush()
            self._begun = True

    def _line(self, number: int, answer: PageAnswer | Refusal) -> str:
        found = {"page": answer.number, "refused": answer.reason} if isinstance(answer, Refusal) else answer.as_json()
        if "text" in found:
            found["text"] = self._text(str(found["text"]))
        return json.dumps({"file": self._asked.documents[number]} | found, ensure_ascii=False) + "\n"

    def _markdown(self, number: int, answer: PageAnswer | Refusal) -> str:
        text = "" if isinstance(answer, Refusal) else self._text(answer.text).strip("\n")
        parts = [self._mark(number, answer)] * self._asked.mark_pages + [text] * bool(text)
        if not any(parts):
            return ""
        return ("\n" if self._begun else "") + "\n\n".join(part for part in parts if part) + "\n"

    def _mark(self, number: int, answer: PageAnswer | Refusal) -> str:
        if isinstance(answer, Refusal) and answer.number is None:
            return ""
        many = self._asked.targets[number] is None and len(self._asked.documents) > 1
        name = f"{one_line(self._asked.documents[number])}, ".replace("--", "- -") if many else ""
        return f"<!-- {name}page {answer.number}{' could not be read' * isinstance(answer, Refusal)} -->"

    def _text(self, text: str) -> str:
        return with_tables(text, self._asked.tables) if self._asked.tables else text


def _pages(loaded: Reader, asked: Asked) -> Iterator[tuple[int, Page | Refusal]]:
    """All pages of all documents, with the number of the document; says so once where pages are shrunk."""
    scale, told = loaded.scale, False
    if asked.dpi:
        scale = replace(scale, dpi=asked.dpi, longest_edge=None)
    if asked.longest_edge:
        scale = replace(scale, longest_edge=asked.longest_edge)
    for number, name in enumerate(asked.documents):
        for page in open_pages(Path(name).expanduser(), asked.pages, asked.password, scale=scale):
            if not told and isinstance(page, Page) and (factor := loaded.shrinks(page)) >= SHRUNK:
                told = True
                _tell_shrunk(loaded, f"{one_line(name)}  page {page.number}", page, factor)
            yield number, page


def _tell_shrunk(loaded: Reader, where: str, page: Page, factor: float) -> None:
    height, width = page.pixels.shape[:2]
    sheet = loaded.reading.sheet or (height, width)
    _tell(
        f"{where} ({height} × {width} pixels) is shrunk by factor {factor:.1f} to the sheet of {sheet[0]} × {sheet[1]} "
        "that this reader was trained on, and so are others of its size; expect little of it"
    )


def _tell(line: str) -> None:
    print(f"forge: {line}", file=sys.stderr, flush=True)  # noqa: T201
