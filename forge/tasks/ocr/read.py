"""From `data:` to tables of pages, one for each split."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image

from forge.config.schema import Data, Pages
from forge.config.schema.pages import CELL
from forge.core.assets import Asset
from forge.tasks.ocr.cut import cut_by_document
from forge.tasks.ocr.embedded import EVAL_SIZE, embedded_canvas, embedded_table, embedded_training
from forge.tasks.ocr.files import PageColumns, read_pages
from forge.tasks.pages.sizes import Scale
from forge.tasks.sources import Table

CANVAS = (160, 256)
CUT_SEED = 0  # whatever a run's own seed: all runs see the same splits
LOOKED_AT = 200  # training pages whose sizes decide that of the sheet
LARGEST = 1_600  # pixels of a sheet's edge, unless it is named


@dataclass(frozen=True)
class PageSplits:
    """Tables with `page` and, but for embedded training pages, `markdown`; of files also `image` and its text layer."""

    train: Table | None
    validation: Mapping[str, Table] = field(default_factory=dict)
    test: Mapping[str, Table] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    sheet: tuple[int, int] = CANVAS  # height and width in pixels that suit the pages

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the content of each split is."""
        found = {"train": self.train.fingerprint} if self.train else {}
        for role, tables in (("validation", self.validation), ("test", self.test)):
            found |= {name if name == role else f"{role}.{name}": table.fingerprint for name, table in tables.items()}
        return found


def read_page_splits(data: Data, asset: Asset | None, train: bool = True) -> PageSplits:
    """Every split that the configuration names; without `train` only those that are measured on.

    Raises UserError. Pages that cannot be read are left out with a notice.
    """
    if asset is not None and asset.source == "embedded":
        return _embedded(data, train)
    notices: list[str] = []

    def table(reference: str) -> Table:
        found = read_pages(reference, columns_of(data), scale_of(data.pages), *_where(data, asset), None)
        notices.extend(found.notices)
        return found.table

    def tables(role: str, references: str | dict[str, str] | None) -> dict[str, Table]:
        named = {role: references} if isinstance(references, str) else references or {}
        return {name: table(reference) for name, reference in named.items()}

    is_cut = bool(data.cut.validation or data.cut.test)
    trained = table(data.train) if data.train and (train or is_cut) else None
    validation, test = tables("validation", data.validation), tables("test", data.test)
    if trained and is_cut:
        cut = cut_by_document(trained, data.cut.validation, data.cut.test, CUT_SEED)
        notices.extend(cut.notices)
        trained = cut.train
        validation |= {"validation": cut.validation} if cut.validation else {}
        test |= {"test": cut.test} if cut.test else {}
    sheet = data.pages.canvas or (_largest(trained) if trained else CANVAS)
    return PageSplits(trained if train else None, validation, test, tuple(notices), sheet)


def columns_of(data: Data) -> PageColumns:
    """Which column means what."""
    return PageColumns(data.columns.page, data.columns.markdown, data.columns.document)


def scale_of(pages: Pages) -> Scale:
    """How large a page becomes."""
    return Scale(pages.dpi, pages.longest_edge, pages.max_pixels)


def _where(data: Data, asset: Asset | None) -> tuple[str | None, str | None, str]:
    """Directory, subset and revision of a data set in hub format; nothing where splits are files."""
    return (asset.location, data.subset, asset.revision) if asset else (None, None, "")


def _largest(table: Table) -> tuple[int, int]:
    """Height and width in whole cells that hold each of the first pages."""
    images = table.rows.select(range(min(LOOKED_AT, len(table.rows))))["image"]
    sizes = [Image.open(io.BytesIO(image)).size for image in images]
    most = tuple(max(edges) for edges in zip(*sizes, strict=True))
    width, height = (min(edge, LARGEST) for edge in most)
    return -(-height // CELL[0]) * CELL[0], -(-width // CELL[1]) * CELL[1]


def _embedded(data: Data, train: bool) -> PageSplits:
    def tables(role: str, references: str | dict[str, str] | None) -> dict[str, Table]:
        named = {role: references} if isinstance(references, str) else references or {}
        return {
            name: embedded_table(data.embedded, _split(role, f"{name} {reference}"), EVAL_SIZE)
            for name, reference in named.items()
        }

    size = data.max_train_examples or data.embedded.train_size
    return PageSplits(
        embedded_training(data.embedded, size) if train else None,
        tables("validation", data.validation or "validation"),
        tables("test", data.test),
        sheet=data.pages.canvas or embedded_canvas(data.embedded.preset),
    )


def _split(role: str, words: str) -> str:
    return "test_fonts" if role == "test" and "fonts" in words else role
