"""The client: the whole list or an error, whatever the other end of the line does."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate
from typing import Any, Literal

import pytest
import stamina

from mirror.api.client import MAX_CONSISTENCY_ATTEMPTS, CachedList, Client, FetchedList, NotModified
from mirror.api.http import ATTEMPTS
from mirror.api.rate_limit import Clock
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from mirror.sandbox.server import Sandbox
from mirror.version import __version__
from tests.support.fake_clock import FakeClock, turns
from tests.support.http_servers import Answer, Question, Scripted, by_page, envelope, http, paged
from tests.support.upstream import TOKEN, FakeUpstream, request

Serve = Callable[..., Scripted]

FIRST = "/api/v1/phone-numbers/release-requests?page=1&per_page=100"
GOOD = http(200, envelope([request(1), request(2)]))
DOWN = http(503, b"<html>busy</html>")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that give the answers they are told to."""
    with ExitStack() as stack:

        def start(*answers: Answer) -> Scripted:
            return stack.enter_context(Scripted(answers).running())

        yield start


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Lets the client wait as it does in earnest, in no time."""
    with stamina.set_testing(False):
        yield FakeClock()


def settings(base_url: str, token: str = TOKEN, **fields: Any) -> ApiSettings:
    """How to talk to a server."""
    return ApiSettings(base_url, Secret(token), **fields)


def known_as(etag: str | None = None, sha256: str = "", entries: int = 1) -> CachedList:
    """A list that is known already."""
    return CachedList(etag, sha256, entries)


def read(
    server: Scripted | Sandbox,
    known: CachedList | None = None,
    clock: Clock | None = None,
    **fields: Any,
) -> FetchedList | NotModified:
    """Read the list of a server once, its entries too."""
    with Client(settings(server.base_url, **fields), clock) as client:
        return in_hand(client.read_list(known))


def in_hand(found: FetchedList | NotModified) -> FetchedList | NotModified:
    """Take the entries of a list out of its temporary file."""
    return replace(found, items=list(found.items)) if isinstance(found, FetchedList) else found


def listing(server: Scripted | Sandbox, **fields: Any) -> FetchedList:
    """Read the list of a server, which must come."""
    found = read(server, **fields)
    assert isinstance(found, FetchedList)
    return found


def failure(server: Scripted, **fields: Any) -> MirrorError:
    """Read the list of a server, which must fail."""
    with pytest.raises(MirrorError) as raised:
        read(server, **fields)
    return raised.value


def ids(listing: FetchedList) -> list[str]:
    """The ids of a list, in its order."""
    return [json.loads(bytes(raw))["id"] for raw in listing.items]


def asked_pages(server: Scripted) -> list[int]:
    """The pages that were asked for, in order."""
    return [question.page for question in server.asked]


# A list that comes whole


def test_the_documented_question_is_asked(serve: Serve) -> None:
    """One question for the list, with the token, and with who asks."""
    server = serve(GOOD)
    assert ids(listing(server)) == ["request-1", "request-2"]
    (question,) = server.asked
    assert question.target == FIRST
    assert question.headers["authorization"] == f"Bearer {TOKEN}"
    assert question.headers["user-agent"] == f"talkover-mirror/{__version__}"
    assert question.headers["accept"] == "application/json"
    assert "if-none-match" not in question.headers


def test_a_list_that_comes_whole_is_read_with_one_question(
    sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """An API that does not page ignores the paging that was asked for, and all entries come."""
    upstream.records = [request(number) for number in range(250)]
    with Client(settings(sandbox.base_url)) as client:
        got = in_hand(client.read_list())
    assert isinstance(got, FetchedList)
    assert ids(got) == [f"request-{number}" for number in range(250)]
    assert (got.repeated, got.etag) == (frozenset(), None)
    assert (client.pages, client.received) == (1, len(envelope(upstream.records)))
    assert got.sha256 == hashlib.sha256(envelope(upstream.records)).hexdigest()
    assert sandbox.asked == [FIRST]


def test_ids_that_occur_more_than_once_are_told(serve: Serve) -> None:
    """A list that was not paged may repeat ids; which ones is passed on, and nothing is dropped."""
    got = listing(serve(http(200, envelope([request(1), request(2), request(1)]))))
    assert (got.count, got.repeated) == (3, frozenset({"request-1"}))


def test_compressed_answers_are_read(serve: Serve) -> None:
    """A compressed body gives the same list, and counts with its real size."""
    body = envelope([request(1)])
    server = serve(http(200, gzip.compress(body), "Content-Encoding: gzip"))
    with Client(settings(server.base_url)) as client:
        got = client.read_list()
    assert isinstance(got, FetchedList)
    assert client.received == len(body)
    assert got.sha256 == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + envelope([request(1)]),
        b"HTTP/1.0 200 OK\r\n\r\n" + envelope([request(1)]),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(envelope([request(1)])), envelope([request(1)])),
    ],
    ids=["until-the-close", "http-1.0", "chunked"],
)
def test_answers_without_a_length_are_read(serve: Serve, answer: bytes) -> None:
    """A body needs no stated length to be whole."""
    server = serve(answer)
    assert ids(listing(server)) == ["request-1"]
    assert len(server.asked) == 1


# A list in pages


@pytest.mark.parametrize("paging", ["meta", "pagination"])
@pytest.mark.parametrize(("records", "pages"), [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_a_list_in_pages_is_read_to_the_end(
    sandbox: Sandbox,
    upstream: FakeUpstream,
    paging: Literal["meta", "pagination"],
    records: int,
    pages: int,
) -> None:
    """Each page is asked for once, the first one first, and the entries keep their order."""
    sandbox.manner.paging = paging
    upstream.records = [request(number) for number in range(records)]
    with Client(settings(sandbox.base_url)) as client:
        got = in_hand(client.read_list())
    assert isinstance(got, FetchedList)
    assert ids(got) == [f"request-{number}" for number in range(records)]
    assert client.pages == pages
    assert sandbox.asked[0] == FIRST
    assert sorted(sandbox.asked) == [
        FIRST.replace("page=1&", f"page={number}&") for number in range(1, pages + 1)
    ]


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(
    "paging",
    [
        {},
        {"last_page": None},
        {"last_page": "2", "total": "4", "per_page": "2"},
        {"total": None, "per_page": None},
    ],
    ids=["all", "without-last-page", "texts", "without-total"],
)
def test_any_paging_that_says_where_it_ends_is_followed(
    serve: Serve, key: str, paging: dict[str, Any]
) -> None:
    """The number of pages is stated, or follows from `total` and `per_page`."""
    pages = [[request(1), request(2)], [request(3), request(4)]]
    server = serve(*paged(pages, key, **paging))
    assert ids(listing(server)) == [f"request-{number}" for number in (1, 2, 3, 4)]
    assert asked_pages(server) == [1, 2]


def test_pages_may_be_smaller_than_asked_for(serve: Serve) -> None:
    """An API that caps the size of its pages is still read to the end."""
    server = serve(by_page(paged([[request(number)] for number in range(5)])))
    assert ids(listing(server)) == [f"request-{number}" for number in range(5)]
    assert sorted(asked_pages(server)) == [1, 2, 3, 4, 5]


def test_entries_that_cannot_be_understood_do_not_make_a_list_incomplete(serve: Serve) -> None:
    """An entry without a usable id counts as one: it goes to quarantine, the list is whole."""
    pages: list[list[object]] = [
        [request(1), "junk", "junk"],
        [request(2, id=""), {}, request(3, id=5)],
    ]
    assert listing(serve(*paged(pages))).count == 6


@pytest.mark.parametrize(
    "paging",
    [
        {"last_page": None, "per_page": None},
        {"last_page": None, "total": None},
        {"last_page": None, "per_page": 0},
        {"last_page": None, "total": None, "per_page": None},
    ],
    ids=["total-alone", "per-page-alone", "per-page-zero", "current-page-alone"],
)
def test_paging_without_an_end_is_refused(serve: Serve, paging: dict[str, Any]) -> None:
    """A list in pages that does not say how many cannot be proven whole, and is not asked again."""
    server = serve(*paged([[request(1)], [request(2)]], **paging))
    error = failure(server)
    assert type(error) is ApiError
    assert "does not say how many" in str(error)
    assert "report this" in str(error)
    assert asked_pages(server) == [1]


@pytest.mark.parametrize("given", [[2], [0], [1, 1], [1, 3], [1, 2, 2], [1, 3, 2]], ids=str)
def test_another_page_than_asked_for_is_refused(serve: Serve, given: list[int]) -> None:
    """An API that does not give the page that was asked for cannot be read to the end."""
    paging = {"last_page": 3, "per_page": 1, "total": 3}
    answers = [
        http(200, envelope([request(number)], meta=paging | {"current_page": number}))
        for number in given
    ]
    error = failure(serve(by_page(answers)))
    assert type(error) is ApiError
    wrong = next(number for number, page in enumerate(given, start=1) if page != number)
    assert f"gave page {given[wrong - 1]} when asked for page {wrong}" in str(error)
    assert "report this" in str(error)


# A list that moves


ONE, TWO, THREE, FOUR = (request(number) for number in (1, 2, 3, 4))
STILL = paged([[ONE, TWO], [THREE, FOUR]])
MOVED = {
    "duplicate-across-pages": paged([[ONE, TWO], [TWO, FOUR]]),
    "duplicate-and-total-fits": paged([[ONE, TWO], [TWO, FOUR]], total=3),
    "duplicate-on-one-page": paged([[ONE, ONE], [THREE, FOUR]], total=3),
    "other-total-on-page-2": [STILL[0], paged([[ONE, TWO], [THREE, FOUR]], total=5)[1]],
    "other-last-page-on-page-2": [STILL[0], paged([[ONE, TWO], [THREE, FOUR]], last_page=3)[1]],
    "no-paging-on-page-2": [STILL[0], http(200, envelope([THREE, FOUR]))],
    "fewer-than-total": paged([[ONE, TWO], [THREE]], total=4),
    "more-than-total": paged([[ONE, TWO], [THREE, FOUR]], total=3),
    "empty-last-page": paged([[ONE, TWO], []], total=4),
    "empty-last-page-without-total": paged([[ONE, TWO], []], total=None),
    "growing-page-without-total": paged([[ONE], [TWO, THREE]], total=None),
}


@pytest.mark.parametrize("moved", MOVED.values(), ids=MOVED)
def test_a_list_that_moved_is_read_again(serve: Serve, moved: list[bytes]) -> None:
    """A later reading that holds still gives the list; after three there may be another sync."""
    assert MAX_CONSISTENCY_ATTEMPTS == 3
    still = listing(serve(*STILL))
    for before in (1, 2):
        server = serve(*moved * before, *STILL)
        assert listing(server) == still
        assert ids(still) == [f"request-{number}" for number in (1, 2, 3, 4)]
        assert asked_pages(server) == [1, 2] * (before + 1)
    server = serve(*moved * 3)
    error = failure(server)
    assert isinstance(error, ApiUnavailable)
    assert "kept changing" in str(error)
    assert "try again later" in str(error)
    assert asked_pages(server) == [1, 2] * 3


@pytest.mark.parametrize("sizes", [[0, 1, 1], [2, 1, 2], [2, 0, 1], [2, 2, 0], [1, 1, 2]], ids=str)
def test_pages_without_a_total_must_be_full(serve: Serve, sizes: list[int]) -> None:
    """Where no total proves it, only the last page may have less entries than the first one."""
    numbers = iter(range(9))
    pages = [[request(next(numbers)) for _ in range(size)] for size in sizes]
    error = failure(serve(by_page(paged(pages, total=None))))
    assert isinstance(error, ApiUnavailable)
    assert "entries, not" in str(error)


def test_a_last_page_without_a_total_may_be_shorter(serve: Serve) -> None:
    """A list whose length is no multiple of that of its pages ends with a short one."""
    server = serve(*paged([[ONE, TWO], [THREE]], total=None))
    assert ids(listing(server)) == ["request-1", "request-2", "request-3"]


def test_what_was_read_in_vain_is_counted_but_not_held_against_the_size(serve: Serve) -> None:
    """The cap is on the list; what all readings took is told."""
    moved = MOVED["fewer-than-total"]
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in (*moved, *STILL)]
    cap = sum(len(body) for body in bodies[2:])
    server = serve(*moved, *STILL)
    with Client(settings(server.base_url, max_bytes=cap)) as client:
        assert isinstance(client.read_list(), FetchedList)
    assert (client.pages, client.received) == (4, sum(len(body) for body in bodies))


# ETag


def test_a_list_that_is_known_is_not_sent_again(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """The ETag of a list saves reading it again, until it changes."""
    sandbox.manner.etag = True
    upstream.records = [request(1)]
    known = listing(sandbox).etag
    assert known
    with Client(settings(sandbox.base_url)) as client:
        assert client.read_list(known_as(known)) == NotModified(known)
    assert (client.pages, client.received) == (0, 0)
    upstream.records = [request(1, status="approved")]
    sandbox.forget()
    changed = listing(sandbox, known=known_as(known))
    assert changed.etag not in {None, known}


@pytest.mark.parametrize("etag", ['"abc"', 'W/"a, b"', "unquoted", '"é"'])
def test_an_etag_goes_back_as_it_came(serve: Serve, etag: str) -> None:
    """The next pull gives back any ETag as it came; RFC 9110 allows bytes over 127 in it."""
    server = serve(http(200, envelope([]), f"ETag: {etag}"), http(304))
    known = listing(server).etag
    assert known is not None
    assert read(server, known_as(known)) == NotModified(known)
    assert server.asked[1].headers["if-none-match"].encode("latin-1") in {
        etag.encode("latin-1"),
        etag.encode(),
    }


def test_the_etag_of_a_page_is_not_that_of_the_list(serve: Serve) -> None:
    """A list in pages has no ETag of its own, and only its first page is asked for by one."""
    answers = [one.replace(b"\r\n\r\n", b'\r\nETag: "page"\r\n\r\n', 1) for one in STILL]
    server = serve(*answers)
    assert listing(server, known=known_as('"old"')).etag is None
    assert [question.headers.get("if-none-match") for question in server.asked] == ['"old"', None]


def test_a_304_that_was_not_asked_for_is_refused(serve: Serve) -> None:
    """Without an ETag there is nothing that could be the same."""
    server = serve(http(304))
    error = failure(server)
    assert type(error) is ApiError
    assert "304" in str(error)
    assert len(server.asked) == 1


# Errors that are final


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_final(serve: Serve, status: int) -> None:
    """A token that is refused is not tried again; the error says so, and what to check."""
    said = {"success": False, "error": {"code": "UNAUTHORIZED", "message": "Token expired"}}
    server = serve(http(status, json.dumps(said).encode()))
    error = failure(server)
    assert isinstance(error, TokenRefused)
    assert f"answered {status}: UNAUTHORIZED: Token expired" in str(error)
    assert "Check the token" in str(error)
    assert len(server.asked) == 1


FINAL = {
    400: "report this",
    402: "report this",
    404: "Check --base-url",
    405: "report this",
    410: "report this",
    422: "report this",
    201: "report this",
    204: "report this",
}


@pytest.mark.parametrize(("status", "advice"), FINAL.items())
def test_other_answers_are_final(serve: Serve, status: int, advice: str) -> None:
    """What asking again would not change is asked once, and the error says what to do."""
    said = b"" if status == 204 else b'{"success":false,"message":"Not like this","code":"NO"}'
    server = serve(http(status, said))
    error = failure(server)
    assert type(error) is ApiError
    assert f"answered {status}" in str(error)
    assert advice in str(error)
    assert ("NO: Not like this" in str(error)) is (status != 204)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"success":false,"data":[],"message":"No plan","code":"PLAN"}', "PLAN: No plan"),
        (b'{"success":true,"data":null}', "`data` is not an array"),
        (b"<!doctype html><h1>Login</h1>", "HTML page"),
        (envelope([], meta={"last_page": "many"}), "paging"),
        (b"", "empty"),
    ],
    ids=["success-false", "no-list", "html", "paging", "empty"],
)
def test_a_200_that_is_no_list_is_final(serve: Serve, body: bytes, said: str) -> None:
    """Status 200 alone proves nothing; the error says what came and what to check."""
    server = serve(http(200, body))
    error = failure(server)
    assert type(error) is ApiError
    assert said in str(error)
    assert "Check --base-url" in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize("rest", [b"", b'{"success":fal'], ids=["no-body", "cut-body"])
def test_a_final_answer_is_final_also_if_its_body_is_cut(serve: Serve, rest: bytes) -> None:
    """The status has said it all: a refused token is not sent five times for want of a body."""
    for status, kind in (
        (401, TokenRefused),
        (403, TokenRefused),
        (404, ApiError),
        (422, ApiError),
    ):
        server = serve(b"HTTP/1.1 %d No\r\nContent-Length: 500\r\n\r\n" % status + rest)
        error = failure(server)
        assert type(error) is kind
        assert f"answered {status}" in str(error)
        assert len(server.asked) == 1


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, status: int) -> None:
    """The token goes to the base URL alone, wherever an answer points."""
    other = serve(GOOD)
    said = b'{"success":false,"message":"Not like this"}'
    server = serve(http(status, said, f"Location: {other.base_url}/elsewhere"))
    error = failure(server)
    assert type(error) is ApiError
    assert f"answered {status}" in str(error)
    assert f"{other.base_url}/elsewhere" in str(error)
    assert "Not like this" not in str(error)
    assert "redirects are not followed, correct --base-url" in str(error)
    assert (len(server.asked), other.asked) == (1, [])


# Errors that another attempt may get over


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_an_api_that_is_down_is_asked_five_times(serve: Serve, status: int) -> None:
    """Up to four failures of a request leave no trace; after five the run may be tried again."""
    assert ATTEMPTS == 5
    down = http(status, b'{"success":false,"message":"Not now","code":"BUSY"}')
    for failures in (1, 4):
        server = serve(*[down] * failures, GOOD)
        assert ids(listing(server)) == ["request-1", "request-2"]
        assert len(server.asked) == failures + 1
    server = serve(down)
    error = failure(server)
    assert isinstance(error, ApiUnavailable)
    assert f"answered {status}: BUSY: Not now" in str(error)
    assert "(tried 5 times); try again later" in str(error)
    assert len(server.asked) == 5


def test_each_page_has_its_attempts(serve: Serve) -> None:
    """Failures of one page use up no attempts of another."""
    server = serve(*[DOWN] * 4, STILL[0], *[DOWN] * 4, STILL[1])
    assert listing(server).count == 4
    assert asked_pages(server) == [1] * 5 + [2] * 5


BODY = envelope([request(1), request(2)])
HEAD = b"HTTP/1.1 200 OK\r\n"
CUT = {
    "no-answer": b"",
    "cut-in-the-status-line": b"HTTP/1.",
    "cut-in-the-head": HEAD + b"Content-Type: applica",
    "length-and-no-body": HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY),
    "length-and-cut": HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:-1],
    "length-larger-than-the-list": HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 1) + BODY,
    "chunk-cut": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY[:-9],
    "last-chunk-missing": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n"
    ),
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


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_an_answer_that_is_cut_short_is_asked_for_again(serve: Serve, cut: bytes) -> None:
    """A part of a list is never taken for the list: another attempt brings it, or the run fails."""
    server = serve(cut, GOOD)
    assert listing(server) == listing(serve(GOOD))
    assert len(server.asked) == 2
    server = serve(cut)
    error = failure(server)
    assert isinstance(error, ApiUnavailable)
    assert "(tried 5 times); try again later" in str(error)
    assert len(server.asked) == 5


def test_a_port_where_nobody_listens() -> None:
    """A refused connection is a failure for now, and the error says where to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{free.getsockname()[1]}/api/v1"
        with Client(settings(base_url)) as client, pytest.raises(ApiUnavailable) as raised:
            client.read_list()
    assert f"the connection to {base_url} failed" in str(raised.value)
    assert "(tried 5 times); try again later" in str(raised.value)


