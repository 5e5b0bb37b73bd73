"""The page of a study: complete, harmless, the same for the same results, and readable in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from toy_study import CLASSIFICATION, PAGES, TRANSLATION, controls_of, results_of

from forge.core.errors import StorageError, UserError
from forge.reports.page import NO_REQUESTS
from forge.study.contrasts import three_factor_array
from forge.study.report import write_report

EVIL = "<script>alert(1)</script>&\"'$x$"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Page(HTMLParser):
    """Tags, and attributes that load something; what stands in tables; whether each figure has a table after it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.loads, self.order = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.order.append(tag)
        self.loads += [value for key, value in attrs if key.split(":")[-1] in {"src", "href", "action", "data"}]


@pytest.fixture(scope="module")
def studies():
    """Three tasks, one of them with controls."""
    help_pages = {("attention",): -1.9, ("response",): -0.6}
    first = results_of(CLASSIFICATION) + controls_of(CLASSIFICATION)
    others = [(TRANSLATION, results_of(TRANSLATION, level=34)), (PAGES, results_of(PAGES, help_pages, level=12))]
    return [(CLASSIFICATION, first), *others]


@pytest.fixture(scope="module")
def written(studies, tmp_path_factory):
    """The folder of their report."""
    folder = tmp_path_factory.mktemp("report")
    write_report(studies, folder)
    return folder


def test_the_page_is_one_file_that_loads_nothing(written):
    page = (written / "report.html").read_text()
    parsed = _Page(page)
    assert len(page.encode()) < 2_000_000
    assert not parsed.tags & {"script", "link", "iframe", "img", "object", "embed", "base"}
    assert all(value.startswith("#") for value in parsed.loads)
    assert "@import" not in page
    assert f'<meta http-equiv=Content-Security-Policy content="{NO_REQUESTS}">' in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))
    named = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert named == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names of XML, never fetched


def test_ids_in_the_page_are_unique(written):
    ids = re.findall(r"\bid=\"([^\"]+)\"", (written / "report.html").read_text())
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", (written / "report.html").read_text()))
    assert used <= set(ids)


def test_the_verdict_comes_first_and_every_part_is_there(written):
    page = (written / "report.html").read_text()
    verdict = page.index("class=verdict")
    assert verdict < page.index("<svg")
    assert page.index("Over 3 tasks of equal weight") < page.index("On classification, attention helps")
    headings = re.findall(r"<h[23]>([^<]*)</h[23]>", page)
    assert headings[:9] == [
        "Over all tasks",
        "Classification: accuracy",
        "Effects",
        "Does one depend on another?",
        "Cells",
        "What a run costs",
        "Controls",
        "Agreement with the teacher",
        "To look up",
    ]
    assert headings.count("Controls") == 1
    assert headings[-1] == "How these numbers were made"
    order = [tag for tag in _Page(page).order if tag in {"svg", "table", "h3", "h2"}]
    for at, tag in enumerate(order):
        following = next((other for other in order[at + 1 :] if other != "svg"), None)
        assert tag != "svg" or following == "table"
    for told in re.findall(r"<svg [^>]*>", page):
        assert 'role="img"' in told
        assert "aria-label=" in told


