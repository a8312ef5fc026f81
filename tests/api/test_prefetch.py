"""Concurrent requests: the result does not depend on the order of arrival."""

from __future__ import annotations

import re
import signal
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from xxhash import xxh3_128_hexdigest

from mirror.api.client import CachedList, NotModified, concurrency_for_rate
from mirror.api.prefetch import fetch_in_order
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from tests.support.api_client import (
    HEAD,
    LONG,
    assert_fails,
    fetch,
    sent_times,
    tls_server,
    try_fetch,
)
from tests.support.api_pages import (
    BODIES,
    DIGEST,
    PAGES,
    RESPONSES,
    SIZE,
    assert_complete,
    replaced,
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
    parts,
)
from tests.support.upstream import request

HANGING = HEAD + b"Content-Length: 1000\r\n\r\n{"


def first_and_then(*responses: HttpResponse) -> HttpResponse:
    """Page 1, and other responses for the pages after it; the last one for all others."""
    return by_page([RESPONSES[0], *responses])


def after(
    event: threading.Event, response: HttpResponse, then: threading.Event | None = None
) -> HttpResponse:
    """A response that is sent after an event, and sets another one."""

    def respond(received: HttpRequest) -> Iterable[bytes]:
        assert event.wait(LONG)
        if then is not None:
            then.set()
        yield from parts(response, received)

    return respond


def hanging(released: threading.Event, begun: threading.Event | None = None) -> HttpResponse:
    """A response that begins, and then hangs until the end of the test."""

    def respond(_: HttpRequest) -> Iterable[bytes]:
        yield HANGING
        if begun is not None:
            begun.set()
        released.wait(LONG)

    return respond


# Order


def test_concurrency_uses_up_the_rate() -> None:
    """Enough requests to use the rate, and never so many that a server would mind."""
    assert [concurrency_for_rate(limit) for limit in (1, 60, 100, 959, 10**14)] == [2, 2, 4, 32, 32]


def backwards() -> HttpResponse:
    """Pages of which 2 arrives after 3, and 3 after 4; of 5 to 8 likewise."""
    responses: dict[str, HttpResponse] = {}
    for last in (4, 8):
        sent = threading.Event()
        sent.set()
        for number in range(last, last - 3, -1):
            before, sent = sent, threading.Event()
            responses[f"p{number}"] = after(before, RESPONSES[number - 1], sent)
    return replaced(**responses)


def test_the_order_of_arrival_does_not_matter(serve: Serve) -> None:
    """Pages that arrive in another order make the same list, byte for byte and entry for entry."""
    assert_complete(serve(backwards()))


def test_the_failure_is_that_of_the_first_page_that_fails(serve: Serve) -> None:
    """Which page fails first in time does not matter; its place in the list does."""
    failed = threading.Event()

    def fail_4(_: HttpRequest) -> bytes:
        failed.set()
        return http(404, b'{"success":false,"code":"FOUR"}')

    p3 = after(failed, http(404, b'{"success":false,"code":"THREE"}'))
    assert_fails(serve(replaced(p3=p3, p4=fail_4)), ApiError, "THREE")


def test_the_look_ahead_is_bounded() -> None:
    """While a page is awaited, only a few after it are requested: they have to be held."""
    ahead: list[int] = []
    used: list[int] = []

    async def main() -> None:
        exhausted = anyio.Event()

        async def get(number: int) -> None:
            ahead.append(number - len(used))
            if number == 6:
                exhausted.set()
            if number == 1:
                await exhausted.wait()

        await fetch_in_order(get, range(1, 100), 3, lambda number, _: used.append(number))

    anyio.run(main)
    assert used == [*range(1, 100)]
    assert max(ahead) == 6


def test_the_number_of_requests_in_flight_is_bounded() -> None:
    """As many requests as allowed run at once, and never more."""
    in_flight, most = [0], [0]
    results: list[int] = []

    async def get(number: int) -> int:
        in_flight[0] += 1
        most[0] = max(most[0], in_flight[0])
        await anyio.sleep(0)
        in_flight[0] -= 1
        return number

    def process(number: int, result: int) -> None:
        assert number == result
        results.append(result)

    anyio.run(fetch_in_order, get, range(40), 4, process)
    assert results == [*range(40)]
    assert most[0] == 4


