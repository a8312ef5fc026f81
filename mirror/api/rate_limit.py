"""Client-side rate limiting.

All requests of a fetch share one limiter. The API's headers and its 429 responses can lower the
rate, never raise it.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import anyio

from mirror.config.settings import ApiSettings
from mirror.errors import ApiUnavailable

_MINUTE = 60.0
_MAX_MINUTES = 10**12
_MIN_UNIX_TIME = 1e9  # as seconds from now this would be 31 years
_NEVER = -math.inf
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_INTEGER = re.compile(r"[0-9]{1,15}")


class Clock:
    """Monotonic clock and waits; tests replace it."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """Rate limit stated by a response; None where it states nothing usable.

    Attributes:
        limit: requests per minute.
        remaining: requests left until the reset.
        reset: seconds until the reset.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def parse_rate_limit_headers(headers: Mapping[str, str], unix_time: float) -> RateLimitHeaders:
    """Parse Laravel's headers (`X-RateLimit-…`) or those of the IETF draft (`RateLimit-…`).

    Args:
        headers: response headers, names in any case; the values are untrusted.
        unix_time: current time; a reset may be a Unix time as well as a number of seconds.
    """

    def header(name: str) -> str:
        value = headers.get(f"X-RateLimit-{name}") or headers.get(f"RateLimit-{name}") or ""
        return value.strip()

    limit, remaining = (
        int(value) if _INTEGER.fullmatch(value) else None
        for value in (header("Limit"), header("Remaining"))
    )
    reset = float(header("Reset")) if _NUMBER.fullmatch(header("Reset")) else None
    if reset is not None and reset >= _MIN_UNIX_TIME:
        reset = max(0.0, reset - unix_time)
    return RateLimitHeaders(limit or None, remaining, reset)


class _Block(NamedTuple):
    """A time before which no request may be sent, and the error if it is past the deadline."""

    until: float
    message: str
    hint: str


class RateLimiter:
    """Decides when a request may be sent; all its callers share one event loop.

    A request may be sent if fewer than `limit` were sent in the last 60 seconds, no 429 response
    asked to wait, and the API did not state that no requests remain until its reset.

    Args:
        settings: rate and deadline.
        clock: monotonic clock and waits.

    Attributes:
        limit: requests allowed in any 60 seconds, as known so far.
        deadline: end of the time allowed for the fetch, by the clock.
        in_flight: requests without a response yet.
    """

    def __init__(self, settings: ApiSettings, clock: Clock) -> None:
        self.limit = settings.rate
        self.deadline = math.inf
        self.in_flight = 0
        self._settings = settings
        self._clock = clock
        self._sent: deque[float] = deque(maxlen=settings.rate)
        self._tickets = 0
        self._tickets_when_halved = 0
        self._pause = _Block(_NEVER, "", "")
        self._server_remaining, self._server_reset, self._server_ticket = 0, _NEVER, 0

    def start(self) -> None:
        """Start the time allowed for the fetch."""
        self.deadline = self._clock.now() + self._settings.deadline

    def remaining_time(self) -> float:
        """Return the seconds left until the deadline.

        Raises:
            ApiUnavailable: none are left.
        """
        remaining = self.deadline - self._clock.now()
        if remaining <= 0:
            raise self.deadline_error()
        return remaining

    def deadline_error(self) -> ApiUnavailable:
        """Return the error for a fetch that did not end before the deadline."""
        return ApiUnavailable(
            f"the pull took longer than the {self._settings.deadline:g} seconds allowed",
            hint="try again later, or raise --deadline",
        )

    async def acquire(self) -> int:
        """Wait until a request may be sent.

        Returns:
            The ticket of the request, from 1. Call `release` when the request has ended.

        Raises:
            ApiUnavailable: the wait would end after the deadline.
        """
        while True:
            self.remaining_time()
            block = max([self._pause, *self._blocked_until()])
            wait = block.until - self._clock.now()
            if wait <= 0:
                break
            if block.until >= self.deadline:
                raise ApiUnavailable(block.message, hint=block.hint)
            await self._clock.sleep(wait)
        self._sent.append(self._clock.now())
        self._tickets += 1
        self._server_remaining -= 1
        self.in_flight += 1
        return self._tickets

    def _blocked_until(self) -> list[_Block]:
        """Return until when the rate, and the API's own count, allow no request."""
        blocks = []
        if len(self._sent) >= self.limit:
            blocks.append(self._rate_block(self._sent[-self.limit] + _MINUTE))
        if self._server_remaining <= 0:
            message = (
                f"the API at {self._settings.base_url} allows no more requests for now, and none "
                f"within the {self._settings.deadline:g} seconds allowed"
            )
            blocks.append(_Block(self._server_reset, message, "try again later"))
        return blocks

    def release(self, ticket: int) -> None:  # noqa: ARG002
        """Note that a request has ended, with or without a response."""
        self.in_flight -= 1

    def update_from_headers(self, ticket: int, headers: RateLimitHeaders) -> None:
        """Apply the rate limit that a response states; it can only lower the rate.

        If no more requests remain than are in flight besides this one, none is sent before the
        reset. Without a reset, none is sent until the oldest request of the last 60 seconds is
        60 seconds old.

        Args:
            ticket: of the request. Responses can overtake each other; the latest request counts.
            headers: of its response.
        """
        self.limit = min(self.limit, headers.limit or self.limit)
        if headers.remaining is None or ticket < self._server_ticket:
            return
        now = self._clock.now()
        window_end = _MINUTE + next((at for at in self._sent if at > now - _MINUTE), now)
        until = window_end if headers.reset is None else now + headers.reset
        if until >= self.deadline and headers.remaining:
            until = window_end  # while some requests remain, it is too early to give up
        self._server_remaining = headers.remaining - (self.in_flight - 1)
        self._server_reset, self._server_ticket = until, ticket

    def on_refused(self, ticket: int, wait: float, message: str) -> None:
        """Pause all threads after a 429 response.

        Several requests may be in flight when the API refuses them; the rate is halved once.

        Args:
            ticket: of the refused request.
            wait: seconds of the pause.
            message: of the error if the pause ends after the deadline.
        """
        pause = _Block(self._clock.now() + wait, message, "try again later")
        self._pause = max(self._pause, pause)
        if ticket > self._tickets_when_halved:
            self._tickets_when_halved = self._tickets
            self.limit = max(1, self.limit // 2)

    def check_feasible(self, requests: int) -> None:
        """Fail early if a number of further requests does not fit before the deadline.

        Raises:
            ApiUnavailable: it does not.
        """
        window = list(self._sent)[-self.limit :]
        # The API states the number, which may be too large for a float.
        minutes, place = divmod(len(window) + requests - 1, self.limit)
        start = window[place] if place < len(window) else self._clock.now()
        block = self._rate_block(start + _MINUTE * min(minutes, _MAX_MINUTES))
        if block.until >= self.deadline:
            raise ApiUnavailable(block.message, hint=block.hint)

    def _rate_block(self, until: float) -> _Block:
        """Return the block, and the error, of the rate."""
        option = "--rate or --deadline" if self.limit == self._settings.rate else "--deadline"
        message = (
            f"at {self.limit} requests a minute the list cannot be read within "
            f"{self._settings.deadline:g} seconds"
        )
        return _Block(until, message, f"raise {option}")
