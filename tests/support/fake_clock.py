"""A clock for the client that lets it wait as it does in earnest, in no time."""

from __future__ import annotations

import threading
from collections import deque

from mirror.api.rate_limit import Clock, RateLimiter


class FakeClock(Clock):
    """A clock that moves only when somebody waits, or a test says so.

    Attributes:
        time: what it shows.
        waits: seconds of each wait so far.
    """

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        """Return the time."""
        return self.time

    def wait(self, news: threading.Condition, seconds: float) -> None:  # noqa: ARG002 (no news)
        """Let time pass."""
        self.waits.append(seconds)
        self.time += seconds


def turns(budget: RateLimiter) -> list[float]:
    """Return when a budget gives its turns; the list grows."""
    given: list[float] = []

    class Sent(deque[float]):
        def append(self, at: float) -> None:
            """Note a turn, while the budget's lock is held."""
            super().append(at)
            given.append(at)

    budget._sent = Sent(budget._sent, budget._sent.maxlen)
    return given
