"""Putting rewards together: the table, gates, failures, plugins, and COMET-Kiwi in its own process."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.tasks.metrics.comet import COMMAND, INTERPRETER, KIWI
from forge.tasks.rewards.base import Sample, Values
from forge.tasks.rewards.form import Ended, Language, Length, NotEmpty
from forge.tasks.rewards.kiwi import CometKiwi
from forge.tasks.rewards.plugin import load_plugin
from forge.tasks.rewards.reference import ChrF
from forge.tasks.rewards.score import Failure, Gate, score
from forge.tasks.rewards.table import REWARDS, Setting, check_weights, make_reward

SAMPLES = [Sample("un chien", "a dog", "un chien"), Sample("", "a dog", "un chien"), Sample("un chat", "a cat", None)]
TRANSLATION = Setting("translation", {"source", "reference"}, "fr", lambda: ["un chien voit la mer ."] * 20)
OCR = Setting("ocr", {"reference", "checks"})


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Scoring


def test_parts_gates_and_what_passed() -> None:
    gates = {"not_empty": Gate(NotEmpty(), 1.0), "ended": Gate(Ended(), 1.0)}
    found = score(SAMPLES, {"chrf": ChrF(), "length": Length()}, gates)
    assert found.parts["chrf"] == [pytest.approx(1.0), 0.0, None]
    assert found.passed == (True, False, True)
    assert found.gates["not_empty"] == [1.0, 0.0, 1.0]
    assert found.failures == {}
    array = found.array()
    assert array.shape == (3, 2)
    assert math.isnan(array[2, 0])
    assert np.isfinite(array[:, 1]).all()
    assert score(SAMPLES, {}, {}).array().shape == (3, 0)


def test_a_gate_that_cannot_tell_lets_pass() -> None:
    found = score([Sample(""), Sample("The committee opened its session.")], {}, {"fr": Gate(Language("fr"), 0.75)})
    assert found.gates["fr"][0] is None
    assert found.passed == (True, False)


def test_a_reward_that_fails_on_one_sample_is_none_there_and_there_alone() -> None:
    def fragile(samples: Sequence[Sample]) -> Values:
        return [1 / len(sample.output) for sample in samples]

    found = score(SAMPLES, {"fragile": fragile, "ended": Ended()}, {})
    assert found.parts["fragile"] == [1 / 8, None, 1 / 7]
    assert found.parts["ended"] == [1.0, 1.0, 1.0]
    assert found.failures == {"fragile": Failure(1, "ZeroDivisionError: division by zero")}


def test_a_gate_that_fails_lets_pass_and_is_said() -> None:
    def broken(samples: Sequence[Sample]) -> Values:
        raise RuntimeError("out of\nmemory")

    found = score(SAMPLES, {}, {"broken": Gate(broken, 0.5)})
    assert found.passed == (True, True, True)
    assert found.failures["broken"] == Failure(3, "RuntimeError: out of memory")


def test_what_is_not_a_number_is_none_and_what_is_no_value_is_refused() -> None:
    def saying(*values: Any) -> Any:
        return lambda samples: list(values)

    found = score(SAMPLES, {"x": saying(float("nan"), 1.0 + 1e-9, True)}, {})
    assert found.parts["x"] == [None, 1.0, 1.0]
    assert score(SAMPLES, {"x": lambda _: np.array([0.1, 0.2, 0.3])}, {}).parts["x"] == pytest.approx([0.1, 0.2, 0.3])
    for values, says in (
        ((5.0, 0, 0), "reward x: gave 5; values are from 0 to 1, scale it"),
        ((-1.0, 0, 0), "gave -1"),
        ((math.inf, 0, 0), "gave inf"),
        (("1", 0, 0), "gave '1'; a value is a number"),
        ((0.5,), "gave 1 values for 3 samples"),
    ):
        assert says in refused(score, SAMPLES, {"x": saying(*values)}, {})
    assert "gave a NoneType for 3 samples" in refused(score, SAMPLES, {"x": lambda _: None}, {})
    assert "gave a float" in refused(score, SAMPLES, {"x": lambda _: 0.5}, {})


# The table


EXTREME = ["", " ", "a", "\x00", "🙂" * 50, "a" * 5_000, "mot " * 2_000, "<table>|$$```#", "\ud7ff", "12,5 %"]
ASK_NO_MODEL = [name for name in REWARDS if name not in ("comet_kiwi", "causal_fluency", "fluency")]


@pytest.mark.parametrize("name", ASK_NO_MODEL)
def test_every_reward_takes_every_text_and_stays_between_0_and_1(name: str) -> None:
    setting = OCR if "ocr" in REWARDS[name].kind.tasks else TRANSLATION
    setting = Setting(setting.task, {"source", "reference", "checks"}, "fr")
    reward = make_reward(name, {}, setting)
    samples = [Sample(a, b, c) for a in EXTREME for b, c in (("a dog", "un chien"), ("", ""), (None, None), (a, a))]
    found = score(samples, {name: reward}, {})
    assert found.failures == {}
    for value in found.parts[name]:
        assert value is None or 0 <= value <= 1
    assert reward([]) == []
    assert hash(reward) is not None


@pytest.mark.parametrize("name", ASK_NO_MODEL)
def test_a_sample_alone_scores_as_it_does_among_others(name: str) -> None:
    task = REWARDS[name].kind.tasks[0]
    reward = make_reward(name, {}, Setting(task, {"source", "reference", "checks"}, "fr"))
    samples = [Sample(text, "a dog", "un chien", ended=False) for text in EXTREME]
    assert reward(samples) == [value for sample in samples for value in reward([sample])]


def test_rewards_document_themselves() -> None:
    for name, entry in REWARDS.items():
        assert entry.kind.__doc__, name


def test_fluency_is_made_of_the_targets() -> None:
    lines = [f"le {a} voit la {b} ." for a in ("chien", "chat", "loup", "roi") for b in ("mer", "ville", "rue")] * 10
    reward = make_reward("fluency", {}, Setting("translation", set(), "fr", lambda: lines))
    (good, bad) = reward([Sample("le chien voit la rue ."), Sample("rue . le la voit chien")])
    assert good is not None
    assert bad is not None
    assert good > bad


@pytest.mark.parametrize(
    ("name", "options", "setting", "says"),
    [
        ("sentence_blue", {}, TRANSLATION, "there is no reward 'sentence_blue'; did you mean sentence_bleu?"),
        ("xyzzy", {}, TRANSLATION, "there is no reward 'xyzzy'; there are sentence_bleu, chrf"),
        ("teds", {}, TRANSLATION, "reward teds: it is for ocr, the task is translation"),
        ("chrf", {}, OCR, "reward chrf: it is for translation, the task is ocr"),
        ("chrf", {}, Setting("translation", {"source"}), "reward chrf: it needs the reference of each sample"),
        ("teds", {}, TRANSLATION, "the task is translation; take one of sentence_bleu, chrf, length"),
        ("not_copied", {}, OCR, "it is for translation, the task is ocr; take one of length, language, repetition"),
        ("unit_tests", {}, Setting("ocr", {"reference"}), "it needs the checks"),
        ("edit_similarity", {}, Setting("translation", {"source"}), "it needs the reference of each sample"),
        (
            "length",
            {"against": "reference"},
            Setting("translation", {"source"}),
            "it needs the reference of each sample",
        ),
        ("length", {"against": "source"}, OCR, "reward length: it needs the source of each sample"),
        ("length", {"against": "page"}, OCR, "reward length: against must be source or reference, got 'page'"),
        ("length", {"most": 0.1}, TRANSLATION, "reward length: least (0.5) must be above 0"),
        ("length", {"mots": 0.1}, TRANSLATION, "reward length: there is no option mots; did you mean most?"),
        ("length", {"xyzzy": 1}, TRANSLATION, "there is no option xyzzy; it takes least, most, against"),
        ("length", {"least": "a"}, TRANSLATION, "reward length: least must be a number, got 'a'"),
        ("length", {"least": True}, TRANSLATION, "reward length: least must be a number, got True"),
        ("length", {"against": "moon"}, TRANSLATION, "reward length: against must be source or reference, got 'moon'"),
        ("repetition", {"n": 1.5}, TRANSLATION, "reward repetition: n must be a whole number, got 1.5"),
        ("ended", {"a": 1}, TRANSLATION, "reward ended: there is no option a; it takes none"),
        ("language", {"lang": "fr"}, TRANSLATION, "reward language: there is no option lang; did you mean language?"),
        ("fluency", {"lines": "x"}, TRANSLATION, "reward fluency: there is no option lines; it takes order, seed"),
        ("language", {}, Setting("translation", set()), "reward language: which one?"),
        ("language", {"language": "tlh"}, TRANSLATION, "cannot recognise 'tlh'"),
        ("fluency", {}, Setting("translation", set()), "it learns from the data's targets, and there are none"),
        ("causal_fluency", {}, TRANSLATION, "which language model?"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_line(name: str, options: dict[str, Any], setting: Setting, says: str) -> None:
    assert says in refused(make_reward, name, options, setting)


def test_length_of_a_page_is_that_of_its_reference() -> None:
    reward = make_reward("length", {"least": 0.8, "most": 1.25}, OCR)
    pages = [("a b c d", "abcd"), ("ab", "a\nb\nc\nd"), ("abcdefgh" * 2, "abcdefgh"), ("", ""), ("x", " "), ("", "x")]
    values = reward([Sample(output, None, reference) for output, reference in pages])
    assert values == [1.0, 0.5 / 0.8, 1.25 / 2, 1.0, 0.0, 0.0]
    assert reward([Sample("x", None, None)]) == [None]


def test_weights_that_say_nothing() -> None:
    check_weights({})  # on-policy distillation alone
    check_weights({"chrf": 1.0, "length": 0.0})
    assert "add up to 0" in refused(check_weights, {"chrf": 0.0, "length": 0.0})
    assert "reward length: its weight is -1" in refused(check_weights, {"chrf": 2.0, "length": -1.0})


# Rewards of the user's own


def test_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def short(samples):\n    return [1.0 if len(s.output) < 8 else None for s in samples]\n")
    plugin = load_plugin("mine.py:short", tmp_path)
    assert score(SAMPLES, {"mine": plugin}, {}).parts["mine"] == [None, 1.0, 1.0]
    assert str(plugin).startswith(f"{file}:short (sha256 ")
    assert load_plugin(f"{file}:short", Path("/nowhere"))(SAMPLES) == [None, 1.0, 1.0]
    assert not any(str(tmp_path) in entry for entry in sys.path)


def test_plugins_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for folder, value in (("a", 0.1), ("b", 0.2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"def f(samples):\n    return [{value}] * len(samples)\n")
    assert load_plugin("a/mine.py:f", tmp_path)(SAMPLES) == [0.1] * 3
    assert load_plugin("b/mine.py:f", tmp_path)(SAMPLES) == [0.2] * 3


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("mine.py", "'mine.py' is not of the form file.py:function"),
        (":short", "is not of the form"),
        ("mine.py:not a name", "is not of the form"),
        ("none.py:short", "there is no file"),
        ("mine.py:long", "has no function 'long'"),
        ("mine.py:number", "'number' of"),
        ("syntax.py:f", "syntax.py:2 cannot be loaded: SyntaxError"),
        ("raises.py:f", "raises.py cannot be loaded: KeyError: 'x'"),
    ],
)
def test_plugins_that_cannot_be_loaded(tmp_path: Path, named: str, says: str) -> None:
    (tmp_path / "mine.py").write_text("number = 3\ndef short(samples):\n    return []\n")
    (tmp_path / "syntax.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "raises.py").write_text("{}['x']\n")
    assert says in refused(load_plugin, named, tmp_path)


# COMET-Kiwi


MODULE = """
class Prediction:
    def __init__(self, scores): self.scores = scores
class Model:
    def predict(self, data, batch_size, gpus):
        assert [set(row) for row in data] == [{"src", "mt"}] * len(data)
        return Prediction([len(row["mt"]) / 8 for row in data])
def download_model(name):
    assert name == "%s", name
    return name
def load_from_checkpoint(path):
    return Model()
"""


@pytest.fixture
def kiwi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CometKiwi:
    """A stand-in for the package, in a real process; the real one cannot be installed beside transformers 5."""
    (tmp_path / "comet.py").write_text(MODULE % KIWI)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(INTERPRETER, str(python))
    return CometKiwi()


def test_kiwi_needs_no_reference_and_stays_between_0_and_1(kiwi: CometKiwi) -> None:
    samples = [Sample("four", "a"), Sample("far more than eight", "b"), Sample("x", None), Sample("", "c")]
    assert kiwi(samples) == [0.5, 1.0, None, 0.0]
    assert kiwi([Sample("x", None)]) == [None]


def test_without_comet_the_run_does_not_go_on_with_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(INTERPRETER, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused(score, SAMPLES, {"comet_kiwi": CometKiwi()}, {})
    assert INTERPRETER in message
    assert COMMAND in message
