"""HTTP requests: which failures are retried, what waits are kept, and which limits hold."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate

import pytest
import stamina

from mirror.api import health
from mirror.api.client import Client
from mirror.api.http import ATTEMPTS
from mirror.cli.options import now
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from tests.support.api_client import (
    HEAD,
    assert_fails,
    failure,
    fetch,
    fetch_content,
    sent_times,
    settings,
)
from tests.support.fake_clock import FakeClock
from tests.support.http_servers import (
    HttpRequest,
    HttpResponse,
    Serve,
    body_of,
    by_page,
    envelope,
    http,
    paged,
)
from tests.support.upstream import request

BODY = envelope([request(1), request(2)], has_more=False)  # it ends: one request is enough
GOOD = http(200, BODY)
DOWN = http(503, b"<html>busy</html>")
STABLE = paged([[request(1), request(2)], [request(3), request(4)]])
RETRIED = "(tried 5 times); try again later"


def single_entries(count: int) -> list[list[object]]:
    """Pages of one entry each."""
    return [[request(number)] for number in range(count)]


# Errors that are final


REPORT = (ApiError, "report this")
FINAL: dict[int, tuple[type[MirrorError], str]] = {
    401: (TokenRefused, "; check the token"),
    403: (TokenRefused, "; check the token"),
    404: (ApiError, "; check --base-url"),
    **dict.fromkeys((400, 402, 405, 410, 422, 201, 204), REPORT),
}


@pytest.mark.parametrize(("status", "error"), FINAL.items())
def test_a_final_status_is_not_retried(
    serve: Serve, status: int, error: tuple[type[MirrorError], str]
) -> None:
    """What a retry would not change is sent once, whether the error's body is complete or not."""
    body = b"" if status == 204 else b'{"success":false,"message":"Not like this","code":"NO"}'
    cut = b"HTTP/1.1 %d No\r\nContent-Length: 500\r\n\r\n" % status
    responses = {http(status, body): "NO: Not like this", cut: "", cut + b'{"success":fal': ""}
    for response, message in responses.items():
        server = serve(response)
        shown = assert_fails(server, *error, f"answered {status}")
        assert message in shown or status == 204
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"success":false,"data":[],"message":"No plan","code":"PLAN"}', "PLAN: No plan"),
        (b'{"success":true,"data":null}', "`data` is not an array"),
        (b"<!doctype html><h1>Login</h1>", "HTML page"),
        (envelope([], meta={"last_page": "many"}), "paging"),
        (b"", "empty"),
    ],
    ids=["success-false", "no-list", "html", "paging", "empty"],
)
def test_a_200_without_a_list_is_final(serve: Serve, body: bytes, message: str) -> None:
    """Status 200 alone proves nothing; the error names what was received and what to check."""
    server = serve(http(200, body))
    assert_fails(server, ApiError, message, "; check --base-url")
    assert len(server.requests) == 1


CLOUDFLARE = (
    b"<!DOCTYPE html><!--[if IE]><html class='ie'><![endif]--><html><head><title>Attention "
    b"Required! | Cloudflare</title><style>body{color:red}</style></head><body><h1>Sorry, you have "
    b"been blocked</h1></body></html>"
)
HTML = "Content-Type: text/html; charset=UTF-8"
BASIC = 'WWW-Authenticate: Basic realm="staging"'
BEARER = 'WWW-Authenticate: Bearer realm="api"'
LOGIN = b"<html><head><title>401 Authorization Required</title></head></html>"
UNKNOWN_JSON = b'{"detail":"No."}'

