"""What there is to count and to rank in a period, on both databases.

A mirror sees lives: one told by hand, of which one can read what must come of it; and some that
chance rules, of which each answer is held against plain SQL on the views, or against plain Python
over all of their rows. `stress/test_chance.py` has many more of these.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import views
from mirror.db.cookbook import RECIPES
from mirror.db.engine import read_transaction
from mirror.queries import helpers
from mirror.queries.results import Change, HistoryEvent, Limited, PhoneNumber, ReleaseRequest
from mirror.report import statistics
from mirror.report.period import Period, steps
from mirror.report.statistics import Counts, Hours, Reason
from tests.support.databases import DATABASES
from tests.support.list_parser import Fields
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import request

VERDICTS = ("approved", "rejected", "cancelled")
MILLISECOND = timedelta(milliseconds=1)
LIMITS = (1, 2, 3, 1000)


def on(day: int, hour: int = 9) -> str:
    """Write a time in January as upstream does."""
    return f"2024-01-{day:02d}T{hour:02d}:00:00Z"


def time(day: int, hour: int = 0) -> datetime:
    """A time in January."""
    return datetime.fromisoformat(on(day, hour))


def days(first: int, until: int) -> Period:
    """Some days of January."""
    return Period(date(2024, 1, first), date(2024, 1, until))


GONE = None
TWICE = "+15550009999"
OPEN_INVOICES = "There are open invoices"
OTHER_REASON = {"reason": "The campaign has ended"}


def approved(day: int) -> Fields:
    """What is said of a request that was approved on a day."""
    return {"status": "approved", "resolved_at": on(day)}


def rejected(day: int, reason: str | None = OPEN_INVOICES) -> Fields:
    """What is said of a request that was rejected on a day."""
    return {"status": "rejected", "resolved_at": on(day), "rejection_reason": reason}


BY_HAND: dict[int, list[Fields | None]] = {
    1: [{}],
    2: [{}, approved(12)],
    3: [{}, rejected(12)],
    4: [{}, {}, rejected(13, None)],
    5: [{}, {}, {"status": "cancelled"}],
    6: [{}, {"status": "on_hold"}],
    7: [{}, {}, {"status": "escalated", "resolved_at": on(13)}],
    8: [{}, approved(12), {}],
    9: [{}, GONE],
    10: [{}, GONE, approved(12) | OTHER_REASON],
    11: [{}, approved(12), rejected(13)],
    12: [{"phone_number": TWICE}, approved(12) | {"phone_number": TWICE}],
    13: [*[{"phone_number": TWICE}] * 4, approved(14) | {"phone_number": TWICE}],
    14: [{"status": "approved"}],
}
"""What is said of each request, in one sync after the other; the last one is said again.

