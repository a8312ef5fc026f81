"""What `mirror doctor` makes of what it sees: one line a check, and what to do."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api import health as probe
from mirror.config import settings
from mirror.config.settings import ApiSettings

if TYPE_CHECKING:
    from mirror.queries.status import EnvironmentStatus

_SKEW = timedelta(seconds=5)
_LITTLE_ROOM = 100 * 1024 * 1024  # bytes
_MIB = 1024 * 1024
_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found.

    Attributes:
        state: how it ended.
        check: what was looked at.
        environment: whose, or None if it is of no environment alone.
        found: what is so.
        advice: what to do about it, or None if there is nothing to do.
    """

    state: State
    check: str
    environment: str | None
    found: str
    advice: str | None = None


def private(path: Path, check: str, found: str, environment: str | None = None) -> Check:
    """Say whether a file may be used by its owner alone."""
    mode = path.stat().st_mode
    if os.name == "posix" and mode & _TO_OTHERS:
        told = f"{found}; others may use it ({stat.filemode(mode)})"
        return Check(
            State.WARNING, check, environment, told, "let its owner alone use it: mode 600"
        )
    return Check(State.OK, check, environment, found)


def room(check: str, folder: Path, needed: int = 0) -> Check:
    """Say how much room a folder has.

    Args:
        check: what it is for.
        folder: the folder.
        needed: bytes that should be free at least.
    """
    free = shutil.disk_usage(folder).free
    found = f"{free / _MIB:,.0f} MiB free in {folder}"
    if free < max(_LITTLE_ROOM, needed):
        advice = "make room: a sync that finds none changes nothing, and fails"
        return Check(State.WARNING, check, None, found, advice)
    return Check(State.OK, check, None, found)


def health(environment: str, api: ApiSettings, seen: probe.ProbeResult) -> Check:
    """Say whether the API is there."""
    found = f"{api.base_url}{probe.HEALTH_PATH} answered {seen.status} in {seen.seconds:.2f} s"
    if seen.status == 200:
        return Check(State.OK, "API", environment, found)
    return Check(State.WARNING, "API", environment, found, "check --base-url if more is wrong")


def clock(environment: str, seen: probe.ProbeResult) -> Check:
    """Say whether this machine's clock and the API's agree."""
    if seen.skew is None:
        return Check(State.WARNING, "clock", environment, "the API does not say what time it is")
    seconds = seen.skew.total_seconds()
    found = f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} the API's"
    if abs(seen.skew) - timedelta(seconds=seen.seconds) < _SKEW:
        return Check(State.OK, "clock", environment, found)
    advice = "set this machine's clock (NTP); until then times of observation are off by that"
    return Check(State.WARNING, "clock", environment, found, advice)


def _sqlite_server(connection: Connection) -> Iterator[Check]:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
    found = f"SQLite {version}, journal mode {mode}"
    rows = sa.inspect(connection).has_table("release_requests") and connection.scalar(
        sa.text("SELECT 1 FROM release_requests LIMIT 1")
    )
    if mode == "wal" or not rows:
        yield Check(State.OK, "WAL", None, found)
        return
    advice = (
        "readers and syncs wait for each other; keep the file on a local disk, where the next "
        "`mirror sync` turns WAL on"
    )
    yield Check(State.WARNING, "WAL", None, found, advice)


def _postgres_server(connection: Connection) -> Iterator[Check]:
    version, size, replica = connection.execute(
        sa.text(
            "SELECT current_setting('server_version'), pg_database_size(current_database()), "
            "pg_is_in_recovery()"
        )
    ).one()
    found = f"Postgres {version}, {size / _MIB:,.1f} MiB"
    if replica:
        advice = "let syncs write to the primary server; a replica is for reading"
        yield Check(State.WARNING, "server", None, f"{found}, a read-only replica", advice)
    else:
        yield Check(State.OK, "server", None, found)
    yield _encryption(connection)


def _encryption(connection: Connection) -> Check:
    url = connection.engine.url
    host = url.host or str(url.query.get("host", ""))
    tls = connection.scalar(
        sa.text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    )
    if tls:
        return Check(State.OK, "encryption", None, tls)
    if not host or host.startswith("/") or settings.is_loopback(host):
        return Check(State.OK, "encryption", None, "none, and none needed on this machine")
    advice = "add ?sslmode=verify-full to the database URL"
    return Check(State.WARNING, "encryption", None, f"none to {host}", advice)


SERVER: dict[str, Callable[[Connection], Iterator[Check]]] = {
    "sqlite": _sqlite_server,
    "postgresql": _postgres_server,
}
"""What there is to say of the server, by the kind of database."""


def last_runs(one: EnvironmentStatus) -> Check:
    """Say how the last runs of an environment went."""
    if one.complete_at is None:
        found = "no complete pull yet"
    else:
        found = f"last complete pull at {one.complete_at:%Y-%m-%d %H:%M} UTC"
    if one.failures:
        found += f", {one.failures:,} failed since; the last: {one.error}"
        return Check(State.WARNING, "runs", one.environment, found, "run `mirror sync -v`")
    if one.complete_at is None:
        return Check(State.WARNING, "runs", one.environment, found, "run `mirror sync`")
    return Check(State.OK, "runs", one.environment, found)


def quarantine(one: EnvironmentStatus) -> Check:
    """Say whether there are records in quarantine."""
    if not one.quarantined:
        return Check(State.OK, "quarantine", one.environment, "empty")
    found = f"{one.quarantined:,} records that could not be understood"
    return Check(State.WARNING, "quarantine", one.environment, found, "run `mirror quarantine`")
