"""Chromium, and what it makes of a page: what it complains about, and what it shows.

It is the Chromium of the system. Without one its tests are skipped, unless MIRROR_TEST_BROWSER is
set: then they fail.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import moved_clock

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
PRINTED = 703
"""Pixels between the margins of a sheet of A4."""

TOLERANCE = 1
"""Pixels, as boxes end between them."""

_CUT_OFF = """tolerance => {
  const found = [], right = innerWidth + tolerance;
  const name = (one, what) => found.push(
    `${one.tagName} ${one.id || one.getAttribute("class") || ""} ${what}: ` +
    (one.textContent || "").trim().slice(0, 60));
  if (document.documentElement.scrollWidth > innerWidth) {
    found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  }
  for (const one of document.body.querySelectorAll("*")) {
    if (!one.checkVisibility()) continue;
    const box = one.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.left < -tolerance || box.right > right) name(one, "sticks out");
    const hides = getComputedStyle(one).overflowX !== "visible" && one.clientWidth;
    if (hides && one.scrollWidth > one.clientWidth + tolerance) name(one, "hides a part of itself");
    if (one.matches("svg text")) {
      const chart = one.closest("svg").getBoundingClientRect();
      const inside = box.left >= chart.left - tolerance && box.right <= chart.right + tolerance &&
        box.top >= chart.top - tolerance && box.bottom <= chart.bottom + tolerance;
      if (!inside) name(one, "is not in its chart");
    }
  }
  return found;
}"""

_COLOURS = """() => {
  const found = [];
  for (const one of document.body.querySelectorAll("*")) {
    const says = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!says || !one.checkVisibility()) continue;
    let behind = one, paper;
    do paper = getComputedStyle(behind).backgroundColor;
    while (paper === "rgba(0, 0, 0, 0)" && (behind = behind.parentElement));
    const style = getComputedStyle(one);
    found.push([one.matches("svg *") ? style.fill : style.color, paper]);
  }
  return [...new Set(found.map(String))];
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; without one, the test is skipped or fails."""
    moved_clock.skip_what_fails("Chromium")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    missing = [] if program else ["chromium"]
    if importlib.util.find_spec("playwright") is None:
        missing.append("playwright (pip)")
    if missing:
        reason = f"Chromium is not tested: install {', '.join(missing)}"
        if os.environ.get("MIRROR_TEST_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    options = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Shown:
    """A page in a browser, which notes what it should not do.

    Args:
        browser: shows it.
        file: holds it.

    Attributes:
        tab: where it is shown.
        noted: complaints, dialogs, and what else it asked for.
    """

    def __init__(self, browser: Browser, file: Path) -> None:
        self.tab: Page = browser.new_page()
        self.noted: list[str] = []
        self._address = file.absolute().as_uri()
        self.tab.on("console", lambda said: self.noted.append(f"{said.type}: {said.text}"))
        self.tab.on("pageerror", lambda error: self.noted.append(f"error: {error}"))
        self.tab.on("dialog", self._note_dialog)
        self.tab.on("request", self._note_request)
        self.tab.goto(self._address)

    def _note_dialog(self, dialog: Dialog) -> None:
        self.noted.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, asked: Request) -> None:
        if asked.url != self._address and not asked.url.startswith("data:"):
            self.noted.append(f"asked for {asked.url}")

    def look(self, width: int, *, scheme: Any = "light", medium: Any = "screen") -> None:
        """Look at it on another screen, or on paper."""
        self.tab.set_viewport_size({"width": width, "height": 800})
        self.tab.emulate_media(color_scheme=scheme, media=medium)

    @property
    def cut_off(self) -> list[str]:
        """What cannot be seen whole without scrolling to the side."""
        found: list[str] = self.tab.evaluate(_CUT_OFF, TOLERANCE)
        return found

    def read(self, selector: str) -> str:
        """What can be read in the only such element, with single spaces."""
        return " ".join(self.tab.locator(selector).inner_text().split())

    def colour(self, selector: str, name: str) -> str:
        """A colour of the first such element that can be seen, as it is computed."""
        found: str = self.tab.locator(f"{selector} >> visible=true").first.evaluate(
            "(one, name) => getComputedStyle(one)[name]", name
        )
        return found

    @property
    def contrasts(self) -> dict[str, float]:
        """How much texts stand out from what is behind them, by both colours."""
        pairs: list[str] = self.tab.evaluate(_COLOURS)
        return {pair: contrast(pair) for pair in pairs}


@contextmanager
def shown(browser: Browser, file: Path) -> Iterator[Shown]:
    """Show a page for as long as the context lasts."""
    page = Shown(browser, file)
    try:
        yield page
    finally:
        page.tab.close()


def contrast(colours: str) -> float:
    """The contrast of two opaque colours, as WCAG 2 defines it."""
    assert "rgba" not in colours, colours
    lights = sorted(_luminance(found) for found in re.findall(r"rgb\((.*?)\)", colours))
    assert len(lights) == 2, colours
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.split(",")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
