"""Two translation runs: BLEU, chrF++ and TER by sacreBLEU's paired bootstrap and its approximate randomisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge.compare.base import Given, Tested, limit_of, refuse_different
from forge.inference.scoring import Hypotheses, check_languages, figures, given_pairs, translate_table
from forge.inference.translation import load_translator
from forge.runs.run_dir import RunDirectory
from forge.tasks.metrics.significance import check_paired, compare_translations
from forge.tasks.sources import Table
from forge.tasks.text_lines import Extra


@dataclass(frozen=True)
class _Answers:
    """A translator on the pairs of one split."""

    made: Hypotheses
    figures: Mapping[str, Any]
    language: str | None


class TranslationComparison:
    """Translation's part."""

    def tables(self, ours: RunDirectory, given: Given) -> dict[str, Table]:
        """The pairs that `--data` names, read with the columns of the first run."""
        columns = dict(given.columns)
        return {" and ".join(given.data): given_pairs(ours, given.data, given.subset, given.split, columns)}

    def check(self, ours: RunDirectory, theirs: RunDirectory, tables: Mapping[str, Table], given: Given) -> None:
        """Everything that can be found wrong before two models translate for minutes."""
        check_languages(ours, theirs)
        for table in tables.values():
            check_paired(min(len(table.rows), limit_of(ours, given) or len(table.rows)))
        _extra(ours, given)

    def measure(
        self, run: RunDirectory, which: str, tables: Mapping[str, Table], given: Given
    ) -> tuple[str, dict[str, Any]]:
        """Translations of each table's sources, and their figures."""
        loaded, limit, extra = load_translator(run, which, given.beams), limit_of(run, given), _extra(run, given)
        made = {name: translate_table(loaded, table, limit) for name, table in tables.items()}
        answers = {name: _Answers(one, figures(one, extra), extra.language) for name, one in made.items()}
        return loaded.checkpoint, answers

    def test(self, name: str, ours: _Answers, theirs: _Answers) -> Tested:
        """Whether the translations of the same sources differ."""
        mine, its = ours.made, theirs.made
        refuse_different(name, mine.references, its.references, "other references for the same rows")
        tests = compare_translations(mine.texts, its.texts, mine.references, ours.language)
        return Tested(len(mine.references), tests, {"a": ours.figures, "b": theirs.figures})


def _extra(run: RunDirectory, given: Given) -> Extra:
    return Extra(given.language or run.metadata()["languages"][1], given.tokenised_lower)
