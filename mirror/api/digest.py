"""SHA-256 of what comes over the network, while it comes."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue
from types import TracebackType
from typing import Self

_PORTION = 1 << 20
"""Bytes that are worth to be handed to another thread."""
_AHEAD = 16
"""Portions that may wait for it."""


class Digest:
    """SHA-256 of a body that comes in chunks; use it as a context manager, while it comes.

    hashlib lets other threads run while it works, so a big body is downloaded meanwhile.

    Attributes:
        sha256: complete when the context has ended.
    """

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._portion: list[bytes] = []
        self._size = 0
        self._waiting: Queue[list[bytes]] = Queue(_AHEAD)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._waiting.put([])
            self._thread.join()
        self._add(self._portion)

    def update(self, chunk: bytes) -> None:
        """Add what came."""
        self._portion.append(chunk)
        self._size += len(chunk)
        if self._size >= _PORTION:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._waiting.put(self._portion)
            self._portion, self._size = [], 0

    def _add(self, portion: list[bytes]) -> None:
        self.sha256.update(b"".join(portion))  # one long step is in nobody's way, many short are

    def _work(self) -> None:
        while portion := self._waiting.get():
            self._add(portion)
