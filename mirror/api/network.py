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

FAILURES = (httpx.TransportError, ssl.SSLError, zlib.error)
"""What can end a request before its response is complete.

httpx passes on an error of TLS that is found when bytes are read.
"""

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
_OPERATOR = "report this to the API's operator, or the operator of a proxy that inspects TLS"
_CERTIFICATE_ADVICE = {
    9: _CLOCK,
    10: _CLOCK,
    62: _OTHER_HOST,
    64: _OTHER_HOST,
    **dict.fromkeys((66, 67, 68), _OPERATOR),
}

_CERTIFICATE_ERRORS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    **dict.fromkeys((19, 20, 21), "is signed by an unknown authority"),
    23: "was revoked",
    62: "is for another host",
    64: "is for another address",
    66: "has too weak a key",
    67: "is signed with too weak a key",
    68: "is signed with too weak a digest",
}
"""By `verify_code`, whose values are those of X509_STORE_CTX_get_error(3)."""

_TRANSIENT_TLS_ERRORS = ("INTERNAL_ERROR", "BAD_RECORD_MAC", "DECRYPT")
"""Parts of OpenSSL's codes for damaged bytes, and for a failure within the server.

Other codes mean that the two sides do not understand or accept each other; once they have agreed,
only an alert does, by which the server refuses.
"""

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


def connection_to(base_url: str) -> str:
    """Return a phrase for a connection, which names its proxy: either may be what failed."""
    proxy = find_proxy(base_url)
    return f"the connection to {base_url}{f' through the proxy {proxy}' if proxy else ''}"


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
                f"{connection_to(base_url)} failed ({_describe_os_error(cause)})",
                hint=_CERTIFICATE_ADVICE.get(cause.verify_code, _PRIVATE_AUTHORITY),
            )
        if _is_tls_refusal(cause, has_agreed=not isinstance(error, httpx.ConnectError)):
            proxy = find_proxy(base_url)
            return ApiError(
                f"{connection_to(base_url)} failed ({describe(error)})",
                hint=f"check --base-url{f' and {proxy.variable}' if proxy else ''}, or ask the "
                "API's operator which TLS it takes (mirror sends no client certificate, and takes "
                "TLS 1.2 or later)",
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


def _is_tls_refusal(error: BaseException, *, has_agreed: bool) -> bool:
    """Return whether one side of a TLS connection does not accept the other.

    Args:
        error: of the connection.
        has_agreed: the handshake has succeeded, as far as the client knows.
    """
    # Its subclasses are for connections that end or wait.
    if type(error) is not ssl.SSLError or (code := _tls_code(error)) is None:
        return False
    if has_agreed and "ALERT" not in code:
        return False
    return not any(part in code for part in _TRANSIENT_TLS_ERRORS)


def _tls_code(error: ssl.SSLError) -> str | None:
    """Return OpenSSL's name of an error, if the error is OpenSSL's."""
    return getattr(error, "reason", None)


def _describe_os_error(error: OSError) -> str | None:
    """Return the meaning of the code of a system, DNS or TLS error; None if it has no code."""
    # The `errno` of TLS and DNS errors is none of the system's.
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        reason = _CERTIFICATE_ERRORS.get(code, f"is not trusted, code {code}")
        return f"the server's certificate {reason}"
    if isinstance(error, ssl.SSLError):
        tls_code = _tls_code(error)
        return f"TLS failed, code {tls_code}" if tls_code else "TLS failed"
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
