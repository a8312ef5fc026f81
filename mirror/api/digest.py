"""SHA-256 of a response body while it is received."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue
from typing import Self

_BLOCK = 1 << 20
"""Bytes from which another thread is worth its cost."""
_MAX_QUEUED = 16
"""Blocks that may wait for that thread."""


class Digest:
    """SHA-256 of a body that is received in chunks; use it as a context manager.

    hashlib releases the GIL, so a big body is hashed in another thread during the download.

    Attributes:
        sha256: complete after the context has ended.
    """

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._chunks: list[bytes] = []
        self._size = 0
        self._queue: Queue[list[bytes]] = Queue(_MAX_QUEUED)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._queue.put([])
            self._thread.join()
        self._hash(self._chunks)

    def update(self, chunk: bytes) -> None:
        """Add a chunk."""
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size >= _BLOCK:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._queue.put(self._chunks)
            self._chunks, self._size = [], 0

    def _hash(self, chunks: list[bytes]) -> None:
        self.sha256.update(b"".join(chunks))  # one long call; each short one would take the GIL

    def _work(self) -> None:
        while chunks := self._queue.get():
            self._hash(chunks)
