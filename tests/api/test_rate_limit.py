"""The budget of requests: never more than the API allows, and no wait without an end."""

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
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import ApiUnavailable
from tests.support.fake_clock import FakeClock, turns

NOW = 1_700_000_000.0
HOSTILE = [
    *("", " ", "0", "-1", "+5", "1.5", "1e3", "NaN", "inf", "-inf", "many", "0x10", "1_000"),
    *("\u0663", "100, 100;w=60", "9" * 16, "9" * 5000, "null", "1\0", "-0"),
]


def budget(clock: Clock, **fields: Any) -> RateLimiter:
    """A budget whose pull has begun."""
    made = RateLimiter(
        ApiSettings("https://host.example/api/v1", Secret("talq_x"), **fields), clock
    )
    made.start()
    return made


WANTED = threading.Event()
"""Is never set: what is asked for is wanted to the end."""


@pytest.fixture
def clock() -> FakeClock:
    """Lets a budget wait, in no time."""
    return FakeClock()


def test_a_burst_is_allowed_and_then_the_window_decides(clock: FakeClock) -> None:
    """So many turns at once as the rate allows, and the next ones when those are a minute old."""
    one = budget(clock, rate=3)
    sent = turns(one)
    for _ in range(3):
        one.acquire(WANTED)
        clock.time += 10
    for _ in range(4):
        one.acquire(WANTED)
    assert [at - sent[0] for at in sent] == [0, 10, 20, 60, 70, 80, 120]


@pytest.mark.parametrize("rate", [1, 7, 20])
def test_in_no_minute_are_there_more_than_the_rate(rate: int) -> None:
    """Whatever threads ask when, any so many turns and one take a minute."""
    clock = FakeClock()
    one = budget(clock, rate=rate, deadline=1e6)
    sent = turns(one)

    def ask() -> None:
        for _ in range(25):
            one.acquire(WANTED)
            one.release()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 200
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[rate:], strict=False))
    assert all(later >= earlier for earlier, later in pairwise(sent))


def test_a_wait_past_the_deadline_is_not_begun(clock: FakeClock) -> None:
    """If the rate alone leads past the deadline, that is said at once."""
    one = budget(clock, rate=1, deadline=60)
    one.acquire(WANTED)
    with pytest.raises(ApiUnavailable, match=r"at 1 requests a minute.*raise --rate or --deadline"):
        one.acquire(WANTED)
    assert clock.waits == []


def test_who_is_not_wanted_any_more_does_not_wait() -> None:
    """A wait that would take a minute ends when the reading is over."""
    one, over = budget(Clock(), rate=1), threading.Event()
    one.acquire(WANTED)
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(Cancelled):
            one.acquire(over)
        ended.set()

    thread = threading.Thread(target=ask)
    thread.start()
    over.set()
    one.notify()
    assert ended.wait(30)
    thread.join()


def test_the_limit_is_only_lowered(clock: FakeClock) -> None:
    """What the API allows beyond the rate that was set is not used."""
    for said, limit in ((3, 3), (5, 5), (6, 5), (10**14, 5), (None, 5)):
        one = budget(clock, rate=5)
        one.update_from_headers(1, RateLimitHeaders(limit=said))
        assert one.limit == limit


def test_nobody_asks_when_no_more_remain_than_are_in_flight(clock: FakeClock) -> None:
    """What is in flight may not be counted yet; until the reset the rest is left to it."""
    one = budget(clock)
    sent = turns(one)
    numbers = [one.acquire(WANTED) for _ in range(4)]
    one.update_from_headers(numbers[0], RateLimitHeaders(remaining=5, reset=20))
    one.release()
    assert [one.acquire(WANTED), one.acquire(WANTED)] == [5, 6]  # 3 are in flight, so 2 are free
    one.acquire(WANTED)
    assert [at - sent[0] for at in sent] == [0] * 6 + [20]
    one.acquire(WANTED)
    assert clock.waits == [20]


def test_without_a_reset_the_window_is_waited_for(clock: FakeClock) -> None:
    """The oldest request of the last minute decides when there are more."""
    one = budget(clock)
    one.acquire(WANTED)
    clock.time += 45
    one.update_from_headers(one.acquire(WANTED), RateLimitHeaders(remaining=0))
    one.acquire(WANTED)
    assert clock.waits == [15]


def test_what_was_asked_last_tells_what_remains(clock: FakeClock) -> None:
    """Answers overtake each other; an older count is no news."""
    one = budget(clock)
    first, second = one.acquire(WANTED), one.acquire(WANTED)
    one.update_from_headers(second, RateLimitHeaders(remaining=50, reset=30))
    one.update_from_headers(first, RateLimitHeaders(remaining=0, reset=30))
    one.acquire(WANTED)
    assert clock.waits == []