All were submitted on the tenth, in the afternoon. The syncs are at noon, from the eleventh on.
"""

JUNK = [["goes", "returns"], ["goes", "returns", "stays"], ["stays"], ["returns", "stays"]]
"""What else is in the list of each sync, and cannot be understood."""

ASKED = {
    "+15551110001": ["2023-09-05T12:00:00Z", "2023-11-05T12:00:00Z"],
    "+15551110002": ["2023-09-05T12:00:00Z", "2023-09-30T23:59:59.999Z"],
    "+15551110003": ["2023-10-05T12:00:00Z"],
    "+15551110004": ["2023-11-01T00:00:00Z", "2023-11-02T12:00:00Z"],
    "+15551110005": ["2023-09-01T12:00:00Z", "2023-10-01T00:00:00Z"],
    "+15551110006": ["2023-10-10T12:00:00Z", "2023-10-11T12:00:00Z", "2023-10-12T12:00:00Z"],
    "+15551110007": ["2023-10-31T23:59:59.999Z", "2023-11-05T12:00:00Z"],
}
"""When each number was asked for."""

DENIED = ["é", "a", "a", "B", "B", None, None, "open", "open", "open"]
"""Why each request was rejected."""

REASONS = (
    None,
    "",
    OPEN_INVOICES,
    "open",
    "<script>alert('x')</script>",
    '\x1b[31m"red"\n-- %s :reason',
    "Não é necessário",
)
NUMBERS = (
    *(f"+1555000000{digit}" for digit in range(4)),
    "+5511987654321",
    "not a number",
    'O\'Brien "x" \\ %',
)
STATUSES = ("pending", "approved", "approved", "rejected", "rejected", "cancelled", "on_hold")


class Life:
    """An upstream that chance rules: what its list holds, from one sync to the next.

    Its times are often the first or the last moment of a day, and so are those of the syncs.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 (a test's fate, no cryptography)
        self.name = f"chance {seed}"
        self.requests: list[Fields] = []

    def lists(self) -> list[tuple[datetime, list[Any]]]:
        """What it says, and when it is asked."""
        return [(time(day, hour), self._said(day)) for day in range(11, 15) for hour in (0, 12)]

    def _said(self, day: int) -> list[Any]:
        chance = self.chance
        for _ in range(chance.randrange(2, 8)):
            one = {"phone_number": chance.choice(NUMBERS), "requested_at": self._moment(day)}
            self.requests.append(one | {"id": f"{self.name} {len(self.requests)}"})
        for one in self.requests:
            if chance.random() < 0.4:
                acts = (self._verdict, self._verdict, self._edit)
                one.update(chance.choice(acts)(day))
        listed = [request(**one) for one in self.requests if chance.random() < 0.8]
        return listed + [word for word in ("junk", "trash", "waste") if chance.random() < 0.5]

    def _verdict(self, day: int) -> Fields:
        status = self.chance.choice(STATUSES)
        reported = status != "pending" and self.chance.random() < 0.7
        return {
            "status": status,
            "resolved_at": self._moment(day) if reported else None,
            "rejection_reason": self.chance.choice(REASONS) if status == "rejected" else None,
        }

    def _edit(self, day: int) -> Fields:
        return self.chance.choice(
            [
                OTHER_REASON,
                {"phone_number": self.chance.choice(NUMBERS)},
                {"requested_at": self._moment(day)},
            ]
        )

    def _moment(self, day: int) -> str:
        moment = self.chance.choice(["00:00:00", "09:30:00.250", "23:59:59.999"])
        return f"2024-01-{self.chance.randrange(day - 4, day + 3):02d}T{moment}Z"


def by_hand() -> list[tuple[datetime, list[Any]]]:
    """What is said by hand, and when."""
    lists: list[tuple[datetime, list[Any]]] = []
    for number in range(max(map(len, BY_HAND.values()))):
        told = {key: said[min(number, len(said) - 1)] for key, said in BY_HAND.items()}
        records = [request(key, **fields) for key, fields in told.items() if fields is not None]
        lists.append((time(11 + number, 12), records + JUNK[min(number, len(JUNK) - 1)]))
    return lists


def said_once(name: str, records: list[Fields]) -> list[tuple[datetime, list[Any]]]:
    """What is said in only one list; each of its requests differs in these fields."""
    every = [request(place, **one) | {"id": f"{name} {place}"} for place, one in enumerate(records)]
    return [(time(14, 12), every)]


Lives = dict[str, list[tuple[datetime, list[Any]]]]
"""What each environment's upstream says, and when."""

LIVES: Lives = {
    "by hand": by_hand(),
    "asked": said_once(
        "asked",
        [
            {"phone_number": number, "requested_at": when}
            for number, times in ASKED.items()
            for when in times
        ],
    ),
    "denied": said_once("denied", [rejected(12, reason) for reason in DENIED]),
} | {life.name: life.lists() for life in map(Life, range(2))}
ENVIRONMENTS = (None, "chance 0", "nowhere")
JANUARY = Period(date(2024, 1, 1), date(2024, 2, 1))
PERIODS = (
    Period(date(2023, 12, 20), date(2024, 2, 10)),
    days(11, 14),
    days(12, 13),
    Period(date(2023, 1, 1), date(2023, 2, 1)),
    Period(date.min, date(2024, 1, 13)),
)
MOMENTS = [
    time(day, hour) - before
    for day in range(9, 16)
    for hour in (0, 12)
    for before in (MILLISECOND, timedelta(0))
]
"""Times at which syncs ran, and at which things happened; and just before."""


def tell(mirror: Mirror, lives: Lives = LIVES) -> Mirror:
    """Let a mirror see lives."""
    for environment, lists in lives.items():
        for when, records in lists:
            mirror.now = when - timedelta(hours=1)
            result = mirror.sync(records, environment=environment, accept_missing=True)
            assert result.failure is None
            assert result.started_at == when
    return mirror


@pytest.fixture(scope="module")
def mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """The mirrors that have seen the lives, once of each kind; tests only read them."""
    with mirrors_by_kind(request, tell) as get:
        yield get


@pytest.fixture(params=DATABASES)
def told(request: pytest.FixtureRequest, mirrors: Callable[[str], Mirror]) -> Iterator[Connection]:
    """A connection to a mirror that has seen the lives."""
    with read_transaction(mirrors(request.param).engine) as connection:
        yield connection


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str | None:
    """The environment to ask about; None for all of them."""
    name: str | None = request.param
    return name


def rows(told: Connection, query: str, period: Period, environment: str | None) -> list[Any]:
    """Run a query in which `{when}` stands for a period, and `{ours}` for an environment."""
    ours = "(CAST(:environment AS text) IS NULL OR environment = :environment)"
    values = {
        "first": f"{period.since} 00:00:00.000",
        "last": f"{period.last} 23:59:59.999",
        "environment": environment,
    }
    text = query.format(when="BETWEEN :first AND :last", ours=ours)
    return list(told.execute(sa.text(text), values))


def known(told: Connection, environment: str | None) -> list[ReleaseRequest]:
    """All requests, in the list or not, the oldest first."""
    found: list[ReleaseRequest] = [
        one
        for missing in (False, True)
        for one in helpers.release_requests(told, environment=environment, missing=missing)
    ]
    return sorted(found, key=lambda one: (one.requested_at, one.id))


def is_resolved(one: ReleaseRequest) -> bool:
    """Whether it has left pending for good."""
    return one.status in VERDICTS or (one.status != "pending" and one.resolved_at is not None)


def parts(every: list[Any]) -> list[tuple[int, Limited[Any]]]:
    """What there must be of all rows, for each limit."""
    return [(limit, Limited(every[:limit], len(every))) for limit in LIMITS]


def test_chance_brings_everything(told: Connection) -> None:
    """What the comparisons are about does occur in the lives."""
    requests = known(told, None)
    turnaround = helpers.turnaround(told)
    changes = helpers.changes(told)
    assert {one.status for one in requests} == {*STATUSES, "escalated"}
    assert {one.time_source for one in turnaround if one.status == "cancelled"} == {
        "reported",
        "observed",
    }
    assert {one.time_source for one in turnaround if one.status == "on_hold"} == {"reported"}
    assert {one.kind for one in changes} == {
        "resolved",
        "reopened",
        "corrected",
        "vanished",
        "returned",
    }
    twofold = Counter((one.changed_at, one.request_id) for one in changes)
    assert max(twofold.values()) == 2
    assert max(Counter((one.changed_at, one.environment) for one in changes).values()) > 3
    numbers = helpers.phone_numbers(told)
    assert {one.phone_number for one in numbers} >= {*NUMBERS, TWICE}
    assert max(Counter(one.phone_number for one in numbers).values()) > 3
    midnights = {one.resolved_at.time().isoformat("milliseconds") for one in turnaround}
    assert midnights >= {"00:00:00.000", "23:59:59.999"}
    reasons = told.execute(sa.select(views.history.c.rejection_reason))
    assert set(reasons.scalars()) >= set(REASONS)


def test_counts(told: Connection, environment: str | None) -> None:
    """The days of a period add up to what SQL makes of them."""
    every = helpers.days(told, environment=environment)
    for period in PERIODS:
        found = statistics.counts(every, period)
        names = ("requested", *VERDICTS)
        sums = ", ".join(f"coalesce(sum({name}), 0)" for name in names)
        query = f"""SELECT {sums} FROM release_requests_daily
            WHERE CAST(day AS text) || ' 12:00:00.000' {{when}} AND {{ours}}"""
        (row,) = rows(told, query, period, environment)
        assert found == Counts(*map(int, row))
        assert found.resolved == sum(row[1:])


def least(values: list[float], percent: int) -> float | None:
    """The least of the values that so many in a hundred of them do not exceed."""
    return min(
        (
            one
            for one in values
            if 100 * sum(other <= one for other in values) >= percent * len(values)
        ),
        default=None,
    )


def test_hours(told: Connection, environment: str | None) -> None:
    """Of a period and of each of its steps, they are those of the reviews that ended in it."""
    reported = [
        one
        for one in helpers.turnaround(told, environment=environment)
        if one.time_source == "reported"
    ]
    for period in PERIODS:
        by_day = statistics.hours_by_day(told, period, environment=environment)
        assert all(day in period for day in by_day)
        weeks = steps(period).periods
        for part in (period, *weeks):
            values = [
                one.hours_to_resolve for one in reported if part.start <= one.resolved_at < part.end
            ]
            found = statistics.hours(by_day, part)
            assert found == Hours(len(values), least(values, 50), least(values, 90))
        in_weeks = sum(statistics.hours(by_day, week).requests for week in weeks)
        assert in_weeks == statistics.hours(by_day, period).requests


def test_hours_are_those_of_the_cookbook(told: Connection, environment: str | None) -> None:
    """The percentiles are those of the cookbook's query, if it is asked about a period."""
    (recipe,) = (one for one in RECIPES if one.name == "hours-to-resolve")
    chosen = """(SELECT 'any' AS status, hours_to_resolve, time_source
        FROM release_request_turnaround WHERE resolved_at {when} AND {ours}) chosen"""
    query = recipe.sql.replace("release_request_turnaround", chosen)
    assert query != recipe.sql
    for period in PERIODS:
        by_day = statistics.hours_by_day(told, period, environment=environment)
        for part in (period, *steps(period).periods):
            found = statistics.hours(by_day, part)
            if told_in_sql := rows(told, query, part, environment):
                ((_, requests, *percentiles),) = told_in_sql
                assert found.requests == requests
                rounded = list(map(float, percentiles))
                assert [found.median, found.percentile_90] == pytest.approx(rounded, abs=0.051)
            else:
                assert found == Hours(0, None, None)


@pytest.mark.parametrize(
    ("count", "median", "percentile_90"),
    [(1, 1, 1), (2, 1, 2), (3, 2, 3), (9, 5, 9), (10, 5, 9), (11, 6, 10), (20, 10, 18)],
)
def test_nearest_rank(count: int, median: float, percentile_90: float) -> None:
    """Half of 1, 2, 3, … hours is reached at a value that occurs, and so are nine in ten."""
    values = [float(number) for number in range(count, 0, -1)]
    by_day = {date(2024, 1, 12): values[::2], date(2024, 1, 13): values[1::2]}
    assert statistics.hours(by_day, days(12, 14)) == Hours(count, median, percentile_90)


def test_hours_of_some_days() -> None:
    """Only the days of the period count, and without reviews there are no percentiles."""
    by_day = {date(2024, 1, day): [float(day)] * 3 for day in range(11, 16)}
    assert statistics.hours(by_day, days(12, 14)) == Hours(6, 12, 13)
    assert statistics.hours(by_day, days(15, 31)) == Hours(3, 15, 15)
    assert statistics.hours(by_day, days(16, 31)) == Hours(0, None, None)
    assert statistics.hours({}, days(12, 14)) == Hours(0, None, None)


def test_released(told: Connection, environment: str | None) -> None:
    """Each number with a request that stands approved counts once in its environment."""
    for period in PERIODS:
        reviews = helpers.turnaround(
            told, since=period.start, until=period.end, environment=environment
        )
        numbers = {
            (one.environment, one.phone_number) for one in reviews if one.status == "approved"
        }
        found = statistics.released(told, period, environment=environment)
        assert found == len(numbers)


def test_rejection_reasons(told: Connection, environment: str | None) -> None:
    """Reasons are counted as SQL does, and add up to the rejected ones; ties have an order."""
    query = """SELECT rejection_reason, count(*) FROM phone_number_history
        WHERE event = 'rejected' AND occurred_at {when} AND {ours} GROUP BY rejection_reason"""
    every_day = helpers.days(told, environment=environment)
    for period in PERIODS:
        reasons = [Reason(*row) for row in rows(told, query, period, environment)]
        reasons.sort(key=lambda one: (-one.requests, one.reason is not None, one.reason or ""))
        for limit, expected in parts(reasons):
            found = statistics.rejection_reasons(told, period, environment=environment, limit=limit)
            assert found == expected
            assert found.left_out == max(0, len(reasons) - limit)
        rejections = statistics.counts(every_day, period).rejected
        assert sum(one.requests for one in found.rows) == rejections


def test_open_requests(told: Connection, environment: str | None) -> None:
    """What is open now is neither resolved nor missing, and as many as the last day says."""
    every = [
        one
        for one in known(told, environment)
        if one.missing_since is None and not is_resolved(one)
    ]
    for limit, expected in parts(every):
        assert statistics.open_requests(told, environment=environment, limit=limit) == expected
    last_days = {one.environment: one for one in helpers.days(told, environment=environment)}
    assert sum(one.open_at_end for one in last_days.values()) == len(every)


def test_open_requests_of_the_past(told: Connection, environment: str | None) -> None:
    """What was open at a time was submitted before, and resolved or missing later, if at all."""
    every = known(told, environment)
    resolved = {
        one.id: one.resolved_at for one in helpers.turnaround(told, environment=environment)
    }
    for at in (datetime.min.replace(tzinfo=UTC), *MOMENTS):
        then = [
            one
            for one in every
            if one.requested_at < at
            and (one.id not in resolved or resolved[one.id] >= at)
            and (one.missing_since is None or one.missing_since >= at)
        ]
        for limit, expected in parts(then)[-2:]:
            found = statistics.open_requests(told, at=at, environment=environment, limit=limit)
            assert found == expected


def test_missing_and_quarantined(told: Connection, environment: str | None) -> None:
    """How many were missing or not understood at a time is as many as the rows of then."""
    quarantine = helpers.quarantine(told, environment=environment, resolved=True)
    for at in MOMENTS:
        missing = helpers.release_requests(told, as_of=at, environment=environment, missing=True)
        assert statistics.count_missing(told, at, environment=environment) == len(missing)
        unread = [
            one
            for one in quarantine
            if one.first_seen_at <= at and (one.resolved_at is None or at < one.resolved_at)
        ]
        assert statistics.count_quarantined(told, at, environment=environment) == len(unread)


def test_last_changes(told: Connection, environment: str | None) -> None:
    """The last changes of a period come first, with as many as there are, or at least one more."""
    every = helpers.changes(told, environment=environment)
    for period in PERIODS:
        seen = [one for one in every if period.start <= one.changed_at < period.end]
        seen.sort(key=lambda one: one.changed_at, reverse=True)
        versions = len({(one.changed_at, one.request_id) for one in seen})
        for limit in LIMITS:
            found = statistics.recent_changes(told, period, environment=environment, limit=limit)
            assert found.rows == seen[:limit]
            assert (found.left_out > 0) is (len(seen) > limit)
            assert found.total == max(versions, min(len(seen), limit + 1))


def test_asked_again(told: Connection, environment: str | None) -> None:
    """Numbers with several requests are ranked; those that were asked for around the period."""
    every = helpers.phone_numbers(told, environment=environment)
    for period in PERIODS:
        again = [
            one
            for one in every
            if one.requests > 1
            and one.first_requested_at < period.end
            and one.last_requested_at >= period.start
        ]
        again.sort(key=lambda one: one.last_requested_at, reverse=True)
        again.sort(key=lambda one: -one.requests)
        for limit, expected in parts(again):
            found = statistics.repeat_numbers(told, period, environment=environment, limit=limit)
            assert found == expected


def test_last_events(told: Connection, environment: str | None) -> None:
    """The last events of any number are the end of its time line in its environment."""
    query = sa.select(*(views.history.c[name] for name in HistoryEvent.__slots__))
    events = [HistoryEvent(*row) for row in told.execute(query)]
    order = {"requested": 0, "returned": 1}
    events.sort(key=lambda one: (one.observed_at, order.get(one.event, 2)))
    events.sort(key=lambda one: (one.occurred_at, one.request_id))
    for number in helpers.phone_numbers(told, environment=environment):
        line = [
            one
            for one in events
            if (one.environment, one.phone_number) == (number.environment, number.phone_number)
        ]
        for limit in LIMITS:
            found = statistics.last_events(told, number, limit=limit)
            assert found == Limited(line[-limit:], len(line))
        if number.phone_number.startswith("+"):
            ours = {"environment": number.environment}
            assert helpers.phone_number_history(told, number.phone_number, **ours) == line


def ids(found: Limited[ReleaseRequest]) -> list[int]:
    """The numbers of requests that were told by hand."""
    return [int(one.id.removeprefix("request-")) for one in found.rows]


def test_counts_by_hand(told: Connection) -> None:
    """An approval counts also if it was taken back; a cancellation is resolved, but no decision."""
    every = helpers.days(told, environment="by hand")
    month = statistics.counts(every, JANUARY)
    assert month == Counts(requested=14, approved=7, rejected=3, cancelled=1)
    assert month.resolved == 11
    assert month.approval_rate == 70
    assert statistics.counts(every, days(10, 11)) == Counts(14, 0, 0, 0)
    assert statistics.counts(every, days(12, 13)) == Counts(0, 5, 1, 0)
    assert statistics.counts(iter(every), days(13, 15)) == Counts(0, 1, 2, 1)


@pytest.mark.parametrize(
    ("approvals", "rejections", "rate"),
    [(0, 0, None), (0, 2, 0), (3, 0, 100), (1, 3, 25)],
)
def test_approval_rate(approvals: int, rejections: int, rate: float | None) -> None:
    """It is the share of approvals in the decisions; without those there is none."""
    assert Counts(9, approvals, rejections, cancelled=5).approval_rate == rate


def test_hours_by_hand(told: Connection) -> None:
    """Reviews are found on the day on which upstream says that they ended, and only those."""
    by_day = statistics.hours_by_day(told, JANUARY, environment="by hand")
    assert by_day == {
        date(2024, 1, 12): [42.5] * 4,
        date(2024, 1, 13): [66.5] * 3,
        date(2024, 1, 14): [90.5],
    }
    assert statistics.hours(by_day, JANUARY) == Hours(8, 42.5, 90.5)
    assert statistics.hours(by_day, days(12, 14)) == Hours(7, 42.5, 66.5)
    some = statistics.hours_by_day(told, days(13, 14), environment="by hand")
    assert some == {date(2024, 1, 13): [66.5] * 3}


@pytest.mark.parametrize(
    ("period", "expected"),
    [(JANUARY, 4), (days(11, 12), 1), (days(12, 13), 3), (days(13, 14), 0), (days(14, 15), 1)],
)
def test_released_by_hand(told: Connection, period: Period, expected: int) -> None:
    """A number approved twice was released once; one that is rejected now, or open, was not."""
    assert statistics.released(told, period, environment="by hand") == expected


def test_rejection_reasons_by_hand(told: Connection) -> None:
    """The most frequent reason comes first; then none at all, then in the order of characters."""
    denied = [Reason(*one) for one in [("open", 3), (None, 2), ("B", 2), ("a", 2), ("é", 1)]]
    for limit, expected in parts(denied):
        found = statistics.rejection_reasons(told, JANUARY, environment="denied", limit=limit)
        assert found == expected
    found = statistics.rejection_reasons(told, JANUARY, environment="by hand", limit=5)
    assert found.rows == [Reason(OPEN_INVOICES, 2), Reason(None, 1)]


def test_reasons_are_not_in_the_order_of_a_language(mirrors: Callable[[str], Mirror]) -> None:
    """Their order is the same, in whichever order Postgres keeps texts by itself."""
    known = """SELECT collname FROM pg_collation
        WHERE collname IN ('C', 'en_US.utf8', 'und-x-icu') ORDER BY collname"""
    with mirrors("postgresql").engine.begin() as connection:
        for collation in connection.exec_driver_sql(known).scalars().all():
            connection.exec_driver_sql(
                f"""CREATE TEMPORARY VIEW phone_number_history AS
                SELECT environment, event, occurred_at,
                       rejection_reason COLLATE "{collation}" AS rejection_reason
                FROM public.phone_number_history"""
            )
            found = statistics.rejection_reasons(connection, JANUARY, environment="denied", limit=9)
            assert [one.reason for one in found.rows] == ["open", None, "B", "a", "é"]
            connection.exec_driver_sql("DROP VIEW phone_number_history")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (time(10, 14), []),
        (time(10, 15), [1, 10, 11, 12, 13, 14, 2, 3, 4, 5, 6, 7, 8, 9]),
        (time(11, 18), [1, 10, 11, 12, 13, 2, 3, 4, 5, 6, 7, 8, 9]),
        (time(12, 18), [1, 11, 13, 4, 5, 6, 7, 8]),
        (time(13, 18), [1, 13, 6, 8]),
        (time(14, 18), [1, 6, 8]),
        (None, [1, 6, 8]),
    ],
)
def test_open_by_hand(told: Connection, at: datetime | None, expected: list[int]) -> None:
    """An unknown status alone resolves nothing, a reopened request is open, a missing one is not.

    The time that is best known counts, and of a request that was corrected, the last one.
    """
    for limit, _ in parts(expected):
        found = statistics.open_requests(told, at=at, environment="by hand", limit=limit)
        assert ids(found) == expected[:limit]
        assert found.total == len(expected)


