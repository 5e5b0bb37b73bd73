"""The splits that a run was measured on, read again and checked against what it noted of them."""

from __future__ import annotations

from forge.config.schema import Data
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.inference.saved import settings_of
from forge.runs.run_dir import RunDirectory
from forge.tasks.ocr.read import read_page_splits
from forge.tasks.parallel import read_evaluation
from forge.tasks.sources import Table
from forge.tasks.splits import read_splits


def own_splits(run: RunDirectory, split: str | None, remedy: str) -> dict[str, Table]:
    """The test splits of a run, or the one that `split` names, under the names of its fingerprints.

    A run without test splits has its validation splits. Raises UserError that ends with `remedy` where the data has
    changed since.
    """
    metadata, tables = run.metadata(), _read(run)
    held_out = {name: table for name, table in tables.items() if name.split(".")[0] == "test"}
    chosen = (held_out or tables) if split is None else {n: t for n, t in tables.items() if split in {n, _last(n)}}
    if not chosen:
        raise UserError(f"--split: {run.path} has no split '{split}'; there are: {', '.join(tables)}")
    for name, table in chosen.items():
        if table.fingerprint != metadata["fingerprints"].get(name):
            raise UserError(f"{table.name}  has changed since {run.path} was trained: {remedy}")
    return chosen


def task_of(run: RunDirectory) -> str:
    """What a run learnt to do."""
    return str(run.metadata()["config"].get("task", "classification"))


def noted_data(run: RunDirectory) -> tuple[Data, Asset | None]:
    """What a run was told of its data, and where it found it; None where splits are files."""
    about = run.metadata()["assets"]["data"]
    known = ("asked", "source", "location", "revision", "stand_in")
    asset = Asset(**{name: about[name] for name in known}) if "location" in about else None
    return settings_of(run).data, asset


def _read(run: RunDirectory) -> dict[str, Table]:
    """Validation and test; the training set is not read, unless they are cut from it."""
    task = task_of(run)
    data, asset = noted_data(run)
    if task == "translation":
        found = read_evaluation(data, asset)
        roles = (("validation", found.validation), ("test", found.test))
    elif task == "ocr":
        pages = read_page_splits(data, asset, train=False)
        roles = (("validation", dict(pages.validation)), ("test", dict(pages.test)))
    else:
        raw = read_splits(data.model_copy(update={"train": None}), asset)
        roles = (("validation", raw.validation), ("test", raw.test))
    return {n if n == role else f"{role}.{n}": table for role, tables in roles for n, table in tables.items()}


def _last(name: str) -> str:
    return name.rpartition(".")[2]
