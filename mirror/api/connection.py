"""The HTTP client: token, certificates, and redaction of the token in library logs."""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mirror.api.compression import COMPRESSION
from mirror.api.httpx_lite import httpx
from mirror.api.proxy import find_proxy
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import UsageError
from mirror.version import __version__

_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_filters_lock = threading.Lock()


_READ_SIZE = 256 * 1024
"""Bytes that asyncio reads from a socket at once."""


def http_client(settings: ApiSettings) -> httpx.AsyncClient:
    """Create an HTTP client that sends the token to the API only: it follows no redirect.

    Raises:
        UsageError: the host cannot exist in DNS, or the proxy or the certificates that the
            environment variables name are unusable.
    """
    _enlarge_reads()
    url = urlsplit(settings.base_url)
    host = url.hostname or ""
    try:
        host.encode("idna")
        httpx.URL(settings.base_url).host  # noqa: B018 (it decodes the name)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"{host!r} is not a valid host name", hint="check --base-url") from error
    proxy = find_proxy(settings.base_url)
    # Loading certificates takes 50 ms, and plain http has nothing to verify.
    context = _tls_context() if url.scheme == "https" else None
    if proxy is not None and proxy.server.url.scheme == "https":
        proxy.server.ssl_context = context
    try:
        return httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {settings.token.reveal()}",
                "Accept": "application/json",
                "Accept-Encoding": COMPRESSION,
                "User-Agent": f"talkover-mirror/{__version__}",
            },
            follow_redirects=False,
            # The rate limiter comes first, so no request ever waits for a pooled connection.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            proxy=proxy.server if proxy else None,
            trust_env=False,
            verify=context or False,
        )
    except ImportError as error:  # of a library for SOCKS
        assert proxy is not None, "only a proxy needs another library"
        raise proxy.unusable() from error


def _tls_context() -> ssl.SSLContext:
    """Return a context that verifies certificates, by default with those of certifi.

    Raises:
        UsageError: those that the environment variables name are unusable, or the file that keys
            are to be logged in is.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        log = os.environ.get("SSLKEYLOGFILE")
        raise UsageError(
            f"{'TLS cannot be set up' if log else 'the certificates cannot be read'} ({reason})",
            hint=f"check {'SSLKEYLOGFILE, ' if log else ''}SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error


class ResponseTrace:
    """The status of the last response to a request, that of a proxy to CONNECT included.

    It is an extension of httpx's requests. The exception for a proxy's refusal has the status in
    its message only.

    Attributes:
        status: None before a response.
    """

    def __init__(self) -> None:
        self.status: int | None = None

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Note an event of httpcore."""
        if event.endswith(".receive_response_headers.complete"):
            self.status = info["return_value"][1]


def _enlarge_reads() -> None:
    """Let httpcore take all that asyncio has read, not a quarter of it each time.

    A list of 350 MB then arrives in half the time. httpcore has no option for this size, but a
    public class with a public attribute; if that is gone one day, reading is slower and no more.
    """
    import httpcore

    httpcore.AsyncHTTP11Connection.READ_NUM_BYTES = _READ_SIZE


@contextmanager
def redacted_logs(token: Secret) -> Iterator[None]:
    """Redact the token in the logs of the HTTP libraries, where a server may echo it."""

    def redact(record: logging.LogRecord) -> bool:
        record.msg, record.args = token.redact(record.getMessage()), ()
        return True

    _replace_filters(lambda filters: [*filters, redact])
    try:
        yield
    finally:
        _replace_filters(lambda filters: [item for item in filters if item is not redact])


def _replace_filters(change: Callable[[list[Any]], list[Any]]) -> None:
    """Assign new lists: another thread that iterates a shrinking list would skip a filter."""
    with _filters_lock:
        for logger in map(logging.getLogger, _LOGGERS):
            logger.filters = change(logger.filters)