@pytest.mark.parametrize(
    ("at", "missing", "quarantined"),
    [
        (time(11, 11), 0, 0),
        (time(11, 18), 0, 2),
        (time(12, 18), 2, 3),
        (time(13, 18), 1, 2),  # that one of them was away is not on record
        (time(15, 18), 1, 2),
    ],
)
def test_missing_and_quarantined_by_hand(
    told: Connection, at: datetime, missing: int, quarantined: int
) -> None:
    """What vanished or could not be read counts from the sync that saw it until the next change."""
    assert statistics.count_missing(told, at, environment="by hand") == missing
    assert statistics.count_quarantined(told, at, environment="by hand") == quarantined


def kinds(found: Limited[Change]) -> list[tuple[int, str, int]]:
    """The day on which each change was seen, its kind, and the number of the request."""
    return [
        (one.changed_at.day, one.kind, int(one.request_id.removeprefix("request-")))
        for one in found.rows
    ]


LAST_CHANGES = [
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
        (JANUARY, 1, LAST_CHANGES[:1], 15),
        (JANUARY, 2, LAST_CHANGES[:2], 15),  # half of what happened to the one that returned
        (JANUARY, 9, LAST_CHANGES[:9], 15),
        (JANUARY, 15, LAST_CHANGES[:15], 16),
        (JANUARY, 16, LAST_CHANGES, 16),
        (days(13, 14), 6, LAST_CHANGES[1:7], 7),
        (days(12, 13), 3, LAST_CHANGES[8:11], 8),
        (days(12, 15), 1000, LAST_CHANGES[1:], 15),
        (days(14, 15), 5, [], 0),
    ],
)
def test_last_changes_by_hand(
    told: Connection,
    period: Period,
    limit: int,
    expected: list[tuple[int, str, int]],
    total: int,
) -> None:
    """A pull may change more than there is room for, and a request that returned has two rows."""
    found = statistics.recent_changes(told, period, environment="by hand", limit=limit)
    assert kinds(found) == expected
    assert found.total == total


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period(date(2023, 10, 1), date(2023, 11, 1)), [6, 1, 7, 5]),
        (Period(date(2023, 9, 1), date(2023, 10, 1)), [1, 5, 2]),
        (Period(date(2023, 11, 1), date(2023, 12, 1)), [1, 7, 4]),
        (Period(date(2023, 11, 6), date(2023, 12, 1)), []),
    ],
)
def test_asked_again_by_hand(told: Connection, period: Period, expected: list[int]) -> None:
    """A number is told if its first request came before the end, and its last after the start."""
    found = statistics.repeat_numbers(told, period, environment="asked", limit=10)
    assert [int(one.phone_number[-1]) for one in found.rows] == expected
    assert all(one.requests == len(ASKED[one.phone_number]) for one in found.rows)


