"""What the tests of outages share: a mirror whose database fails at a moment of a sync."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mirror import cli
from mirror.db import migrate
from mirror.db.engine import LOCK_CLASS, parse_url
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.tcp_proxy import LONG
from tests.support.upstream import TOKEN, FakeUpstream, request

PASSWORD = "the-password-of-the-tests"
HEAD = migrate.revisions()[-1]

OLD = [request(1), request(2), request(3), "junk"]
NEW = [request(1, status="approved"), request(3), request(4)]
MADE_OF_NEW = {
    "SELECT id, status, missing_since IS NULL FROM release_requests ORDER BY id": [
        ("request-1", "approved", True),
        ("request-2", "pending", False),
        ("request-3", "pending", True),
        ("request-4", "pending", True),
    ],
    "SELECT id, status, missing_since IS NULL FROM release_request_past_versions ORDER BY id": [
        ("request-1", "pending", True),
        ("request-2", "pending", True),
    ],
    "SELECT raw, resolved_at IS NULL FROM quarantined_records": [('"junk"', False)],
}
"""What a mirror that knew OLD holds after NEW."""

MANY = [request(number, reason="because " * 20) for number in range(1, 4000)]

START = "before the sync"
LISTED = "while the list is read"
COMMIT = "at the commit"
WITHIN = ("INSERT INTO release_request_past_versions", COMMIT)
"""When something happens to the database; if it is SQL: before it is run."""


class Busy(FakeUpstream):
    """An upstream; while its list is read, something happens elsewhere.

    Attributes:
        meanwhile: what is to happen, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def answered(self) -> list[Any]:
        """Let it happen, and give the list."""
        happen, self.meanwhile = self.meanwhile, None
        if happen is not None:
            happen()
        return super().answered()


class OutageMirror(Mirror):
    """A mirror that is synced by the command.

    Attributes:
        door: the URL of the database that the command is given.
    """

    world: Busy

    def __init__(self, url: str, sandbox: Sandbox, world: Busy) -> None:
        super().__init__(url, sandbox, world)
        self.door = url

    @property
    def name(self) -> str:
        """The name of the database; in SQLite that of the file."""
        return str(parse_url(self.url).database)

    @property
    def file(self) -> Path:
        """The file of SQLite."""
        return Path(self.name)

    def arguments(self) -> list[str]:
        """The command."""
        api = self.sandbox.base_url
        return ["sync", "--json", "--database", self.door, "--base-url", api]

    def run(self, records: list[Any] | None = None) -> Ran:
        """Let upstream say `records`, or the same as before, and run the command in here."""
        if records is not None:
            self.world.records = records
        self.sandbox.forget()
        return run_discreetly(*self.arguments())

    def begin(self) -> object:
        """Learn OLD; return what the tables hold."""
        assert self.run(OLD).code == cli.EXIT_NEWLY_QUARANTINED
        return self.state()


def discreet(ran: Ran) -> Ran:
    """Make sure that a command gave no secret away, and showed no traceback."""
    for word in (TOKEN, PASSWORD, "Traceback"):
        assert word not in ran.out + ran.err
    return ran


def run_discreetly(*arguments: str) -> Ran:
    """Run a command, which gives no secret away, and shows no traceback."""
    return discreet(run_mirror(*arguments, TALKOVER_TOKEN=TOKEN))


def told(ran: Ran) -> Any:
    """What a sync said that it did."""
    return json.loads(ran.out)


def outcomes(site: OutageMirror) -> list[str]:
    """What is on record, the first run first; no secret is in it."""
    runs = site.runs("outcome", "error")
    for word in (TOKEN, PASSWORD):
        assert word not in str(runs)
    return [outcome for outcome, _ in runs]


def expect_failure(
    site: OutageMirror, ran: Ran, before: object, *recorded: str, code: int = 75
) -> None:
    """The command failed, nothing was changed, and the runs after the first one say so."""
    assert (ran.code, told(ran)["outcome"]) == (code, "failed"), ran
    assert told(ran)["error"] in ran.err
    assert site.state() == before
    assert outcomes(site) == ["applied", *recorded]


def expect_success(site: OutageMirror, ran: Ran, *recorded: str) -> None:
    """NEW was applied, that is told and on record, and it is known to be the list."""
    assert (ran.code, told(ran)["outcome"]) == (0, "applied"), ran
    assert {query: site.rows(query) for query in MADE_OF_NEW} == MADE_OF_NEW
    assert outcomes(site) == ["applied", *recorded, "applied"]
    assert told(site.run())["outcome"] == "unchanged"


def expect_recovery(site: OutageMirror, *recorded: str) -> None:
    """The next sync makes the mirror equal to NEW."""
    expect_success(site, site.run(NEW), *recorded)


@contextmanager
def at(moment: str, site: OutageMirror, do: Callable[[], object]) -> Iterator[None]:
    """Do something once, at a moment of the sync that is run meanwhile."""
    left = [do]

    def happen() -> None:
        if left:
            left.pop()()

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if moment in statement:
            happen()

    def arm() -> None:
        event.listen(Engine, "commit", commit)

    def commit(_connection: Any) -> None:
        happen()

    event.listen(Engine, "before_cursor_execute", before)
    if moment == START:
        happen()
    elif moment in {LISTED, COMMIT}:
        site.world.meanwhile = happen if moment == LISTED else arm
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        if event.contains(Engine, "commit", commit):
            event.remove(Engine, "commit", commit)
    assert not left


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    never = threading.Event()
    for _ in range(2400):
        if true():
            return
        never.wait(0.05)
    pytest.fail("waited in vain")


@contextmanager
def sites() -> Iterator[Callable[[str], OutageMirror]]:
    """Keep an upstream; give who makes mirrors of it, by the URL of their database."""
    world = Busy()
    with Sandbox(world, SandboxConfig(token=TOKEN)).running() as sandbox:
        yield lambda url: OutageMirror(url, sandbox, world)


def with_password(url: str) -> str:
    """Put a password into the URL of a server, which must not be seen again."""
    made = parse_url(url)
    if made.get_backend_name() == "sqlite":
        return url
    made = made.set(password=made.password or PASSWORD, drivername="postgresql")
    return made.render_as_string(hide_password=False)


def ask(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in Postgres, each by itself; return the rows of the last one."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def the_commit(number: int) -> Callable[[bytes], bool]:
    """Tells the so-manyth COMMIT of a sync: the first one is that of the run's beginning."""
    seen = count(1)
    return lambda message: b"COMMIT\0" in message and next(seen) == number


@contextmanager
def held(site: OutageMirror, *statements: str) -> Iterator[None]:
    """Hold what some statements lock, in a session of somebody else."""
    with ExitStack() as stack:
        if site.url.startswith("sqlite"):
            other = sqlite3.connect(site.file, isolation_level=None, check_same_thread=False)
            stack.enter_context(closing(other))
            for statement in statements:
                other.execute(statement)
        else:
            session = stack.enter_context(psycopg.connect(site.url))
            session.execute(f"SET idle_in_transaction_session_timeout = '{LONG}s'".encode())
            for statement in statements:
                session.execute(statement.encode())
        yield


WRITERS_LOCK = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext('sync default'))",
}
"""What another sync of the same environment holds."""


@contextmanager
def limited(part: str, pages: int) -> Iterator[None]:
    """Let SQLite take its disk for full as soon as the file, or the temporary one, has so much."""

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA {part}.max_page_count = {pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


def set_revision(site: OutageMirror, revision: str) -> None:
    """Let a database have another revision of the schema."""
    with site.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
