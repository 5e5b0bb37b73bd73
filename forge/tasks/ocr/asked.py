"""What a command line asks to be read, and where it is to go: found wrong before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from forge.core.errors import UserError
from forge.tasks.pages.ranges import parse_pages
from forge.tasks.pages.sizes import Scale

TEMPERATURES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Of the first try of a page (greedy) and of those after it."""
RETRIES = len(TEMPERATURES) - 1


@dataclass(frozen=True)
class Asked:
    """Documents in order, and how they are to be read. Raises UserError for what cannot be done."""

    documents: Sequence[str]
    pages: str | None = None  # such as 1-5,8
    password: str | None = None
    dpi: float | None = None  # in place of the run's own
    longest_edge: int | None = None
    output: str | None = None  # a file, or of several documents a directory
    as_json: bool = False
    tables: Literal["html", "markdown"] | None = None  # None: as the model writes them
    mark_pages: bool = False
    retries: int = RETRIES

    def __post_init__(self) -> None:
        if not self.documents:
            raise UserError("give the files to read: PDF, PNG, JPEG, TIFF or WebP")
        if self.dpi and self.longest_edge:
            raise UserError("give --dpi or --longest_edge, not both: each says how large a page becomes")
        if self.as_json and self.mark_pages:
            raise UserError("--mark_pages is for Markdown; lines of JSON say which page they are of")
        if not 0 <= self.retries <= RETRIES:
            raise UserError(f"--retries must be a whole number from 0 to {RETRIES}, not {self.retries}")
        parse_pages(self.pages)
        Scale(100.0 if self.dpi is None else self.dpi, self.longest_edge)
        self._check_targets()

    @cached_property
    def targets(self) -> list[Path | None]:
        """The file of each document; None for the screen."""
        if self.output is None:
            return [None] * len(self.documents)
        path = Path(self.output).expanduser()
        if self._is_directory:
            suffix = ".jsonl" if self.as_json else ".md"
            return [path / f"{Path(name).stem or 'document'}{suffix}" for name in self.documents]
        return [path]

    @property
    def _is_directory(self) -> bool:
        return self.output is not None and (self.output.endswith("/") or Path(self.output).expanduser().is_dir())

    def _check_targets(self) -> None:
        if self.output is None:
            return
        path = Path(self.output).expanduser()
        if not self._is_directory and len(self.documents) > 1:
            raise UserError(f"--output: {len(self.documents)} documents need a directory: --output {self.output}/")
        folder = path if self._is_directory and path.exists() else path.absolute().parent
        if not folder.is_dir():
            raise UserError(f"--output: {self.output} lies in no directory ({folder})")
        self._check_names()

    def _check_names(self) -> None:
        """No text may take the place of another, or of a document."""
        seen: dict[Path, str] = {}
        sources = {Path(name).expanduser().resolve() for name in self.documents}
        for name, target in zip(self.documents, self.targets, strict=True):
            assert target is not None
            if target in seen:
                raise UserError(f"--output: {seen[target]} and {name} would both become {target}; read them apart")
            if target.resolve() in sources:
                raise UserError(f"--output: {target} is one of the documents")
            if target.is_dir():
                raise UserError(f"--output: {target} is a directory")
            seen[target] = name
