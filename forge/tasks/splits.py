"""From `data:` to raw tables, a table for each named split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forge.config.schema import Columns, Data
from forge.core.assets import Asset
from forge.tasks.sources import Table, from_directory, from_file, from_rows

EMBEDDED_EVAL_SIZE = 2_000
EMBEDDED_COLUMNS = Columns(text="premise", text_pair="hypothesis", label="label")
EMBEDDED_LABELS = ["entailment", "neutral", "contradiction"]


@dataclass(frozen=True)
class RawData:
    """Tables of text, before encoding, and how to read them."""

    columns: Columns
    labels: list[str] | None
    train: Table | None = None
    validation: Mapping[str, Table] = field(default_factory=dict)
    test: Mapping[str, Table] = field(default_factory=dict)


def read_splits(data: Data, asset: Asset | None) -> RawData:
    """Read every split that the configuration names. `asset` is where `data.name` was found, None for files."""
    embedded = asset is not None and asset.source == "embedded"
    columns, labels = (EMBEDDED_COLUMNS, EMBEDDED_LABELS) if embedded else (data.columns, data.labels)

    def table(role: str, name: str, reference: str) -> Table:
        if embedded:
            return _generate(data, role, name, reference)
        if asset is None:
            return from_file(Path(reference).expanduser())
        return from_directory(asset.location, data.subset, reference, asset.revision)

    def tables(role: str, references: str | dict[str, str] | None) -> dict[str, Table]:
        named = {role: references} if isinstance(references, str) else references or {}
        return {name: table(role, name, reference) for name, reference in named.items()}

    train = table("train", "train", data.train) if data.train else None
    return RawData(columns, labels, train, tables("validation", data.validation), tables("test", data.test))


def _generate(data: Data, role: str, name: str, reference: str) -> Table:
    from forge.tasks.embedded.nli import SPLITS, generate

    # Standing in for another data set, its names of splits mean nothing here, and the role decides.
    split = reference if reference in SPLITS else role
    if role == "validation" and "mismatched" in f"{name} {reference}":
        split = "validation_mismatched"
    size = data.embedded.train_size if split == "train" else EMBEDDED_EVAL_SIZE
    rows = generate(split, size, seed=data.embedded.seed, difficulty=data.embedded.difficulty)
    rows = rows if role == "train" else rows[:EMBEDDED_EVAL_SIZE]
    return from_rows(f"embedded/nli:{split}", rows)