def test_the_same_results_give_the_same_bytes(studies, written, tmp_path):
    declared, results = studies[0]
    write_report([(declared, results[::-1]), *studies[1:]], tmp_path)
    for name in ("report.html", "results.csv", "effects.json"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_one_row_a_cell_and_seed(studies, written):
    rows = list(csv.DictReader((written / "results.csv").open()))
    assert len(rows) == 3 * 40 + 10
    keys = [
        (row["task"], row["feature"], row["attention"], row["response"], row["control"], row["seed"]) for row in rows
    ]
    assert len(set(keys)) == len(rows)
    assert keys[0] == ("classification", "off", "off", "off", "", "11")
    assert keys[49] == ("classification", "", "", "", "shuffled_logits", "15")
    by_cell = {(tuple(one.cell.values()), one.control, one.seed): one for one in studies[0][1]}
    for row in rows[:40]:
        one = by_cell[(row["feature"], row["attention"], row["response"]), None, int(row["seed"])]
        assert float(row["outcome"]) == one.outcome
        assert float(row["cpu_seconds"]) == one.measures["cpu_seconds"]


def test_results_are_written_anew_never_appended(studies, tmp_path):
    for _ in range(2):
        write_report(studies[:1], tmp_path)
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 51
    assert sorted(path.name for path in tmp_path.iterdir()) == ["effects.json", "report.html", "results.csv"]


def test_every_number_is_in_the_json(written):
    numbers = json.loads((written / "effects.json").read_text())
    assert numbers["settings"] == {"alpha": 0.05, "power": 0.8, "bootstrap_repetitions": 2000, "tests": 21}
    first = numbers["studies"][0]
    assert [len(first[name]) for name in ("effects", "cells", "controls", "control_outcomes")] == [7, 8, 4, 2]
    attention = first["effects"][1]
    assert attention["name"] == "attention"
    assert attention["estimate"] == pytest.approx(sum(attention["per_seed"]) / 5)
    assert attention["spread"]["interval"][0] < attention["estimate"] < attention["spread"]["interval"][1]
    assert {"sigma", "detectable", "plan", "anova", "secondary", "declared"} <= set(first)
    assert len(numbers["pooled"]) == 7
    page = (written / "report.html").read_text()
    assert f"+{attention['estimate']:.2f} points" in page


def test_studies_of_one_task_are_told_apart_by_name(studies, tmp_path):
    declared, results = studies[0]
    write_report([(declared, results), (replace(declared, name="far again"), results)], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<h2>far: accuracy</h2>" in page
    assert "<h2>far again: accuracy</h2>" in page
    assert "far again: On classification" in page
    assert "far again (accuracy)" in page


def test_a_figure_that_is_no_number_is_left_out(studies, tmp_path):
    declared, results = studies[0]
    broken = replace(results[3], measures=results[3].measures | {"agreement": float("nan")})
    write_report([(declared, [*results[:3], broken, *results[4:]])], tmp_path)
    assert json.loads((tmp_path / "effects.json").read_text())["studies"][0]["secondary"] == []
    assert "<td>agreement</td>" not in (tmp_path / "report.html").read_text()
    assert "agreement" in (tmp_path / "results.csv").read_text()


def test_an_incomplete_study_writes_nothing(studies, tmp_path):
    declared, results = studies[0]
    with pytest.raises(UserError, match="lacks 1 of 50 runs"):
        write_report([(declared, results[1:])], tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_told(studies, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageError, FileExistsError, NotADirectoryError)):
        write_report(studies[:1], tmp_path / "file")


def test_names_are_text_never_markup(tmp_path):
    levels = {f"feature{EVIL}": ("off", "on"), "response": ("off", EVIL, "third")}
    declared = replace(CLASSIFICATION, name=EVIL, task=EVIL, outcome=EVIL, unit=EVIL, factors=levels)
    results = [replace(one, measures={EVIL: 1.0, **one.measures}) for one in results_of(declared, {}, examples=100)]
    write_report([(declared, results)], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "script" not in _Page(page).tags
    assert "<script" not in page
    assert page.count("alert(1)") > 20
    assert "$x$" in page  # no mathematics is made of it


def _shapes():
    levels = {
        "feature": ("off", "a_b", "b", "c"),
        "attention": ("off", "d", "e", "f"),
        "response": ("off", "g", "h", "i"),
    }
    yield "array", replace(CLASSIFICATION, factors=levels), three_factor_array(levels)
    yield "one seed", replace(CLASSIFICATION, seeds=(4,)), None
    yield "one factor, one seed", replace(CLASSIFICATION, seeds=(4,), factors={"response": ("off", "on")}), None
    yield "three levels", replace(CLASSIFICATION, factors={"f": ("off", "a", "b"), "g": ("off", "on")}), None
    yield "without examples", replace(CLASSIFICATION, unit=""), None


@pytest.mark.parametrize(
    ("declared", "cells"), [shape[1:] for shape in _shapes()], ids=[shape[0] for shape in _shapes()]
)
def test_studies_of_every_shape_have_a_page(declared, cells, tmp_path):
    results = results_of(declared, {}, cells=cells, examples=100)
    if not declared.unit:
        results = [replace(one, examples=None, measures={}) for one in results]
    write_report([(declared, results)], tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert ("main effects hide interactions" in page) == (cells is not None)
    assert ("Lenth" in page) == (len(declared.seeds) == 1)
    assert ("What a run costs" in page) == bool(declared.unit)
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL).lower()
    json.loads((tmp_path / "effects.json").read_text())


MEASURE = """<script>
const pictures = [...document.querySelectorAll('svg')];
const boxes = pictures.map(svg => [...svg.querySelectorAll('text')].map(word => word.getBoundingClientRect()));
const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
  Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.35 * Math.min(a.height, b.height);
let overlaps = 0, outside = 0, small = 99;
pictures.forEach((svg, at) => { const frame = svg.getBoundingClientRect();
  boxes[at].forEach((a, i) => { small = Math.min(small, a.height);
    outside += a.left < frame.left - 2 || a.right > frame.right + 2;
    boxes[at].slice(i + 1).forEach(b => overlaps += over(a, b)); }); });
const found = {width: document.documentElement.scrollWidth, window: innerWidth, overlaps, outside, small};
parent.postMessage(JSON.stringify({pictures: pictures.length, ...found}), '*');
</script>"""


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize("width", [1200, 400])
def test_in_a_browser_no_words_overlap_and_nothing_runs_out_of_the_window(written, tmp_path, width):
    page = (written / "report.html").read_text().replace(NO_REQUESTS, "")  # which forbids the script below
    (tmp_path / "page.html").write_text(page.replace("</body>", MEASURE + "</body>"))
    frame = f"<iframe src=page.html width={width} height=900 style='border:0'></iframe>"  # narrower than windows may be
    listen = "<script>onmessage = event => document.title = event.data</script>"
    (tmp_path / "host.html").write_text(f"<title></title>{listen}{frame}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += ["--virtual-time-budget=5000", "--window-size=1300,1000", "--dump-dom"]
    command = [CHROMIUM, *flags, (tmp_path / "host.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(re.search(r"<title>(.+?)</title>", done.stdout)[1])
    assert found["window"] == width
    assert found["width"] <= width
    assert found["pictures"] == page.count("<svg")
    assert (found["overlaps"], found["outside"]) == (0, 0)
    assert found["small"] >= 7  # pixels, of the smallest words