@pytest.mark.parametrize("reset", [900.0, 86400.0, 1e18, float("inf")])
def test_a_reset_after_the_deadline(clock: FakeClock, reset: float) -> None:
    """If nothing remains, the run gives up and says so; if something does, it goes on with that."""
    one = budget(clock)
    one.update_from_headers(one.acquire(WANTED), RateLimitHeaders(remaining=1, reset=reset))
    one.release()
    one.update_from_headers(one.acquire(WANTED), RateLimitHeaders(remaining=0, reset=reset))
    one.release()
    with pytest.raises(ApiUnavailable, match=r"allows no more requests .*; try again later"):
        one.acquire(WANTED)
    assert clock.waits == []
    other = budget(clock)
    numbers = [other.acquire(WANTED) for _ in range(3)]
    other.update_from_headers(numbers[0], RateLimitHeaders(remaining=1, reset=reset))
    other.acquire(WANTED)
    assert clock.waits == [60]


def test_a_refusal_pauses_everybody_and_halves_once_a_wave(clock: FakeClock) -> None:
    """Questions that were sent before the budget was halved do not halve it again."""
    one = budget(clock)
    wave = [one.acquire(WANTED) for _ in range(4)]
    for number in wave:
        one.on_429(number, 7, "no")
        one.release()
    assert one.limit == 50
    next_wave = [one.acquire(WANTED) for _ in range(2)]
    assert clock.waits == [7]
    for number in (*wave, *next_wave):
        one.on_429(number, 0, "no")
    assert one.limit == 25


def test_the_budget_is_never_halved_to_nothing(clock: FakeClock) -> None:
    """However often it is refused, one request a minute is left."""
    one = budget(clock, rate=3, deadline=1e6)
    for _ in range(9):
        one.on_429(one.acquire(WANTED), 0, "no")
    assert one.limit == 1


def test_the_longest_pause_counts(clock: FakeClock) -> None:
    """A shorter one that is told later does not end it."""
    one = budget(clock)
    number = one.acquire(WANTED)
    one.on_429(number, 30, "no")
    one.on_429(number, 5, "no")
    one.acquire(WANTED)
    assert clock.waits == [30]


def test_a_pause_past_the_deadline_says_what_the_api_said(clock: FakeClock) -> None:
    """Whoever would wait for it gives up at once."""
    one = budget(clock)
    one.on_429(one.acquire(WANTED), 1e9, "the API answered 429")
    with pytest.raises(ApiUnavailable, match="the API answered 429"):
        one.acquire(WANTED)
    assert clock.waits == []


def test_a_lowered_rate_that_is_too_slow_is_not_blamed_on_the_setting(clock: FakeClock) -> None:
    """Where the API allows no more, raising --rate would not help."""
    one = budget(clock, rate=100, deadline=61)
    one.update_from_headers(one.acquire(WANTED), RateLimitHeaders(limit=2))
    one.check_feasible(3)
    with pytest.raises(ApiUnavailable, match=r"at 2 requests a minute .*; raise --deadline"):
        one.check_feasible(4)


# Headers


RESETS = [
    ("0", 0),
    ("30", 30),
    ("1.5", 1.5),
    (str(int(NOW) + 30), 30),
    (str(int(NOW) - 30), 0),
    ("9" * 400, float("inf")),
]


def test_headers_of_both_kinds_are_read() -> None:
    """Laravel says when, the IETF's draft says in how many seconds; most answers say nothing."""
    assert parse_rate_limit_headers({}, NOW) == RateLimitHeaders()
    for prefix in ("X-RateLimit-", "RateLimit-"):
        for reset, seconds in RESETS:
            said = {f"{prefix}Limit": " 100 ", f"{prefix}Remaining": "0", f"{prefix}Reset": reset}
            assert parse_rate_limit_headers(said, NOW) == RateLimitHeaders(100, 0, seconds)


@pytest.mark.parametrize("value", HOSTILE)
def test_headers_that_say_nothing_usable_are_as_if_they_were_not_there(
    clock: FakeClock, value: str
) -> None:
    """Whatever a header holds, nothing breaks and nobody waits past the deadline."""
    for name in ("Limit", "Remaining", "Reset"):
        quota = parse_rate_limit_headers({f"X-RateLimit-{name}": value}, NOW)
        assert quota.limit is None or name == "Limit"
        assert quota.limit is None or quota.limit > 0
        assert quota.remaining is None or quota.remaining >= 0
        one = budget(clock)
        one.update_from_headers(one.acquire(WANTED), quota)
        one.release()
        one.acquire(WANTED)
        assert 0 < one.limit <= 100
    assert sum(clock.waits) <= 60
    for remaining in ("0", "1"):
        one = budget(clock)
        said = {"RateLimit-Remaining": remaining, "RateLimit-Reset": value}
        one.update_from_headers(one.acquire(WANTED), parse_rate_limit_headers(said, NOW))
        try:
            one.acquire(WANTED)
        except ApiUnavailable as error:
            assert "allows no more requests" in str(error)  # noqa: PT017 (either is right)
        assert clock.time < one.deadline
