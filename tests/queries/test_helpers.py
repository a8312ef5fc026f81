"""The query helpers, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.engine import Connection

import mirror as package
from mirror.db.engine import read_transaction
from mirror.db.runs import Outcome
from mirror.errors import UsageError
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""An hour before the first sync."""

NUMBER = "+15551234567"
BRAZILIAN = "+5511987654321"
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FIFTH = datetime(2024, 1, 5, 10, 0, 0, 250_000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def synced(number: int) -> datetime:
    """The start of a sync, counted from 1."""
    return NOON + timedelta(hours=number)


DEV = [
    request(1, phone_number=NUMBER, requested_at="2024-01-01T00:00:00Z"),
    request(
        2,
        phone_number=NUMBER,
        requested_at="2024-01-05T10:00:00.250999Z",
        status="rejected",
        resolved_at="2024-01-08T00:00:00Z",
        rejection_reason="A porting request is in progress",
        carrier={"name": "Example"},
    ),
    request(
        3,
        phone_number=BRAZILIAN,
        requested_at="2024-01-05T12:00:00.250+02:00",
        status="approved",
        resolved_at="2024-01-06T00:00:00Z",
    ),
    request(4, phone_number="(11) 3333-4444", requested_at="2024-01-09T00:00:00Z"),
    request(5, phone_number="1 555 000 9999", requested_at="2024-01-10T00:00:00Z"),
]
PROD = [
    request(6, phone_number=NUMBER, requested_at="2024-01-10T12:00:00Z"),
    request(7, phone_number="+15557654321", requested_at="2024-01-02T00:00:00Z"),
]
GARBLED = request(8, requested_at="yesterday")
RESOLVED = DEV[0] | {"status": "approved", "resolved_at": "2024-01-11T13:30:00Z"}


@pytest.fixture(scope="module")
def fillings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Mirror]]:
    """The mirrors of two environments, one of each kind of database."""
    failure = tmp_path_factory.mktemp("api") / "failure.json"
    failure.write_text('{"success": false, "message": "Down for maintenance"}')

    def fill(mirror: Mirror) -> Mirror:
        outcomes = [
            mirror.sync([*DEV, "junk"], environment="dev").outcome,
            mirror.sync([*PROD, GARBLED], environment="prod").outcome,
            mirror.sync([RESOLVED, *DEV[1:3], DEV[4]], environment="dev").outcome,
            mirror.sync(environment="dev").outcome,
        ]
        mirror.sandbox.config.file = failure
        outcomes.append(mirror.sync(environment="dev").outcome)
        assert outcomes == [*["applied"] * 3, "unchanged", "failed"]
        return mirror

    with mirrors_by_kind(request, fill, "Asia/Kolkata") as get:
        yield get


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror of two environments, after five syncs, the last of which failed; read only."""
    return fillings(request.param)


@pytest.fixture
def reading(filled: Mirror) -> Iterator[Connection]:
    """A connection to that mirror."""
    with package.connect(filled.url) as connection:
        yield connection


def test_public_names() -> None:
    """The public names are exactly these, and each can be imported."""
    assert package.__all__ == [
        "Change",
        "Day",
        "EnvironmentStatus",
        "FieldChange",
        "HistoryEvent",
        "MirrorError",
        "PhoneNumber",
        "QuarantinedRecord",
        "ReleaseRequest",
        "RequestDetails",
        "RequestVersion",
        "SyncRun",
        "Turnaround",
        "changes",
        "connect",
        "count_by_status",
        "days",
        "last_run",
        "normalize_number",
        "phone_number_history",
        "phone_numbers",
        "quarantine",
        "release_requests",
        "request_details",
        "runs",
        "status",
        "turnaround",
    ]
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018 (the access is the test)


def test_importing_the_package_alone_is_cheap() -> None:
    """`import mirror` loads no heavy library; a helper loads what it needs on first use."""
    script = """
