"""The verb `predict`: labels, translations, or the text of pages, written as they come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TextIO

from forge.core.errors import EXIT_DONE, UserError
from forge.runs.run_dir import RunDirectory, open_existing

OF_PAGES = ("pages", "password", "dpi", "longest_edge", "output", "tables", "mark_pages", "retries", "batch_size")
"""Flags that runs of ocr alone read."""
EXIT_NOTHING_READ = 2


def predict(options: argparse.Namespace, out: TextIO) -> int:
    """Answer with a run; the exit code."""
    run = open_existing(options.run_dir)
    task = run.metadata()["config"].get("task", "classification")
    _refuse_foreign(options, task)
    if task == "ocr":
        return _read(run, options, out)
    for line in _translations(run, options) if task == "translation" else _labels(run, options):
        print(line, file=out, flush=True)
    return EXIT_DONE


def _refuse_foreign(options: argparse.Namespace, task: str) -> None:
    if task != "ocr":
        for name in OF_PAGES:
            if _is_given(options, name):
                raise UserError(f"--{name} is for ocr; {options.run_dir} is a run of {task}")
    elif options.file:
        raise UserError("--file names texts; name the documents to read without it")
    if task == "classification" and options.beams:
        raise UserError(f"--beams is for models that write; {options.run_dir} is a run of {task}")


def _is_given(options: argparse.Namespace, name: str) -> bool:
    value = getattr(options, name)
    return value is not None and value is not False  # 0 is a value like any other


def _labels(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from forge.inference.classification import load_run, predict, rows_to_predict

    loaded = load_run(run, options.checkpoint)
    for answer in predict(loaded, rows_to_predict(loaded, options.texts, options.file)):
        yield json.dumps(answer, ensure_ascii=False)


def _translations(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from forge.inference.translation import load_translator, texts_to_translate, translate

    loaded = load_translator(run, options.checkpoint, options.beams)
    texts = texts_to_translate(options.texts, options.file)
    kept = list(texts) if options.json else texts
    answers = translate(loaded, kept)
    if not options.json:
        yield from answers
        return
    for text, answer in zip(kept, answers, strict=True):
        yield json.dumps({"source": text, "translation": answer}, ensure_ascii=False)


def _read(run: RunDirectory, options: argparse.Namespace, out: TextIO) -> int:
    from forge.tasks.ocr.asked import RETRIES, Asked

    asked = Asked(
        options.texts,
        *(options.pages, options.password, options.dpi, options.longest_edge, options.output),
        as_json=options.json,
        tables=options.tables,
        mark_pages=options.mark_pages,
        retries=RETRIES if options.retries is None else options.retries,
    )
    from forge.inference.documents import read_files
    from forge.inference.ocr import load_reader

    reader = load_reader(run, options.checkpoint, options.beams).for_documents(options.batch_size)
    read = read_files(reader, asked, out)
    return EXIT_DONE if read else EXIT_NOTHING_READ
