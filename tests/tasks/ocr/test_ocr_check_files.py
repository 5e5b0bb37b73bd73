"""Files of checks: what is read, what is refused and where, what a set scores."""

from __future__ import annotations

import json
import random
from statistics import mean

import numpy as np
import pytest

from forge.core.errors import UserError
from forge.tasks.base import HIGHER_IS_BETTER
from forge.tasks.metrics.ocr.checks.form import exact_strings_alone
from forge.tasks.metrics.ocr.checks.read import KINDS, read_checks, with_baselines
from forge.tasks.metrics.ocr.checks.run import check_pages, run_checks, score_checks, share_passed

# Lines in the form in which olmOCR-bench writes its own, keys that nothing here needs included.
LINES = [
    {"pdf": "a.pdf", "page": 1, "id": "a1", "type": "present", "max_diffs": 0, "checked": "verified", "url": None,
     "text": "rye", "case_sensitive": True, "first_n": None, "last_n": None},
    {"pdf": "a.pdf", "page": 1, "id": "a2", "type": "absent", "max_diffs": 0, "text": "Page 3", "last_n": 40},
    {"pdf": "a.pdf", "page": 2, "id": "a3", "type": "order", "before": "rye", "after": "wheat", "max_diffs": 1},
    {"pdf": "b.pdf", "page": 1, "id": "b1", "type": "table", "cell": "12", "up": "", "left": "Pears",
     "ignore_markdown_tables": False},
    {"pdf": "b.pdf", "page": 1, "id": "b2", "type": "math", "math": "a+b", "ignore_dollar_delimited": True},
    {"pdf": "b.pdf", "page": 1, "id": "b3", "type": "baseline", "max_length": None, "max_repeats": 30},
    {"pdf": "b.pdf", "page": 1, "id": "b4", "type": "format", "text": "Fruit", "format": "heading"},
    {"pdf": "b.pdf", "page": 1, "id": "b5", "type": "footnote", "marker": "1", "appears_before_marker": None},
]  # fmt: skip
PAGES = {
    ("a.pdf", 1): "Of rye and wheat.",
    ("a.pdf", 2): "Of wheat, then rye.",
    ("b.pdf", 1): "# Fruit\n\n| Pears | 12 |\n|---|---|\n\nAs said[^1] \\(a+b\\)",
}


def written(tmp_path, lines, name="set.jsonl"):
    path = tmp_path / name
    path.write_text(
        "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )
    return path


def test_a_file_of_every_type(tmp_path):
    file = read_checks(written(tmp_path, [*LINES, "\n", "  \n"]))
    assert file.name == "set"
    assert [one.id for one in file.checks] == [line["id"] for line in LINES]
    assert {one.type for one in file.checks} == set(KINDS)


BROKEN = [
    ("{", "line 1"),
    ("[1]", "it is not an object"),
    ({"type": None}, "`type` is missing"),
    ({"type": "presence"}, "`type` 'presence' is unknown; there are present, absent,"),
    ({"pdf": ""}, "`pdf` is empty"),
    ({"pdf": None}, "`pdf` is missing"),
    ({"id": 3}, "`id` must be a text, not 3"),
    ({"page": 0}, "`page` must be a whole number from 1, not 0"),
    ({"page": "1"}, "`page` must be a whole number from 1, not '1'"),
    ({"max_diffs": -1}, "`max_diffs` must be a whole number from 0, not -1"),
    ({"max_diffs": True}, "`max_diffs` must be a whole number"),
    ({"text": "  "}, "`text` is empty"),
    ({"text": "** **"}, "`text` is empty once"),
    ({"case_sensitive": "no"}, "`case_sensitive` must be true or false, not 'no'"),
    ({"first_n": 1.5}, "`first_n` must be a whole number"),
    ({"type": "order", "before": "abcd", "after": "abcdef", "max_diffs": 3}, "`max_diffs` is more than half"),
    ({"type": "order", "before": "abcd"}, "`after` is missing"),
    ({"type": "table", "cell": None}, "`cell` is missing"),
    ({"type": "table", "cell": "a", "up": 3}, "`up` must be a text, not 3"),
    ({"type": "math", "math": " "}, "`math` is empty"),
    ({"type": "format", "format": "underlined"}, "`format` must be heading, bold or italic, not 'underlined'"),
    ({"type": "footnote", "marker": "1 2"}, "`marker` must not have white space"),
    ({"type": "baseline", "max_length": -2}, "`max_length` must be a whole number"),
    ({"id": "a1"}, "`id` 'a1' stands in line 1 too"),
    ("[" * 200 + "]" * 200, "nested"),
]


@pytest.mark.parametrize(("line", "message"), BROKEN)
def test_a_broken_line_is_named(tmp_path, line, message):
    good = {"pdf": "a.pdf", "page": 1, "id": "x", "type": "present", "text": "rye"}
    path = written(tmp_path, [LINES[0], "\n", line if isinstance(line, str) else json.dumps(good | line)])
    with pytest.raises(UserError) as caught:
        read_checks(path)
    said = str(caught.value)
    assert said.startswith(f"{path}:3  ")
    assert "\n" not in said
    if message != "line 1":
        assert message in said


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*missing\.jsonl: No such file"):
        read_checks(tmp_path / "missing.jsonl")
    with pytest.raises(UserError, match=":1  has no checks"):
        read_checks(written(tmp_path, ["\n"]))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"pdf": "caf\xe9"}\n')
    with pytest.raises(UserError, match=r"latin\.jsonl:1 .*UTF-8"):
        read_checks(latin)


