"""Raw tables: a split of a hub-format data set, a local file, or rows an embedded generator makes.

A Table remembers where each row came from, so that a bad row is named by file and line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, load_dataset

from forge.core.errors import UserError
from forge.core.hashing import digest, file_sha256

FILE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
MAX_FIELD = 10_000_000  # characters of one CSV field; the library's own limit is 131,072


@dataclass(frozen=True)
class Table:
    """Rows by column, and how to name a row to a person."""

    name: str
    rows: Dataset
    fingerprint: str
    where: Callable[[int], str]

    def column(self, column: str, key: str) -> list[Any]:
        """A whole column; `key` is the configuration key that names it. Raises UserError where it is absent."""
        if column not in self.rows.column_names:
            have = ", ".join(self.rows.column_names)
            raise UserError(f"{self.where(0)}  no column '{column}' (from {key}); the columns are: {have}")
        return list(self.rows[column])

    def label_names(self, column: str) -> list[str] | None:
        """Names that the data set itself gives its label indices, where it does."""
        feature = self.rows.features.get(column)
        return list(feature.names) if isinstance(feature, ClassLabel) else None


def from_rows(name: str, rows: Sequence[Mapping[str, Any]], fingerprint: str) -> Table:
    """A table of generated rows."""
    return Table(name, Dataset.from_list([dict(row) for row in rows]), fingerprint, lambda i: f"{name}, row {i + 1}")


def from_directory(folder: str, subset: str | None, split: str, revision: str) -> Table:
    """One split of a data set in hub format: a snapshot of the hub, or any local folder laid out like one."""
    try:
        rows = load_dataset(folder, subset, split=split)
    except (ValueError, FileNotFoundError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}  cannot read split '{split}': {reason}") from error
    name = f"{folder}:{split}"
    mark = digest([revision or folder, subset, split, rows.num_rows, rows._fingerprint if not revision else ""], 16)
    return _checked(Table(name, rows, mark, lambda i: f"{name}, row {i + 1}"))


def from_file(path: Path) -> Table:
    """A local .jsonl, .csv, .tsv or .parquet file. Raises UserError that names file and line."""
    if not path.is_file():
        raise UserError(
            f"{path}  no such file (looked at {path.absolute()}); check data.train, data.validation, data.test"
        )
    mark = file_sha256(path)[:16]
    if path.suffix == ".parquet":
        try:
            rows = Dataset.from_parquet(str(path))
        except Exception as error:  # pyarrow raises many kinds for a damaged file
            raise UserError(f"{path}  cannot read as Parquet: {str(error).splitlines()[0]}") from error
        return _checked(Table(str(path), rows, mark, lambda i: f"{path}, row {i + 1}"))
    if path.suffix in {".jsonl", ".json"}:
        numbered = _read_jsonl(path)
    elif path.suffix in {".csv", ".tsv"}:
        numbered = _read_csv(path, "\t" if path.suffix == ".tsv" else ",")
    else:
        raise UserError(f"{path}  unknown kind of file; known are {', '.join(FILE_SUFFIXES)}")
    return _from_numbered(path, numbered, mark)


def _from_numbered(path: Path, numbered: Iterator[tuple[int, dict[str, Any]]], mark: str) -> Table:
    lines: list[int] = []
    columns: dict[str, list[Any]] = {}
    for line, row in numbered:
        if not lines:
            columns = {name: [] for name in row}
        for name, values in columns.items():
            if name not in row:
                raise UserError(f"{path}:{line}  this row has no column '{name}', which the first row has")
            values.append(row[name])
        lines.append(line)
    if not lines:
        raise UserError(f"{path}  has no rows")
    try:
        rows = Dataset.from_dict(columns)
    except Exception as error:  # pyarrow: a column of mixed kinds
        raise UserError(f"{path}  a column mixes kinds of values: {str(error).splitlines()[0]}") from error
    return Table(str(path), rows, mark, lambda i: f"{path}:{lines[i]}")


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", errors="strict") as file:
        try:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                try:
                    row = json.loads(text)
                except (json.JSONDecodeError, RecursionError) as error:
                    column = f":{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
                    raise UserError(f"{path}:{line}{column}  not JSON; each line must be one JSON object") from error
                if not isinstance(row, dict):
                    raise UserError(f"{path}:{line}  each line must be one JSON object, this is a {type(row).__name__}")
                yield line, row
        except UnicodeDecodeError as error:
            raise UserError(f"{path}  is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _read_csv(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(MAX_FIELD)
    # TSV as GLUE ships it has bare quotes inside fields, so quotes mean nothing there.
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting)
        try:
            header = next(reader, [])
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise UserError(f"{path}:{reader.line_num}  has {len(row)} columns, the header has {len(header)}")
                yield reader.line_num, dict(zip(header, row, strict=True))
        except UnicodeDecodeError as error:
            raise UserError(f"{path}  is not UTF-8 text: {error.reason} at byte {error.start}") from error
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num}  {error}") from error


def _checked(table: Table) -> Table:
    if table.rows.num_rows == 0:
        raise UserError(f"{table.name}  has no rows")
    return table
