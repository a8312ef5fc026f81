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
    known = _libpq_parameters()
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
        | {"connect_timeout": _timeout(resolved.get("connect_timeout"), len(_each_host(places)))}
        | _FIXED
    )


def _resolve(url: URL) -> dict[str, str]:
    """Return what libpq takes from a URL, the service file, the environment and its defaults.

    The parameters `sslmode` and `password` are not right.

    Raises:
        UsageError: such as that there is no such service.
    """
    from psycopg.pq import PGconn

    known = _libpq_parameters()
    _arguments, parameters = url.get_dialect()().create_connect_args(url)
    given = {name: value for name, value in parameters.items() if name in known}
    if given.get("connect_timeout") == "":
        del given["connect_timeout"]
    # libpq reads all parameters before it checks them, and connects to nothing if one is wrong.
    # With a password it does not look for one in a file.
    wrong = {"sslmode": "mirror", "password": "-"}
    connection = PGconn.connect_start(_conninfo(given | wrong))
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

    given = {name: value for name, value in parameters.items() if name in _libpq_parameters()}
    # Of the last host, if there are several.
    if isinstance(error, ConnectionTimeout) and len(_each_host(given)) == 1:
        return unavailable(error, url)
    if isinstance(error, ProgrammingError) or _is_malformed(given):
        return _unusable(driver_message(error, url), url)
    sqlstate, failed = _login(given)
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
            _login_at({name: one[name] for name in places & one.keys()} | _ANYBODY)
            for one in failed
        )
    # PgBouncer has one code for most of what it refuses, such as `options`, also for a while.
    return bool(
        sqlstate == _PROTOCOL_VIOLATION
        and _resolve(url).get("options")
        and _login(given | {"options": ""})[0] == _AVAILABLE
    )


def _libpq_parameters() -> set[str]:
    """Return the names of the parameters of libpq."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def _conninfo(parameters: Mapping[str, Any]) -> bytes:
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**parameters).encode()


def _is_malformed(given: dict[str, Any]) -> bool:
    """Return whether libpq makes no attempt to connect with these parameters.

    It is asked with as many hosts and ports, none of which leads anywhere.
    """
    from psycopg.pq import PGconn, Ping

    addresses = given.get("hostaddr") or ""
    hosts = given.get("host") or addresses
    nowhere = {
        "host": ",".join([_NO_FILE] * len(hosts.split(","))),
        "hostaddr": addresses and ",".join(["-"] * len(addresses.split(","))),
    }
    return PGconn.ping(_conninfo(given | nowhere)) == Ping.NO_ATTEMPT


def _each_host(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of libpq for each of the hosts that they name, or one if for none."""
    lists = {
        name: str(given[name]).split(",")
        for name in ("host", "hostaddr", "port")
        if given.get(name)
    }
    hosts = max(len(lists.get(name, [""])) for name in ("host", "hostaddr"))
    if hosts == 1:
        return [dict(given)]
    full = [values * hosts if len(values) == 1 else values for values in lists.values()]
    return [{**given, **dict(zip(lists, one, strict=True))} for one in zip(*full, strict=False)]


def _login(given: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Log in once more, at each host: libpq would wait for the first one alone.

    Returns:
        The SQLSTATE of the response, or None without one: of several, one that may be another later
        counts first. And the parameters of each host that failed without one, in time.
    """
    responses = [(one, _login_at(one)) for one in _each_host(given)]
    sqlstates = [sqlstate for _one, sqlstate in responses if sqlstate]
    counts = next(filter(is_transient_sqlstate, sqlstates), next(iter(sqlstates), None))
    return counts, [one for one, sqlstate in responses if sqlstate == ""]


def _login_at(given: dict[str, Any]) -> str | None:
    """Log in at one host.

    Returns:
        The SQLSTATE of the response, "" for a failure without one, or None if time ran out.
    """
    from psycopg import NotSupportedError
    from psycopg.pq import PGconn, Ping

    try:
        trace, timed_out = _trace_login(_conninfo(given), int(given["connect_timeout"]))
    except NotSupportedError:  # less exact: a 1 too many is seen, a 75 too many is not
        sqlstates = {Ping.OK: _REFUSED, Ping.REJECT: _AVAILABLE}
        # psycopg's PQping lets no other thread of this process run meanwhile.
        return sqlstates.get(Ping(PGconn.ping(_conninfo(given | {"connect_timeout": 2}))), "")
    messages = [match.groups() for match in _MESSAGE.finditer(trace)]
    names = [name for name, _code in messages]
    if "ReadyForQuery" in names:  # also if the server is not the one that the URL asks for
        return _AVAILABLE
    if "ErrorResponse" not in names:
        return None if timed_out else ""
    last = len(names) - 1 - names[::-1].index("ErrorResponse")
    code: str = messages[last][1]
    if code == _PROTOCOL_VIOLATION and names[last - 1] == "SASLResponse":
        return _REFUSED  # PgBouncer has no code of its own for a wrong password
    return code


def _trace_login(conninfo: bytes, seconds: int) -> tuple[str, bool]:
    """Connect to Postgres; return libpq's trace of the messages, and whether time ran out.

    The trace is kept in memory, as it may have a password in it.

    Args:
        conninfo: the parameters.
        seconds: to wait at most.

    Raises:
        psycopg.NotSupportedError: this is not Linux, or libpq is older than 14.
    """
    from psycopg import NotSupportedError
    from psycopg.pq import ConnStatus, PGconn, PollingStatus, Trace

    if sys.platform != "linux":
        raise NotSupportedError
    deadline = time.monotonic() + seconds
    with os.fdopen(os.memfd_create("trace"), "rb") as trace:
        connection = PGconn.connect_start(conninfo)
        try:
            connection.trace(trace.fileno())
            connection.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            status = PollingStatus.WRITING
            pending = {PollingStatus.READING, PollingStatus.WRITING}
            while (timed_out := connection.status != ConnStatus.BAD and status in pending) and (
                left := deadline - time.monotonic()
            ) > 0:
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
    return messages + (_PASSWORD_MISSING if needs_password else ""), timed_out


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
