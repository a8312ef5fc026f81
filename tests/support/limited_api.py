"""APIs with a rate limiter of their own, and a fetch from them, in simulated time."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio

from mirror.api.rate_limit import Clock, RateLimiter, parse_rate_limit_headers
from mirror.errors import ApiUnavailable
from tests.support.api_client import settings

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Advances the time of its event loop instead of waiting."""

    time = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Skip the time until the next timer."""
        assert timeout is not None, "all tasks wait, and none for a time"
        self.time += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers take no time."""

    def __init__(self) -> None:
        self._simulated = _Selector()
        super().__init__(self._simulated)

    def time(self) -> float:
        """Return the simulated time."""
        return self._simulated.time


class LoopClock(Clock):
    """The time of the event loop."""

    def now(self) -> float:
        """Return the time."""
        return asyncio.get_running_loop().time()


def run_simulated(function: Callable[[], Awaitable[T]]) -> T:
    """Run an asynchronous function in simulated time, which begins at 0."""
    return anyio.run(function, backend_options={"loop_factory": _Loop})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a limiter decides about a request; the seconds of `Retry-After`, if it sends one."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None


class Limiter(Protocol):
    """The rate limiter of an API."""

    def __call__(self, now: float) -> Reply:
        """Decide about a request at a time, in seconds."""


class NginxLimiter:
    """The leaky bucket of nginx's `limit_req` with `nodelay`.

    The arithmetic is that of `ngx_http_limit_req_lookup`, in milliseconds and thousandths of a
    request.

    Args:
        rate: requests per minute.
        burst: requests allowed beyond the rate.
        status: of a refusal; 503 is nginx's default.
    """

    def __init__(self, rate: float, burst: int, status: int) -> None:
        self._rate, self._burst, self._status = int(rate * 1000 / 60), burst * 1000, status
        self._excess, self._last = -1000, 0

    def __call__(self, now: float) -> Reply:
        """Decide about a request."""
        time = int(now * 1000)
        excess = max(0, self._excess - self._rate * (time - self._last) // 1000 + 1000)
        if excess > self._burst:
            return Reply(self._status)
        self._excess, self._last = excess, time
        return Reply()


class WindowLimiter:
    """A number of requests in each window of a minute, as Laravel's `throttle` counts them.

    Args:
        limit: requests per window.
        is_silent: whether it states nothing: neither `X-RateLimit-…` nor `Retry-After`.
    """

    def __init__(self, limit: int, *, is_silent: bool = False) -> None:
        self._limit, self._is_silent = limit, is_silent
        self._began, self._count = -math.inf, 0

    def __call__(self, now: float) -> Reply:
        """Decide about a request."""
        if now >= self._began + 60:
            self._began, self._count = now, 0
        is_refused = self._count >= self._limit
        self._count += not is_refused
        status = 429 if is_refused else 200
        if self._is_silent:
            return Reply(status)
        remaining = str(self._limit - self._count)
        headers = {"X-RateLimit-Limit": str(self._limit), "X-RateLimit-Remaining": remaining}
        return Reply(status, headers, math.ceil(self._began + 60 - now) if is_refused else None)


@dataclass(slots=True)
class Fetch:
    """A fetch of many pages, as the API client does it.

    Attributes:
        seconds: how long it took.
        refused: number of refused requests.
        error: the error that ended it, if any.
    """

    seconds: float = 0.0
    refused: int = 0
    error: BaseException | None = None


def fetch_pages(limiter: Limiter, pages: int, **options: Any) -> Fetch:
    """Fetch pages from an API in simulated time, as `fetch_side_by_side` does in each process."""
    (fetch,) = fetch_side_by_side(1, limiter, pages, **options)
    return fetch


def fetch_side_by_side(processes: int, limiter: Limiter, pages: int, **options: Any) -> list[Fetch]:
    """Fetch in processes that begin at once and know nothing of each other, in simulated time.

    Args:
        processes: their number.
        limiter: that of the API, for all of them together.
        pages: number of pages of each.
        options: those of `_fetch`.
    """
    fetches = [Fetch() for _ in range(processes)]

    async def fetch_all() -> None:
        async with anyio.create_task_group() as tasks:
            for fetch in fetches:
                tasks.start_soon(partial(_fetch, fetch, limiter, pages, **options))

    run_simulated(fetch_all)
    return fetches


async def _fetch(
    fetch: Fetch,
    limiter: Limiter,
    pages: int,
    *,
    latency: float = 0.2,
    parallel: int = 4,
    **fields: Any,
) -> None:
    """Fetch pages: the first one, and then the others in parallel.

    Args:
        fetch: records how it went.
        limiter: that of the API.
        pages: number of pages.
        latency: seconds of a response.
        parallel: number of parallel requests.
        fields: settings of the client, such as `rate`.
    """
    clock = LoopClock()
    remaining = iter(range(pages - 1))

    async def get(rate_limiter: RateLimiter) -> None:
        while True:
            ticket = await rate_limiter.acquire()
            await anyio.sleep(latency / 2)
            reply = limiter(clock.now())
            await anyio.sleep(latency / 2)
            headers = parse_rate_limit_headers(reply.headers, 0)
            rate_limiter.update_from_headers(ticket, headers)
            rate_limiter.release(ticket)
            if reply.status == 200:
                rate_limiter.on_success(ticket)
                return
            fetch.refused += 1
            if not rate_limiter.on_refused(ticket, reply.retry_after, "refused"):
                raise ApiUnavailable("refused finally")

    async def get_remaining(rate_limiter: RateLimiter) -> None:
        for _ in remaining:
            await get(rate_limiter)

    rate_limiter = RateLimiter(settings("https://host.example/api/v1", **fields), clock)
    rate_limiter.start()
    try:
        await get(rate_limiter)
        async with anyio.create_task_group() as tasks:
            for _ in range(parallel):
                tasks.start_soon(get_remaining, rate_limiter)
    except* ApiUnavailable as errors:
        fetch.error = errors.exceptions[0]  # several may find out at once
    fetch.seconds = clock.now()
