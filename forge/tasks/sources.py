"""Raw tables: a split of a hub-format data set, a local file, or rows an embedded generator makes.

A Table remembers where each row came from, so that a bad row is named by file and line.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, load_dataset
from datasets.exceptions import DatasetsError
from yaml import YAMLError

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
        return list(self.rows[column][:])

    def label_names(self, column: str) -> list[str] | None:
        """Names that the data set itself gives its label indices, where it does."""
        feature = self.rows.features.get(column)
        return list(feature.names) if isinstance(feature, ClassLabel) else None


def from_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of generated rows; their content is the fingerprint, so a changed generator is noticed."""
    fingerprint = digest([dict(row) for row in rows], 16)
    return Table(name, Dataset.from_list([dict(row) for row in rows]), fingerprint, lambda i: f"{name}, row {i + 1}")


def from_directory(folder: str, subset: str | None, split: str, revision: str) -> Table:
    """One split of a data set in hub format: a snapshot of the hub, or any local folder laid out like one."""
    try:
        rows = load_dataset(folder, subset, split=split)
    except (ValueError, FileNotFoundError, KeyError, RuntimeError, DatasetsError, YAMLError) as error:
        raise UserError(f"{folder}  cannot read split '{split}': {_reason(error.__cause__ or error)}") from error
    name = f"{folder}:{split}"
    mark = digest([revision or _content_mark(rows), subset, split, rows.num_rows], 16)
    return _checked(Table(name, rows, mark, lambda i: f"{name}, row {i + 1}"))


def _content_mark(rows: Dataset) -> str:
    """sha256 of the rows themselves, so that a folder may be copied or touched, but not changed."""
    mark = hashlib.sha256(repr(rows.features).encode())
    for part in rows.with_format("arrow").iter(batch_size=10_000):
        for batch in part.combine_chunks().to_batches():
            mark.update(batch.serialize())
    return mark.hexdigest()


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
            if "no data" in str(error):  # whole, but without a row
                raise UserError(f"{path}  has no rows") from error
            raise UserError(f"{path}  cannot read as Parquet: {_reason(error)}") from error
        return _checked(Table(str(path), rows, mark, lambda i: f"{path}, row {i + 1}"))
    if path.suffix in {".jsonl", ".json"}:
        numbered = read_jsonl(path)
    elif path.suffix in {".csv", ".tsv"}:
        numbered = read_csv(path, "\t" if path.suffix == ".tsv" else ",")
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
        raise UserError(_odd_value(path, lines, columns) or f"{path}  cannot be read: {_reason(error)}") from error
    return Table(str(path), rows, mark, lambda i: f"{path}:{lines[i]}")


def _odd_value(path: Path, lines: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> str:
    """Names the first value that is of another kind than those above it in its column."""
    for column, values in columns.items():
        kind = ""
        for line, value in zip(lines, values, strict=True):
            here = "" if value is None else kind_of(value)
            if kind and here and here != kind:
                return f"{path}:{line}  column '{column}' holds {here} in this row, and {kind} in the rows above"
            kind = kind or here
            if isinstance(value, str) and not _is_encodable(value):
                return f"{path}:{line}  column '{column}' holds half of a surrogate pair, which is no character"
    return ""


def kind_of(value: object) -> str:
    """What a cell holds, for messages."""
    kinds = ((bool, "true or false"), (int | float, "a number"), (str, "a text"), (list, "a list"), (dict, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), f"a {type(value).__name__}")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSONL file, each with its line. Raises UserError that names file and line."""
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
            raise UserError(not_utf8(path)) from error


def read_csv(path: Path, delimiter: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a file with a header, each with the line it starts in. Raises UserError that names file and line."""
    csv.field_size_limit(MAX_FIELD)
    # TSV as GLUE ships it has bare quotes inside fields, so quotes mean nothing there.
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Strict, because else a quote that never closes swallows the rest of the file in silence.
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
        line = 1  # where the row starts that is being read; quoted line breaks make it longer than a line
        try:
            header = next(reader, [])
            if twice := sorted({name for name in header if header.count(name) > 1}):
                raise UserError(f"{path}:1  has more than one column '{twice[0]}'")
            line = reader.line_num + 1
            for row in reader:
                if row and len(row) != len(header):
                    raise UserError(f"{path}:{line}  has {len(row)} columns, the header has {len(header)}")
                if row:
                    yield line, dict(zip(header, row, strict=True))
                line = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise UserError(not_utf8(path)) from error
        except csv.Error as error:
            raise UserError(f"{path}:{line}  {error} in the row that starts here") from error


def not_utf8(path: Path) -> str:
    """The message for a text file in another encoding; names the line and the byte."""
    try:
        path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return f"{path}:{line}  is not UTF-8 text: {error.reason} (0x{error.object[error.start]:02x})"
    return f"{path}  is not UTF-8 text"


def _checked(table: Table) -> Table:
    if table.rows.num_rows == 0:
        raise UserError(f"{table.name}  has no rows")
    return table
