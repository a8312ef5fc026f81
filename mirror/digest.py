"""SHA-256 of what comes over the network, while it comes."""

from __future__ import annotations

import hashlib
import threading
from queue import Queue
from types import TracebackType
from typing import Self

_BIG = 1 << 20
"""Bytes from which on it is worth another thread."""
_AHEAD = 256
"""Chunks that may wait for it; of 64 KiB at most."""


class Digest:
    """SHA-256 of a body that comes in chunks; use it as a context manager, while it comes.

    hashlib lets other threads run while it works, so a big body is downloaded meanwhile.

    Attributes:
        sha256: complete when the context has ended.
    """

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self._size = 0
        self._waiting: Queue[bytes] = Queue(_AHEAD)
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
            self._waiting.put(b"")
            self._thread.join()

    def update(self, chunk: bytes) -> None:
        """Add what came."""
        self._size += len(chunk)
        if self._thread is None and self._size < _BIG:
            self.sha256.update(chunk)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        if chunk:
            self._waiting.put(chunk)

    def _work(self) -> None:
        while chunk := self._waiting.get():
            self.sha256.update(chunk)
