"""The rate limiter: never more requests than the API allows, and no wait without an end."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest

from mirror.api.rate_limit import (
    Clock,
    RateLimiter,
    RateLimitHeaders,
    parse_rate_limit_headers,
)
from mirror.errors import ApiUnavailable
from tests.support.api_client import settings
from tests.support.fake_clock import FakeClock, record_sent, seconds_since_first
from tests.support.limited_api import (
    Limiter,
    LoopClock,
    NginxLimiter,
    Reply,
    WindowLimiter,
    fetch_pages,
    fetch_side_by_side,
    run_simulated,
)

pytestmark = pytest.mark.anyio

NOW = 1_700_000_000.0
HOSTILE = [
    *("", " ", "0", "-1", "+5", "1.5", "1e3", "NaN", "inf", "-inf", "many", "0x10", "1_000"),
    *("\u0663", "100, 100;w=60", "9" * 16, "9" * 5000, "null", "1\0", "-0"),
]


class StartedLimiter(RateLimiter):
    """A rate limiter whose time has begun."""

    def __init__(self, clock: Clock, **fields: Any) -> None:
        super().__init__(settings("https://host.example/api/v1", **fields), clock)
        self.start()


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that the client uses."""
    return "asyncio"


async def test_a_burst_is_allowed_and_then_the_window_decides(clock: FakeClock) -> None:
    """As many requests at once as the rate allows, and the next when those are a minute old."""
    limiter = StartedLimiter(clock, rate=3)
    sent = record_sent(limiter)
    for _ in range(3):
        await limiter.acquire()
        clock.time += 10
    for _ in range(4):
        await limiter.acquire()
    assert seconds_since_first(sent) == [0, 10, 20, 60, 70, 80, 120]


@pytest.mark.parametrize("rate", [1, 7, 20])
def test_in_no_minute_are_there_more_than_the_rate(rate: int) -> None:
    """Whatever tasks send when, one request more than the rate takes over a minute."""

    async def send_all() -> list[float]:
        limiter = StartedLimiter(LoopClock(), rate=rate, deadline=1e6)
        sent = record_sent(limiter)

        async def send(seconds: float) -> None:
            for _ in range(25):
                ticket = await limiter.acquire()
                await anyio.sleep(seconds)
                limiter.release(ticket)

        async with anyio.create_task_group() as tasks:
            for seconds in range(8):
                tasks.start_soon(send, float(seconds))
        return sent

    sent = run_simulated(send_all)
    assert len(sent) == 200
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[rate:], strict=False))
    assert all(later >= earlier for earlier, later in pairwise(sent))


async def test_a_wait_past_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """If the rate alone leads past the deadline, that is an error at once."""
    limiter = StartedLimiter(clock, rate=1, deadline=60)
    await limiter.acquire()
    with pytest.raises(ApiUnavailable, match=r"at 1 requests a minute.*raise --rate or --deadline"):
        await limiter.acquire()
    assert clock.waits == []
    clock.time = limiter.deadline
    with pytest.raises(ApiUnavailable, match="longer than the 60 seconds allowed"):
        limiter.remaining_time()


async def test_a_cancelled_request_does_not_wait() -> None:
    """A wait that would take a minute ends with the cancellation, and leaves no trace."""
    limiter = StartedLimiter(Clock(), rate=1)
    await limiter.acquire()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(limiter.acquire)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert limiter.in_flight == 1


def test_requests_are_sent_in_order() -> None:
    """Those that wait longest are sent first, even if they are woken in between."""

    async def send_all() -> list[int]:
        limiter, order = StartedLimiter(LoopClock(), rate=2), []

        async def send(number: int) -> None:
            await anyio.sleep(number)
            ticket = await limiter.acquire()
            order.append(number)
            await anyio.sleep(25)
            limiter.release(ticket)

        async with anyio.create_task_group() as tasks:
            for number in reversed(range(7)):
                tasks.start_soon(send, number)
        return order

    assert run_simulated(send_all) == list(range(7))


def test_a_wait_is_computed_again_when_a_response_shortens_it() -> None:
    """The last response counts, also for a request that waits because of an earlier one."""

    async def send() -> float:
        clock = LoopClock()
        limiter = StartedLimiter(clock)
        first, second = await limiter.acquire(), await limiter.acquire()
        limiter.update_from_headers(first, RateLimitHeaders(remaining=0, reset=50))

        async def respond() -> None:
            await anyio.sleep(20)
            limiter.update_from_headers(second, RateLimitHeaders(remaining=9, reset=50))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(respond)
            await limiter.acquire()
        return clock.now()

    assert run_simulated(send) == 20


