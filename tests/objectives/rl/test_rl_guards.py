"""Guards: what they say, when, and that a resumed run says the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forge.objectives.rl.guards import (
    Figures,
    HeldOutGuard,
    Limits,
    Patience,
    StepGuards,
    worst,
)

GOOD = Figures(flat=0.2, truncated=0.1, entropy=2.0, kl=0.01)
QUICK = Limits(
    flat_patience=Patience(2, 4),
    truncated_patience=Patience(1, 3),
    kl_patience=Patience(1, 3),
    entropy_patience=Patience(2, 3),
)
BAD = {
    "flat": replace(GOOD, flat=1.0),
    "truncated": replace(GOOD, truncated=0.98),
    "kl": replace(GOOD, kl=40.0),
    "entropy": replace(GOOD, entropy=0.05),
}


def levels(guards: StepGuards, steps: list[Figures]) -> list[str]:
    return [worst(guards.see(figures)) or "-" for figures in steps]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flat", ["-", "-", "warning", "-", "stop", "stop"]),
        ("truncated", ["-", "warning", "-", "stop", "stop", "stop"]),
        ("kl", ["-", "warning", "-", "stop", "stop", "stop"]),
        ("entropy", ["-", "-", "warning", "stop", "stop", "stop"]),
    ],
)
def test_a_warning_and_then_the_end(name: str, expected: list[str]) -> None:
    assert levels(StepGuards(QUICK), [GOOD, *[BAD[name]] * 5]) == expected
    guards = StepGuards(QUICK)
    found = [alarm for figures in [GOOD, *[BAD[name]] * 3] for alarm in guards.see(figures)]
    assert {alarm.guard for alarm in found} == {name}


def test_one_good_step_begins_anew() -> None:
    steps = [GOOD, BAD["kl"], BAD["kl"], GOOD, BAD["kl"], BAD["kl"], GOOD]
    assert levels(StepGuards(QUICK), steps) == ["-", "warning", "-", "-", "warning", "-", "-"]


@pytest.mark.parametrize("name", ["entropy", "kl"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_ends_the_run_at_once(name: str, value: float) -> None:
    (alarm,) = StepGuards().see(replace(GOOD, **{name: value}))
    assert alarm.level == "stop"
    assert alarm.guard == name


def test_without_a_reference_there_is_no_kl_to_watch() -> None:
    assert levels(StepGuards(QUICK), [replace(GOOD, kl=None)] * 9) == ["-"] * 9


def test_the_entropy_is_compared_with_that_of_the_first_step() -> None:
    low = replace(GOOD, entropy=0.05)
    assert levels(StepGuards(QUICK), [low] * 5) == ["-"] * 5  # it began like this
    assert levels(StepGuards(QUICK), [GOOD, low, low, low])[-1] == "stop"


def test_a_guard_can_be_switched_off() -> None:
    limits = Limits(flat_patience=Patience(None, None))
    assert levels(StepGuards(limits), [BAD["flat"]] * 300) == ["-"] * 300


def test_messages_are_a_line_with_figures_and_what_to_do() -> None:
    for name, figures in BAD.items():
        guards = StepGuards(Limits(**{f"{name}_patience": Patience(1, 2)}))
        guards.see(GOOD)
        (first,), (second,) = guards.see(figures), guards.see(figures)
        assert "\n" not in first.message
        assert "2 times in a row" in second.message
        assert (first.level, second.level) == ("warning", "stop")


@pytest.mark.parametrize("at", range(7))
def test_a_resumed_run_warns_and_stops_at_the_same_steps(at: int) -> None:
    steps = [GOOD, BAD["entropy"], BAD["flat"], BAD["flat"], BAD["flat"], BAD["flat"], BAD["kl"]]
    through = StepGuards(QUICK)
    expected = [through.see(figures) for figures in steps]
    before, after = StepGuards(QUICK), StepGuards(QUICK)
    found = [before.see(figures) for figures in steps[:at]]
    after.load_state(json.loads(json.dumps(before.state())))
    assert found + [after.see(figures) for figures in steps[at:]] == expected


# The metric that is not in the reward


def test_the_reward_rises_while_the_held_out_metric_falls() -> None:
    guard = HeldOutGuard(margin=0.01, patience=Patience(2, 3))
    history = [(0.40, 30.0), (0.45, 31.0), (0.60, 28.0), (0.70, 25.0), (0.80, 20.0)]
    found = [guard.see(*pair, name="BLEU") for pair in history]
    assert [alarm.level if alarm else "-" for alarm in found] == ["-", "-", "-", "warning", "stop"]
    assert "from 0.45 to 0.8 while BLEU, which is not in it, went from 31 to 20" in found[-1].message  # type: ignore[union-attr]


def test_falling_together_is_no_hacking_and_noise_is_none() -> None:
    guard = HeldOutGuard(margin=0.02, patience=Patience(1, 2))
    assert guard.see(0.5, 30.0) is None
    assert guard.see(0.4, 25.0) is None  # both fell: the learning rate, not the reward
    assert guard.see(0.6, 29.5) is None  # less than 2 % of 30
    assert guard.see(0.7, 31.0) is None


def test_a_figure_that_falls_when_it_improves() -> None:
    guard = HeldOutGuard(higher_is_better=False, margin=0.0, patience=Patience(1, 2))
    assert guard.see(0.5, 0.20) is None
    assert guard.see(0.6, 0.10) is None
    assert guard.see(0.7, 0.15).level == "warning"  # type: ignore[union-attr]
    assert guard.see(0.8, 0.16).level == "stop"  # type: ignore[union-attr]


@pytest.mark.parametrize("at", range(5))
def test_the_held_out_guard_resumes(at: int) -> None:
    history = [(0.40, 30.0), (0.60, 28.0), (0.70, 25.0), (0.80, 20.0), (0.9, 19.0)]
    through, before, after = HeldOutGuard(), HeldOutGuard(), HeldOutGuard()
    expected = [through.see(*pair) for pair in history]
    found = [before.see(*pair) for pair in history[:at]]
    after.load_state(json.loads(json.dumps(before.state())))
    assert found + [after.see(*pair) for pair in history[at:]] == expected
