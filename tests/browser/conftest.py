"""A real Chromium, driven through Playwright; where either is missing, these tests skip themselves and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from learner_at_keyboard import Watched

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright (the extra `test`)")
    pytest.importorskip("uvicorn", reason="the page is the extra `learn`")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs a Chromium on the PATH: apt-get install chromium")
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])  # as root there is no sandbox
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Any) -> Iterator[Any]:
    """Makes windows whose errors and requests are looked at when the test ends."""
    made: list[Watched] = []

    def open_window(address: str, **settings: Any) -> Watched:
        made.append(Watched(chromium.new_context(**settings), address))
        return made[-1]

    yield open_window
    for window in made:
        window.context.close()
        assert not window.errors
        assert not window.foreign
