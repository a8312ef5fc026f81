"""A mirror whose database fails at a moment of a sync, and what must hold then."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from mirror import cli
from mirror.db import lock_waits, revisions, watchdog
from mirror.db.engine import LOCK_CLASS
from mirror.db.urls import parse_url
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.tcp_proxy import LONG, TcpProxy
from tests.support.upstream import TOKEN, FakeUpstream, request

PASSWORD = "the-password-of-the-tests"
HEAD = revisions.known()[-1]

OLD = [request(1), request(2), request(3), "junk"]
NEW = [request(1, status="approved"), request(3), request(4)]
AFTER_NEW = {
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

BEFORE_SYNC = "before the sync"
DURING_FETCH = "while the list is fetched"
AT_COMMIT = "at the commit"
DURING_MERGE = ("INSERT INTO release_request_past_versions", AT_COMMIT)
"""Moments of an outage; if one is SQL: before that statement."""

WRITERS_LOCK = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext('sync default'))",
}
"""What another sync of the same environment holds."""


class InterruptedUpstream(FakeUpstream):
    """An upstream that runs an action, once, when its list is requested.

    Attributes:
        action: the action.
    """

    def __init__(self) -> None:
        super().__init__()
        self.action: Callable[[], object] | None = None

    def list_payload(self) -> list[Any]:
        """Run the action, and return the list."""
        action, self.action = self.action, None
        if action is not None:
            action()
        return super().list_payload()


class OutageMirror(Mirror):
    """A mirror that is synced by the command.

    Attributes:
        command_url: the URL of the database for the command.
    """

    upstream: InterruptedUpstream

    def __init__(self, url: str, sandbox: Sandbox, upstream: InterruptedUpstream) -> None:
        super().__init__(url, sandbox, upstream)
        self.command_url = url

    @property
    def name(self) -> str:
        """The name of the database; in SQLite that of the file."""
        return str(parse_url(self.url).database)

    @property
    def file(self) -> Path:
        """The file of SQLite."""
        return Path(self.name)

    def arguments(self) -> list[str]:
        """The arguments of the command."""
        api = self.sandbox.base_url
        return ["sync", "--json", "--database", self.command_url, "--base-url", api]

    def run(self, records: list[Any] | None = None) -> Ran:
        """Run the command in this process, with other records if there are any."""
        if records is not None:
            self.upstream.records = records
        self.sandbox.invalidate()
        return run_checked(*self.arguments())

    def load_old(self) -> object:
        """Sync OLD; return what the tables hold."""
        assert self.run(OLD).code == cli.EXIT_NEWLY_QUARANTINED
        return self.state()

    def outcomes(self) -> list[str]:
        """The outcomes of the recorded runs, the first one first, which hold no secret."""
        runs = self.runs("outcome", "error")
        for secret in (TOKEN, PASSWORD):
            assert secret not in str(runs)
        return [outcome for outcome, _ in runs]

    def has_new(self) -> bool:
        """Whether the tables hold what they must after NEW."""
        return {query: self.rows(query) for query in AFTER_NEW} == AFTER_NEW

    def set_revision(self, revision: str) -> None:
        """Set the revision of the schema."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")

    # What must hold.

    def assert_failed(self, ran: Ran, before: object, *recorded: str, code: int = 75) -> None:
        """The command failed, nothing changed, and the runs after the first one are recorded."""
        result = result_of(ran)
        assert (ran.code, result["outcome"]) == (code, "failed"), ran
        assert result["error"] in ran.err
        assert self.state() == before
        assert self.outcomes() == ["applied", *recorded]

    def assert_applied(self, ran: Ran, *recorded: str) -> None:
        """NEW was applied, printed and recorded as such, and the list is known from now on."""
        assert (ran.code, result_of(ran)["outcome"]) == (0, "applied"), ran
        assert self.has_new()
        abandoned = ["abandoned" if outcome == "running" else outcome for outcome in recorded]
        assert self.outcomes() == ["applied", *abandoned, "applied"]
        assert result_of(self.run())["outcome"] == "unchanged"

    def assert_recovers(self, *recorded: str) -> None:
        """The next sync makes the mirror equal to NEW, and marks runs without an end."""
        self.assert_applied(self.run(NEW), *recorded)

    def assert_survives(
        self, outage: AbstractContextManager[object], *recorded: str, code: int = 75
    ) -> Ran:
        """A sync during an outage fails and changes nothing, and the next one recovers.

        Args:
            outage: begins and ends the outage.
            recorded: outcomes of the runs after the first one.
            code: exit code of the failing sync.
        """
        before = self.load_old()
        with outage:
            ran = self.run(NEW)
        self.assert_failed(ran, before, *recorded, code=code)
        self.assert_recovers(*recorded)
        return ran

    def assert_applies_many(self) -> None:
        """The sync after a failed one applies MANY."""
        assert self.run(MANY).code == 0
        assert self.outcomes() == ["applied", "failed", "applied"]
        assert self.rows("SELECT count(*) FROM release_requests") == [(len(MANY),)]

    # Outages.

    @contextmanager
    def at(
        self, moment: str, action: Callable[[], object], undo: Callable[[], object] = lambda: None
    ) -> Iterator[None]:
        """Run an action once, at a moment of the sync in the context, and undo it at the end."""
        pending = [action]

        def fire() -> None:
            if pending:
                pending.pop()()

        def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if moment in statement:
                fire()

        def before_commit(_connection: Any) -> None:
            fire()

        event.listen(Engine, "before_cursor_execute", before_statement)
        if moment == BEFORE_SYNC:
            fire()
        elif moment == DURING_FETCH:
            self.upstream.action = fire
        elif moment == AT_COMMIT:
            self.upstream.action = lambda: event.listen(Engine, "commit", before_commit)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", before_statement)
            if event.contains(Engine, "commit", before_commit):
                event.remove(Engine, "commit", before_commit)
        assert not pending
        undo()

    @contextmanager
    def locked(self, *statements: str) -> Iterator[None]:
        """Hold what some statements lock, in a session of another program."""
        session: Any
        if self.url.startswith("sqlite"):
            session = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        else:
            session = psycopg.connect(self.url)
            session.execute(f"SET idle_in_transaction_session_timeout = '{LONG}s'")
        with closing(session):
            for statement in statements:
                session.execute(statement)
            yield

    @contextmanager
    def locked_from(self, moment: str, *statements: str) -> Iterator[None]:
        """Hold what some statements lock, from a moment of the sync in the context."""
        with ExitStack() as stack:
            lock = self.locked(*statements)
            with self.at(moment, lambda: stack.enter_context(lock)):
                yield


