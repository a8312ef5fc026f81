"""A TCP proxy before a Postgres server, which tests can cut."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

from mirror.db.urls import parse_url

LONG = 60
"""Seconds after which tests end a fault, so that a mirror that waits for it does not hang them."""


class TcpProxy:
    """A TCP proxy that can be cut at a message of the client.

    Attributes:
        server: path of the server's socket, or its host and port.
        is_cut: whether the fault has happened.
        client_closed: whether the client closed a silent connection; None before.
    """

    def __init__(self, server: Path | tuple[str, int]) -> None:
        self.server = server
        self._listener = _Listener(("127.0.0.1", 0), _Connection)
        self._listener.proxy = self
        self.restore()

    @classmethod
    def to(cls, url: str) -> TcpProxy:
        """Return a proxy for the server of a database."""
        parsed = parse_url(url)
        host, port = str(parsed.query.get("host") or parsed.host or ""), parsed.port or 5432
        return cls(Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port))

    def connect(self) -> socket.socket:
        """Connect to the server."""
        if isinstance(self.server, tuple):
            return socket.create_connection(self.server)
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(str(self.server))
        except OSError:
            server.close()
            raise
        return server

    def restore(self) -> None:
        """Forward everything."""
        self.cut(lambda _: False)

    def cut(
        self,
        matches: Callable[[bytes], bool],
        *,
        delivers: bool = False,
        silent: bool = False,
        stays_dead: bool = False,
    ) -> None:
        """Cut the connection once.

        Args:
            matches: returns whether a message of the client is the one to cut at.
            delivers: the message still reaches the server, whose response is lost.
            silent: the connection to the client stays open.
            stays_dead: later connections are refused, too.
        """
        self.delivers, self.silent, self.stays_dead = delivers, silent, stays_dead
        self.is_cut = False
        self.client_closed: bool | None = None
        self._matches = matches

    def url(self, url: str) -> str:
        """Return the URL of a database of the server through the proxy."""
        parsed = parse_url(url).difference_update_query(["host"])
        port = self._listener.server_address[1]
        proxied = parsed.set(drivername="postgresql", host="127.0.0.1", port=port)
        return proxied.render_as_string(hide_password=False)

    def cuts_at(self, message: bytes) -> bool:
        """Return whether a message is the one to cut at."""
        if not self.is_cut and self._matches(message):
            self.is_cut = True
            return True
        return False

    @contextmanager
    def running(self) -> Iterator[TcpProxy]:
        """Serve in the background, for as long as the context lasts."""
        thread = threading.Thread(target=self._listener.serve_forever, args=(0.005,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown()
            thread.join()
            self._listener.server_close()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    proxy: TcpProxy


class _Connection(socketserver.BaseRequestHandler):
    """Forwards both ways until one side closes or the connection is cut."""

    def handle(self) -> None:
        """Forward."""
        proxy = cast("_Listener", self.server).proxy
        client: socket.socket = self.request
        if proxy.is_cut and proxy.stays_dead:
            return
        last = b""
        with suppress(OSError), proxy.connect() as server:
            last = _forward(proxy, client, server)
            if last and proxy.delivers:
                _deliver(last, server)
        if last and proxy.silent:
            proxy.client_closed = _wait_for_close(client)


def _forward(proxy: TcpProxy, client: socket.socket, server: socket.socket) -> bytes:
    """Forward until one side closes, or up to the message to cut at, which is returned."""
    while True:
        for side in select.select([client, server], [], [])[0]:
            message = side.recv(65536)
            if not message:
                return b""
            if side is server:
                client.sendall(message)
            elif proxy.cuts_at(message):
                return bytes(message)
            else:
                server.sendall(message)


def _deliver(message: bytes, server: socket.socket) -> None:
    """Send the last message, and wait until the server has processed it and closed, too."""
    server.sendall(message)
    server.shutdown(socket.SHUT_WR)
    while server.recv(65536):
        pass


def _wait_for_close(client: socket.socket) -> bool:
    """Return whether a client closes its connection in time."""
    client.settimeout(LONG)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
