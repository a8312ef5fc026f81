"""The page of `mirror report`: its figures, its texts, and pages of mirrors with little in them.

test_html.py looks at it in a browser, and cli/test_report.py at the command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.models import release_requests
from mirror.report import formatting
from mirror.report.period import Period
from tests.support.databases import DATABASES, new_database, once_of_each_kind
from tests.support.mirrors import Mirror
from tests.support.oracle_statistics import NOTHING, Oracle, cards
from tests.support.reports import (
    Page,
    default_period,
    execute,
    failed_run,
    render_page,
    sync_half_a_year,
    sync_hourly,
    without_drawings,
)
from tests.support.upstream import request

NO_VALUE = re.compile(r"\b(NaN|None|undefined|Infinity)\b")
"""What programs print in place of a missing value."""


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
        past = Period(today - timedelta(days=120), today - timedelta(days=60))
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

    with once_of_each_kind(make) as get:
        yield get


@pytest.fixture(params=DATABASES)
def reports(request: pytest.FixtureRequest, reports_of: ReportsOf) -> Reports:
    """The reports on each kind of database."""
    return reports_of(request.param)


@pytest.fixture(scope="module")
def full(reports_of: ReportsOf) -> RenderedReport:
    """A report that has everything that a report can have."""
    return reports_of("sqlite")["now"]


@pytest.fixture
def _without_drawings() -> Iterator[None]:
    with without_drawings():
        yield


@pytest.mark.calendar
def test_key_figures(reports: Reports) -> None:
    """The key figures are those of plain SQL on tables and views, for both periods."""
    for name, report in reports.items():
        now, before = report.oracle.key_figures(), report.oracle.before.key_figures()
        when = "at the end" if name == "past" else "now"
        assert (name, report.page.cards) == (name, cards(now, before, when))
        text = report.page.section("figures").text
        assert f"of the {now.hours.requests} requests with a reported time" in text
        days = report.oracle.before.period
        assert f"Compared with the {days.days} days before ({formatting.days(days)});" in text
        assert min(now.open, now.released, now.missing, now.quarantined, now.counts.cancelled) > 0


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
    assert [(event.find("time").text, event.find("b").text) for event in rest] == [
        (f"{event.occurred_at:%Y-%m-%d %H:%M}", event.event) for event in events[-8:]
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
    assert [[row[0], *row[2:]] for row in rows if len(row) > 1] == [
        ["east", "applied", "0"],
        ["north", "failed", "2"],
        ["west", "failed", "1"],
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


# Mirrors with little in them, or much


def recent(days: float = 1, **fields: Any) -> dict[str, Any]:
    """A request submitted some days ago."""
    requested_at = datetime.now(UTC) - timedelta(days=days)
    return request(requested_at=requested_at.isoformat()) | fields


@pytest.mark.calendar
@pytest.mark.usefixtures("_without_drawings")
def test_a_reopened_request(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Where the list of open requests differs from the key figure, a sentence explains it."""
    mirror, now = sqlite_mirror, datetime.now(UTC).replace(microsecond=0)
    first = recent(30)
    for ago, entry in (
        (20, first | {"status": "rejected", "resolved_at": recent(25)["requested_at"]}),
        (5, first | {"status": "pending"}),
    ):
        mirror.now = now - timedelta(days=ago)
        mirror.sync([entry])
    dates = ("--since", "40d", "--until", "10d")
    past = render_page(mirror.url, *dates, into=tmp_path / "past.html")
    assert past.cards[0][:2] == ("Open at the end", "0")
    assert "The key figure above, 0, also regards requests that were reopened" in past.root.text
    current = render_page(mirror.url, into=tmp_path / "now.html")
    assert "The key figure above" not in current.root.text


@pytest.mark.parametrize("kind", DATABASES)
def test_an_empty_mirror(
    make_ready_database: Callable[[str], str], tmp_path: Path, kind: str
) -> None:
    """A mirror without requests has a page that says so."""
    url = make_ready_database(kind)
    for statements, warning in (
        ([], "This mirror is empty: run mirror sync."),
        ([failed_run("one")], "No sync has succeeded yet."),
        ([failed_run("two")], "No sync of 2 environments has succeeded yet."),
    ):
        execute(url, *statements)
        page = render_page(url, into=tmp_path / "page.html")
        assert warning in page.header.text
        assert page.charts == []
        assert [card[1:] for card in page.cards[4:6]] == [(NOTHING, "no comparison", NOTHING)] * 2
        assert {card[1] for card in page.cards} == {"0", NOTHING}
        for sentence in (
            "No charts: no request was open or submitted in this period.",
            "No request is open.",
            "No changes in this period.",
            "No number was requested again in this period.",
        ):
            assert sentence in page.root.text
        assert not NO_VALUE.search(page.html)


