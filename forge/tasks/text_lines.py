"""Translations in text files, a line each: read strictly, scored, compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge.config.schema.parallel import primary_tag
from forge.core.errors import UserError
from forge.tasks.metrics.comet import MODEL, score_comet
from forge.tasks.metrics.significance import as_json, compare_translations
from forge.tasks.metrics.translation import bleu_tokenised_lower, score_translations
from forge.tasks.sources import not_utf8


def read_lines(name: str | Path, option: str) -> list[str]:
    """The lines of a UTF-8 file, without the space at their ends. Only a line feed ends a line, as for sacreBLEU.

    An empty line is an empty translation. Raises UserError that names file, line and the option that asked for it.
    """
    path = Path(name).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            lines = [line.rstrip() for line in file]
    except UnicodeDecodeError as error:
        raise UserError(f"{option}: {not_utf8(path)}") from error
    except OSError as error:
        raise UserError(f"{option}: cannot read {path}: {os.strerror(error.errno or 0)}") from error
    if not lines:
        raise UserError(f"{option}: {path}:1  is empty")
    return lines


def read_beside(name: str | Path, option: str, other: str | Path, expected: int) -> list[str]:
    """As `read_lines`, a line for each of `expected` lines of the file `other`."""
    lines = read_lines(name, option)
    if len(lines) != expected:
        shorter, first = (name, len(lines)) if len(lines) < expected else (other, expected)
        raise UserError(
            f"{option}: {name} has {len(lines):,} lines, {other} has {expected:,}; each needs one of the other: "
            f"{shorter}:{first + 1}  is missing"
        )
    return lines


@dataclass(frozen=True)
class Extra:
    """How translations are scored: their language, and figures beside sacreBLEU's. Raises UserError.

    `comet` is the name of a COMET model, empty for the usual one, None for none.
    """

    language: str | None = None
    tokenised_lower: bool = False
    comet: str | None = None

    def __post_init__(self) -> None:
        if self.tokenised_lower and not self.language:
            raise UserError("--tokenised_lower needs --language, for example fr")


def figures_of(
    hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str] | None, extra: Extra
) -> dict[str, Any]:
    """`figures`, `signatures` and what explains them, as plain values; COMET alone needs the sources."""
    scores = score_translations(hypotheses, references, extra.language)
    figures, detail = dict(scores.figures), dict(scores.detail)
    if extra.tokenised_lower and extra.language:
        moses = primary_tag(extra.language)
        figures["bleu_tokenised_lower"], signature = bleu_tokenised_lower(hypotheses, references, moses)
        detail["signatures"] |= {"bleu_tokenised_lower": signature}
    if extra.comet is not None and sources:
        judged = score_comet(sources, hypotheses, references, extra.comet or MODEL)
        figures["comet"] = judged.score
        detail["signatures"] |= {"comet": judged.model}
    return {"figures": figures} | detail


def score_files(
    hypotheses: str,
    references: str,
    *,
    against: str | None = None,
    sources: str | None = None,
    language: str | None = None,
    tokenised_lower: bool = False,
    comet: str | None = None,
) -> dict[str, Any]:
    """Figures of the translations in a file, as plain values; with `against` also the tests of their difference.

    `comet` is the name of a COMET model, empty for the usual one, None for none.
    """
    extra = Extra(language, tokenised_lower, comet)
    if comet is not None and not sources:
        raise UserError("--comet needs --sources FILE: it judges a translation beside what was translated")
    wanted = read_lines(references, "--references")
    systems = {hypotheses: read_beside(hypotheses, "--hypotheses", references, len(wanted))}
    if against:
        systems[against] = read_beside(against, "--against", references, len(wanted))
    origin = read_beside(sources, "--sources", references, len(wanted)) if sources else None
    found: dict[str, Any] = {"references": references, "systems": {}}
    for name, lines in systems.items():
        found["systems"][name] = figures_of(lines, wanted, origin, extra)
    if against:
        found["comparisons"] = as_json(compare_translations(systems[hypotheses], systems[against], wanted, language))
    return found
