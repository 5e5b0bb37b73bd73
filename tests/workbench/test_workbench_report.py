"""The workbench's page: every section in its order, harmless, small, the same for the same findings."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import toy_findings as toy

from forge.core.errors import UserError
from forge.workbench.findings import Figure, Findings, read_findings
from forge.workbench.page.examples import parts
from forge.workbench.report import MOST_BYTES, render, render_comparison, write_comparison, write_report

EVIL = "</script><script>alert(1)</script>&\"'$x$"
SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.json"))
ORDER = ("How good", "How alike they are inside", "What can be read", "Who says what", "know when they are wrong",
         "Kinds of examples", "Examples", "To look up")  # fmt: skip


class _Page(HTMLParser):
    """Tags, what is loaded, headings, and the data of the table of examples."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.loads, self.headings, self.data, self._in = [], [], [], "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for key, value in attrs if key.split(":")[-1] in {"src", "href", "action", "data"}]
        self._in = dict(attrs).get("id") or tag

    def handle_data(self, data):
        if self._in in {"h1", "h2", "h3"}:
            self.headings.append(data)
        if self._in == "examples":
            self.data += data

    def handle_endtag(self, tag):
        self._in = ""


@pytest.fixture(scope="module")
def classified():
    return toy.classified()


@pytest.fixture(scope="module")
def written():
    return toy.written()


@pytest.fixture(scope="module")
def page(classified):
    return render(classified)


