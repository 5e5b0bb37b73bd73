"""Checks that are made of a page's Markdown: the page passes them, and what is wrong with a reading fails some."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.tasks.embedded.page_tree import PRESETS, tree
from forge.tasks.metrics.ocr.checks.derive import MOST_CHECKS, derived_checks
from forge.tasks.metrics.ocr.checks.run import share_passed
from forge.tasks.metrics.ocr.loops import looping

PAGE = """# Annual report

The river rose **twice** in the *spring* of that year.

- first item of the list
- second item, a little longer

| year | metres |
| --- | --- |
| 1999 | 4.2 |
| 2003 | 5.7 |

1. numbered line
"""


def share(text: str, of: str = PAGE) -> float:
    return share_passed(derived_checks(of), text)


@pytest.mark.parametrize("preset", PRESETS)
def test_embedded_pages_pass_their_own(preset: str) -> None:
    for index in range(6 if preset == "a4" else 40):
        page = tree(preset, "train", index).markdown
        checks = derived_checks(page)
        assert 1 <= len(checks) <= MOST_CHECKS
        assert share_passed(checks, page) == 1.0
        assert share_passed(checks, "something else") < 0.3 or not page.strip()


def test_each_kind_is_asked_for() -> None:
    kinds = {check.type for check in derived_checks(PAGE)}
    assert kinds == {"present", "order", "format", "table"}
    assert {check.format for check in derived_checks(PAGE) if check.type == "format"} == {"heading", "bold", "italic"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "reading",
    [
        PAGE.replace("# Annual report", "Annual report"),
        PAGE.replace("**twice**", "twice"),
        PAGE.replace("| 1999 | 4.2 |\n| 2003 | 5.7 |", "| 1999 | 5.7 |\n| 2003 | 4.2 |"),
        PAGE.replace("| year | metres |", "| metres | year |"),
        PAGE.replace("| 2003 | 5.7 |\n", ""),
        PAGE.replace("river", "rover"),
        PAGE.replace("- first item of the list\n- second item, a little longer", "- second item, a little longer"),
        "\n\n".join(reversed(PAGE.split("\n\n"))),
        PAGE[: len(PAGE) // 2],
    ],
)
def test_what_is_wrong_costs(reading: str) -> None:
    assert reading != PAGE
    assert share(reading) < share(PAGE) == 1.0


def test_the_more_is_read_the_more_passes() -> None:
    found = [share(PAGE[: round(len(PAGE) * part)]) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found == sorted(found)
    assert found[0] == 0.0
    assert 0.2 < found[2] < 0.8
    rng = random.Random(0)
    hurt = [c if rng.random() > 0.03 else "~" for c in PAGE]
    assert 0.3 < share("".join(hurt)) < 1.0


def test_a_blank_page_should_stay_blank() -> None:
    for blank in ("", "  \n", "---"):
        assert share("", blank) == 1.0
        assert share("Lorem ipsum", blank) == 0.0


def test_marks_of_emphasis_within_words_and_signs_are_no_trap() -> None:
    for page in (
        "a_b_c and d_e_f\n\nsnake_case_name",
        "* star\n* other star",
        "2 * 3 = 6 * 1",
        "x | y",
        "# \n#",
        "``` \ncode",
    ):
        assert share(page, page) == 1.0


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab *_|#-\n1.>`$é", max_size=120))
def test_any_text_passes_its_own(text: str) -> None:
    assert share(text, text) == 1.0
    assert len(derived_checks(text)) <= MOST_CHECKS


def test_a_text_that_holds_everything_passes_and_loops_are_anothers_matter() -> None:
    loop = PAGE + "again " * 200
    assert share(loop) == 1.0
    assert looping(loop)
