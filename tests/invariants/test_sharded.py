"""FSDP2 on two CPU processes: the same training as on one, the same files, the same guarantees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pair import BOTH, DISTILLED, FULL, Pair, ends_bit_equal, goes_on_in_one_and_back, trains_as_one_does
from support import ROOT, merged, write_config

FSDP2 = Pair({"FORGE_ACCELERATE": str(ROOT / "configs" / "accelerate" / "fsdp2.yaml")})


@pytest.mark.slow
@pytest.mark.parametrize("settings", BOTH.values(), ids=BOTH)
def test_two_processes_that_share_a_model_train_as_one_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    trains_as_one_does(FSDP2, tmp_path, settings, "2 processes that share the model (FSDP2)")


@pytest.mark.slow
@pytest.mark.parametrize("settings", BOTH.values() if FULL else [DISTILLED], ids=BOTH if FULL else ["distilled"])
def test_killed_or_asked_to_stop_it_ends_bit_equal(tmp_path: Path, settings: dict[str, Any]) -> None:
    ends_bit_equal(FSDP2, tmp_path, settings)


@pytest.mark.slow
def test_begun_on_two_processes_it_goes_on_in_one_and_back(tmp_path: Path) -> None:
    goes_on_in_one_and_back(FSDP2, tmp_path, DISTILLED)


REFUSED: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"FORGE_ACCELERATE": "nowhere.yaml"}, {}, "there is no nowhere.yaml"),
    ({"FSDP_VERSION": "1"}, {}, "shards with version 2"),
    ({"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, {}, "without weights"),
    ({}, {"train": {"compile": True}}, "train.compile"),
    ({}, merged(DISTILLED, {"distill": {"balance": "gradient_norm"}}), "needs whole gradients"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "settings", "said"), REFUSED if FULL else [REFUSED[0], REFUSED[-1]])
def test_what_does_not_go_together_is_refused_in_one_line(
    tmp_path: Path, environment: dict[str, str], settings: dict[str, Any], said: str
) -> None:
    sharding = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
    done = Pair(sharding | environment).run(write_config(tmp_path, settings))
    assert done.returncode != 0
    assert said in _only_line(done.stderr)


@pytest.mark.slow
def test_one_voice_is_the_first_process_s_however_late_it_comes(tmp_path: Path) -> None:
    unknown = write_config(tmp_path, {"train": {"learning_rat": 1e-3}})
    assert "train.learning_rat" in _only_line(Pair({}).run(unknown, {"LATE": "4"}).stderr)


def _only_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith("forge:")]
    assert len(lines) == 1
    return lines[0]
