"""What broke a connection, in our own words.

It is found out from the documented classes of httpx, and from the codes of the operating system and
of TLS behind them. The libraries' own messages change, and are neither shown nor decided by.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

import httpx

_CERTIFICATES = {
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
"""By the codes of X509_STORE_CTX_get_error(3), which `verify_code` holds."""

_NAMES = {
    getattr(socket, name): sentence
    for name, sentence in (
        ("EAI_NONAME", "there is no host of that name"),
        ("EAI_NODATA", "there is no host of that name"),
        ("EAI_AGAIN", "the name of the host cannot be looked up for now"),
    )
    if hasattr(socket, name)  # not every system has each
}

_CODES = {
    errno.ECONNREFUSED: "nobody listens there: it was refused",
    errno.ECONNRESET: "the other side broke it off",
    errno.ECONNABORTED: "it was broken off",
    errno.EPIPE: "the other side had closed it",
    errno.EHOSTUNREACH: "no way leads to the host",
    errno.ENETUNREACH: "no way leads to the network",
    errno.ETIMEDOUT: "nobody answered",
}

_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (httpx.TimeoutException, "nobody answered in time"),
    (httpx.DecodingError, "the body cannot be decompressed"),
    (httpx.ConnectError, "it could not be made"),
    (httpx.LocalProtocolError, "the request cannot be put into HTTP"),
    (httpx.UnsupportedProtocol, "its proxy is of an unknown kind"),
)


def broken(error: Exception, *, answering: bool = False) -> str:
    """Say what broke a connection.

    Args:
        error: of httpx.
        answering: the head of an answer had come.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and (known := _of_system(cause)):
            return known
    if isinstance(error, httpx.ProxyError):
        return "the proxy did not let it through"
    for kind, sentence in _KINDS:
        if isinstance(error, kind):
            return sentence
    if answering:
        return "the answer broke off, or is not HTTP"
    if isinstance(error, httpx.RemoteProtocolError):
        return "it was closed without an answer, or the answer is not HTTP"
    return "it broke"


def _of_system(error: OSError) -> str | None:
    """Say what an error of the system or of TLS means, by its code; None if it has none."""
    # The `errno` of these two is none of the system's.
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        return f"the server's certificate {_CERTIFICATES.get(code, f'is not trusted, code {code}')}"
    if isinstance(error, ssl.SSLError):
        return "its encryption failed"
    if isinstance(error, socket.gaierror):
        return _NAMES.get(error.errno or 0, f"the host cannot be looked up, code {error.errno}")
    if error.errno is None:
        return None
    return _CODES.get(error.errno) or os.strerror(error.errno)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, also where that is not to be shown."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
