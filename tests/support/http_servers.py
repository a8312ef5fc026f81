"""A tiny HTTP server whose answers a test writes by hand, byte for byte."""

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
    """What a client asked.

    Attributes:
        target: path and query, as they came.
        headers: by their names in lower case.
    """

    target: str
    headers: dict[str, str]

    @property
    def page(self) -> int:
        """The page that was asked for."""
        return int(parse_qs(urlsplit(self.target).query)["page"][0])


HttpResponse = bytes | Callable[[HttpRequest], bytes | Iterable[bytes]]
"""Bytes to write before the connection is closed, or a function that makes them."""


class ScriptedServer:
    """A server on loopback that gives one answer a connection, the last one again and again.

    Attributes:
        responses: what is left to say.
        requests: the questions so far.
    """

    def __init__(self, answers: Sequence[HttpResponse]) -> None:
        self.responses = list(answers)
        self.requests: list[HttpRequest] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self

    @property
    def base_url(self) -> str:
        """The base URL to give to a client."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    def next_response(self, question: HttpRequest) -> HttpResponse:
        """Note a question, and return the answer whose turn it is."""
        with self._lock:
            self.requests.append(question)
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


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128  # many pages are asked for at once
    script: ScriptedServer


class _Handler(socketserver.StreamRequestHandler):
    """Reads one question, writes one answer, and closes."""

    def handle(self) -> None:
        """HttpResponse, for as long as the client listens."""
        head = iter(lambda: self.rfile.readline().decode("latin-1").rstrip("\r\n"), "")
        first = next(head, "")
        if not first:
            return
        headers = {name.lower(): value.strip() for name, _, value in (_split(one) for one in head)}
        question = HttpRequest(first.split(" ")[1], headers)
        answer = cast(_Server, self.server).script.next_response(question)
        said = answer(question) if callable(answer) else answer
        try:
            for part in [said] if isinstance(said, bytes) else said:
                self.wfile.write(part)
        except OSError:
            return  # the client had enough


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return a whole answer, with its length."""
    lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\nConnection: close\r\n\r\n" + body


def envelope(records: Sequence[object], **more: object) -> bytes:
    """Return the documented envelope around some records."""
    return msgspec.json.encode({"success": True, "data": list(records), **more})


def by_page(pages: Sequence[HttpResponse]) -> HttpResponse:
    """Return an answer that is the one of the page that was asked for, the last one if beyond."""

    def say(question: HttpRequest) -> bytes | Iterable[bytes]:
        answer = pages[min(question.page, len(pages)) - 1]
        return answer(question) if callable(answer) else answer

    return say


def paged(pages: Sequence[Sequence[object]], key: str = "meta", **paging: Any) -> list[bytes]:
    """Answers that hold a list in pages; each field of their paging may be given, or left out."""
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
