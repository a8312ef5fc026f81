"""Why a connection failed, by exception class and error code.

Only documented classes of httpx, and the codes of the operating system and of TLS behind them, are
used. The libraries' own messages change between versions; they are neither parsed nor shown.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

from mirror.api.httpx_lite import httpx

_CERTIFICATE_ERRORS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: "is signed by nobody who is trusted here",
    20: "is signed by nobody who is trusted here",
    21: "is signed by nobody who is trusted here",
    23: "was revoked",
    62: "is for another host",
    64: "is for another address",
}
"""By `verify_code`, whose values are those of X509_STORE_CTX_get_error(3)."""

_DNS_ERRORS = {
    getattr(socket, name): message
    for name, message in (
        ("EAI_NONAME", "there is no host of that name"),
        ("EAI_NODATA", "there is no host of that name"),
        ("EAI_AGAIN", "the name of the host cannot be looked up for now"),
    )
    if hasattr(socket, name)  # not every system has each
}

_ERRNOS = {
    errno.ECONNREFUSED: "nobody listens there: it was refused",
    errno.ECONNRESET: "the other side broke it off",
    errno.ECONNABORTED: "it was broken off",
    errno.EPIPE: "the other side had closed it",
    errno.EHOSTUNREACH: "no way leads to the host",
    errno.ENETUNREACH: "no way leads to the network",
    errno.ETIMEDOUT: "nobody answered",
}

_HTTPX_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.TimeoutException, "nobody answered in time"),
    (httpx.DecodingError, "the body cannot be decompressed"),
    (httpx.ConnectError, "it could not be made"),
    (httpx.LocalProtocolError, "the request cannot be put into HTTP"),
    (httpx.UnsupportedProtocol, "its proxy is of an unknown kind"),
)


def describe(error: Exception, *, responding: bool = False) -> str:
    """Return why a connection failed, as a phrase.

    Args:
        error: an exception of httpx.
        responding: whether the headers of a response had been received.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and (message := _describe_os_error(cause)):
            return message
    if isinstance(error, httpx.ProxyError):
        return "the proxy did not let it through"
    for kind, message in _HTTPX_ERRORS:
        if isinstance(error, kind):
            return message
    if responding:
        return "the answer broke off, or is not HTTP"
    if isinstance(error, httpx.RemoteProtocolError):
        return "it was closed without an answer, or the answer is not HTTP"
    return "it broke"


def _describe_os_error(error: OSError) -> str | None:
    """Return the meaning of the code of a system, DNS or TLS error; None if it has no code."""
    # The `errno` of TLS and DNS errors is none of the system's.
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        reason = _CERTIFICATE_ERRORS.get(code, f"is not trusted, code {code}")
        return f"the server's certificate {reason}"
    if isinstance(error, ssl.SSLError):
        return "its encryption failed"
    if isinstance(error, socket.gaierror):
        code = error.errno or 0
        return _DNS_ERRORS.get(code, f"the host cannot be looked up, code {error.errno}")
    if error.errno is None:
        return None
    return _ERRNOS.get(error.errno) or os.strerror(error.errno)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including suppressed contexts."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
