"""Pages of `mirror report` in a browser, on every screen and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.browser import PAPER_WIDTH, Tab, chromium, contrast, open_tab
from tests.support.databases import DATABASES, cached_by_kind, new_database
from tests.support.hostile_pages import LONG, TEXTS, TEXTS_OF, sync_hostile
from tests.support.reports import render_page, sync_half_a_year

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = (360, 768, 1000, 1280)
MIN_TEXT_CONTRAST = 4.5
"""Of texts, by WCAG 2.1 (AA)."""

MIN_MARK_CONTRAST = 3.0
"""Of marks in charts, by WCAG 2.1 (AA)."""

A4 = (595, 842)
"""Points."""

MARKS = {
    "fill": ("rect.bar", ".dot.main", "text.median"),
    "stroke": (".line.main", ".line.median", ".line.percentile", ".bar.running"),
}
"""What charts draw, by the property that colours it."""


REASONS, *SECTIONS = [
    f"section:has(> #{name})" for name in ("reasons", "open-requests", "changes", "numbers")
]

FIND_INJECTED = """[...document.querySelectorAll("*")].filter(element =>
  ["SCRIPT", "B"].includes(element.tagName) && !element.closest("li") ||
  ["TITLE", "STYLE"].includes(element.tagName) && element.parentNode !== document.head ||
  element.tagName === "title" && !element.parentNode.matches("svg[role=img]") ||
  [...element.attributes].some(attribute => attribute.name.startsWith("on"))
).map(element => element.outerHTML)"""
"""Finds elements that the template does not have."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pages_of(request: pytest.FixtureRequest) -> Iterator[Callable[[str], dict[str, Path]]]:
    """Pages on half a year, by kind of database: up to now, of the past, of the first pull.

    The first one is there in Portuguese too.
    """

    @contextmanager
    def make(kind: str) -> Iterator[dict[str, Path]]:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("pages")
        files = {name: folder / f"{name}.html" for name in ("now", "past", "first", "pt")}
        with new_database(kind, request, ready=True) as url:
            sync_half_a_year(url)
            render_page(url, into=files["now"])
            render_page(url, "--since", "120d", "--until", "60d", into=files["past"])
            render_page(url, "--since", "190d", "--until", "100d", into=files["first"])
            render_page(url, "--lang", "pt", into=files["pt"])
            yield files

    with cached_by_kind(make) as get:
        yield get


@pytest.fixture
def tab(browser: Browser, pages_of: Callable[[str], dict[str, Path]]) -> Iterator[Tab]:
    """A page that has everything that a page can have."""
    with open_tab(browser, pages_of("sqlite")["now"]) as opened:
        yield opened


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_is_cut_off_and_the_browser_does_not_complain(
    browser: Browser, pages_of: Callable[[str], dict[str, Path]], kind: str
) -> None:
    """On every screen all is visible, nothing is loaded, and each chart is there once.

    Of the two drawings of a chart, the one that fits the screen is shown and announced.
    """
    for name, file in pages_of(kind).items():
        with open_tab(browser, file) as tab:
            for width, scheme in product(WIDTHS, ("light", "dark")):
                tab.emulate(width, scheme=scheme)
                assert (name, width, scheme, tab.cut_off()) == (name, width, scheme, [])
                fitting = "narrow" if width == WIDTHS[0] else "wide"
                assert tab.visible(".chart").count() == 3
                assert tab.visible(f".chart.{fitting}").count() == 3
                assert tab.images() == 3 + 3  # with the sparklines
            tab.open_details()
            for width in WIDTHS:
                tab.emulate(width)
                assert tab.visible("details table").count() == 3
                assert (name, width, tab.cut_off()) == (name, width, [])
            assert (name, tab.complaints) == (name, [])


def test_charts_follow_the_colour_scheme(tab: Tab) -> None:
    """Background, text and every mark have other colours in the dark, with enough contrast."""
    colours = {}
    for scheme in ("light", "dark"):
        tab.emulate(1280, scheme=scheme)
        background = tab.colour("body", "backgroundColor")
        marks = [
            tab.colour(f".chart {mark}", name)
            for name, of_name in MARKS.items()
            for mark in of_name
        ]
        colours[scheme] = {background, tab.colour("body", "color"), *marks}
        contrasts = [contrast(f"{background} {mark}") for mark in marks]
        assert min(contrasts) >= MIN_MARK_CONTRAST, marks
    assert not colours["light"] & colours["dark"]


