"""Parallel text as a command line names it: two files, one file, or a split of a directory in hub format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forge.config.schema import Columns, Data, Languages
from forge.config.schema.parallel import language_in, languages_of, primary_tag, two_files
from forge.core.errors import UserError
from forge.tasks.parallel.columns import read_table
from forge.tasks.parallel.moses import read_two_files
from forge.tasks.parallel.read import reader_of, whole_table
from forge.tasks.sources import Table, from_directory

OPTION = "--data"
Pair = tuple[str | None, str | None]


def read_given(
    words: Sequence[str], columns: Columns, languages: Pair, subset: str | None = None, split: str | None = None
) -> Table:
    """Every pair of what `words` name, as an evaluation split is read, with the columns `source` and `target`.

    A shell makes two words of `test.{en,fr}`, and keeps one where it is quoted; both mean the same. `languages` are
    what source and target should be in. Raises UserError.
    """
    if len(words) > 2:
        raise UserError(
            f"{OPTION} takes one file or directory, or two files with a line for each other, the source first"
        )
    if len(words) == 2:
        _check_languages(words, (_language_of(words[0]), _language_of(words[1])), languages)
        return whole_table(read_two_files(" and ".join(words), *(Path(word).expanduser() for word in words)))
    path = Path(words[0]).expanduser()
    if path.is_dir():
        return whole_table(read_table(from_directory(str(path), subset, split or "test", ""), columns))
    if two_files(words[0]):
        _check_languages([words[0]], languages_of(words[0]), languages)
    source, target = languages
    data = Data(columns=columns, languages=Languages(source=source, target=target))
    return whole_table(reader_of(data, None, words[0]))


def _language_of(name: str) -> str | None:
    """`news.en`, `news.en.gz` → en."""
    return language_in(Path(name.removesuffix(".gz")).name) if "." in Path(name).name else None


def _check_languages(words: Sequence[str], found: Pair, wanted: Pair) -> None:
    """Tags of two letters alone: `txt` looks like one of three, and `fra` is `fr`."""
    for side, here, told in zip(("source", "target"), found, wanted, strict=True):
        short = [primary_tag(tag) for tag in (here, told) if tag and len(primary_tag(tag)) == 2]
        if len(set(short)) == 2:
            raise UserError(
                f"{OPTION}: {' '.join(words)} has the {side} in {here}, but the model's {side} is {told}; the source "
                "comes first"
            )
