"""How far syncs have got: counted while they run, and drawn for the person who waits for them.

Counting costs next to nothing. Rich, which draws, is imported only where there is something to see.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


class Phase(StrEnum):
    """What a sync is about."""

    WAITING = "waiting"
    READING = "reading"
    LOADING = "loading"
    DONE = "done"


@dataclass(slots=True)
class Progress:
    """What one sync has got done so far; its threads count, and anybody may look.

    Attributes:
        phase: it waits for its database, reads the list, loads it into the database, or is done.
        pages: pages that came, in this reading of the list.
        pages_expected: how many the list has; None until that is known.
        bytes: bytes that came, decompressed, in this reading of the list.
        bytes_expected: how many the answer has that is being read, and what came before it; None
            if that is not known, or the list comes in more pages than one.
        entries: entries of the list that were loaded.
        entries_expected: how many there are; None until the list was read.
    """

    phase: Phase = Phase.WAITING
    pages: int = 0
    pages_expected: int | None = None
    bytes: int = 0
    bytes_expected: int | None = None
    entries: int = 0
    entries_expected: int | None = None

    def begin_reading(self) -> None:
        """Count a reading of the list, the first one or another one."""
        self.phase = Phase.READING
        self.pages = self.bytes = 0
        self.pages_expected = self.bytes_expected = None

    def expect_pages(self, pages: int) -> None:
        """Note how many pages the list has."""
        self.pages_expected = pages
        if pages > 1:
            self.bytes_expected = None

    def begin_loading(self, entries: int) -> None:
        """Count entries, of so many."""
        self.phase = Phase.LOADING
        self.entries_expected = entries


log_environment: ContextVar[str | None] = ContextVar("log_environment", default=None)
"""Whose sync is at work, for whoever shows the log; the threads of a pull know it too."""
