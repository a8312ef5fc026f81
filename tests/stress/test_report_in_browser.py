"""Pages of `mirror report` in a browser, on every screen and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.report.test_html import FOREIGN, PARTS, READABLE, expect_texts, fill_hostile
from tests.support.browser import PRINTED, Shown, chromium, contrast, shown
from tests.support.databases import DATABASES, cached_by_kind, new_database
from tests.support.reports import live, page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = (360, 768, 1000, 1280)
TOLD_APART = 3.0
"""The least contrast that WCAG 2.1 (AA) asks of marks in charts."""

A4 = (595, 842)
"""Points."""

MARKS = {
    "fill": ("requested", "approved", "rejected", "cancelled"),
    "stroke": ("open", "median", "90th-percentile"),
}
"""The colours of charts, by what they colour."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Iterator[Callable[[str], dict[str, Path]]]:
    """Pages of the mirror of `live`, by the kind of its database; files by what they show."""

    @contextmanager
    def make(kind: str) -> Iterator[dict[str, Path]]:
        folder = request.getfixturevalue("tmp_path_factory").mktemp("pages")
        files = {name: folder / f"{name}.html" for name in ("now", "past")}
        today = datetime.now(UTC).date()
        since, until = (str(today - timedelta(days=days)) for days in (120, 60))
        with new_database(kind, request, ready=True) as url:
            live(url)
            page(url, into=files["now"])
            page(url, "--since", since, "--until", until, into=files["past"])
            yield files

    with cached_by_kind(make) as get:
        yield get


@pytest.fixture(scope="module")
def now(made: Callable[[str], dict[str, Path]]) -> Path:
    """A page that has all that a page may have."""
    return made("sqlite")["now"]


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_is_cut_off_and_the_browser_does_not_complain(
    browser: Browser, made: Callable[[str], dict[str, Path]], kind: str
) -> None:
    """On every screen all can be seen, nothing else is asked for, and no error is noted.

    Of the two drawings of a chart, who looks and who listens gets one, which fits the screen; the
    tables behind them can be opened.
    """
    for name, file in made(kind).items():
        with shown(browser, file) as seen:
            for width, scheme in product(WIDTHS, ("light", "dark")):
                seen.look(width, scheme=scheme)
                assert (name, width, scheme, seen.cut_off) == (name, width, scheme, [])
                fitting = "narrow" if width == WIDTHS[0] else "wide"
                assert seen.tab.locator(".chart >> visible=true").count() == 4
                assert seen.tab.locator(f".chart.{fitting} >> visible=true").count() == 4
                heard = re.findall(r'- \'?img "', seen.tab.locator("body").aria_snapshot())
                assert len(heard) == 4
            for one in seen.tab.locator("summary").all():
                one.click()
            for width in WIDTHS:
                seen.look(width)
                assert seen.tab.locator("details table >> visible=true").count() == 4
                assert (name, width, seen.cut_off) == (name, width, [])
            assert (name, seen.noted) == (name, [])


def test_charts_are_as_light_or_dark_as_the_page(browser: Browser, now: Path) -> None:
    """Paper, text and every mark of the charts have other colours in the dark, and stand out."""
    colours = {}
    with shown(browser, now) as seen:
        for scheme in ("light", "dark"):
            seen.look(1280, scheme=scheme)
            paper = seen.colour("body", "backgroundColor")
            marks = [
                seen.colour(f'svg [{what}="var(--{mark})"]', what)
                for what, names in MARKS.items()
                for mark in names
            ]
            colours[scheme] = {paper, seen.colour("body", "color"), *marks}
            assert all(contrast(f"{paper} {mark}") >= TOLD_APART for mark in marks), marks
    assert not colours["light"] & colours["dark"]


@pytest.mark.parametrize("medium", ["light", "dark", "print"])
def test_texts_can_be_read(browser: Browser, now: Path, medium: str) -> None:
    """Every text, those in charts included, stands out from what is behind it."""
    with shown(browser, now) as seen:
        if medium == "print":
            seen.look(PRINTED, scheme="dark", medium="print")
        else:
            seen.look(1280, scheme=medium)
        contrasts = seen.contrasts
        paper = seen.colour("body", "backgroundColor")
        for selector in ("body", "p.warning", "td .muted", "svg text"):
            text = seen.colour(selector, "fill" if "svg" in selector else "color")
            assert f"{text},{paper}" in contrasts, selector
        assert {pair: one for pair, one in contrasts.items() if one < READABLE} == {}


def test_print(browser: Browser, now: Path) -> None:
    """Printed, a page is some sheets of A4, white also where the screen is dark."""
    with shown(browser, now) as seen:
        seen.look(1280, scheme="dark", medium="null")
        sheets = seen.tab.pdf(prefer_css_page_size=True)
        sizes = re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", sheets)
        assert {(round(float(width)), round(float(height))) for width, height in sizes} == {A4}
        assert 1 < len(sizes) < 12
        seen.look(PRINTED, scheme="dark", medium="print")
        assert seen.colour("body", "backgroundColor") == "rgb(255, 255, 255)"
        assert seen.colour("body", "color") == "rgb(27, 31, 36)"
        assert seen.tab.locator("details >> visible=true").count() == 0
        assert seen.tab.locator(".chart.narrow >> visible=true").count() == 4
        assert seen.tab.locator(".chart.wide >> visible=true").count() == 0
        assert (seen.noted, seen.cut_off) == ([], [])


def test_hostile_texts_everywhere(
    browser: Browser, ready_database_url: str, tmp_path: Path
) -> None:
    """Texts of upstream do nothing to a page of one environment, or of all, on any screen."""
    url, file = ready_database_url, tmp_path / "page.html"
    for name in PARTS:
        fill_hostile(url, name)
        page(url, "--environment", name, into=file)
        with shown(browser, file) as seen:
            check_harmless(seen)
            seen.tab.locator("#chart-reasons summary").click()
            expect_texts(seen, name)
    page(url, into=file)
    with shown(browser, file) as seen:
        check_harmless(seen)


def check_harmless(seen: Shown) -> None:
    """Check that a page is in order, on every screen and on paper."""
    assert seen.tab.evaluate(FOREIGN) == []
    for width, medium in (*product(WIDTHS, ["screen"]), (PRINTED, "print")):
        seen.look(width, medium=medium)
        assert (width, medium, seen.cut_off) == (width, medium, [])
    seen.look(1280)
    assert seen.noted == []