@pytest.mark.parametrize("kind", DATABASES)
def test_one_request(
    make_ready_database: Callable[[str], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    kind: str,
) -> None:
    """A single request has a page: while it is pending, when it is resolved, and before."""
    if kind != "sqlite":
        request.getfixturevalue("_without_drawings")
    url, pending = make_ready_database(kind), recent(30)

    def page(*options: str) -> Page:
        rendered = render_page(url, *options, into=tmp_path / "page.html")
        assert not NO_VALUE.search(rendered.html)
        return rendered

    sync_hourly(url, [pending])
    before = page()
    assert before.charts == ["open", "outcomes"]
    assert before.cards[0] == ("Open now", "1", "+1", "0")
    assert before.cards[1] == ("Oldest open", "30 days", "no comparison", NOTHING)
    assert len(before.section("open").rows()) == 1
    rejected = {"status": "rejected", "resolved_at": recent(29)["requested_at"]}
    sync_hourly(url, [pending | rejected])
    after = page()
    assert after.charts == ["open", "outcomes", "hours", "reasons"]
    assert after.cards[3:6] == [
        ("Resolved", "1", "+1", "0"),
        ("Approval rate", "0.0 %", "no comparison", NOTHING),
        ("Median time to resolve", "24.0 h", "no comparison", NOTHING),
    ]
    assert after.chart("reasons").rows() == [["none given", "1"]]
    for since, until, charts in (("14d", "7d", ["open", "outcomes"]), ("90d", "60d", [])):
        other = page("--since", since, "--until", until)
        assert other.charts == charts
        assert (other.cards[2][1], other.cards[3][1]) == ("0", "0")
        assert "No request was open." in other.section("open").text


@pytest.mark.usefixtures("_without_drawings")
def test_an_unchanged_age(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """If the oldest open request is as old as the one before was then, nothing changed."""
    url = make_ready_database("sqlite")
    before = recent(25, status="approved", resolved_at=recent(15)["requested_at"])
    sync_hourly(url, [before | {"id": "before"}, recent(5)])
    page = render_page(url, "--since", "20d", "--until", "0d", into=tmp_path / "page.html")
    _, now, change, then = page.cards[1]
    assert (now, change) == (then, "no change")
    assert now != NOTHING


def test_many_years(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However long a period is, its charts cover all of it with about 60 buckets at most."""
    url = make_ready_database("sqlite")
    ages = (365 * 9, 365 * 4, 1700, 400, 1)
    sync_hourly(url, [recent(days, id=f"request-{days}") for days in ages])
    for since in ("2015-01-01", "1000-01-01", "0001-01-01"):
        page = render_page(url, "--since", since, into=tmp_path / "page.html")
        assert page.cards[2][1] == str(len(ages))
        assert 0 < len(page.chart("outcomes").rows()) <= 61
        assert sum(page.chart("outcomes").column(1)) == len(ages)
        for name in ("open", "outcomes"):
            for drawing in page.chart(name).find_all("svg"):
                paths = [path.attributes for path in drawing.find_all("path")]
                marks = [path for path in paths if "var(--" in str(path)]
                assert marks
                assert all(str(path["d"]).count("L") <= 61 for path in marks)
        assert not NO_VALUE.search(page.html)


def test_a_page_stays_small(make_ready_database: Callable[[str], str], tmp_path: Path) -> None:
    """However much there is, and however long its texts are, a page is less than a megabyte."""
    url = make_ready_database("sqlite")
    now = datetime.now(UTC)
    text = "\U000e0041" * 400 + "x" * 9600  # each of the first ones is escaped by ten characters
    rows = [
        {
            "id": f"{place}{text[:200]}",
            "environment": f"{place % 40} {text[:80]}",
            "phone_number": f"{place // 20}{text[:200]}",
            "reason": text,
            "status": f"{text[:200]}{place}" if place % 3 else "rejected",
            "rejection_reason": f"{place % 100}{text}",
            "requested_at": now - timedelta(hours=place),
            "resolved_at": None if place % 3 else now - timedelta(hours=place // 2),
            "first_seen_at": now - timedelta(hours=place),
            "valid_from": now - timedelta(hours=place),
            "sync_run_id": 1,
        }
        for place in range(600)
    ]
    environments = {str(row["environment"]) for row in rows}
    execute(url, *(failed_run(name, text) for name in sorted(environments)))
    with write_transaction(create_engine(url), "test") as connection:
        connection.execute(sa.insert(release_requests), rows)
    page = render_page(url, into=tmp_path / "page.html")
    assert 200_000 < len(page.html.encode()) < 1_000_000
    assert "10 more environments: see mirror status." in page.root.text
