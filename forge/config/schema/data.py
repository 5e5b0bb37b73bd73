"""`data:` where the examples come from and which column means what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forge.config.schema._base import Section
from forge.config.schema.pages import Pages
from forge.config.schema.parallel import Clean, Cut, Languages, language_in, languages_of, primary_tag, two_files


class Columns(Section):
    """Which column of the data plays which part."""

    text: str = "text"
    """Column of the first (or only) text, for example `premise`."""
    text_pair: str | None = None
    """Column of the second text, for example `hypothesis`; null for single-text tasks."""
    label: str = "label"
    """Column of the label: a name from `data.labels`, or its index."""
    source: str = "source"
    """Column of the text to translate; a dotted path reaches into nested columns: `translation.en`."""
    target: str = "target"
    """Column of its translation; dotted as the source."""
    page: str = "page"
    """Column of a page: the path of an image or a PDF (with a column `number`, the page's), or an image itself."""
    markdown: str = "markdown"
    """Column of the page's Markdown."""
    document: str = "document"
    """Column that says which document a page is of, where there is one; else its file is."""


class Embedded(Section):
    """The procedural data set that Forge carries; unused with any other."""

    train_size: Annotated[int, Field(ge=8, le=1_000_000)] = 20_000
    """Training examples to generate; validation and test have 2,000 each, of pages 400."""
    difficulty: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of examples that need several steps of reasoning or set a trap."""
    preset: Literal["digits", "line", "lines", "print", "markdown", "a4"] = "lines"
    """Kind of embedded page: a number, a line, 1 to 3 lines, lines as in manuals, a page of Markdown, a sheet of A4."""
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
    """Training split, or a .jsonl, .csv, .tsv or .parquet file. Parallel text may also be a .tmx file, or two files
    with a line for each other: `train.{en,fr}`, the source first; both may end in .gz. Pages may also be a directory of
    them, `a.pdf` or `a.png` with its `a.md` beside it."""
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
    max_target_length: Annotated[int, Field(ge=4, le=1_000_000)] | None = None
    """Longest translation, or Markdown of a page, in tokens; null takes `data.max_length`."""
    languages: Languages = Languages()
    """Which languages a translation goes from and to."""
    clean: Clean = Clean()
    """Which pairs of parallel text are left out of training."""
    cut: Cut = Cut()
    """Evaluation splits to cut from parallel text, or pages, that have none."""
    pages: Pages = Pages()
    """How pages become images."""
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

    @model_validator(mode="after")
    def _cut_what_is_missing(self) -> Data:
        for role, given in (("validation", self.validation), ("test", self.test)):
            if getattr(self.cut, role) and given:
                raise ValueError(f"data.cut.{role} makes a split that data.{role} names already; set one of them")
        return self

    @model_validator(mode="after")
    def _two_files_of_these_languages(self) -> Data:
        for key, reference in self.references():
            if not two_files(reference):
                continue
            if self.name:
                raise ValueError(
                    f"{key} names two files ({reference}), but data.name is set; name a split, or leave data.name out"
                )
            for side, here in zip(("source", "target"), languages_of(reference), strict=True):
                told = getattr(self.languages, side)
                if told and here and primary_tag(told) != primary_tag(here):
                    raise ValueError(f"{key} has the {side} in {here}, but data.languages.{side} is {told}")
        return self

    def references(self) -> list[tuple[str, str]]:
        """Every split that is named: the key, and the split or file."""
        named = [("data.train", self.train), ("data.validation", self.validation), ("data.test", self.test)]
        return [
            (key, reference)
            for key, value in named
            for reference in (value.values() if isinstance(value, dict) else [value] if value else [])
        ]

    def named_languages(self) -> tuple[str | None, str | None]:
        """Source and target language: as set, else as braces in a file name say, else as columns are called."""
        told = (self.languages.source, self.languages.target)
        braces = [languages_of(reference) for _, reference in self.references()]
        columns = (language_in(self.columns.source), language_in(self.columns.target))
        source, target = (next(filter(None, named), None) for named in zip(told, *braces, columns, strict=True))
        return source, target
