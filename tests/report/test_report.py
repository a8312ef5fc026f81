"""The page of `mirror report` on half a year: its figures and its structure.

Mirrors with little or much in them are in tests/stress/test_report_edge_cases.py, the page in a
browser in test_html.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from mirror.db.engine import create_engine, read_transaction
from mirror.report.formatting import Language
from mirror.report.period import Period
from tests.support.databases import DATABASES, cached_by_kind, new_database
from tests.support.mirrors import Mirror
from tests.support.oracle_statistics import Oracle
from tests.support.reports import Element, Page, default_period, render_page, sync_half_a_year
from tests.support.upstream import request

EN = Language("en")
SECTIONS = (
    *("attention", "figures", "environments", "over-time", "reasons"),
    *("ages", "open-requests", "changes", "numbers"),
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
            pages = {
                "now": render_page(url, into=into),
                "past": render_page(url, *dates, into=into),
                "east": render_page(url, "--environment", "east", into=into),
            }
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
    """The large figures are those of plain SQL on tables and views, for both periods."""
    for name, report in reports.items():
        now, days = report.oracle.key_figures(), report.oracle.before.period
        before = report.oracle.before.key_figures()
        assert now.approval_rates is not None
        assert before.oldest_open is not None
        cards = report.page.cards
        is_past = name == "past"
        assert {name: card[:2] for name, card in cards.items()} == {
            "open": ("Open at the end" if is_past else "Open now", EN.count(now.open)),
            "oldest": ("Oldest open", EN.age(now.oldest_age)),
            "median": ("Median time to resolve", EN.duration(now.hours.median)),
            "approval": ("Approval rate", EN.rates(now.approval_rates)),
        }
        assert {name: card[3] for name, card in cards.items()} == {
            "open": f"before: {EN.count(before.open)}",
            "oldest": f"before: {EN.age(before.oldest_age)}",
            # Up to now, the days before began before the first pull.
            "median": f"before: {EN.duration(before.hours.median)}" if is_past else "",
            "approval": f"before: {EN.rates(before.approval_rates)}" if is_past else "",
        }
        text = report.page.section("figures").text
        counts = now.counts
        assert f"{counts.requested} requested, {counts.resolved} resolved" in text
        assert f"{counts.approved} approved, {counts.rejected} rejected" in text
        assert f"{now.hours.requests} with a reported time" in text
        compared = f"the {days.days} days before, {EN.days(days)}."
        assert compared in text
        assert text.startswith("Key figures")
        assert (f"Compared with {compared}" in text) is is_past


@pytest.mark.calendar
def test_tables_of_charts_add_up(reports: Reports) -> None:
    """The tables add up to the key figures."""
    for report in reports.values():
        figures, page = report.oracle.key_figures(), report.page
        counts = figures.counts
        assert page.chart("open").column(1)[-1] == figures.open
        assert [sum(page.chart("outcomes").column(place)) for place in range(1, 5)] == [
            counts.requested,
            counts.approved,
            counts.rejected,
            counts.cancelled,
        ]
        assert sum(page.chart("hours").column(1)) == figures.hours.requests
        assert sum(page.section("reasons").column(1)) == counts.rejected
        assert sum(page.section("ages").column(1)) == len(report.oracle.open_requests())


@pytest.mark.calendar
def test_open_requests(reports: Reports) -> None:
    """The oldest open requests are listed, with the number of all."""
    for name in ("now", "past"):
        waiting = reports[name].oracle.open_requests()
        section = reports[name].page.section("open-requests")
        assert [[row[0], row[2]] for row in section.rows()] == [
            [f"{row.phone_number} {row.environment}", f"{row.requested_at:%Y-%m-%d %H:%M}"]
            for row in waiting[:30]
        ]
        assert f"The 30 oldest of {len(waiting)} requests." in section.text


@pytest.mark.calendar
def test_changes(reports: Reports) -> None:
    """The changes that each sync saw are counted; those that surprise are listed."""
    for name in ("now", "past"):
        changes = reports[name].oracle.changes()
        syncs, listed = reports[name].page.section("changes").find_all("table")
        by_sync: dict[tuple[str, str], Counter[str]] = {}
        for change in changes:
            key = f"{change.changed_at:%Y-%m-%d %H:%M}", change.environment
            by_sync.setdefault(key, Counter())[change.kind] += 1
        kinds = ("resolved", "reopened", "corrected", "vanished", "returned")
        expected = [
            [*key, ", ".join(f"{counts[kind]} {kind}" for kind in kinds if counts[kind])]
            for key, counts in by_sync.items()
        ]
        assert sorted(rows_of(syncs)) == sorted(expected)
        assert rows_of(syncs)[0][0] == max(expected)[0]
        surprises = [change for change in changes if change.kind != "resolved"]
        assert rows_of(listed) == [
            [
                f"{change.phone_number} {change.environment}",
                change.kind,
                " → ".join(dict.fromkeys([change.old_status, change.new_status])),
                f"{change.changed_at:%Y-%m-%d %H:%M}",
            ]
            for change in surprises[:30]
        ]
        text = reports[name].page.section("changes").text
        assert (f"The last 30 of {len(surprises)}." in text) is (len(surprises) > 30)


def test_a_correction(mirror: Mirror, tmp_path: Path) -> None:
    """A correction names the fields that changed, but for the status, which has a column."""
    for number, status in (("a", "pending"), ("b", "pending"), ("b", "on_hold")):
        mirror.sync([request(1, phone_number_id=number, status=status)])
    page = render_page(mirror.url, "--since", "2024-01-01", into=tmp_path / "page.html")
    _, listed = page.section("changes").find_all("table")
    assert [row[1:3] for row in rows_of(listed)] == [
        ["corrected", "pending → on_hold"],
        ["corrected phone_number_id", "pending"],
    ]


def rows_of(table: Element) -> list[list[str]]:
    """The rows of a table."""
    rows = table.find("tbody").find_all("tr")
    return [[cell.text for cell in row.find_all("th", "td")] for row in rows]


def test_repeat_numbers(full: RenderedReport) -> None:
    """The numbers with most requests are listed with their last events, and the rest counted."""
    section, numbers = full.page.section("numbers"), full.oracle.repeat_numbers()
    children = section.find("table").find("tbody").children
    rows = [child for child in children if isinstance(child, Element)]
    assert len(rows) == 2 * min(len(numbers), 20)
    assert f"The {len(rows) // 2} with the most requests, of {len(numbers)}." in section.text
    assert [[cell.text for cell in row.find_all("th", "td")] for row in rows[::2]] == [
        [
            f"{number.phone_number} {number.environment}",
            str(number.requests),
            number.last_status,
            f"{number.last_requested_at:%Y-%m-%d %H:%M}",
        ]
        for number in numbers[:20]
    ]
    number = numbers[0]
    events = full.oracle.histories()[number.environment, number.phone_number]
    assert rows[1].find("summary").text == f"{len(events)} events"
    first, *rest = rows[1].find_all("li")
    assert first.text == f"{len(events) - len(rest)} earlier events"
    assert [(next(event.find_all("time")).text, event.find("b").text) for event in rest] == [
        (f"{event.occurred_at or event.not_before:%Y-%m-%d %H:%M}", event.event)
        for event in events[-len(rest) :]
    ]


def test_rejection_reasons(full: RenderedReport) -> None:
    """The most frequent reasons are listed, a missing one among them, and the rest summed up."""
    reasons = full.oracle.rejection_reasons()
    shown, others = reasons[:10], reasons[10:]
    rejected = full.oracle.key_figures().counts.rejected
    assert None in [reason.reason for reason in shown]
    rest = sum(reason.requests for reason in others)
    assert full.page.section("reasons").rows() == [
        *(
            [reason.reason or "none given", str(reason.requests), share(reason.requests, rejected)]
            for reason in shown
        ),
        [f"{len(others)} other reasons", str(rest), share(rest, rejected)],
    ]
    # Each has the direction of its own script.
    isolated = full.page.section("reasons").find_all("bdi")
    assert [text.text for text in isolated] == [each.reason for each in shown if each.reason]


def share(part: int, whole: int) -> str:
    """A share as a page has it."""
    return EN.percent(100 * part / whole)


@pytest.mark.calendar
def test_freshness_and_failures(reports_of: ReportsOf) -> None:
    """A page states the age of the data, and first what fails, with a link to it."""
    reports = reports_of("sqlite")
    for name, fails in (
        ("now", ["north: the last 2 syncs failed", "west: the last sync failed"]),
        ("east", []),
    ):
        others = reports[name].oracle.count(
            "SELECT count(*) FROM release_requests WHERE status IN ('on_hold', 'archived')"
            " AND missing_since IS NULL AND {ours}"
        )
        page = reports[name].page
        links = {link.text: link for link in page.section("attention").find_all("a")}
        assert sorted(text for text in links if "failed" in text) == fails
        assert all(links[text].attributes["href"] == "#environments" for text in fails)
        assert f"{others} requests have an undocumented status" in page.section("attention").text
    header = reports["now"].page.header.text
    assert re.search(r"3 environments: .*\bas of 20.{14} UTC\b", header)
    scope = reports["east"].page.header.find("p").text
    assert re.fullmatch(r"environment east as of 20.{14} UTC", scope)
    rows = reports["now"].page.section("environments").rows()
    assert sorted([row[0], row[-1]] for row in rows) == [
        ["east", "2 h"],
        ["north", "never, 2 failed"],
        ["west", "2 h, 1 failed"],
    ]


def test_environments(full: RenderedReport) -> None:
    """Each environment has a row; what can be added up adds up to the last one."""
    table = full.page.section("environments").find("table")
    rows, figures = table.rows(), full.oracle.key_figures()
    (total,) = table.find("tfoot").find_all("tr")
    totals = [cell.text for cell in total.find_all("th", "td")]
    for place, expected in (
        (1, figures.open),
        (4, figures.counts.requested),
        (5, figures.counts.resolved),
        (8, figures.released),
    ):
        assert totals[place] == str(expected)
        assert sum(int(row[place]) for row in rows) == expected
    assert totals[3] == EN.age(figures.oldest_age)
    assert totals[6:8] == [EN.rates(figures.approval_rates), EN.duration(figures.hours.median)]
    assert len(list(table.find("tbody").find_all("svg", role="img"))) == 3


# Structure


def test_accessibility(full: RenderedReport) -> None:
    """Headings descend one level at a time; images have titles, and tables scopes."""
    root = full.page.root
    assert root.find("html").attributes["lang"] == "en"
    title = root.find("head").find("title").text
    assert re.fullmatch(r"Release requests, \d+ \w+ .*20\d\d", title)
    headings = root.find_all("h1", "h2", "h3", "h4", "h5", "h6")
    levels = [int(heading.tag[1]) for heading in headings]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(below <= above + 1 for above, below in pairwise(levels))
    images = list(root.find_all("svg"))
    assert all(image.attributes["role"] == "img" for image in images)
    assert all(re.search(r"\d", image.find("title").text) for image in images)
    tables = list(root.find_all("table"))
    assert len(tables) == 3 + 7
    for table in tables:
        for part, scope in (("thead", "col"), ("tbody", "row")):
            scopes = {head.attributes["scope"] for head in table.find(part).find_all("th")}
            assert scopes == {scope}


def test_links_have_targets(full: RenderedReport) -> None:
    """Each id is unique, whatever refers to an id finds it, and the contents are all sections."""
    elements = [element.attributes for element in full.page.root.find_all()]
    ids = [attributes["id"] for attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    contents = [link.attributes["href"] for link in full.page.root.find("nav").find_all("a")]
    assert contents == [f"#{name}" for name in SECTIONS]
    links = {(link.attributes["href"] or "") for link in full.page.root.find_all("a")}
    assert {link.removeprefix("#") for link in links} <= set(ids)
    titles = {value for attributes in elements if (value := attributes.get("aria-labelledby"))}
    assert titles == set(SECTIONS)


LABELS = {
    "open": (r"\d+ open", "before the first complete pull"),
    "outcomes": (r"Requested \d+", r"Approved \d+", r"Rejected \d+", r"Cancelled \d+", "so far"),
    "hours": (r"\d+ days", "median", "9 of 10", "so far"),
}


def test_charts_are_labelled(full: RenderedReport) -> None:
    """Each drawing has labels at its lines and bars, no legend, and no active content."""
    assert full.page.charts == list(LABELS)
    for name, labels in LABELS.items():
        drawings = list(full.page.chart(name).find_all("svg"))
        assert len(drawings) == 2
        for drawing in drawings[:1] if name == "open" else drawings:
            texts = [text.text for text in drawing.find_all("text")]
            for label in labels[:1] if name == "open" else labels:
                assert any(re.fullmatch(label, text) for text in texts), (name, label)
    assert not list(full.page.root.find_all("script", "foreignobject", "image", "use", "iframe"))


def test_nothing_of_this_machine(full: RenderedReport) -> None:
    """A page that is mailed has no path or URL of the database."""
    assert not re.search(r"sqlite|postgres|\.db\b|/tmp", full.page.html)