def test_marks_have_contrast_where_a_chart_is_shaded(
    browser: Browser, pages_of: Callable[[str], dict[str, Path]]
) -> None:
    """Every mark has enough contrast to the shade of the time before the first pull."""
    with open_tab(browser, pages_of("sqlite")["first"]) as tab:
        assert tab.visible(".chart.wide .shade").count() == 1 + 4 + 1
        for scheme in ("light", "dark"):
            tab.emulate(1280, scheme=scheme)
            shade = tab.colour(".chart .shade", "fill")
            for name, marks in MARKS.items():
                for mark in set(marks) - {".bar.running"}:  # what is running is not shaded
                    colour = tab.colour(f".chart {mark}", name)
                    assert contrast(f"{shade} {colour}") >= MIN_MARK_CONTRAST, (scheme, mark)


@pytest.mark.parametrize("medium", ["light", "dark", "print"])
def test_texts_have_contrast(tab: Tab, medium: str) -> None:
    """Every text, those in charts included, has enough contrast."""
    if medium == "print":
        tab.emulate(PAPER_WIDTH, scheme="dark", medium="print")
    else:
        tab.emulate(1280, scheme=medium)
    contrasts = tab.contrasts()
    background = tab.colour("body", "backgroundColor")
    for selector in ("body", "td.warning", "td .muted", "svg text"):
        text = tab.colour(selector, "fill" if "svg" in selector else "color")
        assert f"{text},{background}" in contrasts, selector
    assert {pair: value for pair, value in contrasts.items() if value < MIN_TEXT_CONTRAST} == {}


def test_print(tab: Tab) -> None:
    """A page prints on some sheets of A4, on white even if the screen is dark."""
    tab.emulate(1280, scheme="dark", medium="null")
    sizes = re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", tab.pdf())
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {A4}
    assert 1 < len(sizes) < 7
    tab.emulate(PAPER_WIDTH, scheme="dark", medium="print")
    assert tab.colour("body", "backgroundColor") == "rgb(255, 255, 255)"
    assert tab.colour("body", "color") == "rgb(26, 29, 33)"
    assert tab.visible(".chart.narrow").count() == 3
    assert tab.visible(".charts details").count() == 0
    assert tab.visible("ol.line").count() == 5  # the first of what is folded on a screen
    assert tab.visible(".chart.wide").count() == 0
    assert (tab.complaints, tab.cut_off()) == ([], [])


def test_hostile_texts_everywhere(
    browser: Browser, ready_database_url: str, tmp_path: Path
) -> None:
    """Texts of upstream are inert in a page of one environment, or of all, on any screen."""
    url, file = ready_database_url, tmp_path / "page.html"
    for name in TEXTS_OF:
        sync_hostile(url, name)
        render_page(url, "--environment", name, into=file)
        with open_tab(browser, file) as tab:
            check_inert(tab)
            contrasts = tab.contrasts().items()
            assert {pair: value for pair, value in contrasts if value < MIN_TEXT_CONTRAST} == {}
            tab.open_details(".numbers summary")
            check_texts(tab, name)
    render_page(url, into=file)
    with open_tab(browser, file) as tab:
        check_inert(tab)


def check_texts(tab: Tab, name: str) -> None:
    """Check that all texts of an environment can be read in its page, and are inert."""
    assert tab.evaluate(FIND_INJECTED) == []
    for selector in ("section.attention", REASONS, *SECTIONS):
        shown = tab.text(selector)
        assert [text for text in TEXTS_OF[name] if TEXTS[text] not in shown] == [], selector
    for selector in SECTIONS:
        assert f"{LONG[:40]}… (215 more characters)" in tab.text(selector)
    for selector in (REASONS, SECTIONS[0], SECTIONS[2]):
        assert f"{LONG[:300]}… (99,700 more characters)" in tab.text(selector)


def check_inert(tab: Tab) -> None:
    """Check that a page is in order, on every screen and on paper."""
    assert tab.evaluate(FIND_INJECTED) == []
    for width, medium in (*product(WIDTHS, ["screen"]), (PAPER_WIDTH, "print")):
        tab.emulate(width, medium=medium)
        assert (width, medium, tab.cut_off()) == (width, medium, [])
    tab.emulate(1280)
    assert tab.complaints == []
