"""The page's manners in a real Chromium: narrow and dark windows, hints, two windows, failures; canned experiments."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from learn_stub import PICTURES, Canned, course_in

from forge.core.errors import UserError
from forge.learn.lessons import load_lessons

pytest.importorskip("uvicorn", reason="the page is the extra `learn`")
from page_stub import TOKEN, Served

ALL = list(load_lessons())
NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, a, progress, [role=img]')]
  .filter((one) => !one.hidden && !one.labels?.length && !one.getAttribute('aria-label') && !one.textContent.trim())
  .map((one) => one.outerHTML.slice(0, 80))"""
CONTRAST = """(selector) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  return [...document.querySelectorAll(selector)].filter((one) => one.offsetParent).map((one) => {
    let up = one, back;
    do { back = parse(getComputedStyle(up).backgroundColor); up = up.parentElement; } while (up && back[3] === 0);
    const [a, b] = [light(parse(getComputedStyle(one).color)), light(back)].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), one.className || one.tagName];
  });
}"""


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Served]:
    served = Served(course_in(tmp_path))
    yield served
    served.close()


def address(page: Served) -> str:
    return f"http://{page.host}/?token={TOKEN}"


def canned(page: Served) -> Canned:
    assert isinstance(page.course.runner, Canned)
    return page.course.runner


def with_results(page: Served) -> None:
    """Every lesson open, predicted and run once."""
    page.course.unlock_all()
    for name in ALL:
        page.course.predict(name, 0)
        page.course.experiment(name, {}, lambda event: None)


def test_at_360_pixels_nothing_sticks_out(page: Served, watched: Any) -> None:
    with_results(page)
    window = watched(address(page), viewport={"width": 360, "height": 740})
    views = [
        ("", ".phases"),
        ("gate/1", ".quiz"),
        ("lesson/nothing", ".refusal"),
        *((f"lesson/{name}", ".lesson") for name in ALL),
    ]
    for view, wait in views:
        window.go(view, wait)
        assert not window.sticking_out(), view
        places = window.page.eval_on_selector_all(
            ".picture", "(all) => all.map((one) => one.getBoundingClientRect().x)"
        )
        assert len(set(places)) <= 1, f"pictures stand side by side in {view}"
    assert window.page.locator(".picture").count() == len(PICTURES)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_every_control_has_a_name(page: Served, watched: Any, scheme: str) -> None:
    with_results(page)
    window = watched(address(page), color_scheme=scheme, reduced_motion="reduce")
    paper = window.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (int(paper[4:].split(",")[0]) < 60) == (scheme == "dark")
    assert window.page.evaluate("() => getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    seen = 0
    for view, wait in [("", ".phases"), ("gate/1", ".quiz"), *((f"lesson/{name}", ".lesson") for name in ALL)]:
        window.go(view, wait)
        assert not window.page.evaluate(NAMELESS), view
        ratios = window.page.evaluate(
            CONTRAST, "p, dd, dt, a, li, label span, h1, h2, td, th, .status, .number, .why, button:enabled"
        )
        seen += len(ratios)
        assert [entry for entry in ratios if entry[0] < 4.5] == [], view
    assert seen > 100


def test_hints_come_one_at_a_time_then_the_answer_then_another_question(page: Served, watched: Any) -> None:
    part = page.course.lessons["what-is-ai"].file.check[1]
    assert part.question.kind == "choice"
    wrong = next(place for place, choice in enumerate(part.question.choices) if not choice.right)
    window = watched(address(page))
    window.go("lesson/what-is-ai", ".lesson")
    shown = []
    for _ in range(4):
        window.choose(f"#part-{part.id}", wrong)
        window.activate(f"#part-{part.id} button")
        window.page.wait_for_selector(f"#part-{part.id} .verdict.wrong:focus")
        shown.append(window.page.locator(f"#part-{part.id} .hint").count())
    assert shown == [0, 1, 2, 3]
    assert part.worked[:40] in window.text(f"#part-{part.id} .worked")
    window.reload(".lesson")
    assert window.text(f"#part-{part.id} legend") == part.varied.ask
    assert window.page.locator(f"#part-{part.id} .hint").count() == 3


def test_no_answer_is_not_a_wrong_answer(page: Served, watched: Any) -> None:
    window = watched(address(page))
    window.go("lesson/what-is-ai", ".lesson")
    window.activate("#part-what-changed button")
    assert window.text("#part-what-changed .verdict") == "There is no answer yet."
    window.activate(".prediction button")
    assert "Choose what you expect" in window.text(".prediction .verdict")
    assert page.course.store.read().lesson("what-is-ai").tries == 0


def test_two_windows_stand_on_one_progress(page: Served, watched: Any) -> None:
    first, second = watched(address(page)), watched(address(page))
    first.go("lesson/what-is-ai", ".lesson")
    first.choose(".prediction", 1)
    first.activate(".prediction button")
    first.page.wait_for_selector(".predicted")
    second.go("lesson/what-is-ai", ".predicted")
    second.go("", ".phases")
    with page.course.store.change() as state:
        state.lesson("what-is-ai").finish()
    assert second.page.query_selector("button.locked[data-id=neural-networks]")
    second.page.evaluate("() => dispatchEvent(new Event('focus'))")
    second.page.wait_for_selector("a.node[data-id=neural-networks]")


def test_an_experiment_that_fails_says_so_and_can_be_run_again(page: Served, watched: Any) -> None:
    window = watched(address(page))
    window.go("lesson/what-is-ai", ".lesson")
    window.choose(".prediction", 0)
    window.activate(".prediction button")
    window.page.wait_for_selector(".predicted")
    canned(page).fail = UserError("the experiment's process died twice; your progress is safe")
    window.activate(".experiment .go button")
    window.page.wait_for_selector(".state.bad")
    assert "your progress is safe" in window.text(".state")
    window.run()
    assert window.page.locator(".picture").count() == len(PICTURES)


def test_a_reload_in_the_middle_of_an_experiment_goes_on_with_it(page: Served, watched: Any) -> None:
    page.course.predict("what-is-ai", 0)
    window = watched(address(page))
    canned(page).hold = threading.Event()
    window.go("lesson/what-is-ai", ".lesson")
    window.activate(".experiment .go button")
    window.page.wait_for_selector("progress:visible")
    window.reload("progress:visible")
    assert window.page.query_selector(".experiment .go button:disabled")
    canned(page).hold.set()  # type: ignore[union-attr]
    window.page.wait_for_selector(".pictures .picture")
    assert len(canned(page).asked) == 1


def test_a_server_that_went_away_is_told_in_a_line(page: Served, watched: Any) -> None:
    window = watched(address(page))
    window.go("lesson/what-is-ai", ".lesson")
    page.close()
    window.choose(".prediction", 0)
    window.activate(".prediction button")
    window.page.wait_for_selector(".prediction .verdict:not(:empty)")
    assert "still running" in window.text(".prediction .verdict")
    assert all("ERR_CONNECTION_REFUSED" in error for error in window.errors)
    window.errors.clear()


def test_the_words_met_so_far_can_be_looked_up(page: Served, watched: Any) -> None:
    window = watched(address(page))
    assert not window.page.query_selector(".words")
    with page.course.store.change() as state:
        state.lesson("what-is-ai").finish()
    window.reload(".phases")
    window.activate(".words summary")
    for term in page.course.lessons["what-is-ai"].file.terms:
        assert term in window.text(".words dl")
