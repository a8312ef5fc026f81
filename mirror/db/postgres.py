"""Connections to Postgres: their parameters, what the server must be, and why one failed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Dialect, Engine, ExceptionContext

from mirror.db import libpq
from mirror.db.errors import (
    driver_message,
    is_transient_sqlstate,
    redact_url,
    refused,
    unavailable,
)
from mirror.errors import DatabaseError, MirrorError, UsageError

LIBPQ_DEFAULTS = {
    "connect_timeout": 30,  # seconds; for all hosts together
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
"""By default libpq waits two hours for a server that vanished. Parameters of the URL win, of the
service file, and of libpq's environment, such as PGCONNECT_TIMEOUT."""

_MIN_TIMEOUT = 2  # seconds; psycopg waits no less for a host
_MAX_TIMEOUT = 2_000_000  # seconds; poll() takes no more than 2**31 milliseconds

_FIXED = {
    # A parameter of its own, not in `options`: PgBouncer passes it on.
    "client_encoding": "UTF8",
    # Behind a pooler the next transaction may be in another session, which has the statements that
    # others prepared, and not ours.
    "prepare_threshold": None,
    "replication": "",  # a connection for replication has no ordinary transactions
}
"""Arguments of psycopg that win over those of the URL."""

_OF_HOSTS = ("host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts")
"""Parameters by which psycopg tries one host after the other: not those of the service file."""