REFUSALS: dict[str, tuple[bytes, type[MirrorError], str]] = {
    "firewall": (http(403, CLOUDFLARE, HTML), ApiError, "Attention Required! | Cloudflare Sorry,"),
    "nginx": (
        http(403, b"<html>\r\n<head><title>403 Forbidden</title></head><body><center><h1>403 "
        b"Forbidden</h1></center><hr><center>nginx/1.18.0</center></body></html>"),
        ApiError, "(an HTML page: 403 Forbidden nginx/1.18.0)",
    ),
    "page without html": (http(403, b"<!-- x --><title>Denied</title>"), ApiError, "Denied"),
    "unreadable page": (
        http(403, b"br", HTML, "Content-Encoding: br"), ApiError, "not how the API refuses a token",
    ),
    "cut page": (http(403, b"", HTML), ApiError, "ask the operator of the firewall or gateway"),
    "text": (http(403, b"error code: 1020"), ApiError, "(plain text: error code: 1020)"),
    "xml": (http(403, b"<?xml version='1.0'?><Error>AccessDenied</Error>"), ApiError, "AccessDen"),
    "login of a gateway": (http(401, LOGIN, BASIC), ApiError, "401 Authorization Required"),
    "empty login": (http(401, b"", BASIC), ApiError, "not how the API refuses a token"),
    "page about the token": (http(401, LOGIN, BEARER), TokenRefused, "check the token"),
    "two logins": (http(401, LOGIN, BASIC, BEARER), TokenRefused, "check the token"),
    "page without a login": (http(401, LOGIN), TokenRefused, "401 Authorization Required"),
    "json": (http(403, b'{"success":false,"message":"No."}', HTML), TokenRefused, "No; check the"),
    "json of the framework": (http(403, b'{"message":"No!"}', BASIC), TokenRefused, "No; check"),
    "json and a login": (http(401, b'{"message":"No"}', BASIC), TokenRefused, "check the token"),
    "other json": (http(403, UNKNOWN_JSON), TokenRefused, "JSON without code or message"),
    "empty": (http(403), TokenRefused, "(no readable body); check the token"),
}  # fmt: skip


@pytest.mark.parametrize(("response", "error", "text"), REFUSALS.values(), ids=REFUSALS)
def test_who_refused(serve: Serve, response: bytes, error: type[MirrorError], text: str) -> None:
    """A page of a firewall or a gateway's login is no token refused; its words tell who spoke."""
    server = serve(response)
    assert ".." not in assert_fails(server, error, text)
    assert len(server.requests) == 1
    with pytest.raises(error, match=re.escape(text)):
        health.check_token(settings(server), now)


@pytest.mark.parametrize("end", ["...", " ;", "\u3002"])
@pytest.mark.parametrize("status", [200, 401, 403, 404, 408, 422, 429, 500])
def test_what_the_api_says_ends_without_a_full_stop(serve: Serve, status: int, end: str) -> None:
    """The sentence goes on after the API's words."""
    body = json.dumps({"success": False, "message": f"Unauthenticated{end}"}).encode()
    shown = str(failure(serve(http(status, body)), deadline=30))
    assert re.search(r"Unauthenticated(; [a-z]| \(tried)", shown), shown


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, status: int) -> None:
    """The token goes to the base URL alone, wherever a response points."""
    other = serve(GOOD)
    target = f"{other.base_url}/elsewhere"
    server = serve(http(status, b'{"message":"Not like this"}', f"Location: {target}"))
    hint = "redirects are not followed, correct --base-url"
    shown = assert_fails(server, ApiError, f"answered {status}", target, hint)
    assert "or try again later if this is a maintenance page" in shown
    assert "Not like this" not in shown
    assert (len(server.requests), other.requests) == (1, [])


# Errors that are retried


BUSY = b'{"success":false,"message":"Not now","code":"BUSY"}'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n"
RETRYABLE = {
    **{str(status): http(status, BUSY) for status in (408, 425, 429, 500, 502, 503, 504, 599)},
    "no-response": b"",
    "cut-in-the-status-line": b"HTTP/1.",
    "cut-in-the-head": HEAD + b"Content-Type: applica",
    "length-and-no-body": LENGTH % len(BODY),
    "length-and-cut": LENGTH % len(BODY) + BODY[:-1],
    "length-larger-than-the-list": LENGTH % (len(BODY) + 1) + BODY,
    "chunk-cut": CHUNKED[:-9],
    "last-chunk-missing": CHUNKED + b"\r\n",
    "json-cut-at-the-close": HEAD + b"\r\n" + BODY[:-1],
    "json-cut-in-a-text": HEAD + b"\r\n" + BODY[: BODY.index(b"longer")],
    "json-cut-after-a-byte": HEAD + b"\r\n" + BODY[:1],
    "nothing-until-the-close": HEAD + b"\r\n",
    "gzip-damaged": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8bno",
    "gzip-cut-at-the-close": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY, mtime=0)[:-30]
    ),
    "not-http": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("name", RETRYABLE)
