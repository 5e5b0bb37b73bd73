"""Pages from rows: `{"page": "scan.pdf", "number": 3, "markdown": "…"}` in JSONL, CSV, TSV, Parquet or hub format.

A page is a path, or the bytes of an image or PDF as hub data sets have them; these are not decoded here. Paths are
relative to the file that names them. A file of one's own may name any path; a data set in hub format, which a stranger
may have made, only paths inside its own directory.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.tasks.ocr.listing import LeftOut, Listing, Wanted, normalised, shown
from forge.tasks.ocr.page_tests import tests_in
from forge.tasks.sources import FILE_SUFFIXES, Table, from_directory, from_file, kind_of, read_csv, read_jsonl

MARKDOWN_FILE, TESTS = "markdown_file", "tests"
BATCH = 16  # rows of a table at a time, because each may hold an image
Row = Mapping[str, Any]


@dataclass(frozen=True)
class PageColumns:
    """Which column means what. `document` and `number` may be missing; `markdown_file` may take markdown's place."""

    page: str = "page"
    markdown: str = "markdown"
    document: str = "document"
    number: str = "number"


@dataclass(frozen=True)
class _Frame:
    """What all rows of a source share."""

    folder: Path
    columns: PageColumns
    is_confined: bool  # to the folder
    at: str


def list_file(path: Path, columns: PageColumns) -> Listing:
    """Rows of a file. Raises UserError that names file and line, here and while they are read."""
    if path.suffix not in FILE_SUFFIXES:
        raise UserError(f"{path}  is no source of pages: give a directory, or {', '.join(FILE_SUFFIXES)}")
    if not os.path.isfile(path):  # noqa: PTH113 - as in files.py
        raise UserError(f"{path}  no such file or directory (looked at {path.absolute()})")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path}  may not be read by this user")
    if path.suffix == ".parquet":
        return _of_table(from_file(path), _Frame(path.parent, columns, False, f"{path}, row "))
    frame = _Frame(path.parent, columns, False, f"{path}:")

    def rows() -> Iterator[tuple[int, Row]]:
        if path.suffix in {".jsonl", ".json"}:
            return read_jsonl(path)
        return read_csv(path, "\t" if path.suffix == ".tsv" else ",")

    if next(rows(), None) is None:
        raise UserError(f"{path}  has no rows")
    return Listing(str(path), frame.at, lambda: _entries(rows, frame))


def list_split(folder: str, subset: str | None, split: str, revision: str, columns: PageColumns) -> Listing:
    """A split of a data set in hub format. Raises UserError."""
    table = from_directory(folder, subset, split, revision)
    return _of_table(table, _Frame(Path(folder), columns, True, f"{table.name}, row "))


