"""What is said of a connection that breaks: our own words, by documented classes and codes."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from mirror.api import health, network
from mirror.api.client import Client
from mirror.cli.options import now
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import ApiUnavailable, MirrorError, UsageError
from tests.support.http_servers import ScriptedServer, http
from tests.support.upstream import TOKEN

HEAD = b"HTTP/1.1 200 OK\r\n"
GZIP = "Content-Encoding: gzip"
ANSWERS = {
    "nothing": (b"", "it was closed without an answer, or the answer is not HTTP"),
    "not HTTP": (b"SSH-2.0\r\n\r\n", "it was closed without an answer, or the answer is not HTTP"),
    "half a head": (HEAD + b"X", "it was closed without an answer, or the answer is not HTTP"),
    "half a body": (http(200, b"{}")[:-1], "the answer broke off, or is not HTTP"),
    "half a chunk": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{",
        "the answer broke off, or is not HTTP",
    ),
    "no gzip": (http(200, b"nope", GZIP), "the body cannot be decompressed"),
}


def settings(base_url: str, **fields: Any) -> ApiSettings:
    """How to talk to an API."""
    return ApiSettings(base_url, Secret(TOKEN), **fields)


def failure(base_url: str) -> MirrorError:
    """What comes of reading a list."""
    with pytest.raises(MirrorError) as raised, Client(settings(base_url)) as client:
        client.fetch_list()
    return raised.value


def broken(base_url: str) -> str:
    """What is said of a connection that broke, which is a failure for now."""
    error = failure(base_url)
    assert isinstance(error, ApiUnavailable)
    begin, end = f"the connection to {base_url} failed (", ") (tried 5 times); try again later"
    assert str(error).startswith(begin)
    assert str(error).endswith(end)
    return str(error)[len(begin) : -len(end)]


def seen(base_url: str) -> str:
    """What `mirror doctor` says of the same connection."""
    with pytest.raises(ApiUnavailable) as raised:
        health.check_health(settings(base_url), now)
    begin, end = f"the API at {base_url} cannot be reached (", "); check --base-url"
    assert str(raised.value).startswith(begin)
    return str(raised.value)[len(begin) :].partition(end)[0]


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_answers_that_break(answer: bytes, said: str) -> None:
    """Whether an answer had begun is told, and what can be known of what came."""
    with ScriptedServer([answer]).running() as server:
        assert broken(server.base_url) == said


@contextmanager
def nobody() -> Iterator[str]:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/api/v1"


def test_nobody_listens() -> None:
    """A connection that is refused is told so, to who syncs and to who looks."""
    with nobody() as base_url:
        assert broken(base_url) == seen(base_url) == "nobody listens there: it was refused"


@contextmanager
def serving(handle: Any) -> Iterator[int]:
    """A port whose connections are handled one after the other."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as connection, suppress(OSError):
                    handle(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_reset() -> None:
    """A reset is told from an end."""

    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(reset) as port:
        base_url = f"http://127.0.0.1:{port}/api/v1"
        assert broken(base_url) == seen(base_url) == "the other side broke it off"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (socket.EAI_NONAME, "there is no host of that name"),
        (socket.EAI_AGAIN, "the name of the host cannot be looked up for now"),
        (socket.EAI_FAIL, f"the host cannot be looked up, code {socket.EAI_FAIL}"),
    ],
)
def test_a_host_that_is_not_found(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    """Whether a name exists, or nobody could say, is told by the resolver's code."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "Der Name ist unbekannt")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setenv("NO_PROXY", "*")
    assert broken("https://api.example/api/v1") == seen("https://api.example/api/v1") == said


def test_a_certificate_that_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is wrong with a certificate is told by OpenSSL's code; a sync tries again."""
    if shutil.which("openssl") is None:
        pytest.skip("TLS is not tested: there is no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-keyout", key, "-out", certificate),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=mirror"),
            *("-addext", "subjectAltName=DNS:api.example"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("NO_PROXY", "*")

    def encrypt(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    def plain(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serving(encrypt) as port:
        base_url = f"https://127.0.0.1:{port}/api/v1"
        assert broken(base_url) == "the server's certificate is signed by itself"
        key.write_text("nothing")
        monkeypatch.setenv("SSL_CERT_FILE", str(key))
        error = failure("https://api.example/api/v1")
        assert str(error).startswith("the certificates cannot be read (there is none); check SSL")
        find = socket.getaddrinfo
        monkeypatch.setattr("socket.getaddrinfo", lambda _, *more, **__: find("127.0.0.1", *more))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        elsewhere = f"https://other.example:{port}/api/v1"
        assert seen(elsewhere) == "the server's certificate is for another host"
    with serving(plain) as port:
        assert seen(f"https://127.0.0.1:{port}/api/v1") == "its encryption failed"


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that does not connect is named, and nothing of what it says is believed."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 403 No\x1b[31m way\r\n\r\n")

    with serving(refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        assert broken("https://api.example/api/v1") == "the proxy did not let it through"


def test_nobody_answers_the_doctor() -> None:
    """Silence is told as that."""
    gone = threading.Event()
    with serving(lambda _connection: gone.wait()) as port:
        with pytest.raises(ApiUnavailable, match=r"\(nobody answered in time\)"):
            health.check_health(settings(f"http://127.0.0.1:{port}/api/v1", timeout=0.1), now)
        gone.set()


def test_a_host_that_cannot_be() -> None:
    """A host that is none is told with its name, and not with what a library says."""
    error = failure("https://a..example/api/v1")
    assert isinstance(error, UsageError)
    assert str(error) == "there can be no host 'a..example'; check --base-url"


def chain(*errors: Exception) -> Exception:
    """An error that was raised from the ones after it."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def untrusted(code: int) -> Exception:
    """An error about a certificate."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: some words")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([httpx.ReadError("x")], "it broke"),
        ([httpx.ConnectError("x")], "it could not be made"),
        ([httpx.LocalProtocolError("x")], "the request cannot be put into HTTP"),
        ([httpx.UnsupportedProtocol("x")], "its proxy is of an unknown kind"),
        ([httpx.ReadError("x"), ValueError(), OSError(errno.EPIPE, "x")], "the other side had"),
        ([httpx.ConnectError("x"), OSError(errno.EHOSTUNREACH, "x")], "no way leads to the host"),
        ([httpx.ConnectError("x"), OSError(errno.EMFILE, "x")], os.strerror(errno.EMFILE)),
        ([httpx.ConnectError("x"), OSError("no code")], "it could not be made"),
        ([httpx.ConnectError("x"), untrusted(10)], "the server's certificate has expired"),
        ([httpx.ConnectError("x"), untrusted(62)], "the server's certificate is for another host"),
        ([httpx.ConnectError("x"), untrusted(99)], "certificate is not trusted, code 99"),
        ([httpx.ReadError("x"), ssl.SSLError(1, "x")], "its encryption failed"),
    ],
)  # fmt: skip
def test_codes(errors: list[Exception], said: str) -> None:
    """The code behind an error decides, and none of its words is shown."""
    assert said in network.describe(chain(*errors))