def test_it_is_one_small_file_that_loads_nothing(page):
    told = _Page(page)
    assert len(page.encode()) < MOST_BYTES
    assert not set(told.tags) & {"link", "iframe", "img", "object", "embed", "base"}
    assert told.tags.count("script") == 2
    assert all(value.startswith("#") for value in told.loads)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))
    assert set(re.findall(r"https?://[^\s\"'<>]+", page)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" in page


def test_the_script_is_short():
    assert len(Path("forge/workbench/page/report.js").read_text().splitlines()) < 150


def test_equal_findings_give_equal_bytes_also_after_a_file(classified, page, tmp_path):
    again = Findings.from_json(json.loads(json.dumps(classified.as_json())))
    write_report(again, tmp_path / "deep" / "report.html")
    assert (tmp_path / "deep" / "report.html").read_text() == page


def test_the_verdict_comes_first_and_sections_in_the_order_of_use(classified, page):
    verdict = page.index("class=verdict")
    assert verdict < page.index("<table")
    assert classified.verdicts[0].sentence[:60] in page
    places = [next(at for at, one in enumerate(_Page(page).headings) if words in one) for words in ORDER]
    assert places == sorted(places)
    two = re.findall(r"<p class=verdict>(.*?)</p>", page)
    assert len(two) == 2
    assert "CKA" in two[0]
    assert "agrees with" in two[1]


def test_figures_of_the_table_are_those_of_the_findings(classified, page):
    part = classified.disagreement.classes[0]
    row = re.search(r"<tr><td>40_far</td>(.*?)</tr>", page)[1]
    low, high = part.agreement.interval
    assert f"{100 * part.agreement.value:.1f} ({100 * low:.1f} to {100 * high:.1f})" in row
    assert f"<td>{part.kappa:.2f}</td>" in row
    assert f"<td>{100 * part.expected_agreement:.1f}</td>" in row


def test_each_cell_of_a_map_says_value_interval_chance_and_rows(classified, page):
    one = classified.alignment[0]
    told = f"layer 4 × layer 2: CKA {one.cka_TS[4][2]:.3f}, 95 % {one.low_TS[4][2]:.3f} to {one.high_TS[4][2]:.3f}; "
    told += f"by chance below {one.null.upper_TS[4][2]:.3f}, p "
    assert f'title="{told}' in page
    maps = re.findall(r'<table class=heat aria-label="(.*?)">', page)
    assert len([name for name in maps if "40_far" in name]) == 4  # three measures, and the answers
    assert 'title="layer 4 × layer 2: Procrustes' in page


def test_what_is_unknown_has_no_shade_and_no_figure(classified):
    one = classified.alignment[0]

    def without_last(grid):
        return (*grid[:-1], (None,) * len(grid[-1]))

    nothing = tuple((None,) * len(row) for row in one.cka_TS)
    grids = {name: without_last(getattr(one, name)) for name in ("cka_TS", "low_TS", "high_TS", "standardised_TS")}
    bare = replace(one, **grids, procrustes_TS=nothing, procrustes_floor_TS=nothing)
    told = render(replace(classified, alignment=(bare,)))
    assert '<td title="layer 4 × layer 0: CKA –, 95 % –;' in told
    assert "Procrustes</label>" not in told
    assert "nan" not in re.sub(r"<svg.*?</svg>|<script.*?</script>", "", told, flags=re.DOTALL).lower()
    render(replace(classified, alignment=(replace(bare, cka_TS=nothing),)))


def test_every_picture_has_a_name_and_a_table_below(page, written):
    for told in (page, render(written)):
        pictures = re.findall(r"<svg [^>]*>", told)
        assert all('role="img" aria-label="' in one for one in pictures)
        for after in told.split("</svg>")[1:]:
            assert "<table" in after.split("<svg")[0]
        ids = re.findall(r"\bid=[\"']?([^\"'\s>]+)", re.sub(r"<script.*?</script>", "", told, flags=re.DOTALL))
        assert len(ids) == len(set(ids))


def test_data_of_examples_has_every_row_and_answer(classified, page):
    data = json.loads(_Page(page).data)
    names = [column["name"] for column in data["columns"]]
    assert len(data["rows"]) == len(classified.examples)
    first, row = classified.examples[0], data["rows"][0]
    assert row[names.index("example")] == first.id
    for key, name in (("teacher", "the teacher"), ("student", "40_far")):
        column = data["columns"][names.index(name)]
        assert column["values"][row[names.index(name)]] == first.said[key]
        assert row[column["sure"]] == pytest.approx(first.confidence[key], abs=1e-4)
        assert names[column["truth"]] == "truth"
    right = data["columns"][names.index("who is right")]
    assert set(right["values"]) <= {
        "both right",
        "only the teacher",
        "only 40_far",
        "both wrong, same",
        "both wrong, apart",
    }
    counts = [right["values"][one[names.index("who is right")]] for one in data["rows"]]
    assert counts.count("both right") == classified.disagreement.classes[0].both_right
    assert counts.count("only 40_far") == classified.disagreement.classes[0].other_only_right


def test_all_text_is_text(classified, written):
    def evil(one):
        inputs = dict.fromkeys(one.inputs, EVIL)
        return replace(
            one, id=EVIL, inputs=inputs, said=dict.fromkeys(one.said, EVIL), gold=EVIL, tags=(f"{EVIL}: {EVIL}",)
        )

    for found in (classified, written):
        subjects = tuple(
            replace(one, name=EVIL + one.key, architecture=EVIL, path=EVIL + one.key) for one in found.subjects
        )
        verdicts = tuple(replace(one, sentence=EVIL) for one in found.verdicts)
        probing = tuple(replace(one, label=EVIL, about=EVIL) for one in found.probing)
        alignment = tuple(
            replace(one, stack=EVIL, reference_layers=tuple(f"{EVIL}.{at}" for at in range(5)))
            for one in found.alignment
        )
        bad = replace(found, title=EVIL, subjects=subjects, verdicts=verdicts, probing=probing, alignment=alignment,
                      examples=tuple(map(evil, found.examples)))  # fmt: skip
        told = render(bad)
        assert told.count("<script") == 2
        assert _Page(told).tags.count("script") == 2
        assert json.loads(_Page(told).data)["rows"][0][0] == EVIL


def test_long_texts_leave_out_examples_and_never_pass_the_limit(written):
    long = tuple(replace(one, inputs={"source": "é<" * 20_000}) for one in written.examples)
    told = render(replace(written, examples=long))
    assert 0.7 * MOST_BYTES < len(told.encode()) <= MOST_BYTES
    data = json.loads(_Page(told).data)
    assert 0 < len(data["rows"]) < len(long)
    assert f"{len(data['rows']):,} of {written.rows.used:,} are here, all of them in examples.jsonl" in told


def test_texts_are_cut_where_they_differ():
    assert parts("le chat noir dort", "le chien noir dort") == ["le ", "chat", " noir dort"]
    assert parts("a b", "a b") == ["a b"]
    assert parts("x a", "a") == ["", "x", " a"]
    assert parts("", "a") == [""]
    assert parts("a  b c", "") == ["", "a  b c"]
    assert "".join(parts("one\ntwo  three ", "one 2 three")) == "one\ntwo  three"
    assert parts("B4zS (357).", "BAzS (3571.", by_character=True) == ["B", "4", "zS (357", ")", "."]


def test_models_that_write_show_where_texts_part(written):
    told = render(written)
    part = written.disagreement.texts[0]
    for words in (
        "Where texts part",
        "Share of texts still those of the teacher",
        "same tokens",
        "on reference",
        "BLEU against it",
    ):
        assert words in told
    assert f"<td>{100 * part.exact:.1f}</td>" in told
    data = json.loads(_Page(told).data)
    column = next(at for at, one in enumerate(data["columns"]) if one["name"] == "40_far")
    assert data["columns"][column]["kind"] == "diff"
    said = {one.id: one.said["student"] for one in written.examples}
    assert all("".join(row[column]) == said[row[0]] for row in data["rows"])
    assert any(len(row[column]) > 1 for row in data["rows"])


def test_pages_have_error_rates_in_percent():
    found = toy.written("ocr", words=20)
    value = found.subject("student").figures["cer"]
    told = render(found)
    assert "CER, %" in told
    assert f"<td>{100 * value:.1f}</td>" in told


def test_names_of_pages_are_not_told_twice():
    found = toy.written("ocr", rows=60, words=20)
    named = tuple(replace(one, inputs={"page": one.id}) for one in found.examples)
    names = [column["name"] for column in json.loads(_Page(render(replace(found, examples=named))).data)["columns"]]
    assert names[:2] == ["example", "truth"]


def test_a_single_model_has_a_page(classified):
    alone = replace(
        classified, subjects=classified.subjects[1:2], alignment=(), nearer=(), verdicts=(),
        probing=tuple(replace(one, curves=one.curves[1:2], differences=()) for one in classified.probing),
        disagreement=replace(classified.disagreement, classes=(), calibration=(), compared=()),
        examples=tuple(replace(one, apart=None, attention=()) for one in classified.examples),
    )  # fmt: skip
    told = render(alone)
    assert "How alike they are inside" not in told
    assert "40_far" in told
    assert "Examples" in told
    render(replace(alone, probing=(), examples=()))


def test_intervals_of_few_splits_are_no_bands_and_shares_stay_shares(classified):
    one = classified.probing[0]
    point = replace(one.curves[0].layers[0], accuracy=Figure(0.6, (-1.4, 2.6)))
    curve = replace(one.curves[0], layers=(point, *one.curves[0].layers[1:]))
    quick = replace(one, splits=2, curves=(curve, *one.curves[1:]))
    told = render(replace(classified, probing=(quick,), quick=True))
    assert "Two splits say too little for bands." in told
    assert "0.0 to 100.0" in told
    assert "140" not in re.sub(r"<svg.*?</svg>|<script.*?</script>", "", told, flags=re.DOTALL)


@pytest.mark.parametrize("path", SAMPLES, ids=[path.stem for path in SAMPLES])
def test_real_findings_have_a_page(path):
    told = render(read_findings(path))
    assert len(told.encode()) < MOST_BYTES
    assert "nan" not in re.sub(r"<svg.*?</svg>|<script.*?</script>", "", told, flags=re.DOTALL).lower()


def test_a_report_is_made_without_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from forge.workbench.findings import read_findings; "
        "from forge.workbench.report import write_report; "
        "write_report(read_findings(Path(sys.argv[1])), Path(sys.argv[2])); "
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(SAMPLES[0]), str(tmp_path / "r.html")], check=True, timeout=300)
    assert (tmp_path / "r.html").is_file()


