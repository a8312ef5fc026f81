"""State of one attempt to fetch the list: cancellation, size and progress."""

from __future__ import annotations

import threading

from mirror.errors import ApiError
from mirror.progress import Progress


class FetchState:
    """State of one attempt to fetch the list, shared by its requests in any thread.

    Args:
        max_bytes: allowed size of the list, decompressed.
        progress: counts pages and bytes until the attempt is cancelled.

    Attributes:
        cancelled: set when the responses are no longer needed.
    """

    def __init__(self, max_bytes: int, progress: Progress) -> None:
        self.cancelled = threading.Event()
        self._max_bytes = max_bytes
        self._progress = progress
        self._lock = threading.Lock()
        self._size = 0

    def expect_bytes(self, size: int | None) -> None:
        """Set the size of the next body, None if unknown, while it may be the whole list.

        Until the number of pages is known, requests are sent one at a time.
        """
        if self._progress.pages_expected is None:
            self._progress.bytes_expected = None if size is None else self._size + size

    def add_bytes(self, size: int) -> None:
        """Count received bytes.

        Raises:
            ApiError: the list is larger than allowed.
        """
        if self._add(size) > self._max_bytes:
            raise ApiError(
                f"the list is larger than the {self._max_bytes:,} bytes allowed",
                hint="raise --max-bytes to allow it",
            )

    def discard_bytes(self, size: int) -> None:
        """Subtract the bytes of a body that was not received completely."""
        self._add(-size)

    def add_page(self) -> None:
        """Count a complete page."""
        with self._lock:
            if not self.cancelled.is_set():
                self._progress.pages += 1

    def _add(self, size: int) -> int:
        with self._lock:
            self._size += size
            if not self.cancelled.is_set():
                self._progress.bytes = self._size
            return self._size
