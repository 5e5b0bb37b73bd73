"""The verb `learn`: which face, or which errand."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from forge.core.errors import EXIT_DONE, UserError
from forge.learn.cards import PHASES
from forge.learn.course import load_course
from forge.learn.lessons import ROOT
from forge.learn.state import FOLDER, Store
from forge.learn.worker import Worker

NEEDED = ("starlette", "uvicorn", "markdown_it")
MISSING = (
    "the page needs the extra `learn`: pip install -c constraints.txt -e '.[learn]'; "
    "without it, `python forge.py learn --terminal` teaches the same"
)


def learn(options: argparse.Namespace) -> int:
    """Run the verb; the exit code."""
    if not (ROOT / "configs").is_dir():
        raise UserError(f"the lessons run the configurations of a checkout of Forge, and {ROOT} is none")
    if FOLDER.exists() and not FOLDER.is_dir():
        raise UserError(f"progress is kept in the folder {FOLDER}, and here that is a file; move it away")
    if options.reset:
        return _reset()
    if options.verify:
        return _verify()
    worker = Worker(FOLDER)
    try:
        return _face(options, worker)
    except KeyboardInterrupt:
        sys.stdout.write("\nYour progress is saved. The same command goes on from here.\n")
        return EXIT_DONE
    finally:
        worker.close()


def _face(options: argparse.Namespace, worker: Worker) -> int:
    course = load_course(worker)
    if options.unlock_all:
        course.unlock_all()
        sys.stdout.write("everything is unlocked, and that is noted in your progress\n")
    if options.test_out is not None:
        if not 1 <= options.test_out <= len(PHASES):
            raise UserError(f"--test-out: there are phases 1 to {len(PHASES)}")
        from forge.learn.terminal import Terminal

        return EXIT_DONE if Terminal(course).test_out(options.test_out) else 1
    if options.terminal:
        from forge.learn.terminal import Terminal

        worker.start()  # it warms up while the learner reads
        Terminal(course).walk()
        return EXIT_DONE
    if options.unlock_all:
        return EXIT_DONE
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)} not installed: {MISSING}")
    from forge.learn.server import serve

    return serve(course, worker.start, options.port, options.no_browser)


def _reset() -> int:
    from forge.learn.terminal import ask_reset

    if not ask_reset():
        sys.stdout.write("nothing was changed\n")
        return EXIT_DONE
    Store().reset()
    sys.stdout.write("all progress is forgotten\n")
    return EXIT_DONE


def _verify() -> int:
    from forge.learn.verify import verify

    with tempfile.TemporaryDirectory(prefix="forge-learn-") as folder:
        problems = verify(Path(folder), _say)
    if problems:
        raise UserError("lessons with defects:\n" + "\n".join(problems))
    return EXIT_DONE


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
