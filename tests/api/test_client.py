"""The client returns the complete list or an error, whatever the server does."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any, Literal

import pytest
import stamina

from mirror.api.client import MAX_CONSISTENCY_ATTEMPTS, CachedList, Client, FetchedList, NotModified
from mirror.api.http import ATTEMPTS
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from mirror.sandbox.server import Sandbox
from mirror.version import __version__
from tests.support.api_client import HEAD, assert_fails, failure, fetch, settings, try_fetch
from tests.support.fake_clock import FakeClock, record_sent, seconds_since_first
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
from tests.support.upstream import TOKEN, FakeUpstream, request

FIRST = "/api/v1/phone-numbers/release-requests?page=1&per_page=100"
BODY = envelope([request(1), request(2)])
GOOD = http(200, BODY)
DOWN = http(503, b"<html>busy</html>")
RETRIED = "(tried 5 times); try again later"


def cached(etag: str | None = None, sha256: str = "", count: int = 1) -> CachedList:
    """A list that is known already."""
    return CachedList(etag, sha256, count)


def ids(listing: FetchedList) -> list[str]:
    """The ids of a list, in its order."""
    return [json.loads(bytes(raw))["id"] for raw in listing.entries]


def requests(*numbers: int) -> list[str]:
    """The ids of some requests."""
    return [f"request-{number}" for number in numbers]


def single_entries(count: int) -> list[list[object]]:
    """Pages of one entry each."""
    return [[request(number)] for number in range(count)]


# A list without pages


def test_the_documented_request_is_sent(serve: Serve) -> None:
    """One request for the list, with the token and the client's name."""
    server = serve(GOOD)
    assert ids(fetch(server)) == requests(1, 2)
    (sent,) = server.requests
    assert sent.target == FIRST
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["user-agent"] == f"talkover-mirror/{__version__}"
    assert sent.headers["accept"] == "application/json"
    assert "if-none-match" not in sent.headers


def test_an_unpaged_list_takes_one_request(sandbox: Sandbox, world: FakeUpstream) -> None:
    """An API without paging ignores the requested paging, and all entries arrive."""
    world.records = [request(number) for number in range(250)]
    listing, client = try_fetch(sandbox)
    assert isinstance(listing, FetchedList)
    assert ids(listing) == requests(*range(250))
    assert (listing.repeated, listing.etag) == (frozenset(), None)
    assert (client.pages, client.received) == (1, len(envelope(world.records)))
    assert listing.sha256 == hashlib.sha256(envelope(world.records)).hexdigest()
    assert sandbox.asked == [FIRST]


def test_repeated_ids_are_reported(serve: Serve) -> None:
    """An unpaged list may repeat ids; they are named, and no entry is dropped."""
    listing = fetch(serve(http(200, envelope([request(1), request(2), request(1)]))))
    assert (listing.count, listing.repeated) == (3, frozenset({"request-1"}))


def test_compressed_responses_are_read(serve: Serve) -> None:
    """A compressed body gives the same list, and counts with its decompressed size."""
    listing, client = try_fetch(serve(http(200, gzip.compress(BODY), "Content-Encoding: gzip")))
    assert isinstance(listing, FetchedList)
    assert (client.received, listing.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())


@pytest.mark.parametrize(
    "response",
    [
        HEAD + b"\r\n" + BODY,
        HEAD.replace(b"1.1", b"1.0") + b"\r\n" + BODY,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ],
    ids=["until-the-close", "http-1.0", "chunked"],
)
def test_responses_without_a_length_are_read(serve: Serve, response: bytes) -> None:
    """A body needs no stated length to be complete."""
    server = serve(response)
    assert ids(fetch(server)) == requests(1, 2)
    assert len(server.requests) == 1


def test_a_list_as_long_as_a_page_takes_two_requests(world: FakeUpstream, sandbox: Sandbox) -> None:
    """An API without paging gives the same list as page 2, which proves that it ends there."""
    world.records = [request(number) for number in range(100)]
    assert fetch(sandbox).count == 100
    assert len(sandbox.asked) == 2


def test_unannounced_pages_are_not_taken_for_the_list(serve: Serve) -> None:
    """An API that pages without saying so is not believed at page 1."""
    first = http(200, envelope([request(number) for number in range(100)]))
    second = http(200, envelope([request(number) for number in range(100, 137)]))
    server = serve(*[first, second] * 3)
    assert_fails(server, ApiUnavailable, "page 2 holds others")
    assert len(server.requests) == 6


# A list in pages


