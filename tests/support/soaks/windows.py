"""When something was out of order: what excuses a failure, and what does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SLACK = 2.0
"""Seconds between a moment and its record, such as a commit and the time in it."""


class Windows:
    """Intervals of time, by the clock of this machine, in which something was out of order."""

    def __init__(self) -> None:
        self._windows: list[list[float]] = []

    def open(self) -> list[float]:
        """Begin an interval; return it for `close`."""
        window = [time.time(), float("inf")]
        self._windows.append(window)
        return window

    def close(self, window: list[float]) -> None:
        """End an interval."""
        window[1] = time.time()

    def add(self, began: float, ended: float) -> None:
        """Note an interval that is over."""
        self._windows.append([began, ended])

    @contextmanager
    def during(self, afterwards: float = 0.0) -> Iterator[None]:
        """Note the interval of the context, and some seconds after it."""
        window = self.open()
        try:
            yield
        finally:
            window[1] = time.time() + afterwards

    def overlap(self, began: float, ended: float) -> bool:
        """Return whether an interval overlaps a noted one."""
        return any(
            since <= ended + SLACK and until >= began - SLACK for since, until in self._windows
        )
