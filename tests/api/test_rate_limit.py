"""The rate limiter: never more requests than the API allows, and no wait without an end."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import pytest

from mirror.api.rate_limit import (
    Cancelled,
    Clock,
    RateLimiter,
    RateLimitHeaders,
    parse_rate_limit_headers,
)
from mirror.errors import ApiUnavailable
from tests.support.api_client import settings
from tests.support.fake_clock import FakeClock, record_sent, seconds_since_first

NOW = 1_700_000_000.0
HOSTILE = [
    *("", " ", "0", "-1", "+5", "1.5", "1e3", "NaN", "inf", "-inf", "many", "0x10", "1_000"),
    *("\u0663", "100, 100;w=60", "9" * 16, "9" * 5000, "null", "1\0", "-0"),
]


class StartedLimiter(RateLimiter):
    """A rate limiter whose time has begun, with requests that are not cancelled."""

    def __init__(self, clock: Clock, **fields: Any) -> None:
        super().__init__(settings("https://host.example/api/v1", **fields), clock)
        self.start()

    def send(self) -> int:
        """Wait for the permission to send a request, and return its ticket."""
        return self.acquire(threading.Event())


def test_a_burst_is_allowed_and_then_the_window_decides(clock: FakeClock) -> None:
    """As many requests at once as the rate allows, and the next when those are a minute old."""
    limiter = StartedLimiter(clock, rate=3)
    sent = record_sent(limiter)
    for _ in range(3):
        limiter.send()
        clock.time += 10
    for _ in range(4):
        limiter.send()
    assert seconds_since_first(sent) == [0, 10, 20, 60, 70, 80, 120]


@pytest.mark.parametrize("rate", [1, 7, 20])
def test_in_no_minute_are_there_more_than_the_rate(rate: int) -> None:
    """Whatever threads send when, one request more than the rate takes over a minute."""
    limiter = StartedLimiter(FakeClock(), rate=rate, deadline=1e6)
    sent = record_sent(limiter)

    def send() -> None:
        for _ in range(25):
            limiter.send()
            limiter.release()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 200
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[rate:], strict=False))
    assert all(later >= earlier for earlier, later in pairwise(sent))


def test_a_wait_past_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """If the rate alone leads past the deadline, that is an error at once."""
    limiter = StartedLimiter(clock, rate=1, deadline=60)
    limiter.send()
    with pytest.raises(ApiUnavailable, match=r"at 1 requests a minute.*raise --rate or --deadline"):
        limiter.send()
    assert clock.waits == []


def test_a_cancelled_request_does_not_wait() -> None:
    """A wait that would take a minute ends with the cancellation."""
    limiter, cancelled = StartedLimiter(Clock(), rate=1), threading.Event()
    limiter.send()
    ended = threading.Event()

    def send() -> None:
        with pytest.raises(Cancelled):
            limiter.acquire(cancelled)
        ended.set()

    thread = threading.Thread(target=send)
    thread.start()
    cancelled.set()
    limiter.notify()
    assert ended.wait(30)
    thread.join()


@pytest.mark.parametrize(("stated", "limit"), [(3, 3), (5, 5), (6, 5), (10**14, 5), (None, 5)])
def test_the_limit_is_only_lowered(clock: FakeClock, stated: int | None, limit: int) -> None:
    """What the API allows beyond the configured rate is not used."""
    limiter = StartedLimiter(clock, rate=5)
    limiter.update_from_headers(1, RateLimitHeaders(limit=stated))
    assert limiter.limit == limit


def test_no_request_is_sent_when_no_more_remain_than_are_in_flight(clock: FakeClock) -> None:
    """The API may not have counted the requests in flight; the rest is left to them."""
    limiter = StartedLimiter(clock)
    sent = record_sent(limiter)
    tickets = [limiter.send() for _ in range(4)]
    limiter.update_from_headers(tickets[0], RateLimitHeaders(remaining=5, reset=20))
    limiter.release()
    assert [limiter.send(), limiter.send()] == [5, 6]  # 3 are in flight, so 2 are free
    limiter.send()
    assert seconds_since_first(sent) == [0] * 6 + [20]
    limiter.send()
    assert clock.waits == [20]


def test_without_a_reset_the_window_is_waited_for(clock: FakeClock) -> None:
    """The oldest request of the last minute decides when there are more."""
    limiter = StartedLimiter(clock)
    limiter.send()
    clock.time += 45
    limiter.update_from_headers(limiter.send(), RateLimitHeaders(remaining=0))
    limiter.send()
    assert clock.waits == [15]


def test_the_latest_request_decides_what_remains(clock: FakeClock) -> None:
    """Responses overtake each other; an older count is ignored."""
    limiter = StartedLimiter(clock)
    first, second = limiter.send(), limiter.send()
    limiter.update_from_headers(second, RateLimitHeaders(remaining=50, reset=30))
    limiter.update_from_headers(first, RateLimitHeaders(remaining=0, reset=30))
    limiter.send()
    assert clock.waits == []


@pytest.mark.parametrize("reset", [900.0, 86400.0, 1e18, float("inf")])
def test_a_reset_after_the_deadline(clock: FakeClock, reset: float) -> None:
    """If nothing remains, the fetch fails and says so; if something does, it goes on with that."""
    limiter = StartedLimiter(clock)
    for remaining in (1, 0):
        headers = RateLimitHeaders(remaining=remaining, reset=reset)
        limiter.update_from_headers(limiter.send(), headers)
        limiter.release()
    with pytest.raises(ApiUnavailable, match=r"allows no more requests .*; try again later"):
        limiter.send()
    assert clock.waits == []
    limiter = StartedLimiter(clock)
    tickets = [limiter.send() for _ in range(3)]
    limiter.update_from_headers(tickets[0], RateLimitHeaders(remaining=1, reset=reset))
    limiter.send()
    assert clock.waits == [60]


# Responses with status 429


def test_a_429_pauses_all_threads_and_halves_the_rate_once(clock: FakeClock) -> None:
    """Requests that were sent before the rate was halved do not halve it again."""
    limiter = StartedLimiter(clock)
    wave = [limiter.send() for _ in range(4)]
    for ticket in wave:
        limiter.on_429(ticket, 7, "no")
        limiter.release()
    assert limiter.limit == 50
    next_wave = [limiter.send() for _ in range(2)]
    assert clock.waits == [7]
    for ticket in (*wave, *next_wave):
        limiter.on_429(ticket, 0, "no")
    assert limiter.limit == 25


def test_the_rate_is_never_halved_to_nothing(clock: FakeClock) -> None:
    """However many responses are a 429, one request a minute is left."""
    limiter = StartedLimiter(clock, rate=3, deadline=1e6)
    for _ in range(9):
        limiter.on_429(limiter.send(), 0, "no")
    assert limiter.limit == 1


def test_the_longest_pause_counts(clock: FakeClock) -> None:
    """A later, shorter pause does not end it."""
    limiter = StartedLimiter(clock)
    ticket = limiter.send()
    limiter.on_429(ticket, 30, "no")
    limiter.on_429(ticket, 5, "no")
    limiter.send()
    assert clock.waits == [30]


def test_a_pause_past_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """The fetch fails at once, with the message of the API."""
    limiter = StartedLimiter(clock)
    limiter.on_429(limiter.send(), 1e9, "the API answered 429")
    with pytest.raises(ApiUnavailable, match=r"^the API answered 429; try again later$"):
        limiter.send()
    assert clock.waits == []


def test_a_lowered_rate_that_is_too_slow_is_not_blamed_on_the_setting(clock: FakeClock) -> None:
    """Where the API allows no more, raising --rate would not help."""
    limiter = StartedLimiter(clock, rate=100, deadline=61)
    limiter.update_from_headers(limiter.send(), RateLimitHeaders(limit=2))
    limiter.check_feasible(3)
    with pytest.raises(ApiUnavailable, match=r"at 2 requests a minute .*; raise --deadline"):
        limiter.check_feasible(4)


# Headers


RESETS = {
    "0": 0,
    "30": 30,
    "1.5": 1.5,
    str(int(NOW) + 30): 30,
    str(int(NOW) - 30): 0,
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
def test_unusable_headers_are_ignored(clock: FakeClock, value: str) -> None:
    """Whatever a header contains, nothing breaks and no wait passes the deadline."""
    for name in ("Limit", "Remaining", "Reset"):
        headers = parse_rate_limit_headers({f"X-RateLimit-{name}": value}, NOW)
        assert headers.limit is None or (name == "Limit" and headers.limit > 0)
        assert headers.remaining is None or headers.remaining >= 0
        limiter = StartedLimiter(clock)
        limiter.update_from_headers(limiter.send(), headers)
        limiter.release()
        limiter.send()
        assert 0 < limiter.limit <= 100
    assert sum(clock.waits) <= 60
    for remaining in ("0", "1"):
        limiter = StartedLimiter(clock)
        fields = {"RateLimit-Remaining": remaining, "RateLimit-Reset": value}
        limiter.update_from_headers(limiter.send(), parse_rate_limit_headers(fields, NOW))
        try:
            limiter.send()
        except ApiUnavailable as error:
            assert "allows no more requests" in str(error)  # noqa: PT017 (either is right)
        assert clock.time < limiter.deadline