@pytest.mark.parametrize("paging", ["meta", "pagination"])
@pytest.mark.parametrize(("records", "pages"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_a_list_in_pages_is_read_to_the_end(
    sandbox: Sandbox,
    world: FakeUpstream,
    paging: Literal["meta", "pagination"],
    records: int,
    pages: int,
) -> None:
    """Each page is requested once, the first one first, and the entries keep their order."""
    sandbox.manner.paging = paging
    world.records = [request(number) for number in range(records)]
    listing, client = try_fetch(sandbox)
    assert isinstance(listing, FetchedList)
    assert ids(listing) == requests(*range(records))
    assert client.pages == pages
    assert sandbox.asked[0] == FIRST
    assert sorted(sandbox.asked) == [
        FIRST.replace("page=1&", f"page={number}&") for number in range(1, pages + 1)
    ]


PAGING: dict[str, tuple[dict[str, Any], bool]] = {
    "all": ({}, True),
    "without-last-page": ({"last_page": None}, True),
    "texts": ({"last_page": "2", "total": "4", "per_page": "2"}, True),
    "without-total": ({"total": None, "per_page": None}, True),
    "total-alone": ({"last_page": None, "per_page": None}, False),
    "per-page-alone": ({"last_page": None, "total": None}, False),
    "per-page-zero": ({"last_page": None, "per_page": 0}, False),
    "current-page-alone": ({"last_page": None, "total": None, "per_page": None}, False),
}
"""The paging of a list, and whether it states or implies the number of pages."""


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(("paging", "ends"), PAGING.values(), ids=PAGING)
def test_paging_must_say_where_it_ends(
    serve: Serve, key: str, paging: dict[str, Any], ends: bool
) -> None:
    """The number of pages is stated, or follows from `total` and `per_page`; else it is refused."""
    pages = [[request(1), request(2)], [request(3), request(4)]]
    server = serve(*paged(pages, key, **paging))
    if ends:
        assert ids(fetch(server)) == requests(1, 2, 3, 4)
    else:
        assert_fails(server, ApiError, "does not say how many", "report this")
    assert server.pages == ([1, 2] if ends else [1])


def test_pages_may_be_smaller_than_requested(serve: Serve) -> None:
    """An API that caps the size of its pages is still read to the end."""
    server = serve(by_page(paged(single_entries(5))))
    assert ids(fetch(server)) == requests(*range(5))
    assert sorted(server.pages) == [1, 2, 3, 4, 5]


def test_invalid_entries_do_not_make_a_list_incomplete(serve: Serve) -> None:
    """An entry without a usable id counts as one: it goes to quarantine, the list is complete."""
    pages: list[list[object]] = [
        [request(1), "junk", "junk"],
        [request(2, id=""), {}, request(3, id=5)],
    ]
    assert fetch(serve(*paged(pages))).count == 6


@pytest.mark.parametrize("received", [[2], [0], [1, 1], [1, 3], [1, 2, 2], [1, 3, 2]], ids=str)
def test_another_page_than_requested_is_refused(serve: Serve, received: list[int]) -> None:
    """An API that does not give the requested page cannot be read to the end."""
    paging = {"last_page": 3, "per_page": 1, "total": 3}
    responses = [
        http(200, envelope([request(number)], meta=paging | {"current_page": number}))
        for number in received
    ]
    wrong = next(number for number, page in enumerate(received, start=1) if page != number)
    message = f"gave page {received[wrong - 1]} when asked for page {wrong}"
    assert_fails(serve(by_page(responses)), ApiError, message, "report this")


# A list that changes while it is read


ONE, TWO, THREE, FOUR = (request(number) for number in (1, 2, 3, 4))
STABLE = paged([[ONE, TWO], [THREE, FOUR]])
CHANGED = {
    "duplicate-across-pages": paged([[ONE, TWO], [TWO, FOUR]]),
    "duplicate-and-total-fits": paged([[ONE, TWO], [TWO, FOUR]], total=3),
    "duplicate-on-one-page": paged([[ONE, ONE], [THREE, FOUR]], total=3),
    "other-total-on-page-2": [STABLE[0], paged([[ONE, TWO], [THREE, FOUR]], total=5)[1]],
    "other-last-page-on-page-2": [STABLE[0], paged([[ONE, TWO], [THREE, FOUR]], last_page=3)[1]],
    "no-paging-on-page-2": [STABLE[0], http(200, envelope([THREE, FOUR]))],
    "fewer-than-total": paged([[ONE, TWO], [THREE]], total=4),
    "more-than-total": paged([[ONE, TWO], [THREE, FOUR]], total=3),
    "empty-last-page": paged([[ONE, TWO], []], total=4),
    "empty-last-page-without-total": paged([[ONE, TWO], []], total=None),
    "growing-page-without-total": paged([[ONE], [TWO, THREE]], total=None),
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_a_list_that_changes_is_read_again(serve: Serve, changed: list[bytes]) -> None:
    """A later attempt gives the list if it is stable; after three the sync may be repeated."""
    assert MAX_CONSISTENCY_ATTEMPTS == 3
    stable = fetch(serve(*STABLE))
    assert ids(stable) == requests(1, 2, 3, 4)
    for before in (1, 2):
        server = serve(*changed * before, *STABLE)
        assert fetch(server) == stable
        assert server.pages == [1, 2] * (before + 1)
    server = serve(*changed * 3)
    assert_fails(server, ApiUnavailable, "kept changing", "try again later")
    assert server.pages == [1, 2] * 3


@pytest.mark.parametrize("sizes", [[0, 1, 1], [2, 1, 2], [2, 0, 1], [2, 2, 0], [1, 1, 2]], ids=str)
def test_pages_without_a_total_must_be_full(serve: Serve, sizes: list[int]) -> None:
    """Without a total, only the last page may have fewer entries than the first one."""
    numbers = iter(range(9))
    pages = [[request(next(numbers)) for _ in range(size)] for size in sizes]
    assert_fails(serve(by_page(paged(pages, total=None))), ApiUnavailable, "entries, not")


def test_a_last_page_without_a_total_may_be_shorter(serve: Serve) -> None:
    """A list whose length is no multiple of the page size ends with a short page."""
    assert ids(fetch(serve(*paged([[ONE, TWO], [THREE]], total=None)))) == requests(1, 2, 3)


def test_failed_attempts_count_as_traffic_but_not_as_size(serve: Serve) -> None:
    """The size limit is that of the list; the traffic is that of all attempts."""
    responses = [*CHANGED["fewer-than-total"], *STABLE]
    sizes = [len(body_of(response)) for response in responses]
    _, client = try_fetch(serve(*responses), max_bytes=sum(sizes[2:]))
    assert (client.pages, client.received) == (4, sum(sizes))


# ETag


def test_a_known_list_is_not_sent_again(sandbox: Sandbox, world: FakeUpstream) -> None:
    """The ETag of a list saves its transfer until it changes."""
    sandbox.manner.etag = True
    world.records = [request(1)]
    known = fetch(sandbox).etag
    assert known
    result, client = try_fetch(sandbox, cached(known))
    assert (result, client.pages, client.received) == (NotModified(known), 0, 0)
    world.records = [request(1, status="approved")]
    sandbox.forget()
    assert fetch(sandbox, known=cached(known)).etag not in {None, known}


@pytest.mark.parametrize("etag", ['"abc"', 'W/"a, b"', "unquoted", '"é"'])
def test_an_etag_is_sent_back_unchanged(serve: Serve, etag: str) -> None:
    """The next fetch sends any ETag back; RFC 9110 allows bytes over 127 in it."""
    server = serve(http(200, envelope([]), f"ETag: {etag}"), http(304))
    known = fetch(server).etag
    assert known is not None
    assert try_fetch(server, cached(known))[0] == NotModified(known)
    sent = server.requests[1].headers["if-none-match"].encode("latin-1")
    assert sent in {etag.encode("latin-1"), etag.encode()}


def test_the_etag_of_a_page_is_not_that_of_the_list(serve: Serve) -> None:
    """A list in pages has no ETag, and only its first page is requested with one."""
    server = serve(*[page.replace(b"\r\n\r\n", b'\r\nETag: "page"\r\n\r\n', 1) for page in STABLE])
    assert fetch(server, known=cached('"old"')).etag is None
    assert [sent.headers.get("if-none-match") for sent in server.requests] == ['"old"', None]


def test_an_unrequested_304_is_refused(serve: Serve) -> None:
    """Without an ETag in the request there is nothing that could be unmodified."""
    server = serve(http(304))
    assert_fails(server, ApiError, "304")
    assert len(server.requests) == 1


# Errors that are final


REPORT = (ApiError, "report this")
FINAL: dict[int, tuple[type[MirrorError], str]] = {
    401: (TokenRefused, "Check the token"),
    403: (TokenRefused, "Check the token"),
    404: (ApiError, "Check --base-url"),
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
    assert_fails(server, ApiError, message, "Check --base-url")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, status: int) -> None:
    """The token goes to the base URL alone, wherever a response points."""
    other = serve(GOOD)
    target = f"{other.base_url}/elsewhere"
    server = serve(http(status, b'{"message":"Not like this"}', f"Location: {target}"))
    hint = "redirects are not followed, correct --base-url"
    shown = assert_fails(server, ApiError, f"answered {status}", target, hint)
    assert "Not like this" not in shown
    assert (len(server.requests), other.requests) == (1, [])


# Errors that are retried


BUSY = b'{"success":false,"message":"Not now","code":"BUSY"}'
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n"
RETRYABLE = {
    **{str(status): http(status, BUSY) for status in (429, 500, 502, 503, 504, 599)},
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
    "gzip-damaged": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    "gzip-cut-at-the-close": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY, mtime=0)[:-30]
    ),
    "not-http": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("name", RETRYABLE)
def test_five_attempts_are_made(serve: Serve, name: str) -> None:
    """Up to four failures leave no trace, and a part of a list is never taken for the list."""
    assert ATTEMPTS == 5
    expected = fetch(serve(GOOD))
    for failures in (1, 4):
        server = serve(*[RETRYABLE[name]] * failures, GOOD)
        assert fetch(server) == expected
        assert len(server.requests) == failures + 1
    server = serve(RETRYABLE[name])
    message = f"answered {name}: BUSY: Not now" if name.isdecimal() else ""
    assert_fails(server, ApiUnavailable, message, RETRIED)
    assert len(server.requests) == 5


def test_each_page_has_its_attempts(serve: Serve) -> None:
    """Failures of one page use up no attempts of another."""
    server = serve(*[DOWN] * 4, STABLE[0], *[DOWN] * 4, STABLE[1])
    assert fetch(server).count == 4
    assert server.pages == [1] * 5 + [2] * 5


# Environment variables


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "http://127.0.0.1:port", "(?i)proxy"),
        ("HTTPS_PROXY", "http://[::1", "(?i)proxy"),
        ("NO_PROXY", "http://[::1", "(?i)proxy"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem", "(?i)cert"),
    ],
)
def test_unusable_environment_variables(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    """An unusable proxy or certificate file is an error with a hint, not a traceback."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(MirrorError, match=message):
        Client(settings("https://host.invalid"))


def test_the_token_does_not_pass_through_a_proxy_unencrypted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http goes straight to the loopback address, whatever proxy is set."""
    proxy, server = serve(GOOD), serve(GOOD)
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy.base_url.removesuffix("/api/v1"))
    assert fetch(server).count == 2
    assert proxy.requests == []


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
    "nothing": ("0", 0, 0),
    "date": (120, 90, 120),
    "past date": (-3600, 0, 0),
    "old date": ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    "no zone": ("Wed, 21 Oct 2015 07:28:00 -0000", 0, 0),
    "word": ("soon", 0.5, 1),
    "negative": ("-5", 0.5, 1),
    "fraction": ("1.5", 0.5, 1.5),
    "empty": ("", 0.5, 1),
    "year beyond the calendar": ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0.5, 1),
    "zone beyond the calendar": ("Mon, 01 Jan 2015 00:00:00 +99999999999", 0.5, 1),
}
"""A header, or the seconds until the date in it; and the shortest and the longest wait."""


