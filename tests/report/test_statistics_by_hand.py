"""Counts and rankings of lists written by hand, of which a reader can tell the results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.queries import helpers
from mirror.queries.results import Change, Limited, PhoneNumber, ReleaseRequest
from mirror.report.model import Counts, Hours, Reason, Undated
from mirror.report.period import Period
from mirror.report.statistics import Statistics, counts, hours
from tests.support.mirrors import Mirror
from tests.support.statistics_lists import (
    JANUARY,
    LIMITS,
    OPEN_INVOICES,
    REPEATED,
    SUBMITTED,
    days,
    january,
    limited,
)


def ids(result: Limited[ReleaseRequest]) -> list[int]:
    """The numbers of the requests."""
    return [int(request.id.removeprefix("request-")) for request in result.rows]


def test_counts_by_hand(synced: Connection) -> None:
    """An approval counts also if it was taken back; a cancellation is resolved, but no decision."""
    every = helpers.days(synced, environment="by hand")
    month = counts(every, JANUARY)
    assert month == Counts(requested=14, approved=6, rejected=3, cancelled=1)
    assert month.resolved == 10
    assert month.approval_rate == pytest.approx(100 * 6 / 9)
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
    ("period", "observed", "approved"),
    [
        (JANUARY, 1, 1),
        (days(9, 10), 0, 0),
        (days(10, 11), 0, 1),  # submitted on the tenth, and first seen approved on the eleventh
        (days(11, 12), 0, 1),
        (days(12, 13), 0, 0),
        (days(13, 14), 1, 0),
    ],
)
def test_undated_by_hand(synced: Connection, period: Period, observed: int, approved: int) -> None:
    """An observed time is in one period; an unknown one may be in each that its bounds reach."""
    unknown = Counts(requested=0, approved=approved, rejected=0, cancelled=0)
    assert Statistics(synced, "by hand").undated(period) == Undated(observed, unknown)


@pytest.mark.parametrize(
    ("period", "expected"),
    [(JANUARY, 3), (days(11, 12), 0), (days(12, 13), 3), (days(13, 14), 0), (days(14, 15), 1)],
)
def test_released_by_hand(synced: Connection, period: Period, expected: int) -> None:
    """A number approved twice was released once; one that is rejected now, or open, was not.

    Nor is one counted that was approved at an unknown time.
    """
    assert Statistics(synced, "by hand").released(period) == expected


def test_rejection_reasons_by_hand(synced: Connection) -> None:
    """The most frequent reason comes first; then none at all, then in the order of characters."""
    ranking = {"open": 3, None: 2, "B": 2, "a": 2, "é": 1}
    for limit, expected in limited([Reason(*item) for item in ranking.items()]):
        result = Statistics(synced, "rejected").rejection_reasons(JANUARY, limit=limit)
        assert result == expected
    result = Statistics(synced, "by hand").rejection_reasons(JANUARY, limit=5)
    assert result.rows == [Reason(OPEN_INVOICES, 2), Reason(None, 1)]


def test_ties_of_reasons_ignore_the_collation(mirrors: Callable[[str], Mirror]) -> None:
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
        (january(10, 15), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(11, 18), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(12, 18), [1, 11, 13, 4, 5, 6, 7, 8]),
        (january(13, 18), [1, 13, 6, 8]),
        (january(14, 18), [1, 6, 8]),
        (None, [1, 6, 8]),
    ],
)
def test_open_by_hand(synced: Connection, at: datetime | None, expected: list[int]) -> None:
    """An unknown status alone resolves nothing, a reopened request is open, a missing one is not.

    The time that is best known counts, and of a request that was corrected, the last one. One that
    was resolved at an unknown time is never open.
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
