"""HTTP on a loopback port: parses requests and sends responses, broken ones included."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mirror.sandbox.faults import Response, ResponseEnding

_MAX_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; `target` is its path with the query, as it was sent."""

    method: str
    target: str
    path: str
    query: dict[str, list[str]]
    headers: Any
    body: bytes


class HttpServer(ThreadingHTTPServer):
    """Serves HTTP on a loopback port, a thread for each connection.

    Args:
        port: 0 for any free one.
        respond: returns the response to a request; called by many threads at once.
    """

    daemon_threads = True
    request_queue_size = 128  # connections that clients open at the same time

    def __init__(self, port: int, respond: Callable[[Request], Response]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.respond = respond

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that closed the connection, as tests and killed syncs do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "mirror-sandbox"
    disable_nagle_algorithm = True
    server: HttpServer

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = self.headers.get("Content-Length", "0")
        body = self.rfile.read(min(int(length), _MAX_BODY)) if length.isdecimal() else b""
        response = self.server.respond(
            Request(self.command, self.path, url.path, parse_qs(url.query), self.headers, body)
        )
        if response.ending is ResponseEnding.WHOLE:
            self._send_head(response, len(response.body))
            self.wfile.write(response.body)
        else:
            self.close_connection = True
            self._send_broken(response)

    do_GET = do_POST = do_DELETE = _handle

    def _send_head(self, response: Response, length: int | None) -> None:
        self.send_response(response.status)
        for name, value in {"Content-Type": "application/json", **response.headers}.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send_broken(self, response: Response) -> None:
        """Send a response with another ending, until the client closes the connection."""
        body, ending = response.body, response.ending
        if ending not in {ResponseEnding.NO_RESPONSE, ResponseEnding.SILENT}:
            self._send_head(response, None if ending is ResponseEnding.ENDLESS else len(body))
        if ending in {ResponseEnding.CUT, ResponseEnding.STALLED}:
            self.wfile.write(body[: len(body) // 2])
        if ending in {ResponseEnding.SILENT, ResponseEnding.STALLED}:
            self._closed_by_client(None)
        if ending is ResponseEnding.DRIPPING:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self._closed_by_client(1):
                    return
        if ending is ResponseEnding.ENDLESS:
            self.wfile.write(body)
            while True:
                self.wfile.write(b" " * 65536)

    def _closed_by_client(self, timeout: float | None) -> bool:
        """Wait until the client closes the connection, at most `timeout` seconds."""
        return bool(select.select([self.connection], [], [], timeout)[0])

    def log_message(self, *_: Any) -> None:
        """Log nothing: the terminal belongs to the commands."""