@pytest.mark.parametrize(("value", "least", "most"), RETRY_AFTER.values(), ids=RETRY_AFTER)
def test_retry_after_is_obeyed(
    serve: Serve, clock: FakeClock, value: str | float, least: float, most: float
) -> None:
    """The API may state the wait in seconds or as a date; an invalid value is ignored."""
    for status in (429, 503):
        clock.waits.clear()
        header = value if isinstance(value, str) else _date(value)
        server = serve(http(status, b"", f"Retry-After: {header}"), GOOD)
        assert fetch(server, clock=clock).count == 2
        assert len(clock.waits) <= 1
        assert least <= sum(clock.waits) <= most


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
    with Client(settings(server, rate=3), clock) as client:
        sent = record_sent(client._session.rate_limiter)
        client.fetch_list()
    assert seconds_since_first(sent) == [0, 0, 0, 60, 60, 60, 120]
    assert clock.waits == [60, 60]


def test_attempts_keep_to_the_rate(serve: Serve, clock: FakeClock) -> None:
    """An attempt is a request like any other, and its time counts from when it was sent."""
    server = serve(*[delayed(clock, 10, DOWN)] * 4, delayed(clock, 10, GOOD))
    with (
        stamina.set_testing(True, attempts=5),
        Client(settings(server, rate=2), clock) as client,
    ):
        sent = record_sent(client._session.rate_limiter)
        client.fetch_list()
    assert seconds_since_first(sent) == [0, 10, 60, 70, 120]
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
        assert fetch(server, **limits).count == 4
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
    complete = threading.Event()

    def drip(_: HttpRequest) -> Iterable[bytes]:
        yield start
        for _byte in range(60):
            released.wait(0.02)
            yield b"x"
        complete.set()

    assert_fails(serve(drip), ApiUnavailable, message, "try again later", deadline=0.2)
    assert not complete.is_set()


