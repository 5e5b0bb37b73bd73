"""The files of a workbench beside a run, each written whole.

findings.json · examples.jsonl (all rows) · predictions.jsonl and its .spec (as LIT reads them) ·
representations/<model>/<stack>.safetensors
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.core.io import storage_errors, write_json, writing
from forge.workbench.findings import FILE, Example, Findings, write_findings

EXAMPLES = "examples.jsonl"
PREDICTIONS = "predictions.jsonl"
REPRESENTATIONS = "representations"
REPORT = "report.html"


class Store:
    """One folder. What an earlier look left is taken away first: files of two looks do not go together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Raises UserError where the folder cannot be made; leaves files alone that are not a workbench's."""
        with storage_errors(f"writing {self.folder}"):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except FileExistsError as error:
                raise UserError(f"{self.folder}  is a file, not a directory; name another with --out") from error
            for name in (FILE, EXAMPLES, PREDICTIONS, f"{PREDICTIONS}.spec", REPORT):
                (self.folder / name).unlink(missing_ok=True)
            shutil.rmtree(self.folder / REPRESENTATIONS, ignore_errors=True)

    def abandon(self) -> None:
        """Take away what a look that failed has written."""
        shutil.rmtree(self.folder / REPRESENTATIONS, ignore_errors=True)
        with suppress(OSError):  # others' files are in it
            self.folder.rmdir()

    def representations(self, key: str) -> Path:
        """Where those of a model go."""
        return self.folder / REPRESENTATIONS / key

    def write(self, findings: Findings, examples: Sequence[Example]) -> None:
        """The findings last: where they are, all is."""
        with storage_errors(f"writing {self.folder}"):
            _write_lines(self.folder / EXAMPLES, (one.as_json() for one in examples))
            flat = [_for_lit(one) for one in examples]
            _write_lines(self.folder / PREDICTIONS, flat)
            write_json(self.folder / f"{PREDICTIONS}.spec", lit_spec(flat, findings.rows.labels))
            write_findings(findings, self.folder / FILE)


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with writing(path) as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def _for_lit(one: Example) -> dict[str, Any]:
    """A flat record: inputs, the data's answer, and answer and confidence of each model."""
    answers = {f"{key}_answer": text for key, text in one.said.items()}
    sure = {f"{key}_confidence": value for key, value in one.confidence.items()}
    apart = {} if one.apart is None else {"apart": one.apart}
    return {"id": one.id, **one.inputs, "gold": one.gold, **answers, **sure, **apart}


def lit_spec(records: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
    """The type of each field, as `load_lit_format` of LIT reads it from the file's name with `.spec` behind it."""

    def kind(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, str):
            return {"__class__": "LitType", "__name__": "Scalar"}
        if labels and (name == "gold" or name.endswith("_answer")):
            return {"__class__": "LitType", "__name__": "CategoryLabel", "vocab": list(labels)}
        return {"__class__": "LitType", "__name__": "StringLitType" if name == "id" else "TextSegment"}

    return {name: kind(name, value) for name, value in (records[0] if records else {}).items()}
