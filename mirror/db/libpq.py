"""libpq: what it makes of parameters, and the SQLSTATE of a login that fails.

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
from collections.abc import Mapping
from typing import Any

from mirror.db.errors import is_transient_sqlstate

_MESSAGE = re.compile(r'^[BF]\t\d+\t(?P<name>\w+)(?:.*? C "(?P<code>\w{5})")?', re.MULTILINE)
"""A message in libpq's trace; in an ErrorResponse, the texts in any language follow the code."""

_NO_FILE = f"{os.devnull}/none"

ANYBODY = {
    "user": "mirror",
    "dbname": "mirror",
    "password": "",
    "passfile": _NO_FILE,
    "sslmode": "disable",
    "gssencmode": "disable",
}
"""Who asks whether a server responds without encryption: nothing secret is sent to it."""

AVAILABLE = "57P03"
"""`cannot_connect_now`, also for a server that can be connected to by now."""

_REFUSED = "28000"
"""`invalid_authorization_specification`, also for a login that was refused without a code."""

PROTOCOL_VIOLATION = "08P01"
_PASSWORD_MISSING = f'B\t0\tErrorResponse\t C "{_REFUSED}"\n'


def parameters() -> set[str]:
    """Return the names of the parameters of libpq."""
    from psycopg.pq import Conninfo

    return {option.keyword.decode() for option in Conninfo.get_defaults()}


def conninfo(given: Mapping[str, Any]) -> bytes:
    """Return parameters as libpq takes them."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**given).encode()


def is_malformed(given: dict[str, Any]) -> bool:
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
    return PGconn.ping(conninfo(given | nowhere)) == Ping.NO_ATTEMPT


def each_host(given: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def login(given: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Log in once more, at each host: libpq would wait for the first one alone.

    Returns:
        The SQLSTATE of the response, or None without one: of several, one that may be another later
        counts first. And the parameters of each host that failed without one, in time.
    """
    responses = [(one, login_at(one)) for one in each_host(given)]
    sqlstates = [sqlstate for _one, sqlstate in responses if sqlstate]
    counts = next(filter(is_transient_sqlstate, sqlstates), next(iter(sqlstates), None))
    return counts, [one for one, sqlstate in responses if sqlstate == ""]


def login_at(given: dict[str, Any]) -> str | None:
    """Log in at one host.

    Returns:
        The SQLSTATE of the response, "" for a failure without one, or None if time ran out.
    """
    from psycopg import NotSupportedError
    from psycopg.pq import PGconn, Ping

    try:
        trace, timed_out = _trace_login(conninfo(given), int(given["connect_timeout"]))
    except NotSupportedError:  # less exact: a 1 too many is seen, a 75 too many is not
        sqlstates = {Ping.OK: _REFUSED, Ping.REJECT: AVAILABLE}
        # psycopg's PQping lets no other thread of this process run meanwhile.
        return sqlstates.get(Ping(PGconn.ping(conninfo(given | {"connect_timeout": 2}))), "")
    messages = [match.groups() for match in _MESSAGE.finditer(trace)]
    names = [name for name, _code in messages]
    if "ReadyForQuery" in names:  # also if the server is not the one that the URL asks for
        return AVAILABLE
    if "ErrorResponse" not in names:
        return None if timed_out else ""
    last = len(names) - 1 - names[::-1].index("ErrorResponse")
    code: str = messages[last][1]
    if code == PROTOCOL_VIOLATION and names[last - 1] == "SASLResponse":
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