@pytest.mark.parametrize("host", ["a..example", "x" * 64 + ".example", "xn--"])
def test_a_host_that_cannot_exist(host: str) -> None:
    """A base URL whose host no name server could know is an error with advice, not a traceback."""
    with pytest.raises(MirrorError, match="--base-url"), Client(settings(f"https://{host}")) as one:
        one.read_list()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HTTPS_PROXY", "socks5://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:1", "(?i)proxy"),
        ("HTTPS_PROXY", "http://127.0.0.1:port", "(?i)proxy"),
        ("HTTPS_PROXY", "http://[::1", "(?i)proxy"),
        ("NO_PROXY", "http://[::1", "(?i)proxy"),
        ("SSL_CERT_FILE", "/nonexistent/certificates.pem", "(?i)cert"),
    ],
)
def test_surroundings_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """A proxy or certificate file that cannot be used is an error with advice, not a traceback."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(MirrorError, match=said), Client(settings("https://host.invalid")):
        pass


def test_the_token_does_not_pass_through_a_proxy_unencrypted(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain http goes straight to the loopback address, whatever proxy the surroundings name."""
    proxy, server = serve(GOOD), serve(GOOD)
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy.base_url.removesuffix("/api/v1"))
    assert listing(server).count == 2
    assert proxy.asked == []