@pytest.mark.parametrize("seconds", [1e7, 1e10, 9e14])
def test_any_limit_that_settings_accept_can_be_used(serve: Serve, seconds: float) -> None:
    """A huge time-out or deadline, which stands for none, works."""
    assert fetch(serve(GOOD), timeout=seconds, deadline=seconds).count == 2


def test_a_list_may_be_as_large_as_allowed(serve: Serve) -> None:
    """A list of exactly the allowed size is read, over all its pages; one byte more is refused."""
    size = sum(len(body_of(page)) for page in STABLE)
    assert fetch(serve(*STABLE), max_bytes=size).count == 4
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
    with Client(limits) as client, pytest.raises(ApiError, match="--max-bytes"):
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


# The token is never shown


def _error(**body: object) -> bytes:
    return json.dumps({"success": False} | body).encode()


ECHOES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "message": (TOKEN, lambda token: http(401, _error(message=f"{token} is wrong"))),
    "code": (TOKEN, lambda token: http(403, _error(code=token))),
    "details": (TOKEN, lambda token: http(404, _error(error={"details": {token: [token]}}))),
    "errors": (TOKEN, lambda token: http(422, _error(message="x", errors={"t": [token]}))),
    "server-error": (TOKEN, lambda token: http(500, _error(message=token))),
    "success-false": (TOKEN, lambda token: http(200, _error(message=token, data=[]))),
    "location": (TOKEN, lambda token: http(302, b"", f"Location: https://e.example/?t={token}")),
    "location-escaped": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7Cabcdefghij"),
    ),
    "location-escaped-otherwise": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7cabcdefghij"),
    ),
    "errors-escaped": ('a"bcdefghijkl', lambda token: http(422, _error(errors={"t": [token]}))),
    "status-line": (TOKEN, lambda token: f"HTTP/1.1 {token}\r\n\r\n".encode()),
    "no-status-line": (TOKEN, lambda token: f"{token}\r\n\r\n".encode()),
    "header-line": (TOKEN, lambda token: f"HTTP/1.1 200 OK\r\n{token} x\r\n\r\n".encode()),
    "chunk-header": (
        TOKEN,
        lambda token: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n".encode(),
    ),
}


