"""A wait for a lock is told, in the log and on the progress bar, while it lasts."""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from mirror.cancellation import CancellationToken
from mirror.db import lock_waits, prune, runs
from mirror.db.engine import create_engine, write_transaction
from mirror.db.runs import Outcome
from mirror.errors import DatabaseUnavailable, Stopped
from mirror.progress import Progress
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import request


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "REPORTED_AFTER", (0.02, 0.04))
    monkeypatch.setattr(lock_waits, "POLL_INTERVAL", 0.01)


class Notices(logging.Handler):
    """Collects what people are told.

    Args:
        note: called with each line.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line."""
        self._note(record.getMessage())


@contextmanager
def held(lock: ExitStack, progress: Progress | None = None) -> Iterator[list[str]]:
    """Hold a lock until a wait was told twice; collect the lines, and what the bar shows then."""
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            if progress:
                lines.extend(wait.reason for wait in progress.waits.values())
            lock.close()

    handler, logger = Notices(note), logging.getLogger("mirror.notices")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        lock.close()


@contextmanager
def once_told(action: Callable[[], None]) -> Iterator[None]:
    """Do something when a wait is told for the first time."""
    actions = [action]
    handler = Notices(lambda _: actions.pop()() if actions else None)
    logging.getLogger("mirror.notices").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("mirror.notices").removeHandler(handler)


def test_a_sync_tells_that_it_waits(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """It goes on when the lock is free, and then shows no wait; Postgres knows who holds it."""
    caplog.set_level(logging.INFO, "mirror.notices")
    progress, lock = Progress(), ExitStack()
    lock.enter_context(write_transaction(mirror.engine, runs.lock("default")))
    with held(lock, progress) as lines:
        result = mirror.sync([request(1)], progress=progress)
    assert (result.outcome, progress.waits) == (Outcome.APPLIED, {})
    first, second, reason = lines
    told = r"waiting for the database: another program has been writing for \d+ s"
    if mirror.engine.dialect.name == "postgresql":
        told += r" \(mirror, user \w+, process \d+ of Postgres\)"
    assert re.fullmatch(told, first)
    assert re.fullmatch(told, second)
    assert reason == "another program has been writing"


def test_a_wait_ends_if_it_is_stopped(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """By a cancellation (SIGTERM) or Ctrl-C at once, not when the lock is free."""
    caplog.set_level(logging.INFO, "mirror.notices")
    main, cancellation = threading.main_thread().ident or 0, CancellationToken()
    with write_transaction(mirror.engine, runs.lock("default")):
        with once_told(cancellation.set):
            result = mirror.sync([request(1)], cancellation=cancellation)
        with once_told(lambda: signal.pthread_kill(main, signal.SIGINT)):
            ran = run_mirror(
                "sync",
                "--no-upgrade",
                MIRROR_DATABASE_URL=mirror.url,
                TALKOVER_BASE_URL=mirror.sandbox.base_url,
                TALKOVER_TOKEN=mirror.sandbox.config.token,
            )
    assert (type(result.failure), result.run_id) == (Stopped, None)
    assert (ran.code, ran.err.splitlines()[-1]) == (1, "mirror: interrupted")


def test_every_command_that_writes_tells_it(sqlite_mirror: Mirror) -> None:
    """The line is on stderr."""
    for command, name in (
        ("db prune --runs-older-than 1d", prune.LOCK),
        ("db forget-environment default --yes --with-requests", prune.LOCK),
        ("sync", runs.lock("default")),
    ):
        sqlite_mirror.sync([request(1)])
        lock = ExitStack()
        lock.enter_context(write_transaction(sqlite_mirror.engine, name))
        with held(lock):
            ran = run_mirror(
                *command.split(),
                MIRROR_DATABASE_URL=sqlite_mirror.url,
                TALKOVER_BASE_URL=sqlite_mirror.sandbox.base_url,
                TALKOVER_TOKEN=sqlite_mirror.sandbox.config.token,
            )
        assert ran.code == 0, ran.err
        told = "mirror: waiting for the database: another program has been writing for 0 s\n"
        assert ran.err.startswith(told * 2), command


def test_rows_that_another_program_locks(
    make_ready_database: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """In Postgres a statement that waits is told like the lock at the beginning, with its holder.

    A statement that takes as long without a lock is not.
    """
    caplog.set_level(logging.INFO, "mirror.notices")
    url = make_ready_database("postgresql")
    engine, lock = create_engine(url), ExitStack()
    with write_transaction(engine, "test") as connection:
        run = runs.begin(connection, "default", "https://api.example/api/v1", datetime.now(UTC))
        query = "application_name=etl%20%5B1%5D"
    other = create_engine(f"{url}{'&' if '?' in url else '?'}{query}")
    rows = lock.enter_context(other.connect())
    rows.execute(sa.text("SELECT * FROM sync_runs FOR UPDATE"))
    with held(lock) as lines, write_transaction(engine, "test") as connection:
        connection.execute(sa.text("SELECT pg_sleep(0.1)"))
        assert lines == []
        connection.execute(sa.text(f"UPDATE sync_runs SET error = 'x' WHERE id = {run.id}"))
    assert len(lines) == 2
    for line in lines:
        assert re.search(r" for \d+ s \(etl \[1\], user \w+, process \d+ of Postgres\)$", line)


def test_a_wait_that_is_too_long(
    sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails after LOCK_WAIT, told or not."""
    caplog.set_level(logging.INFO, "mirror.notices")
    with write_transaction(sqlite_mirror.engine, "test"):
        for seconds, times in ((0.05, 2), (0.03, 1), (0, 0)):
            monkeypatch.setattr("mirror.db.lock_waits.LOCK_WAIT", seconds)
            caplog.clear()
            with (
                pytest.raises(DatabaseUnavailable),
                write_transaction(sqlite_mirror.engine, "test"),
            ):
                pytest.fail("the lock is held")
            assert len(caplog.messages) == times