# Waits


def test_attempts_back_off(serve: Serve, clock: FakeClock) -> None:
    """Waits begin at half a second and double, each with up to half a second of jitter."""
    failure(serve(DOWN), clock=clock)
    assert len(clock.waits) == 4
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
"""A header, or how far away the date in it is; and the shortest and the longest wait."""


@pytest.mark.parametrize("value", RETRY_AFTER)
def test_retry_after_is_obeyed(serve: Serve, clock: FakeClock, value: str) -> None:
    """The API says how long to wait, in seconds or as a date; nonsense is as if it had not."""
    header, least, most = RETRY_AFTER[value]
    for status in (429, 503):
        clock.waits.clear()
        said = header if isinstance(header, str) else _date(header)
        server = serve(http(status, b"", f"Retry-After: {said}"), GOOD)
        assert listing(server, clock=clock).count == 2
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
    """If the API asks for more patience than there is, the run gives up at once."""
    server = serve(lambda _: http(429, b"", f"Retry-After: {value()}"))
    error = failure(server, clock=clock, deadline=900)
    assert isinstance(error, ApiUnavailable)
    assert "answered 429" in str(error)
    assert "try again later" in str(error)
    assert "tried" not in str(error)
    assert (clock.waits, len(server.asked)) == ([], 1)


