"""Client-side rate limiting.

All requests of a fetch share one limiter, in one event loop. The API's headers lower the rate; its
refusals make the limiter space the requests.
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
from mirror.progress import Progress

_MINUTE = 60.0
_MAX_MINUTES = 10**12
_MIN_UNIX_TIME, _MIN_MILLISECONDS = 1e9, 1e11  # as seconds from now they would be 31 years and more
_NEVER = -math.inf
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_INTEGER = re.compile(r"[0-9]{1,15}")
_SLOWEST_PACE = 0.95  # requests a minute; the window of most limiters is a minute
_MIN_PAUSE = 0.5  # seconds, after a refusal that states less

LONG_WAIT = 1.0
"""Seconds; longer waits are reported."""
_STEPS = 25  # good responses until a pace that was refused is reached again


class Clock:
    """Monotonic clock and waits; tests replace it."""

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait some seconds."""
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
        unix_time: current time of the server.
    """

    def header(name: str) -> str:
        value = headers.get(f"X-RateLimit-{name}") or headers.get(f"RateLimit-{name}") or ""
        return value.strip()

    limit, remaining = (
        int(value) if _INTEGER.fullmatch(value) else None
        for value in (header("Limit"), header("Remaining"))
    )
    reset = header("Reset")
    wait = seconds_until(float(reset), unix_time) if _NUMBER.fullmatch(reset) else None
    return RateLimitHeaders(limit or None, remaining, wait)


def seconds_until(number: float, unix_time: float) -> float:
    """Return the seconds that a number of a header means.

    Args:
        number: seconds from now, or a Unix time in seconds or milliseconds.
        unix_time: current time of the server.
    """
    if number >= _MIN_MILLISECONDS:
        number /= 1000
    return max(0.0, number - unix_time) if number >= _MIN_UNIX_TIME else number


class _Block(NamedTuple):
    """A time before which no request may be sent, and the error if it is past the deadline."""

    until: float
    message: str
    hint: str


class RateLimiter:
    """Decides when a request may be sent.

    A request may be sent if fewer than `limit` were sent in the last 60 seconds, and the API did
    not state that no requests remain until its reset.

    A refusal (429, or 503 without `Retry-After`) shows that the API's own limiter is stricter.
    From then on requests are paced: sent one at a time, `60 / pace` seconds apart. The pace is
    adapted like the congestion window of TCP (RFC 5681). A refusal halves it. A good response
    doubles it while it is below half the pace that was last refused after good responses; above
    that, a good response adds a constant.

    Args:
        settings: rate and deadline.
        clock: monotonic clock and waits.
        progress: gets long waits.

    Attributes:
        limit: requests allowed in any 60 seconds, as known so far.
        deadline: end of the time allowed for the fetch, by the clock.
    """

    def __init__(
        self, settings: ApiSettings, clock: Clock, progress: Progress | None = None
    ) -> None:
        self.limit = settings.rate
        self.deadline = math.inf
        self._settings = settings
        self._clock = clock
        self._progress = progress or Progress()
        self._queue = anyio.Lock()  # it is fair: requests are sent in the order of `acquire`
        self._changed: anyio.Event | None = None  # set while the first of the queue waits
        self._sent: deque[float] = deque(maxlen=settings.rate)
        self._tickets = 0
        self._tickets_in_flight: set[int] = set()
        self._pause = _Block(_NEVER, "", "")
        self._pace = math.inf  # requests a minute
        self._pace_worked = True  # it had a good response
        self._additive_from = math.inf  # the pace from which on a good response adds a constant
        self._tickets_when_refused = 0
        self._server_remaining, self._server_reset, self._server_ticket = 0, _NEVER, 0

    @property
    def in_flight(self) -> int:
        """Number of requests without a response yet."""
        return len(self._tickets_in_flight)

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
        """Wait until a request may be sent, behind those that wait already.

        Returns:
            The ticket of the request, from 1. Call `release` when the request has ended.

        Raises:
            ApiUnavailable: the wait would end after the deadline.
        """
        async with self._queue:
            while (wait := self._wait_time()) > 0:
                await self._wait(wait)
        self._sent.append(self._clock.now())
        self._tickets += 1
        self._server_remaining -= 1
        self._tickets_in_flight.add(self._tickets)
        return self._tickets

    def release(self, ticket: int) -> None:
        """Note that a request has ended, with or without a response."""
        self._tickets_in_flight.remove(ticket)
        self._notify()

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
        self._notify()

    def on_refused(self, ticket: int, wait: float | None, message: str) -> bool:
        """Pause all requests after a refusal, and pace them from then on.

        Several requests may be in flight when the API refuses them; the pace is halved once.

        A refusal says that a request came too early, not that it failed, so it uses up none of the
        request's attempts: until the pace is found, there may be more refusals than attempts. They
        end all the same, because each one lowers the pace. If a request that was alone for more
        than a minute is refused, more waiting is unlikely to help.

        Args:
            ticket: of the refused request.
            wait: seconds of the pause, if the API stated them.
            message: of the error if the pause ends after the deadline.

        Returns:
            Whether the request should be sent again; `acquire` waits until then.
        """
        if ticket > self._tickets_when_refused:
            self._tickets_when_refused = self._tickets
            pace = min(self._pace, self.limit)
            if pace <= _SLOWEST_PACE and not self._pace_worked:
                return False
            if self._pace_worked:
                self._additive_from = pace / 2
            self._pace, self._pace_worked = max(_SLOWEST_PACE, pace / 2), False
        until = self._clock.now() + max(wait or 0.0, _MINUTE / self._pace, _MIN_PAUSE)
        self._pause = max(self._pause, _Block(until, message, "try again later"))
        self._notify()
        return True

    def on_success(self, ticket: int) -> None:
        """Raise the pace after a good response, if requests are paced.

        Args:
            ticket: of the request. Those sent before the last refusal say nothing about the pace.
        """
        if not self._is_paced or ticket <= self._tickets_when_refused:
            return
        if self._pace < self._additive_from:
            self._pace = min(2 * self._pace, self._additive_from)
        else:
            self._pace += self._additive_from / _STEPS
        self._pace_worked = True
        self._notify()

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

    @property
    def _is_paced(self) -> bool:
        return self._pace < math.inf

    def _wait_time(self) -> float:
        """Return the seconds until a request may be sent, as far as that is known."""
        self.remaining_time()
        if self._is_paced and any(t > self._tickets_when_refused for t in self._tickets_in_flight):
            return math.inf  # until it is released; those sent before the refusal may hang
        block = max(self._blocks())
        wait = block.until - self._clock.now()
        if wait > 0 and block.until >= self.deadline:
            raise ApiUnavailable(block.message, hint=block.hint)
        return wait

    def _blocks(self) -> list[_Block]:
        """Return until when a pause, the pace, the rate and the API's count allow no request."""
        blocks = [self._pause]
        if self._is_paced:
            interval = _MINUTE / min(self._pace, self.limit)
            blocks.append(self._pause._replace(until=self._sent[-1] + interval))
        if len(self._sent) >= self.limit:
            blocks.append(self._rate_block(self._sent[-self.limit] + _MINUTE))
        if self._server_remaining <= 0:
            message = (
                f"the API at {self._settings.base_url} allows no more requests for now, and none "
                f"within the {self._settings.deadline:g} seconds allowed"
            )
            blocks.append(_Block(self._server_reset, message, "try again later"))
        return blocks

    async def _wait(self, seconds: float) -> None:
        """Wait some seconds, or until something changes."""
        self._changed = changed = anyio.Event()
        if seconds == math.inf:
            await changed.wait()
            return

        async def sleep() -> None:
            await self._clock.sleep(seconds)
            changed.set()

        if seconds > LONG_WAIT:
            self._progress.wait(self, "rate limit: goes on", seconds=seconds)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sleep)
                await changed.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._progress.resume(self)

    def _notify(self) -> None:
        """Wake the request that waits, so that it computes its wait again."""
        if self._changed is not None:
            self._changed.set()

    def _rate_block(self, until: float) -> _Block:
        """Return the block, and the error, of the rate."""
        option = "--rate or --deadline" if self.limit == self._settings.rate else "--deadline"
        message = (
            f"at {self.limit} requests a minute the list cannot be read within "
            f"{self._settings.deadline:g} seconds"
        )
        return _Block(until, message, f"raise {option}")