_MIN_VERSION = 12
_ENCODINGS = {"UTF8", "SQL_ASCII"}
"""Encodings of a database that keep every character. SQL_ASCII keeps bytes as they are."""


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return the arguments of psycopg for a URL, besides those that are in it.

    Raises:
        UsageError: the URL has parameters that libpq does not know, or names no user.
    """
    known = libpq.parameters()
    for name, value in url.query.items():
        if name not in known | _FIXED.keys():
            raise UsageError(
                f"the database URL has the parameter {name!r}, which libpq does not know",
                hint="correct or remove it",
            )
        if not isinstance(value, str) and name not in {"host", "port"}:
            raise UsageError(
                f"the database URL has the parameter {name!r} more than once",
                hint="remove all but one",
            )
    _require_ports(url.query.get("port", ""))
    resolved = _resolve(url)
    _require_ports(resolved.get("port", ""))
    if not resolved.get("user"):
        raise UsageError(
            "the database URL names no user, and this process runs as one without a name",
            hint="use postgresql://USER@HOST/DATABASE",
        )
    defaults = LIBPQ_DEFAULTS | {"fallback_application_name": "mirror"}
    places = {name: resolved[name] for name in _OF_HOSTS if resolved.get(name)}
    return (
        {name: value for name, value in defaults.items() if name not in resolved}
        | places
        | {
            "connect_timeout": _timeout(
                resolved.get("connect_timeout"), len(libpq.each_host(places))
            )
        }
        | _FIXED
    )


def _resolve(url: URL) -> dict[str, str]:
    """Return what libpq takes from a URL, the service file, the environment and its defaults.

    The parameters `sslmode` and `password` are not right.

    Raises:
        UsageError: such as that there is no such service.
    """
    from psycopg.pq import PGconn

    known = libpq.parameters()
    _arguments, parameters = url.get_dialect()().create_connect_args(url)
    given = {name: value for name, value in parameters.items() if name in known}
    if given.get("connect_timeout") == "":
        del given["connect_timeout"]
    # libpq reads all parameters before it checks them, and connects to nothing if one is wrong.
    # With a password it does not look for one in a file.
    wrong = {"sslmode": "mirror", "password": "-"}
    connection = PGconn.connect_start(libpq.conninfo(given | wrong))
    try:
        resolved = {
            option.keyword.decode(): os.fsdecode(option.val)
            for option in connection.info
            if option.val is not None
        }
        if "sslmode" not in resolved:
            raise _unusable(connection.error_message.decode(errors="replace"), url)
    finally:
        connection.finish()
    return resolved


def _timeout(text: str | None, hosts: int) -> int:
    """Return the seconds to wait for each host; nothing, zero and less are the default.

    Args:
        text: a number of seconds, or None.
        hosts: that share the default.

    Raises:
        UsageError: it is no number.
    """
    try:
        seconds = float(text or 0)
        limit = int(seconds)
    except (ValueError, OverflowError) as error:  # such as nan and inf
        raise UsageError(
            f"{text!r}, the connect_timeout of the database, is no number of seconds",
            hint="correct it in the URL, in PGCONNECT_TIMEOUT or in the service file",
        ) from error
    if seconds <= 0:
        limit = LIBPQ_DEFAULTS["connect_timeout"] // hosts
    return min(max(limit, _MIN_TIMEOUT), _MAX_TIMEOUT)


def _require_ports(ports: str | tuple[str, ...]) -> None:
    """Check ports, each of which may be a list with commas and empty ones.

    Raises:
        UsageError: one is no port. libpq would say so in words only.
    """
    for port in ",".join([ports] if isinstance(ports, str) else ports).split(","):
        number = port.strip()
        if port and not (number.isascii() and number.isdecimal() and 0 < int(number) < 65_536):
            raise UsageError(
                f"{port!r}, a port of the database, is no number from 1 to 65535",
                hint="correct it in the URL, in PGPORT or in the service file",
            )


def install(engine: Engine) -> None:
    """Let an engine connect as this module does: with checks, and errors of `mirror`."""

    def connect(
        dialect: Dialect, _record: object, arguments: Sequence[Any], parameters: dict[str, Any]
    ) -> Any:
        driver: Any = dialect.loaded_dbapi
        try:
            connection = dialect.connect(*arguments, **parameters)
        except driver.Error as error:
            raise _explain(error, engine.url, parameters) from error
        try:
            _require_usable(connection, engine.url)
        except DatabaseError:
            connection.close()
            raise
        return connection

    def explain_protocol_violation(context: ExceptionContext) -> MirrorError | None:
        sqlstate = getattr(context.original_exception, "sqlstate", None)
        if sqlstate == libpq.PROTOCOL_VIOLATION and _has_no_transactions(engine):
            return DatabaseError(
                f"the pooler of the database {redact_url(engine.url)} refuses transactions",
                hint="set its pool_mode to transaction or session",
            )
        return None

    sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "handle_error", explain_protocol_violation)


def _require_usable(connection: Any, url: URL) -> None:
    """Check the version of the server and the encoding of the database, as they were reported.

    Raises:
        DatabaseError: the schema cannot be created there, or not all texts can be stored.
    """
    version = connection.info.server_version
    if version < _MIN_VERSION * 10_000:
        raise DatabaseError(
            f"the server of the database {redact_url(url)} is Postgres {version // 10_000}",
            hint=f"mirror needs Postgres {_MIN_VERSION} or later",
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding is not None and encoding not in _ENCODINGS:
        raise DatabaseError(
            f"the database {redact_url(url)} has the encoding {encoding}, which cannot hold all "
            "texts",
            hint="use a database with UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )


def _explain(error: Exception, url: URL, parameters: Mapping[str, Any]) -> MirrorError:
    """Return the error of `mirror` for a connection that failed."""
    from psycopg import ProgrammingError
    from psycopg.errors import ConnectionTimeout

    given = {name: value for name, value in parameters.items() if name in libpq.parameters()}
    # Of the last host, if there are several.
    if isinstance(error, ConnectionTimeout) and len(libpq.each_host(given)) == 1:
        return unavailable(error, url)
    if isinstance(error, ProgrammingError) or libpq.is_malformed(given):
        return _unusable(driver_message(error, url), url)
    sqlstate, failed = libpq.login(given)
    if _asks_too_much(url, given, sqlstate, failed):
        return DatabaseError(
            f"the database {redact_url(url)} cannot be connected to as its URL asks for "
            f"({driver_message(error, url)})",
            hint="check the parameters of the URL, such as sslmode and options, and certificates",
        )
    if sqlstate is None or is_transient_sqlstate(sqlstate):
        return unavailable(error, url)
    return refused(error, url)


def _unusable(message: str, url: URL) -> UsageError:
    """Return the error for parameters that libpq or psycopg does not accept, with its message."""
    return UsageError(
        f"the database URL {redact_url(url)} cannot be used ({driver_message(message, url)})",
        hint="correct its parameters, or those in the environment or the service file",
    )


def _asks_too_much(
    url: URL, given: dict[str, Any], sqlstate: str | None, failed: list[dict[str, Any]]
) -> bool:
    """Return whether a server can be reached, but not with all the parameters that were given.

    Args:
        url: of the database.
        given: the parameters of libpq.
        sqlstate: of a login with them.
        failed: the parameters of each host that this login failed at without an SQLSTATE.
    """
    if sqlstate is None:  # such as without TLS, or with a certificate nobody trusts
        places = {"host", "hostaddr", "port", "connect_timeout"}
        return any(
            libpq.login_at({name: one[name] for name in places & one.keys()} | libpq.ANYBODY)
            for one in failed
        )
    # PgBouncer has one code for most of what it refuses, such as `options`, also for a while.
    return bool(
        sqlstate == libpq.PROTOCOL_VIOLATION
        and _resolve(url).get("options")
        and libpq.login(given | {"options": ""})[0] == libpq.AVAILABLE
    )


def _has_no_transactions(engine: Engine) -> bool:
    """Return whether the pooler in front of Postgres runs statements, but no transactions.

    PgBouncer has one SQLSTATE for this and for a wait in its queue that took too long.
    """
    driver: Any = engine.dialect.loaded_dbapi
    arguments, parameters = engine.dialect.create_connect_args(engine.url)
    try:
        connection = driver.connect(
            *arguments, **{**parameters, **connect_arguments(engine.url), "autocommit": True}
        )
        with closing(connection):
            connection.execute("SELECT 1")
            try:
                connection.execute("BEGIN")
            except driver.Error as error:
                return getattr(error, "sqlstate", None) == libpq.PROTOCOL_VIOLATION
    except driver.Error:
        pass
    return False
