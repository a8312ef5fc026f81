"""Counts and rankings of a period, on both databases.

The mirrors hold lists written by hand, of which a reader can tell the results, and generated lists,
whose results are compared with those of `Oracle`. `stress/test_chance.py` generates many more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import views
from mirror.db.cookbook import RECIPES
from mirror.db.engine import read_transaction
from mirror.queries import helpers
from mirror.queries.results import Change, Limited, PhoneNumber, ReleaseRequest
from mirror.report.model import Counts, Hours, Reason
from mirror.report.period import Period, split
from mirror.report.statistics import Statistics, counts, hours
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, of_each_kind
from tests.support.oracle_statistics import VERDICTS, Oracle
from tests.support.statistics_lists import (
    MILLISECOND,
    NUMBERS,
    OPEN_INVOICES,
    REASONS,
    REPEATED,
    STATUSES,
    SUBMITTED,
    january,
    sync_lists,
)

LIMITS = (1, 2, 3, 1000)
ENVIRONMENTS = (None, "random 0", "nowhere")


def days(first: int, until: int) -> Period:
    """Some days of January."""
    return Period(date(2024, 1, first), date(2024, 1, until))


JANUARY = Period(date(2024, 1, 1), date(2024, 2, 1))
PERIODS = (
    Period(date(2023, 12, 20), date(2024, 2, 10)),
    days(11, 14),
    days(12, 13),
    Period(date(2023, 1, 1), date(2023, 2, 1)),
    Period(date.min, date(2024, 1, 13)),
)
TIMES = [
    january(day, hour) - before
    for day in range(9, 16)
    for hour in (0, 12)
    for before in (MILLISECOND, 0 * MILLISECOND)
]
"""Times of syncs and events, and the millisecond before each."""


@pytest.fixture(scope="module")
def mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """The mirrors of the lists, one of each kind of database; tests only read them."""
    with of_each_kind(request, sync_lists) as get:
        yield get


@pytest.fixture(params=DATABASES)
def synced(
    request: pytest.FixtureRequest, mirrors: Callable[[str], Mirror]
) -> Iterator[Connection]:
    """A connection to a mirror of the lists."""
    with read_transaction(mirrors(request.param).engine) as connection:
        yield connection


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str | None:
    """The environment to filter by; None for all."""
    name: str | None = request.param
    return name


@pytest.fixture
def statistics(synced: Connection, environment: str | None) -> Statistics:
    """The statistics of these."""
    return Statistics(synced, environment)


@pytest.fixture
def oracles(statistics: Statistics) -> list[Oracle]:
    """The oracle of each period."""
    return [Oracle(statistics.connection, period, statistics.environment) for period in PERIODS]


def limited(rows: list[Any]) -> list[tuple[int, Limited[Any]]]:
    """The expected result for each limit."""
    return [(limit, Limited(rows[:limit], len(rows))) for limit in LIMITS]


def test_the_lists_hold_every_case(synced: Connection) -> None:
    """What the comparisons are about does occur in the lists."""
    requests = [
        *helpers.release_requests(synced),
        *helpers.release_requests(synced, missing=True),
    ]
    turnaround = helpers.turnaround(synced)
    changes = helpers.changes(synced)
    assert {request.status for request in requests} == {*STATUSES, "escalated"}
    sources = {(row.status, row.time_source) for row in turnaround}
    assert sources >= {
        ("cancelled", "reported"),
        ("cancelled", "observed"),
        ("on_hold", "reported"),
    }
    assert ("on_hold", "observed") not in sources
    assert {change.kind for change in changes} == {
        "resolved",
        "reopened",
        "corrected",
        "vanished",
        "returned",
    }
    rows_of_a_change = Counter((change.changed_at, change.request_id) for change in changes)
    assert max(rows_of_a_change.values()) == 2
    assert max(Counter((row.changed_at, row.environment) for row in changes).values()) > 3
    numbers = helpers.phone_numbers(synced)
    assert {number.phone_number for number in numbers} >= {*NUMBERS, REPEATED}
    assert max(Counter(number.phone_number for number in numbers).values()) > 3
    midnights = {row.resolved_at.time().isoformat("milliseconds") for row in turnaround}
    assert midnights >= {"00:00:00.000", "23:59:59.999"}
    reasons = synced.execute(sa.select(views.history.c.rejection_reason))
    assert set(reasons.scalars()) >= set(REASONS)


def test_counts(oracles: list[Oracle]) -> None:
    """The counts are those of the events, and of the view of days."""
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in ("requested", *VERDICTS))
    for oracle in oracles:
        every_day = helpers.days(oracle.connection, environment=oracle.environment)
        result = counts(every_day, oracle.period)
        assert result == oracle.counts()
        assert result.rejected == sum(row.requests for row in oracle.rejection_reasons())
        query = f"""SELECT {sums} FROM release_requests_daily
            WHERE day BETWEEN '{oracle.period.since}' AND :last AND {{ours}}"""
        assert result == Counts(*map(int, oracle.select(query)[0]))


def test_hours(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The hours of a period and of its parts are those of the oracle, and of the cookbook."""
    (recipe,) = (recipe for recipe in RECIPES if recipe.name == "hours-to-resolve")
    selected = """(SELECT 'any' AS status, hours_to_resolve, time_source
        FROM release_request_turnaround
        WHERE resolved_at >= :start AND resolved_at < :end AND {ours}) selected"""
    query = recipe.sql.replace("release_request_turnaround", selected)
    assert query != recipe.sql
    for oracle in oracles:
        by_day = statistics.hours_by_day(oracle.period)
        assert all(day in oracle.period for day in by_day)
        _, parts = split(oracle.period)
        for part in (oracle.period, *parts):
            result = hours(by_day, part)
            oracle_of_part = replace(oracle, period=part)
            assert result == oracle_of_part.hours()
            for _, requests, *percentiles in oracle_of_part.select(query):
                assert result.requests == requests
                rounded = list(map(float, percentiles))
                assert [result.median, result.percentile_90] == pytest.approx(rounded, abs=0.051)
        in_parts = sum(hours(by_day, part).requests for part in parts)
        assert in_parts == hours(by_day, oracle.period).requests