def test_a_list_that_changes_is_read_again_while_pages_hang(
    serve: Serve, released: threading.Event
) -> None:
    """Requests of a failed attempt are given up, and the next attempt is complete."""
    begun, attempts = threading.Event(), [0]

    def first(_: HttpRequest) -> bytes:
        attempts[0] += 1
        return RESPONSES[0]

    def at_first(response: HttpResponse, later: bytes) -> HttpResponse:
        return lambda received: parts(response if attempts[0] == 1 else later, received)

    p2 = at_first(after(begun, paged(PAGES, total=5)[1]), RESPONSES[1])
    p3 = at_first(hanging(released, begun), RESPONSES[2])
    assert_complete(serve(replaced(p1=first, p2=p2, p3=p3)))
    assert attempts == [2]


# Endings


FAILURES = {
    "refused": (http(401), TokenRefused, "answered 401"),
    "not-found": (http(404), ApiError, "answered 404"),
    "no-list": (http(200, b"<html>"), ApiError, "HTML page"),
    "down": (http(503), ApiUnavailable, "tried 5 times"),
    "cut": (HANGING, ApiUnavailable, "tried 5 times"),
}


@pytest.mark.parametrize(("response", "kind", "message"), FAILURES.values(), ids=FAILURES)
def test_a_failure_ends_hanging_requests(
    serve: Serve, released: threading.Event, response: bytes, kind: type[MirrorError], message: str
) -> None:
    """A page that fails is the failure of the fetch; the others are not awaited."""
    begun = threading.Event()
    server = serve(first_and_then(after(begun, response), hanging(released, begun)))
    assert_fails(server, kind, message, timeout=LONG, deadline=10 * LONG)


def test_a_list_too_large_over_all_its_pages_ends_hanging_requests(
    serve: Serve, released: threading.Event
) -> None:
    """The size is that of the whole list, whichever pages are received at once."""
    begun = threading.Event()
    server = serve(first_and_then(after(begun, RESPONSES[1]), hanging(released, begun)))
    limits = {"timeout": LONG, "max_bytes": len(BODIES[0] + BODIES[1]) - 1}
    assert_fails(server, ApiError, "raise --max-bytes", **limits)


def test_the_size_is_that_of_the_list_not_of_failed_attempts(serve: Serve) -> None:
    """The bytes of an incomplete response do not count towards the size of the list."""
    cuts = iter([RESPONSES[3][:-9]] * 4)
    assert_complete(serve(replaced(p4=lambda _: next(cuts, RESPONSES[3]))), max_bytes=SIZE)


def test_the_deadline_ends_hanging_requests(serve: Serve, released: threading.Event) -> None:
    """However many responses hang, the deadline ends the wait for each of them."""
    server = serve(first_and_then(hanging(released)))
    assert_fails(server, ApiUnavailable, "raise --deadline", timeout=LONG, deadline=0.3)