@pytest.mark.parametrize(("stated", "limit"), [(3, 3), (5, 5), (6, 5), (10**14, 5), (None, 5)])
def test_the_limit_is_only_lowered(clock: FakeClock, stated: int | None, limit: int) -> None:
    """What the API allows beyond the configured rate is not used."""
    limiter = StartedLimiter(clock, rate=5)
    limiter.update_from_headers(1, RateLimitHeaders(limit=stated))
    assert limiter.limit == limit


async def test_no_request_is_sent_when_no_more_remain_than_are_in_flight(clock: FakeClock) -> None:
    """The API may not have counted the requests in flight; the rest is left to them."""
    limiter = StartedLimiter(clock)
    sent = record_sent(limiter)
    tickets = [await limiter.acquire() for _ in range(4)]
    limiter.update_from_headers(tickets[0], RateLimitHeaders(remaining=5, reset=20))
    limiter.release(tickets[0])
    assert [await limiter.acquire(), await limiter.acquire()] == [
        5,
        6,
    ]  # 3 are in flight, so 2 are free
    await limiter.acquire()
    assert seconds_since_first(sent) == [0] * 6 + [20]
    await limiter.acquire()
    assert clock.waits == [20]


async def test_without_a_reset_the_window_is_waited_for(clock: FakeClock) -> None:
    """The oldest request of the last minute decides when there are more."""
    limiter = StartedLimiter(clock)
    await limiter.acquire()
    clock.time += 45
    limiter.update_from_headers(await limiter.acquire(), RateLimitHeaders(remaining=0))
    await limiter.acquire()
    assert clock.waits == [15]


async def test_the_latest_request_decides_what_remains(clock: FakeClock) -> None:
    """Responses overtake each other; an older count is ignored."""
    limiter = StartedLimiter(clock)
    first, second = await limiter.acquire(), await limiter.acquire()
    limiter.update_from_headers(second, RateLimitHeaders(remaining=50, reset=30))
    limiter.update_from_headers(first, RateLimitHeaders(remaining=0, reset=30))
    await limiter.acquire()
    assert clock.waits == []


@pytest.mark.parametrize("reset", [900.0, 86400.0, 1e18, float("inf")])
async def test_a_reset_after_the_deadline(clock: FakeClock, reset: float) -> None:
    """If nothing remains, the fetch fails and says so; if something does, it goes on with that."""
    limiter = StartedLimiter(clock)
    for remaining in (1, 0):
        headers = RateLimitHeaders(remaining=remaining, reset=reset)
        ticket = await limiter.acquire()
        limiter.update_from_headers(ticket, headers)
        limiter.release(ticket)
    with pytest.raises(ApiUnavailable, match=r"allows no more requests .*; try again later"):
        await limiter.acquire()
    assert clock.waits == []
    limiter = StartedLimiter(clock)
    tickets = [await limiter.acquire() for _ in range(3)]
    limiter.update_from_headers(tickets[0], RateLimitHeaders(remaining=1, reset=reset))
    await limiter.acquire()
    assert clock.waits == [60]


# Refusals


async def test_a_refusal_pauses_all_requests(clock: FakeClock) -> None:
    """The longest pause counts; a later, shorter one does not end it."""
    limiter = StartedLimiter(clock)
    wave = [await limiter.acquire() for _ in range(3)]
    for ticket, wait in zip(wave, (30, 40, 5), strict=True):
        assert limiter.on_refused(ticket, wait, "no")
        limiter.release(ticket)
    await limiter.acquire()
    assert sum(clock.waits) == 40


@pytest.mark.parametrize("rate", [100, 1000])
async def test_requests_refused_together_halve_the_pace_once(clock: FakeClock, rate: int) -> None:
    """The next refusal halves it again. A pause that is not stated takes at least 0.5 s."""
    limiter = StartedLimiter(clock, rate=rate)
    sent = record_sent(limiter)
    wave = [await limiter.acquire() for _ in range(4)]
    for ticket in wave:
        limiter.on_refused(ticket, None, "no")
        limiter.release(ticket)
    for _ in range(2):
        ticket = await limiter.acquire()
        for refused in (*wave, ticket):
            limiter.on_refused(refused, None, "no")
        limiter.release(ticket)
    await limiter.acquire()
    pauses = [later - earlier for earlier, later in pairwise(sent[3:])]
    assert pauses == pytest.approx([max(0.5, 60 / rate * factor) for factor in (2, 4, 8)])
    assert limiter.limit == rate