MakeMirror = Callable[[str], OutageMirror]
"""Makes a mirror by the URL, or the kind, of a database."""


@contextmanager
def outage_mirrors() -> Iterator[MakeMirror]:
    """Run an upstream; yield what makes a mirror of it, by the URL of a database."""
    upstream = InterruptedUpstream()
    with Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox:
        yield lambda url: OutageMirror(_with_password(url), sandbox, upstream)


def _with_password(url: str) -> str:
    """Put a password into the URL of a server, which no output may show."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return url
    parsed = parsed.set(password=parsed.password or PASSWORD, drivername="postgresql")
    return parsed.render_as_string(hide_password=False)


def check_output(ran: Ran) -> Ran:
    """Assert that the output of a command has neither a secret nor a traceback."""
    for word in (TOKEN, PASSWORD, "Traceback"):
        assert word not in ran.out + ran.err
    return ran


def run_checked(*arguments: str) -> Ran:
    """Run a command, and check its output."""
    return check_output(run_mirror(*arguments, TALKOVER_TOKEN=TOKEN))


def result_of(ran: Ran) -> Any:
    """The JSON object that a sync printed."""
    return json.loads(ran.out)


@contextmanager
def max_pages(part: str, pages: int) -> Iterator[None]:
    """Make SQLite report a full disk when the file ("main", or "temp") has so many pages."""

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA {part}.max_page_count = {pages}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


@contextmanager
def patched(**values: float) -> Iterator[None]:
    """Set constants of mirror.db.lock_waits or mirror.db.watchdog, such as LOCK_WAIT=0.2."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(lock_waits if hasattr(lock_waits, name) else watchdog, name, value)
        yield


@contextmanager
def cut_off(proxy: TcpProxy, ends: Callable[[bytes], bool], **options: bool) -> Iterator[None]:
    """Cut a connection at a message of the sync in the context; a silent one must be given up."""
    proxy.cut(ends, **options)
    silent = options.get("silent")
    with patched(RESPONSE_TIMEOUT=1) if silent else nullcontext():
        yield
    assert proxy.is_cut
    if silent:
        wait_until(lambda: proxy.client_closed is not None)
        assert proxy.client_closed
    proxy.restore()


def nth_commit(number: int) -> Callable[[bytes], bool]:
    """Match the n-th COMMIT of a sync: the first one is that of the run's beginning."""
    seen = count(1)
    return lambda message: b"COMMIT\0" in message and next(seen) == number


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until a condition is true, for two minutes at most."""
    never = threading.Event()
    for _ in range(2400):
        if condition():
            return
        never.wait(0.05)
    pytest.fail("waited in vain")