# Several looks


@pytest.fixture(scope="module")
def other():
    return toy.classified(who="student_2")


def test_looks_lie_beside_each_other_each_model_once(classified, other, tmp_path):
    write_comparison([classified, other], tmp_path / "compare.html")
    told = (tmp_path / "compare.html").read_text()
    assert told == render_comparison([classified, other])
    assert "<h1>40_far beside 20_kd</h1>" in told
    table = told[
        told.index("How good") : told.index("Jensen-Shannon is how") if "Jensen-Shannon is how" in told else None
    ]
    first = re.search(r"<table>(.*?)</table>", table)[1]
    names = re.findall(r"<tr><td>(.*?)</td>", first)
    assert names == ["the teacher (reference)", "40_far", "20_kd", "00_sft", "untrained student"]
    assert told.index("Who differs") < told.index("How alike they are inside")
    overlaid = re.search(r'<svg [^>]*aria-label="Accuracy of probes.*?</svg>', told, re.DOTALL)[0]
    assert all(name in overlaid for name in ("40_far", "20_kd", "the teacher", "00_sft", "words alone"))
    diagonal = re.search(r'<svg [^>]*aria-label="CKA with the teacher.*?</svg>', told, re.DOTALL)[0]
    assert all(name in diagonal for name in ("40_far", "20_kd", "00_sft"))