def test_after_a_refusal_requests_are_sent_one_at_a_time() -> None:
    """The next one is sent when the one before has ended, however long that takes.

    Only those that were sent before the refusal are not waited for.
    """

    async def send_all() -> list[float]:
        limiter = StartedLimiter(LoopClock())
        await limiter.acquire()
        sent = record_sent(limiter)
        ticket = await limiter.acquire()
        limiter.on_refused(ticket, 3, "no")
        limiter.release(ticket)

        async def send() -> None:
            ticket = await limiter.acquire()
            await anyio.sleep(7)
            limiter.release(ticket)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(send)
        return sent

    assert run_simulated(send_all) == [0, 3, 10, 17, 24]


async def test_good_responses_raise_the_pace_again(clock: FakeClock) -> None:
    """After several refusals first quickly, then slowly, and never above the limit."""
    limiter = StartedLimiter(clock)
    sent = record_sent(limiter)
    for _ in range(4):  # 100 requests a minute are lowered to 6.25
        ticket = await limiter.acquire()
        limiter.on_refused(ticket, None, "no")
        limiter.release(ticket)
    for _ in range(100):
        ticket = await limiter.acquire()
        limiter.on_success(ticket)
        limiter.release(ticket)
    pauses = [later - earlier for earlier, later in pairwise(sent[4:])]
    assert pauses[:4] == pytest.approx([60 / 12.5, 60 / 25, 60 / 50, 60 / 52])
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[-1] == pytest.approx(60 / 100)


async def test_requests_sent_before_a_refusal_do_not_raise_the_pace(clock: FakeClock) -> None:
    """Their good responses say nothing about the pace."""
    limiter = StartedLimiter(clock)
    tickets = [await limiter.acquire() for _ in range(4)]
    limiter.on_refused(tickets[0], None, "no")
    for ticket in tickets:
        limiter.on_success(ticket)
        limiter.release(ticket)
    await limiter.acquire()
    limiter.release(5)
    await limiter.acquire()
    assert clock.waits == pytest.approx([1.2, 1.2])


def test_a_refusal_at_the_slowest_pace_is_final() -> None:
    """An API that refuses everything is given up after little more than two minutes."""
    fetch = fetch_pages(lambda _: Reply(429), pages=9)
    assert str(fetch.error) == "refused finally"
    assert 120 < fetch.seconds < 150
    assert fetch.refused == 8


async def test_a_pause_past_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """The fetch fails at once, with the message of the API."""
    limiter = StartedLimiter(clock)
    ticket = await limiter.acquire()
    limiter.on_refused(ticket, 1e9, "the API answered 429")
    limiter.release(ticket)
    with pytest.raises(ApiUnavailable, match=r"^the API answered 429; try again later$"):
        await limiter.acquire()
    assert clock.waits == []


# Limiters of APIs, in simulated time


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("burst", [0, 1, 5])
@pytest.mark.parametrize("latency", [0.01, 0.2, 1])
def test_nginx_one_request_a_second(status: int, burst: int, latency: float) -> None:
    """A list of 75 pages takes at most two minutes with the default settings."""
    fetch = fetch_pages(NginxLimiter(60, burst, status), 75, latency=latency)
    assert fetch.error is None
    assert fetch.seconds <= 120
    assert fetch.refused <= 8


