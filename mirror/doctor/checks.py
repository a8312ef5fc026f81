"""A single check of `mirror doctor`: its state, its finding, and advice."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.api.health import HEALTH_PATH, ProbeResult
from mirror.config import settings
from mirror.config.settings import ApiSettings
from mirror.db import migrate, replication, sequences
from mirror.db.engine import write_transaction
from mirror.db.models import alembic_version, metadata
from mirror.db.runs import CLOCK_TOLERANCE
from mirror.errors import DiskUnavailable, MirrorError
from mirror.queries.status import EnvironmentStatus, describe_age
from mirror.text import format_duration, plural

MIB = 1024 * 1024

_MAX_SKEW = timedelta(seconds=5)
_MIN_FREE_SPACE = 100 * MIB
_GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO


_TRIAL_STATEMENTS = {
    # SQLite writes its journal beside the file, which needs rights to the folder.
    "sqlite": ("PRAGMA user_version = 0", "CREATE TEMPORARY TABLE temp.mirror_trial (id integer)"),
    "postgresql": ("CREATE TEMPORARY TABLE pg_temp.mirror_trial (id integer)",),
}
"""By dialect, statements that need what a merge needs besides the tables, and are rolled back."""


class State(StrEnum):
    """The state of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check.

    Attributes:
        state: its state.
        check: what was checked.
        environment: the environment that it concerns, or None.
        found: the finding.
        advice: what to do about it, or None if there is nothing to do.
        error: the error with which a sync would fail, or None.
    """

    state: State
    check: str
    environment: str | None
    found: str
    advice: str | None = None
    error: MirrorError | None = None


def check_private(path: Path, check: str, finding: str, environment: str | None = None) -> Check:
    """Check that only its owner may use a file; `check` and `finding` describe it."""
    mode = path.stat().st_mode
    if os.name == "posix" and mode & _GROUP_AND_OTHERS:
        finding += f"; other users may use it ({stat.filemode(mode)})"
        return Check(State.WARNING, check, environment, finding, "set its mode to 600")
    return Check(State.OK, check, environment, finding)


def check_disk_space(check: str, folder: Path, needed: int = 0) -> Check:
    """Check the free space in a folder.

    Args:
        check: the purpose of the space.
        folder: the folder.
        needed: bytes that should be free at least.
    """
    free = shutil.disk_usage(folder).free
    finding = f"{format_size(free)} free in {folder}"
    if free < max(_MIN_FREE_SPACE, needed):
        advice = "free some space: a sync that runs out of it fails, and changes nothing"
        return Check(State.WARNING, check, None, finding, advice)
    return Check(State.OK, check, None, finding)


def format_size(size: int) -> str:
    """Format a number of bytes in GiB, or less than one in MiB."""
    return f"{size / MIB:,.1f} MiB" if size < 1024 * MIB else f"{size / (1024 * MIB):,.1f} GiB"


def temporary_folder() -> Path:
    """Return the folder where SQLite puts temporary tables.

    The order of the folders is that of https://www.sqlite.org/tempfiles.html.

    Raises:
        DiskUnavailable: there is none.
    """
    variables = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
    for name in (*variables, "/var/tmp", "/usr/tmp", "/tmp", "."):  # noqa: S108
        if name and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    raise DiskUnavailable(
        "there is no folder for temporary files", hint="name one in SQLITE_TMPDIR"
    )


def require_write_access(engine: Engine) -> None:
    """Check that a sync can write, and create the schema if there is none; roll it all back.

    Raises:
        DatabaseError: the database refuses, or is busy for too long.
    """
    # A commit, even without rows, can write to a SQLite file.
    with write_transaction(engine, "doctor", commit=False) as connection:
        migrate.upgrade_in(connection)
        replication.refuse_subscriber(connection)
        sequences.require_rights(connection)
        for table in metadata.sorted_tables:
            # The database checks the privilege before it looks for rows.
            no_rows = sa.select(table).where(sa.false())
            connection.execute(sa.insert(table).from_select(list(table.c), no_rows))
            connection.execute(sa.delete(table).where(sa.false()))
            connection.execute(
                sa.update(table).where(sa.false()).values({next(iter(table.c)): None})
            )
        for statement in _TRIAL_STATEMENTS[connection.dialect.name]:
            connection.exec_driver_sql(statement)


def check_health(environment: str, api: ApiSettings, probe: ProbeResult) -> Check:
    """Check the response of the API's health endpoint."""
    finding = f"{api.base_url}{HEALTH_PATH} answered {probe.status} in {probe.seconds:.2f} s"
    if probe.status == 200:
        return Check(State.OK, "API", environment, finding)
    return Check(
        State.WARNING, "API", environment, finding, "if more checks fail, check --base-url"
    )


