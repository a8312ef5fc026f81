"""The faults of the sandbox: failures of real APIs, each injected by name.

They are for trying one's own alerts, and for tests: `docs/trust.md` lists how `mirror` handles each
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import Enum, auto
from typing import Any

import msgspec


class ResponseEnding(Enum):
    """How a response ends."""

    WHOLE = auto()
    CUT = auto()
    """Half of the body, then the connection is closed."""
    STALLED = auto()
    """Half of the body, then silence."""
    DRIPPING = auto()
    """A byte a second."""
    ENDLESS = auto()
    """The body, then spaces without end."""
    NO_RESPONSE = auto()
    """The connection is closed."""
    SILENT = auto()
    """Nothing; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response of the API.

    Attributes:
        status: the HTTP status code.
        body: the content.
        headers: those besides the ones of every response.
        ending: how it ends.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    ending: ResponseEnding = ResponseEnding.WHOLE


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list, before it is encoded.

    Attributes:
        entries: its entries as JSON.
        paging: its paging information.
    """

    entries: list[bytes]
    paging: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault; each function turns the right thing into the wrong one.

    Attributes:
        description: what a client sees.
        entries: changes the entries of the whole list, given the number of requests so far.
        page: changes a page, of a list with pages.
        response: changes the response, given the request's `Authorization`.
        needs_pages: it shows only in a list with pages.
    """

    description: str
    entries: Callable[[list[bytes], int], list[bytes]] | None = None
    page: Callable[[Page], Page] | None = None
    response: Callable[[Response, str], Response] | None = None
    needs_pages: bool = False


HOSTILE_TEXTS = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "[bold red]markup[/bold red] [link=http://example.invalid]here[/link]",
    "right to left: \u202egnp.exe\u202c \u2066isolate\u2069 \u200bzero width",
    "'; DROP TABLE release_requests; --",
    "<script>alert(1)</script> & <img src=x onerror=alert(1)>",
    '=HYPERLINK("http://example.invalid","click")',
    "NUL \0 in the middle",
    "line\nbreak, carriage\rreturn, tab\tand \x7f delete",
    "long " * 20_000,
    "%s %(name)s {0} $1 :name ? \\ \\\\ \\.",
)
"""Texts that break programs which do not escape them."""


def _respond(status: int, body: dict[str, Any] | bytes, **headers: str) -> Callable[..., Response]:
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, bytes):
        header_fields["Content-Type"] = "text/html"
    else:
        body = msgspec.json.encode(body)
    response = Response(status, body, header_fields)
    return lambda *_: response


def _end(ending: ResponseEnding) -> Callable[[Response, str], Response]:
    return lambda response, _: replace(response, ending=ending)


def _nested_error(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message, "details": {}}}


def _flat_error(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "message": message, "code": code}


def _rate_limit_with_date(_response: Response, _authorization: str) -> Response:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return _respond(429, _flat_error("RATE_LIMITED", "Too many requests"), Retry_After=when)()


