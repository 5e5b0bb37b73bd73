"""Pages of every split, encoded as a task takes them."""

from __future__ import annotations

from typing import Any

from forge.building.base import Site
from forge.config.schema import Settings
from forge.tasks.base import TaskData
from forge.tasks.ocr.read import PageSplits
from forge.tasks.ocr.task import OcrTask
from forge.tasks.sources import Table


def most_labels(settings: Settings) -> int:
    """Longest Markdown in tokens, its end included."""
    return settings.data.max_target_length or settings.data.max_length


def with_longest(settings: Settings, most: int) -> Settings:
    """The same settings, but Markdown is at most so long."""
    data = settings.data.model_copy(update={"max_target_length": min(most_labels(settings), most)})
    return settings.model_copy(update={"data": data})


def encode_splits(task: OcrTask, splits: PageSplits, site: Site) -> TaskData:
    """Encode every split."""
    evaluated = site.settings.evaluate.max_examples
    train = encode_pages(task, splits.train, site.settings.data.max_train_examples) if splits.train else None
    validation = {name: encode_pages(task, table, evaluated) for name, table in splits.validation.items()}
    test = {name: encode_pages(task, table, evaluated) for name, table in splits.test.items()}
    return TaskData(train, validation, test, splits.fingerprints)


def encode_pages(task: OcrTask, table: Table, limit: int | None) -> Any:
    """The first `limit` rows of a table, ready to collate."""
    rows = table.rows.select(range(min(limit, len(table.rows)))) if limit else table.rows
    return task.encode(rows)