import sys
import mirror
heavy = ("sqlalchemy", "alembic", "httpx", "phonenumbers", "psycopg", "rich", "click", "msgspec")
print([name for name in heavy if name in sys.modules])
mirror.release_requests, mirror.status
print("sqlalchemy" in sys.modules, "alembic" in sys.modules, "httpx" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[]", "True False False"]


def everything(connection: Connection) -> list[Any]:
    """The results of each helper that returns dataclasses."""
    details = [
        package.request_details(connection, request.id)
        for request in package.release_requests(connection)
    ]
    versions = [version for each in details for version in each.versions]
    return [
        *details,
        *versions,
        *(change for version in versions for change in version.changes),
        *package.runs(connection),
        *package.release_requests(connection),
        *package.release_requests(connection, missing=True),
        *package.release_requests(connection, as_of=synced(1)),
        *package.changes(connection),
        *package.phone_number_history(connection, NUMBER),
        *package.phone_numbers(connection),
        *package.turnaround(connection),
        *package.days(connection)[-3:],
        *package.quarantine(connection, resolved=True),
        *package.status(connection, now=synced(6)),
        package.last_run(connection),
        package.last_run(connection, complete=True),
    ]


def test_results_are_frozen(reading: Connection) -> None:
    """Each result is one of the public dataclasses, and frozen."""
    results = everything(reading)
    public = {getattr(package, name) for name in package.__all__}
    assert {type(result) for result in results} == {kind for kind in public if is_dataclass(kind)}
    for result in results:
        for field in fields(result):
            with pytest.raises(FrozenInstanceError):
                setattr(result, field.name, None)


@pytest.mark.calendar
def test_times_are_aware_and_utc(reading: Connection) -> None:
    """Each time is an aware datetime in UTC, whatever the zone of the database."""
    times = 0
    for result in everything(reading):
        for field in fields(result):
            value = getattr(result, field.name)
            if isinstance(result, package.FieldChange):
                continue  # its values have the type of their field
            if "datetime" in str(field.type) and not (value is None and "None" in str(field.type)):
                assert isinstance(value, datetime)
                assert value.tzinfo is UTC
                times += 1
    assert times > 50


def test_a_request_in_full(reading: Connection) -> None:
    """A request has all fields of upstream, times to the millisecond, and when it was seen."""
    (request,) = package.release_requests(reading, status="rejected")
    assert request.extra is not None
    assert json.loads(request.extra) == {"carrier": {"name": "Example"}}
    assert request == package.ReleaseRequest(
        id="request-2",
        environment="dev",
        phone_number=NUMBER,
        phone_number_id="phone-2",
        status="rejected",
        reason="Number is no longer in use",
        rejection_reason="A porting request is in progress",
        requested_at=FIFTH,
        resolved_at=datetime(2024, 1, 8, tzinfo=UTC),
        missing_since=None,
        first_seen_at=synced(1),
        valid_from=synced(1),
        extra=request.extra,
    )


FILTERS: dict[str, list[tuple[dict[str, Any], list[Any]]]] = {
    "release_requests": [
        ({}, [6, 5, 2, 3, 7, 1]),
        ({"status": "approved"}, [3, 1]),
        ({"status": "on_hold"}, []),
        ({"environment": "dev"}, [5, 2, 3, 1]),
        ({"environment": "prod"}, [6, 7]),
        ({"environment": "staging"}, []),
        ({"missing": True}, [4]),
        ({"missing": True, "environment": "prod"}, []),
        ({"missing": True, "status": "pending"}, [4]),
        ({"number": NUMBER}, [6, 2, 1]),
        ({"number": "+1 (555) 123-4567", "environment": "dev"}, [2, 1]),
        ({"number": "001 555 123 4567", "status": "pending"}, [6]),
        ({"number": "(11) 98765-4321", "region": "BR"}, [3]),
        ({"number": "+1 555 999 9999"}, []),
        ({"number": "1 555 000 9999"}, [5]),
        ({"number": " (11) 3333-4444 ", "region": "BR", "missing": True}, [4]),
        ({"since": FIFTH}, [6, 5, 2, 3]),
        ({"since": FIFTH + MILLISECOND}, [6, 5]),
        ({"until": FIFTH}, [7, 1]),
        ({"until": FIFTH + MILLISECOND}, [2, 3, 7, 1]),
        ({"since": FIFTH, "until": FIFTH}, []),
        ({"since": FIFTH, "until": FIFTH + MILLISECOND}, [2, 3]),
        ({"since": FIFTH.astimezone(timezone(timedelta(hours=-3))), "status": "approved"}, [3]),
        ({"until": datetime(2024, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5.5)))}, []),
        ({"since": datetime.min.replace(tzinfo=UTC), "number": NUMBER}, [6, 2, 1]),
        ({"until": datetime.max.replace(tzinfo=UTC), "number": NUMBER}, [6, 2, 1]),
        ({"as_of": synced(1) - MILLISECOND}, []),
        ({"as_of": synced(1) - MILLISECOND, "missing": True}, []),
        ({"as_of": synced(1)}, [5, 4, 2, 3, 1]),
        ({"as_of": synced(1), "missing": True}, []),
        ({"as_of": synced(1), "status": "pending"}, [5, 4, 1]),
        ({"as_of": synced(1), "status": "approved", "number": NUMBER}, []),
        ({"as_of": synced(3), "status": "approved", "number": NUMBER}, [1]),
        ({"as_of": synced(2)}, [6, 5, 4, 2, 3, 7, 1]),
        ({"as_of": synced(2), "environment": "prod"}, [6, 7]),
        ({"as_of": synced(2), "since": FIFTH, "until": JANUARY + timedelta(days=9)}, [4, 2, 3]),
        ({"as_of": synced(3) - MILLISECOND, "missing": True}, []),
        ({"as_of": synced(3), "missing": True}, [4]),
        ({"as_of": datetime.max.replace(tzinfo=UTC)}, [6, 5, 2, 3, 7, 1]),
    ],
    "changes": [
        ({}, [("resolved", 1), ("vanished", 4)]),
        ({"since": synced(3)}, [("resolved", 1), ("vanished", 4)]),
        ({"since": synced(3) + MILLISECOND}, []),
        ({"since": synced(1), "environment": "dev"}, [("resolved", 1), ("vanished", 4)]),
        ({"environment": "prod"}, []),
        ({"run_id": 3}, [("resolved", 1), ("vanished", 4)]),
        ({"run_id": 1}, []),
        ({"run_id": 3, "since": synced(4)}, []),
    ],
    "phone_number_history": [
        (
            {"number": "1 (555) 123-4567"},
            [
                ("requested", 1),
                ("requested", 2),
                ("rejected", 2),
                ("requested", 6),
                ("approved", 1),
            ],
        ),
        (
            {"number": NUMBER, "environment": "dev"},
            [("requested", 1), ("requested", 2), ("rejected", 2), ("approved", 1)],
        ),
        ({"number": NUMBER, "environment": "prod"}, [("requested", 6)]),
        ({"number": "(11) 98765-4321", "region": "br"}, [("requested", 3), ("approved", 3)]),
        ({"number": "(11) 3333-4444", "region": "BR"}, [("requested", 4), ("vanished", 4)]),
        ({"number": "+1 555 999 9999"}, []),
    ],
    "phone_numbers": [
        (
            {},
            [
                ("(11) 3333-4444", "dev", 1),
                ("+15551234567", "dev", 2),
                ("+15551234567", "prod", 1),
                ("+15557654321", "prod", 1),
                ("+5511987654321", "dev", 1),
                ("1 555 000 9999", "dev", 1),
            ],
        ),
        ({"environment": "prod"}, [("+15551234567", "prod", 1), ("+15557654321", "prod", 1)]),
        ({"environment": "staging"}, []),
    ],
    "count_by_status": [
        ({}, [("pending", 3), ("approved", 2), ("rejected", 1)]),
        ({"environment": "dev"}, [("approved", 2), ("pending", 1), ("rejected", 1)]),
        ({"environment": "prod"}, [("pending", 2)]),
        ({"environment": "staging"}, []),
    ],
    "quarantine": [
        ({}, [(2, None)]),
        ({"resolved": True}, [(2, None), (1, synced(3))]),
        ({"environment": "dev"}, []),
        ({"environment": "dev", "resolved": True}, [(1, synced(3))]),
        ({"environment": "prod", "resolved": True}, [(2, None)]),
        ({"environment": "staging", "resolved": True}, []),
    ],
}
"""The results of each helper by its filters, in order."""