def _cut_json(response: Response, _authorization: str) -> Response:
    return replace(response, body=response.body[: len(response.body) // 2])


def _echo_token(_response: Response, authorization: str) -> Response:
    return _respond(
        500, _nested_error("SERVER_ERROR", f"cannot handle Authorization: {authorization}")
    )()


def _rotate(entries: list[bytes], requests: int) -> list[bytes]:
    """Rotate the list by some places more with each request: pages overlap, and leave gaps."""
    places = 7 * requests % max(1, len(entries))
    return entries[places:] + entries[:places]


def _contradict(entries: list[bytes], _requests: int) -> list[bytes]:
    return [*entries[:1], *[_with(entry, status="on_hold") for entry in entries[:1]], *entries[1:]]


def _malform(every: int) -> Callable[[list[bytes], int], list[bytes]]:
    def malform(entries: list[bytes], _requests: int) -> list[bytes]:
        return [
            entry if place % every else _with(entry, requested_at="yesterday")
            for place, entry in enumerate(entries, start=1)
        ]

    return malform


def _capitalize_ids(entries: list[bytes], _requests: int) -> list[bytes]:
    return [_with(entry, id=msgspec.json.decode(entry)["id"].upper()) for entry in entries]


def _make_hostile(entries: list[bytes], _requests: int) -> list[bytes]:
    return [
        _with(entry, reason=HOSTILE_TEXTS[index % len(HOSTILE_TEXTS)])
        for index, entry in enumerate(entries)
    ]


def _with(entry: bytes, **fields: str) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(entry) | fields)


def _repeat_for_last(entries: list[bytes], _requests: int) -> list[bytes]:
    return entries[:-1] + entries[:1]


def _empty_later_pages(page: Page) -> Page:
    return page if page.paging["current_page"] == 1 else replace(page, entries=[])


def _change_paging(**added: int) -> Callable[[Page], Page]:
    def change(page: Page) -> Page:
        changed = {name: page.paging[name] + more for name, more in added.items()}
        return replace(page, paging=page.paging | changed)

    return change


FAULTS: dict[str, Fault] = {
    "server-error": Fault(
        "500, with code and message",
        response=_respond(500, _nested_error("SERVER_ERROR", "Something went wrong")),
    ),
    "request-timeout": Fault("408, with an empty body", response=_respond(408, b"")),
    "bad-gateway": Fault(
        "502, with the HTML page of a proxy",
        response=_respond(502, b"<html><h1>502 Bad Gateway</h1></html>"),
    ),
    "maintenance": Fault(
        "503, with a plain text body", response=_respond(503, b"down for maintenance")
    ),
    "rate-limit": Fault(
        "429, Retry-After: 2 (seconds)",
        response=_respond(429, _flat_error("RATE_LIMITED", "Too many requests"), Retry_After="2"),
    ),
    "rate-limit-date": Fault(
        "429, Retry-After with a date in two seconds", response=_rate_limit_with_date
    ),
    "rate-limit-long": Fault(
        "429, Retry-After: 86400 (a day)",
        response=_respond(
            429, _flat_error("RATE_LIMITED", "Too many requests"), Retry_After="86400"
        ),
    ),
    "unauthorized": Fault(
        "401, as after the token was regenerated",
        response=_respond(401, _nested_error("UNAUTHORIZED", "The token is missing or not valid")),
    ),
    "forbidden": Fault(
        "403, as for a token that lacks a right",
        response=_respond(403, _flat_error("FORBIDDEN", "The token may not list release requests")),
    ),
    "firewall": Fault(
        "403, with the HTML page of a firewall",
        response=_respond(403, b"<html><title>Access denied | Firewall</title></html>"),
    ),
    "not-found": Fault(
        "404, as at a wrong path", response=_respond(404, b"<html>Not found</html>")
    ),
    "unprocessable": Fault(
        "422, with an error for a field",
        response=_respond(
            422,
            {
                "success": False,
                "message": "The given data was invalid",
                "errors": {"page": ["The page must be at least 1"]},
            },
        ),
    ),
    "redirect": Fault(
        "302, to another host",
        response=_respond(302, b"", Location="https://elsewhere.invalid/login"),
    ),
    "echo": Fault("500, with the token in its message", response=_echo_token),
    "false-success": Fault(
        "200, success is false and the list is empty",
        response=_respond(200, {"success": False, "data": []}),
    ),
    "html": Fault(
        "200, with a login page", response=_respond(200, b"<!DOCTYPE html><p>Log in</p>")
    ),
    "cut": Fault("the connection is closed in mid-body", response=_end(ResponseEnding.CUT)),
    "cut-json": Fault("the response is complete, its JSON is not", response=_cut_json),
    "stall": Fault("half of the body, then silence", response=_end(ResponseEnding.STALLED)),
    "silent": Fault("no response, the connection stays open", response=_end(ResponseEnding.SILENT)),
    "hang-up": Fault(
        "no response, the connection is closed", response=_end(ResponseEnding.NO_RESPONSE)
    ),
    "drip": Fault("a byte a second", response=_end(ResponseEnding.DRIPPING)),
    "endless": Fault("a body that does not end", response=_end(ResponseEnding.ENDLESS)),
    "empty": Fault("a list without entries", entries=lambda *_: []),
    "lost": Fault(
        "half of the entries are missing", entries=lambda entries, _: entries[: len(entries) // 2]
    ),
    "duplicate": Fault(
        "one entry comes twice, unchanged", entries=lambda entries, _: entries[:1] + entries
    ),
    "contradiction": Fault("one entry comes twice, with another status", entries=_contradict),
    "garbled": Fault("every tenth entry has an invalid time", entries=_malform(10)),
    "unreadable": Fault("every second entry has an invalid time", entries=_malform(2)),
    "capitals": Fault("all ids are in upper case", entries=_capitalize_ids),
    "hostile": Fault("texts with escape codes, markup, SQL, NUL, …", entries=_make_hostile),
    "overlap": Fault(
        "the first entry takes the place of the last one",
        entries=_repeat_for_last,
        needs_pages=True,
    ),
    "moving": Fault("the order changes between pages", entries=_rotate, needs_pages=True),
    "empty-page": Fault(
        "pages after the first are empty", page=_empty_later_pages, needs_pages=True
    ),
    "wrong-total": Fault(
        "the total is one too high", page=_change_paging(total=1), needs_pages=True
    ),
    "cursor": Fault(
        "pages are stated by a cursor",
        page=lambda page: replace(page, paging={"next_cursor": "eyJpZCI6MTAwfQ"}),
        needs_pages=True,
    ),
    "unstated-pages": Fault(
        "pages come without any paging",
        page=lambda page: replace(page, paging={}),
        needs_pages=True,
    ),
    "endless-pages": Fault(
        "last_page is a million", page=_change_paging(last_page=1_000_000), needs_pages=True
    ),
}
"""The faults by name, as in `mirror sandbox --fault`."""
