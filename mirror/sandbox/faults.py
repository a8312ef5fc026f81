"""How the sandbox misbehaves on request: what goes wrong with real APIs, one fault at a time.

They are there to try one's own alerts with, and for the tests: `docs/trust.md` says what `mirror`
does about each of them.
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
    """How an answer ends."""

    WHOLE = auto()
    CUT = auto()
    """Half of the body, then the connection is closed."""
    STALLED = auto()
    """Half of the body, then silence."""
    DRIPPING = auto()
    """A byte a second."""
    ENDLESS = auto()
    """The body, then spaces for ever."""
    NO_ANSWER = auto()
    """The connection is closed."""
    SILENT = auto()
    """Nothing; the connection stays open."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API.

    Attributes:
        status: of HTTP.
        body: what it says.
        headers: besides those that every answer has.
        ending: how it ends.
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    ending: ResponseEnding = ResponseEnding.WHOLE


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list, before it is written down.

    Attributes:
        entries: as JSON.
        paging: what it says of itself and the others.
    """

    entries: list[bytes]
    paging: dict[str, int]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave; each function makes the wrong thing from the right one.

    Attributes:
        does: what it looks like to a client.
        entries: of the whole list, given how many questions were asked before.
        page: of a page; a list that comes whole has none.
        answer: of the whole answer, given the question's `Authorization`.
        needs_pages: it shows only in a list that comes in pages.
    """

    does: str
    entries: Callable[[list[bytes], int], list[bytes]] | None = None
    page: Callable[[Page], Page] | None = None
    answer: Callable[[Answer, str], Answer] | None = None
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
"""Texts that break programs that trust them."""


def _says(status: int, body: dict[str, Any] | bytes, **headers: str) -> Callable[..., Answer]:
    said = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, bytes):
        named["Content-Type"] = "text/html"
    return lambda *_: Answer(status, said, named)


def _ends(ending: ResponseEnding) -> Callable[[Answer, str], Answer]:
    return lambda answer, _: replace(answer, ending=ending)


def _nested(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message, "details": {}}}


def _flat(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "message": message, "code": code}


def _rate_limit_until_a_date(_answer: Answer, _authorization: str) -> Answer:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return _says(429, _flat("RATE_LIMITED", "Too many requests"), Retry_After=when)()


