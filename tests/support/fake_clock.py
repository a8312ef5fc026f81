"""A clock whose waits take no time."""

from __future__ import annotations

from collections import deque

from mirror.api.rate_limit import Clock, RateLimiter


class FakeClock(Clock):
    """A clock that advances only by waits, or by a test.

    Attributes:
        time: its current time, in seconds.
        waits: seconds of each wait so far.
    """

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.waits: list[float] = []

    def now(self) -> float:
        """Return the time."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        if seconds > 0:
            self.waits.append(seconds)
            self.time += seconds


class SkippingClock(Clock):
    """The real time, but waits are skipped."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Return monotonic seconds, plus those skipped."""
        return super().now() + self._skipped

    async def sleep(self, seconds: float) -> None:
        """Skip some seconds."""
        self._skipped += seconds


def record_sent(rate_limiter: RateLimiter) -> list[float]:
    """Return a list that grows by the time of each request that a rate limiter admits."""
    times: list[float] = []

    class Sent(deque[float]):
        def append(self, at: float) -> None:
            """Record a time."""
            super().append(at)
            times.append(at)

    rate_limiter._sent = Sent(rate_limiter._sent, rate_limiter._sent.maxlen)
    return times


def seconds_since_first(times: list[float]) -> list[float]:
    """Return times relative to the first one."""
    return [time - times[0] for time in times]
