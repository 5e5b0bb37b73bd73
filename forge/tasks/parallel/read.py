"""From `data:` to clean, memory-mapped tables of (source, target)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from forge.config.schema import Data
from forge.config.schema.parallel import two_files
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.tasks.parallel.clean import EQUAL, NEARLY, Cleaner, summary
from forge.tasks.parallel.columns import read_columns, read_table
from forge.tasks.parallel.cut import CutOff, before, cut_off
from forge.tasks.parallel.language import identifier_version
from forge.tasks.parallel.moses import read_two_files
from forge.tasks.parallel.pairs import Pairs, Reader, refuse_empty
from forge.tasks.parallel.store import Counts, Stored, store
from forge.tasks.parallel.tmx import read_tmx
from forge.tasks.sources import Table, from_directory, from_rows

EMBEDDED_PAIRS = "embedded/en_fr"
EMBEDDED_EVAL_SIZE = 1_000


@dataclass(frozen=True)
class ParallelData:
    """Tables with the columns `source` and `target`, and what a person should hear about them."""

    source_language: str | None
    target_language: str | None
    train: Table | None = None
    validation: Mapping[str, Table] = field(default_factory=dict)
    test: Mapping[str, Table] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> dict[str, str]:
        """Split → what its content is, named as in `TaskData`."""
        named = {"train": self.train} if self.train else {}
        for role, tables in (("validation", self.validation), ("test", self.test)):
            named |= {name if name == role else f"{role}.{name}": table for name, table in tables.items()}
        return {name: table.fingerprint for name, table in named.items()}


def read_parallel(data: Data, asset: Asset | None) -> ParallelData:
    """Read, cut and clean what the configuration names; `asset` is where `data.name` was found, None for files.

    `data.max_train_examples` counts pairs that are left after cleaning. Raises UserError that names file and line.
    """
    if asset is not None and asset.source == "embedded":
        return _generated(data)
    measured, train, cut = _measured(data, asset)
    if train is None:
        return measured
    stored = _training(train, data, cut)
    notices = (*train.notices, *measured.notices, *_told(stored.counts, cut))
    return replace(measured, train=stored.table(train.name), notices=notices)


def read_evaluation(data: Data, asset: Asset | None) -> ParallelData:
    """As `read_parallel` without the training pairs, which are read only where the splits are cut from them."""
    if asset is not None and asset.source == "embedded":
        return _generated(data, train=False)
    is_cut = data.cut.validation or data.cut.test
    return _measured(data if is_cut else data.model_copy(update={"train": None}), asset)[0]


def _measured(data: Data, asset: Asset | None) -> tuple[ParallelData, Reader | None, CutOff | None]:
    """The evaluation splits, and what is left to read."""
    notices: list[str] = []
    train = reader_of(data, asset, data.train) if data.train else None
    cut = cut_off(train, data.cut) if train and (data.cut.validation or data.cut.test) else None
    validation, test = cut.tables() if cut else ({}, {})
    validation |= _evaluation(data, asset, "validation", notices)
    test |= _evaluation(data, asset, "test", notices)
    return ParallelData(*data.named_languages(), None, validation, test, tuple(notices)), train, cut


def _generated(data: Data, train: bool = True) -> ParallelData:
    """The embedded pairs; they are clean, and their splits share no combination of words."""
    from forge.tasks.embedded.translation import generate

    def table(split: str, size: int) -> Table:
        rows = generate(split, size, data.embedded.seed, data.embedded.difficulty)
        return from_rows(f"{EMBEDDED_PAIRS}:{split}", rows)

    return ParallelData(
        "en",
        "fr",
        table("train", data.max_train_examples or data.embedded.train_size) if train else None,
        {"validation": table("validation", EMBEDDED_EVAL_SIZE)},
        {"test": table("test", EMBEDDED_EVAL_SIZE)} if data.test or data.cut.test else {},
    )


def reader_of(data: Data, asset: Asset | None, reference: str) -> Reader:
    """The split or file that is named, in whichever format."""
    if asset is not None:
        return read_table(from_directory(asset.location, data.subset, reference, asset.revision), data.columns)
    if files := two_files(reference):
        source, target = (Path(file).expanduser() for file in files)
        return read_two_files(reference, source, target)
    path = Path(reference).expanduser()
    if path.name.lower().endswith((".tmx", ".tmx.gz")):
        return read_tmx(path, *data.named_languages())
    return read_columns(path, data.columns)


def _evaluation(data: Data, asset: Asset | None, role: str, notices: list[str]) -> dict[str, Table]:
    """The splits of a role, every pair as it is."""
    references = getattr(data, role)
    named = {role: references} if isinstance(references, str) else references or {}
    tables = {}
    for name, reference in named.items():
        reader = reader_of(data, asset, reference)
        tables[name] = whole_table(reader)
        notices += reader.notices
    return tables


def whole_table(reader: Reader) -> Table:
    """Every pair of an evaluation split. Raises UserError for a side without text."""
    stored = store(reader, "evaluation", partial(_whole, reader))
    if not stored.rows.num_rows:
        raise UserError(f"{reader.name}  has no rows")
    return stored.table(reader.name)


def _whole(reader: Reader, _: Counts) -> Iterator[Pairs]:
    return (refuse_empty(reader, pairs) for pairs in reader.batches())


def _training(reader: Reader, data: Data, cut: CutOff | None) -> Stored:
    """The training pairs that stay."""
    languages = data.named_languages()
    version = identifier_version() if data.clean.language else ""
    key = [
        "training",
        data.clean.model_dump(),
        data.cut.model_dump() if cut else None,
        data.max_train_examples,
        [*languages, version] if data.clean.language else None,
    ]

    def make(counts: Counts) -> Iterator[Pairs]:
        cleaner = Cleaner(data.clean, languages, cut.pairs() if cut else None)
        batches = before(reader.batches(), cut.training) if cut else reader.batches()
        return cleaner.keep(batches, counts, data.max_train_examples)

    stored = store(reader, key, make)
    if not stored.rows.num_rows:
        found = summary(stored.counts)
        raise UserError(f"{reader.name}  has no pair that can be trained on: {found} (data.clean, data.cut)")
    return stored


def _told(counts: Counts, cut: CutOff | None) -> Iterator[str]:
    if cut:
        parts = [f"{name} {count:,}" for name, count in cut.cut.model_dump().items() if count]
        yield (
            f"cut: {' and '.join(parts)} pairs from the end of {cut.stored.reader.name}; {counts[EQUAL]:,} training "
            f"pairs equal to one of theirs on a side and {counts[NEARLY]:,} nearly equal are left out"
        )
    yield f"cleaning: {summary(counts)}"
