"""The query helpers, on both databases: what a person gets who writes `import mirror`."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

import mirror as package
from mirror.db import migrate
from mirror.db.engine import create_engine, parse_url, read_transaction, write_transaction
from mirror.errors import DatabaseError, SchemaError, UsageError
from mirror.sync.run import Outcome
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror, of_each_kind
from tests.support.schema import later_revision
from tests.support.upstream import request

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""When the clock of a mirror under test starts; its first sync is an hour later."""

NUMBER = "+15551234567"
BRAZILIAN = "+5511987654321"
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
FIFTH = datetime(2024, 1, 5, 10, 0, 0, 250_000, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def synced(number: int) -> datetime:
    """When the sync with this number began; the first one is 1."""
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
    """Gives the mirror of a kind of database, made when it is first asked for."""
    failure = tmp_path_factory.mktemp("api") / "failure.json"
    failure.write_text('{"success": false, "message": "Down for maintenance"}')

    def fill(mirror: Mirror) -> Mirror:
        outcomes = [
            mirror.sync([*DEV, "junk"], environment="dev").outcome,
            mirror.sync([*PROD, GARBLED], environment="prod").outcome,
            mirror.sync([RESOLVED, *DEV[1:3], DEV[4]], environment="dev").outcome,
            mirror.sync(environment="dev").outcome,
        ]
        mirror.sandbox.manner.file = failure
        outcomes.append(mirror.sync(environment="dev").outcome)
        assert outcomes == [*["applied"] * 3, "unchanged", "failed"]
        return mirror

    with of_each_kind(request, fill, "Asia/Kolkata") as get:
        yield get


@pytest.fixture(params=DATABASES)
def filled(request: pytest.FixtureRequest, fillings: Callable[[str], Mirror]) -> Mirror:
    """A mirror of two environments, after five syncs of which the last one failed; read only."""
    return fillings(request.param)


@pytest.fixture
def reading(filled: Mirror) -> Iterator[Connection]:
    """The mirror, opened as a person would open it."""
    with package.connect(filled.url) as connection:
        yield connection


def ids(found: list[package.ReleaseRequest]) -> list[int]:
    """The numbers of the requests, in their order."""
    return [int(one.id.removeprefix("request-")) for one in found]


def test_public_names() -> None:
    """What the package offers is what it promises, and each name leads to something."""
    assert package.__all__ == [
        "Change",
        "Day",
        "EnvironmentStatus",
        "HistoryEvent",
        "MirrorError",
        "PhoneNumber",
        "QuarantinedRecord",
        "ReleaseRequest",
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
        "status",
        "turnaround",
    ]
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        package.nonsense  # noqa: B018 (the access is the test)


def test_importing_the_package_alone_is_cheap() -> None:
    """`import mirror` loads no heavy library; asking for a helper loads what that one needs."""
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
    """One call of each helper that returns dataclasses."""
    return [
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
    """Each result is one of the public dataclasses, and cannot be changed."""
    results = everything(reading)
    assert {type(one).__name__ for one in results} == {
        "Change",
        "Day",
        "EnvironmentStatus",
        "HistoryEvent",
        "PhoneNumber",
        "QuarantinedRecord",
        "ReleaseRequest",
        "SyncRun",
        "Turnaround",
    }
    for one in results:
        assert is_dataclass(one)
        for field in fields(one):
            with pytest.raises(FrozenInstanceError):
                setattr(one, field.name, None)


@pytest.mark.calendar
def test_times_are_aware_and_utc(reading: Connection) -> None:
    """Whatever a field calls a time is an aware datetime in UTC, wherever the database lives."""
    found = 0
    for one in everything(reading):
        for field in fields(one):
            value = getattr(one, field.name)
            if "datetime" in str(field.type) and not (value is None and "None" in str(field.type)):
                assert isinstance(value, datetime)
                assert value.tzinfo is UTC
                found += 1
    assert found > 50


def test_a_request_in_full(reading: Connection) -> None:
    """A request has all that upstream said, with times to the millisecond, and since when."""
    (one,) = package.release_requests(reading, status="rejected")
    assert one.extra is not None
    assert json.loads(one.extra) == {"carrier": {"name": "Example"}}
    assert one == package.ReleaseRequest(
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
        extra=one.extra,
    )


ASKED: list[tuple[dict[str, Any], list[int]]] = [
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
]


def test_release_requests(reading: Connection) -> None:
    """Filters narrow the list together; it comes with the request submitted last first."""
    for filters, expected in ASKED:
        assert ids(package.release_requests(reading, **filters)) == expected, filters


CHANGED: list[tuple[dict[str, Any], list[tuple[str, int]]]] = [
    ({}, [("resolved", 1), ("vanished", 4)]),
    ({"since": synced(3)}, [("resolved", 1), ("vanished", 4)]),
    ({"since": synced(3) + MILLISECOND}, []),
    ({"since": synced(1), "environment": "dev"}, [("resolved", 1), ("vanished", 4)]),
    ({"environment": "prod"}, []),
    ({"run_id": 3}, [("resolved", 1), ("vanished", 4)]),
    ({"run_id": 1}, []),
    ({"run_id": 3, "since": synced(4)}, []),
]


def test_changes(reading: Connection) -> None:
    """Changes can be asked for by time, environment and run; the first one comes first."""
    for filters, expected in CHANGED:
        found = package.changes(reading, **filters)
        assert [(one.kind, int(one.request_id[-1])) for one in found] == expected, filters
        assert all(one.changed_at == synced(3) and one.sync_run_id == 3 for one in found)


HISTORIES: list[tuple[str, dict[str, Any], list[tuple[str, int]]]] = [
    (
        "1 (555) 123-4567",
        {},
        [("requested", 1), ("requested", 2), ("rejected", 2), ("requested", 6), ("approved", 1)],
    ),
    (
        NUMBER,
        {"environment": "dev"},
        [("requested", 1), ("requested", 2), ("rejected", 2), ("approved", 1)],
    ),
    (NUMBER, {"environment": "prod"}, [("requested", 6)]),
    ("(11) 98765-4321", {"region": "br"}, [("requested", 3), ("approved", 3)]),
    ("(11) 3333-4444", {"region": "BR"}, [("requested", 4), ("vanished", 4)]),
    ("+1 555 999 9999", {}, []),
]


def test_phone_number_history(reading: Connection) -> None:
    """The time line goes over all requests of the number, oldest event first."""
    for number, filters, expected in HISTORIES:
        events = package.phone_number_history(reading, number, **filters)
        assert [(event.event, int(event.request_id[-1])) for event in events] == expected, number
        times = [event.occurred_at for event in events]
        assert times == sorted(times)


@pytest.mark.parametrize(
    "helper", [package.phone_number_history, package.release_requests], ids=lambda it: it.__name__
)
def test_a_number_that_is_none_is_a_mistake(
    reading: Connection, helper: Callable[..., Any]
) -> None:
    """Asking for what cannot be a number is an error, and not an empty answer."""
    with pytest.raises(UsageError, match="not a phone number"):
        helper(reading, number="the office")


NUMBERS: list[tuple[str | None, list[tuple[str, str, int]]]] = [
    (
        None,
        [
            ("(11) 3333-4444", "dev", 1),
            ("+15551234567", "dev", 2),
            ("+15551234567", "prod", 1),
            ("+15557654321", "prod", 1),
            ("+5511987654321", "dev", 1),
            ("1 555 000 9999", "dev", 1),
        ],
    ),
    ("prod", [("+15551234567", "prod", 1), ("+15557654321", "prod", 1)]),
    ("staging", []),
]


def test_phone_numbers(reading: Connection) -> None:
    """Numbers come in the order of their characters, in both databases alike."""
    for environment, expected in NUMBERS:
        found = package.phone_numbers(reading, environment=environment)
        assert [(one.phone_number, one.environment, one.requests) for one in found] == expected


COUNTS: list[tuple[str | None, list[tuple[str, int]]]] = [
    (None, [("pending", 3), ("approved", 2), ("rejected", 1)]),
    ("dev", [("approved", 2), ("pending", 1), ("rejected", 1)]),
    ("prod", [("pending", 2)]),
    ("staging", []),
]


def test_count_by_status(reading: Connection) -> None:
    """Requests that are in the list are counted, the most frequent status first."""
    for environment, expected in COUNTS:
        assert package.count_by_status(reading, environment=environment) == expected


def test_a_quarantined_record_in_full(reading: Connection) -> None:
    """A record has its id if it could be read, what came, why that was not enough, and when."""
    (one,) = package.quarantine(reading)
    assert json.loads(one.raw) == GARBLED
    assert "requested_at" in one.error
    assert one == package.QuarantinedRecord(
        environment="prod",
        request_id="request-8",
        error=one.error,
        raw=one.raw,
        first_seen_at=synced(2),
        last_seen_at=synced(2),
        resolved_at=None,
        first_run_id=2,
        last_run_id=2,
    )


PUT_ASIDE: list[tuple[dict[str, Any], list[tuple[int, datetime | None]]]] = [
    ({}, [(2, None)]),
    ({"resolved": True}, [(2, None), (1, synced(3))]),
    ({"environment": "dev"}, []),
    ({"environment": "dev", "resolved": True}, [(1, synced(3))]),
    ({"environment": "prod", "resolved": True}, [(2, None)]),
    ({"environment": "staging", "resolved": True}, []),
]


def test_quarantine(reading: Connection) -> None:
    """What occurs now is told, and if asked for also what did once, with since when it does not."""
    for filters, expected in PUT_ASIDE:
        found = package.quarantine(reading, **filters)
        assert [(one.first_run_id, one.resolved_at) for one in found] == expected, filters


def test_the_order_of_quarantine(mirror: Mirror) -> None:
    """What was first seen last comes first, however often it was seen since; ties by number."""
    for environment, records in [
        ("prod", ["a"]),
        ("dev", ["b", "c", "d"]),
        ("prod", ["e", "a"]),
        ("dev", ["d", "c"]),
    ]:
        mirror.sync(records, environment=environment)

    def raws(**filters: Any) -> list[str]:
        return [json.loads(one.raw) for one in mirror.ask(package.quarantine, **filters)]

    by_number = mirror.rows("SELECT raw FROM quarantined_records ORDER BY id")
    tied = [raw for (text,) in by_number if (raw := json.loads(text)) in {"b", "c", "d"}]
    assert raws(resolved=True) == ["e", *tied, "a"]
    assert raws() == ["e", *(one for one in tied if one != "b"), "a"]


LAST_RUNS: list[tuple[dict[str, Any], int | None]] = [
    ({}, 5),
    ({"complete": True}, 4),
    ({"environment": "prod"}, 2),
    ({"environment": "prod", "complete": True}, 2),
    ({"environment": "staging"}, None),
]


def test_last_run(reading: Connection) -> None:
    """The last run is the one that began last, or the last one that read the whole list."""
    for filters, expected in LAST_RUNS:
        found = package.last_run(reading, **filters)
        assert (found and found.id) == expected, filters


def test_a_run_in_full(reading: Connection) -> None:
    """A run has its counts and times, or why it failed."""
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


def test_nothing_is_known_before_the_first_sync(connection: Connection) -> None:
    """A mirror that has only its schema gives empty answers."""
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
    """The first and the last time that upstream may give can be read, wherever the database is."""
    engine = mirror.engine
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f"ALTER DATABASE {engine.url.database} SET timezone = '{zone}'"
            )
    mirror.sync([request(1), request(2, requested_at=when.isoformat())])
    with package.connect(mirror.url) as connection:
        times = {one.id: one.requested_at for one in package.release_requests(connection)}
    assert times["request-2"] == when


@pytest.mark.calendar
@pytest.mark.parametrize("name", ["since", "until", "as_of"])
def test_a_naive_time_means_utc(
    reading: Connection, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A time without zone is UTC, as on the command line, wherever machine and database are."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for when in (synced(1), FIFTH, FIFTH + MILLISECOND):
            asked = {name: when.replace(tzinfo=None)}
            meant = {name: when}
            assert package.release_requests(reading, **asked) == (  # type: ignore[arg-type]
                package.release_requests(reading, **meant)  # type: ignore[arg-type]
            )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("number", "region", "expected"),
    [
        ("+15551234567", None, NUMBER),
        ("+1 (555) 123-4567", None, NUMBER),
        ("(+1) 555 123 4567", None, NUMBER),
        ("15551234567", None, NUMBER),
        ("1-555-123-4567", None, NUMBER),
        ("+1.555.123.4567", None, NUMBER),
        ("  +15551234567\n", None, NUMBER),
        ("tel:+1-555-123-4567", None, NUMBER),
        ("001 555 123 4567", None, NUMBER),
        ("001 555 123 4567", "BR", NUMBER),
        ("+1 555 123 4567", "BR", NUMBER),
        ("555 123 4567", "US", NUMBER),
        ("1 555 123 4567", "US", NUMBER),
        ("(11) 98765-4321", "BR", BRAZILIAN),
        ("011 98765-4321", "br", BRAZILIAN),
        ("+55 (11) 98765-4321", None, BRAZILIAN),
        ("+49 (0) 30 123456", None, "+4930123456"),
    ],
)
def test_usual_ways_to_write_a_number(number: str, region: str | None, expected: str) -> None:
    """However a number is usually written, it is found in its E.164 form."""
    assert package.normalize_number(number, region) == expected


NONSENSE = ["", " ", "+", "00", "0", "12", "hello", "+1 call me", "\0", "+999 123 4567"]


@pytest.mark.parametrize("region", [None, "US"])
@pytest.mark.parametrize("number", [*NONSENSE, "1" * 40, "x" * 500])
def test_what_cannot_be_a_number(number: str, region: str | None) -> None:
    """What cannot be a number is refused, and the message says how to write one."""
    with pytest.raises(UsageError, match="is not a phone number; write it with its country code"):
        package.normalize_number(number, region)


@pytest.mark.parametrize("region", ["XX", "Brazil", "55", "b", "001"])
def test_what_cannot_be_a_region(region: str) -> None:
    """A region that does not exist is refused, also for a number that does not need one."""
    with pytest.raises(UsageError, match="is not a region"):
        package.normalize_number(NUMBER, region)


def test_a_national_number_needs_its_region() -> None:
    """A national number is not silently taken for one of another country."""
    with pytest.raises(UsageError, match="--region"):
        package.normalize_number("(011) 98765-4321")


def to_revision(url: str, revision: str, *, downgrade: str | None = None) -> None:
    """Bring a database to a revision, and perhaps back to another one."""
    from alembic import command

    config = migrate.alembic_config()
    with write_transaction(create_engine(url, create=True), migrate.LOCK) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        if downgrade:
            command.downgrade(config, downgrade)


def from_the_future(url: str) -> None:
    """Make a mirror that a newer version of this package has upgraded."""
    to_revision(url, "head")
    with write_transaction(create_engine(url), "test") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")


def empty(url: str) -> None:
    """Make a database that nothing is in."""
    path = parse_url(url).database
    if url.startswith("sqlite") and path:
        Path(path).touch()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (empty, "no mirror in it yet; run `mirror sync`, or `mirror db upgrade`"),
        (
            lambda url: to_revision(url, "head", downgrade="base"),
            "no mirror in it yet; run `mirror sync`, or `mirror db upgrade`",
        ),
        (from_the_future, "revision 9999.*run `pip install --upgrade talkover-mirror`"),
    ],
    ids=["empty", "downgraded to nothing", "newer"],
)
def test_a_schema_that_does_not_fit(
    database_url: str, prepare: Callable[[str], None], message: str
) -> None:
    """A database with another schema is refused, and the message names the command to run."""
    prepare(database_url)
    with pytest.raises(SchemaError, match=message), package.connect(database_url):
        pytest.fail("it was opened")


