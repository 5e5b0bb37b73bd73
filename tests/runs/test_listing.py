"""`forge.py runs`: how each run stands, also where a crash has left half of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console
from support import ROOT, forge

from forge.core.errors import UserError
from forge.runs import listing
from forge.runs.facts import job
from forge.runs.listing import COLUMNS, STATES, list_runs, plain_table, rich_table
from forge.runs.run_dir import RunDirectory

COMMAND = ["forge.py", "--config", "my configs/a.yaml", "--max_steps", "20"]
BEST = {"metric": "accuracy", "value": 0.75, "step": 10}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def _make(folder, name="a/1-abc", status="completed", command=COMMAND, **state):
    """A run that has been claimed, begun, and left with this state."""
    run = RunDirectory(folder / name)
    run.claim()
    run.begin_life({"mode": "sft"}, {"command": command})
    state = {"step": 10, "total_steps": 20, "best": BEST, "checkpoint": "checkpoint-10"} | state
    run.write_state({"status": status} | state, durable=False)
    (run.path / "checkpoint-10").mkdir()
    (run.path / "checkpoint-10/manifest.json").write_text("{}")
    run.release()
    return run


def _only(folder):
    (run,) = list_runs(folder)
    return run


def _age(path, seconds):
    then = time.time() - seconds
    for file in (path, *path.rglob("*")):
        os.utime(file, (then, then))


def test_a_completed_run(folder, capsys):
    run = _make(folder, reason="all 20 steps done", step=20)
    _age(run.path / "checkpoint-10", 3 * 3_600 + 5)
    assert forge("runs", folder) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", head) == list(COLUMNS)
    assert re.split(r"  +", line) == [
        "a/1-abc",
        "sft",
        "completed",
        "20/20 100%",
        "1",
        "accuracy 0.7500 at 10",
        "checkpoint-10, 3 h ago",
        f"python forge.py evaluate --run {run.path}",
    ]
    starts = [[match.start() for match in re.finditer(r"(?:^|(?<=  ))\S", row)] for row in (head, line)]
    assert starts[0] == starts[1]  # aligned


def test_what_to_type_for_a_run_that_is_not_complete(folder):
    run = _make(folder, status="interrupted", reason="interrupted from the keyboard")
    listed = _only(folder)
    assert (listed.state, listed.lives) == ("interrupted", 1)
    assert listed.next == "python forge.py --config 'my configs/a.yaml' --max_steps 20"
    run.claim()
    run.begin_life({}, {"command": ["/some/venv/bin/forge", "--config", "a.yaml"]})
    run.release()
    assert (_only(folder).next, _only(folder).lives) == ("forge --config a.yaml", 2)


@pytest.mark.parametrize(
    ("launch", "begins"),
    [
        (["torchrun", "--nproc_per_node=2"], "torchrun --nproc_per_node=2 forge.py --config"),
        (["sbatch", "--nodes=2", "run_training.sh"], "sbatch --nodes=2 run_training.sh --config"),
        ([], "python forge.py --config"),
        ([7], "python forge.py --config"),
        ("torchrun", "python forge.py --config"),
    ],
)
def test_what_to_type_names_the_launcher(folder, launch, begins):
    run = _make(folder, status="interrupted")
    record = run.metadata()
    record["lives"][-1]["launch"] = launch
    (run.path / "run_metadata.json").write_text(json.dumps(record))
    assert _only(folder).next == f"{begins} 'my configs/a.yaml' --max_steps 20"


def test_a_life_knows_what_launched_it(monkeypatch):
    assert job()["launch"] == []
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("LOCAL_WORLD_SIZE", "2"), ("GROUP_WORLD_SIZE", "1")):
        monkeypatch.setenv(name, value)
    assert job()["launch"] == ["torchrun", "--nproc_per_node=2"]
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    assert job()["launch"] == ["torchrun", "--nnodes=3", "--nproc_per_node=2"]
    monkeypatch.setenv("FORGE_LAUNCH", "sbatch --job-name=my\\ run run_training.sh ")
    assert job()["launch"] == ["sbatch", "--job-name=my run", "run_training.sh"]


def test_why_a_run_failed(folder):
    _make(folder, status="failed", reason="not finite: " + "x" * 200)
    listed = _only(folder)
    assert listed.reason == "not finite: " + "x" * 200
    assert listed.cells()[-1] == "not finite: " + "x" * 67 + "…"
    assert listed.next.startswith("python forge.py --config")


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", None])
def test_a_run_that_goes_is_running_whatever_its_last_life_left(folder, status):
    run = _make(folder, status="running")
    if status:
        run.write_state({"status": status})
    else:
        (run.path / "training_state.json").unlink()
    assert _only(folder).state == {None: "stale", "running": "stale"}.get(status, status)
    run.claim()
    assert _only(folder).state == "running"
    assert _only(folder).next == f"tail -f {run.path}/output.log"
    run.release()


def test_a_run_that_ends_while_it_is_looked_at_is_not_stale(folder, monkeypatch):
    run = _make(folder, status="running")

    def ends_just_now(_):
        run.write_state({"status": "completed"})
        return False

    monkeypatch.setattr(listing, "is_held", ends_just_now)
    assert _only(folder).state == "completed"


def test_a_run_that_was_killed_is_stale(folder):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom forge.runs.run_dir import RunDirectory\n"
        "run = RunDirectory(Path(sys.argv[1]))\nrun.claim()\n"
        "run.begin_life({'mode': 'kd'}, {'command': ['forge.py']})\n"
        "run.write_state({'status': 'running', 'step': 3})\nprint(flush=True)\nsys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", code, str(folder / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert _only(folder).state == "running"
        process.kill()
    listed = _only(folder)
    assert (listed.state, listed.mode, listed.step, listed.total_steps) == ("stale", "kd", 3, None)
    assert listed.cells()[3] == "3"
    assert listed.next == "python forge.py"


# Damage

DAMAGED = ["", "{", "[]", "null", "\x00\x00", "\udcff", "[" * 100_000]


@pytest.mark.parametrize("name", ["training_state.json", "run_metadata.json"])
@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_files_are_named(folder, capsys, name, content):
    run = _make(folder)
    (run.path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    for words in ([], ["--json"], ["--state", "unreadable"]):
        assert forge("runs", folder, *words) == 0
        shown = capsys.readouterr()
        assert "unreadable" in shown.out
        assert f"damaged: {name}" in shown.out
        assert shown.err == ""
    run.claim()
    assert _only(folder).state == ("running" if name == "training_state.json" else "unreadable")
    run.release()


@pytest.mark.parametrize("odd", [None, 3, -1, True, "x", [], [1], {}, {"a": 1}, 1e999, 10**400, ["\udc80"]])
def test_odd_values_in_good_files_break_nothing(folder, odd, capsys):
    run = _make(folder, status="interrupted")
    for file in ("training_state.json", "run_metadata.json"):
        whole = json.loads((run.path / file).read_text())
        places = [(key,) for key in whole] + [("best", key) for key in BEST if "best" in whole]
        places += [("lives", 0, "command")] if "lives" in whole else []
        for *outer, key in places:
            changed = json.loads(json.dumps(whole))
            inner = changed
            for step in outer:
                inner = inner[step]
            inner[key] = odd
            (run.path / file).write_text(json.dumps(changed))
            for words in ([], ["--json"]):
                assert forge("runs", folder, *words) == 0
                assert capsys.readouterr().err == ""
        (run.path / file).write_text(json.dumps(whole))


def test_the_average_is_listed_where_it_is_the_result(folder):
    average = {"asked": 5, "of": ["checkpoint-8", "checkpoint-10"], "value": 0.8, "validation": {}, "chosen": True}
    run = _make(folder, average=average)
    (run.path / "checkpoint-average").mkdir()
    listed = _only(folder)
    assert listed.best == {"metric": "accuracy", "value": 0.8, "step": 10, "averaged": True}
    assert "accuracy 0.8000 average" in listed.cells()
    assert listed.checkpoint == "checkpoint-10", "the newest is what the run continues from"
    run.write_state(run.state() | {"average": average | {"chosen": False}}, durable=False)
    assert _only(folder).best == BEST


@pytest.mark.parametrize("odd", [None, 3, "x", [], [1], {}, {"chosen": True}, {"chosen": True, "value": "x"}])
def test_an_odd_average_breaks_nothing(folder, odd, capsys):
    _make(folder, average=odd)
    assert forge("runs", folder) == 0
    assert capsys.readouterr().err == ""


def test_an_unknown_status_is_unreadable(folder):
    _make(folder, status="dancing")
    assert (_only(folder).state, _only(folder).reason) == ("unreadable", "damaged: training_state.json")


def test_a_folder_that_goes_away_meanwhile(folder, monkeypatch):
    _make(folder)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory")
        return real(path)

    (folder / "gone").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    assert _only(folder).run == "a/1-abc"


def test_names_that_steer_a_terminal_or_are_no_text(folder, capsys):
    _make(folder, name="\udcff")  # a byte that is no text
    _make(folder, name="x\x1b[31m/b\nc")
    assert forge("runs", folder) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 3
    assert "x?[31m/b c" in shown
    assert "\x1b" not in shown
    assert forge("runs", folder, "--json") == 0
    assert {run["run"] for run in json.loads(capsys.readouterr().out)} == {"\udcff", "x\x1b[31m/b\nc"}


# Which runs


def test_links_are_not_followed(folder):
    _make(folder, name="a/1-abc")
    _make(folder, name="a/2-def")
    (folder / "round").symlink_to(folder)
    assert (folder / "a/latest").is_symlink()
    assert sorted(run.run for run in list_runs(folder)) == ["a/1-abc", "a/2-def"]
    assert [run.run for run in list_runs(folder / "a/latest")] == ["."]  # unless asked for
    (folder.parent / "elsewhere").symlink_to(folder)
    assert len(list_runs(folder.parent / "elsewhere")) == 2


def test_what_is_no_run_is_not_listed(folder):
    _make(folder)
    (folder / "teacher-cache/x").mkdir(parents=True)
    (folder / "teacher-cache/x/.lock").touch()
    (folder / "a/1-abc/checkpoint-10/run_metadata.json").touch()
    (folder / "notes.txt").touch()
    assert _only(folder).run == "a/1-abc"


def test_the_newest_activity_comes_first(folder):
    for name, seconds in (("a", 300), ("b", 100), ("c", 200)):
        _age(_make(folder, name=name).path, seconds)
    assert [run.run for run in list_runs(folder)] == ["b", "c", "a"]
    (folder / "a/metrics.jsonl").touch()
    assert [run.run for run in list_runs(folder)] == ["a", "b", "c"]


def test_the_newest_complete_checkpoint(folder):
    run = _make(folder)
    for name in ("checkpoint-9", "checkpoint-100", "checkpoint-200", "checkpoint-300.tmp", "checkpoint-x"):
        (run.path / name).mkdir()
        if name != "checkpoint-200":  # without a manifest it was never finished
            (run.path / name / "manifest.json").touch()
    _age(run.path / "checkpoint-100", 120)
    listed = _only(folder)
    assert listed.checkpoint == "checkpoint-100"
    assert listed.checkpoint_age_s == pytest.approx(120, abs=30)
    assert listed.cells()[6] == "checkpoint-100, 2 min ago"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (86_400 * 12.5, "12 d")]
)
def test_ages(seconds, text):
    assert listing._age(seconds) == text


def test_filter_and_json(folder, capsys):
    _make(folder, name="a", status="completed")
    _make(folder, name="b", status="failed", reason="the disk is full")
    assert forge("runs", folder, "--state", "failed", "--json") == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert run["active"].endswith("+00:00")
    del run["active"], run["checkpoint_age_s"]
    assert run == {
        "run": "b",
        "path": str(folder / "b"),
        "mode": "sft",
        "state": "failed",
        "step": 10,
        "total_steps": 20,
        "lives": 1,
        "best": BEST,
        "checkpoint": "checkpoint-10",
        "reason": "the disk is full",
        "next": "python forge.py --config 'my configs/a.yaml' --max_steps 20",
    }
    assert forge("runs", folder, "--state", "stale") == 0
    assert capsys.readouterr().out == f"no stale runs below {folder}\n"
    assert forge("runs", folder, "--state", "stale", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_no_runs(folder, capsys):
    assert forge("runs", folder) == 0
    assert capsys.readouterr().out == f"no runs below {folder}\n"


def test_what_cannot_be_asked(folder, capsys):
    for words, says in (
        ([folder / "none"], "is not a directory"),
        ([folder, "--state", "happy"], ", ".join(STATES)),
        ([folder, "--sort", "x"], "--sort"),
    ):
        assert forge("runs", *words) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert says in shown.err
    with pytest.raises(UserError):
        list_runs(folder, "")


# How it is shown


def test_a_terminal_gets_a_table(folder):
    _make(folder, name="[bold]a", status="failed", reason="[red]no")
    console = Console(width=200, force_terminal=True, record=True, file=open(os.devnull, "w"))  # noqa: PTH123, SIM115
    console.print(rich_table(list_runs(folder)))
    text = console.export_text()
    assert "[bold]a" in text  # no markup
    assert "[red]no" in text
    assert all(name in text for name in COLUMNS)
    console.file.close()


def test_nothing_heavy_is_imported_and_nothing_is_written(folder):
    run = _make(folder)
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}
    code = (
        "import sys\nfrom forge.cli import main\n"
        f"assert main(['runs', {str(folder)!r}]) == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'accelerate', 'numpy', 'rich', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert str(run.path) in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_a_thousand_runs_need_few_looks_at_the_disk(folder, monkeypatch):
    """Counted, not timed: a shared machine is slow when it likes."""
    run = _make(folder, name="group/0")
    kept = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    for i in range(1, 1_000):
        (folder / f"group/{i}/checkpoint-10").mkdir(parents=True)
        for name, content in kept.items():
            (folder / f"group/{i}" / name).write_bytes(content)
    opened = []
    monkeypatch.setattr(listing, "read_record", lambda path: opened.append(path) or json.loads(path.read_bytes()))
    runs = list_runs(folder)
    assert len(runs) == 1_000
    assert len(opened) == 2_000  # two files each; complete ones are not looked at twice
    assert len(plain_table(runs).splitlines()) == 1_001
