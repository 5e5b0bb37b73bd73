"""Features of layers on disk: one safetensors file a stack with a tensor a layer, beside a JSON line for each row.

Both are read by anyone: tensors `layer.0`, `layer.1`, … are (rows, width) in fp32, and line n of the JSON lines is
about row n. Rows are appended while a model runs, so that only a batch of them is ever in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from forge.core.errors import UserError
from forge.core.hashing import file_sha256
from forge.core.version import VERSION

FORMAT = "forge.representations/1"
LINES = "lines sha256"
_COPIED_AT_ONCE = 2**20


def layer_name(layer: int) -> str:
    """The tensor of a layer; 0 is the embeddings."""
    return f"layer.{layer}"


class StackWriter:
    """Writes the two files of one stack; until `finish` there are only temporary ones, which `abandon` removes."""

    def __init__(self, folder: Path, stack: str, about: Mapping[str, str]) -> None:
        self.rows, self._folder, self._stack = 0, folder, stack
        self._about = {"format": FORMAT, "stack": stack, "forge": VERSION} | dict(about)
        self._files: dict[str, tuple[Path, BinaryIO]] = {}
        self._widths: dict[str, int] = {}
        self._sha256 = hashlib.sha256()
        self._lines = self._temporary("jsonl")
        self._line_file = self._lines.open("wb")

    def add(self, records: Sequence[Mapping[str, Any]], layers: Mapping[str, NDArray[np.float32]]) -> None:
        """Append rows: a record and a row of every layer for each. Raises UserError for layers that differ in rows."""
        if self._widths and list(layers) != list(self._widths):
            raise UserError(f"representations of {self._stack}: a batch has other layers than the one before")
        for name, features in layers.items():
            if len(features) != len(records):
                raise UserError(
                    f"representations of {self._stack}: its layers differ in their positions, so there is no row "
                    "for each token; take the mean"
                )
            if name not in self._files:
                path = self._temporary(name)
                self._files[name], self._widths[name] = (path, path.open("wb")), features.shape[1]
            self._files[name][1].write(np.ascontiguousarray(features, dtype="<f4").tobytes())
        for record in records:
            line = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()
            self._sha256.update(line)
            self._line_file.write(line)
        self.rows += len(records)

    def finish(self) -> Path:
        """Put the parts together and give the files their names: the lines first, then what they are about."""
        self._close()
        whole = self._temporary("safetensors")
        with whole.open("wb") as file:
            file.write(self._header())
            for path, _ in self._files.values():
                with path.open("rb") as part:
                    shutil.copyfileobj(part, file, _COPIED_AT_ONCE)
                path.unlink()
        self._lines.replace(self._folder / f"{self._stack}.jsonl")
        return whole.replace(self._folder / f"{self._stack}.safetensors")

    def abandon(self) -> None:
        """Remove what was written."""
        self._close()
        for path in (self._lines, self._temporary("safetensors"), *(path for path, _ in self._files.values())):
            path.unlink(missing_ok=True)

    def _header(self) -> bytes:
        header: dict[str, Any] = {
            "__metadata__": self._about | {"rows": str(self.rows), LINES: self._sha256.hexdigest()}
        }
        start = 0
        for name, width in self._widths.items():
            stop = start + 4 * self.rows * width
            header[name] = {"dtype": "F32", "shape": [self.rows, width], "data_offsets": [start, stop]}
            start = stop
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def _close(self) -> None:
        for _, file in self._files.values():
            file.close()
        self._line_file.close()

    def _temporary(self, part: str) -> Path:
        return self._folder / f".{self._stack}.{part}.{os.getpid()}.tmp"


@dataclass(frozen=True)
class Representations:
    """One stack's features as they lie on disk; arrays are mapped, not read, until they are looked at."""

    folder: Path
    stack: str

    @classmethod
    def open(cls, folder: Path, stack: str) -> Representations:
        """Raises UserError where there are none, or what is there is damaged."""
        found = cls(folder, stack)
        if not found.path.is_file():
            known = sorted(path.stem for path in folder.glob("*.safetensors"))
            raise UserError(
                f"{folder}: there are no representations of {stack}; there are {', '.join(known) or 'none'}"
            )
        if found._lines_sha256 != found.about.get(LINES):
            raise UserError(f"{found.path}: does not belong to the JSON lines beside it; extract it again")
        return found

    @property
    def path(self) -> Path:
        """The safetensors file."""
        return self.folder / f"{self.stack}.safetensors"

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self.stack}.jsonl"

    @property
    def _lines_sha256(self) -> str:
        return file_sha256(self._lines) if self._lines.is_file() else ""

    @cached_property
    def about(self) -> dict[str, str]:
        """What the file says of itself: pooling, model, rows."""
        with self._opened() as file:
            return dict(file.metadata() or {})

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names of the tensors, from the embeddings up."""
        with self._opened() as file:
            return tuple(sorted(file.keys(), key=lambda name: int(name.rpartition(".")[2])))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What is known of each row; `id` is its example, `position` its token where there is a row for each."""
        try:
            with self._lines.open(encoding="utf-8") as lines:
                return [json.loads(line) for line in lines]
        except (OSError, ValueError) as error:
            raise UserError(f"{self._lines}: cannot be read ({error}); extract it again") from error

    def features(self, layer: str) -> NDArray[np.float32]:
        """features_ND, mapped. Raises UserError for a layer that is not there."""
        if layer not in self.layers:
            raise UserError(f"{self.path}: there is no {layer}; there are {', '.join(self.layers)}")
        with self._opened() as file:
            mapped: NDArray[np.float32] = file.get_tensor(layer).numpy()
        return mapped

    def all_features(self) -> dict[str, NDArray[np.float32]]:
        """Every layer by name, mapped."""
        return {name: self.features(name) for name in self.layers}

    def _opened(self) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self.path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise UserError(f"{self.path}: cannot be read ({error}); extract it again") from error


def align(one: Representations, other: Representations) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers in both of the rows that both have, in the order of the first. Raises UserError where there are none.

    Rows are the same when example and position are; positions mean the same only where both cut texts alike.
    """
    places = {_key(record): number for number, record in enumerate(other.records)}
    pairs = [(n, places[key]) for n, record in enumerate(one.records) if (key := _key(record)) in places]
    if not pairs:
        raise UserError(f"{one.path} and {other.path} have no row in common; extract both from the same examples")
    first, second = np.array(pairs, dtype=np.intp).T
    return first, second


def _key(record: Mapping[str, Any]) -> tuple[Any, Any]:
    return record["id"], record.get("position")
