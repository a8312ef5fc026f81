"""Closes open sockets from another thread, to end any wait for them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class OpenSockets:
    """Tracks the sockets of an HTTP client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def track(self, is_late: Callable[[], bool], event: str, info: dict[str, Any]) -> None:
        """Track a new connection; a trace function for httpcore, called by any thread.

        Args:
            is_late: returns whether the connection is no longer needed.
            event: name of httpcore's event. A TLS handshake replaces the socket of the connection.
            info: its details.
        """
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._sockets = [known for known in self._sockets if known.fileno() >= 0]
                self._sockets.append(connection)
            if is_late():  # checked after it is tracked, so `close_all` cannot miss it
                _shut_down(connection)

    def close_all(self) -> None:
        """Shut down all connections; threads that wait for one return at once."""
        with self._lock:
            for connection in self._sockets:
                _shut_down(connection)

    @contextmanager
    def closed_after(self, seconds: float) -> Iterator[threading.Event]:
        """Close all connections after some time, unless the context ends earlier.

        A time-out is for silence: a server that drips bytes would never reach it.

        Yields:
            An event that is set before the connections are closed.
        """
        passed = threading.Event()

        def close() -> None:
            passed.set()
            self.close_all()

        timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), close)
        timer.daemon = True
        timer.start()
        try:
            yield passed
        finally:
            timer.cancel()


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):
        # The method of a TLS socket would make its reader return encrypted bytes as the response.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