def check_token(environment: str, probe: ProbeResult) -> Check:
    """Check that it is the API that accepted the token."""
    if not probe.is_json:  # what it is instead, the check of the list says
        finding = "unknown: the response is not JSON, so it may not be from the API"
        return Check(State.WARNING, "API token", environment, finding, "check --base-url")
    limit = f"; the API allows {probe.limit} requests per minute" if probe.limit else ""
    return Check(State.OK, "API token", environment, f"accepted{limit}")


def check_clock(environment: str, probe: ProbeResult) -> Check:
    """Compare this machine's clock with the API's."""
    if probe.skew is None:
        return Check(State.WARNING, "clock", environment, "the API sends no time to compare with")
    seconds = probe.skew.total_seconds()
    finding = f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} the API's"
    if abs(probe.skew) - timedelta(seconds=probe.seconds) < _MAX_SKEW:
        return Check(State.OK, "clock", environment, finding)
    advice = "set this machine's clock (NTP); until then times of observation are off by that"
    return Check(State.WARNING, "clock", environment, finding, advice)


def _check_sqlite(connection: Connection) -> Iterator[Check]:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
    finding = f"SQLite {version}, journal mode {mode}"
    has_rows = sa.inspect(connection).has_table("release_requests") and connection.scalar(
        sa.text("SELECT 1 FROM release_requests LIMIT 1")
    )
    if mode == "wal" or not has_rows:
        yield Check(State.OK, "WAL", None, finding)
        return
    advice = (
        "readers and syncs wait for each other; keep the file on a local disk, where the next "
        "`mirror sync` turns WAL on"
    )
    yield Check(State.WARNING, "WAL", None, finding, advice)


def _check_postgres(connection: Connection) -> Iterator[Check]:
    version, size, is_replica = connection.execute(
        sa.text(
            "SELECT pg_catalog.current_setting('server_version'), "
            "pg_catalog.pg_database_size(current_database()), pg_catalog.pg_is_in_recovery()"
        )
    ).one()
    finding = f"Postgres {version}, {format_size(size)}"
    if is_replica:
        advice = "let syncs write to the primary server; a replica is for reading"
        yield Check(State.WARNING, "server", None, f"{finding}, a read-only replica", advice)
    else:
        yield Check(State.OK, "server", None, finding)
    yield _check_encryption(connection)


def _check_encryption(connection: Connection) -> Check:
    server: Any = connection.connection.driver_connection
    tls_version = connection.scalar(
        sa.text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    )
    if server.pgconn.ssl_in_use:  # to a pooler, whose own connection may have none
        return Check(State.OK, "encryption", None, tls_version or "TLS")
    host = server.info.host
    if host.startswith("/") or settings.is_loopback(host):
        return Check(State.OK, "encryption", None, "none, and none needed on this machine")
    advice = "add ?sslmode=verify-full to the database URL"
    return Check(State.WARNING, "encryption", None, f"none to {host}", advice)


SERVER_CHECKS: dict[str, Callable[[Connection], Iterator[Check]]] = {
    "sqlite": _check_sqlite,
    "postgresql": _check_postgres,
}
"""The checks of the database server, by SQLAlchemy dialect."""


_SECURED = sa.text("""
    SELECT relname::text AS name,
        pg_catalog.quote_ident(nspname) || '.' || pg_catalog.quote_ident(relname) AS qualified
    FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE nspname = current_schema() AND relname IN :tables AND relrowsecurity
    ORDER BY 1
""").bindparams(
    sa.bindparam(
        "tables",
        [*metadata.tables, alembic_version.name],
        expanding=True,
        type_=sa.Text,
        literal_execute=True,
    )
)

# pg_database_owner is a role with one member. NOT rolsuper is null for PUBLIC, which is no role.
_CREATORS = sa.text("""
    SELECT DISTINCT pg_catalog.quote_ident(nspname) AS schema,
        COALESCE(pg_catalog.quote_ident(named.rolname), 'PUBLIC') AS role
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    JOIN pg_database ON datname = current_database()
    CROSS JOIN pg_catalog.aclexplode(COALESCE(nspacl, acldefault('n', nspowner))) AS acl
    LEFT JOIN pg_roles AS named ON named.oid = acl.grantee
    LEFT JOIN pg_roles AS r
        ON r.oid = CASE named.rolname WHEN 'pg_database_owner' THEN datdba ELSE named.oid END
    WHERE c.oid = pg_catalog.to_regclass('release_requests') AND privilege_type = 'CREATE'
        AND COALESCE(NOT r.rolsuper AND r.oid <> relowner, true)
    ORDER BY role
""")


