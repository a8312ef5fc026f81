"""An upstream that does as it likes: what its list may hold, and how it may fail to give it.

`UpstreamGenerator` is what it would say on a day; `FAILURES` are the ways in which it says
something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.http_servers import HttpRequest, http
from tests.support.http_servers import HttpResponse as Bytes
from tests.support.oracle import HALF, Answer, Fields, Paging
from tests.support.upstream import request

PAGINGS: tuple[Paging, ...] = (None, "meta", "pagination")

TIMES = (
    "2024-01-10T14:30:00Z",
    "2024-01-10T11:30:00-03:00",  # the same
    "2024-01-10T14:30:00.000999+00:00",  # the same to the millisecond
    "2024-01-10T14:30:00.001Z",
    "2024-02-29T23:59:59.999999+05:30",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
)
STATUSES = ("pending", "approved", "rejected", "cancelled", "on_hold")
REASONS = (
    None,
    "Number is no longer in use",
    "Número não é mais necessário \N{TELEPHONE RECEIVER}",
    "tab\t, line\n, backslash \\N \\. and 'quotes\"",
    "what no database keeps: \0",
    f"nor this: {HALF}",
)
UNKNOWN = (None, 7, "Example", "só isto\0", {"name": "Other", "since": [2024, 0.5]})
NUMBERS = ("+15550000001", "+15550000002", "+5511987654321")

EDITS: tuple[Fields, ...] = (
    *({"requested_at": time} for time in TIMES),
    *({"resolved_at": time} for time in (None, *TIMES)),
    *({"status": status} for status in (*STATUSES, "a status from the future")),
    *({"reason": reason} for reason in REASONS),
    *({"rejection_reason": reason} for reason in REASONS),
    *({"phone_number": number} for number in NUMBERS),
    *({"phone_number_id": other} for other in (None, "", "phone-x")),
)
GARBLED: tuple[Fields, ...] = (
    {"requested_at": "yesterday"},
    {"requested_at": "2024-01-10T14:30:00"},
    {"requested_at": "0001-01-01T00:00:00+05:30"},
    {"requested_at": None},
    {"resolved_at": "2023-02-29T09:00:00Z"},
    {"status": 7},
    {"status": ""},
    {"phone_number": None},
    {"phone_number_id": "x" * 256},
    {"reason": ["a"]},
    {"rejection_reason": False, "reason": f"\0{HALF}"},
    {"id": 7},
    {"id": ""},
    {"id": None},
    {"id": "x" * 256},
)
ANOTHER_READING: tuple[Fields, ...] = (
    {},
    {"requested_at": TIMES[0]},
    {"requested_at": TIMES[1]},
    {"reason": "Something else"},
    {"carrier": "Another"},
    {"status": 7},
)
JUNK = ('"junk"', "42", "null", "[]", "{}", '{"carrier":1}', '{"phone_number":"+1555"}', "[[{}]]")


@dataclass(frozen=True)
class Style:
    """How upstream writes its JSON: it says the same in each of them."""

    nulls: bool = False
    backwards: bool = False
    spaced: bool = False
    escaped: bool = False

    def write(self, entry: Fields) -> str:
        """Write an entry of the list."""
        names = reversed(entry) if self.backwards else iter(entry)
        shown = {name: entry[name] for name in names if self.nulls or entry[name] is not None}
        separators = (", ", ": ") if self.spaced else (",", ":")
        text = json.dumps(shown, separators=separators, ensure_ascii=self.escaped)
        return text.replace(HALF, "\\udead")


def body(texts: tuple[str, ...], **paging: int) -> bytes:
    """Write a list as the API does, with what it says about its pages."""
    more = f',"meta":{json.dumps(paging)}' if paging else ""
    return f'{{"success":true,"data":[{",".join(texts)}]{more}}}'.encode()


def _not_true(answer: bytes) -> bytes:
    return answer.replace(b"true", b"false", 1)


def _in_two_pages(texts: tuple[str, ...], second: Callable[[bytes], bytes]) -> Bytes:
    """Give the first half of a list as it is, and let `second` spoil the rest."""
    half = (len(texts) + 1) // 2
    paging = {"last_page": 2, "total": len(texts), "per_page": max(1, half)}

    def answer(question: HttpRequest) -> bytes:
        if question.page == 1:
            return http(200, body(texts[:half], current_page=1, **paging))
        return second(body(texts[half:], current_page=2, **paging))

    return answer


FAILURES: dict[str, Callable[[tuple[str, ...]], Bytes]] = {
    "500, with the list": lambda texts: http(500, body(texts)),
    "500, HTML": lambda _: http(500, b"<html>Internal Server Error</html>"),
    "401": lambda _: http(401, b'{"success":false,"message":"The token is not valid"}'),
    "the body is cut": lambda texts: http(200, body(texts))[:-1],
    "the JSON is cut": lambda texts: http(200, body(texts)[:-2]),
    "success is false": lambda texts: http(200, _not_true(body(texts))),
    "a page to log in": lambda _: http(200, b"<!doctype html><p>Log in</p>"),
    "no answer": lambda _: b"",
    "page 2: 500": lambda texts: _in_two_pages(texts, lambda _: http(500)),
    "page 2: cut": lambda texts: _in_two_pages(texts, lambda second: http(200, second)[:-1]),
    "page 2: success is false": lambda texts: _in_two_pages(
        texts, lambda second: http(200, _not_true(second))
    ),
    "one less than announced": lambda texts: http(
        200, body(texts, current_page=1, last_page=1, total=len(texts) + 1)
    ),
}
"""Ways not to give a list, though all or much of it comes."""


class UpstreamGenerator:
    """An upstream from one day to the next.

    Args:
        name: what the ids of its requests begin with.

    Attributes:
        records: its requests by number, as it would list them.
        away: those that it does not list.
        garbled: the fields that make others hard to understand.
        twins: those that it lists again: for how many days, and which fields differ.
        junk: what else is in its list.
        order: 0 for the order of the numbers.
        style: how it writes.
        paging: whether the list comes in pages.
    """

    def __init__(self, name: str) -> None:
        self.records: dict[int, Fields] = {}
        self.away: set[int] = set()
        self.malformed_ids: dict[int, Fields] = {}
        self.twins: dict[int, tuple[int, list[Fields]]] = {}
        self.junk: list[str] = []
        self.order = 0
        self.style = Style()
        self.paging: Paging = None
        self._name = name

    def make(self, fields: Fields) -> int:
        """Make a new request; return its number."""
        number = len(self.records)
        self.records[number] = request(number) | {"id": f"{self._name}-{number}"} | fields
        return number

    def change(self, who: list[int], fields: Fields) -> None:
        """Change fields of some requests."""
        for number in who:
            self.records[number] = self.records[number] | fields

    def listed(self) -> list[int]:
        """The numbers of the requests in the list."""
        return [number for number in self.records if number not in self.away]

    def lose(self, how_many: int) -> None:
        """List so many requests less."""
        self.away.update(self.listed()[:how_many])

    def recover(self) -> None:
        """List all requests, each once, as they are, and nothing else, all at once."""
        self.away, self.malformed_ids, self.twins, self.junk = set(), {}, {}, []
        self.paging = None

    def end_day(self) -> None:
        """End what was to last until today."""
        self.twins = {one: (days - 1, what) for one, (days, what) in self.twins.items() if days > 1}

    def answer(self) -> Answer:
        """Tell what it says today."""
        texts: list[str] = []
        for number in self.listed():
            entry = self.records[number] | self.malformed_ids.get(number, {})
            _, others = self.twins.get(number, (0, []))
            texts += [self.style.write(entry | more) for more in ({}, *others)]
        texts += self.junk
        if self.order:
            Random(self.order).shuffle(texts)  # noqa: S311 (a test's fate, no cryptography)
        return Answer(tuple(texts), self.paging)