SUMMARIES: dict[str, Callable[[Any], Any]] = {
    "release_requests": lambda row: number_of(row.id),
    "changes": lambda row: (row.kind, number_of(row.request_id)),
    "phone_number_history": lambda row: (row.event, number_of(row.request_id)),
    "phone_numbers": lambda row: (row.phone_number, row.environment, row.requests),
    "count_by_status": lambda row: row,
    "quarantine": lambda row: (row.first_run_id, row.resolved_at),
}


def number_of(request_id: str) -> int:
    """The number of a request."""
    return int(request_id.removeprefix("request-"))


@pytest.mark.parametrize("helper", FILTERS)
def test_filters_and_order(reading: Connection, helper: str) -> None:
    """Filters combine, and the results come in the documented order."""
    for filters, expected in FILTERS[helper]:
        rows = getattr(package, helper)(reading, **filters)
        assert [SUMMARIES[helper](row) for row in rows] == expected, filters
        if helper == "changes":
            assert all((row.changed_at, row.sync_run_id) == (synced(3), 3) for row in rows)
        if helper == "phone_number_history":
            assert rows == sorted(rows, key=lambda row: row.occurred_at)


@pytest.mark.parametrize(
    ("filters", "run_id"),
    [
        ({}, 5),
        ({"complete": True}, 4),
        ({"environment": "prod"}, 2),
        ({"environment": "prod", "complete": True}, 2),
        ({"environment": "staging"}, None),
    ],
)
def test_last_run(reading: Connection, filters: dict[str, Any], run_id: int | None) -> None:
    """The last run is the one that started last, or the last that read the whole list."""
    run = package.last_run(reading, **filters)
    assert (run and run.id) == run_id


