"""Fetches lists from test servers with the API client."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any, Protocol

import pytest

from mirror.api.client import CachedList, Client, FetchedList, NotModified
from mirror.api.rate_limit import Clock
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import MirrorError
from tests.support.api_payloads import unknown_entries
from tests.support.fake_clock import FakeClock, record_sent, seconds_since_first
from tests.support.upstream import TOKEN

LONG = 60.0
"""Seconds that no test takes unless something is wrong."""
HEAD = b"HTTP/1.1 200 OK\r\n"


class Server(Protocol):
    """Anything with a base URL."""

    @property
    def base_url(self) -> str:
        """The base URL for a client."""


def settings(server: Server | str, token: str = TOKEN, **fields: Any) -> ApiSettings:
    """Return the settings for a server or a base URL."""
    base_url = server if isinstance(server, str) else server.base_url
    return ApiSettings(base_url, Secret(token), **fields)


def try_fetch(
    server: Server | str, known: CachedList | None = None, clock: Clock | None = None, **fields: Any
) -> tuple[FetchedList | NotModified, Client]:
    """Fetch a list; return the client, too."""
    client = Client(settings(server, **fields), clock)
    return client.fetch_list(known), client


def fetch(server: Server | str, **options: Any) -> FetchedList:
    """Fetch a list that is not the cached one."""
    result, _ = try_fetch(server, **options)
    assert isinstance(result, FetchedList)
    return result


def fetch_content(server: Server | str, **options: Any) -> tuple[str, list[bytes]]:
    """Fetch a list that is not the cached one; return its digest and its entries."""
    fetched = fetch(server, **options)
    return fetched.digest, unknown_entries(fetched.scan)


def failure(server: Server | str, **options: Any) -> MirrorError:
    """Return the error of a fetch."""
    with pytest.raises(MirrorError) as raised:
        try_fetch(server, **options)
    return raised.value


def assert_fails(server: Server | str, kind: type[MirrorError], *texts: str, **options: Any) -> str:
    """Assert that a fetch fails with an error of exactly this class, which contains these texts."""
    error = failure(server, **options)
    assert type(error) is kind, error
    assert [text for text in texts if text not in str(error)] == []
    return str(error)


def sent_times(server: Server, clock: FakeClock, **fields: Any) -> list[float]:
    """Fetch a list; return when its requests were sent, in seconds from the first one."""
    client = Client(settings(server, **fields), clock)
    sent = record_sent(client._session.rate_limiter)
    client.fetch_list()
    return seconds_since_first(sent)


def tls_server(folder: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context, and its self-signed certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("TLS is not tested: there is no openssl")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-keyout", key, "-out", certificate),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=mirror"),
            *("-addext", f"subjectAltName=DNS:{host}"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
