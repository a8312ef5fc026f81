"""Connections to Postgres: their parameters, what the server must be, and why one failed.

libpq gives no SQLSTATE for a connection that fails, only the server's message in the server's
language. So a failed login is repeated once while libpq traces the messages of the protocol
(`PQtrace`), in which the SQLSTATE is a field of its own. Where there is no trace,
`PQping` distinguishes less.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Dialect, Engine, ExceptionContext

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
"""By default libpq waits two hours for a server that vanished. Parameters of the URL win, and of
libpq's environment, such as PGCONNECT_TIMEOUT."""

_MIN_TIMEOUT = 2  # seconds; psycopg waits no less for a host

_FIXED = {
    # A parameter of its own, not in `options`: PgBouncer passes it on.
    "client_encoding": "UTF8",
    # Behind a pooler the next transaction may be in another session, which has the statements that
    # others prepared, and not ours.
    "prepare_threshold": None,
}
"""Arguments of psycopg that win over those of the URL."""

_MIN_VERSION = 12
_ENCODINGS = {"UTF8", "SQL_ASCII"}
"""Encodings of a database that keep every character. SQL_ASCII keeps bytes as they are."""

_MESSAGE = re.compile(r'^[BF]\t\d+\t(?P<name>\w+)(?:.*? C "(?P<code>\w{5})")?', re.MULTILINE)
"""A message in libpq's trace; in an ErrorResponse, the texts in any language follow the code."""

_NO_FILE = f"{os.devnull}/none"
_ANYBODY = {
    "user": "mirror",
    "dbname": "mirror",
    "password": "",
    "passfile": _NO_FILE,
    "sslmode": "disable",
    "gssencmode": "disable",
}
"""Who asks whether a server responds without encryption: nothing secret is sent to it."""

_AVAILABLE = "57P03"
"""`cannot_connect_now`, also for a server that can be connected to by now."""

_REFUSED = "28000"
"""`invalid_authorization_specification`, also for a login that was refused without a code."""

_PROTOCOL_VIOLATION = "08P01"
_PASSWORD_MISSING = f'B\t0\tErrorResponse\t C "{_REFUSED}"\n'


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return the arguments of psycopg for a URL, besides those that are in it.

    Raises:
        UsageError: the URL has parameters that libpq does not know, or names no user.
    """
    known = _libpq_defaults()
    for name, value in url.query.items():
        if name not in known.keys() | _FIXED.keys():
            raise UsageError(
                f"the database URL has the parameter {name!r}, which libpq does not know",
                hint="correct or remove it",
            )
        if not isinstance(value, str) and name not in {"host", "port"}:
            raise UsageError(
                f"the database URL has the parameter {name!r} more than once",
                hint="remove all but one",
            )
    _require_ports(url.query.get("port") or str(url.port or (known["port"] or b"").decode()))
    if not (url.username or {"user", "service"} & url.query.keys() or known["user"]):
        raise UsageError(
            "the database URL names no user, and this process runs as one without a name",
            hint="use postgresql://USER@HOST/DATABASE",
        )
    defaults = LIBPQ_DEFAULTS | {"fallback_application_name": "mirror"}
    hosts = len(_each_host({"host": url.host, **url.query}))
    defaults["connect_timeout"] = max(_MIN_TIMEOUT, LIBPQ_DEFAULTS["connect_timeout"] // hosts)
    return _FIXED | {
        name: value
        for name, value in defaults.items()
        if name not in url.query and known[name] is None
    }


def _require_ports(ports: str | tuple[str, ...]) -> None:
    """Check ports, each of which may be a list with commas and empty ones.

    Raises:
        UsageError: one is no port. libpq would say so in words only.
    """
    for port in ",".join([ports] if isinstance(ports, str) else ports).split(","):
        if port and not (port.isdecimal() and 0 < int(port) < 65_536):
            raise UsageError(
                f"{port!r}, a port of the database, is no number from 1 to 65535",
                hint="correct it in the URL or in PGPORT",
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
        if sqlstate == _PROTOCOL_VIOLATION and _has_no_transactions(engine):
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

    given = {name: value for name, value in parameters.items() if name in _libpq_defaults()}
    timed_out = isinstance(error, ConnectionTimeout)  # the last host, if there are several
    if timed_out and len(_each_host(given)) == 1:
        return unavailable(error, url)
    if isinstance(error, ProgrammingError) or _is_malformed(given):
        return UsageError(
            f"the database URL {redact_url(url)} cannot be used ({driver_message(error, url)})",
            hint="correct its parameters, or those in the environment or the service file",
        )
    sqlstate = _login(given)
    if timed_out and sqlstate is None:
        return unavailable(error, url)
    if _asks_too_much(given, sqlstate):
        return DatabaseError(
            f"the database {redact_url(url)} cannot be connected to as its URL asks for "
            f"({driver_message(error, url)})",
            hint="check the parameters of the URL, such as sslmode and options, and certificates",
        )
    if sqlstate is None or is_transient_sqlstate(sqlstate):
        return unavailable(error, url)
    return refused(error, url)


def _asks_too_much(given: dict[str, Any], sqlstate: str | None) -> bool:
    """Return whether a server can be reached, but not with all the parameters that were given.

    Args:
        given: the parameters of libpq.
        sqlstate: of a login with them.
    """
    if sqlstate is None:  # such as without TLS, or with a certificate nobody trusts
        place = {"host", "hostaddr", "port", "service", "connect_timeout"}
        plain = {name: value for name, value in given.items() if name in place}
        return _login(plain | _ANYBODY) is not None
    # PgBouncer has one code for most of what it refuses, such as `options`, also for a while.
    has_options = given.get("options") or _libpq_defaults()["options"]
    return bool(
        sqlstate == _PROTOCOL_VIOLATION
        and has_options
        and _login(given | {"options": ""}) == _AVAILABLE
    )


def _libpq_defaults() -> dict[str, bytes | None]:
    """Return the parameters of libpq, with their defaults in this environment."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}


