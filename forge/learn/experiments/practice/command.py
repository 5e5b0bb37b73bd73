"""Forge's own command line: each command is a process of its own, in a workplace that the lessons share."""

from __future__ import annotations

import os
import resource
import runpy
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge.core.errors import UserError
from forge.core.io import storage_errors
from forge.learn.experiments.base import Live
from forge.learn.lessons import ROOT
from forge.train.signals import die_with_parent

PLACE = "practice"  # below the learner's folder: `configs/` as in the repository, and `runs/`
PROGRAM = str(ROOT / "forge.py")
COPIED = "configs/classification"
MOST_S = 40  # seconds of computing of a command; whatever is typed ends


@dataclass(frozen=True)
class Told:
    """A command that has ended."""

    typed: str
    text: str  # what the terminal showed
    code: int  # its exit code

    def as_terminal(self, lines: str | None = None) -> str:
        """The command, what it said (or `lines` of that) and its exit code, as they stand in a terminal."""
        return f"$ {self.typed}\n{self.text.rstrip() if lines is None else lines}\n(exit code {self.code})"


def workplace(live: Live) -> Path:
    """The directory that commands are typed in; its configurations are copies, which the learner may spoil."""
    place = live.folder / PLACE
    with storage_errors("copying configurations"):
        shutil.copytree(ROOT / COPIED, place / COPIED, dirs_exist_ok=True)
    return place.absolute()


def split_words(typed: str) -> list[str]:
    """What was typed as a shell would split it. Raises UserError where a quotation mark stands alone."""
    try:
        return shlex.split(typed)
    except ValueError as error:
        raise UserError(f"this cannot be split into words: {error}; each quotation mark needs a second one") from None


def type_in(words: Sequence[str], place: Path, hear: Callable[[str], None] = lambda _: None) -> Told:
    """`python forge.py` with these words, in `place`; `hear` is told each line as it comes."""
    if not hasattr(os, "fork"):
        raise UserError("this experiment starts processes as Linux and macOS do; on Windows, run it under WSL")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        _be(words, place, theirs)
    os.close(theirs)
    lines = []
    with os.fdopen(ours, encoding="utf-8", errors="replace") as said:
        for line in said:
            lines.append(line)
            hear(line)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Told(f"python forge.py {shlex.join(words)}", "".join(lines), status if status >= 0 else 128 - status)


def _be(words: Sequence[str], place: Path, out: int) -> None:
    """The command's process, forked from one that has the libraries already; never returns."""
    code = 1
    try:
        die_with_parent()
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = sys.stderr = os.fdopen(out, "w", encoding="utf-8", buffering=1)  # whatever stood in their place
        os.chdir(place)
        limit = MOST_S + int(os.times().user + os.times().system)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        sys.argv = ["forge.py", *words]
        runpy.run_path(PROGRAM, run_name="__main__")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
