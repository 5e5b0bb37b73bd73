"""The files of a run directory beside its checkpoints, with a fault at each operation of writing them."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from injector import KILLED, KINDS, attempt

from forge.core.errors import StorageError, UserError
from forge.core.events import Notice, Started, StepLogged, fan_out
from forge.runs.report import write_report
from forge.runs.run_dir import RunDirectory
from forge.runs.sinks import MetricsLog, OutputLog

OLD, NEW = {"status": "running", "step": 1}, {"status": "running", "step": 2}
FACTS = {"name": "x", "header": ["run x"], "config": {"seed": 1}}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def _outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)  # under Slurm a claim waits


def after_each_fault(
    folder: Path,
    kind: int,
    prepare: Callable[[Path], object],
    act: Callable[[Path], object],
    codes: tuple[int, ...] = (StorageError.exit_code,),
) -> Iterator[Path]:
    """Prepare and act in a directory for each operation of acting, with a fault there; each directory after it."""
    for at in range(500):
        place = folder / str(at)
        place.mkdir()
        prepare(place)
        passed = attempt(lambda place=place: act(place), place, at, kind, codes)
        yield place
        if passed:
            break
    print(f"{at} operations, a fault at each")


def left_over(folder: Path, kind: int) -> list[Path]:
    """Temporary files of who could delete them."""
    found = [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    return [] if kind in {KILLED, errno.EROFS} else found


@each_kind
@pytest.mark.parametrize("durable", [True, False])
def test_the_state_is_the_old_or_the_new_one(tmp_path: Path, kind: int, durable: bool) -> None:
    def write(state: dict[str, Any]) -> Callable[[Path], None]:
        return lambda folder: RunDirectory(folder).write_state(state, durable)

    for folder in after_each_fault(tmp_path, kind, write(OLD), write(NEW)):
        assert RunDirectory(folder).state() in (OLD, NEW)
        assert not left_over(folder, kind)
        write(NEW)(folder)
        assert RunDirectory(folder).state() == NEW


@each_kind
def test_lives_are_listed_whole(tmp_path: Path, kind: int) -> None:
    def live(folder: Path) -> None:
        run = RunDirectory(folder / "1-abc")
        run.path.mkdir(exist_ok=True)
        run.begin_life(FACTS, {"command": ["forge"]})
        run.end_life("asked to stop")

    for folder in after_each_fault(tmp_path, kind, live, live):
        run = RunDirectory(folder / "1-abc")
        assert [life["why"] for life in run.metadata()["lives"]] in (
            ["asked to stop"],
            ["asked to stop", None],
            ["asked to stop", "asked to stop"],
        )
        assert (folder / "latest").resolve() == run.path.resolve()
        assert not left_over(folder, kind)
        live(folder)
        assert run.metadata()["lives"][-1]["why"] == "asked to stop"


@each_kind
def test_a_first_life_that_could_not_begin(tmp_path: Path, kind: int) -> None:
    def begin(folder: Path) -> None:
        RunDirectory(folder).begin_life(FACTS, {})

    for folder in after_each_fault(tmp_path, kind, lambda folder: None, begin):
        run = RunDirectory(folder)
        assert not run.exists or run.metadata()["name"] == "x"
        begin(folder)
        assert run.metadata()["lives"][-1]["ended"] is None


def train(folder: Path, step: int = 0) -> None:
    """The events of a life that begins after `step`."""
    run = RunDirectory(folder)
    send = fan_out(OutputLog(run), MetricsLog(run))
    send(Notice("run x"))
    send(Started(step, 3, str(folder)))
    for number in range(step + 1, 4):
        figures = {"loss": 0.5, "learning_rate": 1e-4}
        speed = {"seconds_per_step": 1.0, "tokens_per_second": 2.0}
        send(StepLogged(number, 0.1, figures, number * 8, number * 99, speed))


@each_kind
@pytest.mark.parametrize("saved", [0, 1, 2])
def test_a_half_line_spoils_no_later_life(tmp_path: Path, kind: int, saved: int) -> None:
    """`saved` is the step that the earlier life reached and the faulty one continues from."""
    calm = tmp_path / "calm"
    calm.mkdir()
    train(calm)

    def earlier(folder: Path) -> None:
        train(folder)
        MetricsLog(RunDirectory(folder))(Started(saved, 3, ""))

    for folder in after_each_fault(tmp_path, kind, earlier, lambda folder: train(folder, saved)):
        train(folder, saved)
        assert (folder / "metrics.jsonl").read_bytes() == (calm / "metrics.jsonl").read_bytes()
        lines = (folder / "output.log").read_text().splitlines()
        last = lines[-(2 + 3 - saved) :]
        assert last[0].endswith("  run x")
        assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \w", line) for line in last), "no line is glued to half"
        assert not left_over(folder, kind)


@each_kind
def test_the_report_is_the_old_or_the_new_one(tmp_path: Path, kind: int) -> None:
    def prepare(folder: Path) -> None:
        train(folder)
        (folder / "metrics.jsonl").write_text("")  # nothing to draw
        RunDirectory(folder).begin_life(FACTS, {})
        write_report(RunDirectory(folder), OLD)

    for folder in after_each_fault(tmp_path, kind, prepare, lambda folder: write_report(RunDirectory(folder), NEW)):
        page = (folder / "report.html").read_text()
        assert page.endswith("</html>\n")
        assert "running at step 1" in page or "running at step 2" in page
        assert not left_over(folder, kind)


@each_kind
@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_a_lock_that_could_not_be_written_locks_nobody_out(tmp_path: Path, kind: int, there: bool) -> None:
    def prepare(folder: Path) -> None:
        if there:
            claim(folder)

    def claim(folder: Path) -> None:
        run = RunDirectory(folder / "name" / "1-abc")
        run.claim()
        run.release()

    # Nothing was begun, so the exit code is that of a directory that cannot be used.
    for folder in after_each_fault(tmp_path, kind, prepare, claim, (UserError.exit_code,)):
        claim(folder)
        assert [path.name for path in (folder / "name" / "1-abc").iterdir()] == [".lock"]