@pytest.mark.parametrize("deadline", [3.2, 5.6])
def test_no_wait_passes_the_deadline(serve: Serve, clock: FakeClock, deadline: float) -> None:
    """The deadline includes the waits: a run that cannot be in time does not wait for it."""
    began = clock.time
    error = failure(serve(DOWN), clock=clock, deadline=deadline)
    assert isinstance(error, ApiUnavailable)
    assert "try again later" in str(error)
    assert clock.time - began <= deadline


def late(clock: FakeClock, seconds: float, answer: bytes) -> Answer:
    """An answer that takes some time, for the whole world."""

    def say(_: Question) -> bytes:
        clock.time += seconds
        return answer

    return say


def test_requests_keep_to_the_rate(serve: Serve, clock: FakeClock) -> None:
    """In any 60 seconds no more requests are sent than allowed, and no fewer than possible."""
    server = serve(by_page(paged([[request(number)] for number in range(7)])))
    with Client(settings(server.base_url, rate=3), clock) as client:
        sent = turns(client._transport.budget)
        assert isinstance(client.read_list(), FetchedList)
    assert [at - sent[0] for at in sent] == [0, 0, 0, 60, 60, 60, 120]
    assert clock.waits == [60, 60]


def test_attempts_keep_to_the_rate(serve: Serve, clock: FakeClock) -> None:
    """An attempt is a request like any other, and its time counts from when it was sent."""
    server = serve(*[late(clock, 10, DOWN)] * 4, late(clock, 10, GOOD))
    with (
        stamina.set_testing(True, attempts=5),
        Client(settings(server.base_url, rate=2), clock) as client,
    ):
        sent = turns(client._transport.budget)
        assert isinstance(client.read_list(), FetchedList)
    assert [at - sent[0] for at in sent] == [0, 10, 60, 70, 120]
    assert clock.waits == [40, 40]


