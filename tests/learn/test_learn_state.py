"""Progress on disk: two processes at once, crashes, damage, other versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from forge.core.errors import UserError
from forge.learn.state import FILE, PREVIOUS, SCHEMA, Progress, Store

ADD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from forge.learn.state import Store
store = Store(Path(sys.argv[2]))
for index in range(40):
    with store.change() as state:
        state.lesson(f"{sys.argv[3]}-{index}").finish()
        state.lesson("shared").tries += 1
"""


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", ADD, str(ROOT), str(tmp_path), name]) for name in ("a", "b")]
    assert [process.wait(120) for process in both] == [0, 0]
    state = Store(tmp_path).read()
    assert state.lesson("shared").tries == 80
    assert sum(progress.passed for progress in state.lessons.values()) == 80


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.change() as state:
        state.lesson("bert").finish()
    with pytest.raises(ZeroDivisionError), store.change() as state:
        state.lesson("attention").tries = state.lesson("bert").finish() or 1 // 0
    assert [name for name, p in store.read().lessons.items() if p.passed] == ["bert"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"lessons": {}}', b'{"schema": "1"}', b"[" * 100_000]
)
def test_a_damaged_file_costs_the_last_change_at_most(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    for name in ("first", "second"):
        with store.change() as state:
            state.lesson(name).finish()
    (tmp_path / FILE).write_bytes(damage)
    assert store.read().lesson("first").passed
    assert "cannot be read" in store.notice
    with store.change() as state:
        state.lesson("third").finish()
    again = Store(tmp_path)
    assert again.read().lesson("first").passed
    assert again.read().lesson("third").passed
    assert not again.notice
    assert (tmp_path / "learn.damaged.json").read_bytes() == damage
    assert json.loads((tmp_path / PREVIOUS).read_text())["lessons"]["first"]["status"] == "passed"


def test_unknown_lessons_and_keys_are_kept_and_not_looked_at(tmp_path: Path) -> None:
    held = {"schema": SCHEMA, "lessons": {"of-another-version": {"status": "passed", "tries": 3}}, "colour": "blue"}
    (tmp_path / FILE).write_text(json.dumps(held))
    store = Store(tmp_path)
    with store.change() as state:
        state.lesson("bert").tries = 1
    written = json.loads((tmp_path / FILE).read_text())
    assert written["colour"] == "blue"
    assert written["lessons"]["of-another-version"]["tries"] == 3
    assert written["lessons"]["bert"]["tries"] == 1


@pytest.mark.parametrize(
    "value", [{"status": "master"}, {"tries": "many"}, {"done": "all"}, {"failures": [1]}, [], None, 7]
)
def test_a_field_of_the_wrong_kind_is_as_if_it_were_missing(tmp_path: Path, value: object) -> None:
    (tmp_path / FILE).write_text(json.dumps({"schema": SCHEMA, "lessons": {"bert": value}}))
    assert Store(tmp_path).read().lesson("bert") == Progress()


def test_a_file_of_a_newer_forge_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = json.dumps({"schema": SCHEMA + 1, "lessons": {}})
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match="newer Forge"):
        Store(tmp_path).read()
    with pytest.raises(UserError, match="newer Forge"), Store(tmp_path).change():
        pass
    assert (tmp_path / FILE).read_text() == text


def test_what_is_passed_stays_as_it_was_passed_first() -> None:
    progress = Progress()
    progress.finish("tested-out")
    when = progress.passed_at
    progress.finish("passed")
    assert (progress.status, progress.passed_at) == ("tested-out", when)


def test_reset_forgets_also_the_file_before(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        with store.change() as state:
            state.lesson("bert").finish()
    store.reset()
    assert not store.read().lessons
    Store(tmp_path / "nothing-there").reset()


def test_the_engine_needs_no_heavy_library() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import forge.learn.state\n"
        "light = not {'torch', 'transformers', 'datasets', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "import forge.learn.course, forge.learn.terminal, forge.learn.worker\n"
        "print(light, {'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True set()\n"
