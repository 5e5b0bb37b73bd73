"""What a user of rewards can get wrong: one line, the right place, exit 2, and nothing left behind."""

# ruff: noqa: E501 - a row is a case and what it is told, side by side

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import forge, merged, metrics, only_run, write_config
from toy_translation import settings

from forge.config.schema.rl import RL_TASKS

RL: dict[str, Any] = {"samples": 3, "max_length": 6, "rewards": {"length": {}}}


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """config(rl, …) → the file of a run that learns from rewards, from a model made from nothing."""

    def _config(rl: dict[str, Any] | None = None, change: dict[str, Any] | None = None) -> Path:
        plain = settings(tmp_path / "data", max_steps=2, batch_size=4, micro_batch_size=4)
        plain["evaluate"] = {"every": None, "max_examples": 4}
        plain["generate"] = {"beams": 1, "max_length": 6}
        return write_config(tmp_path, merged(plain, {"rl": RL | (rl or {})} | (change or {})))

    return _config


@pytest.fixture
def refused(tmp_path: Path, config: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """refused(rl, change) → the one line that a run is refused with, before it leaves anything behind."""

    def _refused(rl: dict[str, Any] | None = None, change: dict[str, Any] | None = None) -> str:
        assert forge("--config", config(rl, change)) == 2
        line = capsys.readouterr().err.strip()
        assert line.startswith("forge: ")
        assert "\n" not in line
        assert "Traceback" not in line
        assert len(line) < 500
        assert not (tmp_path / "runs").exists()
        return line.removeprefix("forge: ").replace(str(tmp_path), "…")

    return _refused


def test_the_base_runs(config: Any) -> None:
    """Else every refusal below would say nothing."""
    assert forge("--config", config()) == 0


SETTINGS = [
    ({"rewards": {"chfr": {}}}, "rl.rewards: there is no reward chfr; did you mean chrf?"),
    ({"gates": {"lenght": {"least": 0.5}}}, "rl.gates: there is no reward lenght; did you mean length?"),
    ({"rewards": {"zzz": {}}}, "rl.rewards: there is no reward zzz; there are sentence_bleu, chrf, length, "),
    ({"rewards": {"chrf": {"weight": 0}}}, "the weights add up to 0, so nothing would be learned; give one of them"),
    ({"rewards": {"chrf": {"weight": -1}}}, "rl.rewards.chrf.weight must be at least 0, got -1"),
    ({"gates": {"chrf": {}}}, "rl.gates.chrf.least is required, and no file sets it"),
    ({"gates": {"chrf": {"least": 2}}}, "rl.gates.chrf.least must be at most 1, got 2"),
    ({"samples": 1}, "rl.samples must be at least 2, got 1"),
    ({"max_length": 0}, "rl.max_length must be at least 1, got 0"),
    ({"temperature": 0}, "rl.temperature must be more than 0, got 0"),
    ({"updates": 0}, "rl.updates must be at least 1, got 0"),
    ({"loss": "ppo"}, 'rl.loss must be one of grpo, gspo or cispo, got text "ppo"'),
    ({"clip": {"low": 0}}, "rl.clip.low must be more than 0, got 0"),
    ({"kl": {"beta": -0.1}}, "rl.kl.beta must be at least 0, got -0.1"),
    ({"rewards": {}}, "rl is set, but rl.rewards names none; for example rl.rewards: {chrf: {weight: 1.0}}"),
    ({"rewards": ["chrf"]}, "rl.rewards must be a map of names to sections, got a list"),
    ({"reward": {"chrf": {}}}, "rl.reward is not a setting; did you mean rl.rewards?"),
    ({"rewards": {"mine": {"plugin": ""}}}, "rl.rewards.mine.plugin must"),
]


@pytest.mark.parametrize(("rl", "told"), SETTINGS)
def test_a_setting(config: Any, capsys: pytest.CaptureFixture[str], rl: dict[str, Any], told: str) -> None:
    path = config()
    text = path.read_text()
    path.write_text(text[: text.index("rl:")] + "rl: " + json.dumps(RL | rl) + "\n")
    assert forge("--config", path) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert line.startswith(f"forge: {path}:{len(path.read_text().splitlines())}:")
    assert told in line


@pytest.mark.parametrize("task", ["classification", "ocr"])
def test_a_task_that_cannot_says_which_can(tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str) -> None:
    if task in RL_TASKS:
        pytest.skip("it can")
    data = {"name": "embedded/nli"} if task == "classification" else {"name": "embedded/pages"}
    path = write_config(tmp_path, {"task": task, "data": data, "rl": RL})
    assert forge("--config", path) == 2
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    assert f"rl is set, but Forge cannot sample the answers of task: {task} yet; task: " in line
    assert line.endswith("can, or take rl out")
    assert all(name in line for name in RL_TASKS)


def test_a_share_for_a_teacher_and_no_teacher(refused: Any) -> None:
    assert "alpha = 0.5 turns distillation on, but teacher.name is not set" in refused({}, {"alpha": 0.5})


@pytest.mark.parametrize(
    ("metric", "told"),
    [("blue", 'got text "blue"; did you mean bleu?'), ("accuracy", "accuracy is no figure of translation, which has")],
)
def test_a_metric_that_is_none(refused: Any, metric: str, told: str) -> None:
    assert told in refused({}, {"evaluate": {"metric": metric}})


OPTIONS = [
    ({"rewards": {"teds": {}}}, "rl.rewards: teds is not for task: translation; take one of"),
    ({"rewards": {"length": {"options": {"leest": 1.0}}}}, "rl.rewards.length: there is no option leest; did you mean least?"),
    ({"rewards": {"length": {"options": {"least": "a"}}}}, "rl.rewards.length: least must be a number, got 'a'"),
    ({"rewards": {"length": {"options": {"least": 3.0}}}}, "rl.rewards.length: least (3) must be above 0 and at most most (2)"),
    ({"rewards": {"length": {"options": {"against": "moon"}}}}, "rl.rewards.length: against must be source or reference, got 'moon'"),
    ({"rewards": {"repetition": {"options": {"n": 0}}}}, "rl.rewards.repetition: n must be at least 1, not 0"),
    ({"rewards": {"language": {"options": {"language": "tlh"}}}}, "rl.rewards.language: cannot recognise 'tlh'"),
    ({"rewards": {"causal_fluency": {}}}, "rl.rewards.causal_fluency: which language model? set its `model`"),
    ({"rewards": {"comet_kiwi": {}}}, "rl.rewards.comet_kiwi: COMET is not here"),
    ({"gates": {"length": {"least": 0.5, "options": {"most": 0.1}}}}, "rl.gates.length: least (0.5) must be above 0 and at most most (0.1)"),
    ({"max_length": 900}, "rl.max_length: 900, but the model writes at most 63 tokens; take 63"),
]  # fmt: skip


@pytest.mark.parametrize(("rl", "told"), OPTIONS)
def test_what_does_not_go_with_the_run(
    refused: Any, monkeypatch: pytest.MonkeyPatch, rl: dict[str, Any], told: str
) -> None:
    monkeypatch.delenv("FORGE_COMET_PYTHON", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert told in refused(rl)


@pytest.mark.parametrize("rl", [{"rewards": {"chrf": {}}}, {"gates": {"chrf": {"least": 0.1}}}, {}])
def test_sources_without_references(refused: Any, tmp_path: Path, rl: dict[str, Any]) -> None:
    """Text to train on is always in pairs, whatever the rewards look at: it is said of the file."""
    bare, empty = tmp_path / "bare.jsonl", tmp_path / "empty.jsonl"
    bare.write_text("".join(json.dumps({"source": f"the dog {i}"}) + "\n" for i in range(20)))
    empty.write_text("".join(json.dumps({"source": f"the dog {i}", "target": None}) + "\n" for i in range(20)))
    told = refused(rl, {"data": {"train": str(bare)}})
    assert told == "…/bare.jsonl:1  no column 'target' (from data.columns.target); the columns are: source"
    told = refused(rl, {"data": {"train": str(empty)}})
    assert told.startswith("…/empty.jsonl  has no pair that can be trained on: 20 pairs → 0; empty 20")


MINE = """
def fine(samples): return [0.5 for _ in samples]
def raises(samples): raise ValueError("no\\nreason")
def leaves(samples): raise SystemExit(3)
def asks_nothing(): return []
def percent(samples): return [50.0 for _ in samples]
def minus(samples): return [-0.5 for _ in samples]
def too_few(samples): return [0.5]
def number(samples): return 0.5
def words(samples): return ["good" for _ in samples]
def nothing(samples): pass
value = 3
"""

PLUGINS = [
    ("none.py:f", "there is no file …/none.py"),
    ("mine.py", "'mine.py' is not of the form file.py:function"),
    ("mine.py:missing", "…/mine.py has no function 'missing'"),
    ("mine.py:value", "'value' of …/mine.py is no function"),
    ("syntax.py:f", "…/syntax.py:2 cannot be loaded: SyntaxError: invalid syntax"),
    ("broken.py:f", "…/broken.py cannot be loaded: ZeroDivisionError: division by zero"),
    ("ends.py:f", "…/ends.py cannot be loaded: SystemExit: 3"),
    ("mine.py:raises", "…/mine.py:raises failed on all of 4 examples that it was tried on; it said first: ValueError: no reason"),
    ("mine.py:leaves", "…/mine.py:leaves failed on all of 4 examples that it was tried on; it said first: SystemExit: 3"),
    ("mine.py:asks_nothing", "it said first: TypeError: asks_nothing() takes 0 positional arguments but 1 was given"),
    ("mine.py:percent", "…/mine.py:percent gave 50; values are from 0 to 1, scale it"),
    ("mine.py:minus", "…/mine.py:minus gave -0.5; values are from 0 to 1, scale it"),
    ("mine.py:too_few", "…/mine.py:too_few gave 1 values for 4 samples; it must give one for each"),
    ("mine.py:number", "…/mine.py:number gave a float for 4 samples; it must give one for each"),
    ("mine.py:words", "…/mine.py:words gave 'good'; a value is a number from 0 to 1, or None"),
    ("mine.py:nothing", "…/mine.py:nothing gave a NoneType for 4 samples; it must give one for each"),
]  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> None:
    """Files with functions of one's own."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "syntax.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "ends.py").write_text("import sys\nsys.exit(3)\n")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("plugin", "told"), PLUGINS)
@pytest.mark.parametrize("section", ["rewards", "gates"])
def test_a_reward_of_ones_own(refused: Any, section: str, plugin: str, told: str) -> None:
    one = {"plugin": plugin} | ({"least": 0.5} if section == "gates" else {})
    line = refused({section: {"own": one}})
    place, _, rest = line.partition("  ")
    assert place.startswith("…/tiny.yaml:")
    assert rest.startswith(f"rl.{section}.own: plugin: ")
    assert rest.endswith(told)


def test_one_that_goes_wrong_later_ends_the_run_in_one_line(
    tmp_path: Path, config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """References are fine, what is sampled is not."""
    (tmp_path / "mine.py").write_text(
        "def f(samples): return [0.5 if s.output == s.reference else 7 for s in samples]\n"
    )
    assert forge("--config", config({"rewards": {"own": {"plugin": "mine.py:f"}}})) == 2
    assert capsys.readouterr().err == "forge: reward own: gave 7; values are from 0 to 1, scale it\n"


def test_one_that_fails_on_samples_is_said_once_and_left_out(
    tmp_path: Path, config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "def f(samples):\n    assert all(s.output == s.reference for s in samples), 'not right'\n    return [1] * len(samples)\n"
    (tmp_path / "mine.py").write_text(text)
    assert forge("--config", config({"rewards": {"own": {"plugin": "mine.py:f"}}})) == 0
    said = "reward own failed on 12 samples, which go without it; it said first: AssertionError: not right"
    assert capsys.readouterr().out.count(said) == 1
    assert [one["rewards.unscored"] for one in metrics(only_run(tmp_path)) if one["kind"] == "step"] == [1.0, 1.0]
