"""Whole studies of seconds: what is done is done once, whatever ends their processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from slurm.cluster import wait_for
from support import ROOT, forge
from tiny_study import tiny_study, write_study

from forge.study.collect import collect
from forge.study.course import Course
from forge.study.plan import load_plan
from forge.study.store import Store, read_examples
from forge.study.topup import missing_seeds

CELLS, SEEDS = 6, 3
SINGLE = 45.0  # seconds; of one process on a busy machine
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that nobody disturbed."""
    path = write_study(tmp_path_factory.mktemp("calm"), tiny_study())
    assert forge("study", "run", "--config", path) == 0
    return path


def course(path: Path) -> Course:
    return Course(load_plan(path), str(path))


def figures(path: Path) -> dict[str, dict[str, Any]]:
    """What every cell and seed came to, without what depends on the clock and the place."""
    kept = ("cell", "control", "seed", "steps", "test", "validation", "examples")
    return {
        name: {key: standing.record[key] for key in kept}
        for name, standing in course(path).cells.items()
        if standing.record
    }


def lives(path: Path) -> dict[str, list[str]]:
    """How each life of each cell's run ended."""
    found = {}
    for name, standing in course(path).cells.items():
        assert standing.run
        found[name] = [life["why"] for life in standing.run.metadata()["lives"]]
    return found


def results_in(path: Path) -> int:
    return len(list((path.parent / "runs/studies/tiny/results").glob("*.json")))


def start(path: Path, *more: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "forge.py", "study", "run", "--config", str(path), *more]
    log = (path.parent / "said.txt").open("ab")
    return subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True, stdout=log, stderr=log
    )


def descendants(pid: int) -> list[int]:
    """A process and all below it, those too that began a session of their own."""
    below = Path(f"/proc/{pid}/task/{pid}/children")
    children = below.read_text().split() if below.exists() else []
    return [pid, *(deeper for child in children for deeper in descendants(int(child)))]


