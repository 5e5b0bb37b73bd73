"""COMET in its own environment, as far as Forge has to do with it.

The real package cannot be installed beside transformers 5 (unbabel-comet 2.2 needs transformers 4, numpy 1 and
huggingface-hub below 1.0). So a real process runs a stand-in: a module `comet` with the two functions and the one
method that Forge calls, or a program with the options of `comet-score` that Forge gives. What the tests cannot show is
that the real package still has them.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from forge.core.errors import UserError
from forge.tasks.metrics.comet import COMMAND, INTERPRETER, score_comet

SOURCES, HYPOTHESES, REFERENCES = ["a dog", "two\ncats"], ["un chien", "deux\tchats"], ["un chien", "deux chats « ! »"]
LENGTHS = (len(HYPOTHESES[0]) / 100, len(HYPOTHESES[1]) / 100)
MODULE = """
import os, sys
print("Fetching 5 files", flush=True)  # what libraries say on standard output
class Prediction:
    def __init__(self, scores): self.scores = scores
class Model:
    def predict(self, data, batch_size, gpus):
        assert [set(row) for row in data] == [{"src", "mt", "ref"}] * len(data) and gpus == 0
        return Prediction([len(row["mt"]) / 100 for row in data])
def download_model(name):
    assert name == "Unbabel/wmt22-comet-da", name
    return "path of " + name
def load_from_checkpoint(path):
    assert path in {"path of Unbabel/wmt22-comet-da", "mine.ckpt"}, path
    return Model()
"""
PROGRAM = """
import argparse, json
parser = argparse.ArgumentParser()
for name in ("-s", "-r", "--to_json", "--model"):
    parser.add_argument(name)
parser.add_argument("-t", nargs="+")
parser.add_argument("--gpus", type=int)
parser.add_argument("--quiet", action="store_true")
given = parser.parse_args()
assert given.model == "Unbabel/wmt22-comet-da" and given.gpus == 0
src, mt, ref = ([line.strip() for line in open(path)] for path in (given.s, given.t[0], given.r))
assert len(src) == len(mt) == len(ref), (src, mt, ref)
rows = [{"src": s, "mt": m, "ref": r, "COMET": len(m) / 100} for s, m, r in zip(src, mt, ref)]
json.dump({given.t[0]: rows}, open(given.to_json, "w"))
"""


@pytest.fixture(autouse=True)
def _no_comet_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv(INTERPRETER, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """environment(module) → an interpreter that finds a module `comet` of that text, as another environment's would."""

    def make(module=MODULE):
        script(tmp_path / "modules/comet.py", module)
        python = script(
            tmp_path / "env/python", f'#!/bin/sh\nPYTHONPATH={tmp_path}/modules exec {sys.executable} "$@"\n'
        )
        monkeypatch.setenv(INTERPRETER, str(python))
        return python

    return make


def test_an_interpreter_of_another_environment(environment):
    environment()
    found = score_comet(SOURCES, HYPOTHESES, REFERENCES)
    assert found.lines == LENGTHS
    assert found.score == pytest.approx(sum(LENGTHS) / 2)
    assert found.model == "Unbabel/wmt22-comet-da"
    assert score_comet(SOURCES, HYPOTHESES, REFERENCES, model="mine.ckpt").lines == LENGTHS


def test_the_command_on_the_path(tmp_path):
    script(tmp_path / "bin" / COMMAND, f"#!{sys.executable}\n{PROGRAM}")
    assert score_comet(SOURCES, HYPOTHESES, REFERENCES).lines == LENGTHS


def test_the_interpreter_goes_before_the_command(tmp_path, environment):
    script(tmp_path / "bin" / COMMAND, "#!/bin/sh\nexit 9\n")
    environment()
    assert score_comet(SOURCES, HYPOTHESES, REFERENCES).lines == LENGTHS


def test_the_environment_of_forge_does_not_leak_in(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/nowhere")
    environment("import os\nassert 'PYTHONHOME' not in os.environ and 'VIRTUAL_ENV' not in os.environ\n" + MODULE)
    assert score_comet(SOURCES, HYPOTHESES, REFERENCES).lines == LENGTHS


def refused(*texts, **named):
    with pytest.raises(UserError) as caught:
        score_comet(*(texts or (SOURCES, HYPOTHESES, REFERENCES)), **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_any_comet_it_says_what_to_do():
    message = refused()
    assert "pip install unbabel-comet" in message
    assert INTERPRETER in message
    assert COMMAND in message


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("raise ImportError('no torch here')", "ended with code 1: ImportError: no torch here"),
        ("import sys; sys.exit(3)", "ended with code 3: it said nothing"),
        ("import os; os._exit(0)", "wrote no scores"),
        (MODULE.replace("for row in data])", "for row in data][:1])"), "answered 1 numbers for 2 translations"),
        (MODULE.replace('len(row["mt"]) / 100', "float('nan')"), "some are no number"),
        ("import sys; open(sys.argv[3], 'w').write('not json'); import os; os._exit(0)", "answer cannot be read"),
        ("import sys; open(sys.argv[3], 'w').write('[1]'); import os; os._exit(0)", "answer cannot be read"),
    ],
)
def test_what_goes_wrong_in_there_is_one_line(environment, module, says):
    environment(module)
    assert says in refused()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("echo first >&2; echo the reason >&2; exit 4", "ended with code 4: the reason"),
        ("exit 0", "wrote no scores"),
        ('while [ "$1" != --to_json ]; do shift; done; echo "{}" >"$2"', "answer cannot be read"),
    ],
)
def test_the_same_of_the_command(tmp_path, program, says):
    script(tmp_path / "bin" / COMMAND, f"#!/bin/sh\n{program}\n")
    assert says in refused()


def test_an_interpreter_that_is_not_there(monkeypatch):
    monkeypatch.setenv(INTERPRETER, "/no/such/python")
    assert refused() == f"{INTERPRETER}: cannot run /no/such/python: No such file or directory"


def test_too_slow_is_stopped_with_its_workers(environment, tmp_path):
    """The workers that it started too: one here writes its number and sleeps."""
    environment(
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen(['/bin/sleep', '60'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(worker.pid))\n"
        "time.sleep(60)\n"
    )
    assert refused(timeout_s=3.0) == "COMET did not answer within 3 s and was stopped"
    worker = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.05)
    assert not alive(worker)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.is_file() and stat.read_text().split()[2] == "Z")


def test_counts_that_differ():
    assert "these are 1, 2 and 2" in refused(["a"], HYPOTHESES, REFERENCES)
    assert "these are 0, 0 and 0" in refused([], [], [])
