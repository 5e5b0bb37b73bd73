"""Reading a teacher cache: what the teacher said about the examples of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from forge.objectives.kd.shard import CacheError, Field, Indices, shard_file
from forge.tasks.base import Side

BITS = {2: torch.int16, 4: torch.int32}  # NumPy knows no bfloat16, and copying needs only the size


class Reader:
    """Teacher outputs by example. Forked workers share its memory; a pickled copy opens the files again."""

    def __init__(self, folder: Path, fields: Sequence[Field], lengths: Mapping[Side, Indices], shard_size: int) -> None:
        self.folder = folder
        self.fields = tuple(fields)
        self.lengths = {side: lengths[side] for side in dict.fromkeys(["input", *(field.side for field in fields)])}
        self.examples = len(self.lengths["input"])
        self.shard_size = shard_size
        self._starts = {side: _starts(lengths_N, shard_size) for side, lengths_N in self.lengths.items()}
        self._mapped: dict[str, dict[int, NDArray[Any]]] = {field.name: {} for field in self.fields}
        self._whole: dict[str, NDArray[Any]] = {}
        for field in self.fields:
            if not field.per_token:
                self._whole_field(field)  # before any fork, so that workers share it

    def read(self, ids: NDArray[Any] | Sequence[int], longest: Mapping[Side, int]) -> dict[str, torch.Tensor]:
        """The outputs of `ids` (B,), in their order: (B, longest, width) padded with zeros, or (B, width).

        Floating point comes as float32, integers as int64. An example of more tokens than the longest is an error.
        """
        ids_B = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(ids_B) and not 0 <= int(ids_B.min()) <= int(ids_B.max()) < self.examples:
            raise CacheError(f"{self.folder}  holds examples 0 to {self.examples - 1}, asked for {ids_B}")
        places = {side: self._places(side, ids_B, longest[side]) for side in self.lengths}
        tensors = {}
        for field in self.fields:
            if field.per_token:
                bits = self._gather(field, places[field.side], longest[field.side])
            else:
                bits = self._whole_field(field)[ids_B]
            values = torch.from_numpy(bits).view(field.dtype)
            tensors[field.name] = values.float() if field.dtype.is_floating_point else values.long()
        return tensors

    def _places(self, side: Side, ids_B: Indices, longest: int) -> list[list[int]]:
        """Shard, first row, row after the last, and number of rows of each example."""
        lengths_B = self.lengths[side][ids_B]
        if len(ids_B) and int(lengths_B.max()) > longest:
            row = int(lengths_B.argmax())
            problem = f"example {ids_B[row]} has {lengths_B[row]} tokens, more than the batch's {longest}"
            raise CacheError(f"{self.folder}  {problem}; cut the examples as the cache was made")
        starts_B = self._starts[side][ids_B]
        found: list[list[int]] = np.stack(
            [ids_B // self.shard_size, starts_B, starts_B + lengths_B, lengths_B], axis=1
        ).tolist()
        return found

    def _gather(self, field: Field, places: Sequence[Sequence[int]], length: int) -> NDArray[Any]:
        """Copy example after example: a slice of NumPy costs the least of all ways that were measured."""
        shards = self._mapped[field.name]
        padded = np.zeros((len(places), length, field.width), dtype=f"i{field.dtype.itemsize}")
        for row, (shard, start, stop, count) in enumerate(places):
            if (values := shards.get(shard)) is None:
                values = shards[shard] = self._map(field, shard)
            padded[row, :count] = values[start:stop]
        return padded

    def _whole_field(self, field: Field) -> NDArray[Any]:
        """All examples of a field that has a row an example, as bits (N, width)."""
        if field.name not in self._whole:
            shards = [self._map(field, shard) for shard in range(-(-self.examples // self.shard_size))]
            empty = np.empty((0, field.width), dtype=f"i{field.dtype.itemsize}")
            self._whole[field.name] = np.concatenate([empty, *shards])
        return self._whole[field.name]

    def _map(self, field: Field, shard: int) -> NDArray[Any]:
        """The values of a shard as bits, mapped: a page is read from disk when it is first used."""
        with safe_open(self.folder / shard_file(field, shard), framework="pt") as file:
            values: torch.Tensor = file.get_tensor("values")
        bits: NDArray[Any] = values.view(BITS[field.dtype.itemsize]).numpy()
        return bits

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mapped": {field.name: {} for field in self.fields}, "_whole": {}}


def _starts(lengths_N: Indices, shard_size: int) -> Indices:
    """Where each example starts in the values of its shard."""
    starts_N = np.cumsum(lengths_N) - lengths_N
    return starts_N - starts_N[np.arange(len(lengths_N)) // shard_size * shard_size]
