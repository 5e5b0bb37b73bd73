"""`rl:` what it takes, what it refuses, and what a run without it does not notice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from forge.config import resolve
from forge.config.schema import RL
from forge.config.schema.rl import REWARD_NAMES, RL_TASKS, rewards_of
from forge.core.errors import ConfigError

BASE: dict[str, Any] = {
    "task": "translation",
    "data": {"name": "embedded/en_fr", "train": "train", "validation": "validation"},
    "model": {"name": "embedded/tiny-marian"},
}


def written(folder: Path, **more: Any) -> Path:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(BASE | more, sort_keys=False), encoding="utf-8")
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        resolve(path, overrides)
    assert len(error.value.problems) == 1
    return str(error.value)


def test_the_names_are_those_of_the_table() -> None:
    from forge.tasks.rewards.table import REWARDS

    assert tuple(REWARDS) == REWARD_NAMES


def test_the_block_is_the_mode_and_the_header_says_why(tmp_path: Path) -> None:
    found = resolve(written(tmp_path, rl={"rewards": {"chrf": {}}}))
    assert found.mode == "rl"
    assert re.fullmatch(r"rl, because rl is set \(.*x\.yaml:8\)", found.mode_line)


def test_a_run_without_it_keeps_its_name(tmp_path: Path) -> None:
    named = resolve(written(tmp_path, rl=None)).digest()
    assert named == resolve(written(tmp_path)).digest()
    assert resolve(written(tmp_path, rl={"rewards": {"chrf": {}}})).digest() != named


@pytest.mark.parametrize(
    ("rl", "said"),
    [
        ({}, "rl.rewards names none; for example rl.rewards: {chrf: {weight: 1.0}}"),
        ({"rewards": {"chfr": {}}}, "there is no reward chfr; did you mean chrf?"),
        ({"rewards": {"chrf": {}}, "gates": {"lenght": {"least": 0.5}}}, "rl.gates: there is no reward lenght"),
        ({"rewards": {"chrf": {"weight": 0.0}}}, "the weights add up to 0, so nothing would be learned"),
        ({"rewards": {"chrf": {"wieght": 1.0}}}, "did you mean rl.rewards.chrf.weight?"),
        ({"rewards": {"chrf": {}}, "samples": 1}, "rl.samples must be at least 2, got 1"),
        ({"rewards": {"chrf": {}}, "max_length": 0}, "rl.max_length must be at least 1, got 0"),
        ({"rewards": {"mine": {"plugin": "a.py:f", "options": {"a": 1}}}}, "a plugin and options"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, rl: dict[str, Any], said: str) -> None:
    message = refused(written(tmp_path, rl=rl))
    assert said in message
    assert "\n" not in message
    assert "x.yaml:" in message


def test_other_tasks_say_which_can(tmp_path: Path) -> None:
    path = written(tmp_path, rl={"rewards": {"not_empty": {}}})
    said = refused(path, "task=classification", "data.name=embedded/nli")
    assert "rl is set, but Forge cannot sample the answers of task: classification" in said
    assert "task: translation or ocr can" in said


def pages(folder: Path, rl: dict[str, Any], **more: Any) -> Path:
    data = {"name": "embedded/pages", "train": "train", "validation": "validation"}
    return written(folder, task="ocr", data=data, model={"name": "embedded/tiny-reader"}, rl=rl, **more)


def test_each_task_has_its_rewards(tmp_path: Path) -> None:
    from forge.tasks.rewards.table import REWARDS

    for task in RL_TASKS:
        assert rewards_of(task) == [name for name, entry in REWARDS.items() if task in entry.kind.tasks]
    gate = {"rewards": {"teds": {}}, "gates": {"not_copied": {"least": 0.5}}}
    for section in ({"rewards": {"not_copied": {}}}, gate):
        said = refused(pages(tmp_path, section))
        where = "rl.gates" if "gates" in section else "rl.rewards"
        assert f"{where}: not_copied is not for task: ocr; take one of length, language, repetition" in said
        assert "edit_similarity, unit_tests, teds, markdown, no_loop" in said
        assert "\n" not in said
    assert "there is no reward tedz; did you mean teds?" in refused(pages(tmp_path, {"rewards": {"tedz": {}}}))


@pytest.mark.parametrize("glyphs", [{"cells": 1.0, "attention": 0.3}, {"attention": 0.3}, {"place": 0.3}])
def test_losses_on_places_have_no_effect_and_say_so(tmp_path: Path, glyphs: dict[str, float]) -> None:
    rl = {"rewards": {"unit_tests": {}}}
    (said,) = resolve(pages(tmp_path, rl, glyphs=glyphs)).warnings
    assert re.search(r"x\.yaml:\d+:\d+  glyphs has no effect, because rl is set", said)
    assert not resolve(pages(tmp_path, rl)).warnings


@pytest.mark.parametrize(
    ("rewards", "metric", "said"),
    [
        ({"unit_tests": {}}, "cer", None),
        ({"edit_similarity": {}}, "wer", None),
        ({"edit_similarity": {}}, "cer", "cer is nearly the reward edit_similarity"),
        ({"edit_similarity": {}}, "edit_similarity", "edit_similarity is also the reward edit_similarity"),
        ({"teds": {}, "edit_similarity": {}}, "nid", "nid is nearly the reward edit_similarity"),
    ],
)
def test_a_metric_of_pages_that_is_a_reward_is_warned_of(
    tmp_path: Path, rewards: dict[str, Any], metric: str, said: str | None
) -> None:
    warnings = resolve(pages(tmp_path, {"rewards": rewards}, evaluate={"metric": metric})).warnings
    assert [said is not None and said in line and "take evaluate.metric: wer" in line for line in warnings] == (
        [True] if said else []
    )


def test_a_metric_that_is_the_reward_is_warned_of(tmp_path: Path) -> None:
    rewards = {"rewards": {"chrf": {}, "length": {"weight": 0.1}}}
    same = resolve(written(tmp_path, rl=rewards, evaluate={"metric": "chrf"}))
    other = resolve(written(tmp_path, rl=rewards, evaluate={"metric": "bleu"}))
    assert any("evaluate.metric: chrf is also the reward chrf" in line for line in same.warnings)
    assert not other.warnings


def test_what_a_teacher_would_say_in_vain_is_told(tmp_path: Path) -> None:
    rl = {"rewards": {"chrf": {}}}
    path = written(tmp_path, alpha=0.5, teacher={"name": "x"}, distill={"forward_kl": {"weight": 1.0}}, rl=rl)
    found = resolve(path)
    assert any("distill.forward_kl.weight has no effect, because rl is set" in line for line in found.warnings)
    said = refused(path, "distill.sequence.targets=teacher")
    assert "distill.sequence: with rl set the teacher's texts are not learned from" in said
    alone = resolve(written(tmp_path, rl=rl | {"distill": {"beta": 1.0}}))
    assert any("rl.distill.beta has no effect, because alpha is 0.0" in line for line in alone.warnings)


def test_what_is_cut_off_is_learned_from_unless_asked(tmp_path: Path) -> None:
    """Masked, texts that never end would not be held back: measured, docs/log.md."""
    rewards = {"rewards": {"chrf": {}}}
    plain, masked = (resolve(written(tmp_path, rl=rewards | more)) for more in ({}, {"mask_truncated": True}))
    assert plain.settings.rl
    assert not plain.settings.rl.mask_truncated
    assert masked.settings.rl
    assert masked.settings.rl.mask_truncated


def test_bounds_follow_the_loss_unless_set() -> None:
    assert (RL().clip.low, RL().clip.high) == (0.2, 0.28)
    assert (RL(loss="gspo").clip.low, RL(loss="gspo").clip.high) == (3e-4, 4e-4)
    assert (RL(loss="cispo").clip.low, RL(loss="cispo").clip.high) == (None, 4.0)
    chosen = RL.model_validate_json(json.dumps({"loss": "gspo", "clip": {"high": 0.5}}))
    assert (chosen.clip.low, chosen.clip.high) == (3e-4, 0.5)


def test_parts_of_a_reward_are_set_on_the_command_line(tmp_path: Path) -> None:
    found = resolve(written(tmp_path, rl={"rewards": {"chrf": {}}}), ["rl.rewards.length.weight=0.2"])
    assert found.settings.rl
    assert {name: part.weight for name, part in found.settings.rl.rewards.items()} == {"chrf": 1.0, "length": 0.2}
