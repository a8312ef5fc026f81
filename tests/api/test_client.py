"""The client returns the complete list or an error, whatever the server does."""

from __future__ import annotations

import gzip
import json
import threading
from typing import Any, Literal

import pytest
from xxhash import xxh3_128_hexdigest

from mirror.api.client import MAX_CONSISTENCY_ATTEMPTS, CachedList, Client, FetchedList, NotModified
from mirror.api.entries import EntryScan
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from mirror.sandbox.server import Sandbox
from mirror.version import __version__
from tests.support.api_client import (
    HEAD,
    LONG,
    assert_fails,
    fetch,
    fetch_content,
    settings,
    try_fetch,
)
from tests.support.api_payloads import records_of, unknown_entries
from tests.support.fake_clock import FakeClock
from tests.support.http_servers import (
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


def cached(etag: str | None = None, digest: str = "", count: int = 1) -> CachedList:
    """A list that is known already."""
    return CachedList(etag, digest, count)


def ids(listing: FetchedList) -> list[str]:
    """The ids of a list, in its order."""
    return [json.loads(raw)["id"] for raw in unknown_entries(listing.scan)]


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
    sent, _ = server.requests
    assert sent.target == FIRST
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.headers["user-agent"] == f"talkover-mirror/{__version__}"
    assert sent.headers["accept"] == "application/json"
    assert "if-none-match" not in sent.headers


def test_an_unpaged_list_is_confirmed(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """An API without paging ignores the requested paging, and all entries arrive, once."""
    upstream.records = [request(number) for number in range(250)]
    listing, client = try_fetch(sandbox)
    assert isinstance(listing, FetchedList)
    assert ids(listing) == requests(*range(250))
    assert (listing.scan.repetitions, listing.etag) == (0, None)
    assert (client.pages, client.received) == (2, 2 * len(envelope(upstream.records)))
    assert listing.digest == xxh3_128_hexdigest(envelope(upstream.records))
    assert sandbox.request_log == [FIRST, FIRST.replace("page=1", "page=2", 1)]


def test_repeated_ids_are_reported(serve: Serve) -> None:
    """An unpaged list may repeat ids; they are named, and no entry is dropped."""
    listing = fetch(serve(http(200, envelope([request(1), request(2), request(1)]))))
    assert (listing.scan.count, listing.scan.repetitions) == (3, 1)


def test_compressed_responses_are_read(serve: Serve) -> None:
    """A compressed body gives the same list, and counts with its decompressed size."""
    listing, client = try_fetch(serve(http(200, gzip.compress(BODY), "Content-Encoding: gzip")))
    assert isinstance(listing, FetchedList)
    assert (client.received, listing.digest) == (2 * len(BODY), xxh3_128_hexdigest(BODY))


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
    assert server.pages == [1, 2]


# A list that states no paging, and may be a page


def unstated(*sizes: int) -> list[bytes]:
    """Pages of these lengths that state no paging."""
    numbers = iter(range(sum(sizes)))
    return [http(200, envelope([request(next(numbers)) for _ in range(size)])) for size in sizes]


@pytest.mark.parametrize("size", [1, 14, 15, 40, 100, 101])
def test_a_list_that_may_be_a_page_takes_two_requests(serve: Serve, size: int) -> None:
    """An API without paging gives the same list as page 2, which proves that it ends there."""
    server = serve(http(200, unstated_body(size), 'ETag: "a"'))
    fetched = fetch(server)
    assert (fetched.scan.count, fetched.etag) == (size, '"a"')
    assert fetched.digest == xxh3_128_hexdigest(unstated_body(size))
    assert server.pages == [1, 2]


def unstated_body(size: int) -> bytes:
    """The body of a list in one response."""
    return body_of(unstated(size)[0])


def test_page_2_may_be_page_1_in_other_words(serve: Serve) -> None:
    """With the same ids, page 2 shows that the API ignores the page number: the ETag counts."""
    body = unstated_body(15)
    server = serve(by_page([http(200, body, 'ETag: "a"'), http(200, body.replace(b"[", b"[ "))]))
    assert (fetch(server).etag, server.pages) == ('"a"', [1, 2])


@pytest.mark.parametrize("count", [1, 15, 40, 99, 500])
def test_the_cached_list_takes_one_request(serve: Serve, count: int) -> None:
    """Page 2 is not requested for the bytes of the last complete list; but of one entry more."""
    body = unstated_body(count)
    server = serve(http(200, body))
    known = cached(None, xxh3_128_hexdigest(body), count)
    assert try_fetch(server, known)[0] == NotModified(None)
    assert server.pages == [1]
    assert fetch(server, known=cached(count=count - 1)).scan.count == count
    assert server.pages == [1, 1, 2]


def test_a_long_page_2_that_begins_as_page_1_is_not_read_on(serve: Serve) -> None:
    """An API that ignores page numbers need not send a long list twice."""
    body = unstated_body(3000)
    again = body[: 2**18] + b"not JSON at all" * 2**16
    server = serve(by_page([http(200, body), http(200, again)]))
    assert fetch(server, known=cached(count=3000)).scan.count == 3000
    assert server.pages == [1, 2]
    other = body.replace(b'"id":"', b'"id":"x')
    server = serve(by_page([http(200, body), http(200, other)]))
    assert_fails(server, ApiError, "page 2 has others", known=cached(count=3000))


def test_a_list_that_grows_between_page_1_and_2(serve: Serve) -> None:
    """A list that grows all the time has next on page 1 what only page 2 had, and is accepted."""
    newest_first = [request(number) for number in range(110)][::-1]
    grown = [http(200, envelope(newest_first[n:])) for n in (20, 19, 18, 17)]
    server = serve(*grown)
    assert (fetch(server).scan.count, server.pages) == (92, [1, 2, 1, 2])
    grown = [http(200, envelope(newest_first[n:])) for n in (20, 0, 20, 0, 20, 0)]
    assert_fails(serve(*grown), ApiError, "page 2 has others")


def test_a_list_that_shrinks_between_page_1_and_2(serve: Serve) -> None:
    """A page 2 that has nearly all of page 1, and nothing else, is no sign of more."""
    pages = [http(200, envelope([request(n) for n in range(k, 100)])) for k in (0, 10)]
    server = serve(by_page(pages))
    assert (fetch(server).scan.count, server.pages) == (100, [1, 2])


@pytest.mark.parametrize("start", [0, 5], ids=["all so far", "moved back"])
def test_a_page_2_that_overlaps_page_1_is_refused(serve: Serve, start: int) -> None:
    """Few new requests on page 2 are the rest of a list if page 1 does not get them."""
    records = [request(number) for number in range(105)]
    pages = [http(200, envelope(some)) for some in (records[:100], records[start:])]
    assert_fails(serve(by_page(pages)), ApiError, "in each of 3 readings", "page 2 has others")


@pytest.mark.parametrize("statement", [{"meta": {"last_page": 1}}, {"has_more": False}], ids=str)
def test_a_list_that_states_its_end_takes_one_request(
    serve: Serve, statement: dict[str, Any]
) -> None:
    """A list that says that nothing follows is believed, whatever its length."""
    server = serve(http(200, envelope([request(number) for number in range(15)], **statement)))
    assert fetch(server).scan.count == 15
    assert server.pages == [1]


def test_a_next_page_1_is_no_end(serve: Serve) -> None:
    """Pages may be counted from 0: then page 1 follows, unless the response says that it is it."""
    pages = unstated(15, 3)
    first = http(200, body_of(pages[0]).replace(b"{", b'{"next_page":1,', 1))
    assert_fails(serve(by_page([first, pages[1]])), ApiError, "page 2 has others")
    first = http(200, body_of(first).replace(b"{", b'{"page":1,', 1))
    assert fetch(serve(first)).scan.count == 15


def test_page_2_does_not_count_towards_the_size(serve: Serve) -> None:
    """The size limit is that of the list, which an API without paging sends twice."""
    server = serve(http(200, unstated_body(15)))
    fetched, client = try_fetch(server, max_bytes=len(unstated_body(15)))
    assert isinstance(fetched, FetchedList)
    assert client.received == 2 * len(unstated_body(15))


def test_a_vague_end_is_no_end(serve: Serve) -> None:
    """`complete` and its like may be about the response: page 2 is requested all the same."""
    records = [request(number) for number in range(15)]
    server = serve(http(200, envelope(records, complete=True, done=True, partial=False)))
    assert fetch(server).scan.count == 15
    assert server.pages == [1, 2]


@pytest.mark.parametrize("sizes", [(15, 15), (15, 3), (100, 37), (40, 1), (250, 250)], ids=str)
def test_pages_that_are_not_stated_are_refused(serve: Serve, sizes: tuple[int, int]) -> None:
    """An API that pages without saying so is not believed at page 1."""
    server = serve(by_page(unstated(*sizes)))
    assert_fails(server, ApiError, "states no paging", "page 2 has others", "how this API pages")
    assert server.pages == [1, 2] * 3


@pytest.mark.parametrize(
    "more", [{"limit": 15, "offset": 0}, {"meta": {"startAt": 0, "maxResults": "15"}}], ids=str
)
def test_a_list_that_is_as_long_as_its_limit_may_go_on(serve: Serve, more: dict[str, Any]) -> None:
    """An API that goes on by an offset ignores the page number: page 2 proves nothing then."""
    records = [request(number) for number in range(16)]
    for again in ({}, {"now": 1}):
        pages = [http(200, envelope(records[:15], **more, **now)) for now in ({}, again)]
        assert_fails(serve(by_page(pages)), ApiError, "as the limit that it states, 15", "how this")
    for count in (14, 16):
        assert fetch(serve(http(200, envelope(records[:count], **more)))).scan.count == count
    server = serve(by_page([http(200, envelope(records[:15], **more)), *unstated(0)]))
    assert fetch(server).scan.count == 15


@pytest.mark.parametrize("more", [{"stats": {"limit": 15}}, {"query": {"limit": 15}}], ids=str)
def test_another_limit_says_nothing(serve: Serve, more: dict[str, Any]) -> None:
    """The limit of something else, or of the request, may be the number of entries."""
    records = [request(number) for number in range(15)]
    assert fetch(serve(http(200, envelope(records, **more)))).scan.count == 15


def test_a_page_that_may_have_been_the_whole_list_is_refused(serve: Serve) -> None:
    """The first page of a list that had stated its paging before is not taken for the list."""
    server = serve(by_page(unstated(40, 4)))
    assert_fails(server, ApiError, "page 2 has others", known=cached(count=44))


def test_a_list_that_changes_between_page_1_and_2_is_read_again(serve: Serve) -> None:
    """An API without paging may have changed much of its list in between."""
    before, after = (http(200, envelope([request(n) for n in range(k, k + 15)])) for k in (0, 2))
    server = serve(before, after, after, after)
    assert ids(fetch(server)) == requests(*range(2, 17))
    assert server.pages == [1, 2, 1, 2]


ENDS = {
    "empty": http(200, envelope([])),
    "empty, with the count of all": http(200, envelope([], count=15)),
    "empty, with a total": http(200, envelope([], meta={"total": 15, "num_results": 0})),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "400": http(400, b'{"message":"No such page"}'),
    "404": http(404, b'{"message":"No such page"}'),
    "404, empty": http(404, b""),
    "404, empty in chunks": b"HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "410": http(410, b'{"message":"No such page"}'),
    "416": http(416, b""),
    "422": http(422, b'{"success":false,"message":"Invalid","errors":{"page":["Too large"]}}'),
}
"""Responses to page 2 that mean that there is none."""


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_page_2_does_not_exist(serve: Serve, end: bytes) -> None:
    """The list ends with page 1; it is asked again each time, as page 1 stays when page 2 fills."""
    body = unstated_body(15)
    server = serve(by_page([http(200, body, 'ETag: "a"'), end]))
    fetched = fetch(server)
    assert (fetched.scan.count, fetched.etag, server.pages) == (15, None, [1, 2])
    known = cached(None, fetched.digest, 15)
    assert try_fetch(server, known)[0] == NotModified(None)
    assert server.pages == [1, 2] * 2
    grown = serve(by_page([http(200, body), http(200, envelope([request(16)]))]))
    assert_fails(grown, ApiError, "page 2 has others", known=known)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b"<html>Not Found</html>", ApiError),
        (400, b"<html>Bad Request</html>", ApiError),
        (410, b"Gone", ApiError),
        (402, b'{"message":"No"}', ApiError),
        (403, b'{"message":"No"}', TokenRefused),
        (500, b'{"message":"Server Error"}', ApiUnavailable),
    ],
)
def test_a_failure_of_page_2_proves_nothing(
    serve: Serve, clock: FakeClock, status: int, body: bytes, kind: type[MirrorError]
) -> None:
    """Only the API itself can say that there is no page 2."""
    server = serve(by_page([*unstated(15), http(status, body)]))
    assert_fails(server, kind, str(status), clock=clock)