def test_a_rate_that_cannot_meet_the_deadline_is_told(serve: Serve, clock: FakeClock) -> None:
    """If pacing alone would pass the deadline, the run says which setting to raise."""
    server = serve(*paged([[request(number)] for number in range(3)]))
    error = failure(server, clock=clock, rate=2, deadline=60)
    assert isinstance(error, ApiUnavailable)
    assert "raise --rate or --deadline" in str(error)
    assert (len(server.asked), clock.waits) == (1, [])


# Limits


@pytest.mark.parametrize(("pages", "meets"), [(4, True), (5, False), (10**12, False)])
def test_more_pages_than_there_is_time_for_are_not_begun(
    serve: Serve, clock: FakeClock, pages: int, meets: bool
) -> None:
    """The first page tells whether the rate allows to read the rest before the deadline."""
    answers = paged([[request(number)] for number in range(4)], last_page=pages, total=pages)
    server = serve(by_page(answers))
    with Client(settings(server.base_url, rate=2, deadline=61), clock) as client:
        if meets:
            found = client.read_list()
            assert isinstance(found, FetchedList)
            assert found.count == 4
        else:
            with pytest.raises(ApiUnavailable, match="raise --rate or --deadline"):
                client.read_list()
            assert len(server.asked) == 1


def test_a_deadline_that_is_over_ends_the_pull(serve: Serve, clock: FakeClock) -> None:
    """Between pages too the deadline holds, and the error names it."""
    answers = paged([[request(number)] for number in range(5)])
    server = serve(by_page([late(clock, 40, one) for one in answers]))
    error = failure(server, clock=clock, deadline=100)
    assert isinstance(error, ApiUnavailable)
    assert "longer than the 100 seconds allowed" in str(error)
    assert "raise --deadline" in str(error)
    assert asked_pages(server)[0] == 1


