"""A mirror for tests of readers: libraries and tools that nobody here chose, and what they read.

Their packages are pinned beside the tests, in tests/stress/readers/. A test whose reader is not
installed is skipped, or fails if MIRROR_TEST_READERS is set.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from mirror.db import models, views
from mirror.db.types import UTCDateTime
from mirror.db.urls import parse_url
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support import ROOT
from tests.support.commands import run_process
from tests.support.databases import new_database
from tests.support.drivers import TIMES, server_of
from tests.support.mirrors import Mirror, fill_records_of_commands
from tests.support.pages import SQL, blocks, section
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream import request as release_request

RELATIONS: dict[str, sa.Table] = {**models.metadata.tables, **views.metadata.tables}
"""All tables and views of the mirror."""

VIEWS = tuple(views.metadata.tables)

FIRST_DAY, DAY_AFTER = "2024-01-01", "2026-01-01"
"""Days of `release_requests_daily` that are read: its calendar is from 1900 to today."""

QUERIES = {name: f"SELECT * FROM {name}" for name in RELATIONS} | {
    "release_requests_daily": "SELECT * FROM release_requests_daily "
    f"WHERE day >= '{FIRST_DAY}' AND day < '{DAY_AFTER}'"
}
"""A query for the rows of each relation."""

Row = Mapping[str, Any]
Read = Callable[[str], Iterable[Row]]

_EDGE_CASES = json.loads((ROOT / "tests/data/edge-cases.json").read_text())["data"]


def library(name: str) -> Any:
    """Import a reader, or skip the test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return _missing(name)


def program(name: str, version: str = "") -> str:
    """Find a reader's program on PATH, or skip the test.

    Args:
        name: of the program and of its package.
        version: how its version must begin.
    """
    found = shutil.which(name)
    if found is None:
        return str(_missing(name))
    command = [found, "--version"]
    if (
        version
        and f"version {version}"
        not in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ):
        return str(_missing(f"{name} {version}"))
    return found


def mapper_example(library_name: str, path: Path | str = "/srv/mirror.db") -> dict[str, Any]:
    """The names that the code for a mapper in docs/sql.md makes, with another path."""
    (code,) = (
        block
        for block in blocks(section(SQL, "## Mappers of Python"), "python")
        if library_name in block
    )
    names: dict[str, Any] = {"__name__": library_name}
    exec(code.replace("/srv/mirror.db", str(path)), names)  # noqa: S102 (it is our own)
    return names


def utc_text(time: datetime) -> str:
    """Write a time as it is stored in SQLite; a naive one is in UTC."""
    if time.tzinfo is not None:
        time = time.astimezone(UTC).replace(tzinfo=None)
    return time.isoformat(" ", "milliseconds")


def ids_at(operator: str, time: datetime, zone: str = "") -> str:
    """A query for the requests on one side of a time, for readers that take no parameters."""
    return f"SELECT id FROM release_requests WHERE requested_at {operator} '{utc_text(time)}{zone}'"


def with_extra(query: str, expression: str) -> str:
    """List the columns of a query from `QUERIES`, with an expression for `extra`."""
    columns = RELATIONS[query.split()[3]].columns.keys()
    listed = [f"{expression} AS extra" if name == "extra" else name for name in columns]
    return query.replace("*", ", ".join(listed))


def _missing(name: str) -> Any:
    reason = f"{name} is not tested: install the requirements of tests/stress/readers"
    if os.environ.get("MIRROR_TEST_READERS"):
        pytest.fail(reason)
    pytest.skip(reason)


def _lists() -> Iterator[list[Any]]:
    """The list of each sync.

    The first 1,100 requests have neither a `resolved_at` nor fields that the mirror does not know:
    a reader that guesses types from the first rows sees only nulls.
    """
    plain = [
        release_request(number, id=f"0000-{number}", phone_number=f"+1555{number:07d}")
        for number in range(1100)
    ]
    timed = [
        release_request(2000 + number, requested_at=time, status="approved", resolved_at=TIMES[-1])
        for number, time in enumerate(TIMES)
    ]
    yield [*plain, *_EDGE_CASES, *timed, {"id": "junk", "requested_at": "yesterday"}]
    yield [*plain, *_EDGE_CASES, *timed[:-1], release_request(3000, carrier="Example")]
    reopened = timed[0] | {"status": "pending", "resolved_at": None}
    yield [*plain, *_EDGE_CASES, reopened, *timed[1:], release_request(3000, carrier="Other")]


