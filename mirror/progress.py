"""Progress of a running sync, and the environment its log lines belong to.

Counting costs next to nothing. Only the code that draws imports rich.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """The current step of a sync."""

    WAITING = "waiting"
    READING = "reading"
    LOADING = "loading"
    DONE = "done"


@dataclass(slots=True)
class Progress:
    """Counters of one sync; any thread may read them.

    Attributes:
        phase: waiting for the database, reading the list, loading it into the database, or done.
        pages: pages received in the current attempt to read the list.
        pages_expected: pages of the list; None until known.
        bytes: bytes received in the current attempt, decompressed.
        bytes_expected: size of the list; None if not known, or if the list has several pages.
        entries: entries loaded so far.
        entries_expected: entries of the list; None until the list has been read.
    """

    phase: Phase = Phase.WAITING
    pages: int = 0
    pages_expected: int | None = None
    bytes: int = 0
    bytes_expected: int | None = None
    entries: int = 0
    entries_expected: int | None = None

    def begin_reading(self) -> None:
        """Start an attempt to read the list, the first or a later one."""
        self.phase = Phase.READING
        self.pages = self.bytes = 0
        self.pages_expected = self.bytes_expected = None

    def expect_pages(self, pages: int) -> None:
        """Set the number of pages of the list."""
        self.pages_expected = pages
        if pages > 1:
            self.bytes_expected = None

    def begin_loading(self, entries: int) -> None:
        """Start loading a number of entries."""
        self.phase = Phase.LOADING
        self.entries_expected = entries


log_environment: ContextVar[str | None] = ContextVar("log_environment", default=None)
"""Environment of the current sync, for the log; the tasks that fetch pages inherit it."""
