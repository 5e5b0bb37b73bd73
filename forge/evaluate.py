"""The verb `evaluate`: a run on its own or other data, two runs, or texts in files. What it says is returned."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from forge.core.errors import UserError
from forge.runs.run_dir import RunDirectory, open_existing

LABELLED = ("text", "text_pair", "label")
TRANSLATED = ("source", "target", "beams", "language", "tokenised_lower", "comet", "write_hypotheses")
CHECKED = ("tests", "pdfs", "retries")
READ_BY = {"classification": LABELLED, "translation": TRANSLATED, "ocr": ("beams", "password", *CHECKED)}
"""Flags that runs of a task read; those that are in no row are for all."""
MEASURE_AGAIN = {
    "classification": (),
    "translation": ("split", "beams", "language", "tokenised_lower", "comet", "write_hypotheses"),
    "ocr": ("split", "beams"),
}
ALONE = ("comet", "write_hypotheses", "tests")  # not with --against


def evaluate(options: argparse.Namespace) -> str | None:
    """What the command line asks for, as text or JSON; None where that is the figures that a run itself noted."""
    if options.tests and not options.run_dir:
        return _markdown_files(options)
    if options.tests and options.hypotheses:
        raise UserError("--tests measures a run on --pdfs, or without --run the texts of --hypotheses; not both")
    if options.hypotheses or options.references:
        return _files(options)
    if options.run_dir is None:
        raise UserError(
            "evaluate needs --run R, or --hypotheses FILE with --references FILE, or of pages --hypotheses DIR with "
            "--tests FILE"
        )
    run = open_existing(options.run_dir)
    task = run.metadata()["config"].get("task", "classification")
    _refuse_foreign(options, task)
    if options.against:
        return _two_runs(run, options)
    again = options.data or any(_is_given(options, name) for name in MEASURE_AGAIN[task])
    if task == "ocr":
        return _checks(run, options) if options.tests or options.pdfs else _pages(run, options) if again else None
    if task == "translation":
        return _translations(run, options) if again else None
    return _labels(run, options) if options.data else None


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value = getattr(options, name)
    return value is not None and value is not False  # 0 is a value like any other


def _refuse_foreign(options: argparse.Namespace, task: str) -> None:
    """What this run, or a comparison, does not read."""
    for name in sorted({name for names in READ_BY.values() for name in names}.difference(READ_BY[task])):
        if _is_given(options, name):
            others = " and ".join(other for other, names in READ_BY.items() if name in names)
            raise UserError(f"--{name} is for {others}; {options.run_dir} is a run of {task}")
    for name in ALONE if options.against else ():
        if _is_given(options, name):
            raise UserError(f"--{name} goes with one run, without --against")
    if task == "classification" and len(options.data or ()) > 1:
        raise UserError("--data takes one file or directory; two files side by side are for translation")


def _two_runs(run: RunDirectory, options: argparse.Namespace) -> str:
    from forge.compare import Given, compare_runs, report

    where = (options.data or (), options.subset, options.split)
    columns = _columns(options, *LABELLED, "source", "target")
    given = Given(*where, columns, options.beams, options.language, options.tokenised_lower)
    found = compare_runs(run, open_existing(options.against), options.checkpoint, given)
    return _json(found.as_json()) if options.json else report(found)


def _labels(run: RunDirectory, options: argparse.Namespace) -> str:
    from forge.inference.classification import evaluate_run, load_run
    from forge.runs.tables import scores_table

    (data,) = options.data
    loaded = load_run(run, options.checkpoint)
    scores = evaluate_run(loaded, data, options.subset, options.split, _columns(options, *LABELLED))
    if options.json:
        return _json(dict(scores.figures) | dict(scores.detail))
    return f"{data} with {loaded.checkpoint} of {run.path}\n{scores_table(scores.figures, scores.detail)}"


def _translations(run: RunDirectory, options: argparse.Namespace) -> str:
    from forge.inference.scoring import Request, evaluate_translations
    from forge.runs.tables import measured_table

    where = (options.data or (), options.subset, options.split)
    asked = Request(*where, **{name: getattr(options, name) for name in TRANSLATED})
    found = evaluate_translations(run, options.checkpoint, asked)
    return _json(found) if options.json else measured_table(found)


def _pages(run: RunDirectory, options: argparse.Namespace) -> str:
    if options.retries is not None:
        raise UserError("--retries goes with --pdfs; on splits and --data each page is read once, as a run measures")
    from forge.inference.pages import evaluate_given, evaluate_pages
    from forge.runs.tables import pages_table

    if options.data:
        where = (options.data, options.subset, options.split, options.password)
        found = evaluate_given(run, options.checkpoint, *where, beams=options.beams)
    else:
        found = evaluate_pages(run, options.checkpoint, options.split, options.beams)
    return _json(found) if options.json else pages_table(found)


def _checks(run: RunDirectory, options: argparse.Namespace) -> str:
    if not (options.tests and options.pdfs):
        raise UserError("give --pdfs DIR and --tests FILE together: where the files are, and what is asked of them")
    if options.data or options.split:
        raise UserError("--tests are measured on the files of --pdfs; leave --data and --split out")
    from forge.inference.pages import Bench, check_reader
    from forge.runs.tables import checks_table
    from forge.tasks.ocr.asked import RETRIES

    retries = RETRIES if options.retries is None else options.retries
    bench = Bench(options.pdfs, options.tests, options.password, retries)
    found = check_reader(run, options.checkpoint, bench, options.beams)
    return _json(found) if options.json else checks_table(found)


def _markdown_files(options: argparse.Namespace) -> str:
    """Scores what another program wrote."""
    if not options.hypotheses or options.references or options.pdfs:
        raise UserError("--tests needs --run R with --pdfs DIR, or alone --hypotheses DIR of Markdown files")
    from forge.runs.tables import checks_table
    from forge.tasks.ocr.checked import check_markdown

    found = check_markdown(Path(options.hypotheses).expanduser(), options.tests)
    return _json(found) if options.json else checks_table(found)


def _files(options: argparse.Namespace) -> str:
    if options.run_dir or not (options.hypotheses and options.references):
        raise UserError("give --hypotheses FILE and --references FILE, without --run, to score translations")
    from forge.runs.tables import translations_table
    from forge.tasks.text_lines import score_files

    found = score_files(
        options.hypotheses,
        options.references,
        against=options.against,
        sources=options.sources,
        language=options.language,
        tokenised_lower=options.tokenised_lower,
        comet=options.comet,
    )
    return _json(found) if options.json else translations_table(found)


def _columns(options: argparse.Namespace, *names: str) -> dict[str, str]:
    return {name: getattr(options, name) for name in names if getattr(options, name)}


def _json(found: Any) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False)