def test_the_deadline_ends_encrypted_connections(
    released: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With TLS, too, headers that arrive byte by byte end with the deadline."""
    context, certificate = tls_server(tmp_path, "api.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "api.example")
    find = socket.getaddrinfo
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda _host, *more, **options: find("127.0.0.1", *more, **options),
    )
    begun = threading.Event()

    def drip(listening: socket.socket) -> None:
        while not begun.is_set():
            with suppress(OSError), context.wrap_socket(listening.accept()[0], True) as connection:
                connection.recv(4096)
                connection.sendall(HEAD + b"X: ")
                for _byte in range(6000):
                    released.wait(0.02)
                    connection.sendall(b"x")
                    begun.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=drip, args=(listening,), daemon=True)
        server.start()
        base_url = f"https://api.example:{listening.getsockname()[1]}/api/v1"
        for deadline in (0.5, 5, LONG):  # until it suffices for the handshake
            if not begun.is_set():
                assert_fails(base_url, ApiUnavailable, "raise --deadline", deadline=deadline)
        assert begun.is_set()
        released.set()
        server.join()


def test_an_interrupt_ends_hanging_requests(serve: Serve, released: threading.Event) -> None:
    """Ctrl+C ends a fetch at once, with many requests in flight."""
    main = threading.main_thread().ident
    assert main is not None
    begun = threading.Event()

    def interrupt(_: HttpRequest) -> Iterable[bytes]:
        assert begun.wait(LONG)
        signal.pthread_kill(main, signal.SIGINT)
        yield HANGING
        released.wait(LONG)

    hang = hanging(released, begun)
    server = serve(first_and_then(hang, hang, interrupt, hanging(released)))
    with pytest.raises(KeyboardInterrupt):
        fetch(server, timeout=LONG)


def test_a_cancelled_request_is_not_logged(
    serve: Serve, released: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancelled request tells nothing about the API."""
    begun = threading.Event()
    caplog.set_level("DEBUG", "mirror")
    server = serve(first_and_then(after(begun, http(404)), hanging(released, begun)))
    assert_fails(server, ApiError)
    logged = [re.sub(" in .*", "", message.partition("?")[2]) for message in caplog.messages]
    assert logged == [
        f"page=1&per_page=100: 200, {len(BODIES[0])} bytes",
        "page=2&per_page=100: 404, 0 bytes",
    ]


# The cached list


def test_the_same_pages_are_not_modified(serve: Serve) -> None:
    """A list in pages is the cached one if all its bytes are, in the order of the pages."""
    known = CachedList(None, DIGEST, 24)
    result, client = try_fetch(serve(backwards()), known)
    assert result == NotModified(None)
    assert (client.pages, client.received) == (8, SIZE)
    assert fetch(serve(by_page(paged([*PAGES[1:], PAGES[0]]))), known=known).scan.count == 24


@pytest.mark.parametrize("changed", [{"total": 25}, {"last_page": 9}])
def test_known_bytes_do_not_excuse_pages_of_another_list(
    serve: Serve, changed: dict[str, Any]
) -> None:
    """Each page has to state that it belongs to the list, whatever is cached."""
    last = paged(PAGES, **changed)[7]
    digest = xxh3_128_hexdigest(b"".join([*BODIES[:7], body_of(last)]))
    known = CachedList(None, digest, 24)
    assert_fails(serve(replaced(p8=last)), ApiError, "another length", known=known)


def test_a_known_list_is_not_decoded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal bytes of an unpaged list prove that it is the cached one; its ETag is the new one."""
    body = envelope([request(1), request(2)])
    known = CachedList('"old"', xxh3_128_hexdigest(body), 2)
    monkeypatch.setattr("mirror.api.client.parse_page", None)
    result, client = try_fetch(serve(http(200, body, 'ETag: "new"')), known)
    assert (result, client.pages, client.received) == (NotModified('"new"'), 1, len(body))


def test_a_known_list_as_long_as_a_page_is_verified_again(serve: Serve) -> None:
    """The same 100 entries may be page 1 of more by now, so its ETag proves nothing either."""
    body = envelope([request(number) for number in range(100)])
    known = CachedList('"old"', xxh3_128_hexdigest(body), 100)
    server = serve(http(200, body, 'ETag: "new"'))
    assert try_fetch(server, known)[0] == NotModified('"new"')
    assert server.pages == [1, 2]
    assert all("if-none-match" not in sent.headers for sent in server.requests)
    more = serve(by_page([http(200, body), http(200, envelope([request(100)]))]))
    assert_fails(more, ApiError, "page 2 has", known=known)
    ended = fetch(serve(by_page([http(200, body), http(404)])), known=known)
    assert (ended.scan.count, ended.etag) == (100, None)


def test_any_number_of_pages_may_be_announced(serve: Serve) -> None:
    """A number that is too large for a float is no reason to break, with any deadline."""
    pages = paged(PAGES, last_page=10**30, total=None)
    server = serve(by_page([*pages[:3], http(404, b'{"message":"no such page"}')]))
    assert_fails(server, ApiError, "no such page", deadline=9e14)


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_the_digest_is_that_of_all_bytes(serve: Serve, size: int) -> None:
    """Of a body of any size, however many chunks it arrives in."""
    body = envelope([request(1, reason="x" * size)])
    assert fetch(serve(http(200, body))).digest == xxh3_128_hexdigest(body)


# The rate


LIMITED = [page.replace(b"\r\n", b"\r\nX-RateLimit-Limit: 3\r\n", 1) for page in RESPONSES]


@pytest.mark.parametrize(
    ("responses", "fields", "expected"),
    [
        (RESPONSES, {"rate": 4}, [0] * 4 + [60] * 4),
        (LIMITED, {}, [0] * 3 + [60] * 3 + [120] * 2),
    ],
    ids=["that-of-the-settings", "that-of-the-api"],
)
def test_all_requests_share_the_rate(
    serve: Serve, responses: list[bytes], fields: dict[str, int], expected: list[int]
) -> None:
    """The rate is that of all requests together, lowered by the API from its first response on."""
    assert sent_times(serve(by_page(responses)), FakeClock(), **fields) == expected


def test_a_429_that_outlasts_the_deadline_ends_the_fetch(serve: Serve) -> None:
    """A wait that would end too late is not begun; the error is that of the API."""
    server = serve(first_and_then(http(429, b"", "Retry-After: 86400")))
    assert_fails(server, ApiUnavailable, "it asks to wait 86400 seconds")
