"""The page of `mirror report` on half a year: its figures and its structure.

Mirrors with little or much in them are in tests/stress/test_report_edge_cases.py, the page in a
browser in test_html.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from mirror.db.engine import create_engine, read_transaction
from mirror.report import formatting
from mirror.report.period import Period
from tests.support.databases import DATABASES, cached_by_kind, new_database
from tests.support.oracle_statistics import Oracle, cards
from tests.support.reports import (
    Page,
    default_period,
    render_page,
    sync_half_a_year,
    without_drawings,
)


@dataclass(frozen=True)
class RenderedReport:
    """A page, and the oracle of its figures."""

    page: Page
    oracle: Oracle


Reports = dict[str, RenderedReport]
ReportsOf = Callable[[str], Reports]


@pytest.fixture(scope="module")
def reports_of(request: pytest.FixtureRequest) -> Iterator[ReportsOf]:
    """Reports on half a year, by kind of database: up to now, of the past, of one environment."""

    @contextmanager
    def make(kind: str) -> Iterator[Reports]:
        into = request.getfixturevalue("tmp_path_factory").mktemp("report") / "report.html"
        today = datetime.now(UTC).date()
        past = Period(today - timedelta(days=90), today - timedelta(days=40))
        dates = ("--since", str(past.since), "--until", str(past.until))
        with new_database(kind, request, ready=True) as url:
            sync_half_a_year(url)
            with nullcontext() if kind == "sqlite" else without_drawings():
                pages = {"now": render_page(url, into=into)}
            with without_drawings():
                pages["past"] = render_page(url, *dates, into=into)
                pages["east"] = render_page(url, "--environment", "east", into=into)
            with read_transaction(create_engine(url)) as connection:
                oracles = {"past": Oracle(connection, past)}
                for name, environment in (("now", None), ("east", "east")):
                    made_at = pages[name].made_at
                    oracles[name] = Oracle(
                        connection, default_period(made_at), environment, made_at
                    )
                yield {name: RenderedReport(page, oracles[name]) for name, page in pages.items()}

    with cached_by_kind(make) as get:
        yield get


@pytest.fixture(params=DATABASES)
def reports(request: pytest.FixtureRequest, reports_of: ReportsOf) -> Reports:
    """The reports on each kind of database."""
    return reports_of(request.param)


@pytest.fixture(scope="module")
def full(reports_of: ReportsOf) -> RenderedReport:
    """A report that has everything that a report can have."""
    return reports_of("sqlite")["now"]


@pytest.mark.calendar
def test_key_figures(reports: Reports) -> None:
    """The key figures are those of plain SQL on tables and views, for both periods."""
    for name, report in reports.items():
        now, days = report.oracle.key_figures(), report.oracle.before.period
        when = "at the end" if name == "past" else "now"
        assert (name, report.page.cards) == (name, cards(report.oracle, when))
        text = report.page.section("figures").text
        assert f"of the {now.hours.requests} requests with a reported time" in text
        days_before = f"the {days.days} days before ({formatting.days(days)})"
        if name == "past":
            assert f"Compared with {days_before};" in text
        else:  # these days began before the first pull
            assert (
                f"Open, missing and quarantined are compared with the end of {days_before}." in text
            )
        unknown = now.undated.unknown.cancelled
        were = f"{unknown} requests that were resolved at an unknown time ({unknown} cancelled):"
        assert (were in text) is (unknown > 0) is (name != "east")
        assert f"{now.undated.observed} resolutions have no reported time" in text
        assert min(now.open, now.released, now.missing, now.quarantined) > 0
        assert (now.counts.cancelled > 0) is (name != "past")


@pytest.mark.calendar
def test_tables_of_charts_add_up(reports: Reports) -> None:
    """The tables of the charts add up to the key figures."""
    for report in reports.values():
        figures, chart = report.oracle.key_figures(), report.page.chart
        counts = figures.counts
        assert chart("open").column(1)[-1] == figures.open
        assert [sum(chart("outcomes").column(place)) for place in range(1, 5)] == [
            counts.requested,
            counts.approved,
            counts.rejected,
            counts.cancelled,
        ]
        assert sum(chart("hours").column(1)) == figures.hours.requests
        assert sum(chart("reasons").column(1)) == counts.rejected


@pytest.mark.calendar
def test_open_requests(reports: Reports) -> None:
    """The oldest open requests are listed, with the number of all."""
    for name in ("now", "past"):
        waiting = reports[name].oracle.open_requests()
        section = reports[name].page.section("open")
        assert [[row[0], row[2]] for row in section.rows()] == [
            [f"{row.requested_at:%Y-%m-%d %H:%M}", f"{row.phone_number} {row.environment}"]
            for row in waiting[:30]
        ]
        assert f"The 30 oldest of {len(waiting)} requests." in section.text


@pytest.mark.calendar
def test_recent_changes(reports: Reports) -> None:
    """The last changes are listed, with the number of all."""
    for name in ("now", "past"):
        changes = reports[name].oracle.changes()
        section = reports[name].page.section("changes")
        assert section.rows() == [
            [
                f"{change.changed_at:%Y-%m-%d %H:%M}",
                f"{change.phone_number} {change.environment}",
                change.kind,
                " → ".join(dict.fromkeys([change.old_status, change.new_status])),
            ]
            for change in changes[:30]
        ]
        versions = len({(change.request_id, change.changed_at) for change in changes})
        counted = f"They changed {versions} times in this period; the last 30 changes are shown."
        assert (counted in section.text) == (versions > 30) == (name == "now")


def test_repeat_numbers(full: RenderedReport) -> None:
    """The numbers with most requests are listed with their last events, and the rest counted."""
    section, numbers = full.page.section("numbers"), full.oracle.repeat_numbers()
    assert f"Of {len(numbers)} numbers, the 10 with the most requests are shown." in section.text
    timelines = list(section.find_all("section"))
    assert [timeline.find("h3").text for timeline in timelines] == [
        f"{number.phone_number} {number.environment}" for number in numbers[:10]
    ]
    number = numbers[0]
    assert f"{number.requests} requests, last status: {number.last_status}" in timelines[0].text
    events = full.oracle.histories()[number.environment, number.phone_number]
    first, *rest = timelines[0].find_all("li")
    assert first.text == f"{len(events) - 8} earlier events"
    assert [(next(event.find_all("time")).text, event.find("b").text) for event in rest] == [
        (f"{event.occurred_at or event.not_before:%Y-%m-%d %H:%M}", event.event)
        for event in events[-8:]
    ]


def test_rejection_reasons(full: RenderedReport) -> None:
    """The most frequent reasons are listed, a missing one among them, and the rest summed up."""
    reasons = full.oracle.rejection_reasons()
    shown, others = reasons[:10], reasons[10:]
    assert None in [reason.reason for reason in shown]
    chart = full.page.chart("reasons")
    assert chart.rows() == [
        *([reason.reason or "none given", str(reason.requests)] for reason in shown),
        [f"{len(others)} other reasons", str(sum(reason.requests for reason in others))],
    ]
    description = chart.find(class_="wide").attributes["aria-label"]
    assert f"by reason: {len(reasons)} reasons," in str(description)


@pytest.mark.calendar
def test_freshness_and_failures(reports_of: ReportsOf) -> None:
    """A page states the age of the data, and warns of failures and unknown statuses."""
    reports = reports_of("sqlite")
    headers = {name: report.page.header for name, report in reports.items()}
    for name, expected in (
        (
            "now",
            [
                "No sync of 1 environment has succeeded yet.",
                "The last syncs of 2 environments failed: see environments.",
            ],
        ),
        ("east", []),
    ):
        others = reports[name].oracle.count(
            "SELECT count(*) FROM release_requests WHERE status IN ('on_hold', 'archived')"
            " AND missing_since IS NULL AND {ours}"
        )
        *warnings, last = (warning.text for warning in headers[name].find_all(class_="warning"))
        assert warnings == expected
        assert last.startswith(f"{others} requests have an undocumented status, and are not")
    freshness = r"Data as of 20.{14} UTC or later, from 2 environments\. Age: 2 h\."
    assert re.search(freshness, headers["now"].text)
    assert re.search(r"Data as of 20.{14} UTC\. Age: 2 h\.", headers["east"].text)
    assert "environment east" in headers["east"].text
    rows = reports["now"].page.section("environments").rows()
    pulled = f"{reports['now'].oracle.known_from():%Y-%m-%d %H:%M}"
    assert [[*row[:2], *row[3:]] for row in rows if len(row) > 1] == [
        ["east", pulled, "applied", "0"],
        ["north", "never", "failed", "2"],
        ["west", pulled, "failed", "1"],
    ]
    assert [row[0].partition(":")[0] for row in rows if len(row) == 1] == ["north", "west"]


# Structure


def test_accessibility(full: RenderedReport) -> None:
    """Headings descend one level at a time; charts and tables have descriptions and scopes."""
    root = full.page.root
    assert root.find("html").attributes["lang"] == "en"
    assert re.fullmatch(r"Release requests, \d+ \w+ .*20\d\d", root.find("title").text)
    headings = root.find_all("h1", "h2", "h3", "h4", "h5", "h6")
    levels = [int(heading.tag[1]) for heading in headings]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))
    charts = [chart.attributes["aria-label"] or "" for chart in root.find_all(role="img")]
    assert len(charts) == 8
    assert charts[::2] == charts[1::2]
    assert all(re.search(r"\d", description) for description in charts)
    tables = list(root.find_all("table"))
    assert len(tables) == 7
    for table in tables:
        for part, scope in (("thead", "col"), ("tbody", "row")):
            scopes = {head.attributes["scope"] for head in table.find(part).find_all("th")}
            assert scopes == {scope}


def test_links_have_targets(full: RenderedReport) -> None:
    """Each id is unique, and whatever refers to an id finds it."""
    elements = [element.attributes for element in full.page.root.find_all()]
    ids = [attributes["id"] for attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"] for link in full.page.root.find_all("a")]
    assert links == ["#environments"]
    titles = {value for attributes in elements if (value := attributes.get("aria-labelledby"))}
    assert titles == {"figures", "charts", "environments", "open", "changes", "numbers"}
    assert titles <= set(ids)


AXES = {
    "open": ("Open requests", "End of the day (UTC)"),
    "outcomes": ("Requests", "Week beginning (UTC)", "requested", "approved", "cancelled"),
    "hours": ("Hours to resolve", "Week beginning (UTC)", "median", "90th percentile"),
    "reasons": ("Rejected requests", "none given"),
}


def test_charts_are_labelled(full: RenderedReport) -> None:
    """Each drawing has titles at its axes and a legend of its colours, and no active content."""
    assert full.page.charts == list(AXES)
    for name, titles in AXES.items():
        drawings = list(full.page.chart(name).find_all("svg"))
        assert len(drawings) == 2
        for drawing in drawings:
            texts = [text.text for text in drawing.find_all("text")]
            for title in titles:
                assert any(text.startswith(title) for text in texts), (name, title)
    assert not list(full.page.root.find_all("script", "foreignobject", "image", "use", "iframe"))
