"""Pages asked for side by side: what comes of them does not depend on which came first."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from mirror.api.client import CachedList, Client, FetchedList, NotModified, concurrency_for_rate
from mirror.api.envelope import parse_page
from mirror.api.prefetch import map_ordered
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import ApiError, ApiUnavailable, DiskUnavailable, MirrorError, TokenRefused
from tests.support.fake_clock import FakeClock, turns
from tests.support.http_servers import (
    HttpRequest,
    HttpResponse,
    ScriptedServer,
    by_page,
    envelope,
    http,
    paged,
)
from tests.support.upstream import TOKEN, request

Serve = Callable[..., ScriptedServer]
LONG = 60.0
"""Seconds that nothing here takes, unless something is wrong."""

PAGES = [[request(10 * page + one) for one in range(3)] for page in range(1, 9)]
ANSWERS = paged(PAGES)
BODIES = [one.partition(b"\r\n\r\n")[2] for one in ANSWERS]
SHA256 = hashlib.sha256(b"".join(BODIES)).hexdigest()
ENTRIES = [parse_page(body).entries for body in BODIES]
HANGING = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that answer each page as they are told to."""
    with ExitStack() as stack:

        def start(pages: list[HttpResponse]) -> ScriptedServer:
            return stack.enter_context(ScriptedServer([by_page(pages)]).running())

        yield start


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Whatever happens, the threads that ask for pages have ended with the pull."""
    yield
    assert [one.name for one in threading.enumerate() if one.name == "mirror-page"] == []


def settings(server: ScriptedServer, **fields: Any) -> ApiSettings:
    """How to talk to a server."""
    return ApiSettings(server.base_url, Secret(TOKEN), **fields)


def failure(server: ScriptedServer, **fields: Any) -> MirrorError:
    """Read the list of a server, which must fail."""
    with Client(settings(server, **fields)) as client, pytest.raises(MirrorError) as raised:
        client.fetch_list()
    return raised.value


def assert_whole(server: ScriptedServer, **fields: Any) -> None:
    """Read the list of a server, which must be that of PAGES, byte for byte, entry for entry."""
    with Client(settings(server, **fields)) as client:
        found = client.fetch_list()
        assert isinstance(found, FetchedList)
        assert list(found.entries) == [entry for page in ENTRIES for entry in page]
    assert (found.count, found.sha256, found.etag) == (24, SHA256, None)


def after(
    event: threading.Event, answer: bytes, then: threading.Event | None = None
) -> HttpResponse:
    """An answer that comes only after an event, and is told by another one."""

    def say(_: HttpRequest) -> Iterable[bytes]:
        assert event.wait(LONG)
        if then is not None:
            then.set()
        yield answer

    return say


def hanging(gone: threading.Event, begun: threading.Event | None = None) -> HttpResponse:
    """An answer that begins and then stops, for as long as the test lasts."""

    def say(_: HttpRequest) -> Iterable[bytes]:
        yield HANGING
        if begun is not None:
            begun.set()
        gone.wait(LONG)

    return say


@pytest.fixture
def gone() -> Iterator[threading.Event]:
    """Lets the servers go that would wait for ever."""
    event = threading.Event()
    yield event
    event.set()


# Order


def test_so_many_pages_at_once() -> None:
    """Enough to use the rate, and never so many that a server would mind."""
    assert [concurrency_for_rate(limit) for limit in (1, 60, 100, 959, 10**14)] == [2, 2, 4, 32, 32]


def backwards() -> list[HttpResponse]:
    """Pages of which 2 comes after 3, and 3 after 4; of 5 to 8 likewise."""
    answers: list[HttpResponse] = list(ANSWERS)
    for last in (4, 8):
        came = threading.Event()
        for number in range(last, last - 3, -1):
            before, came = came, threading.Event()
            if number == last:
                before.set()
            answers[number - 1] = after(before, ANSWERS[number - 1], came)
    return answers


def test_the_order_of_arrival_does_not_matter(serve: Serve) -> None:
    """Pages that come in another order make the same list, byte for byte and entry for entry."""
    assert_whole(serve(backwards()))


def test_the_failure_is_that_of_the_first_page_that_fails(serve: Serve) -> None:
    """Which page fails first in time does not decide what is said; its place in the list does."""
    failed, begun = threading.Event(), threading.Event()
    begun.set()
    pages: list[HttpResponse] = list(ANSWERS)
    pages[2] = after(failed, http(404, b'{"success":false,"code":"THREE"}'))
    pages[3] = after(begun, http(404, b'{"success":false,"code":"FOUR"}'), failed)
    assert "THREE" in str(failure(serve(pages)))


def test_no_more_pages_are_asked_for_than_may_wait() -> None:
    """While a page is waited for, only a few after it are asked for: they have to be held."""
    ahead: list[int] = []
    used = [0]
    as_far_as_may_be = threading.Event()

    def ask(number: int) -> int:
        ahead.append(number - used[0])
        if number == 6:
            as_far_as_may_be.set()
        assert number > 1 or as_far_as_may_be.wait(LONG)
        return number

    for number in map_ordered(ask, range(1, 100), 3, as_far_as_may_be.set):
        used[0] = number
    assert used == [99]
    assert max(ahead) == 6


def test_at_most_so_many_are_in_flight() -> None:
    """The number of questions that have begun and not ended is bounded."""
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Barrier(4)

    def ask(number: int) -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        full.wait(LONG)
        with lock:
            now[0] -= 1
        return number

    assert list(map_ordered(ask, range(40), 4, full.abort)) == list(range(40))
    assert most[0] == 4


def test_a_list_that_moved_is_read_again_while_pages_hang(
    serve: Serve, gone: threading.Event
) -> None:
    """What is in flight for a reading that is over is given up, and the next one is whole."""
    begun, readings = threading.Event(), [0]

    def first(_: HttpRequest) -> bytes:
        readings[0] += 1
        return ANSWERS[0]

    def second(_: HttpRequest) -> Iterable[bytes]:
        if readings[0] == 1:
            assert begun.wait(LONG)
            yield paged(PAGES, total=5)[1]
        else:
            yield ANSWERS[1]

    def third(question: HttpRequest) -> Iterable[bytes]:
        yield from _said(hanging(gone, begun) if readings[0] == 1 else ANSWERS[2], question)

    assert_whole(serve([first, second, third, *ANSWERS[3:]]))
    assert readings == [2]


def _said(answer: HttpResponse, question: HttpRequest) -> Iterable[bytes]:
    said = answer(question) if callable(answer) else answer
    return [said] if isinstance(said, bytes) else said


# Endings


FAILURES = {
    "refused": (http(401), TokenRefused, "answered 401"),
    "not-found": (http(404), ApiError, "answered 404"),
    "no-list": (http(200, b"<html>"), ApiError, "HTML page"),
    "down": (http(503), ApiUnavailable, "tried 5 times"),
    "cut": (HANGING, ApiUnavailable, "tried 5 times"),
}


@pytest.mark.parametrize(("answer", "kind", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failure_ends_what_hangs(
    serve: Serve, gone: threading.Event, answer: bytes, kind: type[MirrorError], said: str
) -> None:
    """A page that fails is the failure of the pull; nobody waits for the others to time out."""
    begun = threading.Event()
    pages: list[HttpResponse] = [ANSWERS[0], after(begun, answer), *[hanging(gone, begun)] * 6]
    error = failure(serve(pages), timeout=LONG, deadline=10 * LONG)
    assert type(error) is kind
    assert said in str(error)


def test_a_list_too_large_over_all_its_pages_ends_what_hangs(
    serve: Serve, gone: threading.Event
) -> None:
    """The size is that of the whole list, whatever threads its pages come by."""
    size = sum(map(len, BODIES[:2]))
    begun = threading.Event()
    server = serve([ANSWERS[0], after(begun, ANSWERS[1]), *[hanging(gone, begun)] * 6])
    error = failure(server, timeout=LONG, max_bytes=size - 1)
    assert type(error) is ApiError
    assert "raise --max-bytes" in str(error)


def test_the_size_is_that_of_the_list_not_of_failed_attempts(serve: Serve) -> None:
    """What came of an answer that was cut does not count towards the size of the list."""
    cuts = iter([ANSWERS[3][:-9]] * 4)
    pages: list[HttpResponse] = list(ANSWERS)
    pages[3] = lambda _: next(cuts, ANSWERS[3])
    assert_whole(serve(pages), max_bytes=sum(map(len, BODIES)))


def test_the_deadline_ends_all_that_hangs(serve: Serve, gone: threading.Event) -> None:
    """However many answers hang, the deadline ends the wait for each of them."""
    error = failure(serve([ANSWERS[0], hanging(gone)]), timeout=LONG, deadline=0.3)
    assert isinstance(error, ApiUnavailable)
    assert "raise --deadline" in str(error)


def test_the_deadline_ends_what_is_encrypted(
    gone: threading.Event, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TLS changes nothing: also a head that comes byte by byte ends with the deadline."""
    if shutil.which("openssl") is None:
        pytest.skip("TLS is not tested: there is no openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-keyout", key, "-out", certificate),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=mirror"),
            *("-addext", "subjectAltName=DNS:api.example"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("NO_PROXY", "api.example")
    find = socket.getaddrinfo
    monkeypatch.setattr(
        "socket.getaddrinfo",
        lambda _host, *more, **options: find("127.0.0.1", *more, **options),
    )
    begun, whole = threading.Event(), threading.Event()

    def drip(listening: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(listening.accept()[0], True) as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            for _byte in range(200):
                gone.wait(0.02)
                connection.sendall(b"x")
                begun.set()
            whole.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=drip, args=(listening,), daemon=True)
        server.start()
        base_url = f"https://api.example:{listening.getsockname()[1]}/api/v1"
        with (
            Client(ApiSettings(base_url, Secret(TOKEN), deadline=0.5)) as client,
            pytest.raises(ApiUnavailable, match="raise --deadline"),
        ):
            client.fetch_list()
        assert begun.is_set()
        assert not whole.is_set()
        gone.set()
        server.join()


def test_an_interrupt_ends_all_that_hangs(serve: Serve, gone: threading.Event) -> None:
    """Ctrl+C ends a pull at once, with many questions in flight."""
    main = threading.main_thread().ident
    assert main is not None
    begun = threading.Event()

    def interrupting(_: HttpRequest) -> Iterable[bytes]:
        assert begun.wait(LONG)
        signal.pthread_kill(main, signal.SIGINT)
        yield HANGING
        gone.wait(LONG)

    pages: list[HttpResponse] = [
        ANSWERS[0],
        *[hanging(gone, begun)] * 2,
        interrupting,
        hanging(gone),
    ]
    with Client(settings(serve(pages), timeout=LONG)) as client, pytest.raises(KeyboardInterrupt):
        client.fetch_list()


def test_an_answer_that_is_not_waited_for_is_not_an_error_of_the_logs(
    serve: Serve, gone: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what is given up nothing is told: it says nothing about the API."""
    begun = threading.Event()
    caplog.set_level("DEBUG", "mirror")
    failure(serve([ANSWERS[0], after(begun, http(404)), *[hanging(gone, begun)] * 6]))
    told = [re.sub(" in .*", "", message.partition("?")[2]) for message in caplog.messages]
    assert told == [
        f"page=1&per_page=100: 200, {len(BODIES[0])} bytes",
        "page=2&per_page=100: 404, 0 bytes",
    ]


# What is kept


def test_the_entries_can_be_read_more_than_once(serve: Serve) -> None:
    """The entries of pages are read from a file, in their order, as often as wanted."""
    with Client(settings(serve(list(ANSWERS)))) as client:
        found = client.fetch_list()
        assert isinstance(found, FetchedList)
        once, again = iter(found.entries), iter(found.entries)
        side_by_side = list(zip(once, again, strict=True))
    wanted = [entry for page in ENTRIES for entry in page]
    assert side_by_side == list(zip(wanted, wanted, strict=True))


def test_pages_on_a_disk_are_those_that_came(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether and when a disk is used changes nothing, after a reading in vain neither."""
    for in_memory in (1, 1000, 1 << 20):
        monkeypatch.setattr("mirror.api.page_store._MAX_MEMORY", in_memory)
        moved = iter([paged(PAGES, total=5)[3]])
        pages: list[HttpResponse] = list(ANSWERS)
        pages[3] = lambda _, moved=moved: next(moved, ANSWERS[3])  # type: ignore[misc]
        assert_whole(serve(pages))


class Full:
    """A temporary file on a disk without room."""

    def __init__(self, *_: object) -> None: ...

    def seek(self, _: int) -> None:
        """Succeed."""

    def truncate(self) -> None:
        """Succeed."""

    def write(self, _: bytes) -> None:
        """Fail."""
        raise OSError(errno.ENOSPC, "No space left on device")

    close = truncate


def test_a_full_disk_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that find no room fail the pull, with what to do."""
    monkeypatch.setattr("mirror.api.page_store.SpooledTemporaryFile", Full)
    error = failure(serve(list(ANSWERS)))
    assert isinstance(error, DiskUnavailable)
    assert "No space left on device" in str(error)
    assert "TMPDIR" in str(error)


def test_a_folder_that_cannot_be_written_is_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is only needed for long lists; where it is, and is missing, the error says so."""
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent/folder")
    assert_whole(serve(list(ANSWERS)))  # a short list stays in memory
    monkeypatch.setattr("mirror.api.page_store._MAX_MEMORY", 100)
    error = failure(serve(list(ANSWERS)))
    assert isinstance(error, DiskUnavailable)
    assert "No such file or directory" in str(error)


def test_a_disk_that_gives_back_something_else_is_noticed(serve: Serve) -> None:
    """What is applied is what was proven, or nothing."""
    with Client(settings(serve(list(ANSWERS)))) as client:
        found = client.fetch_list()
        assert isinstance(found, FetchedList)
        assert client._page_store is not None
        client._page_store._file.seek(len(BODIES[0]) + 40)
        client._page_store._file.write(b"\0")
        with pytest.raises(DiskUnavailable, match="not what was written"):
            list(found.entries)


# Nothing new


def test_the_same_pages_are_nothing_new(serve: Serve) -> None:
    """A list in pages is the known one if all its bytes are, in the order of the pages."""
    known = CachedList(None, SHA256, 24)
    with Client(settings(serve(backwards()))) as client:
        assert client.fetch_list(known) == NotModified(None)
    assert (client.pages, client.received) == (8, sum(map(len, BODIES)))
    with Client(settings(serve(paged([*PAGES[1:], PAGES[0]])))) as client:
        assert isinstance(client.fetch_list(known), FetchedList)


@pytest.mark.parametrize("moved", [{"total": 25}, {"last_page": 9}])
def test_known_bytes_do_not_excuse_pages_that_do_not_fit(
    serve: Serve, moved: dict[str, int]
) -> None:
    """Each page has to say that it belongs to the list, whatever is known."""
    answers = [*ANSWERS[:7], paged(PAGES, **moved)[7]]
    bodies = [one.partition(b"\r\n\r\n")[2] for one in answers]
    known = CachedList(None, hashlib.sha256(b"".join(bodies)).hexdigest(), 24)
    with Client(settings(serve(answers))) as client, pytest.raises(ApiUnavailable, match="kept"):
        client.fetch_list(known)


def test_a_known_list_is_not_decoded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a list that came whole say all there is to know; its ETag is the new one."""
    body = envelope([request(1), request(2)])
    known = CachedList('"old"', hashlib.sha256(body).hexdigest(), 2)
    monkeypatch.setattr("mirror.api.client.parse_page", None)
    with Client(settings(serve([http(200, body, 'ETag: "new"')]))) as client:
        assert client.fetch_list(known) == NotModified('"new"')
    assert (client.pages, client.received) == (1, len(body))


def test_a_known_list_as_long_as_a_page_is_proven_again(serve: Serve) -> None:
    """The same 100 entries may be page 1 of more by now."""
    body = envelope([request(number) for number in range(100)])
    known = CachedList(None, hashlib.sha256(body).hexdigest(), 100)
    server = serve([http(200, body, 'ETag: "new"')])
    with Client(settings(server)) as client:
        assert client.fetch_list(known) == NotModified('"new"')
    assert [question.page for question in server.requests] == [1, 2]
    more = serve([http(200, body), http(200, envelope([request(100)]))])
    with Client(settings(more)) as client, pytest.raises(ApiUnavailable, match="page 2 holds"):
        client.fetch_list(known)


def test_any_number_of_pages_may_be_announced(serve: Serve) -> None:
    """A number that no machine can count to is no reason to break, however long one may wait."""
    pages = paged(PAGES, last_page=10**30, total=None)
    error = failure(serve([*pages[:3], http(404, b'{"message":"no such page"}')]), deadline=9e14)
    assert "no such page" in str(error)


def test_the_hash_is_that_of_all_bytes(serve: Serve) -> None:
    """Of a body of any size, whichever thread computes it."""
    for size in (10, 1 << 20, (1 << 20) + 1, 5_000_000):
        body = envelope([request(1, reason="x" * size)])
        with Client(settings(serve([http(200, body)]))) as client:
            found = client.fetch_list()
        assert isinstance(found, FetchedList)
        assert found.sha256 == hashlib.sha256(body).hexdigest()


# The rate


def test_many_threads_keep_to_the_rate(serve: Serve) -> None:
    """The rate is that of all threads together."""
    clock = FakeClock()
    with Client(settings(serve(list(ANSWERS)), rate=4), clock) as client:
        sent = turns(client._session.rate_limiter)
        assert isinstance(client.fetch_list(), FetchedList)
    assert [at - sent[0] for at in sent] == [0] * 4 + [60] * 4


def test_what_the_api_says_lowers_the_rate(serve: Serve) -> None:
    """An API that allows less than was set is asked less, from its first answer on."""
    clock = FakeClock()
    answers = [one.replace(b"\r\n", b"\r\nX-RateLimit-Limit: 3\r\n", 1) for one in ANSWERS]
    with Client(settings(serve(answers)), clock) as client:
        sent = turns(client._session.rate_limiter)
        assert isinstance(client.fetch_list(), FetchedList)
    assert [at - sent[0] for at in sent] == [0] * 3 + [60] * 3 + [120] * 2


def test_a_refusal_that_outlasts_the_deadline_is_given_up(serve: Serve) -> None:
    """Nobody waits for what comes too late; the error is that of the API."""
    pages: list[HttpResponse] = [ANSWERS[0], http(429, b"", "Retry-After: 86400")]
    error = failure(serve(pages))
    assert isinstance(error, ApiUnavailable)
    assert "it asks to wait 86400 seconds" in str(error)
