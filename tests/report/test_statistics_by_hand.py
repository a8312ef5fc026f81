"""Counts and rankings of lists written by hand, of which a reader can tell the results."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.db.engine import read_transaction
from mirror.queries import helpers
from mirror.queries.results import Change, Limited, PhoneNumber, ReleaseRequest
from mirror.report.model import Counts, Hours, Reason, Undated
from mirror.report.period import Period
from mirror.report.rankings import Rankings
from mirror.report.snapshot import Snapshot
from mirror.report.statistics import Statistics, counts, hours, rejection_reasons, undated
from tests.support.list_parser import Fields
from tests.support.mirrors import Mirror
from tests.support.statistics_lists import (
    JANUARY,
    LIMITS,
    OPEN_INVOICES,
    OTHER_REASON,
    REPEATED,
    SUBMITTED,
    approved,
    days,
    january,
    rejected,
    sync_lists,
)
from tests.support.upstream import request


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
    """Reviews count on the day of their end as upstream reported it, if it did.

    An undocumented status is not known to be the end of one.
    """
    by_day = Statistics(synced, "by hand").hours_by_day(JANUARY)["by hand"]
    assert by_day == {
        date(2024, 1, 12): [42.5] * 4,
        date(2024, 1, 13): [66.5] * 2,
        date(2024, 1, 14): [90.5],
    }
    assert hours(by_day, JANUARY) == Hours(7, 42.5, 90.5)
    assert hours(by_day, days(12, 14)) == Hours(6, 42.5, 66.5)
    one_day = Statistics(synced, "by hand").hours_by_day(days(13, 14))
    assert one_day == {"by hand": {date(2024, 1, 13): [66.5] * 2}}
    usual = Statistics(synced, "by hand").usual_hours
    assert usual(january(14)) == Hours(6, None, 66.5)
    assert usual(january(15)) == Hours(7, None, 90.5)
    assert usual(january(11)) == Hours(0, None, None)


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
    (resolutions,) = Statistics(synced, "by hand").resolutions([period])
    assert undated(resolutions) == Undated(observed, unknown)


@pytest.mark.parametrize(
    ("period", "expected"),
    [(JANUARY, 3), (days(11, 12), 0), (days(12, 13), 3), (days(13, 14), 0), (days(14, 15), 1)],
)
def test_released_by_hand(synced: Connection, period: Period, expected: int) -> None:
    """A number approved twice was released once; one that is rejected now, or open, was not.

    Nor is one counted that was approved at an unknown time.
    """
    assert Statistics(synced, "by hand").released(period)["by hand"] == expected


def reasons(statistics: Statistics) -> Limited[Reason]:
    """The reasons of January."""
    (resolutions,) = statistics.resolutions([JANUARY])
    return rejection_reasons(resolutions, limit=9)


def test_rejection_reasons_by_hand(synced: Connection) -> None:
    """The most frequent reason comes first; then none at all, then in the order of characters."""
    ranking = {"open": 3, None: 2, "B": 2, "a": 2, "é": 1}
    result = reasons(Statistics(synced, "rejected"))
    assert result.rows == [Reason(reason, n, 10.0 * n) for reason, n in ranking.items()]
    result = reasons(Statistics(synced, "by hand"))
    assert [(row.reason, row.requests) for row in result.rows] == [(OPEN_INVOICES, 2), (None, 1)]
    assert sum(row.share for row in result.rows) == pytest.approx(100)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (january(10, 14), []),
        (january(10, 15), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(11, 18), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (january(12, 18), [1, 13, 4, 5, 6, 7]),
        (january(13, 18), [1, 13, 6, 8]),
        (january(14, 18), [1, 6, 8]),
        (None, [1, 6, 8]),
    ],
)
def test_open_by_hand(synced: Connection, at: datetime | None, expected: list[int]) -> None:
    """An unknown status alone resolves nothing, a reopened request is open, a missing one is not.

    The time that is best known counts. A request that was reopened or corrected later counts as it
    was then, and one that was resolved at an unknown time is never open.
    """
    for limit in LIMITS:
        result = Snapshot(synced, "by hand", at).open_requests(limit=limit)
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
    snapshot = Snapshot(synced, "by hand", at)
    assert snapshot.missing()["by hand"] == missing
    assert snapshot.quarantined()["by hand"] == quarantined


def kinds(result: Limited[Change]) -> list[tuple[int, str, int]]:
    """The day of each change, its kind, and the number of the request."""
    return [
        (change.changed_at.day, change.kind, int(change.request_id.removeprefix("request-")))
        for change in result.rows
    ]


SURPRISES = [
    (13, "returned", 10),
    (13, "corrected", 11),
    (13, "reopened", 8),
    (12, "vanished", 10),
    (12, "corrected", 6),
    (12, "vanished", 9),
]


@pytest.mark.parametrize(
    ("period", "limit", "syncs", "surprises"),
    [
        (JANUARY, 2, [(15, 1, 0, 0, 0, 0), (13, 4, 1, 1, 0, 1)], SURPRISES[:2]),
        (JANUARY, 6, [(15, 1, 0, 0, 0, 0), (13, 4, 1, 1, 0, 1), (12, 5, 0, 1, 2, 0)], SURPRISES),
        (days(13, 14), 6, [(13, 4, 1, 1, 0, 1)], SURPRISES[:3]),
        (days(12, 13), 1, [(12, 5, 0, 1, 2, 0)], SURPRISES[3:4]),
        (days(15, 16), 6, [(15, 1, 0, 0, 0, 0)], []),
        (days(14, 15), 5, [], []),
    ],
)
def test_changes_by_hand(
    synced: Connection,
    period: Period,
    limit: int,
    syncs: list[tuple[int, ...]],
    surprises: list[tuple[int, str, int]],
) -> None:
    """Changes are counted by sync; all but resolutions are listed, whatever sync saw them."""
    rankings = Rankings(synced, "by hand")
    groups, rows = rankings.changes(period, max_syncs=limit, max_surprises=limit)
    assert [
        (row.changed_at.day, row.resolved, row.reopened, row.corrected, row.vanished, row.returned)
        for row in groups.rows
    ] == syncs
    assert kinds(rows) == surprises
    assert rows.total == {JANUARY: 6, days(13, 14): 3, days(12, 13): 3}.get(period, 0)


REJECTED_AGAIN: dict[int, tuple[str, list[Fields]]] = {
    # number, and what it is in each list, from the eleventh on
    1: ("+15552220001", [rejected(12)]),
    2: ("+15552220001", [rejected(14)]),
    3: ("+15552220002", [rejected(12), {}, rejected(13)]),
    4: ("+15552220003", [rejected(12, "other")]),
    5: ("+15552220003", [rejected(14)]),
    6: ("+15552220004", [rejected(12, None)]),
    7: ("+15552220004", [rejected(14, None)]),
    8: ("+15552220005", [rejected(12)]),
    9: ("+15552220005", [rejected(13)]),
    10: ("+15552220005", [{}, approved(14)]),
    11: ("+15552220006", [{"status": "rejected", "rejection_reason": OPEN_INVOICES}]),
    12: ("+15552220006", [rejected(14)]),
    13: ("+15552220007", [rejected(12) | OTHER_REASON, rejected(12)]),
}


def test_rejected_again_by_hand(sqlite_mirror: Mirror) -> None:
    """A number counts if it was rejected twice for a reason, and not approved since.

    It does not matter whether by one request or two, nor whether the first time is known. Another
    version of a rejected request is no other rejection.
    """
    longest = max(len(states) for _, states in REJECTED_AGAIN.values())
    lists = [
        (
            january(14 + place, 12),
            [
                request(n, phone_number=number, **states[min(place, len(states) - 1)])
                for n, (number, states) in REJECTED_AGAIN.items()
            ],
        )
        for place in range(longest)
    ]
    sync_lists(sqlite_mirror, {"default": lists})
    expected = {
        JANUARY: {1: 2, 2: 2, 6: 2},
        days(1, 14): {2: 2, 5: 2},
        days(13, 14): {2: 2, 5: 2},
        days(14, 15): {1: 2, 6: 2},
        days(15, 16): {},
    }
    with read_transaction(sqlite_mirror.engine) as connection:
        for period, numbers in expected.items():
            result = Rankings(connection).rejected_again(period, limit=9)
            found = {int(row.phone_number[-1]): row.rejections for row in result.rows}
            assert (period, found) == (period, numbers)


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
    numbers = Rankings(synced, "repeated").repeat_numbers(period, limit=10).rows
    assert [int(number.phone_number[-1]) for number in numbers] == expected
    assert all(number.requests == len(SUBMITTED[number.phone_number]) for number in numbers)


def test_last_events_by_hand(synced: Connection) -> None:
    """The last events of a number are in the order in which they happened."""
    (number,) = Rankings(synced, "by hand").repeat_numbers(JANUARY, limit=5).rows
    assert (number.phone_number, number.requests) == (REPEATED, 2)
    result = Rankings(synced).last_events(number, limit=3)
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
    statistics, rankings = Statistics(connection), Rankings(connection)
    assert statistics.hours_by_day(JANUARY) == {}
    assert statistics.usual_hours(JANUARY.end) == Hours(0, None, None)
    assert statistics.released(JANUARY) == {}
    assert statistics.resolutions([JANUARY, days(1, 2)]) == [[], []]
    assert rejection_reasons([], limit=5) == nothing
    for at in (None, JANUARY.end):
        snapshot = Snapshot(connection, at=at)
        assert snapshot.open_requests(limit=5) == nothing
        assert snapshot.count_open([JANUARY.end, None]) == {}
        assert snapshot.missing() == snapshot.quarantined() == {}
        assert snapshot.missing_requests(limit=5) == nothing
        assert snapshot.quarantined_records(limit=5) == nothing
    assert rankings.changes(JANUARY, max_syncs=5, max_surprises=5) == (nothing, nothing)
    assert rankings.repeat_numbers(JANUARY, limit=5) == nothing
    assert rankings.rejected_again(JANUARY, limit=5) == nothing
    when = JANUARY.start
    number = PhoneNumber("x", "x", None, 1, "x", "pending", when, when, None, released=False)
    assert rankings.last_events(number, limit=5) == nothing