@pytest.mark.parametrize("length", ["", "Content-Length: 5\r\n"], ids=["none", "more"])
def test_a_404_that_may_be_cut_off_proves_nothing(serve: Serve, length: str) -> None:
    """A body is empty only if the API says so."""
    cut = f"HTTP/1.1 404 X\r\n{length}Connection: close\r\n\r\n".encode()
    assert_fails(serve(by_page([*unstated(15), cut])), ApiError, "404")


def test_a_page_2_without_success_proves_nothing(serve: Serve) -> None:
    """It may be any failure."""
    failure = http(200, b'{"success":false,"data":[],"message":"No such page"}')
    assert_fails(serve(by_page([*unstated(15), failure])), ApiError, "No such page")


@pytest.mark.parametrize("count", [1, 40])
def test_a_whole_list_with_its_count_on_each_page(serve: Serve, count: int) -> None:
    """The count of all requests may be on an empty page 2 as well."""
    records = [request(number) for number in range(count)]
    pages = [http(200, envelope(some, **{"@odata.count": count})) for some in (records, [])]
    assert fetch(serve(by_page(pages)), known=cached(count=40)).scan.count == count


@pytest.mark.parametrize(
    "members",
    [{"count": 16}, {"@odata.count": 16}, {"num_results": 16}, {"total": 16}, {"pages": 3}],
    ids=str,
)
@pytest.mark.parametrize("is_empty", [True, False])
def test_a_page_2_that_announces_more_is_refused(
    serve: Serve, members: dict[str, int], is_empty: bool
) -> None:
    """An empty page, or page 1 again, is no end if it says that there is more."""
    records = [request(number) for number in range(15)]
    second = http(200, envelope([] if is_empty else records, **members))
    server = serve(by_page([http(200, envelope(records)), second]))
    assert_fails(server, ApiError, "page 2 announces more")


