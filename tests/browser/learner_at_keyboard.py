"""A learner in a browser who has a keyboard and nothing else, and a window that notes what should not happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from forge.learn.lessons import Lesson, Slider
from forge.learn.questions import Value

MOST_TABS = 150
WIDER = """() => {
  const wide = document.documentElement.clientWidth;
  const inside = (one) => { for (let up = one.parentElement; up; up = up.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(up).overflowX)) return true; return false; };
  return [...document.querySelectorAll('body *')].filter((one) => !one.closest('svg') && !inside(one)
    && one.getBoundingClientRect().width && one.getBoundingClientRect().right > wide + 1 && !one.matches('.skip'))
    .map((one) => one.tagName + '.' + one.className);
}"""
RUN_MS = 400_000  # an experiment on a busy machine


class Watched:
    """One browser window on the page."""

    def __init__(self, context: Any, address: str) -> None:
        self.context, self.base = context, address.partition("?")[0]
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._look)
        self.page.goto(address)
        self.page.wait_for_selector(".phases")
        assert "token" not in self.page.url

    def go(self, view: str, wait: str) -> None:
        """Type an address, as one does with a bookmark, and wait until what was there before has made place."""
        address = f"{self.base}#/{view}"
        if self.page.url != address:
            self.page.evaluate("() => document.querySelectorAll('#main > *').forEach((one) => one.dataset.left = '')")
        self.page.goto(address)
        self.page.wait_for_selector("#main > *:not([data-left])")
        self.page.wait_for_selector(wait)

    def reload(self, wait: str) -> None:
        self.page.reload()
        self.page.wait_for_selector(wait)

    def tab_to(self, selector: str) -> None:
        """Press Tab until something is reached; it must be reachable."""
        for _ in range(MOST_TABS):
            if self.page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"no Tab leads to {selector}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def activate(self, selector: str) -> None:
        self.tab_to(selector)
        self.press("Enter")

    def choose(self, group: str, place: int) -> None:
        """One of a group of radio buttons: Tab leads into the group, arrows through it."""
        self.tab_to(f"{group} input[type=radio]")
        at = self.page.evaluate(
            "() => [...document.getElementsByName(document.activeElement.name)].indexOf(document.activeElement)"
        )
        self.press("Space", *["ArrowDown" if place > at else "ArrowUp"] * abs(place - at))
        chosen = self.page.eval_on_selector_all(
            f"{group} input[type=radio]", "(all) => all.findIndex((one) => one.checked)"
        )
        focus = self.page.evaluate("() => document.activeElement.outerHTML.slice(0, 80)")
        assert chosen == place, f"{group}: began at {at}, the focus is on {focus}"

    def write(self, selector: str, text: str) -> None:
        self.tab_to(selector)
        self.press("Control+A")
        self.page.keyboard.type(text)

    def set_controls(self, lesson: Lesson, values: Mapping[str, Value]) -> None:
        """Every control of an experiment, by keys alone."""
        for control in lesson.file.controls:
            field, wanted = f"#control-{control.name}", values.get(control.name, control.start)
            if control.kind == "words":
                self.write(field, str(wanted))
            elif control.kind == "pick":
                self.tab_to(field)
                at = self.page.eval_on_selector(field, "(one) => one.selectedIndex")
                steps = control.options.index(str(wanted)) - at
                self.press(*["ArrowDown" if steps > 0 else "ArrowUp"] * abs(steps))
            else:
                self._slide(control, field, wanted)
            shown = self.page.input_value(field)
            assert float(shown) == float(wanted) if control.kind == "slider" else shown == str(wanted)

    def _slide(self, control: Slider, field: str, wanted: Value) -> None:
        self.tab_to(field)
        self.press("Home", *["ArrowRight"] * round((float(wanted) - control.min) / control.step))

    def run(self) -> None:
        """Press Run and wait for the end; the picture is drawn while it goes."""
        self.activate(".experiment .go button")
        self.page.wait_for_selector(".experiment .go button:disabled")
        self.page.wait_for_selector(".experiment .go button:not(:disabled)", timeout=RUN_MS)
        assert not self.page.query_selector(".state.bad"), self.page.inner_text(".state")

    def sticking_out(self) -> list[str]:
        """What is wider than the window and cannot be scrolled by itself."""
        whole = self.page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return [*self.page.evaluate(WIDER), *(["the page"] if whole > 0 else [])]

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def _note(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _look(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.base).netloc:
            self.foreign.append(request.url)
