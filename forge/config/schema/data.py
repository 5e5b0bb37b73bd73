"""`data:` where the examples come from and which column means what."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from forge.config.schema._base import Section


class Columns(Section):
    """Which column of the data plays which part."""

    text: str = "text"
    """Column of the first (or only) text, for example `premise`."""
    text_pair: str | None = None
    """Column of the second text, for example `hypothesis`; null for single-text tasks."""
    label: str = "label"
    """Column of the label: a name from `data.labels`, or its index."""


class Embedded(Section):
    """The procedural data set that Forge carries; unused with any other."""

    train_size: Annotated[int, Field(ge=8, le=1_000_000)] = 20_000
    """Training examples to generate; validation and test have 2,000 each."""
    difficulty: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of examples that need several steps of reasoning or set a trap."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the generator, apart from the run's own: all runs see the same data."""


class Data(Section):
    """The data set and its splits. A split is a split name of `data.name`, or a file when `data.name` is null."""

    name: str | None = None
    """Hub data set (`nyu-mll/multi_nli`), local directory in hub format, or `embedded/nli`; null to read files."""
    subset: str | None = None
    """Hub configuration of the data set, for example `sst2` of `nyu-mll/glue`."""
    revision: str | None = None
    """Git revision of the hub data set; pins it."""
    train: str | None = None
    """Training split, or a .jsonl, .csv, .tsv or .parquet file."""
    validation: str | dict[str, str] | None = None
    """Validation split or file, or several by name (`{matched: …, mismatched: …}`), each reported apart;
    the first one chooses the best checkpoint."""
    test: str | dict[str, str] | None = None
    """Test split or file, or several by name; measured once, after training, with the best checkpoint."""
    columns: Columns = Columns()
    """Which column means what."""
    labels: Annotated[list[str], Field(min_length=2)] | None = None
    """Label names in index order; null takes them from the data set, or from the training file in sorted order."""
    max_length: Annotated[int, Field(ge=4, le=1_000_000)] = 128
    """Longest input in tokens; longer texts are truncated, the longer of a pair first."""
    max_train_examples: Annotated[int, Field(ge=1)] | None = None
    """Use only the first so many training examples; null uses all."""
    embedded: Embedded = Embedded()
    """Size and difficulty of the embedded data set."""
    stand_in: str | None = None
    """Embedded data set that takes this one's place in a smoke run without network."""

    @model_validator(mode="after")
    def _label_names_differ(self) -> Data:
        if self.labels and len(set(self.labels)) != len(self.labels):
            raise ValueError("data.labels names a label twice")
        return self