def test_who_differs_is_counted_on_the_same_rows(classified, other):
    told = render_comparison([classified, other])
    theirs = {one.id: one for one in other.examples}
    same = [one.said["student"] == theirs[one.id].said["student"] for one in classified.examples]
    share = 100 * sum(same) / len(same)
    assert f"40_far, 20_kd: {share:.1f} % the same" in told
    differ = [
        (one.said["student"] == one.gold) - (theirs[one.id].said["student"] == one.gold) for one in classified.examples
    ]
    size = f"{abs(100 * sum(differ) / len(differ)):.1f}"
    assert re.search(rf"<td>40_far − 20_kd</td><td>[+−]?{re.escape(size)} \(", told)
    data = json.loads(_Page(told).data)
    names = [column["name"] for column in data["columns"]]
    column = names.index("students")
    values = [data["columns"][column]["values"][row[column]] for row in data["rows"]]
    assert values.count("say the same") == sum(same)
    assert values == sorted(values)  # those that differ first


def test_looks_at_other_rows_say_so_and_compare_no_examples(classified, other):
    moved = replace(other, rows=replace(other.rows, fingerprint="1" * 16))
    told = render_comparison([classified, moved])
    assert "The looks are at different rows" in told
    assert "Who differs" not in told
    assert not _Page(told).data


def test_students_that_are_called_the_same_are_told_apart(classified, other):
    both = [replace(classified, title="far"), replace(other, title="far")]
    told = render_comparison(both)
    assert "far (1)" in told
    assert "far (2)" in told


def test_looks_at_several_tasks_are_refused(classified, written):
    with pytest.raises(UserError, match="compare looks at one task"):
        render_comparison([classified, written])
    with pytest.raises(UserError, match="two looks or more"):
        render_comparison([classified])


def test_one_look_at_several_students_says_who_differs():
    found = toy.classified(keys=("teacher", "student", "student_2", "baseline"), rows=120)
    told = render(found)
    assert told.index("Who differs") < told.index("How alike they are inside")
    assert "40_far − 20_kd" in told
    assert "students" in [column["name"] for column in json.loads(_Page(told).data)["columns"]]
    without_teacher = toy.classified(keys=("student", "student_2"), rows=120)
    assert without_teacher.reference == "student"
    assert "40_far (reference)" in render(without_teacher)


def test_writers_are_compared_too(written):
    told = render_comparison([written, toy.written(who="student_2")])
    survival = re.search(r'<svg [^>]*aria-label="Share of texts still.*?</svg>', told, re.DOTALL)[0]
    assert "40_far" in survival
    assert "20_kd" in survival
    assert "Who differs" in told
