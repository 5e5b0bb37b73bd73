"""Draws the screenshots of the lessons: map and lessons as somebody sees them who stands on FOLDER's progress.

python docs/images/make_learn.py FOLDER     (the folder that holds .forge; needs playwright and a Chromium)
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
SHOWN = {"map": ("", ".phases")} | {
    name: (f"lesson/{name}", ".lesson") for name in ("attention", "documents", "rewards", "outputs")
}


def main() -> None:
    """Serve the folder's page, and look at it."""
    page = subprocess.Popen(  # noqa: S603  this program, in a folder that its user named
        [sys.executable, str(HERE.parents[1] / "forge.py"), "learn", "--no-browser"],
        cwd=sys.argv[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert page.stdout
    found = re.search(r"http://\S+", page.stdout.readline())
    assert found
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            window = browser.new_page(viewport={"width": 1280, "height": 900})
            window.goto(found[0])
            for name, (view, wait) in SHOWN.items():
                window.goto(f"{found[0].partition('?')[0]}#/{view}")
                window.wait_for_selector(wait)
                if view:
                    window.evaluate("() => document.querySelector('.experiment').scrollIntoView({behavior: 'instant'})")
                window.wait_for_timeout(300)
                window.screenshot(path=HERE / f"learn_{name}.png", full_page=not view)
            browser.close()
    finally:
        page.send_signal(signal.SIGINT)
        page.wait(20)


main()
