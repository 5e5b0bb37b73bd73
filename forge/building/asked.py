"""What rewards are told of the training examples, for each task whose models learn from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from forge.objectives.rl.judge import Asked
from forge.tasks.metrics.ocr.checks.derive import derived_checks
from forge.tasks.ocr.page_tests import checks_in
from forge.tasks.ocr.pictures import markdown_of
from forge.tasks.rewards.base import Need, TaskName

LEARNED_LINES = 200_000  # training targets, at most, from which a reward learns
LEARNED_PAGES = 2_000


@dataclass(frozen=True)
class Prompts:
    """`ask` says what examples hold, by their row numbers; `lines` are targets, for rewards that learn from them."""

    task: TaskName
    has: frozenset[Need]  # what every example has
    ask: Callable[[Sequence[int]], list[Asked]]
    lines: Callable[[], Sequence[str]]
    language: str | None = None  # of what is written


def translation_prompts(train: Dataset, language: str | None) -> Prompts:
    """A text, and its translation where the data has one."""
    has_reference = "target" in train.column_names

    def ask(rows: Sequence[int]) -> list[Asked]:
        found: Mapping[str, list[str]] = train[list(rows)]
        nothing = [None] * len(rows)
        return [Asked(*pair) for pair in zip(found["source"], found.get("target", nothing), strict=True)]

    def lines() -> Sequence[str]:
        targets: list[str] = train["target"][:LEARNED_LINES] if has_reference else []
        return targets

    has: frozenset[Need] = frozenset({"source", "reference"} if has_reference else {"source"})
    return Prompts("translation", has, ask, lines, language)


def page_prompts(train: Dataset) -> Prompts:
    """A page by its name, its Markdown, and checks: the page's own, or made of its Markdown."""
    known = train.select_columns([name for name in ("page", "markdown", "tests") if name in train.column_names])

    def ask(rows: Sequence[int]) -> list[Asked]:
        return [_asked_of(row) for row in known.__getitems__(list(rows))]

    def lines() -> Sequence[str]:
        pages = known.select(range(min(LEARNED_PAGES, len(known))))
        texts = [line for row in pages for line in markdown_of(row).split("\n") if line.strip()]
        return texts[:LEARNED_LINES]

    return Prompts("ocr", frozenset({"reference", "checks"}), ask, lines)


def tested_pages(train: Dataset) -> int:
    """How many pages bring checks of their own."""
    return sum(map(bool, train["tests"])) if "tests" in train.column_names else 0


def _asked_of(row: Mapping[str, Any]) -> Asked:
    markdown, own = markdown_of(row), checks_in(row.get("tests") or "")
    return Asked(None, markdown, str(row["page"]), own or derived_checks(markdown))
