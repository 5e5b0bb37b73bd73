"""The verb `evaluate`: a run on its own or other data, two runs, or translations in files. What it says is returned."""

from __future__ import annotations

import argparse
import json
from typing import Any

from forge.core.errors import UserError
from forge.runs.run_dir import RunDirectory, open_existing

LABELLED = ("text", "text_pair", "label")  # flags that classification alone reads, and translation alone
TRANSLATED = ("source", "target", "beams", "language", "tokenised_lower", "comet", "write_hypotheses")
MEASURE_AGAIN = ("split", "beams", "language", "tokenised_lower", "comet", "write_hypotheses")
ALONE = ("comet", "write_hypotheses")  # not with --against


def evaluate(options: argparse.Namespace) -> str | None:
    """What the command line asks for, as text or JSON; None where that is the figures that a run itself noted."""
    if options.hypotheses or options.references:
        return _files(options)
    if options.run_dir is None:
        raise UserError("evaluate needs --run R, or --hypotheses FILE with --references FILE")
    run = open_existing(options.run_dir)
    task = run.metadata()["config"].get("task", "classification")
    _refuse_foreign(options, task)
    if options.against:
        return _two_runs(run, options)
    if task == "translation":
        again = options.data or any(_is_given(options, name) for name in MEASURE_AGAIN)
        return _translations(run, options) if again else None
    return _labels(run, options) if options.data else None


def _is_given(options: argparse.Namespace, name: str) -> bool:
    return getattr(options, name) not in (None, False)


def _refuse_foreign(options: argparse.Namespace, task: str) -> None:
    """What this run, or a comparison, does not read."""
    other = "classification" if task == "translation" else "translation"
    for name in LABELLED if task == "translation" else TRANSLATED:
        if _is_given(options, name):
            raise UserError(f"--{name} is for {other}; {options.run_dir} is a run of {task}")
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
