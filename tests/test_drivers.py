"""The drivers that BI tools are made of read every time column right, and are in nobody's way.

JDBC is behind Metabase, DBeaver and whatever else runs on Java; ODBC behind Excel and Power BI.
What they read is compared with what upstream said, or with what the database holds by the plain
drivers of Python. Drivers that are not installed are not tested, unless MIRROR_TEST_DRIVERS is set.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa
from conftest import DATABASES, TOKEN, Mirror, World, new_database
from conftest import request as release_request
from lines import Line

from mirror import database, models, views
from mirror.models import UTCDateTime
from mirror.sandbox import Manner, Sandbox
from mirror.sync import Outcome

RELATIONS: dict[str, sa.Table] = {**models.metadata.tables, **views.metadata.tables}

TIMES = (
    "2024-01-10T14:30:00.123Z",
    "2024-01-10T14:30:00.001Z",
    "2024-01-10T14:30:00.999Z",
    "2024-01-10T14:30:00Z",
    "2024-01-10T14:30:00.456999Z",  # microseconds are cut off
    "1969-07-20T20:17:40.123999Z",
    "2024-01-10T02:00:00.010+05:30",
    "2024-01-10T23:30:00.5-03:00",
    "1969-12-31T23:59:59.999Z",
    "1900-01-01T00:00:00.001Z",
    "9999-12-31T23:59:59.999Z",
    "2023-12-31T23:59:59.999Z",
    "2024-02-29T12:00:00.007Z",
    "2018-11-04T00:30:00Z",  # there was no such time of day in São Paulo
    "2024-03-10T02:30:00.250Z",  # nor this one in New York
)
"""What upstream says; each is the `requested_at` of a request."""

CLOCK = (
    "2018-11-04T00:30:00.123Z",
    "2020-02-29T23:59:59.999Z",
    "2024-03-10T02:30:00.001Z",
    "2025-12-31T23:59:59.990Z",
)
"""When the syncs begin."""

ELSEWHERE = "America/Sao_Paulo"
"""Where the JVM of many a BI server believes to be, and what our Postgres thinks in here."""

JDBC_TIMESTAMP, JDBC_DATE, JDBC_TEXT, JDBC_BIT = 93, 91, 12, -7
JDBC_WHOLE = {4, -5}  # INTEGER, BIGINT
JDBC_FRACTION = {6, 8}  # FLOAT, DOUBLE

Row = dict[str, Any]
Note = Callable[[str, object], None]


def to_milliseconds(time: datetime) -> str:
    """Write a time as `YYYY-MM-DD HH:MM:SS.mmm`, which must not lose anything."""
    assert time.microsecond % 1000 == 0
    return time.replace(tzinfo=None).isoformat(" ", "milliseconds")


def said_by_upstream(text: str | None) -> str | None:
    """Take a time from upstream's JSON, cut to the millisecond."""
    if text is None:
        return None
    time = datetime.fromisoformat(text).astimezone(UTC)
    return to_milliseconds(time.replace(microsecond=time.microsecond // 1000 * 1000))


def columns(relation: str, *kinds: type) -> list[str]:
    """The names of a relation's columns that are of one of these types."""
    return [one.name for one in RELATIONS[relation].columns if isinstance(one.type, kinds)]


def query(relation: str, where: str = "") -> str:
    """Write a query that gives the rows of a relation in the same order to everybody."""
    names = [one.name for one in RELATIONS[relation].columns if not isinstance(one.type, sa.JSON)]
    order = ", ".join(str(place) for place, _ in enumerate(names, start=1))
    return f"SELECT {', '.join(names)} FROM {relation} {where} ORDER BY {order} LIMIT 200"


TIME_COLUMNS = [
    (relation, name) for relation in RELATIONS for name in columns(relation, UTCDateTime)
]

BARE = {f"{relation} without rows": query(relation, "WHERE 1 = 0") for relation in RELATIONS} | {
    f"{relation} without {name}": query(relation, f"WHERE {name} IS NULL")
    for relation, name in TIME_COLUMNS
}
"""Queries that leave a driver nothing but declarations to go by, by a name for each."""


# A mirror that holds times of all kinds, and what there is in it.


@dataclass(frozen=True)
class Filled:
    """A mirror that tests only read.

    Attributes:
        kind: of its database.
        url: where it is.
        said: by id of the request, its record as upstream last gave it.
    """

    kind: str
    url: str
    said: dict[str, Row]

    @cached_property
    def truth(self) -> dict[str, list[Row]]:
        """The rows of each relation: times as text to the millisecond, all else as it is stored.

        `release_requests` has the times that upstream said.
        """
        with self._connected() as connection:
            found = {one: self._stored(connection, one) for one in RELATIONS}
        for row in found["release_requests"]:
            record = self.said[row["id"]]
            row["requested_at"] = said_by_upstream(record["requested_at"])
            row["resolved_at"] = said_by_upstream(record.get("resolved_at"))
        return found

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Connect with Python's own driver, past SQLAlchemy and our types."""
        if self.kind == "sqlite":
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                yield connection
        else:
            with psycopg.connect(self.url) as connection:
                yield connection

    def _stored(self, connection: Any, relation: str) -> list[Row]:
        cursor = connection.execute(query(relation))
        names = [one[0] for one in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        for row in rows:
            for name in columns(relation, UTCDateTime):
                value = row[name]
                if isinstance(value, str):
                    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", value)
                elif value is not None:
                    row[name] = to_milliseconds(value.astimezone(UTC))
        return rows


def lists() -> Iterator[list[Any]]:
    """What upstream says in each sync: every column of a time comes to have all kinds of them."""

    def entry(number: int, turn: int, **fields: Any) -> Row:
        said = {"requested_at": TIMES[number]}
        if turn + number % 2 > 1:
            said["resolved_at"] = TIMES[(7 * number + turn) % len(TIMES)]
            said["status"] = "approved"
        return release_request(number, **(said | fields))

    requests = range(len(TIMES))
    junk = {"id": "junk", "requested_at": "yesterday"}
    unsaid = release_request(77, status="cancelled")
    yield [*(entry(number, 1) for number in requests), release_request(77), junk]
    yield [*(entry(number, 2) for number in requests if number % 5), unsaid]
    yield [*(entry(number, 3) for number in requests if number != 5), unsaid, "more junk"]
    yield [*(entry(number, 4, carrier="Example") for number in requests[:-1]), unsaid, "more junk"]


@pytest.fixture(scope="module", params=DATABASES)
def filled(request: pytest.FixtureRequest) -> Iterator[Filled]:
    """A mirror that holds times of all kinds, once in each database; Postgres thinks elsewhere."""
    world = World()
    said: dict[str, Row] = {}
    with (
        new_database(request.param, request, ELSEWHERE) as url,
        Sandbox(world, Manner(token=TOKEN)).running() as sandbox,
    ):
        mirror = Mirror(url, sandbox, world)
        for begins, entries in zip(CLOCK, lists(), strict=True):
            mirror.now = datetime.fromisoformat(begins) - timedelta(hours=1)
            assert mirror.sync(entries, accept_missing=True).outcome is Outcome.APPLIED
            said |= {one["id"]: one for one in entries if isinstance(one, dict)}
        assert mirror.sync([]).outcome is Outcome.REFUSED
        yield Filled(request.param, url, said)


def test_the_mirror_holds_every_kind_of_time(filled: Filled) -> None:
    """Every relation has rows, every time column a time, and no time that upstream said is lost.

    What release_requests holds is what upstream said, cut to the millisecond.
    """
    for relation in RELATIONS:
        assert filled.truth[relation], relation
    for relation, name in TIME_COLUMNS:
        assert any(row[name] for row in filled.truth[relation]), (relation, name)
    spoken = {said_by_upstream(time) for time in TIMES}
    assert len(spoken) == len(TIMES)
    for name in ("requested_at", "resolved_at"):
        assert spoken <= {row[name] for row in filled.truth["release_request_versions"]}
    with filled._connected() as connection:
        assert filled._stored(connection, "release_requests") == filled.truth["release_requests"]


def assert_equal_times(
    filled: Filled, driver: str, read: dict[str, list[Row]], note: Note | None = None
) -> None:
    """Compare every time of every relation, and put an example of each column on record."""
    for place, (relation, name) in enumerate(TIME_COLUMNS):
        true = [row[name] for row in filled.truth[relation]]
        got = [row[name] for row in read[relation]]
        assert got == true, f"{driver} reads {relation}.{name} wrong"
        pairs = sorted({pair for pair in zip(true, got, strict=True) if pair[0]})
        stored, example = pairs[place % len(pairs)]
        if note is not None:
            count = sum(one is not None for one in got)
            note("driver", (filled.kind, driver, f"{relation}.{name}", stored, example, count))


def drivers_missing(standard: str, names: Sequence[str]) -> None:
    """Skip the tests of a standard whose drivers are not all installed, or fail if they must be."""
    if names:
        reason = f"{standard} is not tested: install {', '.join(names)}"
        if os.environ.get("MIRROR_TEST_DRIVERS"):
            pytest.fail(reason)
        pytest.skip(reason)


# JDBC


def jar(name: str) -> list[str]:
    """The jar file of this name, whatever its version, as far as there is one."""
    folder = Path(os.environ.get("MIRROR_TEST_JDBC") or "/usr/share/java")
    files = (str(file) for file in folder.glob(f"{name}*.jar"))
    return sorted(files, key=lambda file: (len(file), file))[:1]


def _no_java() -> list[str]:
    """What is missing to start a JVM."""
    try:
        importlib.import_module("jpype").getDefaultJVMPath()
    except ImportError:
        return ["JPype1 (pip)"]
    except ValueError:  # its own error for this is one
        return ["default-jre-headless"]
    return []


@pytest.fixture(scope="module")
def classpath() -> list[str]:
    """The jar files of the JDBC drivers; without them, JDBC is not tested."""
    found = {
        "libxerial-sqlite-jdbc-java": jar("sqlite-jdbc"),
        "libpostgresql-jdbc-java": jar("postgresql"),
    }
    drivers_missing("JDBC", [*(name for name, files in found.items() if not files), *_no_java()])
    # Newer drivers for SQLite than that of Debian 12 need slf4j-api beside them.
    return [file for files in (*found.values(), jar("slf4j-api")) for file in files]


@pytest.fixture(scope="module")
def jdbc_url(filled: Filled) -> Iterator[str]:
    """The mirror's JDBC URL; to the tests' own Postgres, which has no TCP port, over a line."""
    if filled.kind == "sqlite":
        yield f"jdbc:sqlite:{filled.url.removeprefix('sqlite:///')}?open_mode=1"
        return
    url = database.parse_url(filled.url)
    folder, port = server_of(url)
    if not folder.startswith("/"):
        yield _postgres_jdbc_url(url, folder, port)
        return
    with Line(Path(folder) / f".s.PGSQL.{port}").running() as line:
        tcp = database.parse_url(line.url(filled.url))
        yield _postgres_jdbc_url(url, str(tcp.host), tcp.port or port)


def server_of(url: sa.URL) -> tuple[str, int]:
    """The host of a Postgres URL, or the folder of its socket, and the port."""
    return str(url.query.get("host") or url.host or "127.0.0.1"), int(
        str(url.query.get("port") or url.port or 5432)
    )


def _postgres_jdbc_url(url: sa.URL, host: str, port: int) -> str:
    names = {"user": url.username, "password": url.password, "sslmode": url.query.get("sslmode")}
    options = urlencode({name: value for name, value in names.items() if value is not None})
    return f"jdbc:postgresql://{host}:{port}/{url.database}?{options}"


@dataclass(frozen=True)
class Jdbc:
    """What a JVM read.

    Attributes:
        declared: by relation and column, name and number of the declared type.
        types: by query and column, every such type that its results had.
        rows: by relation, the rows; a time is [milliseconds since 1970, text], a number itself.
    """

    declared: dict[str, dict[str, list[Any]]]
    types: dict[str, dict[str, list[list[Any]]]]
    rows: dict[str, list[Row]]

    def times(self, convert: Callable[[int, str], str]) -> dict[str, list[Row]]:
        """The rows of all relations, each time converted."""
        return {
            relation: [
                {
                    name: convert(*value) if isinstance(value, list) else value
                    for name, value in row.items()
                }
                for row in rows
            ]
            for relation, rows in self.rows.items()
        }


def instant(milliseconds: int, _: str) -> str:
    """The time in UTC that a java.sql.Timestamp stands for."""
    return to_milliseconds(datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds))  # noqa: DTZ001


def wall_clock(_: int, text: str) -> str:
    """What a java.sql.Timestamp shows of itself."""
    return to_milliseconds(datetime.fromisoformat(text))


@pytest.fixture(scope="module")
def jdbc(filled: Filled, classpath: list[str], jdbc_url: str) -> Callable[[str], Jdbc]:
    """Reads the mirror in a JVM that believes in the given time zone."""

    @functools.cache
    def read(zone: str) -> Jdbc:
        queries = {relation: query(relation) for relation in RELATIONS} | BARE
        order = {
            "zone": zone,
            "classpath": classpath,
            "url": jdbc_url,
            "relations": [*RELATIONS],
            "queries": {
                name: {"sql": sql, "times": columns(name.split()[0], UTCDateTime)}
                for name, sql in queries.items()
            },
        }
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("jdbc.py")],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        return Jdbc(
            declared=said["declared"],
            types={name: one["types"] for name, one in said["results"].items()},
            rows={relation: said["results"][relation]["rows"] for relation in RELATIONS},
        )

    return read


def test_jdbc_in_utc(filled: Filled, jdbc: Callable[[str], Jdbc], record_property: Note) -> None:
    """A JVM that thinks in UTC gets every time to the millisecond."""
    assert_equal_times(filled, "JDBC", jdbc("UTC").times(instant), record_property)


def test_jdbc_elsewhere(filled: Filled, jdbc: Callable[[str], Jdbc]) -> None:
    """A JVM in another zone gets the same instants from Postgres, and from SQLite the same text.

    The text in SQLite is in UTC, but has no zone; sqlite-jdbc takes it for a local time of the JVM.
    What a tool shows is right all the same, but for times that its zone skipped when clocks were
    set forward. To get the right instants, and these too, a tool on SQLite must run with
    `-Duser.timezone=UTC`.
    """
    if filled.kind == "postgresql":
        assert_equal_times(filled, "JDBC elsewhere", jdbc(ELSEWHERE).times(instant))
        return
    read = jdbc(ELSEWHERE).times(wall_clock)
    skipped = 0
    for relation, name in TIME_COLUMNS:
        for row, true in zip(read[relation], filled.truth[relation], strict=True):
            if true[name] and not exists_elsewhere(true[name]):
                skipped += 1
            else:
                assert row[name] == true[name], (relation, name)
    assert skipped


def exists_elsewhere(text: str) -> bool:
    """Tell whether clocks elsewhere ever showed a time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ELSEWHERE))
    try:
        seen = local.astimezone(UTC).astimezone(ZoneInfo(ELSEWHERE))
    except OverflowError:  # the last hours of year 9999 are in year 10000 in UTC
        return True
    return seen.replace(tzinfo=None) == local.replace(tzinfo=None)


def test_jdbc_declares_times(filled: Filled, jdbc: Callable[[str], Jdbc]) -> None:
    """Every time is of type TIMESTAMP: before the first row, at each row, in results without any.

    A tool that looks at the columns of a table or view is told so too. There sqlite-jdbc gives the
    number of VARCHAR for whatever it does not know, of which TIMESTAMP is one; the name is right.
    """
    read = jdbc("UTC")
    name_of = {"sqlite": "TIMESTAMP", "postgresql": "timestamptz"}[filled.kind]
    listed_as = {"sqlite": {JDBC_TEXT, JDBC_TIMESTAMP}, "postgresql": {JDBC_TIMESTAMP}}[filled.kind]
    for relation, name in TIME_COLUMNS:
        declared_name, number = read.declared[relation][name]
        assert declared_name == name_of, (relation, name)
        assert number in listed_as, (relation, name)
    for one, types in read.types.items():
        for name in columns(one.split()[0], UTCDateTime):
            assert types[name] == [[name_of, JDBC_TIMESTAMP]], (one, name)


def test_jdbc_declares_text_numbers_and_days(filled: Filled, jdbc: Callable[[str], Jdbc]) -> None:
    """Text is text; numbers are numbers; a day is a date in Postgres and text in SQLite.

    It is text there on purpose: sqlite-jdbc can read no date that has no time of day.
    """
    sqlite = filled.kind == "sqlite"
    kinds = {
        sa.Text: {JDBC_TEXT},
        sa.Integer: JDBC_WHOLE,
        sa.Float: JDBC_FRACTION,
        sa.Boolean: JDBC_WHOLE if sqlite else {JDBC_BIT},
        sa.Date: {JDBC_TEXT if sqlite else JDBC_DATE},
    }
    for one, types in jdbc("UTC").types.items():
        for kind, expected in kinds.items():
            for name in columns(one.split()[0], kind):
                assert {number for _, number in types[name]} <= expected, (one, name)


def test_jdbc_numbers_and_days(filled: Filled, jdbc: Callable[[str], Jdbc]) -> None:
    """Numbers come as numbers, days as YYYY-MM-DD, and both are right."""
    for relation, rows in jdbc("UTC").rows.items():
        for row, stored in zip(rows, filled.truth[relation], strict=True):
            for name in columns(relation, sa.Integer, sa.Float, sa.Boolean):
                assert row[name] == stored[name], (relation, name)
            for name in columns(relation, sa.Date):
                assert row[name] == str(stored[name]), (relation, name)
                assert re.fullmatch(r"\d{4}-\d\d-\d\d", row[name])


# ODBC


ODBC_DRIVERS = {
    "sqlite": ("SQLite3", "libsqliteodbc"),
    "postgresql": ("PostgreSQL Unicode", "odbc-postgresql"),
}

Open = Callable[..., Any]


def _no_odbc() -> list[str]:
    """What is missing to connect by ODBC."""
    try:
        registered = importlib.import_module("pyodbc").drivers()
    except ImportError:
        return ["pyodbc (pip)", "unixodbc", *(package for _, package in ODBC_DRIVERS.values())]
    return [package for name, package in ODBC_DRIVERS.values() if name not in registered]


@pytest.fixture(scope="module")
def odbc() -> Iterator[Open]:
    """Connects to a database by ODBC; without the drivers, ODBC is not tested."""
    drivers_missing("ODBC", _no_odbc())
    pyodbc: Any = importlib.import_module("pyodbc")
    pyodbc.pooling = False

    @contextmanager
    def connect(url: str, **options: Any) -> Iterator[Any]:
        """Connect, with further options of the driver, and end without a commit."""
        with closing(pyodbc.connect(odbc_string(url, **options))) as connection:
            yield connection

    yield connect
    for log in Path("/tmp").glob(f"psqlodbc_*{os.getpid()}.log"):  # noqa: S108 (the driver's place)
        log.unlink()  # it notes the end of each connection there, whatever its settings


def odbc_string(url: str, **options: Any) -> str:
    """Write a connection string."""
    made = database.parse_url(url)
    kind = made.get_backend_name()
    fields: dict[str, Any] = {"Driver": ODBC_DRIVERS[kind][0], "Database": made.database}
    if kind == "postgresql":
        fields["Servername"], fields["Port"] = server_of(made)
        fields["Username"], fields["Password"] = made.username, made.password
        # psqlodbc drops the offset of a time and keeps the clock of the session's zone.
        fields["ConnSettings"] = "SET TimeZone TO 'UTC'"
    fields |= options
    return ";".join(f"{name}={value}" for name, value in fields.items() if value is not None)


def asked(connection: Any, sql: str) -> tuple[dict[str, type], list[Row]]:
    """Run a query; return the types of its columns, and its rows."""
    cursor = connection.execute(sql)
    types = {name: kind for name, kind, *_ in cursor.description}
    rows = [dict(zip(types, row, strict=True)) for row in cursor.fetchall()]
    cursor.close()
    return types, rows


def test_odbc_times(filled: Filled, odbc: Open, record_property: Note) -> None:
    """Every time comes as a time, to the millisecond, if the session of Postgres is in UTC."""
    with odbc(filled.url) as connection:
        read = {relation: asked(connection, query(relation))[1] for relation in RELATIONS}
    for relation, name in TIME_COLUMNS:
        for row in read[relation]:
            if row[name] is not None:
                assert type(row[name]) is datetime, (relation, name)
                row[name] = to_milliseconds(row[name])
    assert_equal_times(filled, "ODBC", read, record_property)


def test_odbc_declares_times(filled: Filled, odbc: Open) -> None:
    """A time column is one even in a result without rows or without a time."""
    with odbc(filled.url) as connection:
        for one, sql in BARE.items():
            types, _ = asked(connection, sql)
            for name in columns(one.split()[0], UTCDateTime):
                assert types[name] is datetime, (one, name)


def test_odbc_numbers_and_days(filled: Filled, odbc: Open) -> None:
    """Numbers are numbers and right; a day is a date in Postgres and text in SQLite."""
    day = str if filled.kind == "sqlite" else date
    kinds = {sa.Integer: int, sa.Float: float, sa.Date: day}
    with odbc(filled.url) as connection:
        for relation, true in filled.truth.items():
            types, rows = asked(connection, query(relation))
            for kind, expected in kinds.items():
                for name in columns(relation, kind):
                    assert types[name] is expected, (relation, name)
                    got, stored = ([row[name] for row in found] for found in (rows, true))
                    assert all(map(alike, got, stored)), (relation, name)
                    assert len(got) == len(stored)


def alike(read: Any, stored: Any) -> bool:
    """Compare two values; sqliteodbc reads 15 digits of a fraction."""
    if isinstance(stored, float):
        return math.isclose(read, stored, rel_tol=1e-14)
    return bool(read == stored)


# Readers and writers


MANY = 300
BY_THE_ROW: dict[str, dict[str, Any]] = {
    "sqlite": {"StepAPI": 1},
    "postgresql": {"UseDeclareFetch": 1, "Fetch": 10},
}
"""Options that let a driver fetch rows as they are wanted, so that its query stays open."""

IMPATIENT: dict[str, dict[str, Any]] = {
    "sqlite": {"Timeout": 1},  # milliseconds
    "postgresql": {"ConnSettings": "SET lock_timeout TO 1"},
}
"""Options that let a driver wait for no lock."""


def kind_of(mirror: Mirror) -> str:
    """The kind of a mirror's database."""
    return mirror.engine.dialect.name


def holds_a_snapshot(mirror: Mirror) -> bool:
    """Tell whether somebody reads in a transaction that has not ended."""
    if kind_of(mirror) == "sqlite":
        with closing(sqlite3.connect(str(mirror.engine.url.database), timeout=0)) as connection:
            busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return bool(busy)
    idle = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    return mirror.rows(idle) == [(1,)]


def test_an_open_reader_is_in_nobodys_way(
    mirror: Mirror, odbc: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool that stops in the middle of a result holds up no sync, and reads on in the old state.

    The next query sees the new one. A sync that had to wait for a lock would fail here.
    """
    monkeypatch.setattr(database, "LOCK_WAIT", 1)
    mirror.sync([release_request(number) for number in range(MANY)])
    statuses = "SELECT status FROM release_requests ORDER BY id"
    with odbc(mirror.url, **BY_THE_ROW[kind_of(mirror)]) as connection:
        cursor = connection.execute(statuses)
        read = [cursor.fetchone()[0]]
        result = mirror.sync(
            [release_request(number, status="approved") for number in range(MANY + 1)]
        )
        assert result.outcome is Outcome.APPLIED
        assert result.counts.updated == MANY
        assert holds_a_snapshot(mirror)
        read += [status for (status,) in cursor.fetchall()]
        assert read == ["pending"] * MANY
        cursor.close()
        connection.rollback()
        _, rows = asked(connection, statuses)
        assert [row["status"] for row in rows] == ["approved"] * (MANY + 1)


def test_a_writer_is_in_no_readers_way(mirror: Mirror, odbc: Open) -> None:
    """While a writer's transaction is open, a tool that waits for no lock reads the old state."""
    mirror.sync([release_request(number) for number in range(MANY)])
    with (
        database.writing(mirror.engine, "test") as writer,
        odbc(mirror.url, **IMPATIENT[kind_of(mirror)]) as connection,
    ):
        writer.execute(sa.text("UPDATE release_requests SET status = 'approved'"))
        writer.execute(sa.text("DELETE FROM sync_runs"))
        for relation in RELATIONS:
            asked(connection, query(relation))
        _, rows = asked(connection, "SELECT DISTINCT status FROM release_requests")
        assert [row["status"] for row in rows] == ["pending"]
        _, rows = asked(connection, "SELECT id FROM sync_runs")
        assert len(rows) == 1
