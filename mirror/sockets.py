"""The sockets that are open, so that any wait for them can be ended from another thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Sockets:
    """Follows the connections of an HTTP client.

    Args:
        tls: they will be encrypted.
    """

    def __init__(self, *, tls: bool) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._doubles: dict[int, socket.socket] = {}

    def follow(self, unwanted: Callable[[], bool], event: str, info: dict[str, Any]) -> None:
        """Note a connection that was made; a trace function of httpcore, called by any thread.

        Args:
            unwanted: tells whether it comes too late.
            event: what happened.
            info: about it.
        """
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            made = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._open = [one for one in self._open if one.fileno() >= 0]
                self._open.append(made)
            if self._tls and event.endswith("connect_tcp.complete"):
                # A handshake takes the socket away, and gives another one only when it is over.
                self._keep_double(made.dup())
            if unwanted():  # asked after it was noted, so that `hang_up` cannot miss it
                _hang_up(made)
        if event.endswith(("start_tls.complete", "start_tls.failed")):
            self._keep_double(None)

    def _keep_double(self, double: socket.socket | None) -> None:
        """Keep a second handle of the connection that this thread makes, in place of an earlier."""
        with self._lock:
            earlier = self._doubles.pop(threading.get_ident(), None)
            if double is not None:
                self._doubles[threading.get_ident()] = double
        if earlier is not None:
            earlier.close()

    def hang_up(self) -> None:
        """End all connections; whoever waits for one is told at once."""
        with self._lock:
            for one in (*self._open, *self._doubles.values()):
                _hang_up(one)

    def close(self) -> None:
        """Give back what is kept."""
        with self._lock:
            for one in self._doubles.values():
                one.close()
            self._doubles.clear()
            self._open.clear()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        # The method of a TLS socket would let its reader take what is encrypted for the answer.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