def test_five_attempts_are_made(serve: Serve, name: str) -> None:
    """Up to four failures leave no trace, and a part of a list is never taken for the list."""
    assert ATTEMPTS == 5
    expected = fetch_content(serve(GOOD))
    for failures in (1, 4):
        server = serve(*[RETRYABLE[name]] * failures, GOOD)
        assert fetch_content(server) == expected
        assert len(server.requests) == failures + 1
    server = serve(RETRYABLE[name])
    message = f"answered {name}: BUSY: Not now" if name.isdecimal() else ""
    assert_fails(server, ApiUnavailable, message, RETRIED)
    assert len(server.requests) == 5


def test_each_page_has_its_attempts(serve: Serve) -> None:
    """Failures of one page use up no attempts of another."""
    server = serve(*[DOWN] * 4, STABLE[0], *[DOWN] * 4, STABLE[1])
    assert fetch(server).scan.count == 4
    assert server.pages == [1] * 5 + [2] * 5


# Waits


def test_attempts_back_off(serve: Serve, clock: FakeClock) -> None:
    """Waits begin at half a second and double, each with up to half a second of jitter."""
    failure(serve(DOWN), clock=clock)
    for wait, least in zip(clock.waits, (0.5, 1, 2, 4), strict=True):
        assert least <= wait <= least + 0.5


def _date(seconds: float) -> str:
    return formatdate(time.time() + seconds, usegmt=True)


RETRY_AFTER: dict[str, tuple[str | float, float, float]] = {
    "seconds": ("7", 7, 7),
    "spaces": (" 120 ", 120, 120),
    "fraction": ("7.5", 7.5, 7.5),
    "unit": ("20s", 20, 20),
    "several": ("5, 20", 20, 20),
    "several with a date": ("5, Wed, 21 Oct 2015 07:28:00 GMT", 5, 5),
    "date": (120, 120, 120),
    "nothing": ("0", 0.5, 1.2),
    "less than the back-off": ("0.1", 0.5, 1.2),
    "past date": (-3600, 0.5, 1.2),
    "old date": ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5, 1.2),
    "no zone": ("Wed, 21 Oct 2015 07:28:00 -0000", 0.5, 1.2),
    "word": ("soon", 0.5, 1.2),
    "negative": ("-5", 0.5, 1.2),
    "empty": ("", 0.5, 1.2),
    "year beyond the calendar": ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.5, 1.2),
    "zone beyond the calendar": ("Mon, 01 Jan 2015 00:00:00 +99999999999", 0.5, 1.2),
}
"""A header, or the seconds until the date in it; and the shortest and the longest wait."""