def _of_table(table: Table, frame: _Frame) -> Listing:
    columns = frame.columns
    known = {columns.page, columns.markdown, columns.document, columns.number, MARKDOWN_FILE, TESTS}
    there = table.rows.select_columns([name for name in table.rows.column_names if name in known])

    def rows() -> Iterator[tuple[int, Row]]:
        number = 0
        # As Arrow has them: an image feature would be decoded in this process, where a bomb does harm.
        for batch in there.with_format("arrow").iter(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row

    if frame.columns.page not in there.column_names:
        have = ", ".join(table.rows.column_names)
        pairs = "; a directory of pairs such as a.png and a.md is a split itself, without data.name"
        raise UserError(
            f"{table.where(0)}  no column '{frame.columns.page}'; the columns are: {have}{pairs * frame.is_confined}"
        )
    return Listing(table.name, frame.at, lambda: _entries(rows, frame))


def _entries(rows: Callable[[], Iterator[tuple[int, Row]]], frame: _Frame) -> Iterator[Wanted | LeftOut]:
    seen: set[int] = set()
    for place, row in rows():
        entry = _entry(row, frame, str(place))
        if isinstance(entry, Wanted) and isinstance(entry.file, Path):
            key = hash((entry.file, entry.number))
            if key in seen:
                entry = LeftOut(str(place), f"{entry.page} is named a second time")
            seen.add(key)
        yield entry


def _entry(row: Row, frame: _Frame, place: str) -> Wanted | LeftOut:
    columns, where = frame.columns, f"{frame.at}{place}"
    if columns.page not in row:
        raise UserError(f"{where}  no column '{columns.page}'; the columns are: {', '.join(row)}")
    if columns.document not in row and columns.document != PageColumns.document:
        raise UserError(f"{where}  no column '{columns.document}'; the columns are: {', '.join(row)}")
    file, name = _file(row[columns.page], frame, where)
    if file is None:
        return LeftOut(place, "names no page")
    number = _number(row.get(columns.number), columns.number, where)
    markdown = _markdown(row, frame, where)
    if markdown is None:
        return LeftOut(place, f"{shown(name)} has no Markdown; that of a blank page is an empty text")
    document = _text(row.get(columns.document), columns.document, where)
    name = shown(name) or f"row {place}"
    page, tests = f"{name}#{number}" if number else name, tests_in(row.get(TESTS), where)
    return Wanted(page, document or name, file, number, markdown, place, tests)


def _file(value: Any, frame: _Frame, where: str) -> tuple[Path | bytes | None, str]:
    """Where the page is, and what it is called."""
    column = frame.columns.page
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:  # how features of images and PDFs are stored
        name = value["path"] or ""
        if value["bytes"] is not None:
            return value["bytes"], os.path.basename(name)  # noqa: PTH119 - it may be an address
        value = name
    if value is None or value == "":
        return None, ""
    if isinstance(value, bytes):
        return value, ""
    if not isinstance(value, str):
        raise UserError(f"{where}  '{column}' must be a path, or an image's bytes, this row has {kind_of(value)}")
    path = Path(os.path.abspath(frame.folder / Path(value).expanduser()))  # noqa: PTH100 - links are not followed
    if frame.is_confined:
        # By name, because a snapshot of the hub is made of links that lead out of it.
        roots = [os.path.abspath(frame.folder), os.path.realpath(frame.folder)]  # noqa: PTH100
        inside = [root for root in roots if path.is_relative_to(root)]
        if not inside:
            raise UserError(f"{where}  '{shown(value)}' lies outside of the data set's own directory")
        value = str(path.relative_to(inside[0]))
    return path, value


def _markdown(row: Row, frame: _Frame, where: str) -> str | Path | None:
    column = frame.columns.markdown
    text, path = row.get(column), _text(row.get(MARKDOWN_FILE), MARKDOWN_FILE, where)
    if column not in row and MARKDOWN_FILE not in row:
        raise UserError(f"{where}  no column '{column}' or '{MARKDOWN_FILE}'; the columns are: {', '.join(row)}")
    if path and text:
        raise UserError(f"{where}  has both '{column}' and '{MARKDOWN_FILE}'; keep one")
    if path:
        file, _ = _file(path, frame, where)
        assert isinstance(file, Path)
        return file
    if text is None:
        return None
    if not isinstance(text, str):
        raise UserError(f"{where}  '{column}' must be a text, this row has {kind_of(text)}")
    return normalised(_text(text, column, where))


def _number(value: Any, column: str, where: str) -> int | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):  # pandas' missing value
        return None
    is_whole = (isinstance(value, float) and value.is_integer()) or re.fullmatch("[0-9]{1,9}", str(value))
    number = int(value) if is_whole else 0
    if not 1 <= number < 10**9:
        raise UserError(f"{where}  '{column}' must be a page's number, counted from 1, not {shown(repr(value))[:40]}")
    return number


def _text(value: Any, column: str, where: str) -> str:
    text = "" if value is None else str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}  '{column}' holds half of a surrogate pair, which is no character") from error
    return text