def _cut_in_its_json(answer: Answer, _authorization: str) -> Answer:
    return replace(answer, body=answer.body[: len(answer.body) // 2])


def _echo(_answer: Answer, authorization: str) -> Answer:
    return _says(500, _nested("SERVER_ERROR", f"cannot handle Authorization: {authorization}"))()


def _rotate(entries: list[bytes], questions: int) -> list[bytes]:
    """Let the order move by a few places with every question: pages overlap, and leave gaps."""
    places = 7 * questions % max(1, len(entries))
    return entries[places:] + entries[:places]


def _contradict(entries: list[bytes], _questions: int) -> list[bytes]:
    return entries + [_with(entry, status="on_hold") for entry in entries[:1]]


def _garble(entries: list[bytes], _questions: int) -> list[bytes]:
    return [
        _with(entry, requested_at="yesterday") if place % 10 == 0 else entry
        for place, entry in enumerate(entries)
    ]


def _make_hostile(entries: list[bytes], _questions: int) -> list[bytes]:
    return [
        _with(entry, reason=HOSTILE_TEXTS[place % len(HOSTILE_TEXTS)])
        for place, entry in enumerate(entries)
    ]


def _with(entry: bytes, **fields: str) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(entry) | fields)


def _empty_after_the_first(page: Page) -> Page:
    return page if page.paging["current_page"] == 1 else replace(page, entries=[])


def _announce(**added: int) -> Callable[[Page], Page]:
    def change(page: Page) -> Page:
        changed = {name: page.paging[name] + more for name, more in added.items()}
        return replace(page, paging=page.paging | changed)

    return change


FAULTS: dict[str, Fault] = {
    "server-error": Fault(
        "500, with code and message",
        answer=_says(500, _nested("SERVER_ERROR", "Something went wrong")),
    ),
    "bad-gateway": Fault(
        "502, with the HTML page of a proxy",
        answer=_says(502, b"<html><h1>502 Bad Gateway</h1></html>"),
    ),
    "maintenance": Fault(
        "503, without a body worth reading", answer=_says(503, b"down for maintenance")
    ),
    "rate-limit": Fault(
        "429, Retry-After: 2 (seconds)",
        answer=_says(429, _flat("RATE_LIMITED", "Too many requests"), Retry_After="2"),
    ),
    "rate-limit-date": Fault(
        "429, Retry-After with a date in two seconds", answer=_rate_limit_until_a_date
    ),
    "rate-limit-long": Fault(
        "429, Retry-After: 86400 (a day)",
        answer=_says(429, _flat("RATE_LIMITED", "Too many requests"), Retry_After="86400"),
    ),
    "unauthorized": Fault(
        "401, as after the token was regenerated",
        answer=_says(401, _nested("UNAUTHORIZED", "The token is missing or not valid")),
    ),
    "forbidden": Fault(
        "403, as for a token that lacks a right",
        answer=_says(403, _flat("FORBIDDEN", "The token may not list release requests")),
    ),
    "not-found": Fault("404, as at a wrong path", answer=_says(404, b"<html>Not found</html>")),
    "unprocessable": Fault(
        "422, with an error for a field",
        answer=_says(
            422,
            {
                "success": False,
                "message": "The given data was invalid",
                "errors": {"page": ["The page must be at least 1"]},
            },
        ),
    ),
    "redirect": Fault(
        "302, to another host", answer=_says(302, b"", Location="https://elsewhere.invalid/login")
    ),
    "echo": Fault("500, with the token in its message", answer=_echo),
    "false-success": Fault(
        "200, success is false and the list is empty",
        answer=_says(200, {"success": False, "data": []}),
    ),
    "html": Fault("200, with a page to log in", answer=_says(200, b"<!DOCTYPE html><p>Log in</p>")),
    "cut": Fault("the connection is closed in mid-body", answer=_ends(ResponseEnding.CUT)),
    "cut-json": Fault("the answer is whole, its JSON is not", answer=_cut_in_its_json),
    "stall": Fault("half of the body, then silence", answer=_ends(ResponseEnding.STALLED)),
    "silent": Fault("no answer, the connection stays open", answer=_ends(ResponseEnding.SILENT)),
    "hang-up": Fault("no answer, the connection is closed", answer=_ends(ResponseEnding.NO_ANSWER)),
    "drip": Fault("a byte a second", answer=_ends(ResponseEnding.DRIPPING)),
    "endless": Fault("a body that does not end", answer=_ends(ResponseEnding.ENDLESS)),
    "empty": Fault("a list without entries", entries=lambda *_: []),
    "lost": Fault(
        "half of the entries are gone", entries=lambda entries, _: entries[: len(entries) // 2]
    ),
    "duplicate": Fault(
        "one entry comes twice, the same", entries=lambda entries, _: entries + entries[:1]
    ),
    "contradiction": Fault("one entry comes twice, with another status", entries=_contradict),
    "garbled": Fault("every tenth entry has a time that is none", entries=_garble),
    "hostile": Fault("texts with escape codes, markup, SQL, NUL, …", entries=_make_hostile),
    "moving": Fault("the order moves between the pages", entries=_rotate, needs_pages=True),
    "empty-page": Fault(
        "pages after the first are empty", page=_empty_after_the_first, needs_pages=True
    ),
    "wrong-total": Fault(
        "one more announced than comes", page=_announce(total=1), needs_pages=True
    ),
    "endless-pages": Fault(
        "a million pages announced", page=_announce(last_page=1_000_000), needs_pages=True
    ),
}
"""By the names that `mirror sandbox --fault` knows them by."""