def test_released(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The released numbers are counted once each."""
    for oracle in oracles:
        assert statistics.released(oracle.period) == oracle.released()


@pytest.mark.parametrize("name", ["rejection_reasons", "repeat_numbers"])
def test_rankings(statistics: Statistics, oracles: list[Oracle], name: str) -> None:
    """The first rows are those of the oracle, with the number of all."""
    for oracle in oracles:
        for limit, expected in limited(getattr(oracle, name)()):
            result = getattr(statistics, name)(oracle.period, limit=limit)
            assert result == expected
            assert result.omitted == max(0, result.total - limit)


def test_open_requests(statistics: Statistics) -> None:
    """The open requests of now are as many as the last day says."""
    connection, scope = statistics.connection, {"environment": statistics.environment}
    open_requests = Oracle(connection, JANUARY, statistics.environment).open_requests()
    for limit, expected in limited(open_requests):
        assert statistics.open_requests(limit=limit) == expected
    unresolved = [
        request.id
        for request in helpers.release_requests(connection, **scope)
        if request.status == "pending"
        or (request.status not in VERDICTS and request.resolved_at is None)
    ]
    assert {request.id for request in open_requests} == set(unresolved)
    last_days = {day.environment: day for day in helpers.days(connection, **scope)}
    assert sum(day.open_at_end for day in last_days.values()) == len(open_requests)


def test_as_of_a_time(statistics: Statistics) -> None:
    """Open, missing and quarantined are those of the time."""
    connection, scope = statistics.connection, {"environment": statistics.environment}
    for at in (datetime.min.replace(tzinfo=UTC), *TIMES):
        oracle = Oracle(connection, JANUARY, statistics.environment, now=at)
        for limit, expected in limited(oracle.open_requests())[-2:]:
            assert statistics.open_requests(at, limit=limit) == expected
        assert statistics.missing(at) == oracle.missing()
        missing = helpers.release_requests(connection, as_of=at, missing=True, **scope)
        assert statistics.missing(at) == len(missing)
        assert statistics.quarantined(at) == oracle.quarantined()


def test_recent_changes(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The last changes come first, with the number of all, or at least one more."""
    for oracle in oracles:
        changes = oracle.changes()
        versions = len({(change.changed_at, change.request_id) for change in changes})
        for limit in LIMITS:
            result = statistics.recent_changes(oracle.period, limit=limit)
            assert result.rows == changes[:limit]
            assert (result.omitted > 0) is (len(changes) > limit)
            assert result.total == max(versions, min(len(changes), limit + 1))


def test_last_events(statistics: Statistics) -> None:
    """The last events of a number are the end of its history in its environment."""
    connection = statistics.connection
    histories = Oracle(connection, JANUARY).histories()
    for number in helpers.phone_numbers(connection, environment=statistics.environment):
        history = histories[number.environment, number.phone_number]
        for limit in LIMITS:
            result = statistics.last_events(number, limit=limit)
            assert result == Limited(history[-limit:], len(history))
        if number.phone_number.startswith("+"):
            scope = {"environment": number.environment}
            assert history == helpers.phone_number_history(connection, number.phone_number, **scope)


def ids(result: Limited[ReleaseRequest]) -> list[int]:
    """The numbers of the requests."""
    return [int(request.id.removeprefix("request-")) for request in result.rows]


def test_counts_by_hand(synced: Connection) -> None:
    """An approval counts also if it was taken back; a cancellation is resolved, but no decision."""
    every = helpers.days(synced, environment="by hand")
    month = counts(every, JANUARY)
    assert month == Counts(requested=14, approved=7, rejected=3, cancelled=1)
    assert month.resolved == 11
    assert month.approval_rate == 70
    assert counts(every, days(10, 11)) == Counts(14, 0, 0, 0)
    assert counts(every, days(12, 13)) == Counts(0, 5, 1, 0)
    assert counts(iter(every), days(13, 15)) == Counts(0, 1, 2, 1)


@pytest.mark.parametrize(
    ("approvals", "rejections", "rate"),
    [(0, 0, None), (0, 2, 0), (3, 0, 100), (1, 3, 25)],
)
def test_approval_rate(approvals: int, rejections: int, rate: float | None) -> None:
    """The approval rate is the share of approvals in the decisions, if there are any."""
    assert Counts(9, approvals, rejections, cancelled=5).approval_rate == rate


def test_hours_by_hand(synced: Connection) -> None:
    """Reviews count on the day of their end as upstream reported it, if it did."""
    by_day = Statistics(synced, "by hand").hours_by_day(JANUARY)
    assert by_day == {
        date(2024, 1, 12): [42.5] * 4,
        date(2024, 1, 13): [66.5] * 3,
        date(2024, 1, 14): [90.5],
    }
    assert hours(by_day, JANUARY) == Hours(8, 42.5, 90.5)
    assert hours(by_day, days(12, 14)) == Hours(7, 42.5, 66.5)
    one_day = Statistics(synced, "by hand").hours_by_day(days(13, 14))
    assert one_day == {date(2024, 1, 13): [66.5] * 3}


@pytest.mark.parametrize(
    ("period", "expected"),
    [(JANUARY, 4), (days(11, 12), 1), (days(12, 13), 3), (days(13, 14), 0), (days(14, 15), 1)],
)
def test_released_by_hand(synced: Connection, period: Period, expected: int) -> None:
    """A number approved twice was released once; one that is rejected now, or open, was not."""
    assert Statistics(synced, "by hand").released(period) == expected


def test_rejection_reasons_by_hand(synced: Connection) -> None:
    """The most frequent reason comes first; then none at all, then in the order of characters."""
    counts = {"open": 3, None: 2, "B": 2, "a": 2, "é": 1}
    for limit, expected in limited([Reason(*item) for item in counts.items()]):
        result = Statistics(synced, "rejected").rejection_reasons(JANUARY, limit=limit)
        assert result == expected
    result = Statistics(synced, "by hand").rejection_reasons(JANUARY, limit=5)
    assert result.rows == [Reason(OPEN_INVOICES, 2), Reason(None, 1)]


def test_reasons_are_not_in_the_order_of_a_language(mirrors: Callable[[str], Mirror]) -> None:
    """Their order does not depend on the collation of Postgres."""
    collations = """SELECT collname FROM pg_collation
        WHERE collname IN ('C', 'en_US.utf8', 'und-x-icu') ORDER BY collname"""
    with mirrors("postgresql").engine.begin() as connection:
        for collation in connection.exec_driver_sql(collations).scalars().all():
            connection.exec_driver_sql(
                f"""CREATE TEMPORARY VIEW phone_number_history AS
                SELECT environment, event, occurred_at,
                       rejection_reason COLLATE "{collation}" AS rejection_reason
                FROM public.phone_number_history"""
            )
            result = Statistics(connection, "rejected").rejection_reasons(JANUARY, limit=9)
            assert [row.reason for row in result.rows] == ["open", None, "B", "a", "é"]
            connection.exec_driver_sql("DROP VIEW phone_number_history")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (january(10, 14), []),
        (january(10, 15), [1, 10, 11, 12, 13, 14, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(11, 18), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(12, 18), [1, 11, 13, 4, 5, 6, 7, 8]),
        (january(13, 18), [1, 13, 6, 8]),
        (january(14, 18), [1, 6, 8]),
        (None, [1, 6, 8]),
    ],
)
def test_open_by_hand(synced: Connection, at: datetime | None, expected: list[int]) -> None:
    """An unknown status alone resolves nothing, a reopened request is open, a missing one is not.

    The time that is best known counts, and of a request that was corrected, the last one.
    """
    for limit in LIMITS:
        result = Statistics(synced, "by hand").open_requests(at=at, limit=limit)
        assert ids(result) == expected[:limit]
        assert result.total == len(expected)


