"""Why a connection failed, by exception class and error code, and whether another may succeed.

Only documented classes of httpx, and the codes of the operating system and of TLS behind them, are
used. The libraries' own messages change between versions; they are neither parsed nor shown.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import zlib
from collections.abc import Iterator
from http import HTTPStatus

from mirror.api.httpx_lite import httpx
from mirror.api.proxy import find_proxy
from mirror.errors import ApiError

FAILURES = (httpx.TransportError, zlib.error)
"""What can end a request before its response is complete."""

_TRANSIENT_STATUSES = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_PRIVATE_AUTHORITY = (
    "if the API, or a proxy that inspects TLS, has certificates of a private authority, name a "
    "file with that authority's certificate in SSL_CERT_FILE"
)
_CLOCK = (
    "check this machine's clock, and SSL_CERT_FILE if it is set; if they are right, tell the API's "
    "operator"
)
_OTHER_HOST = "check --base-url, as another server answers there"
_CERTIFICATE_ADVICE = {9: _CLOCK, 10: _CLOCK, 62: _OTHER_HOST, 64: _OTHER_HOST}

_CERTIFICATE_ERRORS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    **dict.fromkeys((19, 20, 21), "is signed by an unknown authority"),
    23: "was revoked",
    62: "is for another host",
    64: "is for another address",
}
"""By `verify_code`, whose values are those of X509_STORE_CTX_get_error(3)."""

_DNS_ERRORS = {
    getattr(socket, name): message
    for name, message in (
        ("EAI_NONAME", "unknown host name"),
        ("EAI_NODATA", "unknown host name"),
        ("EAI_AGAIN", "the host name cannot be resolved for now"),
    )
    if hasattr(socket, name)  # not every system has each
}

_ERRNOS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the server",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection closed by the server",
    errno.EHOSTUNREACH: "no route to the host",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connection timed out",
}

_HTTPX_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "no response in time"),  # of anyio
    (httpx.TimeoutException, "no response in time"),
    (zlib.error, "the body cannot be decompressed"),
    (httpx.ConnectError, "could not connect"),
    (httpx.LocalProtocolError, "the request is not valid HTTP"),
    (httpx.UnsupportedProtocol, "unsupported kind of proxy"),
)


def is_transient(status: int) -> bool:
    """Return whether a failed request may succeed later, by the HTTP status of its response."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_STATUSES


def final_error(base_url: str, error: Exception, status: int | None) -> ApiError | None:
    """Return the error for a connection that would fail again, None if it may succeed later.

    Args:
        base_url: of the API.
        error: an exception of httpx.
        status: of the last response, that of a proxy included.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ApiError(
                f"the connection to {base_url} failed ({_describe_os_error(cause)})",
                hint=_CERTIFICATE_ADVICE.get(cause.verify_code, _PRIVATE_AUTHORITY),
            )
    if isinstance(error, httpx.ProxyError) and status is not None and not is_transient(status):
        proxy = find_proxy(base_url)
        assert proxy is not None, "it refused the connection"
        needs_login = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        return ApiError(
            f"the proxy {proxy} refused the connection to {base_url} with status {status}",
            hint=f"check the user and password in {proxy.variable}"
            if needs_login
            else f"ask the proxy's operator to allow it, or check {proxy.variable} and NO_PROXY",
        )
    return None


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
        return "the proxy refused the connection"
    for kind, message in _HTTPX_ERRORS:
        if isinstance(error, kind):
            return message
    if responding:
        return "the response is incomplete, or not HTTP"
    if isinstance(error, httpx.RemoteProtocolError):
        return "no response, or it is not HTTP"
    return "connection lost"


def _describe_os_error(error: OSError) -> str | None:
    """Return the meaning of the code of a system, DNS or TLS error; None if it has no code."""
    # The `errno` of TLS and DNS errors is none of the system's.
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        reason = _CERTIFICATE_ERRORS.get(code, f"is not trusted, code {code}")
        return f"the server's certificate {reason}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, socket.gaierror):
        code = error.errno or 0
        return _DNS_ERRORS.get(code, f"the host name cannot be resolved, code {error.errno}")
    if error.errno is None:
        return None
    return _ERRNOS.get(error.errno) or os.strerror(error.errno)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including suppressed contexts; of a group the first one."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__
