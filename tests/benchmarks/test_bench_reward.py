"""A gain is over the start of its own seed, and positive where the translations became better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.reward import CASES, ROOT, Case, figures_of, gains, holds, table
from forge.config import resolve
from forge.config.schema.rl import ALSO_A_METRIC

CASE = CASES["translation"]
GRPO, CONSTANT = CASE.arms


def figures(bleu: float, chrf: float, ter: float) -> dict[str, float]:
    return {"bleu": bleu, "chrf": chrf, "ter": ter, "length_ratio": 0.9}


FOUND = {
    "start": [figures(20.0, 40.0, 70.0), figures(26.0, 44.0, 64.0), figures(23.0, 42.0, 68.0)],
    GRPO: [figures(22.0, 41.5, 66.0), figures(28.5, 45.5, 60.5), figures(25.5, 43.6, 64.0)],
    CONSTANT: [figures(20.0, 40.0, 70.0), figures(26.0, 44.0, 64.0), figures(23.0, 42.0, 68.0)],
}


def test_gains_are_paired_and_have_a_sign() -> None:
    assert gains(FOUND, GRPO, "bleu") == [2.0, 2.5, 2.5]
    assert gains(FOUND, GRPO, "ter", -1) == [4.0, 3.5, 4.0]


def test_what_holds_needs_both_intervals_above_zero() -> None:
    assert holds(FOUND, GRPO, CASE)
    assert not holds(FOUND, CONSTANT, CASE)
    worse = FOUND | {GRPO: [one | {"chrf": chrf} for one, chrf in zip(FOUND[GRPO], (39.0, 46.0, 42.0), strict=True)]}
    assert not holds(worse, GRPO, CASE)


def test_the_table_has_means_gains_and_a_row_a_seed() -> None:
    lines = table(FOUND, CASE, [1, 2, 3])
    (row,) = (line for line in lines if line.startswith(f"| {GRPO} |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["25.33", "43.53", "63.50", "0.900"]
    assert cells[5].startswith("+2.33 [+1.62, +3.05]")
    assert cells[7].startswith("+3.83 [")
    assert lines[-1] == "| 3 | 23.00, 42.00 | 25.50, 43.60 | 23.00, 42.00 |"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_runs_are_judged_by_what_the_table_says(case: Case) -> None:
    for arm in case.arms:
        assert settings_of(case, arm).evaluate.metric == case.held_out
    assert set(settings_of(case, case.arms[1]).rl.rewards) == {"constant"}


@pytest.mark.parametrize("case", [CASES["translation"], CASES["pages"]], ids=["translation", "pages"])
def test_held_out_figures_are_in_no_reward(case: Case) -> None:
    """Of either arm; and the one that says whether the reward was learned is."""
    for arm in case.arms:
        rewards = settings_of(case, arm).rl.rewards
        rewarded = {metric for name in rewards for metric in ALSO_A_METRIC.get(name, ())}
        assert case.held_out not in rewarded
        assert (case.rewarded in rewarded) == (arm == case.arms[0])


def settings_of(case: Case, arm: str) -> Any:
    return resolve(ROOT / "configs" / case.folder / f"{arm}.yaml").settings


def test_figures_of_pages_are_in_per_cent_and_lists_of_pages_count(tmp_path: Path) -> None:
    reached = {"words": {"cer": 0.12, "wer": 0.5, "loss": 0.3}, "fonts": {"cer": 0.9, "wer": 0.9}}
    (tmp_path / "training_state.json").write_text(json.dumps({"test": reached}))
    records = [
        {"kind": "evaluation", "split": "words", "pages": 8, "loops": ["a"] * 8, "cut_off": ["a"] * 8},
        {"kind": "test", "split": "words", "pages": 8, "loops": [{"page": "a"}], "cut_off": ["a", "b"]},
        {"kind": "test", "split": "fonts", "pages": 8, "loops": [], "cut_off": []},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = figures_of(tmp_path, CASES["pages"])
    assert found == pytest.approx(
        {"cer": 12.0, "wer": 50.0, "fonts_cer": 90.0, "fonts_wer": 90.0, "loops": 12.5, "cut_off": 25.0}
    )