def test_a_deadline_that_is_over_before_the_first_request(serve: Serve) -> None:
    """Nothing is sent when there is no time for an answer."""
    server = serve(GOOD)
    error = failure(server, deadline=1e-9)
    assert isinstance(error, ApiUnavailable)
    assert "raise --deadline" in str(error)
    assert server.asked == []


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\n{"])
def test_a_server_that_falls_silent_is_given_up(serve: Serve, sent: bytes) -> None:
    """Without a byte for the time-out an attempt ends, wherever the answer has come to."""
    done = threading.Event()

    def stall(_: Question) -> Iterable[bytes]:
        yield sent
        done.wait(10)

    error = failure(serve(stall), timeout=0.02)
    done.set()
    assert isinstance(error, ApiUnavailable)
    assert "sent nothing for 0.02 seconds" in str(error)
    assert "(tried 5 times); try again later" in str(error)


def test_the_silence_that_is_told_is_the_silence_there_was(serve: Serve) -> None:
    """If the deadline ends a silence, the error does not speak of a longer time-out."""
    done = threading.Event()

    def stall(_: Question) -> Iterable[bytes]:
        done.wait(10)
        yield b""

    error = failure(serve(stall), timeout=30, deadline=0.05)
    done.set()
    assert isinstance(error, ApiUnavailable)
    assert "30 seconds" not in str(error)


SLOW = {
    "body": (HEAD + b"\r\n", "raise --deadline"),
    "head": (HEAD + b"X-Slow: ", "raise --deadline"),
    "error-body": (b"HTTP/1.1 500 No\r\n\r\n", "answered 500"),
    "compressed-body": (
        HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:3] + b"\x08",
        "raise --deadline",
    ),
}


