"""From `data:` to tables of pages, one for each split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forge.config.schema import Data
from forge.core.assets import Asset
from forge.core.errors import UserError
from forge.tasks.ocr.embedded import EVAL_SIZE, embedded_canvas, embedded_table, embedded_training
from forge.tasks.sources import Table

CANVAS = (160, 256)


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
    """Every split that the configuration names; without `train` only those that are measured on."""
    if asset is not None and asset.source == "embedded":
        return _embedded(data, train)
    raise UserError("data.name: only embedded/pages is read as yet")


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
