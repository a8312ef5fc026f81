"""The sockets that are open, so that any wait for them can be ended from another thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class OpenSockets:
    """Follows the connections of an HTTP client, once they are made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []

    def follow(self, unwanted: Callable[[], bool], event: str, info: dict[str, Any]) -> None:
        """Note a connection that was made; a trace function of httpcore, called by any thread.

        Args:
            unwanted: tells whether it comes too late.
            event: what happened. A TLS handshake puts another socket in the place of the first.
            info: about it.
        """
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            made = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._open = [one for one in self._open if one.fileno() >= 0]
                self._open.append(made)
            if unwanted():  # asked after it was noted, so that `hang_up` cannot miss it
                _hang_up(made)

    def hang_up(self) -> None:
        """End all connections; whoever waits for one is told at once."""
        with self._lock:
            for one in self._open:
                _hang_up(one)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        # The method of a TLS socket would let its reader take what is encrypted for the answer.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