def test_an_api_that_ignores_pages_may_sort_at_random(serve: Serve) -> None:
    """Page 2 is the same list if it has the same requests, whatever their order and bytes."""
    records = [request(number) for number in range(15)]
    pages = [
        http(200, envelope(some, took=took)) for took, some in enumerate((records, records[::-1]))
    ]
    assert fetch(serve(by_page(pages))).scan.count == 15


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
    """Each page is requested once, the first one first, and the entries keep their order."""
    sandbox.config.paging = paging
    upstream.records = [request(number) for number in range(records)]
    listing, client = try_fetch(sandbox)
    assert isinstance(listing, FetchedList)
    assert ids(listing) == requests(*range(records))
    assert client.pages == pages
    assert sandbox.request_log[0] == FIRST
    assert sorted(sandbox.request_log) == [
        FIRST.replace("page=1&", f"page={number}&") for number in range(1, pages + 1)
    ]


PAGING: dict[str, tuple[dict[str, Any], str | None]] = {
    "all": ({}, None),
    "without-last-page": ({"last_page": None}, None),
    "texts": ({"last_page": "2", "total": "4", "per_page": "2"}, None),
    "without-total": ({"total": None, "per_page": None}, None),
    "total-alone": ({"last_page": None, "per_page": None}, "4 were announced"),
    "per-page-alone": ({"last_page": None, "total": None}, "no number of pages, but page 2"),
    "per-page-zero": ({"last_page": None, "per_page": 0}, "4 were announced"),
    "current-page-alone": (
        {"last_page": None, "total": None, "per_page": None},
        "no number of pages, but page 2 has others",
    ),
}
"""The paging of a list, and why it is refused; None if the number of pages follows from it."""


