"""TCP lines to a Postgres server, which tests may cut."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from mirror.db.engine import parse_url

LONG = 60
"""Seconds after which tests end what they inflict, so that no mirror that waits hangs them."""


class TcpProxy:
    """A TCP line to a Postgres server, which can be cut at a message of the client.

    Attributes:
        server: the path of the server's socket, or its host and port.
        ends: tells of each message whether it is the one to cut at.
        delivers: that message still reaches the server, whose answer does not come back.
        silent: the client is not told that the line is cut.
        stays_dead: nobody gets through any more.
        dead: it was cut.
        given_up: whether the client hung up on the silence.
    """

    def __init__(self, server: Path | tuple[str, int]) -> None:
        self.server = server
        self._exchange = _Exchange(("127.0.0.1", 0), _Call)
        self._exchange.line = self
        self.restore()

    @classmethod
    def to(cls, url: str) -> TcpProxy:
        """Make a line to the server of a database."""
        parsed = parse_url(url)
        host, port = str(parsed.query.get("host") or parsed.host or ""), parsed.port or 5432
        return cls(Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port))

    def connect(self) -> socket.socket:
        """Call the server."""
        if isinstance(self.server, tuple):
            return socket.create_connection(self.server)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self.server))
        return server

    def restore(self) -> None:
        """Let everything through."""
        self.cut(lambda _: False)

    def cut(
        self,
        ends: Callable[[bytes], bool],
        *,
        delivers: bool = False,
        silent: bool = False,
        stays_dead: bool = False,
    ) -> None:
        """Cut it once, at the message that `ends` tells."""
        self.ends, self.delivers, self.silent, self.stays_dead = ends, delivers, silent, stays_dead
        self.is_cut = False
        self.client_closed: bool | None = None

    def url(self, url: str) -> str:
        """The URL of a database on the server, over this line."""
        made = parse_url(url).difference_update_query(["host"])
        port = self._exchange.server_address[1]
        made = made.set(drivername="postgresql", host="127.0.0.1", port=port)
        return made.render_as_string(hide_password=False)

    def is_the_end(self, message: bytes) -> bool:
        """Tell whether a message is the one to cut at."""
        if not self.is_cut and self.ends(message):
            self.is_cut = True
            return True
        return False

    @contextmanager
    def running(self) -> Iterator[TcpProxy]:
        """Connect callers in the background, for as long as the context lasts."""
        thread = threading.Thread(target=self._exchange.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._exchange.shutdown()
            thread.join()
            self._exchange.server_close()


class _Exchange(socketserver.ThreadingTCPServer):
    daemon_threads = True
    line: TcpProxy


class _Call(socketserver.BaseRequestHandler):
    """Forwards what both ends say, until one hangs up or the line is cut."""

    def handle(self) -> None:
        """Forward."""
        line = cast("_Exchange", self.server).line
        client: socket.socket = self.request
        if line.is_cut and line.stays_dead:
            return
        last = b""
        with suppress(OSError), line.connect() as server:
            last = _forward(line, client, server)
            if last and line.delivers:
                _deliver(last, server)
        if last and line.silent:
            line.client_closed = _hears_hanging_up(client)


def _forward(line: TcpProxy, client: socket.socket, server: socket.socket) -> bytes:
    """Forward until one hangs up, or up to the message to cut at, which is returned."""
    while True:
        for end in select.select([client, server], [], [])[0]:
            message = end.recv(65536)
            if not message:
                return b""
            if end is server:
                client.sendall(message)
            elif line.is_the_end(message):
                return bytes(message)
            else:
                server.sendall(message)


def _deliver(message: bytes, server: socket.socket) -> None:
    """Send the last message, and wait until the server has done what it says and hung up too."""
    server.sendall(message)
    server.shutdown(socket.SHUT_WR)
    while server.recv(65536):
        pass


def _hears_hanging_up(client: socket.socket) -> bool:
    """Tell whether a client hangs up before long."""
    client.settimeout(LONG)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
