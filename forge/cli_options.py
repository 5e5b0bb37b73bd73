"""The flags of the verbs that use a run: what each is for, and what it takes."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from forge.tasks.ocr.asked import RETRIES
from forge.tasks.pages.sizes import MAX_EDGE


def add_evaluate_options(made: argparse.ArgumentParser) -> None:
    """Those of `evaluate`."""
    made.add_argument(
        "--hypotheses",
        metavar="F",
        help="what another program wrote: translations, a line each, or with --tests a directory of Markdown files",
    )
    made.add_argument("--references", metavar="FILE", help="references of the translations, a line each")
    made.add_argument("--sources", metavar="FILE", help="what was translated, a line each; COMET needs it")
    made.add_argument("--language", metavar="L", help="language of the translations, for example fr")
    made.add_argument("--tokenised_lower", action="store_true", help="also the BLEU of the Multi30k literature")
    made.add_argument("--comet", nargs="?", const="", metavar="MODEL", help="also COMET, from its own environment")
    made.add_argument("--against", metavar="B", help="a second run (or file of translations) to compare with")
    made.add_argument(
        "--data",
        metavar="F",
        nargs="+",
        help="a file, a data set directory, or two files: test.{en,fr}; without it the run's own figures",
    )
    made.add_argument("--subset", help="subset of a data set directory, for example sst2")
    made.add_argument("--split", help="split of a data set directory, or of a run (default: test)")
    made.add_argument("--json", action="store_true", help="print all figures and tables as JSON")
    for column in ("text", "text_pair", "label", "source", "target"):
        made.add_argument(f"--{column}", metavar="COLUMN", help=f"column of the {column.replace('_', ' ')}")
    made.add_argument("--write_hypotheses", metavar="FILE", help="write a run's translations, a line each")
    made.add_argument("--tests", metavar="FILE", nargs="+", help="ocr: checks of pages, in the format of olmOCR-bench")
    made.add_argument("--pdfs", metavar="DIR", help="ocr: where the PDF files are that --tests names")
    made.add_argument("--password", help="ocr: opens encrypted files")
    _add_reading(made)


def add_predict_options(made: argparse.ArgumentParser) -> None:
    """Those of `predict`."""
    made.add_argument(
        "texts", nargs="*", metavar="TEXT", help="texts, for a pair model two for each example; ocr: PDF or image files"
    )
    made.add_argument("--file", metavar="F", help="texts: .jsonl, .csv, .tsv, .parquet, or text with a line each")
    made.add_argument("--json", action="store_true", help="JSON lines: with the source, or of pages with confidence")
    made.add_argument("--pages", metavar="LIST", help="ocr: which pages, such as 1-5,8 or 3- (default: all)")
    made.add_argument("--password", help="ocr: opens encrypted files")
    made.add_argument("-o", "--output", metavar="F", help="ocr: a file, or for several documents a directory/")
    made.add_argument("--tables", choices=("html", "markdown"), help="ocr: that form where it loses nothing")
    made.add_argument("--mark_pages", action="store_true", help="ocr: <!-- page 3 --> before each page")
    made.add_argument("--dpi", type=_number, metavar="N", help="ocr: pixels an inch, in place of the run's own")
    made.add_argument(
        "--longest_edge", type=_whole(1, MAX_EDGE), metavar="N", help="ocr: pixels of a page's longer side"
    )
    made.add_argument(
        "--batch_size",
        type=_whole(1, 4096),
        metavar="N",
        help="ocr: pages read at once (default: evaluate.batch_size, on a CPU at most 24); fewer need less memory",
    )
    _add_reading(made)


def add_study_options(made: argparse.ArgumentParser) -> None:
    """The flags of `study`."""
    made.add_argument("action", choices=("run", "status", "report", "submit"))
    made.add_argument("--config", nargs="+", required=True, metavar="FILE", help="files of studies; they share workers")
    made.add_argument(
        "--workers", type=_whole(1, 256), metavar="N", help="processes at a time (default: one a GPU, else 2)"
    )
    made.add_argument("--retry-failed", action="store_true", help="run: try again what failed")
    made.add_argument("--fail-fast", action="store_true", help="run: stop at the first failure")
    made.add_argument("--top-up", action="store_true", help="run: then add seeds, as many as smallest_effect needs")
    made.add_argument("--only", action="append", metavar="FACTOR=LEVEL", help="run: only cells with this level; again")
    made.add_argument("--prepare", action="store_true", help="run: only what comes before the cells")
    made.add_argument(
        "--index", type=_whole(0, 10**6), metavar="I", help="run: only job I of the frozen list, in this process"
    )
    made.add_argument("--where", action="store_true", help="run --index: say where that job's run lies, and do nothing")
    made.add_argument(
        "--at-once", type=_whole(1, 10**6), metavar="K", help="submit: at most K jobs of the array at a time"
    )
    made.add_argument(
        "--sbatch", nargs=argparse.REMAINDER, default=[], metavar="…", help="submit: flags for sbatch, last"
    )
    made.add_argument("--out", metavar="DIR", help="report: where it is written (default: the first study's directory)")
    made.add_argument("--json", action="store_true", help="status: for machines")


def add_workbench_options(made: argparse.ArgumentParser) -> None:
    """Those of `workbench`."""
    made.add_argument("words", nargs="*", metavar="compare R1 R2 …", help="several runs beside each other")
    made.add_argument("--run", dest="run_dir", metavar="R", help="a run directory; what is found is written into it")
    made.add_argument("--teacher", metavar="T", help="a run or model directory (default: the run's own teacher)")
    made.add_argument("--baseline", metavar="B", help="a run of the same student that had no teacher")
    made.add_argument("--rows", type=_whole(1, 10**6), metavar="N", help="rows of the split, at most")
    made.add_argument("--split", metavar="NAME", help="whose rows (default: the first test split, else validation)")
    made.add_argument("--quick", action="store_true", help="fewer rows and splits, and no controls: a first look")
    made.add_argument("--out", metavar="DIR", help="where findings are written (default: workbench/ in the run)")


def add_learn_options(made: argparse.ArgumentParser) -> None:
    """Those of `learn`."""
    made.add_argument("--terminal", action="store_true", help="in this terminal, in place of a page")
    made.add_argument("--test-out", type=_whole(1, 6), metavar="N", help="take phase N as known, after a quiz")
    made.add_argument("--unlock-all", action="store_true", help="open every lesson, for who teaches; it is noted")
    made.add_argument("--reset", action="store_true", help="forget all progress; asks before")
    made.add_argument("--verify", action="store_true", help="check that each lesson can be failed, and passed")
    made.add_argument("--port", type=_whole(0, 65_535), default=0, metavar="N", help="the page's (default: a free one)")
    made.add_argument("--no-browser", action="store_true", help="print the page's address alone")


def _add_reading(made: argparse.ArgumentParser) -> None:
    made.add_argument("--beams", type=_whole(1, 64), metavar="N", help="width of the search for a text; 1 is greedy")
    made.add_argument(
        "--retries",
        type=_whole(0, RETRIES),
        metavar="N",
        help="ocr: tries more for a page that does not end or runs in a loop (default: all 5)",
    )


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text}")
        return int(text)

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, got {text}") from None
