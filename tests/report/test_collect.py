"""What the report reads, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction
from mirror.queries import helpers
from mirror.queries.results import Limited
from mirror.report import collect
from mirror.report.daily import Daily, open_over_time
from mirror.report.model import Attention, OpenCount, Report
from mirror.report.period import Period, split
from mirror.report.statistics import Statistics
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.oracle_statistics import Oracle
from tests.support.reports import default_period, execute, failed_run, sync_hourly
from tests.support.statistics_lists import (
    JANUARY,
    approved,
    days,
    january,
    rejected,
    sync_lists,
)
from tests.support.upstream import request

END = january(31, 12)
"""A time after all events of the lists."""

CASES = (
    (Period(date(2024, 1, 10), date(2024, 2, 1)), None),
    (days(12, 14), None),
    (days(13, 14), "by hand"),
    (Period(date(2023, 9, 1), date(2024, 2, 1)), "random 0"),
    (Period(date(2023, 9, 1), date(2023, 10, 1)), "repeated"),
    (Period(date(2022, 1, 1), date(2022, 2, 1)), "nowhere"),
    (Period(date.min, date(2024, 2, 1)), None),
    (Period(date.min, date(1, 1, 2)), None),
)
"""Periods that run and that have ended; the first weeks, and before; one environment and all."""


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_one_snapshot_over_one_connection(
    make_ready_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A report opens one connection, and does not see a sync that completes meanwhile."""
    url, now = make_ready_database(kind), datetime.now(UTC)
    requested_at = (now - timedelta(days=2)).isoformat()
    before = [request(number, requested_at=requested_at) for number in (1, 2)]
    after = [before[0] | {"status": "rejected"}, request(3, requested_at=requested_at)]
    connect, hours_by_day, connections = helpers.connect, Statistics.hours_by_day, []

    def counted(database_url: str) -> AbstractContextManager[Connection]:
        connections.append(database_url)
        return connect(database_url)

    def overtaken(*arguments: Any, **options: Any) -> Any:
        sync_hourly(url, after)
        return hours_by_day(*arguments, **options)

    sync_hourly(url, before)
    expected = collect.collect(url, default_period(now), now=now)
    assert (expected.figures.open, expected.figures.counts.requested) == (2, 2)
    monkeypatch.setattr(helpers, "connect", counted)
    monkeypatch.setattr(Statistics, "hours_by_day", overtaken)
    assert collect.collect(url, default_period(now), now=now) == expected
    assert connections == [url]
    monkeypatch.undo()
    assert collect.collect(url, default_period(now), now=now).figures.missing == 1


def shown(rows: list[Any], limit: int) -> Limited[Any]:
    """The first rows, and the number of all."""
    return Limited(rows[:limit], len(rows))


def check(report: Report, oracle: Oracle) -> None:
    """Compare a report with plain computations."""
    assert report.figures == oracle.key_figures()
    assert report.headline == oracle.headline()
    assert [bin_.requests for bin_ in report.ages] == oracle.ages()
    assert report.open == shown(oracle.open_requests(), 30)
    assert report.reasons == shown(oracle.rejection_reasons(), 10)
    assert report.syncs == shown(oracle.syncs(), 20)
    assert report.surprises == shown(oracle.surprises(), 30)
    assert [line.number for line in report.numbers.rows] == oracle.repeat_numbers()[:20]
    attention = report.attention
    overdue = attention.overdue
    assert (overdue and (overdue.hours, overdue.requests)) == (
        None if (old := oracle.overdue()) is None else (old[0], shown(old[1], 30))
    )
    assert attention.rejected_again == shown(oracle.rejected_again(), 10)
    missing = [row for row in oracle.missing_requests() if row.missing_since >= oracle.period.start]  # type: ignore[operator]
    assert attention.missing == shown(missing, 10)
    assert attention.quarantined == shown(oracle.quarantined_records(), 10)
    assert attention.environments == [row for row in report.environments if row.needs_attention]
    assert report.buckets == [oracle.bucket(bucket.period) for bucket in report.buckets]
    if report.buckets:
        assert report.buckets[-1].period.until == oracle.period.until
        assert report.buckets[-1].is_running is report.is_current
    opened = [row.figures.open for row in report.environments]
    assert opened == sorted(opened, reverse=True)
    for row in report.environments:
        own = replace(oracle, environment=row.environment)
        assert row.figures == own.key_figures()
        assert (row.first_pull and row.first_pull.at) == own.known_from()
        for point in row.open_over_time[2:5]:
            assert point.open == own.bucket(Period(point.day, point.day + timedelta(days=1))).open


