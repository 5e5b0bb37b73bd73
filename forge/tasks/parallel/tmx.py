"""TMX, the exchange format of translation memories, read as a stream. Entities are refused, nothing is fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat  # it fetches nothing, and entity declarations are refused below

from forge.core.errors import UserError
from forge.core.hashing import digest
from forge.tasks.parallel.moses import CHUNK, content_and_lines, opened
from forge.tasks.parallel.pairs import Batcher, Pairs, Reader

CODES = {"bpt", "ept", "it", "ph", "ut"}  # mark-up of the original format, which is no text


def read_tmx(path: Path, source: str | None, target: str | None) -> Reader:
    """A reader of the units that have both languages. Raises UserError where no unit has one of them."""
    if not source or not target:
        missing = "source" if not source else "target"
        raise UserError(f"{path}  holds several languages; say which two: data.languages.{missing} is not set")
    notices: list[str] = []
    mark = digest(["tmx", content_and_lines(path)[0], source, target], 16)
    return Reader(str(path), mark, lambda: _batches(path, source, target, notices), f"{path}:", notices=notices)


def _batches(path: Path, source: str, target: str, notices: list[str]) -> Iterator[Pairs]:
    units = _Units(path, source, target)
    parser = expat.ParserCreate(namespace_separator=None)
    parser.buffer_text = True
    units.attach(parser)
    try:
        with opened(path) as file:
            while chunk := file.read(CHUNK):
                parser.Parse(chunk)
                yield from units.batcher.full()
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise UserError(f"{path}:{error.lineno}:{error.offset + 1}  not TMX: {what}") from error
    yield from units.batcher.full(last=True)
    units.check()
    notices[:] = [f"{path}: {units.incomplete:,} units without both languages were left out"] * bool(units.incomplete)


@dataclass
class _Units:
    """What the parser calls: collects the two texts of each translation unit."""

    path: Path
    source: str
    target: str
    batcher: Batcher = field(default_factory=Batcher)
    incomplete: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    _texts: dict[str, str] = field(default_factory=dict)
    _line: int = 0
    _language: str = ""
    _segment: list[str] | None = None
    _codes: int = 0  # how deep inside mark-up codes
    _parser: Any = None

    def attach(self, parser: Any) -> None:
        self._parser = parser
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity

    def check(self) -> None:
        """Raises UserError for a language that no unit has, and where there is no unit at all."""
        if not self.languages:
            raise UserError(f"{self.path}  has no rows")
        for side, wanted in (("source", self.source), ("target", self.target)):
            if not any(_matches(wanted, language) for language in self.languages):
                have = ", ".join(sorted(self.languages))
                raise UserError(
                    f"{self.path}  has no text in '{wanted}' (data.languages.{side}); its languages are: {have}"
                )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self._texts, self._line = {}, self._parser.CurrentLineNumber
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang") or ""
            self.languages[self._language] += 1
        elif name == "seg":
            self._segment, self._codes = [], 0
        elif name in CODES:
            self._codes += 1

    def _end(self, name: str) -> None:
        if name == "seg" and self._segment is not None:
            text = " ".join("".join(self._segment).split())
            for side, wanted in (("source", self.source), ("target", self.target)):
                if _matches(wanted, self._language):
                    self._texts.setdefault(side, text)
            self._segment = None
        elif name in CODES:
            self._codes -= 1
        elif name == "tu" and len(self._texts) == 2:
            self.batcher.add(self._texts["source"], self._texts["target"], self._line)
        elif name == "tu":
            self.incomplete += 1

    def _characters(self, text: str) -> None:
        if self._segment is not None and not self._codes:
            self._segment.append(text)

    def _entity(self, name: str, *_: Any) -> None:
        raise UserError(f"{self.path}:{self._parser.CurrentLineNumber}  declares the entity '{name}', which is refused")


def _matches(wanted: str, language: str) -> bool:
    """`en` is matched by `en`, `EN` and `en-GB`; `en-GB` by itself alone."""
    wanted, language = (tag.lower().replace("_", "-") for tag in (wanted, language))
    return language == wanted or language.startswith(f"{wanted}-")
