"""Parallel text in columns: JSONL, CSV, TSV and Parquet files, and data sets in hub format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forge.config.schema import Columns
from forge.core.errors import UserError
from forge.core.hashing import digest, file_sha256
from forge.tasks.parallel.pairs import BATCH, Batcher, Pairs, Reader, Side, check_readable
from forge.tasks.sources import FILE_SUFFIXES, Table, from_file, kind_of, read_csv, read_jsonl

SUFFIXES = (*FILE_SUFFIXES, ".tmx", ".tmx.gz")
SIDES: tuple[Side, Side] = ("source", "target")


def read_rows(path: Path, columns: Columns) -> Reader:
    """A reader of a text file of rows. Raises UserError where there is none."""
    check_readable(path)

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        if path.suffix in {".jsonl", ".json"}:
            return read_jsonl(path)
        return read_csv(path, "\t" if path.suffix == ".tsv" else ",")

    at = f"{path}:"
    if next(rows(), None) is None:
        raise UserError(f"{path}  has no rows")
    mark = digest(["rows", path.suffix, file_sha256(path), columns.source, columns.target], 16)
    return Reader(str(path), mark, lambda: _from_rows(rows(), columns, at), at)


def read_table(table: Table, columns: Columns) -> Reader:
    """A reader of a memory-mapped table. Raises UserError where it lacks a column."""
    at = f"{table.name}, row "
    mark = digest(["table", table.fingerprint, columns.source, columns.target], 16)
    return Reader(table.name, mark, partial(_from_table, table, columns, at), at)


def read_columns(path: Path, columns: Columns) -> Reader:
    """A reader of any file with columns."""
    if path.suffix == ".parquet":
        return read_table(from_file(path), columns)
    if path.suffix in FILE_SUFFIXES:
        return read_rows(path, columns)
    known = ", ".join(SUFFIXES)
    raise UserError(f"{path}  unknown kind of file; known are {known}, or two files: {path}.{{en,fr}}")


def _from_rows(rows: Iterator[tuple[int, dict[str, Any]]], columns: Columns, at: str) -> Iterator[Pairs]:
    batcher = Batcher()
    for place, row in rows:
        where = f"{at}{place}"
        source, target = (_text(_reach(row, getattr(columns, side), where, side), side, where) for side in SIDES)
        batcher.add(source, target, place)
        yield from batcher.full()
    yield from batcher.full(last=True)


def _reach(row: Mapping[str, Any], column: str, where: str, side: Side) -> Any:
    """The value of a column; a dotted name goes into nested objects, unless a column has just that name."""
    if column in row:
        return row[column]
    value: Any = row
    for step in column.split("."):
        if not isinstance(value, Mapping) or step not in value:
            raise _no_column(where, column, side, value if isinstance(value, Mapping) else row)
        value = value[step]
    return value


def _from_table(table: Table, columns: Columns, at: str) -> Iterator[Pairs]:
    place = 1
    for batch in table.rows.with_format("arrow").iter(batch_size=BATCH):
        source, target = (_column(batch, getattr(columns, side), side, at, place) for side in SIDES)
        yield Pairs(source, target, list(range(place, place + len(source))))
        place += len(source)


def _column(batch: pa.Table, column: str, side: Side, at: str, place: int) -> list[str]:
    found: Any = batch[column] if column in batch.column_names else None
    fields = batch.column_names
    for depth, step in enumerate([] if found is not None else column.split(".")):
        if step not in fields:
            raise _no_column(f"{at}{place}", column, side, fields)
        found = pc.struct_field(found, step) if depth else batch[step]
        fields = [field.name for field in found.type] if pa.types.is_struct(found.type) else []
    return [_text(value, side, f"{at}{place + row}") for row, value in enumerate(found.to_pylist())]


def _no_column(where: str, column: str, side: Side, have: Iterable[str]) -> UserError:
    return UserError(f"{where}  no column '{column}' (from data.columns.{side}); the columns are: {', '.join(have)}")


def _text(value: Any, side: Side, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}  the {side} must be a text, this row has {kind_of(value)} (data.columns.{side})")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where}  the {side} holds half of a surrogate pair, which is no character") from error
    return value.strip()