@pytest.mark.parametrize("key", ["meta", "pagination"])
@pytest.mark.parametrize(("paging", "reason"), PAGING.values(), ids=PAGING)
def test_paging_must_say_where_it_ends(
    serve: Serve, key: str, paging: dict[str, Any], reason: str | None
) -> None:
    """The number of pages is stated, or follows from `total` and `per_page`; else it is refused."""
    pages = [[request(1), request(2)], [request(3), request(4)]]
    server = serve(by_page(paged(pages, key, **paging)))
    if reason is None:
        assert ids(fetch(server)) == requests(1, 2, 3, 4)
        assert server.pages == [1, 2]
    else:
        assert_fails(server, ApiError, "in each of 3 readings alike", reason)


def test_a_page_without_a_number_of_pages_is_confirmed_by_page_2(serve: Serve) -> None:
    """An API that states its page, but neither total nor last page, ends before an empty page."""
    end = http(200, envelope([], page=2, per_page=2))
    one, two = (envelope([request(n) for n in range(k)], page=1, per_page=2) for k in (1, 2))
    for first, count in ((one, 1), (two, 2)):
        server = serve(by_page([http(200, first), end]))
        assert (fetch(server).scan.count, server.pages) == (count, [1, 2])
    ignored = {body: body.replace(b'"page":1', b'"page":2') for body in (one, two)}
    assert fetch(serve(by_page([http(200, one), http(200, ignored[one])]))).scan.count == 1
    server = serve(by_page([http(200, two), http(200, ignored[two])]))
    assert_fails(server, ApiError, "as the limit that it states, 2")
    long = http(200, b'{"page":1,' + unstated_body(3000)[1:])
    assert_fails(serve(long), ApiError, "returned page 1 when asked for page 2")


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
    assert fetch(serve(*paged(pages))).scan.count == 6


