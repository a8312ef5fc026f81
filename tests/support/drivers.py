"""What the drivers that BI tools are made of are asked, what they read, and what is true.

JDBC is behind Metabase, DBeaver and whatever else runs on Java; ODBC behind Excel and Power BI.
Drivers that are not installed are not tested, unless MIRROR_TEST_DRIVERS is set.
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
from mirror.db.engine import parse_url
from mirror.db.types import UTCDateTime
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sync.run import Outcome
from tests.support import moved_clock
from tests.support.databases import new_database
from tests.support.mirrors import Mirror
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


@contextmanager
def filled_mirror(kind: str, request: pytest.FixtureRequest) -> Iterator[Filled]:
    """Make a mirror that holds times of all kinds; Postgres thinks elsewhere."""
    world = FakeUpstream()
    said: dict[str, Row] = {}
    with (
        new_database(kind, request, ELSEWHERE, ready=True) as url,
        Sandbox(world, SandboxConfig(token=TOKEN)).running() as sandbox,
    ):
        mirror = Mirror(url, sandbox, world)
        for begins, entries in zip(CLOCK, lists(), strict=True):
            mirror.now = datetime.fromisoformat(begins) - timedelta(hours=1)
            assert mirror.sync(entries, accept_missing=True).outcome is Outcome.APPLIED
            said |= {one["id"]: one for one in entries if isinstance(one, dict)}
        assert mirror.sync([]).outcome is Outcome.REFUSED
        yield Filled(kind, url, said)


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
    moved_clock.skip_what_fails(standard)
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


def classpath() -> list[str]:
    """Find the jar files of the JDBC drivers; without them, JDBC is not tested."""
    found = {
        "libxerial-sqlite-jdbc-java": jar("sqlite-jdbc"),
        "libpostgresql-jdbc-java": jar("postgresql"),
    }
    drivers_missing("JDBC", [*(name for name, files in found.items() if not files), *_no_java()])
    # Newer drivers for SQLite than that of Debian 12 need slf4j-api beside them.
    return [file for files in (*found.values(), jar("slf4j-api")) for file in files]


@contextmanager
def jdbc_url(filled: Filled) -> Iterator[str]:
    """Give a mirror's JDBC URL; to the tests' own Postgres, which has no TCP port, over a line."""
    if filled.kind == "sqlite":
        yield f"jdbc:sqlite:{filled.url.removeprefix('sqlite:///')}?open_mode=1"
        return
    url = parse_url(filled.url)
    folder, port = server_of(url)
    if not folder.startswith("/"):
        yield _postgres_jdbc_url(url, folder, port)
        return
    with TcpProxy(Path(folder) / f".s.PGSQL.{port}").running() as line:
        tcp = parse_url(line.url(filled.url))
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
    """What a JVM read of a mirror.

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


def read_by_jdbc(mirrors: Sequence[Filled], zone: str) -> dict[str, Jdbc]:
    """Read mirrors in a JVM that believes in a time zone; return what it read by their kinds."""
    files = classpath()
    queries = {relation: query(relation) for relation in RELATIONS} | BARE
    with ExitStack() as stack:
        order = {
            "zone": zone,
            "classpath": files,
            "urls": {one.kind: stack.enter_context(jdbc_url(one)) for one in mirrors},
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
    return {
        kind: Jdbc(
            declared=said["declared"],
            types={name: one["types"] for name, one in said["results"].items()},
            rows={relation: said["results"][relation]["rows"] for relation in RELATIONS},
        )
        for kind, said in json.loads(done.stdout).items()
    }
