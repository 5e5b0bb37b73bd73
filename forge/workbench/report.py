"""report.html of a workbench: what one look at some models found, in one file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from forge.core.io import storage_errors, write_atomic
from forge.reports import drawing, heat
from forge.reports.page import folded, heading, page, paragraph
from forge.workbench.findings import Findings
from forge.workbench.page import alignment, comparison, disagreement, examples, probes, summary
from forge.workbench.page.merging import merged

MOST_BYTES = 2_000_000
_SPARE = 20_000


def write_report(findings: Findings, path: Path) -> None:
    """One look. Equal findings give equal bytes; raises StorageError."""
    _write(render(findings), path)


def write_comparison(findings: Sequence[Findings], path: Path) -> None:
    """Several looks beside each other. Raises UserError for looks at different tasks, and StorageError."""
    _write(render_comparison(findings), path)


def render(findings: Findings) -> str:
    """The page of one look."""
    return _with_examples(findings, summary.methods(findings))


def render_comparison(findings: Sequence[Findings]) -> str:
    """The page of several looks."""
    methods = [words for one in findings for words in [f"{one.title}:", *summary.methods(one)]]
    return _with_examples(merged(findings), methods)


def _with_examples(findings: Findings, methods: Sequence[str]) -> str:
    """All sections, and as many examples as there is room for."""
    pairs = comparison.pairs(findings)
    body = [
        *summary.head(findings, comparison.sentences(findings, pairs)),
        *summary.quality(findings),
        *comparison.section(findings, pairs),
        *alignment.section(findings),
        *probes.section(findings),
        *disagreement.section(findings),
    ]
    last = [heading("To look up", 2), folded("How these numbers were made", "".join(map(paragraph, methods)))]
    bare = len(_page(findings.title, [*body, *last]).encode())
    shown = examples.section(findings, MOST_BYTES - _SPARE - bare)
    return _page(findings.title, [*body, *shown, *last])


def _page(title: str, body: Sequence[str]) -> str:
    own = files("forge.workbench.page")
    style = heat.STYLE + drawing.STYLE + own.joinpath("report.css").read_text(encoding="utf-8")
    return page(title, body, style, own.joinpath("report.js").read_text(encoding="utf-8"))


def _write(told: str, path: Path) -> None:
    with storage_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, told)
