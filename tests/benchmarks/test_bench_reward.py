"""A gain is over the start of its own seed, and positive where the translations became better."""

from __future__ import annotations

from bench.reward import CASES, CONSTANT, GRPO, ROOT, gains, holds, table

CASE = CASES["translation"]


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


def test_held_out_figures_are_in_no_reward() -> None:
    from forge.config import resolve
    from forge.config.schema.rl import ALSO_A_METRIC

    for arm in (GRPO, CONSTANT):
        settings = resolve(ROOT / "configs" / CASE.folder / f"{arm}.yaml").settings
        assert settings.rl
        rewarded = {ALSO_A_METRIC.get(name) for name in settings.rl.rewards}
        assert CASE.held_out not in rewarded
        assert settings.evaluate.metric == CASE.held_out
