"""Messages about failed connections: our own words, by documented classes and codes."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from mirror.api import health, network
from mirror.cli.options import now
from mirror.errors import ApiError, ApiUnavailable, UsageError
from tests.support.api_client import HEAD, LONG, assert_fails, settings, tls_server
from tests.support.http_servers import Serve, http

HERE = "https://api.example/api/v1"
NO_RESPONSE = "no response, or it is not HTTP"
INCOMPLETE = "the response is incomplete, or not HTTP"
RESPONSES = {
    "nothing": (b"", NO_RESPONSE),
    "not HTTP": (b"SSH-2.0\r\n\r\n", NO_RESPONSE),
    "half a head": (HEAD + b"X", NO_RESPONSE),
    "half a body": (http(200, b"{}")[:-1], INCOMPLETE),
    "half a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{", INCOMPLETE),
    "no gzip": (
        http(200, b"\x1f\x8bnope", "Content-Encoding: gzip"),
        "the body cannot be decompressed",
    ),
}


def of_sync(base_url: str) -> str:
    """The reason that a sync gives for a failed connection, which is a failure for now."""
    shown = assert_fails(base_url, ApiUnavailable)
    start = f"{network.connection_to(base_url)} failed ("
    end = ") (tried 5 times); try again later"
    assert shown.startswith(start)
    assert shown.endswith(end)
    return shown[len(start) : -len(end)]


def final_errors(base_url: str) -> set[str]:
    """The errors of a sync and of `mirror doctor` for a connection that would fail again."""
    doctor = pytest.raises(ApiError)
    with doctor as raised:
        health.check_health(settings(base_url), now)
    assert type(raised.value) is ApiError
    return {assert_fails(base_url, ApiError), str(raised.value)}


def of_doctor(base_url: str) -> str:
    """The reason that `mirror doctor` gives for the same connection."""
    with pytest.raises(ApiUnavailable) as raised:
        health.check_health(settings(base_url), now)
    start, end = f"{network.connection_to(base_url)} failed (", "); check --base-url"
    assert str(raised.value).startswith(start)
    return str(raised.value)[len(start) :].partition(end)[0]


@pytest.mark.parametrize(("response", "reason"), RESPONSES.values(), ids=RESPONSES)
def test_incomplete_responses(serve: Serve, response: bytes, reason: str) -> None:
    """The reason says whether a response had begun, and what is known of it."""
    assert of_sync(serve(response).base_url) == reason


def test_a_refused_connection() -> None:
    """A connection that is refused is called so, by a sync and by the doctor."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v1"
        assert of_sync(base_url) == of_doctor(base_url) == "connection refused"