@pytest.mark.parametrize(
    ("at", "missing", "quarantined"),
    [
        (january(11, 11), 0, 0),
        (january(11, 18), 0, 2),
        (january(12, 18), 2, 3),
        (january(13, 18), 1, 2),  # that one of them was absent in between is not recorded
        (january(15, 18), 1, 2),
    ],
)
def test_missing_and_quarantined_by_hand(
    synced: Connection, at: datetime, missing: int, quarantined: int
) -> None:
    """Missing and quarantined count from the sync that saw them until the one that does not."""
    assert Statistics(synced, "by hand").missing(at) == missing
    assert Statistics(synced, "by hand").quarantined(at) == quarantined


def kinds(result: Limited[Change]) -> list[tuple[int, str, int]]:
    """The day of each change, its kind, and the number of the request."""
    return [
        (change.changed_at.day, change.kind, int(change.request_id.removeprefix("request-")))
        for change in result.rows
    ]


RECENT_CHANGES = [
    (15, "resolved", 13),
    (13, "resolved", 10),
    (13, "returned", 10),
    (13, "corrected", 11),
    (13, "resolved", 4),
    (13, "resolved", 5),
    (13, "resolved", 7),
    (13, "reopened", 8),
    (12, "vanished", 10),
    (12, "resolved", 11),
    (12, "resolved", 12),
    (12, "resolved", 2),
    (12, "resolved", 3),
    (12, "corrected", 6),
    (12, "resolved", 8),
    (12, "vanished", 9),
]