@pytest.mark.parametrize(("start", "said"), SLOW.values(), ids=SLOW)
def test_a_server_that_drips_is_given_up_at_the_deadline(
    serve: Serve, start: bytes, said: str
) -> None:
    """Bytes that keep coming one by one, wherever in an answer, do not stretch the deadline."""
    patience, whole = threading.Event(), threading.Event()

    def drip(_: Question) -> Iterable[bytes]:
        yield start
        for _byte in range(60):
            patience.wait(0.02)
            yield b"x"
        whole.set()

    server = serve(drip)
    error = failure(server, deadline=0.2)
    assert not whole.is_set()
    assert isinstance(error, ApiUnavailable)
    assert said in str(error)
    assert "try again later" in str(error)


@pytest.mark.parametrize("seconds", [1e7, 1e10, 9e14])
def test_any_patience_that_settings_accept_can_be_used(serve: Serve, seconds: float) -> None:
    """A person who wants no limit gives a huge one, which must not end in a traceback."""
    assert listing(serve(GOOD), timeout=seconds, deadline=seconds).count == 2


def test_a_list_may_be_as_large_as_allowed(serve: Serve) -> None:
    """A list of exactly the allowed size is read, over all its pages; one byte more is refused."""
    size = sum(len(answer.partition(b"\r\n\r\n")[2]) for answer in STILL)
    assert listing(serve(*STILL), max_bytes=size).count == 4
    server = serve(*STILL)
    error = failure(server, max_bytes=size - 1)
    assert type(error) is ApiError
    assert f"larger than the {size - 1:,} bytes allowed" in str(error)
    assert "raise --max-bytes" in str(error)
    assert asked_pages(server) == [1, 2]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_body_larger_than_allowed_is_not_read_to_its_end(serve: Serve, compressed: bool) -> None:
    """What is too large is given up while it comes, compressed bombs included."""
    bomb = gzip.compress(b" " * 5_000_000) if compressed else b" " * 5_000_000
    encoding = ["Content-Encoding: gzip"] if compressed else []
    server = serve(http(200, bomb, *encoding))
    allowed = settings(server.base_url, max_bytes=100_000)
    with Client(allowed) as client, pytest.raises(ApiError, match="--max-bytes"):
        client.read_list()
    assert (client.received, len(server.asked)) == (0, 1)


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "deflate", "zstd", "unheard-of"])
def test_other_compressions_than_the_one_asked_for_are_refused(serve: Serve, encoding: str) -> None:
    """Only gzip is unpacked, and only once: its few bytes cannot become more than we can hold."""
    bomb = gzip.compress(gzip.compress(envelope([request(1)])))
    server = serve(http(200, bomb, f"Content-Encoding: {encoding}"))
    error = failure(server)
    assert type(error) is ApiError
    assert repr(encoding) in str(error)
    assert server.asked[0].headers["accept-encoding"] == "gzip"
    assert "answered 418" in str(failure(serve(http(418, b"{", f"Content-Encoding: {encoding}"))))


def test_an_endless_error_is_not_read_to_its_end(serve: Serve) -> None:
    """An error needs no more than the start of its body."""

    def endless(_: Question) -> Iterable[bytes]:
        yield b"HTTP/1.1 404 No\r\n\r\n"
        while True:
            yield b"x" * 65536

    error = failure(serve(endless))
    assert "answered 404" in str(error)