def files_of(tmp_path):
    return [read_checks(written(tmp_path, LINES[:3], "a.jsonl")), read_checks(written(tmp_path, LINES[3:], "b.jsonl"))]


def test_the_score_is_the_mean_over_files(tmp_path):
    scores = check_pages(files_of(tmp_path), PAGES, exact_strings_alone)
    assert scores.detail["files"] == {
        "a": {"pass_rate": pytest.approx(2 / 3), "passed": 2, "checks": 3},
        "b": {"pass_rate": 1.0, "passed": 5, "checks": 5},
    }
    assert scores.figures == {"pass_rate": pytest.approx((2 / 3 + 1) / 2)}
    assert scores.detail["types"]["order"]["passed"] == 0
    (failed,) = scores.detail["failed"]
    assert (failed["file"], failed["id"], failed["pdf"], failed["page"]) == ("a", "a3", "a.pdf", 2)
    assert "never stands before" in failed["reason"]
    low, high = scores.detail["interval"]
    assert 0.5 <= low < scores.figures["pass_rate"] <= high <= 1.0
    assert HIGHER_IS_BETTER["pass_rate"]
    json.dumps(scores.detail)


def test_without_rendering_no_formula_counts_for_or_against(tmp_path):
    scores = check_pages(files_of(tmp_path), PAGES)
    assert scores.detail["files"]["b"] == {"pass_rate": 1.0, "passed": 4, "checks": 4}
    assert scores.detail["left_out"] == {"math": "nothing renders formulas; 1 of 1 are the same string"}
    assert "left_out" not in check_pages(files_of(tmp_path), PAGES, exact_strings_alone).detail
    alone = [read_checks(written(tmp_path, [LINES[4]]))]
    assert check_pages(alone, PAGES).figures == {}
    assert check_pages(alone, PAGES).detail["interval"] is None


def test_a_page_that_is_missing_fails_and_a_rejected_check_is_not_run(tmp_path):
    lines = [LINES[0] | {"page": 9}, LINES[1] | {"checked": "rejected"}]
    results = run_checks([read_checks(written(tmp_path, lines))], PAGES)
    assert [(one.check.id, one.outcome.reason) for one in results] == [("a1", "there is no text of this page")]


def test_baselines_are_added_for_documents_that_have_none(tmp_path):
    files = with_baselines(files_of(tmp_path))
    assert [(one.pdf, one.page, one.type) for one in files[-1].checks] == [("a.pdf", 1, "baseline")]
    assert files[-1].name == "baseline"
    assert with_baselines(files[1:2]) == files[1:2]


def test_the_interval_is_that_of_resampled_checks(tmp_path):
    rng = random.Random(0)
    texts = [["rye" if rng.random() < rate else "oats" for _ in range(count)] for rate, count in ((0.8, 60), (0.3, 40))]
    files = []
    for number, found in enumerate(texts):
        lines = [LINES[0] | {"id": str(at), "page": at + 1, "pdf": f"{number}.pdf"} for at in range(len(found))]
        files.append(read_checks(written(tmp_path, lines, f"{number}.jsonl")))
    pages = {(f"{n}.pdf", at + 1): text for n, found in enumerate(texts) for at, text in enumerate(found)}
    scores = score_checks(run_checks(files, pages))
    passed = [[text == "rye" for text in found] for found in texts]
    draws = [mean(mean(rng.choices(side, k=len(side))) for side in passed) for _ in range(4_000)]
    assert scores.detail["interval"] == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.015)
    assert scores.detail["interval"] == score_checks(run_checks(files, pages)).detail["interval"]


def test_the_share_that_passes_is_a_reward(tmp_path):
    checks = files_of(tmp_path)[1].checks
    assert share_passed(checks, PAGES["b.pdf", 1]) == 1.0
    assert share_passed(checks, "Fruit") == pytest.approx(1 / 4)  # the baseline alone; formulas do not count
    assert share_passed(checks, "Fruit", exact_strings_alone) == pytest.approx(1 / 5)
    assert share_passed([], "any") == share_passed(checks[1:2], "any") == 1.0
