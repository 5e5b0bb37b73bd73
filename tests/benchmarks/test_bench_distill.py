"""A gain is positive where the student became better, whichever way the figure goes."""

from __future__ import annotations

import pytest

from bench.distill import CASES, table


def rows(figure_sign: int) -> dict[str, str]:
    found = {"00_sft": [10.0, 12.0, 11.0], "10_low": [8.0, 9.5, 9.0], "20_high": [13.0, 14.0, 14.5]}
    lines = table(found, teacher=5.0 if figure_sign < 0 else 20.0, figure="cer", sign=figure_sign)[2:]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


@pytest.mark.parametrize(("sign", "best"), [(-1, "10_low"), (1, "20_high")])
def test_the_best_comes_first_and_gains(sign: int, best: str) -> None:
    found = rows(sign)
    assert list(found)[:2] == ["teacher", best]
    gain, share = found[best].split(" | ")[2:4]
    assert gain.startswith("+")
    assert share.endswith("%")
    assert not share.startswith("-")


def test_error_rates_are_better_when_lower() -> None:
    assert {name: case.sign for name, case in CASES.items()} == {
        "embedded": 1,
        "sick": 1,
        "translation": 1,
        "pages": -1,
    }
    assert CASES["pages"].points({"test": {"words": {"cer": 0.05}}}) == pytest.approx(5.0)
