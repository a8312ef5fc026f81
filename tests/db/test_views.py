"""The views give the same rows on both databases as a model in plain Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mirror.db import views
from mirror.db.runs import Outcome
from mirror.queries import helpers
from mirror.queries.results import PhoneNumber
from mirror.sandbox.server import Sandbox
from tests.support import oracle_statistics
from tests.support.databases import DATABASES
from tests.support.list_parser import KNOWN, Fields, parse_list
from tests.support.mirrors import Mirror
from tests.support.oracle import Memory, State
from tests.support.random_upstream import NOON, RandomUpstream
from tests.support.rows import in_order, iso, like, rows_of
from tests.support.upstream import FakeUpstream, request


def test_phone_numbers(mirror: Mirror) -> None:
    """A number has a row per environment, with totals and the last request."""
    again, tie, gone, reopened = (f"+1555222000{digit}" for digit in range(4))
    feb, mar, apr = (datetime(2023, month, 1, tzinfo=UTC) for month in (2, 3, 4))

    def make(
        number: int,
        phone_number: str,
        requested_at: datetime,
        resolved_at: datetime | None = None,
        **fields: Any,
    ) -> Fields:
        return request(
            number,
            phone_number=phone_number,
            requested_at=iso(requested_at),
            resolved_at=resolved_at and iso(resolved_at),
            **fields,
        )

    records = [
        make(1, again, mar, status="approved", resolved_at=apr),
        make(2, again, feb, status="rejected", resolved_at=mar),
        make(3, tie, feb, status="approved", resolved_at=apr),
        make(4, tie, feb, status="rejected", resolved_at=mar, phone_number_id=None),
        make(5, reopened, feb, status="approved", resolved_at=mar),
        make(6, reopened, mar),
        make(7, gone, feb, status="approved"),
    ]
    mirror.sync(records, environment="dev")
    mirror.sync(records[:-1], environment="dev")
    mirror.sync([make(8, again, apr)], environment="prod")
    assert mirror.query(helpers.phone_numbers) == [
        PhoneNumber(*row)
        for row in [
            ("dev", again, "phone-1", 2, "request-1", "approved", feb, mar, apr, True),
            ("prod", again, "phone-8", 1, "request-8", "pending", apr, apr, None, False),
            ("dev", tie, None, 2, "request-4", "rejected", feb, feb, apr, False),
            ("dev", gone, "phone-7", 1, "request-7", "approved", feb, feb, None, True),
            ("dev", reopened, "phone-6", 2, "request-6", "pending", feb, mar, mar, False),
        ]
    ]


SPANS = [
    ("2024-01-31T23:59:59.999Z", "2024-02-01T00:00:00Z"),
    ("2024-02-28T12:34:56Z", "2024-03-01T01:02:03.004Z"),
    ("2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z"),
    ("2001-05-31T00:00:00Z", "2024-06-01T00:00:00Z"),
    ("1999-12-31T00:00:00Z", "2000-03-01T00:00:00Z"),
    ("2003-11-30T22:00:00Z", "2004-12-01T21:00:00Z"),
    ("2099-07-01T00:00:00Z", "2201-08-31T00:00:00Z"),
    ("2201-01-31T00:00:00Z", "2203-03-01T00:00:00Z"),
    *(
        (f"2022-{month:02}-15T00:00:00Z", f"2023-{month % 12 + 1:02}-14T00:00:00Z")
        for month in range(1, 13)
    ),
]
"""Times of request and resolution, months and years apart."""


def test_hours_to_resolve(mirror: Mirror) -> None:
    """Hours are exact, whatever months, leap days and centuries lie between."""
    statuses = {"requested_at": 0, "resolved_at": 1}
    records = [
        request(
            number, status="rejected", **{name: span[place] for name, place in statuses.items()}
        )
        for number, span in enumerate(SPANS)
    ]
    mirror.sync(records)
    hours = dict(mirror.rows("SELECT id, hours_to_resolve FROM release_request_turnaround"))
    assert hours == {
        record["id"]: (end - begin) / timedelta(hours=1)
        for record, (begin, end) in zip(
            records,
            ([datetime.fromisoformat(time) for time in span] for span in SPANS),
            strict=True,
        )
    }
    days = [str(day) for (day,) in mirror.rows("SELECT day FROM release_requests_daily ORDER BY 1")]
    first = datetime(1999, 12, 31)  # noqa: DTZ001
    assert days == [str((first + timedelta(number)).date()) for number in range(len(days))]


def test_days_of_what_has_a_time_but_is_not_resolved(mirror: Mirror) -> None:
    """A pending request is open whatever its resolved_at; another status is, without one."""
    open_at_end = "SELECT day, open_at_end FROM release_requests_daily WHERE environment = :name"
    resolved = {"resolved_at": "2024-01-11T09:00:00Z"}
    held = request(3, status="on_hold")
    mirror.now = datetime(2024, 1, 12, 12, tzinfo=UTC)
    mirror.sync([request(1, **resolved), request(2, status="on_hold", **resolved), held])
    changed: dict[int, list[Fields]] = {
        12: [
            request(4, status="approved", **resolved),
            request(5),
            request(6, status="rejected"),
            request(7, status="on_hold", **resolved),
        ],
        14: [
            request(4, status="approved", **resolved),
            request(5, status="on_hold"),
            request(6),
            request(7),
        ],
        20: [
            request(4, **resolved),
            request(5, status="on_hold", resolved_at="2024-01-18T09:00:00Z"),
            request(6, status="rejected"),
            request(7),
        ],
    }
    for day, records in changed.items():
        mirror.now = datetime(2024, 1, day, 12, tzinfo=UTC)
        mirror.sync(records, environment="changed")
    days = {str(day): count for day, count in mirror.rows(open_at_end, name="default")}
    assert [days[f"2024-01-{day}"] for day in (10, 11, 20)] == [3, 2, 2]
    days = {str(day): count for day, count in mirror.rows(open_at_end, name="changed")}
    assert [days[f"2024-01-{day}"] for day in (10, 11, 13, 14, 19, 20)] == [3, 1, 1, 2, 2, 2]
    resolved_ids = mirror.rows("SELECT id FROM release_request_turnaround ORDER BY id")
    assert resolved_ids == [("request-2",), ("request-5",), ("request-6",)]


def as_of(mirror: Mirror, when: datetime) -> dict[str, State]:
    """Return the states as of a time, listed or not, as the model has them."""
    found = [
        row
        for missing in (False, True)
        for row in mirror.query(helpers.release_requests, as_of=when, missing=missing)
    ]
    assert all(row.missing_since in {None, row.valid_from} for row in found)
    return {
        row.id: State(
            {name: getattr(row, name) for name in KNOWN},
            gone=row.missing_since is not None,
            since=row.valid_from,
            first=row.first_seen_at,
        )
        for row in found
    }


def expect_daily_rows(mirrors: list[Mirror], memory: Memory) -> None:
    """Expect a row for each day from the first request to today, which may end meanwhile."""
    before = datetime.now(UTC).date()
    sqlite, postgresql = (rows_of(mirror, views.daily) for mirror in mirrors)
    if datetime.now(UTC).date() != before:
        expect_daily_rows(mirrors, memory)
        return
    assert sqlite == postgresql
    model = oracle_statistics.daily(memory, before)
    assert like(sqlite, model) == in_order(model)
    waiting = [states[-1] for states in memory.states.values() if not states[-1].gone]
    assert model[-1]["open_at_end"] == sum(not state.resolved for state in waiting)


@pytest.fixture
def seed() -> int:
    """Seed of the random upstream."""
    return 8


@pytest.fixture
def many_days() -> int:
    """How many days pass."""
    return 7


def test_chance(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    seed: int,
    many_days: int,
) -> None:
    """Whatever the API returns, both databases have the rows of the model."""
    mirrors = [Mirror(make_ready_database(kind), sandbox, upstream) for kind in DATABASES]
    source, memory = RandomUpstream(seed), Memory()
    for day in range(many_days):
        quiet = day % 6 == 5
        if not quiet:
            source.advance_a_day()
        entries = source.list_entries()
        results = []
        for mirror in mirrors:
            mirror.now = NOON + timedelta(days=day)
            results.append(mirror.sync(None if quiet else entries, accept_missing=True))
        assert {result.outcome for result in results} == {
            Outcome.UNCHANGED if quiet else Outcome.APPLIED
        }
        assert results[0].counts == results[1].counts
        if quiet:
            memory.see_again(mirrors[0].now)
        else:
            parsed = parse_list(tuple(map(json.dumps, entries)))
            memory.learn(mirrors[0].now, parsed, results[0].run_id)
        for view, model in (
            (views.changes, memory.changes()),
            (views.history, memory.history_like(rows_of(mirrors[0], views.history))),
            (views.numbers, memory.numbers()),
            (views.versions, memory.versions()),
            (views.turnaround, oracle_statistics.turnaround(memory)),
        ):
            sqlite, postgresql = (rows_of(mirror, view) for mirror in mirrors)
            assert sqlite == postgresql
            assert like(sqlite, model) == in_order(model)
        if quiet:
            expect_daily_rows(mirrors, memory)
    for mirror in mirrors:
        for when in (NOON + timedelta(days=day, hours=1) for day in range(many_days)):
            for then in (when - timedelta(milliseconds=1), when):
                assert as_of(mirror, then) == memory.as_of(then)
    sources = {row["time_source"] for row in memory.history()}
    assert sources == {"reported", "observed", "unknown"}
    assert oracle_statistics.daily(memory, NOON.date())[0]["undated"] > 0
    kinds = {row["kind"] for row in memory.changes()}
    assert kinds == {"resolved", "reopened", "corrected", "vanished", "returned"}
