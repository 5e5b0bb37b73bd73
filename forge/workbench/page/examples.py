"""The table of examples: columns and rows for the page's script, as many as the page has room for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from forge.reports.page import data, heading, paragraph
from forge.workbench.findings import AttentionMap, Example, Findings
from forge.workbench.page.merging import students_agree
from forge.workbench.page.models import Look, looks

_WORD = re.compile(r"\s*\S+")
_INPUTS = {"text": "text", "text_pair": "second text", "source": "source", "page": "page"}
_NONE = "–"


@dataclass
class Column:
    """A column: its values are drawn by kind; of a choice, `values` are its words, and rows have their numbers."""

    name: str
    kind: Literal["id", "text", "choice", "number", "diff", "maps"]
    hidden: bool = False  # only to filter by
    digits: int = 2
    sure: int = 0  # of a choice: the column that says how sure, drawn behind it
    truth: int = 0  # of a choice: the column of what is right, to mark what is not
    values: dict[str, int] = field(default_factory=dict)
    cells: list[Any] = field(default_factory=list)

    def add(self, value: Any) -> None:
        """One more row's."""
        self.cells.append(self.values.setdefault(value, len(self.values)) if self.kind == "choice" else value)

    def told(self) -> dict[str, Any]:
        """For the script."""
        found: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.hidden:
            found["hidden"] = True
        if self.kind == "number":
            found["digits"] = self.digits
        if self.kind == "choice":
            found["values"] = list(self.values)
            found |= {name: at for name, at in (("sure", self.sure), ("truth", self.truth)) if at}
        return found


def section(findings: Findings, room: int) -> list[str]:
    """Filters, table and data, in at most `room` bytes; those furthest apart come first, so they are kept."""
    if not findings.examples:
        return []
    columns = _columns(findings, room)
    kept = _fitting(columns, room)
    total = len(findings.examples)
    note = "Furthest apart first. Choose, search, sort by a heading; the address keeps what you chose."
    if any(column.kind == "diff" for column in columns):
        what = "characters" if findings.rows.task == "ocr" else "words"
        note += f" Marked: {what} that the reference's text has not, in the reference's those that the next has not."
    if kept < total or total < findings.rows.used:
        note += f" {kept:,} of {findings.rows.used:,} are here, all of them in examples.jsonl."
    value = {
        "columns": [column.told() for column in columns],
        "rows": [list(row) for row in zip(*(column.cells[:kept] for column in columns), strict=True)],
    }
    return [
        heading("Examples", 2),
        paragraph(note, "note"),
        "<noscript><p class=note>The table of examples needs JavaScript; examples.jsonl has all of "
        "them.</p></noscript>",
        '<form id=filters aria-label="Which examples to show"></form>',
        "<p class=note><span id=count role=status></span> <button form=filters type=reset>Show all</button></p>",
        "<div class=examples><table id=example-table aria-label=Examples><tbody></tbody></table></div>",
        "<p><button id=more type=button hidden>Show 100 more</button></p>",
        data("examples", value),
    ]


def _fitting(columns: Sequence[Column], room: int) -> int:
    """How many rows fit."""
    used = sum(len(json.dumps(column.told(), ensure_ascii=False).encode()) for column in columns) + 1_000
    for kept, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        told = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        used += len(told.encode()) + 1 + 5 * told.count("<")
        if used > room:
            return kept
    return len(columns[0].cells)