@pytest.mark.parametrize("seed", range(60))
def test_nginx_with_any_limit(seed: int) -> None:
    """The list is fetched in a time near the shortest one, with few refusals."""
    chance = random.Random(seed)  # noqa: S311 (no cryptography)
    limit = 4 * 750 ** chance.random()  # requests a minute, up to 3,000
    burst = chance.choice([0, 1, 2, 5, 20, 50])
    latency = 0.002 * 1000 ** chance.random()
    rate = chance.choice([10, 60, 100, 300, 1000])
    parallel = max(2, min(32, rate // 30))
    pages = max(2, min(300, int(min(limit, rate) * chance.uniform(0.7, 3))))
    limiter = NginxLimiter(limit, burst, chance.choice([429, 503]))
    fetch = fetch_pages(limiter, pages, latency=latency, parallel=parallel, rate=rate)
    assert fetch.error is None
    assert fetch.seconds <= 30 + 1.6 * pages * max(latency, 60 / min(limit, rate))
    assert fetch.refused <= parallel + 8 + pages / 8


def test_a_window_that_is_stated() -> None:
    """If nobody else uses it, no request is refused, and the second window is used at once."""
    fetch = fetch_pages(WindowLimiter(60), 75)
    assert (fetch.error, fetch.refused) == (None, 0)
    assert fetch.seconds < 62


def test_a_window_that_others_used_up() -> None:
    """`Retry-After` is obeyed, and after it no request is refused."""
    limiter = WindowLimiter(60)
    for _ in range(60):
        limiter(0)
    fetch = fetch_pages(limiter, 30)
    assert (fetch.error, fetch.refused) == (None, 1)
    assert fetch.seconds < 120


def test_a_window_that_is_not_stated() -> None:
    """The end of the minute is waited for, though the API states nothing."""
    limiter = WindowLimiter(60, is_silent=True)
    fetch = fetch_pages(limiter, 75)
    assert fetch.error is None
    assert fetch.seconds < 150
    assert fetch.refused <= 10


@pytest.mark.parametrize(
    ("limiter", "seconds", "refused"),
    [
        pytest.param(lambda: WindowLimiter(60), 80, 10, id="window"),
        pytest.param(lambda: WindowLimiter(60, is_silent=True), 125, 30, id="silent window"),
        pytest.param(lambda: NginxLimiter(60, 10, 429), 170, 35, id="nginx, 429"),
        pytest.param(lambda: NginxLimiter(60, 10, 503), 170, 35, id="nginx, 503"),
    ],
)
def test_processes_that_share_a_limit(
    limiter: Callable[[], Limiter], seconds: float, refused: int
) -> None:
    """Four processes that share the limit of an account all complete, though they are refused.

    The 100 pages take 61 seconds at least. With a quarter of the rate for each, a window refuses
    nothing.
    """
    fetches = fetch_side_by_side(4, limiter(), 25)
    assert [fetch.error for fetch in fetches] == [None] * 4
    assert max(fetch.seconds for fetch in fetches) <= seconds
    assert 0 < sum(fetch.refused for fetch in fetches) <= refused
    divided = fetch_side_by_side(4, limiter(), 25, rate=15)
    assert [fetch.error for fetch in divided] == [None] * 4
    if isinstance(limiter(), WindowLimiter):
        assert [fetch.refused for fetch in divided] == [0] * 4


def test_an_api_without_a_limiter() -> None:
    """Nothing slows a fetch that the rate allows."""
    fetch = fetch_pages(lambda _: Reply(), 500, parallel=32, rate=1000)
    assert (fetch.error, fetch.refused) == (None, 0)
    assert fetch.seconds < 4


# Headers that state a limit


async def test_a_rate_that_the_api_lowered_is_not_blamed_on_the_setting(
    clock: FakeClock,
) -> None:
    """Where the API allows no more, raising --rate would not help."""
    limiter = StartedLimiter(clock, rate=100, deadline=61)
    limiter.update_from_headers(await limiter.acquire(), RateLimitHeaders(limit=2))
    limiter.check_feasible(3)
    with pytest.raises(ApiUnavailable, match=r"at 2 requests a minute .*; raise --deadline"):
        limiter.check_feasible(4)


RESETS = {
    "0": 0,
    "30": 30,
    "1.5": 1.5,
    str(int(NOW) + 30): 30,
    str(int(NOW) - 30): 0,
    f"{int(NOW) + 30}000": 30,
    "9" * 400: float("inf"),
}


@pytest.mark.parametrize("prefix", ["X-RateLimit-", "RateLimit-"])
def test_headers_of_both_kinds_are_parsed(prefix: str) -> None:
    """Laravel states a time, the IETF's draft a number of seconds; most responses state nothing."""
    assert parse_rate_limit_headers({}, NOW) == RateLimitHeaders()
    for reset, seconds in RESETS.items():
        headers = {f"{prefix}Limit": " 100 ", f"{prefix}Remaining": "0", f"{prefix}Reset": reset}
        assert parse_rate_limit_headers(headers, NOW) == RateLimitHeaders(100, 0, seconds)


@pytest.mark.parametrize("value", HOSTILE)
async def test_unusable_headers_are_ignored(clock: FakeClock, value: str) -> None:
    """Whatever a header contains, nothing breaks and no wait passes the deadline."""
    for name in ("Limit", "Remaining", "Reset"):
        headers = parse_rate_limit_headers({f"X-RateLimit-{name}": value}, NOW)
        assert headers.limit is None or (name == "Limit" and headers.limit > 0)
        assert headers.remaining is None or headers.remaining >= 0
        limiter = StartedLimiter(clock)
        ticket = await limiter.acquire()
        limiter.update_from_headers(ticket, headers)
        limiter.release(ticket)
        await limiter.acquire()
        assert 0 < limiter.limit <= 100
    assert sum(clock.waits) <= 60
    for remaining in ("0", "1"):
        limiter = StartedLimiter(clock)
        fields = {"RateLimit-Remaining": remaining, "RateLimit-Reset": value}
        limiter.update_from_headers(await limiter.acquire(), parse_rate_limit_headers(fields, NOW))
        try:
            await limiter.acquire()
        except ApiUnavailable as error:
            assert "allows no more requests" in str(error)  # noqa: PT017 (either is right)
        assert clock.time < limiter.deadline
