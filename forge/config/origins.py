"""Where a value comes from: a schema default, a place in a file, or the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from forge.config.wording import one_line


def display_path(path: Path) -> str:
    """The path as a reader would type it: relative to the working directory where that is shorter."""
    absolute = str(path)
    try:
        relative = os.path.relpath(absolute)
    except (OSError, ValueError):  # the working directory is gone, or lies on another drive
        return one_line(absolute)
    return one_line(min(relative, absolute, key=len))


@dataclass(frozen=True)
class Origin:
    """Who set a value. Lines and columns count from 1; ``text`` is the command-line token or the ``${env:…}`` used."""

    kind: Literal["default", "file", "cli"] = "default"
    file: Path | None = None
    line: int = 0
    column: int = 0
    text: str = ""

    @property
    def where(self) -> str:
        """The place an error points to: ``path:line:col`` or ``command line: --key value``."""
        if self.kind == "file" and self.file is not None:
            return f"{display_path(self.file)}:{self.line}:{self.column}"
        return f"command line: {one_line(self.text)}" if self.kind == "cli" else "default"

    @property
    def short(self) -> str:
        """The place without the column, for comments and headlines."""
        if self.kind == "file" and self.file is not None:
            return f"{display_path(self.file)}:{self.line}"
        return self.where

    def __str__(self) -> str:
        return f"{self.where} ({one_line(self.text)})" if self.kind == "file" and self.text else self.where


DEFAULT = Origin()


def start_of(file: Path) -> Origin:
    """The first character of a file, for problems that have no better place."""
    return Origin("file", file, 1, 1)
