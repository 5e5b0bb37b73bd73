"""What every page is made of: text never becomes markup, nothing is requested, equal calls give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from forge.reports.drawing import THEME, drawn
from forge.reports.heat import STEPS, Cell, heat, scale
from forge.reports.page import NO_REQUESTS, data, page
from forge.reports.words import decimal, ends, listed, probability

EVIL = "</script><script>alert(1)</script>&\"'"


def test_a_page_runs_its_own_script_by_its_hash_and_no_other():
    script = "document.title = 'é'"
    told = page("x", ["<p>y</p>"], script=script)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"{NO_REQUESTS}; script-src 'sha256-{digest}'" in told
    assert f"<script>{script}</script></body>" in told
    assert "script" not in page("x", ["<p>y</p>"])


def test_data_comes_back_as_it_was_and_cannot_end_its_element():
    value = {"text": EVIL, "more": [None, 1.5, "ü <!-- "]}
    told = data("examples", value)
    inner = re.fullmatch(r'<script type="application/json" id="examples">(.*)</script>', told)[1]
    assert "<" not in inner
    assert json.loads(inner) == value


def test_numbers_that_json_does_not_have_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        data("examples", float("nan"))


def test_a_shaded_table_says_and_shades_what_its_cells_hold():
    told = heat(EVIL, ["a"], [EVIL], [[Cell("0.50", 0.5, f"{EVIL}: half")]], EVIL, {(0, 0)})
    assert "<script" not in told
    assert f'<td class="mark h{STEPS // 2}" title="&lt;/script&gt;' in told
    assert told.count("scope=row") == told.count("scope=col") == 1


@pytest.mark.parametrize(
    ("depth", "kind"),
    [(-0.2, ' class="h0"'), (1.7, f' class="h{STEPS}"'), (None, ""), (float("nan"), "")],
)
def test_shades_end_at_0_and_1_and_what_is_unknown_has_none(depth, kind):
    assert f"<td{kind}>x</td>" in heat("", ["a"], ["b"], [[Cell("x", depth)]])


def test_the_scale_goes_from_one_end_to_the_other():
    shades = re.findall(r"class=h(\d+)", scale("0", "1"))
    assert (shades[0], shades[-1]) == ("0", str(STEPS))
    assert shades == sorted(shades, key=int)


def test_a_themed_picture_takes_the_colour_of_the_page():
    def draw(axis):
        axis.plot([0, 1], [0, 1], color=THEME)
        axis.set_title("a <b>")

    first, second = (drawn("p", (2, 2), draw, EVIL, themed=True) for _ in range(2))
    assert first == second
    assert "currentColor" in first
    assert THEME not in first
    assert first.startswith('<svg role="img" aria-label="&lt;/script&gt;')
    assert "<script" not in first
    assert "currentColor" not in drawn("p", (2, 2), lambda axis: axis.plot([0, 1]), "x")


@pytest.mark.parametrize(
    ("value", "signed", "told"),
    [(0.126, False, "0.13"), (-0.126, False, "−0.13"), (0.126, True, "+0.13"), (-0.001, True, "0.00"),
     (None, True, "–"), (1234.5, False, "1,234.50"), (-1234.5, True, "−1,234.50")],
)  # fmt: skip
def test_figures_have_a_real_minus_and_no_signed_zero(value, signed, told):
    assert decimal(value, 2, signed) == told


def test_intervals_and_probabilities():
    assert ends((-0.5, 1.0), 1, True) == "−0.5 to +1.0"
    assert ends((None, 1.0)) == ends(None) == "–"
    assert [probability(p) for p in (None, 0.00001, 0.0512, 0.5)] == ["–", "<0.0001", "0.051", "0.50"]
    assert [listed(names) for names in (["a"], ["a", "b"], ["a b", "c"])] == ["a", "a and b", "a b, and c"]
