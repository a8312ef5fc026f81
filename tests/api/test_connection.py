"""The HTTP client: where the token goes, and where it is never shown."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.api.client import Client
from mirror.api.connection import redacted_logs
from mirror.config.settings import Secret
from mirror.errors import MirrorError
from tests.support.api_client import failure, fetch, settings, tls_server
from tests.support.http_servers import Serve, http, paged, whole
from tests.support.upstream import TOKEN, request

GOOD = whole([request(1), request(2)])
DOWN = http(503, b"<html>busy</html>")
STABLE = paged([[request(1), request(2)], [request(3), request(4)]])


# Environment variables


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "http://127.0.0.1:port", "(?i)proxy"),
        ("HTTPS_PROXY", "http://[::1", "(?i)proxy"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem", "the certificates .* SSL_CERT_FILE"),
        ("SSLKEYLOGFILE", "/nonexistent/keys", "TLS cannot be set up .* check SSLKEYLOGFILE, SSL_"),
    ],
)
def test_unusable_environment_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    """An unusable proxy or certificate file is an error with a hint, not a traceback."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(MirrorError, match=message):
        Client(settings("https://host.invalid"))


def test_the_token_does_not_pass_through_a_proxy_unencrypted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http goes straight to the loopback address, whatever proxy is set."""
    proxy, server = serve(GOOD), serve(GOOD)
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy.base_url.removesuffix("/api/v1"))
    assert fetch(server).scan.count == 2
    assert proxy.requests == []


def test_certificates_are_selected_for_a_loopback_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSL_CERT_FILE counts for https on this machine too; only the proxy does not."""
    context, certificate = tls_server(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    def respond(listening: socket.socket) -> None:
        with context.wrap_socket(listening.accept()[0], True) as connection:
            connection.recv(4096)
            connection.sendall(GOOD)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=respond, args=(listening,), daemon=True)
        server.start()
        base_url = f"https://localhost:{listening.getsockname()[1]}/api/v1"
        assert fetch(base_url).scan.count == 2
        server.join()


# The token is never shown


def _error(**body: object) -> bytes:
    return json.dumps({"success": False} | body).encode()


ECHOES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "message": (TOKEN, lambda token: http(401, _error(message=f"{token} is wrong"))),
    "code": (TOKEN, lambda token: http(403, _error(code=token))),
    "details": (TOKEN, lambda token: http(404, _error(error={"details": {token: [token]}}))),
    "errors": (TOKEN, lambda token: http(422, _error(message="x", errors={"t": [token]}))),
    "server-error": (TOKEN, lambda token: http(500, _error(message=token))),
    "success-false-without-list": (
        TOKEN,
        lambda token: http(200, _error(message=token, data={"x": 1})),
    ),
    "success-false": (TOKEN, lambda token: http(200, _error(message=token, data=[]))),
    "location": (TOKEN, lambda token: http(302, b"", f"Location: https://e.example/?t={token}")),
    "location-escaped": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7Cabcdefghij"),
    ),
    "location-escaped-otherwise": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7cabcdefghij"),
    ),
    "errors-escaped": ('a"bcdefghijkl', lambda token: http(422, _error(errors={"t": [token]}))),
    "status-line": (TOKEN, lambda token: f"HTTP/1.1 {token}\r\n\r\n".encode()),
    "no-status-line": (TOKEN, lambda token: f"{token}\r\n\r\n".encode()),
    "header-line": (TOKEN, lambda token: f"HTTP/1.1 200 OK\r\n{token} x\r\n\r\n".encode()),
    "chunk-header": (
        TOKEN,
        lambda token: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n".encode(),
    ),
}


@pytest.mark.parametrize(("token", "echo"), ECHOES.values(), ids=ECHOES)
def test_an_echoed_token_is_in_no_message_or_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, token: str, echo: Callable[[str], bytes]
) -> None:
    """However a server echoes the token, no error and no log line of the mirror contains it."""
    caplog.set_level(logging.DEBUG, "mirror")
    error = failure(serve(echo(token)), token=token)
    assert [text for text in (str(error), *caplog.messages) if token[-10:] in text] == []


@pytest.mark.parametrize("before", [475, 485, 494])
@pytest.mark.parametrize("status", [401, 200])
def test_no_part_of_an_echoed_token_is_left_where_a_message_is_cut(
    serve: Serve, status: int, before: int
) -> None:
    """A long message is cut only after the token was removed."""
    server = serve(http(status, _error(message="x" * before + TOKEN)))
    assert TOKEN[:5] not in str(failure(server))


def test_an_ordinary_fetch_logs_no_token(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at level DEBUG does any library log the token."""
    caplog.set_level(logging.DEBUG)
    fetch(serve(DOWN, STABLE[0], DOWN, STABLE[1]))
    loggers = {record.name.partition(".")[0] for record in caplog.records}
    assert "mirror" in loggers
    assert "stamina" not in loggers, "its records print the arguments of calls"
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(repr(record.args) for record in caplog.records)


def test_each_logger_of_the_http_libraries_is_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """Those that write of requests: of connections, of HTTP/1.1 and of proxies."""
    caplog.set_level(logging.DEBUG)
    with redacted_logs(Secret(TOKEN)):
        for name in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy"):
            logging.getLogger(name).debug("received %s", TOKEN)
    assert (len(caplog.messages), TOKEN in caplog.text) == (4, False)


@pytest.mark.parametrize("module", ["http", "health", "network"])
def test_the_command_line_of_httpx_is_not_imported(module: str) -> None:
    """Its import would take as long as all the rest of httpx; a later import works."""
    script = (
        f"import sys, mirror.api.{module}\n"
        "print({'httpx._main', 'pygments', 'rich', 'click'} & set(sys.modules))\n"
        "import httpx._main\n"
        "print(httpx._main.main.name)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "main"]
