"""Pages in the Chromium of the system.

Without one its tests are skipped, or fail if MIRROR_TEST_BROWSER is set.
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
    from playwright.sync_api import Browser, Dialog, Locator, Page, Request

_NAMES = ("chromium", "chromium-browser", "google-chrome")
PAPER_WIDTH = 703
"""Pixels between the margins of A4."""

TOLERANCE = 1
"""Pixels; boxes end between pixels."""

_FIND_CUT_OFF = """tolerance => {
  const problems = [], right = innerWidth + tolerance;
  const report = (element, problem) => problems.push(
    `${element.tagName} ${element.id || element.getAttribute("class") || ""} ${problem}: ` +
    (element.textContent || "").trim().slice(0, 60));
  if (document.documentElement.scrollWidth > innerWidth) {
    problems.push(`the page is ${document.documentElement.scrollWidth} wide`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility()) continue;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) continue;
    if (box.left < -tolerance || box.right > right) report(element, "sticks out");
    const hides = getComputedStyle(element).overflowX !== "visible" && element.clientWidth;
    if (hides && element.scrollWidth > element.clientWidth + tolerance) {
      report(element, "hides a part of itself");
    }
    if (element.matches("svg text")) {
      const chart = element.closest("svg").getBoundingClientRect();
      const inside = box.left >= chart.left - tolerance && box.right <= chart.right + tolerance &&
        box.top >= chart.top - tolerance && box.bottom <= chart.bottom + tolerance;
      if (!inside) report(element, "is not in its chart");
    }
  }
  return problems;
}"""

_FIND_COLOURS = """() => {
  const pairs = [];
  for (const element of document.body.querySelectorAll("*")) {
    const hasText = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!hasText || !element.checkVisibility()) continue;
    let behind = element, background;
    do background = getComputedStyle(behind).backgroundColor;
    while (background === "rgba(0, 0, 0, 0)" && (behind = behind.parentElement));
    const style = getComputedStyle(element);
    pairs.push([element.matches("svg *") ? style.fill : style.color, background]);
  }
  return [...new Set(pairs.map(String))];
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium, or skip or fail the test."""
    moved_clock.skip_what_fails("Chromium")
    program = next(filter(None, map(shutil.which, _NAMES)), None)
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


class Tab:
    """A page in a browser.

    Args:
        browser: the browser.
        file: the page.

    Attributes:
        complaints: messages of the console, errors, dialogs, and requests for anything else.
    """

    def __init__(self, browser: Browser, file: Path) -> None:
        self._page: Page = browser.new_page()
        self._address = file.absolute().as_uri()
        self.complaints: list[str] = []
        note = self.complaints.append
        self._page.on("console", lambda message: note(f"{message.type}: {message.text}"))
        self._page.on("pageerror", lambda error: note(f"error: {error}"))
        self._page.on("dialog", self._dismiss)
        self._page.on("request", self._note_request)
        self._page.goto(self._address)

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        if request.url != self._address and not request.url.startswith("data:"):
            self.complaints.append(f"request: {request.url}")

    def close(self) -> None:
        """Close the tab."""
        self._page.close()

    def emulate(self, width: int, *, scheme: Any = "light", medium: Any = "screen") -> None:
        """Emulate another screen, or paper."""
        self._page.set_viewport_size({"width": width, "height": 800})
        self._page.emulate_media(color_scheme=scheme, media=medium)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Run JavaScript."""
        return self._page.evaluate(script, argument)

    def visible(self, selector: str) -> Locator:
        """The visible elements of a selector."""
        return self._page.locator(f"{selector} >> visible=true")

    def open_details(self, selector: str = "summary") -> None:
        """Open the details with these summaries."""
        for summary in self._page.locator(selector).all():
            summary.click()

    def images(self) -> int:
        """The number of images that a screen reader announces."""
        return len(re.findall(r'- \'?img "', self._page.locator("body").aria_snapshot()))

    def pdf(self) -> bytes:
        """The printed page."""
        return self._page.pdf(prefer_css_page_size=True)

    def cut_off(self) -> list[str]:
        """Elements that are not visible in full without scrolling sideways."""
        elements: list[str] = self.evaluate(_FIND_CUT_OFF, TOLERANCE)
        return elements

    def text(self, selector: str) -> str:
        """The visible text of the only such element, with single spaces."""
        return " ".join(self._page.locator(selector).inner_text().split())

    def colour(self, selector: str, name: str) -> str:
        """A computed colour of the first visible element of a selector."""
        colour: str = self.visible(selector).first.evaluate(
            "(element, name) => getComputedStyle(element)[name]", name
        )
        return colour

    def contrasts(self) -> dict[str, float]:
        """The contrast of each pair of text colour and background."""
        pairs: list[str] = self.evaluate(_FIND_COLOURS)
        return {pair: contrast(pair) for pair in pairs}


@contextmanager
def open_tab(browser: Browser, file: Path) -> Iterator[Tab]:
    """Open a page for as long as the context lasts."""
    tab = Tab(browser, file)
    try:
        yield tab
    finally:
        tab.close()


def contrast(colours: str) -> float:
    """The contrast of two opaque colours, as WCAG 2 defines it."""
    assert "rgba" not in colours, colours
    lights = sorted(_luminance(colour) for colour in re.findall(r"rgb\((.*?)\)", colours))
    assert len(lights) == 2, colours
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.split(",")]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