@pytest.mark.parametrize(
    "helper", [package.phone_number_history, package.release_requests], ids=lambda it: it.__name__
)
def test_an_invalid_number(reading: Connection, helper: Callable[..., Any]) -> None:
    """An invalid number is an error, not an empty result."""
    with pytest.raises(UsageError, match="not a phone number"):
        helper(reading, number="the office")


def test_a_quarantined_record_in_full(reading: Connection) -> None:
    """A record has its id if it could be read, its JSON, the error, and when it was seen."""
    (record,) = package.quarantine(reading)
    assert json.loads(record.raw) == GARBLED
    assert "requested_at" in record.error
    assert record == package.QuarantinedRecord(
        environment="prod",
        request_id="request-8",
        error=record.error,
        raw=record.raw,
        first_seen_at=synced(2),
        last_seen_at=synced(2),
        resolved_at=None,
        first_run_id=2,
        last_run_id=2,
    )


def test_the_order_of_quarantine(mirror: Mirror) -> None:
    """Most recently first seen comes first; ties are in order of insertion."""
    for environment, records in [
        ("prod", ["a"]),
        ("dev", ["b", "c", "d"]),
        ("prod", ["e", "a"]),
        ("dev", ["d", "c"]),
    ]:
        mirror.sync(records, environment=environment)

    def raws(**filters: Any) -> list[str]:
        return [json.loads(row.raw) for row in mirror.query(package.quarantine, **filters)]

    by_number = mirror.rows("SELECT raw FROM quarantined_records ORDER BY id")
    tied = [raw for (text,) in by_number if (raw := json.loads(text)) in {"b", "c", "d"}]
    assert raws(resolved=True) == ["e", *tied, "a"]
    assert raws() == ["e", *(raw for raw in tied if raw != "b"), "a"]


def test_a_run_in_full(reading: Connection) -> None:
    """A run has its counts and times, or its error."""
    failed = package.last_run(reading)
    assert failed is not None
    assert failed.outcome == Outcome.FAILED
    assert failed.error is not None
    assert "Down for maintenance" in failed.error
    assert failed.started_at == failed.finished_at == synced(5)
    done = package.last_run(reading, complete=True)
    assert done is not None
    assert (done.outcome, done.error, done.environment) == (Outcome.UNCHANGED, None, "dev")
    assert (done.fetched, done.unchanged, done.inserted, done.missing) == (4, 4, 0, 0)
    assert done.seconds is not None


def test_an_empty_mirror(connection: Connection) -> None:
    """Before the first sync all results are empty."""
    assert package.release_requests(connection) == []
    assert package.release_requests(connection, as_of=NOON) == []
    assert package.changes(connection) == []
    assert package.phone_number_history(connection, NUMBER) == []
    assert package.phone_numbers(connection) == []
    assert package.count_by_status(connection) == []
    assert package.quarantine(connection, resolved=True) == []
    assert package.last_run(connection) is None


@pytest.mark.calendar
@pytest.mark.parametrize(
    ("zone", "when"),
    [
        ("Asia/Tokyo", datetime.max.replace(microsecond=999_000, tzinfo=UTC)),
        ("America/New_York", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_the_ends_of_the_calendar(mirror: Mirror, zone: str, when: datetime) -> None:
    """The first and the last time that upstream may send can be read in any zone."""
    engine = mirror.engine
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"ALTER DATABASE {engine.url.database} SET timezone = '{zone}'"
            )
    mirror.sync([request(1), request(2, requested_at=when.isoformat())])
    with package.connect(mirror.url) as connection:
        times = {
            request.id: request.requested_at for request in package.release_requests(connection)
        }
    assert times["request-2"] == when


@pytest.mark.calendar
@pytest.mark.parametrize("name", ["since", "until", "as_of"])
def test_a_naive_time_means_utc(
    reading: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A time without zone is UTC, whatever the zones of machine and database."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for when in (synced(1), FIFTH, FIFTH + MILLISECOND):
            naive: dict[str, Any] = {name: when.replace(tzinfo=None)}
            aware: dict[str, Any] = {name: when}
            assert package.release_requests(reading, **naive) == (
                package.release_requests(reading, **aware)
            )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.fixture
def first_day() -> date:
    """The first day: 1900 is no leap year, and 2000 is one."""
    return date(1896, 1, 1)


def test_days_of_the_calendar(mirror: Mirror, first_day: date) -> None:
    """Days have no gaps, and are those of the calendar."""
    mirror.sync([request(1, requested_at=f"{first_day}T09:00:00Z")])
    last = first_day.replace(year=first_day.year + 400 if first_day == date.min else 2001)
    with read_transaction(mirror.engine) as connection:
        days = [day.day for day in package.days(connection, until=last)]
    assert days == [first_day + timedelta(days=place) for place in range(len(days))]
    assert days[-1] == last - timedelta(days=1)