# The token is never shown


def _said(body: dict[str, object]) -> bytes:
    return json.dumps({"success": False} | body).encode()


ECHOES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "message": (TOKEN, lambda token: http(401, _said({"message": f"{token} is wrong"}))),
    "code": (TOKEN, lambda token: http(403, _said({"code": token}))),
    "details": (TOKEN, lambda token: http(404, _said({"error": {"details": {token: [token]}}}))),
    "errors": (TOKEN, lambda token: http(422, _said({"message": "x", "errors": {"t": [token]}}))),
    "server-error": (TOKEN, lambda token: http(500, _said({"message": token}))),
    "success-false": (TOKEN, lambda token: http(200, _said({"message": token, "data": []}))),
    "location": (TOKEN, lambda token: http(302, b"", f"Location: https://e.example/?t={token}")),
    "location-escaped": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7Cabcdefghij"),
    ),
    "location-escaped-otherwise": (
        "1|abcdefghij",
        lambda _: http(302, b"", "Location: https://e.example/?t=1%7cabcdefghij"),
    ),
    "errors-escaped": ('a"bcdefghijkl', lambda token: http(422, _said({"errors": {"t": [token]}}))),
    "status-line": (TOKEN, lambda token: f"HTTP/1.1 {token}\r\n\r\n".encode()),
    "no-status-line": (TOKEN, lambda token: f"{token}\r\n\r\n".encode()),
    "header-line": (TOKEN, lambda token: f"HTTP/1.1 200 OK\r\n{token} x\r\n\r\n".encode()),
    "chunk-header": (
        TOKEN,
        lambda token: f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n".encode(),
    ),
}


@pytest.mark.parametrize(("token", "echo"), ECHOES.values(), ids=ECHOES)
def test_a_server_that_echoes_the_token_does_not_get_it_into_messages_or_logs(
    serve: Serve, caplog: pytest.LogCaptureFixture, token: str, echo: Callable[[str], bytes]
) -> None:
    """However a server says the token back, no error and no log line of the mirror holds it."""
    caplog.set_level(logging.DEBUG, "mirror")
    error = failure(serve(echo(token)), token=token)
    core = token[-10:]
    assert core not in str(error)
    assert not [one for one in caplog.messages if core in one]


@pytest.mark.parametrize("before", [475, 485, 494])
@pytest.mark.parametrize("status", [401, 200])
def test_no_part_of_an_echoed_token_is_left_where_a_message_is_cut(
    serve: Serve, status: int, before: int
) -> None:
    """A long message is cut only after the token was taken out of it."""
    server = serve(http(status, _said({"message": "x" * before + TOKEN})))
    assert TOKEN[:5] not in str(failure(server))


def test_an_ordinary_pull_logs_no_token(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at the most talkative level does any library log the token."""
    caplog.set_level(logging.DEBUG)
    listing(serve(DOWN, STILL[0], DOWN, STILL[1]))
    loggers = {one.name.partition(".")[0] for one in caplog.records}
    assert "mirror" in loggers
    assert "stamina" not in loggers, "its records print the arguments of calls"
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(repr(one.args) for one in caplog.records)


def test_a_list_as_long_as_a_page_is_asked_for_once_more(
    upstream: FakeUpstream, sandbox: Sandbox
) -> None:
    """An API that does not page gives the same list as page 2; then there is nothing behind it."""
    upstream.records = [request(number) for number in range(100)]
    with Client(settings(sandbox.base_url)) as client:
        found = client.read_list()
    assert isinstance(found, FetchedList)
    assert found.count == 100
    assert len(sandbox.asked) == 2


def test_pages_that_are_not_announced_are_not_taken_for_the_list(serve: Serve) -> None:
    """An API that pages without saying so cannot be believed at page 1."""
    first = http(200, envelope([request(number) for number in range(100)]))
    second = http(200, envelope([request(number) for number in range(100, 137)]))
    server = serve(*[first, second] * 3)
    error = failure(server)
    assert isinstance(error, ApiUnavailable)
    assert "page 2 holds others" in str(error)
    assert len(server.asked) == 6


def test_the_command_line_of_httpx_is_not_imported() -> None:
    """It would take as long as all the rest of httpx; who wants it later still gets it."""
    script = (
        "import sys, mirror.api.http\n"
        "print({'httpx._main', 'pygments', 'rich', 'click'} & set(sys.modules))\n"
        "import httpx._main\n"
        "print(httpx._main.main.name)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "main"]