def test_peaks_of_many_days() -> None:
    """Where not all days fit, the highest day of each part is among them, and both ends."""
    period = Period(date(2020, 1, 1), date(2026, 1, 1))
    _, parts = split(period)
    peak = date(2023, 5, 17)
    daily = Daily((), {period.since: 3, peak: 414, period.last: 7}, {})
    points = open_over_time(parts, daily)
    assert points[0] == OpenCount(period.since, 3)
    assert points[-1] == OpenCount(period.last, 7)
    assert max(points, key=lambda point: point.open) == OpenCount(peak, 414)
    assert len(points) <= len(parts) + 2
    days = open_over_time([Period(peak, date(2023, 5, 20))], daily)
    assert [point.open for point in days] == [414, 0, 0]


def check_cases(mirror: Mirror, cases: Sequence[tuple[Period, str | None]]) -> None:
    """Compare the reports of some periods and environments with plain computations."""
    with read_transaction(mirror.engine) as connection:
        for period, environment in cases:
            report = collect.collect(mirror.url, period, environment=environment, now=END)
            now = END if period.end > END else None
            check(report, Oracle(connection, period, environment, now))
            assert mirror.url not in repr(report)


def test_every_figure(mirrors: Callable[[str], Mirror]) -> None:
    """Each figure of a report is what a plain computation from the rows of the mirror gives.

    stress/test_chance.py has all cases, on both databases.
    """
    check_cases(mirrors("sqlite"), CASES[1:2])


def test_what_needs_somebody(sqlite_mirror: Mirror) -> None:
    """Requests that are overdue are told, if ten reviews have ended; and stale environments."""
    reviews = [request(n, **approved(12)) for n in range(9)]
    pending = [
        request(20, requested_at="2024-01-13T00:00:00Z"),
        request(21, requested_at="2024-01-11T17:29:59.999Z"),
        request(22, requested_at="2024-01-11T17:30:00Z"),
        request(23, requested_at="2024-01-11T17:30:00.001Z"),
    ]
    now = january(13, 12)

    def attention(until: int = 14, now: datetime = now) -> Attention:
        return collect.collect(sqlite_mirror.url, days(1, until), now=now).attention

    assert not attention()
    sync_lists(sqlite_mirror, {"first": [(now, [*reviews, *pending])]})
    assert not attention()
    sync_lists(sqlite_mirror, {"second": [(now, [request(50, **rejected(12))])]})
    overdue = attention().overdue
    assert overdue is not None
    assert (overdue.hours, overdue.reviews) == (42.5, 10)
    assert [row.id for row in overdue.requests.rows] == ["request-21", "request-22"]
    assert attention(until=13).overdue is None  # none was as old at the end of the twelfth
    assert not attention(now=now + timedelta(days=1)).environments
    stale = attention(now=now + timedelta(days=1, milliseconds=1)).environments
    assert [(row.environment, row.is_stale, row.failures) for row in stale] == [
        ("first", True, 0),
        ("second", True, 0),
    ]
    ages = {"first": timedelta(minutes=59), "second": timedelta(hours=1)}
    (stale_by_file,) = collect.collect(
        sqlite_mirror.url, days(1, 14), now=now + timedelta(hours=1), max_age=ages.get
    ).attention.environments
    assert stale_by_file.environment == "first"
    execute(sqlite_mirror.url, failed_run("second"))
    (failing,) = attention().environments
    assert (failing.environment, failing.is_stale, failing.failures) == ("second", False, 1)
    assert failing.error == "the API is out of reach"


def test_a_clock_ahead(sqlite_mirror: Mirror) -> None:
    """Requests that are yet to come are of no age, and a sync yet to come is stale."""
    future = request(1, requested_at="2024-01-20T00:00:00Z")
    sync_lists(sqlite_mirror, {"default": [(january(13, 12), [future])]})
    report = collect.collect(sqlite_mirror.url, days(1, 13), now=january(12, 12))
    assert report.headline.oldest_open.value == timedelta()
    assert [each.requests for each in report.ages] == [1, 0, 0, 0, 0, 0]
    (row,) = report.attention.environments
    assert row.is_stale
    assert row.age == -86_400


def test_an_empty_mirror(sqlite_mirror: Mirror) -> None:
    """A report on nothing has no figures, and nothing to attend to."""
    report = collect.collect(sqlite_mirror.url, JANUARY, now=END)
    assert not report.attention
    assert (report.environments, report.buckets, report.open_over_time) == ([], [], [])
    assert (report.complete_at, report.first_pull, report.figures_before) == (None, None, None)
    nothing = report.headline.oldest_open
    assert (report.headline.open.value, nothing.value, nothing.before) == (0, None, None)
    assert sum(each.requests for each in report.ages) == 0