@contextmanager
def listener(handle: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of a port whose connections are handled one after the other."""

    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as connection, suppress(OSError):
                    handle(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def responding(response: bytes) -> Callable[[socket.socket], None]:
    """A handler that sends a response to any bytes."""

    def respond(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(response)

    return respond


def test_a_reset_connection() -> None:
    """A reset is told from a close."""

    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with listener(reset) as address:
        base_url = f"http://{address}/api/v1"
        assert of_sync(base_url) == of_doctor(base_url) == "connection reset by the server"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (socket.EAI_NONAME, "unknown host name"),
        (socket.EAI_AGAIN, "the host name cannot be resolved for now"),
        (socket.EAI_FAIL, f"the host name cannot be resolved, code {socket.EAI_FAIL}"),
    ],
)
def test_an_unknown_host(monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    """Whether a name does not exist, or could not be looked up, is told by the resolver's code."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "Der Name ist unbekannt")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setenv("NO_PROXY", "*")
    assert of_sync(HERE) == of_doctor(HERE) == reason


@pytest.mark.parametrize("host", ["a..example", "x" * 64 + ".example", "xn--"])
def test_an_impossible_host(host: str) -> None:
    """A host that no name server could know is named, in our own words."""
    shown = assert_fails(f"https://{host}/api/v1", UsageError)
    assert shown == f"{host!r} is not a valid host name; check --base-url"


def test_an_untrusted_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is wrong with a certificate is told by OpenSSL's code; another attempt is no use."""
    context, certificate = tls_server(tmp_path, "api.example")
    monkeypatch.setenv("NO_PROXY", "*")

    def encrypt(connection: socket.socket) -> None:
        context.wrap_socket(connection, server_side=True).close()

    with listener(encrypt) as address:
        (shown,) = final_errors(f"https://{address}/api/v1")
        assert shown == (
            f"the connection to https://{address}/api/v1 failed (the server's certificate is "
            "self-signed); if the API, or a proxy that inspects TLS, has certificates of a private "
            "authority, name a file with that authority's certificate in SSL_CERT_FILE"
        )
        find = socket.getaddrinfo
        monkeypatch.setattr("socket.getaddrinfo", lambda _, *more, **__: find("127.0.0.1", *more))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        other_host = f"https://other{address.replace('127.0.0.1', '.example')}/api/v1"
        (shown,) = final_errors(other_host)
        assert "(the server's certificate is for another host); check --base-url" in shown
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(empty))
    shown = assert_fails(HERE, UsageError)
    assert shown.startswith("the certificates cannot be read (no certificate in it); check SSL")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_proxy_that_cannot_connect(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A proxy that may connect later is a failure for now, and none of its words is shown."""
    with listener(responding(b"HTTP/1.1 %d No\x1b[31m way\r\n\r\n" % status)) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:geheim@{address}")
        assert of_sync(HERE) == of_doctor(HERE) == "the proxy refused the connection"
        shown = assert_fails(HERE, ApiUnavailable)
    assert shown.startswith(f"the connection to {HERE} through the proxy http://{address} failed (")


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (407, "check the user and password in HTTPS_PROXY"),
        (403, "ask the proxy's operator to allow it, or check HTTPS_PROXY and NO_PROXY"),
        (302, "ask the proxy's operator to allow it, or check HTTPS_PROXY and NO_PROXY"),
    ],
)
def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch, status: int, advice: str) -> None:
    """A proxy that would refuse again is named, without its user and password and its words."""
    with listener(responding(b"HTTP/1.1 %d No\x1b[31m way\r\n\r\n" % status)) as address:
        monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:geheim@{address}")
        (shown,) = final_errors(HERE)
    refused = f"the proxy http://{address} refused the connection to {HERE} with status {status}"
    assert shown == f"{refused}; {advice}"


def test_silence(released: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor tells silence from a failed connection, as a sync does."""
    monkeypatch.setattr(health, "_MORE_TIME", LONG)
    with (
        listener(lambda _: released.wait()) as address,
        pytest.raises(ApiUnavailable, match=r"/api/v1 sent nothing for 0\.1 seconds"),
    ):
        health.check_health(settings(f"http://{address}/api/v1", timeout=0.1), now)


NO_TLS = responding(b"HTTP/1.1 400 Bad Request\r\n\r\n")
TLS_ADVICE = (
    "or ask the API's operator which TLS it takes (mirror sends no client certificate, and takes "
    "TLS 1.2 or later)"
)


def test_a_server_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS that cannot be agreed on is final, with OpenSSL's code, and the proxy if there is one."""
    with listener(NO_TLS) as address:
        here = f"https://{address}/api/v1"
        (shown,) = final_errors(here)
        assert re.fullmatch(
            f"the connection to {here} failed \\(TLS failed, code [A-Z_]+\\); check --base-url, "
            + re.escape(TLS_ADVICE),
            shown,
        )
        monkeypatch.setenv("ALL_PROXY", f"https://{address}")
        (shown,) = final_errors(HERE)
    assert f"{HERE} through the proxy https://{address} failed (TLS failed, code " in shown
    assert f"check --base-url and ALL_PROXY, {TLS_ADVICE}" in shown


def test_a_server_that_demands_a_client_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In TLS 1.3 the server refuses after the handshake, when the client reads."""
    context, certificate = tls_server(tmp_path, "localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def refuse(connection: socket.socket) -> None:
        with context.wrap_socket(connection, True, do_handshake_on_connect=False) as encrypted:
            with suppress(ssl.SSLError):
                encrypted.do_handshake()
            while socket.socket.recv(encrypted, 4096):
                pass  # unread bytes would reset the connection

    with listener(refuse) as address:
        (shown,) = final_errors(f"https://{address.replace('127.0.0.1', 'localhost')}/api/v1")
    assert "TLS failed, code TLSV13_ALERT_CERTIFICATE_REQUIRED" in shown
    assert TLS_ADVICE in shown


@pytest.mark.parametrize(
    "record",
    [b"HTTP/1.1 502 Bad Gateway\r\n\r\n", b"\x99\3\3\0\x10" + bytes(16), b"\x17\3\3\xff\xff"],
    ids=["no TLS", "unknown record", "too long"],
)
def test_damaged_bytes_of_tls_may_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, record: bytes
) -> None:
    """After the handshake has succeeded, bytes that are no TLS are a failure for now."""
    context, certificate = tls_server(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def damage(connection: socket.socket) -> None:
        with context.wrap_socket(connection, True) as encrypted:
            encrypted.recv(4096)
            socket.socket.sendall(encrypted, record)
            while socket.socket.recv(encrypted, 4096):
                pass

    with listener(damage) as address:
        base_url = f"https://{address.replace('127.0.0.1', 'localhost')}/api/v1"
        assert of_sync(base_url) == of_doctor(base_url)


def chain(*errors: Exception) -> Exception:
    """An error that was raised from the ones after it."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


REFUSED_TWICE = ExceptionGroup("x", [OSError(errno.ECONNREFUSED, "x")] * 2)


def untrusted(code: int) -> Exception:
    """An error about a certificate."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: some words")
    error.verify_code = code
    return error


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ([httpx.ReadError("x")], "connection lost"),
        ([httpx.ConnectError("x")], "could not connect"),
        ([httpx.LocalProtocolError("x")], "the request is not valid HTTP"),
        ([httpx.UnsupportedProtocol("x")], "unsupported kind of proxy"),
        ([httpx.ReadError("x"), ValueError(), OSError(errno.EPIPE, "x")], "connection closed by"),
        ([httpx.ConnectError("x"), OSError(errno.EHOSTUNREACH, "x")], "no route to the host"),
        ([httpx.ConnectError("x"), OSError(errno.EMFILE, "x")], os.strerror(errno.EMFILE)),
        ([httpx.ConnectError("x"), OSError("no code")], "could not connect"),
        ([httpx.ConnectError("x"), OSError("all of"), REFUSED_TWICE], "connection refused"),
        ([httpx.ConnectError("x"), untrusted(10)], "the server's certificate has expired"),
        ([httpx.ConnectError("x"), untrusted(62)], "the server's certificate is for another host"),
        ([httpx.ConnectError("x"), untrusted(99)], "certificate is not trusted, code 99"),
        ([httpx.ReadError("x"), ssl.SSLError(1, "x")], "TLS failed"),
    ],
)  # fmt: skip
def test_codes(errors: list[Exception], reason: str) -> None:
    """The code behind an error decides, and none of its words is shown."""
    assert reason in network.describe(chain(*errors))


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (9, "check this machine's clock"),
        (10, "check this machine's clock, and SSL_CERT_FILE if it is set"),
        (18, "SSL_CERT_FILE"),
        (19, "SSL_CERT_FILE"),
        (20, "SSL_CERT_FILE"),
        (23, "SSL_CERT_FILE"),
        (62, "check --base-url"),
        (64, "check --base-url"),
        (66, "operator of a proxy that inspects TLS"),
        (99, "SSL_CERT_FILE"),
    ],
)
def test_a_certificate_is_final(code: int, advice: str) -> None:
    """An error about a certificate is found behind others."""
    errors = [httpx.ConnectError("x"), OSError("all of"), untrusted(code)]
    error = network.final_error(HERE, chain(*errors), None)
    assert type(error) is ApiError
    assert advice in str(error.hint)


def tls_error(code: str) -> Exception:
    """An error of OpenSSL."""
    error = ssl.SSLError(1, "some words")
    error.reason = code
    return error


@pytest.mark.parametrize(
    ("cause", "is_final"),
    [
        (tls_error("UNSUPPORTED_PROTOCOL"), True),
        (tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"), True),
        (tls_error("TLSV1_ALERT_INTERNAL_ERROR"), False),
        (tls_error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), False),
        (ssl.SSLError(1, "x"), False),
        (ssl.SSLEOFError(8, "x"), False),
        (OSError(errno.ECONNRESET, "x"), False),
    ],
)
def test_errors_of_tls(cause: Exception, *, is_final: bool) -> None:
    """What two sides do not accept of each other stays so; damage and trouble may pass."""
    error = network.final_error(HERE, chain(httpx.ConnectError("x"), cause), None)
    assert (error is not None) == is_final