def _conninfo(parameters: Mapping[str, Any]) -> bytes:
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**parameters).encode()


def _is_malformed(given: dict[str, Any]) -> bool:
    """Return whether libpq makes no attempt to connect with these parameters, whatever the host."""
    from psycopg.pq import PGconn, Ping

    nowhere = {"host": _NO_FILE, "hostaddr": "", "port": ""}
    return PGconn.ping(_conninfo(given | nowhere)) == Ping.NO_ATTEMPT


def _each_host(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of libpq for each of the hosts that they name, or one if for none."""
    lists = {
        name: list(value) if isinstance(value, tuple) else str(value).split(",")
        for name in ("host", "hostaddr", "port")
        if (value := given.get(name) or (_libpq_defaults()[name] or b"").decode())
    }
    hosts = max(len(lists.get(name, [""])) for name in ("host", "hostaddr"))
    if hosts == 1:
        return [dict(given)]
    full = [values * hosts if len(values) == 1 else values for values in lists.values()]
    return [{**given, **dict(zip(lists, one, strict=True))} for one in zip(*full, strict=False)]


def _login(given: dict[str, Any]) -> str | None:
    """Log in once more; return the SQLSTATE of the response, or None without one.

    Of the responses of several hosts, one that may be another later counts first. libpq would wait
    for the first host alone.
    """
    sqlstates = [sqlstate for one in _each_host(given) if (sqlstate := _login_at(one))]
    return next(filter(is_transient_sqlstate, sqlstates), next(iter(sqlstates), None))


def _login_at(given: dict[str, Any]) -> str | None:
    """Log in at one host."""
    from psycopg import NotSupportedError
    from psycopg.pq import PGconn, Ping

    seconds = given.get("connect_timeout") or _libpq_defaults()["connect_timeout"] or 0
    try:
        trace = _trace_login(_conninfo(given), int(seconds))
    except NotSupportedError:  # less exact: a 1 too many is seen, a 75 too many is not
        sqlstates = {Ping.OK: _REFUSED, Ping.REJECT: _AVAILABLE}
        # psycopg's PQping lets no other thread of this process run meanwhile.
        return sqlstates.get(Ping(PGconn.ping(_conninfo(given | {"connect_timeout": 2}))))
    messages = [match.groups() for match in _MESSAGE.finditer(trace)]
    names = [name for name, _code in messages]
    if "ReadyForQuery" in names:  # also if the server is not the one that the URL asks for
        return _AVAILABLE
    if "ErrorResponse" not in names:
        return None
    last = len(names) - 1 - names[::-1].index("ErrorResponse")
    code: str = messages[last][1]
    if code == _PROTOCOL_VIOLATION and names[last - 1] == "SASLResponse":
        return _REFUSED  # PgBouncer has no code of its own for a wrong password
    return code


def _trace_login(conninfo: bytes, seconds: int) -> str:
    """Connect to Postgres; return libpq's trace of the messages.

    It is kept in memory, as it may have a password in it.

    Args:
        conninfo: the parameters.
        seconds: to wait at most; the default if that is no limit, as for libpq.

    Raises:
        psycopg.NotSupportedError: this is not Linux, or libpq is older than 14.
    """
    from psycopg import NotSupportedError
    from psycopg.pq import ConnStatus, PGconn, PollingStatus, Trace

    if sys.platform != "linux":
        raise NotSupportedError
    limit = seconds if seconds > 0 else LIBPQ_DEFAULTS["connect_timeout"]
    deadline = time.monotonic() + limit
    with os.fdopen(os.memfd_create("trace"), "rb") as trace:
        connection = PGconn.connect_start(conninfo)
        try:
            connection.trace(trace.fileno())
            connection.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            status = PollingStatus.WRITING
            while (
                connection.status != ConnStatus.BAD
                and status in {PollingStatus.READING, PollingStatus.WRITING}
                and (left := deadline - time.monotonic()) > 0
            ):
                waiting = select.poll()
                reading = status == PollingStatus.READING
                waiting.register(connection.socket, select.POLLIN if reading else select.POLLOUT)
                if waiting.poll(left * 1_000):
                    status = PollingStatus(connection.connect_poll())
            needs_password = connection.needs_password
        finally:
            connection.untrace()
            connection.finish()
        trace.seek(0)
        messages = trace.read().decode(errors="replace")
    # libpq does not trace the message that asks for a password if there is none.
    return messages + (_PASSWORD_MISSING if needs_password else "")


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
                return getattr(error, "sqlstate", None) == _PROTOCOL_VIOLATION
    except driver.Error:
        pass
    return False
