"""Paging under any usual name, in the envelope and in headers: read it, or refuse the list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from mirror.api.client import CachedList
from mirror.api.envelope import PayloadError, parse_page
from mirror.api.paging import Head, Paging
from mirror.errors import ApiError
from tests.support.api_client import assert_fails, fetch
from tests.support.api_payloads import unknown_entries
from tests.support.http_servers import (
    HttpRequest,
    HttpResponse,
    Serve,
    by_page,
    envelope,
    http,
)
from tests.support.upstream import request, requests

URL = "https://api.example/api/v1/phone-numbers/release-requests?page=1&per_page=100"
PATH = URL.partition("?")[0]


def parse(more: dict[str, Any], *headers: tuple[str, str], number: int = 1) -> Any:
    """Parse page 1, with more members and headers."""
    return parse_page(envelope([request()], **more), head=Head(URL, list(headers)), number=number)


# There is more

MORE: list[dict[str, Any]] = [
    {"next_cursor": "abc", "has_more": True},
    {"next_cursor": "abc"},
    {"has_more": True},
    {"HasMore": "true"},
    {"has-more": 1},
    {"next_page": 2},
    {"next_page": "2"},
    {"nextPageToken": "abc"},
    {"NextToken": "abc"},
    {"nextLink": PATH + "?$skip=100"},
    {"@odata.nextLink": PATH},
    {"next_page_url": PATH},
    {"next": PATH},
    {"next": True},
    {"nextRecordsUrl": "/query/01g"},
    {"cursor": "abc"},
    {"continuationToken": "abc"},
    {"_scroll_id": "abc"},
    {"LastEvaluatedKey": "abc"},
    {"IsTruncated": True},
    {"truncated": True},
    {"incomplete_results": True},
    {"done": False, "nextRecordsUrl": None, "more": True},
    {"is_last_page": False, "more": True},
    {"more": True},
    {"moreResults": True},
    {"hasNextPage": True},
    {"remaining_pages": 4},
    {"links": {"next": PATH}},
    {"_links": {"next": {"href": PATH + "?page=2"}}},
    {"meta": {"has_more": True}},
    {"meta": {"nextCursor": "abc"}},
    {"pagination": {"has_more": True}},
    {"pagination": {"nextCursor": "abc"}},
    {"pagination": {"next": 2}},
    {"pagination": {"next": {"page": 2}}},
    {"paging": {"next": {"after": "NTI1"}}},
    {"paging": {"cursors": {"after": "abc"}}},
    {"page_info": {"has_next_page": True, "end_cursor": "abc"}},
    {"meta": {"pagination": {"links": {"next": PATH}}}},
    {"response_metadata": {"next_cursor": "abc"}},
    {"result": {"extra": {"nextPageToken": "abc"}}},
    {"meta": {"current_page": 1, "per_page": 15}, "links": {"next": PATH}},
    {"meta": {"current_page": 1, "last_page": 1, "total": 1}, "links": {"next": PATH}},
    {"meta": {"total": 1, "has_more": True}},
    {"links": [{"rel": "self", "href": PATH}, {"rel": "next", "href": PATH + "?page=2"}]},
    {"hasMorePages": True},
    {"nextOffset": 100},
    {"paginationToken": "abc"},
    {"cursor_next": "abc"},
    {"complete": False},
    {"LastEvaluatedKey": {"id": {"S": "x"}}},
    {"LastEvaluatedKey": {"id": {"N": "0"}, "count": {"N": "5"}}},
    {"next": {"page": {"number": 2}}},
    {"next": {"page": {"offset": 1}}},
    {"links": {"next": {"meta": {}, "link": {"href": "x?page=2"}}}},
    {"nextCursor": [["2026", "x"]]},
    {"cursor": {"id": 5}},
    {"nextCursor": {"page": 2}},
    {"nextPageToken": {"page": "abc"}},
    {"next_cursor": {"offset": 100, "last": True}},
    {"LastEvaluatedKey": {"count": {"N": "5"}}},
    {"next": {"x": "x" * 70_000}},
    {"continue": {"continue": "-||", "from": "x"}},
    {"search": {"next": PATH, "total": 1}},
    {"summary": {"more": True, "page": 1}},
    {"offset": "itrABC/recDEF"},
    {"search_after": ["2026", "x"]},
    {"starting_after": "x"},
    {"cursorMark": "x"},
    {"pageState": "x"},
    {"resumptionToken": "x"},
    {"next_max_id": "x"},
    {"has_more": "Y"},
    {"has_more": 195},
    {"has_next": PATH + "?page=2"},
    {"truncated": 195},
    {"more_items_in_collection": True},
    {"load_more": True},
    {"more_url": PATH},
    {"hasAdditionalPages": True},
    {"is_last": "N"},
    {"endOfRecords": False},
    {"links": [{"rel": "next", "url": PATH}]},
    {"links": [{"rel": ["next"], "href": PATH}]},
    {"Link": [{"Rel": "NEXT", "Href": PATH}]},
    {"links": [{"rel": "next", "page": 2}]},
]
"""Members that say, each in its way, that the list goes on."""


@pytest.mark.parametrize("members", MORE, ids=lambda members: json.dumps(members)[:80])
def test_a_list_that_says_that_it_goes_on_is_refused(members: dict[str, Any]) -> None:
    """A page is not taken for the list if anything around it says that there is more."""
    with pytest.raises(PayloadError, match="more pages, of an unknown kind"):
        parse(members)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Link", f'<{PATH}?cursor=abc>; rel="next"'),
        ("link", f"<{PATH}?page=3>; rel=next"),
        ("Link", '<https://elsewhere.example/list?page=2>; rel="next"'),
        ("Link", '</api/v1/other?page=2>; title="a, b"; rel="prefetch NEXT"'),
        ("X-Next-Page", "2"),
        ("X-Next-Cursor", "abc"),
        ("x-ms-continuation", "abc"),
        ("X-Has-More", "true"),
        ("Link", f"<{PATH}?page=3>; rel='next'"),
        ("Link", f'<{PATH}?page=3>; rel="https://app.example/rels/next"'),
        ("X-Link", f"<{PATH}?page=3>; rel=next"),
        ("Next-Range", "id ]018; max=200"),
        ("X-Pagination", '{"HasNext":true,"TotalPages":null}'),
    ],
)
def test_a_header_that_says_that_the_list_goes_on(name: str, value: str) -> None:
    """Headers count as the members of the envelope do; no link is followed."""
    with pytest.raises(PayloadError, match="more pages, of an unknown kind"):
        parse({}, (name, value))


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"meta": {"page": {"nextCursor": "abc"}}}, "meta.page.nextCursor"),
        ({"has_more\n": True}, "has_more\n"),
    ],
)
def test_the_message_says_where_it_is_said(members: dict[str, Any], place: str) -> None:
    """An operator finds the member that is not understood."""
    with pytest.raises(PayloadError) as raised:
        parse(members)
    assert place.strip() in str(raised.value)
    assert "\n" not in str(raised.value)


# Page 1 is not the first one

NOT_FIRST: list[tuple[dict[str, Any], str]] = [
    ({"number": 1, "first": False, "last": True}, "first"),
    ({"isFirst": 0}, "isFirst"),
    ({"meta": {"on_first_page": "false", "last_page": 1}}, "meta.on_first_page"),
    ({"previous_page_uri": PATH + "?page=0"}, "previous_page_uri"),
    ({"prev": True}, "prev"),
    ({"prevPage": 2}, "prevPage"),
    ({"previous": {"page": {"cursor": "abc"}}}, "previous"),
    ({"previous_cursor": "abc"}, "previous_cursor"),
    ({"links": {"prev": PATH, "next": None}}, "links.prev"),
    ({"_links": {"prev": {"href": PATH}}}, "_links.prev"),
    ({"links": [{"rel": "previous", "href": PATH}]}, "links"),
    ({"pageInfo": {"hasPreviousPage": True, "hasNextPage": False}}, "pageInfo.hasPreviousPage"),
    ({"offset": 100, "has_more": False}, "offset"),
    ({"offset": 1, "has_more": False}, "offset"),
    ({"meta": {"from": 101, "to": 101}}, "meta.from"),
    ({"pageable": {"offset": 20, "unpaged": False}}, "pageable.offset"),
    ({"startAt": "100"}, "startAt"),
    ({"skip": 1}, "skip"),
    ({"list": {"start_index": 101}}, "list.start_index"),
    ({"result": {"prev": PATH, "next": None}}, "result.prev"),
]
"""Answers for page 1 that say that they are another page, and where."""


@pytest.mark.parametrize(("members", "place"), NOT_FIRST, ids=str)
def test_another_page_is_not_taken_for_the_first_one(members: dict[str, Any], place: str) -> None:
    """Only on later pages may anything come before."""
    with pytest.raises(PayloadError, match="not the first page") as raised:
        parse(members)
    assert f"({place})" in str(raised.value)
    assert parse(members, number=2).continuation.before is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Link", f'<{PATH}?page=0>; rel="prev"'),
        ("Link", f"<{PATH}>; rel=previous"),
        ("X-Prev-Page", "2"),
        ("X-Offset", "15"),
        ("Content-Range", "items 15-29/*"),
    ],
)
def test_a_header_that_says_that_a_page_is_before(name: str, value: str) -> None:
    """Headers count as the members of the envelope do."""
    with pytest.raises(PayloadError, match=f"not the first page .the header {name}"):
        parse({}, (name, value))


FIRST: list[dict[str, Any]] = [
    {"number": 0, "first": True},
    {"first": 0},
    {"first": PATH, "prev": None, "previous": ""},
    {"prev_page": 0},  # the zero value of Go
    {"links": {"prev": PATH + "?page=1"}},
    {"has_previous": False, "previous_cursor": "abc"},
    {"offset": 0, "from": 1, "startIndex": 1},
    {"from": "2026-01-01", "start": 1767225600},
    {"timezone": {"offset": 120}, "version": {"previous": "1.2"}, "name": {"first": False}},
]
"""Answers for page 1 that do not say that they are another one."""


@pytest.mark.parametrize("members", FIRST, ids=json.dumps)
def test_the_first_page_is_accepted(members: dict[str, Any]) -> None:
    """Neither "nothing before" nor a time or link of another kind is refused."""
    assert parse(members).continuation.before is None


# There is no more, or nothing is said

NOTHING: list[dict[str, Any]] = [
    {"next_cursor": None, "has_more": False},
    {"next_cursor": ""},
    {"next": False},
    {"next_page": 0},
    {"next_page": 1},
    {"has_more": "n", "more": "", "truncated": "off"},
    {"offset": "", "timezone": {"offset": "+02:00"}},
    {"meta": {"offset": "-03:00"}, "start_offset": "Z"},
    {"api_limit": 100, "meta": {"api_limit": 100}},
    {"next_page": -1},
    {"next_page": "null"},
    {"_links": {"next": {"href": None}}},
    {"links": {"first": PATH, "last": PATH, "prev": None, "next": None}},
    {"links": []},
    {"paging": {"next": {}}},
    {"has_more": False, "next_cursor": "abc"},
    {"page_info": {"hasNextPage": False, "endCursor": "abc"}},
    {"meta": {"has_more": False, "after_cursor": "abc", "before_cursor": "abc"}},
    {"is_last": True, "marker": "abc"},
    {"done": True},
    {"links": [{"rel": "next", "href": None}, {"rel": "self", "href": PATH}, {"label": "Next"}]},
    {"links": [5, "next"]},
    {"request_id": "abc", "took_ms": 5, "version": "2.1", "timestamp": "2024-01-10T14:30:00Z"},
    {"next_review_at": "2024-01-10T14:30:00Z", "next_run": 5, "nextSyncToken": "abc"},
    {"message": "There are more pages", "last_updated": "2024-01-10", "more_info": PATH},
    {"token": "abc", "limit": 100, "size": 9000, "status": "ok", "code": 200},
    {"rate_limit": {"limit": 100, "remaining": 99, "next_reset": 60, "total": 500}},
    {"stats": {"total": 900, "count": 900, "pending": 3}},
    {"meta": {"page_title": "Requests", "count_label": "x", "total_cost": 9, "nexus": 1}},
    {"meta": {"path": PATH, "from": 1, "to": 1, "links": [{"url": PATH, "label": "2"}]}},
    {"meta": {"last_page_url": PATH, "first_page_url": PATH, "prev_page_url": None}},
    {"errors": [], "warnings": [{"next_page": 2}], "included": {"x": {"next": "y"}}},
    {"next": {"page": {"number": 1}, "href": None}},
    {"next": {"offset": 0, "limit": 0}},
    {"LastEvaluatedKey": {"id": {"S": None}, "list": [[], "", False]}},
    {"meta": {"cursor": {"current": "x", "prev": None, "next": None, "size": 9}}},
    {"paging": {"cursors": {"before": "abc", "after": None}}},
    {"links": {"last": None}, "last_page_url": "", "meta": {"last": {"href": None}}},
    {"tokens": {"used": 5}, "markers": [{"lat": 1}], "bookmarks": [{"id": 1}]},
    {"request": {"page": 1, "per_page": 15}, "query": {"params": {"page": 3, "pageSize": 15}}},
    {"applied_filters": {"page": 1, "offset": 100, "limit": 15, "status": "pending"}},
    {"document": {"pages": 12, "size": 9000}, "job": {"done": False, "total": 900}},
    {"pagination": {"limit": "none"}},
    {"text": {"page": "dashboard", "total": 900}, "homepage": {"title": "x"}},
]
"""Members that do not say that the list goes on."""


@pytest.mark.parametrize("members", NOTHING, ids=json.dumps)
def test_harmless_members_are_not_refused(members: dict[str, Any]) -> None:
    """Neither "no more" nor an unknown member makes a list unusable."""
    page = parse(members)
    assert (page.paging, page.continuation.more, page.continuation.at_least) == (None, None, 0)


def test_members_of_entries_are_no_paging() -> None:
    """What an entry has of its own says nothing about the list, whatever its name."""
    entry = request(
        next_page=2, has_more=True, total=250, meta={"last_page": 9}, links={"next": "x"}
    )
    for data in ([entry], {"7": entry}, {"data": [entry]}):
        body = json.dumps({"success": True, "data": data}).encode()
        page = parse_page(body)
        assert (page.paging, page.continuation.more) == (None, None)


@pytest.mark.parametrize(
    "headers",
    [
        [("Link", f'<{PATH}?page=1>; rel="first", <https://w.example>; rel="preload"')],
        [("X-Next-Page", ""), ("X-Prev-Page", "")],
        [("X-RateLimit-Limit", "100"), ("X-RateLimit-Remaining", "99"), ("X-Request-Id", "5")],
        [("Link", "<javascript:alert(1)>; rel=next"), ("Link", "no link; rel=next")],
        [("Content-Length", "5000"), ("Age", "7"), ("Count", "x"), ("Last-Modified", "now")],
        [("Content-Range", "bytes 0-14/250"), ("Retry-After", "5"), ("ETag", "abc")],
        [("Content-Range", "items 0-14/*"), ("X-Page", "dashboard"), ("X-Done", "false")],
        [("X-Limit", "5"), ("X-Size", "9"), ("From", "5"), ("X-Pages", "a, b")],
        [("X-Api-Limit", "100"), ("X-Api-Size", "9"), ("X-Api-Count", "57"), ("X-Api-Done", "0")],
        [("X-Api-Start", "57"), ("Api-From", "57"), ("X-Api-After", "57"), ("Api-Partial", "57")],
    ],
)
def test_harmless_headers_are_not_refused(headers: list[tuple[str, str]]) -> None:
    """The headers that every server sends say nothing about the list."""
    page = parse({}, *headers)
    assert (page.paging, page.continuation.more, page.continuation.next_page) == (None, None, None)


# Other names

NAMES: list[tuple[dict[str, Any], Paging]] = [
    (
        {"currentPage": 1, "lastPage": 3, "perPage": 2, "total": 5},
        Paging(current_page=1, last_page=3, per_page=2, total=5),
    ),
    ({"page": 1, "pages": 3, "page_size": 2, "total_count": 5}, Paging(1, 3, 2, 5)),
    ({"Page-Number": "1", "Total-Pages": "3", "pageSize": "2"}, Paging(1, 3, 2)),
    ({"totalPages": 3, "totalItems": 5}, Paging(None, 3, None, 5)),
    ({"page_count": 3, "TotalRecords": 5}, Paging(None, 3, None, 5)),
    ({"num_pages": 3, "totalElements": 5}, Paging(None, 3, None, 5)),
    ({"number_of_pages": 3}, Paging(last_page=3)),
    ({"nbHits": 5, "nb_pages": 3}, Paging(None, 3, None, 5)),
    ({"iTotalRecords": 5}, Paging(total=5)),
    ({"overall_total": 5}, Paging(total=5)),
    ({"total_release_requests": 5, "items_per_page": 2}, Paging(per_page=2, total=5)),
    ({"pagination": {"limit": 2, "total": 5}}, Paging(per_page=2, total=5)),
    ({"meta": {"page": {"currentPage": 1, "lastPage": 3}}}, Paging(1, 3)),
    ({"meta": {"pagination": {"total_pages": 3, "count": 2}}}, Paging(last_page=3)),
    ({"meta": {"total": 2}, "pagination": {"total": 5}}, Paging(total=5)),
    ({"list": {"current_page": 1, "last_page": 3}}, Paging(1, 3)),
    ({"pagy": {"page": 1, "pages": 3}}, Paging(1, 3)),
    ({"pageable": {"total": 5}}, Paging(total=5)),
    ({"page_data": {"total": 5}}, Paging(total=5)),
    ({"pagination_details": {"total": 5}}, Paging(total=5)),
    ({"page_context": {"page": 1, "limit": 2, "total": 5}}, Paging(1, None, 2, 5)),
    ({"paging_counters": {"pages": 3}}, Paging(last_page=3)),
    ({"search": {"page": 1, "total": 5}}, Paging(1, None, None, 5)),
    ({"summary": {"pages": 3, "total": 5}}, Paging(None, 3, None, 5)),
    ({"result": {"page": 1, "limit": 2, "total": 5}}, Paging(1, None, 2, 5)),
    ({"x": {"next": None, "total": 5}}, Paging(total=5)),
    ({"x": {"from": 1, "to": 2, "total": 5}}, Paging(total=5)),
    ({"collection": {"total": 5}}, Paging(total=5)),
    ({"query": {"page": 1, "per_page": 2, "total": 5}}, Paging(1, None, 2, 5)),
    ({"hits": {"total": 5}}, Paging(total=5)),
    ({"hits": {"total": {"value": 5, "relation": "eq"}}}, Paging(total=5)),
    ({"links": {"last": PATH + "?page=3"}}, Paging(last_page=3)),
    ({"links": {"last": {"href": "?page%5Bnumber%5D=3"}}}, Paging(last_page=3)),
    ({"links": [{"rel": "last", "href": PATH + "?page=3"}]}, Paging(last_page=3)),
    ({"meta": {"last_page_url": PATH + "?page=3"}}, Paging(last_page=3)),
]
"""Members, and the paging that they state."""


@pytest.mark.parametrize(("members", "paging"), NAMES, ids=str)
def test_usual_names_of_paging_are_read(members: dict[str, Any], paging: Paging) -> None:
    """Case and separators do not matter, nor which usual name it is; the largest total counts."""
    assert parse(members).paging == paging
    nested = members if all(isinstance(value, dict) for value in members.values()) else None
    assert parse(nested or {"pagination": members}).paging == paging
    assert parse(nested or {"meta": members}).paging == paging


@pytest.mark.parametrize(
    ("headers", "paging"),
    [
        ([("X-Total-Count", "250")], Paging(total=250)),
        ([("X-WP-Total", "250"), ("X-WP-TotalPages", "17")], Paging(last_page=17, total=250)),
        ([("Total", "250"), ("Per-Page", "15")], Paging(per_page=15, total=250)),
        ([("X-Page", "1"), ("X-Total-Pages", "3")], Paging(1, 3)),
        ([("Content-Range", "items 0-14/250")], Paging(total=250)),
        ([("Content-Range", "0-14/250")], Paging(total=250)),
        ([("Content-Range", "items=0 - 14 / 250")], Paging(total=250)),
        ([("X-Content-Range", "items 0-14/250")], Paging(total=250)),
        ([("X-Api-Total", "250"), ("X-Collection-Pages", "17")], Paging(None, 17, None, 250)),
        ([("X-Limit", "15"), ("X-Total", "250")], Paging(per_page=15, total=250)),
        ([("X-Paging-TotalRecordCount", "250")], Paging(total=250)),
        ([("X-Pagination", '{"TotalCount":250,"TotalPages":17}')], Paging(None, 17, None, 250)),
        ([("Link", f'<{PATH}?page=2>; rel="next", <{PATH}?page=9>; rel="last"')], Paging(None, 9)),
        ([("Link", "</api/v1/phone-numbers/release-requests?page=9>; rel=last")], Paging(None, 9)),
        ([("Link", f"<{PATH.replace('https', 'http')}?page=9>; rel=last")], Paging(None, 9)),
        (
            [("Link", f"<{PATH.replace('.example', '.example:443')}?page=9>; rel=last")],
            Paging(None, 9),
        ),
    ],
    ids=str,
)
def test_paging_in_headers_is_read(headers: list[tuple[str, str]], paging: Paging) -> None:
    """Usual headers state paging too; of a link only the number of its page is used."""
    assert parse({}, *headers).paging == paging


@pytest.mark.parametrize("name", ["lastPage", "TotalPages", "total-count", "perPage"])
def test_an_unusable_number_is_refused_under_any_name(name: str) -> None:
    """The message has the name as the API wrote it."""
    for members in ({"meta": {name: "many"}}, {"result": {"meta": {name: "many"}}}):
        with pytest.raises(PayloadError, match=f"`{name}` is not a usable whole number"):
            parse(members)


def test_objects_count_before_values() -> None:
    """The page number in an object of paging is that of the list."""
    members = {"current_page": 3, "page_info": {"current_page": 1, "last_page": 1}}
    assert parse(members).paging == Paging(1, 1)


def test_a_list_of_links_may_be_64_kb_long() -> None:
    """What is longer is no paging."""
    link = {"rel": "last", "href": f"{PATH}?page=9", "title": ""}
    spare = 65_536 - len(json.dumps([link], separators=(",", ":")))
    for more, paging in ((0, Paging(None, 9)), (1, None)):
        link["title"] = "x" * (spare + more)
        assert parse({"links": [link]}).paging == paging


def test_hostile_members_cost_nothing() -> None:
    """Deep, long and odd members are passed over."""
    deep: dict[str, Any] = {"next_page": 2}
    for _ in range(50):
        deep = {"meta": deep}
    assert parse(deep).paging is None
    assert (
        parse({"x" * 100_000: 1, "next" * 5_000: 2, "é": 3, "": 4, "next": [[[{}]]]}).paging is None
    )
    for name in (b"next", b"cursor", b"prev"):
        body = b'{"success":true,"data":[],"%s":%s}' % (name, b"[" * 900 + b"]" * 900)
        assert parse_page(body).paging is None


# Whole lists

ENTRIES = requests(*range(1, 6))
CUT = [ENTRIES[:2], ENTRIES[2:4], ENTRIES[4:]]


def ids(server: Any) -> list[str]:
    """The ids of a list, in its order."""
    return [json.loads(raw)["id"] for raw in unknown_entries(fetch(server).scan)]


def pages(*members: dict[str, Any], data: Any = None, headers: Sequence[str] = ()) -> list[bytes]:
    """Three pages, each with its members and header."""
    return [
        http(200, envelope(page, **more), *headers[number : number + 1])
        for number, (page, more) in enumerate(zip(CUT, members, strict=True))
    ]


def link(own: str, number: int, last: int | None = None) -> list[str]:
    """The `Link` header of a page of three, as GitHub sends it."""
    links = [f'<{own}?page={number + 1}&per_page=100>; rel="next"'] if number < 3 else []
    links += [f'<{own}?page={last}>; rel="last"'] if last and number < last else []
    links += [f'<{own}?page=1>; rel="first"'] if number > 1 else []
    return [f"Link: {', '.join(links)}"]


def linked(
    last: int | None, more: str = "", own: str | None = None, *, at_end: bool = True
) -> HttpResponse:
    """Three pages that state their paging in `Link` headers only, the last one perhaps in none."""

    def respond(received: HttpRequest) -> bytes:
        url = own or f"http://{received.headers['host']}{received.target.partition('?')[0]}"
        number = received.page
        links = link(url, number, last) if at_end or number < 3 else []
        return http(200, envelope(CUT[number - 1]), *links, *filter(None, [more]))

    return respond


READ: dict[str, HttpResponse] = {
    "camel": by_page(
        pages(*({"meta": {"currentPage": n, "lastPage": 3, "total": 5}} for n in (1, 2, 3)))
    ),
    "at the top": by_page(
        pages(*({"page": n, "total_pages": 3, "nextPage": n % 3 and n + 1} for n in (1, 2, 3)))
    ),
    "in headers": by_page(
        pages({}, {}, {}, headers=["X-Total-Pages: 3", "X-Total-Pages: 3", "X-Total-Pages: 3"])
    ),
    "next and last": linked(3),
    "next": linked(None),
    "next and last, none on the last page": linked(3, at_end=False),
    "next, none on the last page": linked(None, at_end=False),
    "next and total": linked(None, "X-Total-Count: 5"),
    "data.data": by_page(
        [
            http(
                200,
                json.dumps(
                    {
                        "success": True,
                        "data": {
                            "current_page": n,
                            "data": page,
                            "last_page": 3,
                            "per_page": 2,
                            "total": 5,
                            "next_page_url": f"{PATH}?page={n + 1}" if n < 3 else None,
                            "links": [{"url": None, "label": "1", "active": True}],
                        },
                    }
                ).encode(),
            )
            for n, page in enumerate(CUT, start=1)
        ]
    ),
    "data.data of a resource": by_page(
        [
            http(
                200,
                json.dumps(
                    {
                        "success": True,
                        "data": {
                            "data": page,
                            "links": {"next": f"{PATH}?page={n + 1}" if n < 3 else None},
                            "meta": {"current_page": n, "last_page": 3, "total": 5},
                        },
                    }
                ).encode(),
            )
            for n, page in enumerate(CUT, start=1)
        ]
    ),
    "integer keys": http(
        200,
        json.dumps(
            {"success": True, "data": {str(7 * n): entry for n, entry in enumerate(ENTRIES)}}
        ).encode(),
    ),
    "integer keys in data.data": http(
        200,
        json.dumps(
            {
                "success": True,
                "data": {"total": 5, "data": {str(n + 3): one for n, one in enumerate(ENTRIES)}},
            }
        ).encode(),
    ),
}
"""Lists of five requests whose paging is stated in another place than documented."""


@pytest.mark.parametrize("response", READ.values(), ids=READ)
def test_paging_in_other_places_is_read_to_the_end(serve: Serve, response: HttpResponse) -> None:
    """Every page is read, each once, and the entries keep their order."""
    server = serve(response)
    assert ids(server) == [f"request-{number}" for number in range(1, 6)]
    assert sorted(server.pages) == list(range(1, len(server.pages) + 1))


REFUSED: dict[str, tuple[HttpResponse, str]] = {
    "a total in a header": (
        http(200, envelope(ENTRIES), "X-Total-Count: 250"),
        "5 requests were received, 250 were announced",
    ),
    "a count": (http(200, envelope(ENTRIES, count=250)), "250 were announced"),
    "a total": (http(200, envelope(ENTRIES, meta={"totalCount": 250})), "250 were announced"),
    "a lower bound": (
        http(200, envelope(ENTRIES, hits={"total": {"value": 250, "relation": "gte"}})),
        "250 were announced",
    ),
    "page without last page": (
        http(200, envelope(ENTRIES, currentPage=1)),
        "returned page 1 when asked for page 2",
    ),
    "a link to another host": (linked(3, own="http://elsewhere.example/x"), "the header Link"),
    "a link that does not end": (
        linked(None, "X-Total-Count: 6"),
        "5 requests were received, 6 were announced",
    ),
    "pages that are ignored": (
        by_page([http(200, envelope(ENTRIES, page_count=2))]),
        "the same requests as page 1, so the API ignores the page number; how this API pages",
    ),
    "links for ever": (
        lambda received: (
            http(
                200,
                envelope(ENTRIES),
                *link(f"http://{received.headers['host']}{received.target.partition('?')[0]}", 1),
            )
            if received.page == 1
            else http(200, envelope(ENTRIES), "X-Next-Page: 9")
        ),
        "more pages",
    ),
    "data.data with a cursor": (
        http(200, json.dumps({"success": True, "data": {"data": [], "next_cursor": "x"}}).encode()),
        "data.next_cursor",
    ),
    "no paging on the last page": (
        by_page([http(200, envelope(CUT[0], page_count=2)), http(200, envelope(CUT[1]))]),
        "page 2 states another length",
    ),
    "more on the last page": (
        by_page(pages(*({"page": n, "pages": 3, "has_more": True} for n in (1, 2, 3)))),
        "has_more",
    ),
}
"""Lists that cannot be read with certainty, and a part of the error."""


@pytest.mark.parametrize(("response", "error"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_certain_is_refused(serve: Serve, response: HttpResponse, error: str) -> None:
    """A list is proven complete, wherever its paging is stated, or it is refused finally."""
    assert_fails(serve(response), ApiError, error)


def test_the_same_bytes_with_other_headers_are_not_the_same_list(serve: Serve) -> None:
    """A list whose headers say that it goes on is not taken for the cached one."""
    known = fetch(serve(http(200, envelope(ENTRIES))))
    server = serve(http(200, envelope(ENTRIES), "X-Total-Count: 250"))
    assert_fails(server, ApiError, "250 were", known=CachedList(None, known.digest, 5))


# Objects with integer keys


@pytest.mark.parametrize("count", [1, 5, 6_000])
def test_an_object_with_integer_keys_is_a_list(count: int) -> None:
    """Its values are the entries in their order, whatever they contain."""
    tricky = {"a": {"1": {"b": 1}, "2": {}}, "text": '},"3":{', "list": [{"1": {}}, {}]}
    entries = {str(number): {"id": str(number), **tricky} for number in range(count)}
    body = json.dumps({"success": True, "data": entries, "total": count}).encode()
    page = parse_page(body)
    assert json.loads(bytes(page.data)) == list(entries.values())
    assert page.paging == Paging(total=count)


@pytest.mark.parametrize(
    "data", [{}, {"a": {}}, {"1": {}, "a": {}}, {"-1": {}}, {"1.5": {}}, {"data": {}}, {"data": 5}]
)
def test_another_object_is_no_list(data: dict[str, Any]) -> None:
    """Only whole numbers are keys of a list."""
    with pytest.raises(PayloadError, match="`data` is not an array"):
        parse_page(json.dumps({"success": True, "data": data}).encode())
