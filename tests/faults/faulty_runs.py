"""Tiny distillation runs on the real command line whose lives meet a fault, and what must hold afterwards.

Run as a program this is the server that starts the lives.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from injector import KILLED, failing
from support import Lives, only_run, result, serve, write_config

from forge.train.checkpoint import CheckpointStore

FILLED = -1  # in place of an error: the disk of the runs becomes full, and the system refuses by itself
FILLER = "filler"
LEFT_OVER = (".saving-*", ".replaced-*", "*.tmp")
COLOURS = ("red", "blue")
SETTINGS: dict[str, Any] = {
    "alpha": 0.5,
    "teacher": {"name": "embedded/tiny-bert"},
    "distill": {"hidden_mse": {"weight": 1.0}, "cache": {"mode": "on"}},
    "train": {"max_steps": 3, "batch_size": 8},
    "evaluate": {"every": 1},
    "checkpoint": {"average": 2},
    "log": {"every": 2},
}


def write_data(folder: Path) -> dict[str, Any]:
    """Files that all runs of a test share, because their names are part of what a cache is for."""
    folder.mkdir()
    for name, count in (("train", 16), ("dev", 8)):
        rows = [{"text": f"{COLOURS[i % 2]} {i}", "label": ("warm", "cold")[i % 2]} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"train": str(folder / "train.jsonl"), "validation": str(folder / "dev.jsonl")}
    return {"data": {"name": None, "test": files["validation"]} | files}


def fill(disk: Path, spare: int) -> None:
    """Leave so many bytes of a disk."""
    state = os.statvfs(disk)
    with (disk / FILLER).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(state.f_frsize, state.f_bavail * state.f_frsize - spare))


def life(arguments: list[str]) -> int:
    """One life with a fault. Its standard error and the number of operations go into files."""
    folder, at, kind, spare, told, *command = arguments
    os.dup2(os.open(f"{told}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    from forge.cli import main
    from forge.runs import report

    report._drawn = lambda *_: ""  # type: ignore[assignment]  # a second of each life, in which nothing is written
    runs = Path(folder)
    strike = (lambda: fill(runs.parent, int(spare))) if int(kind) == FILLED else None
    with failing(runs, int(at), int(kind), strike) as fault:
        code = main(command)
    Path(f"{told}.seen").write_text(str(fault.seen))
    return code


@dataclass
class Place:
    """A configuration with its runs, and how the newest of its lives went."""

    lives: Lives
    folder: Path  # of the runs
    config: Path

    def live(self, at: int = -1, kind: int = KILLED, spare: int = 0) -> int:
        """One life; a fault at operation `at`."""
        words = [str(self.folder / "runs"), str(at), str(kind), str(spare), f"{self.config}"]
        return os.waitstatus_to_exitcode(self.lives.run([*words, "--config", str(self.config)]))

    @property
    def said(self) -> str:
        return Path(f"{self.config}.err").read_text()

    @property
    def operations(self) -> int:
        return int(Path(f"{self.config}.seen").read_text())

    @property
    def run(self) -> Path | None:
        """The run directory, as soon as there is one."""
        found = [path.parent for path in self.folder.glob("runs/tiny/*/.lock") if not path.parent.is_symlink()]
        return found[0] if found else None

    def cache(self) -> dict[str, bytes]:
        """Every file of the teacher caches that has its final name."""
        root = self.folder / "runs" / "teacher_cache"
        files = [path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")]
        return {str(path.relative_to(root)): path.read_bytes() for path in files}


class Calm:
    """A run that nothing disturbed; others are held against it."""

    def __init__(self, lives: Lives, folder: Path) -> None:
        self.lives, self.change = lives, SETTINGS | write_data(folder / "data")
        place = self.place(folder / "calm")
        assert place.live() == 0, place.said
        self.run, self.cache, self.operations = only_run(place.folder), place.cache(), place.operations
        self.result = result(self.run)

    def place(self, folder: Path, disk: Path | None = None) -> Place:
        """The same run elsewhere; on `disk` nothing but the runs."""
        runs = disk or folder
        return Place(self.lives, runs, write_config(folder, self.change | {"run": {"dir": str(runs / "runs")}}))

    def check(self, place: Place, at: int, kind: int, spare: int = 0) -> int:
        """A life with a fault, then the same command without; the exit code of the first."""
        code = place.live(at, kind, spare)
        assert_a_clear_end(place, code, kind)
        if place.run:
            self._assert_nothing_lost(place.run)
        assert all(self.cache[name] == content for name, content in place.cache().items())
        (place.folder / FILLER).unlink(missing_ok=True)
        assert place.live() == 0, place.said
        run = only_run(place.folder)
        assert result(run) == self.result
        assert json.loads((run / "run_metadata.json").read_text())["lives"][-1]["why"] == "completed"
        assert (run / "report.html").read_text().endswith("</html>\n")
        assert place.cache() == self.cache
        assert not left_over(place)
        return code

    def _assert_nothing_lost(self, run: Path) -> None:
        """Each checkpoint is whole, and those that the log calls saved are there unless pruned."""
        found = CheckpointStore(run, keep=2).newest_good()
        assert not found.skipped
        log = (run / "output.log").read_text() if (run / "output.log").exists() else ""
        saved = re.findall(r"saved (checkpoint-\d+) in", log)
        assert all((run / name).is_dir() for name in saved if (self.run / name).is_dir())
        assert not saved or (found.path and found.path.name >= saved[-1])


def assert_a_clear_end(place: Place, code: int, kind: int) -> None:
    """Exit 5 and one line; 0 where the run can do without; 2 where nothing was begun."""
    if kind == KILLED:
        assert code == KILLED
        return
    begun = place.run and (place.run / "run_metadata.json").exists()
    assert code in {0, 5} or (code == 2 and not begun), place.said
    assert len(place.said.splitlines()) == (code != 0), place.said
    assert not code or re.match(r"forge: (cannot write while|run\.dir: (cannot write|the disk))", place.said)


def left_over(place: Place) -> list[Path]:
    """What a life left behind, and the one after it did not take away."""
    return [path for pattern in LEFT_OVER for path in (place.folder / "runs").rglob(pattern)]


if __name__ == "__main__" and sys.argv[1:] == ["serve"]:
    serve(life)
