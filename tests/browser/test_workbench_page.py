"""The workbench's page in a real Chromium: filters, order, keys, narrow and dark windows, paper; no request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import toy_findings as toy

from forge.workbench.findings import Findings
from forge.workbench.report import write_comparison, write_report

Open = Callable[..., Any]
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def found() -> Findings:
    return toy.classified()


@pytest.fixture(scope="module")
def folder(found: Findings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workbench")
    write_report(found, folder / "classes.html")
    write_report(toy.written(), folder / "texts.html")
    write_comparison([found, toy.classified(who="student_2")], folder / "several.html")
    return folder


@pytest.fixture
def window(chromium: Any, folder: Path) -> Iterator[Open]:
    """Opens a page; when the test ends, what it said on its console and asked for is looked at."""
    contexts, errors, requests = [], [], []

    def open_window(name: str = "classes.html", asked: str = "", **settings: Any) -> Any:
        contexts.append(chromium.new_context(**settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url.partition("#")[0]))
        page.goto((folder / name).as_uri() + asked)
        page.wait_for_selector("#example-table tbody tr")
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not errors
    assert not [url for url in requests if not url.startswith(folder.as_uri())]
    assert len(requests) == len(contexts)


def cells(page: Any, heading: str) -> list[str]:
    return page.eval_on_selector_all(
        f'#example-table td[data-name="{heading}"]', "all => all.map(one => one.innerText)"
    )


def label(page: Any, words: str) -> Any:
    return page.get_by_label(words, exact=True).first


def test_a_hundred_rows_at_a_time(window: Open, found: Findings) -> None:
    page = window()
    assert len(cells(page, "example")) == 100
    assert page.inner_text("#count") == f"100 of {len(found.examples)} that match are shown."
    page.click("#more")
    page.click("#more")
    assert len(cells(page, "example")) == len(found.examples) == 240
    assert not page.is_visible("#more")


def test_filters_hold_together_and_stand_in_the_address(window: Open, found: Findings) -> None:
    page = window()
    label(page, "truth").select_option("neutral")
    label(page, "who is right").select_option("only the teacher")
    wanted = [
        one.id for one in found.examples
        if one.gold == one.said["teacher"] == "neutral" and one.said["student"] != "neutral"
    ]  # fmt: skip
    assert cells(page, "example") == wanted
    assert wanted
    asked = re.search("#.*", page.url)[0]
    assert "neutral" in asked
    assert "only" in asked
    again = window("classes.html", asked)  # a colleague opens the link
    assert cells(again, "example") == wanted
    assert label(again, "truth").input_value() == "neutral"
    again.get_by_role("button", name="Show all").click()
    assert len(cells(again, "example")) == 100
    assert "neutral" not in again.url


def test_words_are_searched_in_texts(window: Open, found: Findings) -> None:
    page = window()
    label(page, "text has").fill("NEVER SLEEPING")
    wanted = [one.id for one in found.examples if any("never sleeping" in text for text in one.inputs.values())]
    assert cells(page, "example") == wanted
    assert wanted
    label(page, "text has").fill(EVIL)
    assert page.inner_text("#count").startswith("0 of 0")


def test_headings_sort_and_say_so(window: Open, found: Findings) -> None:
    page = window()
    head = page.locator("#example-table th", has_text="apart")
    page.get_by_role("button", name="apart", exact=True).click()
    largest = [float(one) for one in cells(page, "apart")]
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="apart", exact=True).click()
    smallest = [float(one) for one in cells(page, "apart")]
    assert head.get_attribute("aria-sort") == "ascending"
    assert (largest, smallest) == (sorted(largest, reverse=True), sorted(smallest))
    assert largest[0] == pytest.approx(max(one.apart for one in found.examples), abs=1e-3)
    label(page, "in order of").select_option(label="40_far, how sure")
    sure = [float(re.search(r"\d\.\d\d", one)[0]) for one in cells(page, "40_far")]
    assert sure == sorted(sure, reverse=True)
    label(page, "falling").uncheck()
    sure = [float(re.search(r"\d\.\d\d", one)[0]) for one in cells(page, "40_far")]
    assert sure == sorted(sure)


def test_wrong_answers_are_marked(window: Open, found: Findings) -> None:
    page = window()
    marked = [one.endswith("✗") for one in cells(page, "40_far")]
    assert marked == [one.said["student"] != one.gold for one in found.examples[:100]]


def test_maps_are_walked_with_keys_and_say_their_figures(window: Open) -> None:
    page = window()
    first = page.locator(".in-cka table.heat").first
    assert first.locator("td[tabindex='0']").count() == 1
    first.locator("td[tabindex='0']").focus()
    readout = page.locator(".switch .readout")
    assert readout.inner_text().startswith("layer 0 × layer 0: CKA ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert readout.inner_text().startswith("layer 1 × layer 1: CKA ")
    assert "by chance below" in readout.inner_text()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")  # there is no more
    assert readout.inner_text().startswith("layer 0 × layer 1: CKA ")
    first.locator("tr").nth(5).locator("td").last.hover()
    assert readout.inner_text().startswith("layer 4 × layer 2: CKA ")


def test_measures_are_switched_also_without_a_script(window: Open, chromium: Any, folder: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "classes.html").as_uri())
    assert page.is_visible("noscript")
    shown = [page.locator(f".in-{name}").is_visible() for name in ("cka", "standardised", "procrustes")]
    label(page, "Procrustes").check()
    after = [page.locator(f".in-{name}").is_visible() for name in ("cka", "standardised", "procrustes")]
    context.close()
    assert (shown, after) == ([True, False, False], [False, False, True])


def test_attention_is_drawn_when_it_is_opened(window: Open, found: Findings) -> None:
    page = window()
    one = found.examples[0].attention[0]
    box = page.locator("#example-table details").first
    assert box.locator("tr").count() == 0
    box.locator("summary").click()
    page.wait_for_function("document.querySelectorAll('#example-table details table tr').length")
    assert box.locator("tr").count() == len(one.tokens)
    told = box.locator("tr").nth(1).locator("td").nth(2).get_attribute("title")
    assert told == f"{one.tokens[1]} → {one.tokens[2]}: {one.weights[1][2] / 255:.2f}"


def test_differing_words_are_marked(window: Open) -> None:
    page = window("texts.html")
    marks = page.eval_on_selector_all("#example-table mark", "all => all.map(one => one.textContent)")
    assert len(marks) > 100
    assert all(one.strip() == one != "" for one in marks)


@pytest.mark.parametrize("name", ["classes.html", "texts.html", "several.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_never_scrolls_sideways(window: Open, name: str, scheme: str) -> None:
    page = window(name, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.evaluate("() => document.querySelectorAll('details').forEach(one => one.open = true)")
    page.wait_for_timeout(200)
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 360
    contrast, where = page.evaluate(CONTRAST)
    assert contrast >= 4.5, where  # WCAG AA, of what is read


CONTRAST = """() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const part = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(parse(getComputedStyle(at).backgroundColor));
      if (layers.at(-1).length < 4) break;  // it has no transparency
    }
    const over = (under, [r, g, b, a = 1]) => [r, g, b].map((c, n) => a * c + (1 - a) * under[n]);
    return layers.reverse().reduce(over, []);
  };
  let least = [21, ''];
  for (const one of document.querySelectorAll('p, td, th, h1, h2, h3, li, small, mark, summary, label, figcaption')) {
    if (!one.innerText || !one.offsetParent) continue;
    const [dark, bright] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((a, b) => a - b);
    const contrast = (bright + 0.05) / (dark + 0.05);
    if (contrast < least[0]) least = [contrast, one.outerHTML.slice(0, 80)];
  }
  return least;
}"""


def test_words_of_pictures_neither_overlap_nor_run_out(window: Open) -> None:
    page = window("several.html")
    told = page.evaluate(
        """() => [...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width).map(svg => {
          const frame = svg.getBoundingClientRect();
          const boxes = [...svg.querySelectorAll('text')].map(word => word.getBoundingClientRect());
          const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.35 * Math.min(a.height, b.height);
          return { outside: boxes.filter(a => a.left < frame.left - 2 || a.right > frame.right + 2).length,
            overlaps: boxes.filter((a, i) => boxes.slice(i + 1).some(b => over(a, b))).length }; })"""
    )
    assert len(told) >= 4
    assert all(one == {"outside": 0, "overlaps": 0} for one in told)


def test_it_prints(window: Open) -> None:
    page = window()
    page.emulate_media(media="print")
    assert not page.is_visible("#filters")
    assert not page.is_visible(".switch input")
    assert page.is_visible(".in-cka")
    assert page.pdf().startswith(b"%PDF")
