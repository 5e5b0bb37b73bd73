"""Checks in the format of olmOCR-bench on texts in files: which pages they ask about, and where a page's text is.

As in that benchmark the text of page 3 of `scans/letter.pdf` is `scans/letter_pg3_repeat1.md`; of several repeats more
than half must pass. Plainer names are taken too: `scans/letter_pg3.md`, and `scans/letter.md` where all checks of that
file are of its page 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from forge.core.errors import UserError
from forge.tasks.base import Scores
from forge.tasks.metrics.ocr.checks.base import PASSED
from forge.tasks.metrics.ocr.checks.read import CheckFile, read_checks, with_baselines
from forge.tasks.metrics.ocr.checks.run import Result, run_checks, score_checks
from forge.tasks.sources import not_utf8

NAMED = re.compile(r"(?P<base>.+?)(_pg(?P<page>\d{1,9})(_repeat(?P<repeat>\d{1,9}))?)?\.md", re.DOTALL)
WHOLE = 0  # the page of a text that names none
Wanted = Mapping[str, Sequence[int]]
Texts = Mapping[tuple[str, int], Sequence[str]]


def read_tests(names: Sequence[str]) -> list[CheckFile]:
    """Files of checks, and one of baselines for PDFs that have none. Raises UserError."""
    files = [read_checks(name) for name in names]
    stems: dict[str, str] = {}
    for name, file in zip(names, files, strict=True):
        if file.name in stems:
            raise UserError(
                f"--tests: {stems[file.name]} and {name} have one name, by which rates are told; rename one"
            )
        stems[file.name] = name
    return with_baselines(files)


def wanted_pages(files: Sequence[CheckFile]) -> dict[str, list[int]]:
    """The pages that checks ask about, ascending, by PDF in the order of the checks. Raises UserError."""
    found: dict[str, set[int]] = {}
    for file in files:
        for check in file.checks:
            if PurePosixPath(check.pdf).is_absolute() or ".." in PurePosixPath(check.pdf).parts:
                raise UserError(f"{file.name}: check '{check.id}' names {check.pdf}, which leads out of the directory")
            if not check.rejected:
                found.setdefault(check.pdf, set()).add(check.page)
    return {pdf: sorted(pages) for pdf, pages in found.items()}


def check_markdown(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Score the texts of a directory by files of checks, as plain values. Raises UserError."""
    files = read_tests(names)
    wanted = wanted_pages(files)
    texts = markdown_of(folder, wanted)
    missing = [f"{pdf}, page {page}" for pdf, pages in wanted.items() for page in pages if (pdf, page) not in texts]
    scores = check_repeats(files, texts)
    about = {"asked": len(texts) + len(missing), "read": len(texts), "missing": missing}
    return {"of": str(folder), "figures": dict(scores.figures), **scores.detail, "pages": about}


def markdown_of(folder: Path, wanted: Wanted) -> dict[tuple[str, int], list[str]]:
    """The texts of each page that has any, a text a repeat. Raises UserError where there is none at all."""
    if not folder.is_dir():
        raise UserError(f"--hypotheses: {folder} is not a directory; with --tests it holds Markdown files")
    known: dict[str, dict[int, dict[int, Path]]] = {}
    for path in sorted(folder.rglob("*.md")):
        if named := NAMED.fullmatch(path.relative_to(folder).as_posix()):
            page, repeat = int(named["page"] or WHOLE), int(named["repeat"] or 0)
            known.setdefault(named["base"], {}).setdefault(page, {})[repeat] = path
    found = {}
    for pdf, pages in wanted.items():
        there = known.get(str(PurePosixPath(pdf).with_suffix("")), {})
        if pages == [1] and 1 not in there and WHOLE in there:
            there = {1: there[WHOLE]}
        for page in pages:
            if page in there:
                found[pdf, page] = [_text(path) for _, path in sorted(there[page].items())]
    if not found:
        example = str(PurePosixPath(next(iter(wanted))).with_suffix("")) if wanted else "letter"
        raise UserError(
            f"--hypotheses: {folder} has no text of any page that is checked, such as {example}_pg1_repeat1.md"
        )
    return found


def check_repeats(files: Sequence[CheckFile], texts: Texts) -> Scores:
    """As `check_pages`; a check passes where more than half of a page's texts pass it."""
    rounds = [
        run_checks(files, {page: some[turn] for page, some in texts.items() if turn < len(some)})
        for turn in range(max(map(len, texts.values()), default=1))
    ]
    results = []
    for together in zip(*rounds, strict=True):
        first = together[0]
        repeats = len(texts.get((first.check.pdf, first.check.page), "1"))
        outcomes = [one.outcome for one in together[:repeats]]
        others = [one for one in outcomes if not one.passed]
        results.append(Result(first.file, first.check, others[0] if 2 * len(others) >= repeats else PASSED))
    return score_checks(results)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(not_utf8(path)) from error
    except OSError as error:
        raise UserError(f"--hypotheses: cannot read {path}: {error.strerror}") from error
