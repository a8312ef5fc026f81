"""Progress of a running sync, why it stands still, and the environment its log lines belong to.

Counting costs next to nothing. Only the code that draws imports rich.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """The current step of a sync."""

    WAITING = "waiting"
    READING = "reading"
    LOADING = "loading"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a sync stands still.

    Attributes:
        reason: a clause for people.
        since: when it began, in seconds of the monotonic clock; None if that does not matter.
        until: when it ends, likewise; None if that is not known.
    """

    reason: str
    since: float | None = None
    until: float | None = None

    def describe(self, now: float) -> str:
        """Return the reason, with the seconds that it lasts by now, or will last."""
        if self.since is not None:
            return f"{self.reason} for {now - self.since:.0f} s"
        if self.until is not None and self.until > now:
            return f"{self.reason} in {math.ceil(self.until - now):,} s"
        return self.reason


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
        waits: what it waits for, by who waits; the last one is shown.
    """

    phase: Phase = Phase.WAITING
    pages: int = 0
    pages_expected: int | None = None
    bytes: int = 0
    bytes_expected: int | None = None
    entries: int = 0
    entries_expected: int | None = None
    waits: dict[object, Wait] = field(default_factory=dict)

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

    def wait(
        self, key: object, reason: str, *, since: float | None = None, seconds: float | None = None
    ) -> None:
        """Say why the sync stands still, until `resume`.

        Args:
            key: who waits.
            reason: a clause for people, in place of the last one of `key`.
            since: when the wait began, in seconds of the monotonic clock; None not to show it.
            seconds: how long it will last; None if that is not known.
        """
        self.resume(key)
        until = None if seconds is None else time.monotonic() + seconds
        self.waits[key] = Wait(reason, since, until)

    def resume(self, key: object) -> None:
        """Note that who waited goes on."""
        self.waits.pop(key, None)

    def begin_loading(self, entries: int) -> None:
        """Start loading a number of entries."""
        self.phase = Phase.LOADING
        self.entries_expected = entries


log_environment: ContextVar[str | None] = ContextVar("log_environment", default=None)
"""Environment of the current sync, for the log; the tasks that fetch pages inherit it."""

current: ContextVar[Progress | None] = ContextVar("progress", default=None)
"""Progress of the current sync, for what is called by other commands too."""