@pytest.mark.parametrize(
    ("period", "limit", "expected", "total"),
    [
        (JANUARY, 1, RECENT_CHANGES[:1], 15),
        (JANUARY, 2, RECENT_CHANGES[:2], 15),  # one of two rows of a request that returned
        (JANUARY, 9, RECENT_CHANGES[:9], 15),
        (JANUARY, 15, RECENT_CHANGES[:15], 16),
        (JANUARY, 16, RECENT_CHANGES, 16),
        (days(13, 14), 6, RECENT_CHANGES[1:7], 7),
        (days(12, 13), 3, RECENT_CHANGES[8:11], 8),
        (days(12, 15), 1000, RECENT_CHANGES[1:], 15),
        (days(14, 15), 5, [], 0),
    ],
)
def test_recent_changes_by_hand(
    synced: Connection,
    period: Period,
    limit: int,
    expected: list[tuple[int, str, int]],
    total: int,
) -> None:
    """A sync may see more changes than the limit, and a request that returned has two rows."""
    result = Statistics(synced, "by hand").recent_changes(period, limit=limit)
    assert kinds(result) == expected
    assert result.total == total


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period(date(2023, 10, 1), date(2023, 11, 1)), [6, 1, 7, 5]),
        (Period(date(2023, 9, 1), date(2023, 10, 1)), [1, 5, 2]),
        (Period(date(2023, 11, 1), date(2023, 12, 1)), [1, 7, 4]),
        (Period(date(2023, 11, 6), date(2023, 12, 1)), []),
    ],
)
def test_repeat_numbers_by_hand(synced: Connection, period: Period, expected: list[int]) -> None:
    """A number counts if its first request is before the end, and its last after the start."""
    numbers = Statistics(synced, "repeated").repeat_numbers(period, limit=10).rows
    assert [int(number.phone_number[-1]) for number in numbers] == expected
    assert all(number.requests == len(SUBMITTED[number.phone_number]) for number in numbers)


def test_last_events_by_hand(synced: Connection) -> None:
    """The last events of a number are in the order in which they happened."""
    (number,) = Statistics(synced, "by hand").repeat_numbers(JANUARY, limit=5).rows
    assert (number.phone_number, number.requests) == (REPEATED, 2)
    result = Statistics(synced).last_events(number, limit=3)
    assert [(event.event, event.request_id) for event in result.rows] == [
        ("requested", "request-13"),
        ("approved", "request-12"),
        ("approved", "request-13"),
    ]
    assert (result.total, result.omitted) == (4, 1)


def test_an_empty_mirror(connection: Connection) -> None:
    """Before the first sync there is nothing to count or to rank."""
    nothing: Limited[Any] = Limited([], 0)
    assert counts(helpers.days(connection), JANUARY) == Counts(0, 0, 0, 0)
    statistics = Statistics(connection)
    assert statistics.hours_by_day(JANUARY) == {}
    assert statistics.released(JANUARY) == 0
    assert statistics.rejection_reasons(JANUARY, limit=5) == nothing
    assert statistics.open_requests(limit=5) == nothing
    assert statistics.open_requests(at=JANUARY.end, limit=5) == nothing
    assert statistics.missing(JANUARY.end) == 0
    assert statistics.quarantined(JANUARY.end) == 0
    assert statistics.recent_changes(JANUARY, limit=5) == nothing
    assert statistics.repeat_numbers(JANUARY, limit=5) == nothing
    when = JANUARY.start
    number = PhoneNumber("x", "x", None, 1, "x", "pending", when, when, None, released=False)
    assert statistics.last_events(number, limit=5) == nothing