def test_last_events_by_hand(told: Connection) -> None:
    """The last events of a number are told in the order in which they happened."""
    (number,) = statistics.repeat_numbers(told, JANUARY, environment="by hand", limit=5).rows
    assert (number.phone_number, number.requests) == (TWICE, 2)
    found = statistics.last_events(told, number, limit=3)
    assert [(one.event, one.request_id) for one in found.rows] == [
        ("requested", "request-13"),
        ("approved", "request-12"),
        ("approved", "request-13"),
    ]
    assert (found.total, found.left_out) == (4, 1)


def test_nothing_is_known_before_the_first_sync(connection: Connection) -> None:
    """A mirror that has only its schema has nothing to count and to rank."""
    nothing: Limited[Any] = Limited([], 0)
    assert statistics.counts(helpers.days(connection), JANUARY) == Counts(0, 0, 0, 0)
    assert statistics.hours_by_day(connection, JANUARY) == {}
    assert statistics.released(connection, JANUARY) == 0
    assert statistics.rejection_reasons(connection, JANUARY, limit=5) == nothing
    assert statistics.open_requests(connection, limit=5) == nothing
    assert statistics.open_requests(connection, at=JANUARY.end, limit=5) == nothing
    assert statistics.count_missing(connection, JANUARY.end) == 0
    assert statistics.count_quarantined(connection, JANUARY.end) == 0
    assert statistics.recent_changes(connection, JANUARY, limit=5) == nothing
    assert statistics.repeat_numbers(connection, JANUARY, limit=5) == nothing
    when = JANUARY.start
    number = PhoneNumber("x", "x", None, 1, "x", "pending", when, when, None, released=False)
    assert statistics.last_events(connection, number, limit=5) == nothing
