"""The HTTP client: token, proxy, certificates, and redaction of the token in library logs."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mirror.api.httpx_lite import httpx
from mirror.config.settings import ApiSettings, Secret, is_loopback
from mirror.errors import UsageError
from mirror.version import __version__

COMPRESSION = "gzip"
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
            # A proxy may carry https, which hides the token from it, but never plain http.
            trust_env=not is_loopback(host),
            # Loading certificates takes 50 ms, and plain http has nothing to verify.
            verify=httpx.create_ssl_context() if url.scheme == "https" else False,
        )
    except OSError as error:
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"the certificates cannot be read ({reason})",
            hint="check SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise UsageError(
            "the proxy settings in HTTPS_PROXY, ALL_PROXY or NO_PROXY cannot be used",
            hint="set a proxy of the form http://host:port, or unset the variable",
        ) from error


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
