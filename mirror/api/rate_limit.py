"""When the next question may be asked: the rate, what the API says of it, and the deadline.

All threads of a pull share one budget. It is lowered by what the API says, and never raised.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from mirror.config.settings import ApiSettings
from mirror.errors import ApiUnavailable

_MINUTE = 60.0
_FOREVER = 10**12  # minutes
_UNIX_TIMES = 1e9  # as seconds from now this would be 31 years
_NEVER = -math.inf
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_WHOLE = re.compile(r"[0-9]{1,15}")


class Clock:
    """Tells the time and lets it pass; a test has one of its own."""

    def now(self) -> float:
        """Return the seconds since some moment."""
        return time.monotonic()

    def wait(self, news: threading.Condition, seconds: float) -> None:
        """Wait for news, but no longer than so many seconds; the lock of `news` is held."""
        news.wait(min(seconds, threading.TIMEOUT_MAX))


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """What the headers of an answer say about the rate; None where they say nothing usable.

    Attributes:
        limit: requests a minute.
        remaining: requests that are left of them.
        reset: seconds until there are more.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def parse_rate_limit_headers(headers: Mapping[str, str], unix_time: float) -> RateLimitHeaders:
    """Read the headers that Laravel sends (`X-RateLimit-…`) or the IETF's draft (`RateLimit-…`).

    Args:
        headers: of an answer, with names of any case; their values are not to be trusted.
        unix_time: it is now; a reset may be given as a Unix time too.
    """

    def said(name: str) -> str:
        return (
            headers.get(f"X-RateLimit-{name}") or headers.get(f"RateLimit-{name}") or ""
        ).strip()

    limit, remaining = (
        int(text) if _WHOLE.fullmatch(text) else None for text in (said("Limit"), said("Remaining"))
    )
    reset = float(said("Reset")) if _NUMBER.fullmatch(said("Reset")) else None
    if reset is not None and reset >= _UNIX_TIMES:
        reset = max(0.0, reset - unix_time)
    return RateLimitHeaders(limit or None, remaining, reset)


class RateLimiter:
    """Gives out turns, to any thread.

    A turn is given if fewer than `limit` were in the last 60 seconds, if no pause is on, and if the
    API did not say that nothing remains until its reset.

    Args:
        settings: rate and deadline.
        clock: tells the time, and waits.

    Attributes:
        limit: requests allowed in any 60 seconds, as it is now known.
        ends: when the pull must be over, by the clock.
        in_flight: questions that were not answered yet.
    """

    def __init__(self, settings: ApiSettings, clock: Clock) -> None:
        self.limit = settings.rate
        self.ends = math.inf
        self.in_flight = 0
        self._settings = settings
        self._clock = clock
        self._news = threading.Condition()
        self._sent: deque[float] = deque(maxlen=settings.rate)
        self._turns = 0
        self._turns_when_halved = 0
        self._pause = (_NEVER, "")
        self._spare, self._spare_until, self._spare_since = 0, _NEVER, 0

    def begin(self) -> None:
        """Let the time that is allowed begin."""
        self.ends = self._clock.now() + self._settings.deadline

    def left(self) -> float:
        """Return the seconds left for the pull, or give up."""
        left = self.ends - self._clock.now()
        if left <= 0:
            raise ApiUnavailable(
                f"the pull took longer than the {self._settings.deadline:g} seconds allowed",
                hint="try again later, or raise --deadline",
            )
        return left

    def take(self, over: threading.Event, not_before: float = _NEVER) -> int:
        """Wait for a turn.

        Args:
            over: is set when the answer is not wanted any more; see `wake`.
            not_before: the time to wait for in any case.

        Returns:
            The number of the turn, from 1; `done` gives it back.

        Raises:
            Abandoned: it is over.
            ApiUnavailable: the wait would end after the deadline.
        """
        with self._news:
            while True:
                if over.is_set():
                    raise Cancelled
                self.left()
                until, why = max((not_before, self._too_slow()), self._pause, *self._holds())
                wait = until - self._clock.now()
                if wait <= 0:
                    break
                if until >= self.ends:
                    raise ApiUnavailable(why)
                self._clock.wait(self._news, wait)
            self._sent.append(self._clock.now())
            self._turns += 1
            self._spare -= 1
            self.in_flight += 1
            return self._turns

    def _holds(self) -> list[tuple[float, str]]:
        """Until when the rate and the API's own count let nobody ask, and how to say so."""
        holds = []
        if len(self._sent) >= self.limit:
            holds.append((self._sent[-self.limit] + _MINUTE, self._too_slow()))
        if self._spare <= 0:
            why = (
                f"the API at {self._settings.base_url} allows no more requests for now, and none "
                f"within the {self._settings.deadline:g} seconds allowed; try again later"
            )
            holds.append((self._spare_until, why))
        return holds

    def done(self) -> None:
        """A question has ended, with an answer or without."""
        with self._news:
            self.in_flight -= 1

    def heard(self, turn: int, quota: RateLimitHeaders) -> None:
        """Keep to what an answer says about the rate; it may only lower it.

        If no more requests remain than are in flight besides it, nobody asks before the reset, or
        without one before the oldest request of the last 60 seconds is 60 seconds old.
        """
        with self._news:
            self.limit = min(self.limit, quota.limit or self.limit)
            if quota.remaining is None or turn < self._spare_since:
                return  # answers overtake each other; what was asked last counts
            now = self._clock.now()
            full_again = _MINUTE + next((at for at in self._sent if at > now - _MINUTE), now)
            until = full_again if quota.reset is None else now + quota.reset
            if until >= self.ends and quota.remaining:
                until = full_again  # while something remains, it is too early to give up
            self._spare = quota.remaining - (self.in_flight - 1)
            self._spare_until, self._spare_since = until, turn
            self._news.notify_all()

    def refused(self, turn: int, wait: float, why: str) -> None:
        """Pause after a 429, all threads, and halve the budget once for a wave of them.

        Args:
            turn: of the question that was refused.
            wait: seconds to ask nothing.
            why: what to say if that ends after the deadline.
        """
        with self._news:
            self._pause = max(self._pause, (self._clock.now() + wait, why))
            if turn > self._turns_when_halved:
                self._turns_when_halved = self._turns
                self.limit = max(1, self.limit // 2)

    def expect(self, questions: int) -> None:
        """Give up at once if so many more questions cannot be asked in the time that is left."""
        with self._news:
            last = list(self._sent)[-self.limit :]
            # The number is the API's, and may be too large for a float.
            minutes, place = divmod(len(last) + questions - 1, self.limit)
            begins = last[place] if place < len(last) else self._clock.now()
            if begins + _MINUTE * min(minutes, _FOREVER) >= self.ends:
                raise ApiUnavailable(self._too_slow())

    def wake(self) -> None:
        """Let whoever waits for a turn look again whether it is over."""
        with self._news:
            self._news.notify_all()

    def _too_slow(self) -> str:
        helps = "--rate or --deadline" if self.limit == self._settings.rate else "--deadline"
        return (
            f"at {self.limit} requests a minute the list cannot be read within "
            f"{self._settings.deadline:g} seconds; raise {helps}"
        )