def kill_all(process: subprocess.Popen[bytes]) -> None:
    for pid in descendants(process.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def kill_once_there_are(results: int, path: Path) -> None:
    process = start(path)
    wait_for(lambda: results_in(path) >= results or process.poll() is not None, 10 * SINGLE)
    assert process.poll() is None, (path.parent / "said.txt").read_text()
    kill_all(process)


def test_every_cell_and_seed_is_done_once(calm: Path) -> None:
    found = figures(calm)
    assert len(found) == CELLS * SEEDS
    assert all(ends == ["completed"] for ends in lives(calm).values())
    assert not list((calm.parent / "runs/studies").rglob("checkpoint-*"))  # measured, so they went
    assert {one["steps"] for one in found.values()} == {8}
    caches = [path for path in (calm.parent / "runs/teacher_cache").iterdir() if path.is_dir()]
    assert len(caches) == 2  # the teacher's, and that of the control with an untrained one


def test_examples_make_the_outcome_again(calm: Path) -> None:
    of = course(calm)
    for name, standing in of.cells.items():
        assert standing.record
        examples = of.store.examples(name, standing.record)
        assert examples is not None
        assert examples.shape == (64, 1)
        assert float(np.mean(examples)) == pytest.approx(standing.record["test"]["test"]["accuracy"])


def test_the_answers_of_students_and_teacher_are_kept(calm: Path) -> None:
    of = course(calm)
    identity = of.plan.answers_identity
    assert identity
    teacher_N2 = of.store.teacher_answers(identity)
    assert teacher_N2 is not None
    teacher = of.before["teacher"].run
    assert teacher
    measured = teacher.state()["test"]["test"]["accuracy"]  # by the run that trained it, on the same 64 examples
    assert float((teacher_N2[:, 0] == teacher_N2[:, 1]).mean()) == pytest.approx(measured)
    for name, standing in of.cells.items():
        assert standing.record
        answers, examples = of.store.answers(name, standing.record), of.store.examples(name, standing.record)
        assert answers is not None
        assert examples is not None
        assert ((answers[:, 0] == teacher_N2[:, 1]) == (examples[:, 0] == 1)).all()
    agreements = {result.measures["agreement"] for result in collect(of)[1]}
    assert len(agreements) > 1
    assert all(0 <= one <= 1 for one in agreements)


def test_results_of_a_version_that_kept_no_answers_are_read(calm: Path, tmp_path: Path) -> None:
    of = course(calm)
    name, standing = next(iter(of.cells.items()))
    assert standing.record
    old = {key: value for key, value in standing.record.items() if key != "answers"}
    path = of.store.folder / "results" / f"{name}.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps(old))
        again = course(calm)
        assert again.complete
        assert [result.seed for result in collect(again)[1] if "agreement" not in result.measures] == [1]
        assert forge("study", "report", "--config", calm, "--out", tmp_path) == 0
        page = (tmp_path / "report.html").read_text()
        assert "over seeds 2 and 3 alone: results of earlier versions lack it" in page
    finally:
        path.write_text(kept)


def test_blocks_share_their_start_and_cells_differ(calm: Path) -> None:
    declared, results = collect(course(calm))
    assert (declared.outcome, declared.scale, declared.combine) == ("accuracy", 100.0, "mean")
    assert len(results) == CELLS * SEEDS
    assert sum(result.control is not None for result in results) == 2 * SEEDS
    belongs = {result.control: dict(result.cell) for result in results if result.control}
    assert belongs == {
        "random_teacher": {"attention": "attention_kl", "response": "off"},
        "shuffled_logits": {"attention": "off", "response": "forward_kl"},
    }
    loss = {(tuple(one.cell.values()), one.control, one.seed): one.measures["loss"] for one in results}
    assert len(set(loss.values())) == len(loss)


def test_to_run_it_again_costs_nothing(calm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = figures(calm), lives(calm)
    assert forge("study", "run", "--config", calm) == 0
    assert "18 of 18 done" in capsys.readouterr().out
    assert (figures(calm), lives(calm)) == before


def test_status_and_report(calm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forge("study", "status", "--config", calm, "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert [job["state"] for job in told["jobs"]] == ["done"] * (3 + CELLS * SEEDS)
    assert forge("study", "report", "--config", calm, "--out", calm.parent / "report") == 0
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_the_sequential_rule_adds_whole_blocks(calm: Path) -> None:
    of = course(calm)
    assert missing_seeds(of) == []  # no max_seeds, so none
    settings = yaml.safe_load(calm.read_text()) | {"max_seeds": 5, "smallest_effect": 0.01}
    more = calm.parent / "more" / "tiny.yaml"
    write_study(more.parent, settings)
    for name in ("tiny_base", "tiny_teacher"):
        (more.parent / f"{name}.yaml").write_text((calm.parent / f"{name}.yaml").read_text())
    of = course(more)  # the same runs, so the same results
    assert of.complete
    assert missing_seeds(of) == [4, 5]
    of.add_seeds([4, 5])
    again = course(more)
    assert again.seeds == [1, 2, 3, 4, 5]
    assert len(again.cells) == 5 * CELLS
    assert not again.complete
    of.store.keep_added_seeds(of.plan.study.seeds, [])


def test_a_study_that_is_killed_three_times(tmp_path: Path, calm: Path) -> None:
    """kill -9 of the study's process, its workers and the process they are forked from, all at once."""
    path = write_study(tmp_path, tiny_study())
    for results in (1, 5, 11):
        kill_once_there_are(results, path)
    assert start(path).wait() == 0, (tmp_path / "said.txt").read_text()
    assert figures(path) == figures(calm)
    ends = lives(path)
    assert all(why[-1] == "completed" for why in ends.values()), ends
    assert sum(map(len, ends.values())) > CELLS * SEEDS  # some were killed on their way
    for name, why in ends.items():
        # Killed while its report was written, a run is opened once more, and trains nothing.
        if why.count("completed") > 1:
            run = course(path).cells[name].run
            assert run
            assert (run.path / "output.log").read_text().count("step 8/8") == 1


def test_a_study_whose_process_alone_is_killed(tmp_path: Path) -> None:
    """Its workers save and leave by themselves: nothing goes on that nobody waits for."""
    study = tiny_study() | {"seeds": [1, 2, 3], "always": {"train": {"max_steps": 3000}}, "match_gradients": False}
    path = write_study(tmp_path, study)
    (tmp_path / "tiny_teacher.yaml").write_text(
        "extends: tiny_base.yaml\nmodel: {name: embedded/tiny-bert}\ntrain: {max_steps: 8}\n"
    )
    process = start(path)
    states = tmp_path / "runs/studies/tiny/cells"
    wait_for(lambda: bool(list(states.rglob("training_state.json"))) or process.poll() is not None, 10 * SINGLE)
    workers = descendants(process.pid)[1:]
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(_alive(pid) for pid in workers), SINGLE, lambda: str(workers))
    found = [json.loads(state.read_text()) for state in states.rglob("training_state.json")]
    assert any(state["status"] == "interrupted" for state in found), found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_a_worker_that_is_killed_costs_one_life(tmp_path: Path) -> None:
    path = write_study(tmp_path, tiny_study() | {"controls": {}, "always": {"train": {"max_steps": 60}}})
    process = start(path)
    cells = tmp_path / "runs/studies/tiny/cells"
    killed = ""

    def at_work() -> bool:
        nonlocal killed
        for record in sorted(cells.rglob("run_metadata.json")):
            life = json.loads(record.read_text())["lives"][-1]
            if life["why"] is None and _alive(life["pid"]):
                os.kill(life["pid"], signal.SIGKILL)
                killed = str(record.parent)
                return True
        return process.poll() is not None

    wait_for(at_work, 10 * SINGLE)
    assert killed
    assert process.wait() == 0
    said = (tmp_path / "said.txt").read_text()
    assert "killed by signal 9" in said
    record = json.loads((Path(killed) / "run_metadata.json").read_text())
    assert [life["why"] for life in record["lives"]][1:] == ["completed"]
    assert len(figures(path)) == 4 * SEEDS


def broken(path: Path, cell: str) -> Callable[[], None]:
    """Break a cell's results: a directory where a file should be written. The way to mend it."""
    place = path.parent / "runs/studies/tiny/cells" / cell
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    return place.unlink


def test_a_failed_cell_keeps_its_traceback_and_can_be_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, tiny_study() | {"controls": {}, "match_gradients": False})
    mend = broken(path, "attention-off.response-forward_kl")
    assert forge("study", "run", "--config", path) == 2
    said = capsys.readouterr()
    assert "3 of 14 jobs failed" in said.err
    assert "--retry-failed" in said.err
    failures = list((tmp_path / "runs/studies/tiny/failures").glob("*.json"))
    assert len(failures) == SEEDS
    record = json.loads(failures[0].read_text())
    assert record["exit_code"] == 2
    assert any("Traceback" in line for line in record["traceback"])
    assert len(figures(path)) == 3 * SEEDS  # the others are done
    mend()
    assert forge("study", "run", "--config", path) == 2  # nothing is tried again unasked
    assert forge("study", "run", "--config", path, "--retry-failed") == 0
    assert len(figures(path)) == 4 * SEEDS
    assert not list((tmp_path / "runs/studies/tiny/failures").glob("*.json"))


def test_fail_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, tiny_study() | {"controls": {}, "match_gradients": False})
    broken(path, "attention-off.response-off")
    assert forge("study", "run", "--config", path, "--fail-fast", "--workers", "1") == 2
    assert "failed" in capsys.readouterr().err
    assert len(figures(path)) <= 1


def test_two_studies_at_once_double_nothing(tmp_path: Path, calm: Path) -> None:
    path = write_study(tmp_path, tiny_study())
    both = [start(path, "--workers", "1"), start(path, "--workers", "1")]
    assert [process.wait() for process in both] == [0, 0], (tmp_path / "said.txt").read_text()
    assert figures(path) == figures(calm)
    assert all(why == ["completed"] for why in lives(path).values())


def test_ctrl_c_saves_and_the_next_call_goes_on(tmp_path: Path) -> None:
    path = write_study(tmp_path, tiny_study())
    process = start(path)
    wait_for(lambda: results_in(path) >= 1 or process.poll() is not None, 10 * SINGLE)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 75
    assert "the same command continues" in (tmp_path / "said.txt").read_text()
    assert results_in(path) < CELLS * SEEDS
    assert start(path).wait() == 0
    assert len(figures(path)) == CELLS * SEEDS


def test_a_result_of_other_settings_does_not_count(calm: Path) -> None:
    of = course(calm)
    name, standing = next(iter(of.cells.items()))
    assert of.store.result(name, standing.task.identity)
    assert of.store.result(name, "0" * 12) is None
    changed = Course(load_plan(calm, ["train.learning_rate=2e-3"]), str(calm))
    assert not any(one.done for one in changed.cells.values())


def test_a_result_whose_examples_are_damaged_is_told(calm: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep_result("a", {"identity": "x"}, np.zeros((3, 1)))
    record = store.result("a", "x")
    assert record
    (tmp_path / "results/a.npz").write_bytes(b"no archive")
    assert store.examples("a", record) is None
    assert read_examples(tmp_path / "results/a.npz") is None
    (tmp_path / "results/a.npz").unlink()
    assert store.result("a", "x") is None
