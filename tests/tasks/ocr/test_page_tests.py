"""Checks that pages bring with them: beside a file, in a row, on the way through the store."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset
from tasks.pages.hostile import image

from forge.tasks.metrics.ocr.checks.run import share_passed
from forge.tasks.ocr.page_tests import checks_in

pytestmark = pytest.mark.usefixtures("_quick")

PRESENT, ABSENT = {"type": "present", "text": "total"}, {"type": "absent", "text": "Page 1"}
ORDER = {"type": "order", "before": "one", "after": "two", "max_diffs": 1}
CELL = {"type": "table", "cell": "4", "left": "3", "top_heading": "b"}


def lines(*checks):
    return "".join(json.dumps(check) + "\n" for check in checks)


def kept(found):
    return [[check.type for check in checks_in(text)] for text in found.table.rows["tests"]]


def test_beside_an_image_or_the_pages_of_a_pdf(put, read):
    put("s/a.png")
    put("s/a.md", "the total")
    put("s/a.tests.jsonl", "\ufeff" + lines(PRESENT, ABSENT) + "\n")
    put("s/b.pdf", 3)
    for number in range(1, 4):
        put(f"s/b.{number}.md", f"page {number}")
    put("s/b.tests.jsonl", lines(CELL | {"page": 3}, ORDER, PRESENT | {"page": 3, "pdf": "other.pdf", "id": "x"}))
    put("s/c.png")
    put("s/c.md", "text")
    found = read("s")
    assert found.notices == ()
    assert kept(found) == [["present", "absent"], ["order"], [], ["table", "present"], []]
    checks = checks_in(found.table.rows["tests"][0])
    assert [share_passed(checks, text) for text in ("the total", "Page 1", "total, Page 1")] == [1.0, 0.0, 0.5]


def test_in_rows_as_objects_or_as_text(put, put_rows, read):
    for name in "abcd":
        put(f"{name}.png")
    put_rows(
        "p.jsonl",
        {"page": "a.png", "markdown": "x", "tests": [PRESENT, ORDER]},
        {"page": "b.png", "markdown": "x", "tests": json.dumps([CELL])},
        {"page": "c.png", "markdown": "x", "tests": []},
        {"page": "d.png", "markdown": "x", "tests": None},
    )
    assert kept(read("p.jsonl")) == [["present", "order"], ["table"], [], []]
    columns = {"page": ["a.png", "b.png"], "markdown": ["x", "y"], "tests": [[PRESENT, ORDER], []]}
    Dataset.from_dict(columns).to_parquet("p.parquet")  # what one check lacks and another has is null there
    assert kept(read("p.parquet")) == [["present", "order"], []]


def test_other_checks_are_other_pages(put, put_rows, read):
    put("a.png", image("PNG"))
    marks = set()
    for tests in ([PRESENT], [ABSENT], []):
        put_rows("p.jsonl", {"page": "a.png", "markdown": "x", "tests": tests})
        marks.add(read("p.jsonl").table.fingerprint)
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        (
            [{"type": "presnt", "text": "x"}],
            "p.jsonl:1  check 1 of 'tests': `type` 'presnt' is unknown; there are present",
        ),
        ([PRESENT, {"type": "absent"}], "p.jsonl:1  check 2 of 'tests': `text` is missing"),
        (["total"], "p.jsonl:1  check 1 of 'tests': it is not an object"),
        ({"type": "present"}, "p.jsonl:1  'tests' must be a list of checks, not {'type': 'present'}"),
        (7, "p.jsonl:1  'tests' must be a list of checks, not 7"),
        ("[{", "p.jsonl:1  its checks are not JSON: "),
    ],
)
def test_what_is_no_check_is_one_line(put, put_rows, refused, tests, says):
    put("a.png")
    put_rows("p.jsonl", {"page": "a.png", "markdown": "x", "tests": tests})
    assert says in refused("p.jsonl")


def test_a_file_of_checks_that_is_wrong(put, read, refused):
    put("s/a.png")
    put("s/a.md", "x")
    put("s/b.tests.jsonl", lines(PRESENT))
    assert read("s").notices == ("s/b.tests.jsonl  has no page file beside it: b.pdf, b.png or the like",)
    put("s/a.tests.jsonl", lines(PRESENT) + "{\n")
    assert "a.tests.jsonl:2  its checks are not JSON" in refused("s")
    put("s/a.tests.jsonl", lines(PRESENT, {"type": "order", "before": "x"}))
    assert "a.tests.jsonl:2  `after` is missing" in refused("s")
    put("s/a.tests.jsonl", b"\xff\xfe")
    assert "a.tests.jsonl" in refused("s")