class ReaderMirror:
    """A mirror, and what a reader must find in it.

    Attributes:
        kind: of its database.
        url: of its database, as SQLAlchemy writes it.
        path: of its SQLite file.
    """

    def __init__(self, kind: str, mirror: Mirror) -> None:
        self.kind = kind
        self.url = mirror.url
        self.path = Path(mirror.url.removeprefix("sqlite:///"))
        self._mirror = mirror
        self._added = 0
        self._read_at: int | None = None
        self._rows: dict[str, list[Row]] = {}
        for entries in _lists():
            mirror.sync(entries)
            self._entries = entries
        fill_records_of_commands(mirror)

    @property
    def dsn(self) -> str:
        """The URL of its Postgres database, as libpq reads it."""
        return parse_url(self.url).set(drivername="postgresql").render_as_string(False)

    @contextmanager
    def connectorx_url(self) -> Iterator[str]:
        """Its URL for connectorx, which takes no Unix socket as the tests' own server has it."""
        if self.kind == "sqlite":
            yield f"sqlite://{self.path}"
            return
        host, port = server_of(parse_url(self.url))
        if not host.startswith("/"):
            yield self.dsn
            return
        with TcpProxy(Path(host) / f".s.PGSQL.{port}").running() as proxy:
            yield proxy.url(self.dsn)

    @property
    def sqlalchemy_url(self) -> str:
        """The URL of its Postgres database, for SQLAlchemy with psycopg."""
        return self.dsn.replace("postgresql:", "postgresql+psycopg:", 1)

    def sync(self) -> None:
        """Run a sync that adds a request, as a process of its own.

        A process must not open a SQLite file with two libraries, that of Python and the one inside
        of a reader: closing it with one of them drops the locks of the other.
        """
        self._added += 1
        self._entries = [*self._entries, release_request(5000 + self._added)]
        self._mirror.upstream.records = self._entries
        self._mirror.sandbox.invalidate()
        ran = run_process(
            *("sync", "--json", "--database", self.url, "--base-url", self._mirror.api.base_url),
            TALKOVER_TOKEN=TOKEN,
        )
        assert (ran.code, json.loads(ran.out)["inserted"]) == (0, 1), ran.err

    def refresh(self) -> None:
        """Read what the mirror holds, unless nothing has changed."""
        if self._read_at != self._added:
            self._rows = {relation: self._read(relation) for relation in RELATIONS}
            self._read_at = self._added

    def rows(self, relation: str) -> list[Row]:
        """The rows of a relation at the last refresh, read by the plain driver; sorted."""
        return self._rows[relation]

    def _read(self, relation: str) -> list[Row]:
        connection: Any
        if self.kind == "sqlite":
            connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        else:
            connection = psycopg.connect(self.dsn, options="-c timezone=UTC")
        with closing(connection):
            cursor = connection.execute(QUERIES[relation])
            names = [column[0] for column in cursor.description]
            return normalize(relation, (dict(zip(names, row, strict=True)) for row in cursor))

    def assert_reads(
        self, read: Read, relations: Iterable[str] = RELATIONS, *, text: bool = False
    ) -> None:
        """Relations are read with the right values and types.

        Args:
            read: takes a query of `QUERIES`, and returns the rows.
            relations: those to read.
            text: the reader returns nothing but text, as from CSV; an empty one is null.
        """
        for relation in relations:
            rows = normalize(relation, read(QUERIES[relation]), text=text)
            expected = self.rows(relation)
            if text:
                expected = normalize(relation, expected, text=True)
            assert rows[0].keys() == expected[0].keys(), relation
            assert rows == expected, relation

    def assert_splits(
        self, find: Callable[[str, Any], Iterable[str]], times: Mapping[str, Any]
    ) -> None:
        """A row is found by its own time; `>=` and `<` split the rows at it.

        Args:
            find: takes an operator and a time as the reader has read it; returns ids of requests.
            times: the `requested_at` of each request by id, as the reader has read it.
        """
        stored = {row["id"]: row["requested_at"] for row in self.rows("release_requests")}
        assert times.keys() == stored.keys()
        compare: dict[str, Callable[[str, str], bool]] = {
            "=": lambda a, b: a == b,
            ">=": lambda a, b: a >= b,
            "<": lambda a, b: a < b,
        }
        for key in [f"request-{2000 + number}" for number in range(len(TIMES))]:
            for operator, holds in compare.items():
                expected = {other for other, time in stored.items() if holds(time, stored[key])}
                assert set(find(operator, times[key])) == expected, (key, operator, stored[key])

    def assert_one_state(self, count: Callable[[str], int]) -> None:
        """Two statements of one transaction read one state, though a sync runs in between.

        Args:
            count: runs a query for one number, in a transaction that its first call begins.
        """
        before = count("SELECT count(*) FROM release_requests")
        self.sync()
        assert count("SELECT count(*) FROM release_requests") == before
        assert count("SELECT sum(requests) FROM phone_numbers") == before


@contextmanager
def reader_mirror(kind: str, request: pytest.FixtureRequest) -> Iterator[ReaderMirror]:
    """Make the mirror; its Postgres is in another time zone than UTC."""
    upstream = FakeUpstream()
    with (
        new_database(kind, request, "America/Sao_Paulo", ready=True) as url,
        Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox,
    ):
        yield ReaderMirror(kind, Mirror(url, sandbox, upstream))


def normalize(relation: str, rows: Iterable[Row], *, text: bool = False) -> list[Row]:
    """Convert values to one form for each type; sort the rows.

    Args:
        relation: a table or view.
        rows: its rows, as a reader returned them.
        text: the reader returns text only, as from CSV; an empty one is null.
    """
    columns = RELATIONS[relation].columns
    result = []
    for row in rows:
        # In one order, for a program whose rows have none.
        names = sorted(row)
        result.append({name: _normalize(columns[name], row[name], text=text) for name in names})
    return sorted(result, key=repr)


def _normalize(column: sa.Column[Any], value: Any, *, text: bool) -> Any:  # noqa: PLR0911
    # NaN and NaT are not equal to themselves; pandas.NA has no truth value.
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:  # noqa: PLR0124
        return None
    if text and value == "":
        return None
    if isinstance(column.type, UTCDateTime):
        if text:
            value = datetime.fromisoformat(value)
        return utc_text(value) if isinstance(value, datetime) else value
    if column.name == "extra":
        return json.dumps(json.loads(value) if isinstance(value, str) else value, sort_keys=True)
    if isinstance(column.type, sa.Boolean):
        assert value in {0, 1, "0", "1", "true", "false", "True", "False"}
        return value in {1, "1", "true", "True"}
    if isinstance(column.type, sa.Integer):
        assert text or isinstance(value, int), repr(value)
        return int(value)
    if isinstance(column.type, sa.Float | sa.Numeric):
        return round(float(value), 9)
    if isinstance(value, date):
        return value.isoformat()[:10]
    assert isinstance(value, str), repr(value)
    return value
