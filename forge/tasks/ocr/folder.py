"""Pages from a directory: `a.png` beside `a.md`, and `b.pdf` beside `b.1.md`, `b.2.md`, a text for each page.

Checks of them may stand in `a.tests.jsonl`, `b.tests.jsonl`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from forge.core.errors import UserError
from forge.tasks.ocr.listing import LeftOut, Listing, Wanted, shown
from forge.tasks.ocr.page_tests import TESTS_SUFFIX, tests_beside
from forge.tasks.pages.sizes import one_line

PAGE_SUFFIXES = (".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
TEXT_SUFFIX = ".md"
_NUMBERED = re.compile(r"(.+)\.(\d{1,9})", re.ASCII)


@dataclass
class _Together:
    """Files of one stem: relative names of page files, the text of the whole, texts by page."""

    pages: list[str] = field(default_factory=list)
    whole: str | None = None
    texts: dict[int, str] = field(default_factory=dict)
    tests: str | None = None


def list_folder(folder: Path) -> Listing:
    """Everything below a directory, by name, and numbers by value. Links are followed, each directory is read once.

    Names that begin with a dot are not looked at. Raises UserError for a directory that cannot be read or holds no
    page files at all.
    """
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise UserError(f"{folder}  cannot be read: {one_line(error.strerror or error)}") from error

    def entries() -> Iterator[Wanted | LeftOut]:
        faults: list[LeftOut] = []
        names = sorted(_walk(folder, faults), key=natural)
        yield from faults
        yield from _paired(folder, names)

    if not any(_suffix(name) in PAGE_SUFFIXES for name in _walk(folder, [])):
        raise UserError(f"{folder}  holds no pages: pairs such as a.png and a.md, or b.pdf and b.1.md, are looked for")
    return Listing(str(folder), f"{folder}/", entries, "name the texts of its pages by number, as in a.1.md, a.2.md")


def natural(name: str) -> tuple[list[list[tuple[int, int, str]]], str]:
    """A key that sorts `a/2.png` before `a/10.png`, and a directory's content together."""
    parts = [[_part(piece) for piece in re.split(r"(\d+)", part, flags=re.ASCII)] for part in name.split("/")]
    return parts, name


def _part(piece: str) -> tuple[int, int, str]:
    return (0, int(piece[:4_000]), "") if piece.isdigit() and piece.isascii() else (1, 0, piece.lower())


def _walk(folder: Path, faults: list[LeftOut]) -> Iterator[str]:
    """Names of page files and texts, relative to the folder."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            status = (folder / inside).stat()
            # A link may lead back, and then a walk never ends; or aside, and then pages come twice.
            if (status.st_dev, status.st_ino) in seen:
                faults.append(LeftOut(shown(inside), "is a link to a directory that is read already"))
                continue
            seen.add((status.st_dev, status.st_ino))
            content = sorted((folder / inside).iterdir(), reverse=True)
        except OSError as error:
            faults.append(LeftOut(shown(inside), f"cannot be read: {one_line(error.strerror or error)}"))
            continue
        for path in content:
            if path.name.startswith("."):
                continue
            name = f"{inside}/{path.name}" if inside else path.name
            if os.path.isdir(path):  # noqa: PTH112 - unlike Path's, it does not raise where a link may not be followed
                waiting.append(name)
            elif _suffix(name) in (*PAGE_SUFFIXES, TEXT_SUFFIX) or _has_tests(name):
                yield name


def _has_tests(name: str) -> bool:
    return name.lower().endswith(TESTS_SUFFIX)


def _suffix(name: str) -> str:
    return Path(name).suffix.lower()


def _paired(folder: Path, names: list[str]) -> Iterator[Wanted | LeftOut]:
    stems: dict[str, _Together] = {}
    for name in names:
        if _suffix(name) in PAGE_SUFFIXES:
            stems.setdefault(_stem(name), _Together()).pages.append(name)
    for name in names:
        if _suffix(name) == TEXT_SUFFIX and (fault := _take_text(stems, name)):
            yield fault
        if _has_tests(name):
            if (stem := name[: -len(TESTS_SUFFIX)]) in stems:
                stems[stem].tests = name
            else:
                of = shown(Path(stem).name)
                yield LeftOut(shown(name), f"has no page file beside it: {of}.pdf, {of}.png or the like")
    for together in stems.values():
        yield from _matched(folder, together)


def _stem(name: str) -> str:
    return name[: -len(Path(name).suffix)]


def _take_text(stems: dict[str, _Together], name: str) -> LeftOut | None:
    """Put a text where it belongs, or say why it belongs nowhere."""
    stem = _stem(name)
    if stem in stems:
        if stems[stem].whole:
            return LeftOut(shown(name), f"has the name of {shown(stems[stem].whole or '')}; keep one of them")
        stems[stem].whole = name
        return None
    if (found := _NUMBERED.fullmatch(stem)) and found[1] in stems:
        number, texts = int(found[2]), stems[found[1]].texts
        if number in texts:
            return LeftOut(shown(name), f"is of the same page as {shown(texts[number])}; keep one of them")
        if not number:
            return LeftOut(shown(name), "is of page 0; pages are counted from 1")
        texts[number] = name
        return None
    of = shown(Path(found[1] if found else stem).name)
    return LeftOut(shown(name), f"has no page file beside it: {of}.pdf, {of}.png or the like")


def _matched(folder: Path, together: _Together) -> Iterator[Wanted | LeftOut]:
    name, *others = together.pages
    place, stem = shown(name), shown(Path(_stem(name)).name)
    if others:
        also = " and ".join(shown(Path(other).name) for other in others)
        yield LeftOut(place, f"and {also} have one name, so whose text is {stem}.md? Give each a name of its own")
        return
    tests = tests_beside(folder / together.tests) if together.tests else {}
    if not together.texts:
        if together.whole is None:
            yield LeftOut(place, f"has no Markdown: write {stem}.md beside it, empty if the page is blank")
        else:
            yield Wanted(place, place, folder / name, None, folder / together.whole, place, tests.get(1, ""))
        return
    if together.whole is not None:
        yield LeftOut(shown(together.whole), f"is not read, because pages have texts of their own ({stem}.1.md, …)")
    numbers = sorted(together.texts)
    if gaps := _worded(number for a, b in pairwise([0, *numbers]) for number in range(a + 1, min(b, a + 1_000))):
        yield LeftOut(place, f"has no Markdown of page {gaps}: write {stem}.N.md, empty if page N is blank")
    for number in numbers:
        page = f"{place}#{number}"
        yield Wanted(page, place, folder / name, number, folder / together.texts[number], page, tests.get(number, ""))
    yield Wanted(place, place, folder / name, numbers[-1] + 1, None, place)


def _worded(numbers: Iterable[int]) -> str:
    some = list(numbers)
    return ", ".join(map(str, some[:5])) + (f" and {len(some) - 5:,} more" if len(some) > 5 else "")
