"""A tiny HTTP server whose responses a test writes byte for byte."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import msgspec


@dataclass(frozen=True)
class HttpRequest:
    """A received request.

    Attributes:
        target: path and query, unchanged.
        headers: by their names in lower case.
    """

    target: str
    headers: dict[str, str]

    @property
    def page(self) -> int:
        """The requested page."""
        return int(parse_qs(urlsplit(self.target).query)["page"][0])


HttpResponse = bytes | Callable[[HttpRequest], bytes | Iterable[bytes]]
"""Bytes to send before the connection is closed, or a function that returns them."""


class ScriptedServer:
    """A server on loopback that sends one response per connection, the last one repeatedly.

    Attributes:
        responses: those not sent yet.
        requests: those received so far.
    """

    def __init__(self, responses: Sequence[HttpResponse]) -> None:
        self.responses = list(responses)
        self.requests: list[HttpRequest] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self

    @property
    def base_url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    @property
    def pages(self) -> list[int]:
        """The requested pages, in order."""
        return [request.page for request in self.requests]

    def next_response(self, request: HttpRequest) -> HttpResponse:
        """Record a request, and return its response."""
        with self._lock:
            self.requests.append(request)
            return self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]

    @contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        """Serve in the background, for as long as the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


Serve = Callable[..., ScriptedServer]
"""A fixture that starts a server with the given responses."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128  # clients send many requests at once
    script: ScriptedServer


class _Handler(socketserver.StreamRequestHandler):
    """Reads one request, sends one response, and closes."""

    def handle(self) -> None:
        """Respond until the client closes the connection."""
        head = iter(lambda: self.rfile.readline().decode("latin-1").rstrip("\r\n"), "")
        first = next(head, "")
        if not first:
            return
        fields = (line.partition(":") for line in head)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        request = HttpRequest(first.split(" ")[1], headers)
        response = cast(_Server, self.server).script.next_response(request)
        try:
            for part in parts(response, request):
                self.wfile.write(part)
        except OSError:
            return  # the client closed the connection


def parts(response: HttpResponse, request: HttpRequest) -> Iterable[bytes]:
    """Return the bytes of a response to a request."""
    content = response(request) if callable(response) else response
    return [content] if isinstance(content, bytes) else content


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return a complete response, with its length."""
    lines = [f"HTTP/1.1 {status} ScriptedServer", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\nConnection: close\r\n\r\n" + body


def body_of(response: bytes) -> bytes:
    """Return the body of a response."""
    return response.partition(b"\r\n\r\n")[2]


def envelope(records: Sequence[object], **more: object) -> bytes:
    """Return the documented envelope around some records."""
    return msgspec.json.encode({"success": True, "data": list(records), **more})


def whole(records: Sequence[object]) -> bytes:
    """Return a list that says that it ends: a sync takes one request for it."""
    return http(200, envelope(records, has_more=False))


def by_page(pages: Sequence[HttpResponse]) -> HttpResponse:
    """Return a response that depends on the requested page; beyond the last one, the last one."""
    return lambda request: parts(pages[min(request.page, len(pages)) - 1], request)


def paged(pages: Sequence[Sequence[object]], key: str = "meta", **paging: Any) -> list[bytes]:
    """Return a list in pages; each field of its paging may be given, or omitted with None."""
    stated = {
        "per_page": len(pages[0]),
        "total": sum(len(page) for page in pages),
        "last_page": len(pages),
    } | paging
    kept = {name: value for name, value in stated.items() if value is not None}
    return [
        http(200, envelope(page, **{key: {"current_page": number} | kept}))
        for number, page in enumerate(pages, start=1)
    ]