def check_surroundings(connection: Connection) -> Iterator[Check]:
    """Check what others did with the mirror's tables in Postgres; yield nothing if that is nothing.

    Rights, row-level security, publications, and sequences that the next sync will set right. What
    keeps a sync from writing is found by `require_write_access`.
    """
    if connection.dialect.name == "sqlite":
        return
    if creators := connection.execute(_CREATORS).all():
        schema, roles = creators[0].schema, ", ".join(row.role for row in creators)
        finding = (
            f"{roles} may create functions in {schema}, and so act as the user of a command that "
            "calls them"
        )
        advice = f"REVOKE CREATE ON SCHEMA {schema} FROM {roles}, or use a schema of its own"
        yield Check(State.WARNING, "rights", None, finding, advice)
    if secured := connection.execute(_SECURED).all():
        finding = (
            f"on for {', '.join(row.name for row in secured)}: users it applies to, with FORCE "
            "also the owner, see only the rows that a policy lets them see, and get no error"
        )
        advice = (
            "unless that is meant, run for each: "
            f"ALTER TABLE {secured[0].qualified} DISABLE ROW LEVEL SECURITY"
        )
        yield Check(State.WARNING, "row-level security", None, finding, advice)
    publications = replication.publications(connection)
    if with_version := [row.name for row in publications if row.has_version]:
        finding = f"the publication {', '.join(with_version)} has the table alembic_version"
        advice = "leave it out: `mirror db upgrade` writes it at the subscriber too"
        yield Check(State.WARNING, "replication", None, finding, advice)
    elif publications:
        finding = f"published by {', '.join(row.name for row in publications)}"
        yield Check(State.OK, "replication", None, finding)
    for row in () if replication.subscribed(connection) else sequences.behind(connection):
        if row.settable:
            finding = (
                f"the sequence of {row.name}.id is at {row.position:,}, behind the table "
                f"({row.last:,})"
            )
            advice = "the next `mirror sync` sets it right"
            yield Check(State.WARNING, "sequence", None, finding, advice)


def check_runs(status: EnvironmentStatus) -> Check:
    """Check that the last run of an environment succeeded."""
    finding, advice = "no complete pull yet", "run `mirror sync`"
    if status.complete_at is not None:
        finding = f"last complete pull at {status.complete_at:%Y-%m-%d %H:%M} UTC"
    if status.failures:
        finding += f", {status.failures:,} failed since; the last: {status.error}"
        advice = "run `mirror sync -v`"
    elif status.complete_at is not None:
        return Check(State.OK, "runs", status.environment, finding)
    return Check(State.WARNING, "runs", status.environment, finding, advice)


def check_dates(environment: str, observed_at: datetime, now: datetime) -> Iterator[Check]:
    """Yield a warning if the last complete sync of an environment is dated in the future."""
    if observed_at - now > CLOCK_TOLERANCE:
        finding = (
            f"until {observed_at:%Y-%m-%d %H:%M} UTC each sync dates its changes just after that "
            "time, because one ran while its clock was ahead"
        )
        advice = "restore a backup from before that sync, or do not rely on these times"
        yield Check(State.WARNING, "times", environment, finding, advice)


def check_age(status: EnvironmentStatus, source: str) -> Check:
    """Check that an environment is not stale; `source` is where its limit comes from."""
    if status.stale:
        advice = "see that a scheduler runs `mirror sync`; `mirror sync -v` shows what it does"
        finding = f"stale: {describe_age(status)} ({source})"
        return Check(State.WARNING, "age", status.environment, finding, advice)
    finding = f"{format_duration(status.age)} ({source}: {format_duration(status.max_age_seconds)})"
    return Check(State.OK, "age", status.environment, finding)


def check_quarantine(status: EnvironmentStatus) -> Check:
    """Check that no record of an environment is in quarantine."""
    if not status.quarantined:
        return Check(State.OK, "quarantine", status.environment, "empty")
    finding = f"{plural(status.quarantined, 'record')} that cannot be decoded"
    return Check(
        State.WARNING, "quarantine", status.environment, finding, "run `mirror quarantine`"
    )
