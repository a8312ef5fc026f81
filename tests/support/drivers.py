"""Read a mirror through the drivers of BI tools, and compare with what it holds.

Metabase, DBeaver and others that run on Java use JDBC, Excel and Power BI use ODBC. Drivers that
are not installed are not tested, unless MIRROR_TEST_DRIVERS is set.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
import sqlalchemy as sa

from mirror.db import models, views
from mirror.db.runs import Outcome
from mirror.db.types import UTCDateTime
from mirror.db.urls import parse_url
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support import moved_clock
from tests.support.databases import new_database
from tests.support.mirrors import Mirror, fill_records_of_commands
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream import request as release_request

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
"""Times that upstream reports; each is the `requested_at` of a request."""

CLOCK = (
    "2018-11-04T00:30:00.123Z",
    "2020-02-29T23:59:59.999Z",
    "2024-03-10T02:30:00.001Z",
    "2025-12-31T23:59:59.990Z",
)
"""When the syncs begin."""

OTHER_ZONE = "America/Sao_Paulo"
"""Time zone of the JVM of a BI server, and of the Postgres databases in these tests."""

Row = dict[str, Any]
Note = Callable[[str, object], None]


def to_milliseconds(time: datetime) -> str:
    """Write a time as `YYYY-MM-DD HH:MM:SS.mmm`, which must not lose anything."""
    assert time.microsecond % 1000 == 0
    return time.replace(tzinfo=None).isoformat(" ", "milliseconds")


def reported_time(text: str | None) -> str | None:
    """Parse a time of upstream's JSON, cut to the millisecond."""
    if text is None:
        return None
    time = datetime.fromisoformat(text).astimezone(UTC)
    return to_milliseconds(time.replace(microsecond=time.microsecond // 1000 * 1000))


def columns(relation: str, *kinds: type) -> list[str]:
    """The names of a relation's columns of these types."""
    return [column.name for column in RELATIONS[relation].columns if isinstance(column.type, kinds)]


def query(relation: str, where: str = "") -> str:
    """A query for the rows of a relation in an order that does not depend on the driver."""
    names = [
        column.name
        for column in RELATIONS[relation].columns
        if not isinstance(column.type, sa.JSON)
    ]
    order = ", ".join(str(number) for number, _ in enumerate(names, start=1))
    return f"SELECT {', '.join(names)} FROM {relation} {where} ORDER BY {order} LIMIT 200"


TIME_COLUMNS = [
    (relation, name) for relation in RELATIONS for name in columns(relation, UTCDateTime)
]

EMPTY_QUERIES = {
    f"{relation} without rows": query(relation, "WHERE 1 = 0") for relation in RELATIONS
} | {
    f"{relation} without {name}": query(relation, f"WHERE {name} IS NULL")
    for relation, name in TIME_COLUMNS
}
"""Queries whose column types a driver can learn from declarations only, by name."""


# A mirror that holds times of all kinds.


@dataclass(frozen=True)
class FilledMirror:
    """A mirror that tests only read.

    Attributes:
        kind: of its database.
        url: of its database.
        records: by id of the request, the record that upstream last listed.
    """

    kind: str
    url: str
    records: dict[str, Row]

    @cached_property
    def expected(self) -> dict[str, list[Row]]:
        """The rows of each relation: times as text to the millisecond, all else as it is stored.

        `release_requests` has the times that upstream reported.
        """
        rows = {relation: self.stored(relation) for relation in RELATIONS}
        for row in rows["release_requests"]:
            record = self.records[row["id"]]
            row["requested_at"] = reported_time(record["requested_at"])
            row["resolved_at"] = reported_time(record.get("resolved_at"))
        return rows

    def stored(self, relation: str) -> list[Row]:
        """The rows of a relation by the driver of Python, without SQLAlchemy and our types."""
        connection: Any
        if self.kind == "sqlite":
            path = self.url.removeprefix("sqlite:///")
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        else:
            connection = psycopg.connect(self.url)
        with closing(connection):
            cursor = connection.execute(query(relation))
            names = [column[0] for column in cursor.description]
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
    """The list of each sync: every time column comes to hold all kinds of times."""

    def entry(number: int, turn: int, **fields: Any) -> Row:
        values = {"requested_at": TIMES[number]}
        if turn + number % 2 > 1:
            values["resolved_at"] = TIMES[(7 * number + turn) % len(TIMES)]
            values["status"] = "approved"
        return release_request(number, **(values | fields))

    requests = range(len(TIMES))
    junk = {"id": "junk", "requested_at": "yesterday"}
    cancelled = release_request(77, status="cancelled")
    yield [*(entry(number, 1) for number in requests), release_request(77), junk]
    yield [*(entry(number, 2) for number in requests if number % 5), cancelled]
    yield [*(entry(number, 3) for number in requests if number != 5), cancelled, "more junk"]
    yield [
        *(entry(number, 4, carrier="Example") for number in requests[:-1]),
        cancelled,
        "more junk",
    ]


@contextmanager
def filled_mirror(kind: str, request: pytest.FixtureRequest) -> Iterator[FilledMirror]:
    """Make a mirror that holds times of all kinds; its Postgres is in another time zone."""
    upstream = FakeUpstream()
    records: dict[str, Row] = {}
    with (
        new_database(kind, request, OTHER_ZONE, ready=True) as url,
        Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox,
    ):
        mirror = Mirror(url, sandbox, upstream)
        for begins, entries in zip(CLOCK, lists(), strict=True):
            mirror.now = datetime.fromisoformat(begins) - timedelta(hours=1)
            assert mirror.sync(entries, accept_missing=True).outcome is Outcome.APPLIED
            records |= {entry["id"]: entry for entry in entries if isinstance(entry, dict)}
        assert mirror.sync([]).outcome is Outcome.REFUSED
        fill_records_of_commands(mirror)
        yield FilledMirror(kind, url, records)


def assert_equal_times(
    filled: FilledMirror, driver: str, read: dict[str, list[Row]], note: Note | None = None
) -> None:
    """Compare every time of every relation; note an example of each column."""
    for number, (relation, name) in enumerate(TIME_COLUMNS):
        expected = [row[name] for row in filled.expected[relation]]
        got = [row[name] for row in read[relation]]
        assert got == expected, f"{driver} reads {relation}.{name} wrong"
        pairs = sorted({pair for pair in zip(expected, got, strict=True) if pair[0]})
        stored, example = pairs[number % len(pairs)]
        if note is not None:
            count = sum(time is not None for time in got)
            note("driver", (filled.kind, driver, f"{relation}.{name}", stored, example, count))


def require_drivers(standard: str, missing: Sequence[str]) -> None:
    """Skip the test if packages are missing, or fail if MIRROR_TEST_DRIVERS is set."""
    moved_clock.skip_what_fails(standard)
    if missing:
        reason = f"{standard} is not tested: install {', '.join(missing)}"
        if os.environ.get("MIRROR_TEST_DRIVERS"):
            pytest.fail(reason)
        pytest.skip(reason)


# ODBC


ODBC_DRIVERS = {
    "sqlite": ("SQLite3", "libsqliteodbc"),
    "postgresql": ("PostgreSQL Unicode", "odbc-postgresql"),
}


def _missing_odbc() -> list[str]:
    """The packages that are missing to connect by ODBC."""
    try:
        registered = importlib.import_module("pyodbc").drivers()
    except ImportError:
        return ["pyodbc (pip)", "unixodbc", *(package for _, package in ODBC_DRIVERS.values())]
    return [package for name, package in ODBC_DRIVERS.values() if name not in registered]


def odbc_string(url: str, **options: Any) -> str:
    """The ODBC connection string of a database."""
    parsed = parse_url(url)
    kind = parsed.get_backend_name()
    fields: dict[str, Any] = {"Driver": ODBC_DRIVERS[kind][0], "Database": parsed.database}
    if kind == "postgresql":
        fields["Servername"], fields["Port"] = server_of(parsed)
        fields["Username"], fields["Password"] = parsed.username, parsed.password
        # psqlodbc drops the offset of a time and keeps the clock of the session's zone.
        fields["ConnSettings"] = "SET TimeZone TO 'UTC'"
    fields |= options
    return ";".join(f"{name}={value}" for name, value in fields.items() if value is not None)


@contextmanager
def odbc_connection(url: str, **options: Any) -> Iterator[Any]:
    """Connect by ODBC with options of the driver; close without a commit.

    Without the drivers, ODBC is not tested.
    """
    require_drivers("ODBC", _missing_odbc())
    pyodbc: Any = importlib.import_module("pyodbc")
    pyodbc.pooling = False
    with closing(pyodbc.connect(odbc_string(url, **options))) as connection:
        yield connection
    for log in Path("/tmp").glob(f"psqlodbc_*{os.getpid()}.log"):  # noqa: S108 (the driver's place)
        log.unlink()  # it notes the end of each connection there, whatever its settings


# JDBC


def find_jar(name: str) -> list[str]:
    """The jar file of a name in any version, or nothing."""
    folder = Path(os.environ.get("MIRROR_TEST_JDBC") or "/usr/share/java")
    files = (str(file) for file in folder.glob(f"{name}*.jar"))
    return sorted(files, key=lambda file: (len(file), file))[:1]


def _missing_java() -> list[str]:
    """The packages that are missing to start a JVM."""
    try:
        importlib.import_module("jpype").getDefaultJVMPath()
    except ImportError:
        return ["JPype1 (pip)"]
    except ValueError:  # JVMNotFoundException
        return ["default-jre-headless"]
    return []


def classpath() -> list[str]:
    """Find the jar files of the JDBC drivers; without them, JDBC is not tested."""
    jars = {
        "libxerial-sqlite-jdbc-java": find_jar("sqlite-jdbc"),
        "libpostgresql-jdbc-java": find_jar("postgresql"),
    }
    require_drivers(
        "JDBC", [*(name for name, files in jars.items() if not files), *_missing_java()]
    )
    # Newer drivers for SQLite than that of Debian 12 need slf4j-api beside them.
    return [file for files in (*jars.values(), find_jar("slf4j-api")) for file in files]


@contextmanager
def jdbc_url(kind: str, mirror_url: str) -> Iterator[str]:
    """Yield a mirror's JDBC URL; the tests' own Postgres has no TCP port and gets a proxy."""
    if kind == "sqlite":
        yield f"jdbc:sqlite:{mirror_url.removeprefix('sqlite:///')}?open_mode=1"
        return
    url = parse_url(mirror_url)
    folder, port = server_of(url)
    if not folder.startswith("/"):
        yield _postgres_jdbc_url(url, folder, port)
        return
    with TcpProxy(Path(folder) / f".s.PGSQL.{port}").running() as proxy:
        tcp = parse_url(proxy.url(mirror_url))
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
class JdbcResult:
    """What a JVM read from a mirror.

    Attributes:
        declared: by relation and column, name and number of the declared type.
        types: by query and column, every type in the results, as [name, number].
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
    """The UTC time of a java.sql.Timestamp."""
    return to_milliseconds(datetime(1970, 1, 1) + timedelta(milliseconds=milliseconds))  # noqa: DTZ001


def wall_clock(_: int, text: str) -> str:
    """The text of a java.sql.Timestamp."""
    return to_milliseconds(datetime.fromisoformat(text))


def read_by_jdbc(mirrors: Sequence[FilledMirror], zone: str) -> dict[str, JdbcResult]:
    """Read mirrors in a JVM with a time zone; return the results by kind of database."""
    files = classpath()
    queries = {relation: query(relation) for relation in RELATIONS} | EMPTY_QUERIES
    with ExitStack() as stack:
        job = {
            "zone": zone,
            "classpath": files,
            "urls": {
                filled.kind: stack.enter_context(jdbc_url(filled.kind, filled.url))
                for filled in mirrors
            },
            "relations": [*RELATIONS],
            "queries": {
                name: {"sql": sql, "times": columns(name.split()[0], UTCDateTime)}
                for name, sql in queries.items()
            },
        }
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("jdbc.py")],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return {
        kind: JdbcResult(
            declared=output["declared"],
            types={name: result["types"] for name, result in output["results"].items()},
            rows={relation: output["results"][relation]["rows"] for relation in RELATIONS},
        )
        for kind, output in json.loads(done.stdout).items()
    }