@pytest.mark.parametrize("status", [425, 429, 503])
@pytest.mark.parametrize("skew", [-3600, 0, 3600])
@pytest.mark.parametrize(("value", "least", "most"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after_is_obeyed(
    serve: Serve,
    clock: FakeClock,
    *,
    value: str | float,
    least: float,
    most: float,
    skew: float,
    status: int,
) -> None:
    """The API may state the wait in seconds, or as a date by its own clock.

    What is not valid, or less than the usual back-off, is ignored.
    """
    now = int(time.time() + skew)
    header = value if isinstance(value, str) else formatdate(now + value, usegmt=True)
    headers = (f"Date: {formatdate(now, usegmt=True)}", f"Retry-After: {header}")
    assert fetch(serve(http(status, b"", *headers), GOOD), clock=clock).scan.count == 2
    (wait,) = clock.waits
    assert least <= wait <= most + 1e-6


def test_a_date_without_a_date_to_compare_it_with(serve: Serve, clock: FakeClock) -> None:
    """Then our own clock has to do."""
    server = serve(http(429, b"", f"Retry-After: {_date(120)}"), GOOD)
    assert fetch(server, clock=clock).scan.count == 2
    assert 90 <= sum(clock.waits) <= 120


def test_a_unix_time(serve: Serve, clock: FakeClock) -> None:
    """Some APIs state it in place of a date; it is compared with their own clock as well."""
    now = int(time.time()) + 3600
    date = f"Date: {formatdate(now, usegmt=True)}"
    seconds, milliseconds = f"Retry-After: {now + 7}", f"Retry-After: {now + 20}000"
    server = serve(http(429, b"", date, seconds), http(429, b"", date, milliseconds), GOOD)
    assert fetch(server, clock=clock, rate=1_000).scan.count == 2
    assert clock.waits == pytest.approx([7, 20])


def test_two_headers(serve: Serve, clock: FakeClock) -> None:
    """The longer wait counts."""
    server = serve(http(429, b"", "Retry-After: 20", "Retry-After: 5"), GOOD)
    assert fetch(server, clock=clock).scan.count == 2
    assert clock.waits == pytest.approx([20])


# Refusals


NOT_NOW = {
    "429": http(429, b""),
    "429 with Retry-After": http(429, b"", "Retry-After: 1"),
    "503": http(503, b""),
}


@pytest.mark.parametrize("refusal", NOT_NOW.values(), ids=NOT_NOW)
def test_refusals_use_up_no_attempts(serve: Serve, clock: FakeClock, refusal: bytes) -> None:
    """A page that is refused more often than it has attempts is fetched when the pace is found."""
    pages = paged(single_entries(2))
    assert fetch(serve(pages[0], *[refusal] * 7, pages[1]), clock=clock).scan.count == 2


def test_refusals_and_failures_are_counted_apart(serve: Serve, clock: FakeClock) -> None:
    """Between refusals, a page still has all its five attempts, and no sixth."""
    pages = paged(single_entries(2))
    down = http(500, b"")
    mixed = [response for _ in range(4) for response in (NOT_NOW["429"], down)]
    assert fetch(serve(pages[0], *mixed, pages[1]), clock=clock).scan.count == 2
    assert_fails(serve(pages[0], *mixed, down), ApiUnavailable, "answered 500", clock=clock)


@pytest.mark.parametrize("refusal", NOT_NOW.values(), ids=NOT_NOW)
def test_an_api_that_refuses_everything_is_given_up(
    serve: Serve, clock: FakeClock, refusal: bytes
) -> None:
    """After waits of up to a minute more waiting would not help."""
    server = serve(paged(single_entries(2))[0], refusal)
    assert_fails(server, ApiUnavailable, "(tried 8 times)", "try again later", clock=clock)
    assert 120 < sum(clock.waits) < 150


def test_the_log_tells_what_comes_next(
    serve: Serve, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each response is logged with its request, size and time, and each attempt that follows."""
    caplog.set_level("DEBUG", "mirror.api")
    compressed = gzip.compress(BODY, mtime=0)
    fetch(serve(DOWN, http(200, compressed, "Content-Encoding: gzip")), clock=clock)
    list_request = "GET /phone-numbers/release-requests?page=1&per_page=100"
    refused, waits, received = caplog.messages[:3]
    assert refused == f"{list_request}: 503, 17 bytes in 0.000 s"
    assert re.fullmatch(rf"{re.escape(list_request)}: .* 503: .*; trying again in \d\.\d s", waits)
    assert received == f"{list_request}: 200, {len(compressed)} bytes (gzip) in 0.000 s"
    caplog.clear()
    failure(serve(paged(single_entries(2))[0], NOT_NOW["429"]), clock=clock)
    ends = [text.partition("; ")[2] for text in caplog.messages if " 429: (" in text]
    assert set(ends[:-1]) == {"trying again more slowly"}
    assert ends[-1] == "slower requests do not help"


def test_a_503_before_the_first_response_is_a_failure(serve: Serve, clock: FakeClock) -> None:
    """An API that is down is given up after five attempts."""
    assert_fails(serve(NOT_NOW["503"]), ApiUnavailable, "(tried 5 times)", clock=clock)
    assert sum(clock.waits) < 10


@pytest.mark.parametrize(
    "value",
    [
        lambda: "901",
        lambda: "9" * 400,
        lambda: _date(1000),
        lambda: "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
    ids=["seconds", "huge", "date", "last-date"],
)
def test_a_wait_that_ends_after_the_deadline_is_not_begun(
    serve: Serve, clock: FakeClock, value: Callable[[], str]
) -> None:
    """If the API asks for a longer wait than allowed, the fetch fails at once."""
    server = serve(lambda _: http(429, b"", f"Retry-After: {value()}"))
    texts = ("answered 429", "try again later")
    shown = assert_fails(server, ApiUnavailable, *texts, clock=clock, deadline=900)
    assert "tried" not in shown
    assert (clock.waits, len(server.requests)) == ([], 1)


@pytest.mark.parametrize("deadline", [3.2, 5.6])
def test_no_wait_passes_the_deadline(serve: Serve, clock: FakeClock, deadline: float) -> None:
    """The deadline includes the waits between attempts."""
    began = clock.time
    assert_fails(serve(DOWN), ApiUnavailable, "try again later", clock=clock, deadline=deadline)
    assert clock.time - began <= deadline


def delayed(clock: FakeClock, seconds: float, response: bytes) -> HttpResponse:
    """A response that takes some time by the clock."""

    def respond(_: HttpRequest) -> bytes:
        clock.time += seconds
        return response

    return respond


def test_requests_keep_to_the_rate(serve: Serve, clock: FakeClock) -> None:
    """In any 60 seconds no more requests are sent than allowed, and no fewer than possible."""
    server = serve(by_page(paged(single_entries(7))))
    assert sent_times(server, clock, rate=3) == [0, 0, 0, 60, 60, 60, 120]
    assert clock.waits == [60, 60]


def test_attempts_keep_to_the_rate(serve: Serve, clock: FakeClock) -> None:
    """An attempt is a request like any other, and its time counts from when it was sent."""
    server = serve(*[delayed(clock, 10, DOWN)] * 4, delayed(clock, 10, GOOD))
    with stamina.set_testing(True, attempts=5):
        assert sent_times(server, clock, rate=2) == [0, 10, 60, 70, 120]
    assert clock.waits == [40, 40]


@pytest.mark.parametrize(
    ("pages", "deadline", "feasible"),
    [(3, 60, False), (4, 61, True), (5, 61, False), (10**12, 61, False)],
)
def test_a_list_that_the_rate_cannot_finish_in_time_is_not_begun(
    serve: Serve, clock: FakeClock, pages: int, deadline: float, feasible: bool
) -> None:
    """After page 1 the fetch fails at once if the rate alone would miss the deadline."""
    server = serve(by_page(paged(single_entries(4), last_page=pages, total=pages)))
    limits = {"clock": clock, "rate": 2, "deadline": deadline}
    if feasible:
        assert fetch(server, **limits).scan.count == 4
    else:
        assert_fails(server, ApiUnavailable, "raise --rate or --deadline", **limits)
        assert (len(server.requests), clock.waits) == (1, [])


# Limits


def test_the_deadline_holds_between_pages(serve: Serve, clock: FakeClock) -> None:
    """A deadline that passes between two pages ends the fetch, and the error names it."""
    server = serve(by_page([delayed(clock, 40, page) for page in paged(single_entries(5))]))
    texts = ("longer than the 100 seconds allowed", "raise --deadline")
    assert_fails(server, ApiUnavailable, *texts, clock=clock, deadline=100)
    assert server.pages[0] == 1


def test_a_deadline_that_has_passed_before_the_first_request(serve: Serve) -> None:
    """Nothing is sent if there is no time for a response."""
    server = serve(GOOD)
    assert_fails(server, ApiUnavailable, "raise --deadline", deadline=1e-9)
    assert server.requests == []


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\n{"])
def test_a_server_that_falls_silent_is_given_up(
    serve: Serve, released: threading.Event, sent: bytes
) -> None:
    """Without a byte for the time-out an attempt ends; a deadline that ends it is not called so."""

    def stall(_: HttpRequest) -> Iterable[bytes]:
        yield sent
        released.wait(10)

    silence = "sent nothing for 0.02 seconds"
    assert_fails(serve(stall), ApiUnavailable, silence, RETRIED, timeout=0.02)
    shown = assert_fails(serve(stall), ApiUnavailable, timeout=30, deadline=0.05)
    assert "30 seconds" not in shown


SLOW = {
    "body": (HEAD + b"\r\n", "raise --deadline"),
    "head": (HEAD + b"X-Slow: ", "raise --deadline"),
    "error-body": (b"HTTP/1.1 500 No\r\n\r\n", "answered 500"),
    "compressed-body": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:3] + b"\x08",
        "raise --deadline",
    ),
}


@pytest.mark.parametrize(("start", "message"), SLOW.values(), ids=SLOW)
def test_a_server_that_drips_is_given_up_at_the_deadline(
    serve: Serve, released: threading.Event, start: bytes, message: str
) -> None:
    """Bytes that arrive one by one, anywhere in a response, do not extend the deadline."""

    def drip(_: HttpRequest) -> Iterable[bytes]:
        yield start
        for _byte in range(3000):
            released.wait(0.02)
            yield b"x"

    shown = ""
    for deadline in (0.2, 2, 20):  # until it suffices for the connection and the start
        if message not in shown:
            shown = assert_fails(serve(drip), ApiUnavailable, "try again later", deadline=deadline)
    assert message in shown


@pytest.mark.parametrize("seconds", [1e7, 1e10, 9e14])
def test_any_limit_that_settings_accept_can_be_used(serve: Serve, seconds: float) -> None:
    """A huge time-out or deadline, which stands for none, works."""
    assert fetch(serve(GOOD), timeout=seconds, deadline=seconds).scan.count == 2


def test_a_list_may_be_as_large_as_allowed(serve: Serve) -> None:
    """A list of exactly the allowed size is read, over all its pages; one byte more is refused."""
    size = sum(len(body_of(page)) for page in STABLE)
    assert fetch(serve(*STABLE), max_bytes=size).scan.count == 4
    server = serve(*STABLE)
    texts = (f"larger than the {size - 1:,} bytes allowed", "raise --max-bytes")
    assert_fails(server, ApiError, *texts, max_bytes=size - 1)
    assert server.pages == [1, 2]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_body_larger_than_allowed_is_not_read_to_its_end(serve: Serve, compressed: bool) -> None:
    """A body that is too large is given up while it arrives, also a compressed bomb."""
    bomb = gzip.compress(b" " * 5_000_000) if compressed else b" " * 5_000_000
    server = serve(http(200, bomb, *["Content-Encoding: gzip"] * compressed))
    limits = settings(server, max_bytes=100_000)
    client = Client(limits)
    with pytest.raises(ApiError, match="--max-bytes"):
        client.fetch_list()
    assert (client.received, len(server.requests)) == (0, 1)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "zstd", "unheard-of"])
def test_other_compressions_than_requested_are_refused(serve: Serve, encoding: str) -> None:
    """Only gzip is decompressed, and only once, so that few bytes cannot exhaust the memory."""
    header = f"Content-Encoding: {encoding}"
    server = serve(http(200, gzip.compress(gzip.compress(BODY)), header))
    assert_fails(server, ApiError, repr(encoding))
    assert server.requests[0].headers["accept-encoding"] == "gzip"
    assert_fails(serve(http(418, b"{", header)), ApiError, "answered 418")


def test_an_endless_error_is_not_read_to_its_end(serve: Serve) -> None:
    """An error needs no more than the start of its body."""

    def endless(_: HttpRequest) -> Iterable[bytes]:
        yield b"HTTP/1.1 404 No\r\n\r\n"
        while True:
            yield b"x" * 65536

    assert_fails(serve(endless), ApiError, "answered 404")
