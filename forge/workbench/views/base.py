"""What a task says to be looked at, and what comes of looking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from numpy.typing import NDArray

from forge.config.schema import Model, Settings
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.core.hashing import derive_seed, digest
from forge.runs.run_dir import RunDirectory
from forge.tasks.base import Task
from forge.tasks.sources import Table
from forge.workbench.findings import Disagreement, Overlap, Role
from forge.workbench.parted import Choices
from forge.workbench.parted_texts import Writing
from forge.workbench.probed import Labelled
from forge.workbench.representations import Pooling, extract
from forge.workbench.row_files import Representations
from forge.workbench.slices import Axis
from forge.workbench.stacks import Missed

AT_ONCE = 64  # examples
Made = Choices | Writing


@dataclass(frozen=True)
class Source:
    """Where one model is, and what is known of it."""

    key: str
    role: Role
    name: str
    path: str
    folder: Path  # of the checkpoint
    settings: Settings  # its run's; of a model that no run made those of the student
    facts: Mapping[str, Any]  # likewise, run_metadata.json
    of_run: bool
    init: Literal["pretrained", "random"] = "pretrained"

    @property
    def asset(self) -> Asset:
        """As loaders take it."""
        return Asset(str(self.folder), "path", str(self.folder))

    @property
    def wanted(self) -> Model:
        """The same; code that a repository carries is run only where its own run was told so."""
        trusted = {name: getattr(self.settings.model, name) for name in ("trust_remote_code", "revision")}
        known = trusted if self.of_run else {}
        return Model(name=str(self.folder), init=self.init, **known)


@dataclass(frozen=True)
class Shown:
    """The rows that all models are shown."""

    split: str
    table: Table  # of these rows alone
    of: int
    overlap: Overlap
    ids: tuple[str, ...]
    inputs: tuple[Mapping[str, str], ...]
    gold: tuple[str, ...]
    groups: tuple[str, ...]  # rows of one document or premise
    fingerprint: str
    labels: tuple[str, ...] = ()
    gold_N: NDArray[np.int64] | None = None  # of labels
    language: str | None = None  # of translations


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to be shown rows."""

    source: Source
    task: Task
    model: Any
    accelerator: Accelerator
    tokenizer: Any
    order: list[int] | None = None  # of a classifier: its output for each of the data's labels


@dataclass(frozen=True)
class TokenRows:
    """Hidden states of some texts, a row a token, and what each token is."""

    seen: Representations
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Watched:
    """What was seen of one model."""

    key: str
    architecture: str
    parameters: int
    stacks: Mapping[str, Representations]
    made: Made | None
    figures: Mapping[str, float | None]
    tokens: str  # a digest of how it cuts texts
    tokens_of: Mapping[str, TokenRows] = field(default_factory=dict)  # by stack, where tokens are probed
    missed: Mapping[str, str] = field(default_factory=dict)  # stacks that could not be read, and why


class View(Protocol):
    """One task's part."""

    @property
    def most(self) -> int:
        """Rows, unless told otherwise."""
        ...

    @property
    def most_quick(self) -> int:
        """The same when quick."""
        ...

    def show(self, run: RunDirectory, split: str, table: Table, most: int) -> Shown:
        """Rows of a split that the run was not trained on. Raises UserError."""
        ...

    def check(self, source: Source, shown: Shown) -> None:
        """Raises UserError for a model that answers something else, as far as that is known without its weights."""
        ...

    def load(self, source: Source, shown: Shown) -> Loaded:
        """Raises UserError for a model that does not do this task."""
        ...

    def encode(self, loaded: Loaded, shown: Shown) -> Dataset:
        """The rows as the model takes them."""
        ...

    def watch(self, loaded: Loaded, shown: Shown, folder: Path, reference: Made | None, quick: bool) -> Watched:
        """Run a model over the rows; `reference` is what the reference made of them, where there is one."""
        ...

    def axes(self, shown: Shown, reference: Made | None) -> list[Axis]:
        """Kinds of rows."""
        ...

    def labelled(self, stack: str, shown: Shown) -> list[Labelled]:
        """Labels to probe for in a stack, a row an example."""
        ...

    def parts(
        self,
        shown: Shown,
        watched: Mapping[str, Watched],
        reference: str | None,
        pairs: Sequence[tuple[str, str]],
        axes: Sequence[Axis],
        seed: int,
    ) -> Disagreement:
        """Where answers part."""
        ...

    def said(self, made: Made, shown: Shown) -> tuple[list[str], list[float]]:
        """Answers as texts, and the confidence of each; [] where a model says none."""
        ...

    def apart(self, reference: Made, other: Made) -> list[float | None]:
        """How far apart the two are on each row."""
        ...


def chosen_rows(free: Sequence[int], most: int, purpose: str) -> list[int]:
    """At most so many of the rows, drawn, in their own order; the same whoever asks."""
    order = np.random.default_rng(derive_seed(0, "workbench rows", purpose)).permutation(len(free))[:most]
    return sorted(free[place] for place in order)


def only(table: Table, rows: Sequence[int]) -> Table:
    """A table of these rows, with a fingerprint of its own."""
    kept = list(rows)
    return replace(
        table,
        rows=table.rows.select(kept),
        fingerprint=digest([table.fingerprint, kept]),
        where=lambda row: table.where(kept[row]),
    )


def special_tokens(tokenizer: Any) -> list[int]:
    """Those that every text has: they would make any two models alike."""
    names = ("cls", "sep", "pad", "bos", "eos")
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    return sorted({int(one) for one in found if one is not None} - {getattr(tokenizer, "unk_token_id", None)})


def observe(
    loaded: Loaded,
    data: Dataset,
    ids: Sequence[str],
    folder: Path,
    pooling: Pooling = "mean",
    missed: Missed | None = None,
) -> dict[str, Representations]:
    """Every layer of every stack, a row an example, in their order; stacks that cannot be read go into `missed`."""

    def batches() -> Iterator[Any]:
        for start in range(0, len(ids), AT_ONCE):
            here = range(start, min(start + AT_ONCE, len(ids)))
            yield [{"id": ids[row]} for row in here], loaded.task.collate(data.__getitems__(list(here)))

    about = {"of": loaded.source.path, "init": loaded.source.init}
    left_out = special_tokens(loaded.tokenizer)
    return extract(loaded.model, batches(), folder, pooling=pooling, leave_out=left_out, about=about, missed=missed)


def parameters_of(model: torch.nn.Module) -> int:
    """How many."""
    return sum(parameter.numel() for parameter in model.parameters())


def require_left(rows: Sequence[int], name: str) -> None:
    """Raises UserError where all rows are known from training."""
    if not rows:
        raise UserError(f"{name}  has no row that is not in the training set too; nothing on it says what was learned")