@pytest.mark.parametrize("received", [[2], [0], [1, 1], [1, 3], [1, 2, 2], [1, 3, 2]], ids=str)
def test_another_page_than_requested_is_refused(serve: Serve, received: list[int]) -> None:
    """An API that does not give the requested page cannot be read to the end."""
    paging = {"last_page": 3, "per_page": 1, "total": 3}
    responses = [
        http(200, envelope([request(number)], meta=paging | {"current_page": number}))
        for number in received
    ]
    wrong = next(number for number, page in enumerate(received, start=1) if page != number)
    message = f"returned page {received[wrong - 1]} when asked for page {wrong}"
    assert_fails(serve(by_page(responses)), ApiError, message, "report this")


# A list that changes while it is read


ONE, TWO, THREE, FOUR, FIVE = (request(number) for number in (1, 2, 3, 4, 5))
STABLE = paged([[ONE, TWO], [THREE, FOUR]])
CHANGED = {
    "duplicate-across-pages": paged([[ONE, TWO], [TWO, FOUR]]),
    "duplicate-and-total-fits": paged([[ONE, TWO], [TWO, FOUR]], total=3),
    "duplicate-on-one-page": paged([[ONE, ONE], [THREE, FOUR]], total=5),
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
    assert ids(fetch(serve(*STABLE))) == requests(1, 2, 3, 4)
    stable = fetch_content(serve(*STABLE))
    for before in (1, 2):
        server = serve(*changed * before, *STABLE)
        assert fetch_content(server) == stable
        assert server.pages == [1, 2] * (before + 1)
    server = serve(*paged([[ONE], [FIVE]], total=3), *changed * 2)
    assert_fails(server, ApiUnavailable, "kept changing", "try again later")
    assert server.pages == [1, 2] * 3


@pytest.mark.parametrize("wrong", CHANGED.values(), ids=CHANGED)
def test_a_list_that_is_wrong_in_each_reading(serve: Serve, wrong: list[bytes]) -> None:
    """If the readings are alike, the list did not change: trying again would not help."""
    server = serve(*wrong * 3)
    assert_fails(server, ApiError, "is wrong, in each of 3 readings alike", "operator")
    assert server.pages == [1, 2] * 3


def test_readings_are_compared_by_ids(serve: Serve) -> None:
    """What changes with each response does not hide that the list is wrong; other ids do."""
    bodies = [envelope([ONE, TWO], meta={"total": 3, "took": took}) for took in range(3)]
    assert_fails(serve(*(http(200, body) for body in bodies)), ApiError, "2 requests were received")
    bodies[1] = envelope([ONE, THREE], meta={"total": 3})
    assert_fails(serve(*(http(200, body) for body in bodies)), ApiUnavailable, "kept changing")


def test_an_ambiguous_order_is_explained(serve: Serve) -> None:
    """The message names an id that is repeated, on which pages, and what is to be done."""
    pages: list[list[object]] = [[ONE, TWO], [THREE, FOUR], [TWO, ONE]]
    error = assert_fails(serve(by_page(paged(pages))), ApiError, "order of the list is ambiguous")
    assert "the request 'request-2' is on page 1 and on page 3, and 1 more are repeated" in error
    assert "4 requests were received, 6 were announced" in error
    error = assert_fails(serve(by_page(paged([[ONE, TWO], [TWO, FOUR]]))), ApiError)
    assert "on page 1 and on page 2; 3 requests were received, 4 were announced" in error


@pytest.mark.parametrize("total", [3, 4], ids=["distinct", "all"])
def test_an_entry_that_is_repeated_on_its_page_counts_once(serve: Serve, total: int) -> None:
    """As without paging, whether the API counts it or not."""
    fetched = fetch(serve(http(200, envelope([ONE, TWO, TWO, THREE], meta={"total": total}))))
    assert (fetched.scan.distinct_ids, fetched.scan.repetitions) == (3, 1)
    pages = paged([[ONE, TWO, TWO], [THREE, FOUR, FOUR]], total=total + total - 2)
    assert (scan := fetch(serve(*pages)).scan).repetitions == 2
    assert [record.id for record in records_of(scan)] == requests(1, 3, 2, 4)


@pytest.mark.parametrize("sizes", [[0, 1, 1], [2, 1, 2], [2, 0, 1], [2, 2, 0], [1, 1, 2]], ids=str)
def test_pages_without_a_total_must_be_full(serve: Serve, sizes: list[int]) -> None:
    """Without a total, only the last page may have fewer entries than the first one."""
    numbers = iter(range(9))
    pages = [[request(next(numbers)) for _ in range(size)] for size in sizes]
    assert_fails(serve(by_page(paged(pages, total=None))), ApiError, "entries, not")


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


def test_a_known_list_is_not_sent_again(sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """The ETag of a list saves its transfer until it changes."""
    sandbox.config.etag = True
    upstream.records = [request(1)]
    known = fetch(sandbox).etag
    assert known
    result, client = try_fetch(sandbox, cached(known))
    assert (result, client.pages, client.received) == (NotModified(known), 0, 0)
    upstream.records = [request(1, status="approved")]
    sandbox.invalidate()
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


# What the mirror knows


@pytest.mark.parametrize("paged_list", [False, True])
def test_a_database_that_does_not_answer(serve: Serve, paged_list: bool) -> None:
    """The read of what the mirror knows counts towards the deadline; it is left behind then."""
    server = serve(*(STABLE if paged_list else [GOOD]))
    released = threading.Event()

    def never() -> EntryScan:
        released.wait(LONG)
        return EntryScan()

    with pytest.raises(ApiUnavailable, match="took longer than the"):
        Client(settings(server, deadline=0.3)).fetch_list(None, never)
    released.set()