def test_an_older_schema(mirror: Mirror, tmp_path: Path) -> None:
    """A database with an older schema is refused, and the message names the command to run."""
    message = "at schema revision 0001.*run `mirror db upgrade`"
    with (
        later_revision(tmp_path),
        pytest.raises(SchemaError, match=message),
        package.connect(mirror.url),
    ):
        pytest.fail("it was opened")


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """Where there is no file there is no mirror: the message says what to run, nothing is made."""
    url = f"sqlite:///{tmp_path}/folder/mirror.db"
    with pytest.raises(DatabaseError, match="run `mirror sync` first"), package.connect(url):
        pytest.fail("it was opened")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_postgres_database(make_database: Callable[[str], str]) -> None:
    """A Postgres database that is not there is named, without a traceback of the driver's."""
    url = parse_url(make_database("postgresql")).set(database="nowhere")
    with (
        pytest.raises(DatabaseError, match='"nowhere" does not exist'),
        package.connect(url.render_as_string(hide_password=False)),
    ):
        pytest.fail("it was opened")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is something else is refused in our own words, and left alone."""
    file = tmp_path / "mirror.db"
    file.write_text("Dear diary, " * 1000)
    with pytest.raises(DatabaseError, match="not a database"), package.connect(f"sqlite:///{file}"):
        pytest.fail("it was opened")
    assert file.read_text() == "Dear diary, " * 1000


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    """Looking into a SQLite file that is not a mirror changes not a byte of it."""
    file = tmp_path / "other.db"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(SchemaError), package.connect(f"sqlite:///{file}"):
        pytest.fail("it was opened")
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


NEW_RUN = """
INSERT INTO sync_runs (environment, outcome, started_at, base_url, mirror_version)
VALUES ('dev', 'applied', '2024-01-01 00:00:00.000', 'x', 'x')
"""


@pytest.mark.parametrize("afterwards", [False, True], ids=["at once", "after a commit"])
@pytest.mark.parametrize(
    "statement",
    [
        NEW_RUN,
        "UPDATE release_requests SET status = 'approved'",
        "DELETE FROM quarantined_records",
        "CREATE TABLE notes (text TEXT)",
        "DROP VIEW phone_numbers",
    ],
    ids=lambda statement: statement.split()[0],
)
def test_connect_is_for_reading(filled: Mirror, statement: str, *, afterwards: bool) -> None:
    """Nothing can be written through the connection, so that a report cannot damage a mirror."""
    with package.connect(filled.url) as connection:
        if afterwards:
            connection.commit()
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            connection.exec_driver_sql(statement)


def test_connect_sees_one_state(mirror: Mirror) -> None:
    """What a sync commits meanwhile does not show before the mirror is opened again."""
    mirror.sync([request(1)])
    with package.connect(mirror.url) as connection:
        mirror.sync([request(1, status="approved"), request(2)])
        assert package.count_by_status(connection) == [("pending", 1)]
        assert package.changes(connection) == []
    with package.connect(mirror.url) as connection:
        assert package.count_by_status(connection) == [("approved", 1), ("pending", 1)]


def test_connect_obeys_the_environment(
    filled: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without an argument MIRROR_DATABASE_URL says where the mirror is; an argument wins."""
    monkeypatch.setenv("MIRROR_DATABASE_URL", filled.url)
    with package.connect() as connection:
        assert len(package.release_requests(connection)) == 6
    with (
        pytest.raises(DatabaseError, match="there is no mirror at"),
        package.connect(f"sqlite:///{tmp_path}/none.db"),
    ):
        pytest.fail("it was opened")


@pytest.fixture
def first_day() -> date:
    """Where the days begin: 1900 has no leap day, and 2000 has one."""
    return date(1896, 1, 1)


def test_every_day_there_was(mirror: Mirror, first_day: date) -> None:
    """Days go on without gaps and without days that no calendar has."""
    mirror.sync([request(1, requested_at=f"{first_day}T09:00:00Z")])
    last = first_day.replace(year=first_day.year + 400 if first_day == date.min else 2001)
    with read_transaction(mirror.engine) as connection:
        found = [one.day for one in package.days(connection, until=last)]
    assert found == [first_day + timedelta(days=place) for place in range(len(found))]
    assert found[-1] == last - timedelta(days=1)