@pytest.mark.parametrize(("token", "echo"), ECHOES.values(), ids=ECHOES)
def test_an_echoed_token_is_in_no_message_or_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, token: str, echo: Callable[[str], bytes]
) -> None:
    """However a server echoes the token, no error and no log line of the mirror contains it."""
    caplog.set_level(logging.DEBUG, "mirror")
    error = failure(serve(echo(token)), token=token)
    assert [text for text in (str(error), *caplog.messages) if token[-10:] in text] == []


@pytest.mark.parametrize("before", [475, 485, 494])
@pytest.mark.parametrize("status", [401, 200])
def test_no_part_of_an_echoed_token_is_left_where_a_message_is_cut(
    serve: Serve, status: int, before: int
) -> None:
    """A long message is cut only after the token was removed."""
    server = serve(http(status, _error(message="x" * before + TOKEN)))
    assert TOKEN[:5] not in str(failure(server))


def test_an_ordinary_fetch_logs_no_token(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at level DEBUG does any library log the token."""
    caplog.set_level(logging.DEBUG)
    fetch(serve(DOWN, STABLE[0], DOWN, STABLE[1]))
    loggers = {record.name.partition(".")[0] for record in caplog.records}
    assert "mirror" in loggers
    assert "stamina" not in loggers, "its records print the arguments of calls"
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(repr(record.args) for record in caplog.records)


@pytest.mark.parametrize("module", ["http", "health", "network"])
def test_the_command_line_of_httpx_is_not_imported(module: str) -> None:
    """Its import would take as long as all the rest of httpx; a later import works."""
    script = (
        f"import sys, mirror.api.{module}\n"
        "print({'httpx._main', 'pygments', 'rich', 'click'} & set(sys.modules))\n"
        "import httpx._main\n"
        "print(httpx._main.main.name)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "main"]