def _columns(findings: Findings, room: int) -> list[Column]:
    """Of as many examples as may have room: theirs are the first, and texts are laid beside each other at a price."""
    models, of_classes = looks(findings), bool(findings.rows.labels)
    first = findings.examples[0]
    keys = [one.key for one in findings.subjects if one.key in first.said]
    reference = findings.reference if findings.reference in keys else None
    inputs = [name for name in first.inputs if any(one.inputs[name] != one.id for one in findings.examples)]
    columns = [Column("example", "id"), *(Column(_INPUTS.get(name, name), "text") for name in inputs)]
    columns.append(Column("truth", "choice" if of_classes else "text"))
    truth = len(columns) - 1 if of_classes else 0
    columns += [Column(models[key].name, "choice" if of_classes else "diff", truth=truth) for key in keys]
    for key in (key for key in keys if key in first.confidence):
        answer = next(column for column in columns if column.name == models[key].name)
        answer.sure = len(columns)
        columns.append(Column(f"{models[key].name}, how sure", "number", hidden=True))
    apart = Column("apart", "number", digits=3)
    outcome = Column("who is right", "choice", hidden=True) if of_classes and reference and len(keys) > 1 else None
    several = sum(key.startswith("student") for key in keys) > 1
    students = Column("students", "choice", hidden=True) if several else None
    kinds = {axis: Column(axis, "choice", hidden=True) for axis in dict.fromkeys(_axes(findings.examples))}
    maps = Column("attention", "maps", hidden=True) if any(one.attention for one in findings.examples) else None
    for one in findings.examples:
        room -= sum(map(len, (*(one.inputs[name] for name in inputs), one.gold, *one.said.values())))
        if room < 0:
            break
        said = [one.said.get(key, "") for key in keys]
        cells: list[Any] = [one.id, *(one.inputs[name] for name in inputs), one.gold]
        cells += said if of_classes else _marked(one.said, keys, reference, findings.rows.task == "ocr")
        cells += [_rounded(one.confidence.get(key)) for key in keys if key in first.confidence]
        for column, value in zip(columns, cells, strict=True):
            column.add(value)
        apart.add(_rounded(one.apart))
        if outcome and reference:
            outcome.add(_outcome(one, reference, next(key for key in keys if key != reference), models))
        if students:
            students.add("say the same" if students_agree(one) else "differ")
        tags = dict(tag.split(": ", 1) for tag in one.tags if ": " in tag)
        for axis, column in kinds.items():
            column.add(tags.get(axis, _NONE))
        if maps:
            maps.add([_map(attention, models) for attention in one.attention] or None)
    columns += [apart, *(one for one in (outcome, students) if one), *kinds.values(), *([maps] if maps else [])]
    return [_sorted(column) for column in columns]


def _axes(examples: Sequence[Example]) -> Iterator[str]:
    for one in examples:
        for tag in one.tags:
            if ": " in tag:
                yield tag.split(": ", 1)[0]


def _sorted(column: Column) -> Column:
    """Words of a choice in order, numbers as numbers."""
    if column.kind == "choice":
        words, ordered = list(column.values), sorted(column.values, key=_natural)
        place = {word: number for number, word in enumerate(ordered)}
        column.values, column.cells = place, [place[words[cell]] for cell in column.cells]
    return column


def _natural(word: str) -> list[tuple[int, float, str]]:
    """A key that puts 9 before 10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", word)
    return [(0, float(part), "") if at % 2 else (1, 0.0, part) for at, part in enumerate(parts) if part]


def _outcome(one: Example, reference: str, other: str, models: Mapping[str, Look]) -> str:
    names = models[reference].name, models[other].name
    right = one.said.get(reference) == one.gold, one.said.get(other) == one.gold
    if right == (False, False):
        return "both wrong, same" if one.said.get(reference) == one.said.get(other) else "both wrong, apart"
    return "both right" if all(right) else f"only {names[right.index(True)]}"


def _marked(said: Mapping[str, str], keys: Sequence[str], reference: str | None, by_character: bool) -> list[list[str]]:
    """Texts in parts: the same as the other's, different, the same, … The reference is laid beside the first other."""
    if reference is None or len(keys) < 2:
        return [[said.get(key, "")] for key in keys]
    first = next(key for key in keys if key != reference)
    others = {key: said.get(first if key == reference else reference, "") for key in keys}
    return [parts(said.get(key, ""), others[key], by_character) for key in keys]


def parts(text: str, other: str, by_character: bool = False) -> list[str]:
    """The text cut where it begins and ceases to differ from the other, by words or characters; odd parts differ."""
    from rapidfuzz.distance import Indel

    words, others = (list(one) if by_character else _WORD.findall(one) for one in (text, other))
    if not by_character:
        changes = Indel.opcodes([word.strip() for word in words], [word.strip() for word in others])
    else:
        changes = Indel.opcodes(words, others)
    found = [""]
    for one in changes:
        if one.src_start == one.src_end:
            continue
        if (one.tag == "equal") == (len(found) % 2 == 0):
            found.append("")
        told = "".join(words[one.src_start : one.src_end])
        if len(found) % 2 == 0 and not found[-1] and not by_character:  # the space before what differs does not
            found[-2] += told[: len(told) - len(told.lstrip())]
            told = told.lstrip()
        found[-1] += told
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _map(one: AttentionMap, models: Mapping[str, Look]) -> dict[str, Any]:
    name = f"{models[one.model].name}, {one.stack} {one.layer}"
    return {"name": name, "tokens": list(one.tokens), "weights": [list(row) for row in one.weights]}
