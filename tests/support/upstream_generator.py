"""Generators of upstream lists, and failures to deliver them.

`UpstreamGenerator` is driven by a test, day by day. `ChangingList` changes at random. `FAILURES`
are responses that lack the list, or a part of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from tests.support.http_servers import HttpRequest, HttpResponse, http
from tests.support.list_parser import HALF, Fields
from tests.support.oracle import ListResponse, Paging
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
    # Beside an unreadable field others change.
    {"phone_number": None, "status": "approved", "resolved_at": TIMES[3]},
    {"phone_number": "", "reason": "Something else", "phone_number_id": None},
    {"requested_at": {}, "phone_number": "+15550000009", "carrier": 5},
    {"resolved_at": "soon", "status": "cancelled"},
    {"resolved_at": "soon", "phone_number_id": "phone-y"},
    {"status": None, "resolved_at": TIMES[3], "rejection_reason": "In use"},
    {"rejection_reason": {}, "status": "rejected", "resolved_at": TIMES[4]},
    {"phone_number_id": 5, "reason": 5, "requested_at": TIMES[3]},
    dict.fromkeys(set(request()) - {"id"}),
)
NOTATIONS: tuple[Callable[[str], str], ...] = (str.upper, str.title, " {}\n".format)
ANOTHER_READING: tuple[Fields, ...] = (
    {},
    {"requested_at": TIMES[0]},
    {"requested_at": TIMES[1]},
    {"reason": "Something else"},
    {"carrier": "Another"},
    {"status": 7},
)
JUNK = ('"junk"', "42", "null", "[]", "{}", '{"carrier":1}', '{"phone_number":"+1555"}', "[[{}]]")

_FIRST_REVIEW = datetime(2024, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Style:
    """A JSON style of upstream; the content is the same in each."""

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
    """The envelope of a list, with its paging."""
    more = f',"meta":{json.dumps(paging)}' if paging else ""
    return f'{{"success":true,"data":[{",".join(texts)}]{more}}}'.encode()


def _unsuccessful(answer: bytes) -> bytes:
    return answer.replace(b"true", b"false", 1)


def _in_two_pages(texts: tuple[str, ...], second: Callable[[bytes], bytes]) -> HttpResponse:
    """The first half of a list as it is, and what `second` makes of the other half."""
    half = (len(texts) + 1) // 2
    paging = {"last_page": 2, "total": len(texts), "per_page": max(1, half)}

    def answer(http_request: HttpRequest) -> bytes:
        if http_request.page == 1:
            return http(200, body(texts[:half], current_page=1, **paging))
        return second(body(texts[half:], current_page=2, **paging))

    return answer


FAILURES: dict[str, Callable[[tuple[str, ...]], HttpResponse]] = {
    "500, with the list": lambda texts: http(500, body(texts)),
    "500, HTML": lambda _: http(500, b"<html>Internal Server Error</html>"),
    "401": lambda _: http(401, b'{"success":false,"message":"The token is not valid"}'),
    "the body is cut": lambda texts: http(200, body(texts))[:-1],
    "the JSON is cut": lambda texts: http(200, body(texts)[:-2]),
    "success is false": lambda texts: http(200, _unsuccessful(body(texts))),
    "a page to log in": lambda _: http(200, b"<!doctype html><p>Log in</p>"),
    "no answer": lambda _: b"",
    "page 2: 500": lambda texts: _in_two_pages(texts, lambda _: http(500)),
    "page 2: cut": lambda texts: _in_two_pages(texts, lambda second: http(200, second)[:-1]),
    "page 2: success is false": lambda texts: _in_two_pages(
        texts, lambda second: http(200, _unsuccessful(second))
    ),
    "one less than announced": lambda texts: http(
        200, body(texts, current_page=1, last_page=1, total=len(texts) + 1)
    ),
}
"""Responses that do not deliver a list, though all or much of it is there."""


class UpstreamGenerator:
    """An upstream that a test changes from day to day; requests are known by their number."""

    def __init__(self, name: str) -> None:
        self.records: dict[int, Fields] = {}
        self.away: set[int] = set()  # not listed
        self.malformed_ids: dict[int, Fields] = {}  # invalid fields
        self.twins: dict[int, tuple[int, list[Fields]]] = {}  # repetitions: days, other fields
        self.junk: list[str] = []  # entries that are no requests
        self.order = 0  # seed of the order of the list; 0: the order of the numbers
        self.style = Style()
        self.paging: Paging = None
        self._name = name

    def make(self, fields: Fields) -> int:
        """Create a request; return its number."""
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
        """Remove so many requests from the list."""
        self.away.update(self.listed()[:how_many])

    def recover(self) -> None:
        """List all requests, each once and valid, and nothing else, in one response."""
        self.away, self.malformed_ids, self.twins, self.junk = set(), {}, {}, []
        self.paging = None

    def end_day(self) -> None:
        """End the repetitions that last until today."""
        self.twins = {who: (days - 1, what) for who, (days, what) in self.twins.items() if days > 1}

    def response(self) -> ListResponse:
        """The list of today."""
        texts: list[str] = []
        for number in self.listed():
            entry = self.records[number] | self.malformed_ids.get(number, {})
            _, others = self.twins.get(number, (0, []))
            texts += [self.style.write(entry | more) for more in ({}, *others)]
        texts += self.junk
        if self.order:
            Random(self.order).shuffle(texts)  # noqa: S311 (no cryptography)
        return ListResponse(tuple(texts), self.paging)


class ChangingList:
    """A list that changes at random; `garbled` is its share of invalid entries."""

    def __init__(self, count: int, chance: Random, *, garbled: float = 0.0, first: int = 0) -> None:
        self._chance = chance
        self._garbled = garbled
        self._steps = 0
        self._next = first
        self._listed: dict[str, Fields] = {}
        self._away: list[Fields] = []
        self._add(count)
        self.entries = self._with_garbled()

    def move_on(self) -> None:
        """Change 2, 5 or 20 % of the requests; 1 % are new, 1.5 % vanish, a third returns."""
        self._steps += 1
        self._some(self._chance.choice((0.02, 0.05, 0.2)), self._review)
        self._some(0.005, self._annotate)
        returned = self._away
        self._away = []
        self._some(0.015, self._take_away)
        self._listed |= {entry["id"]: entry for entry in returned[: len(returned) // 3]}
        self._add(max(1, len(self._listed) // 100))
        self.entries = self._with_garbled()

    def _some(self, share: float, change: Callable[[str], None]) -> None:
        """Change a share of the requests."""
        count = max(1, int(share * len(self._listed)))
        for key in self._chance.sample(list(self._listed), count):
            change(key)

    def _add(self, count: int) -> None:
        for _ in range(count):
            entry = request(self._next, phone_number=f"+1555{self._next:07d}")
            self._listed[entry["id"]] = entry
            self._next += 1

    def _review(self, key: str) -> None:
        at = (_FIRST_REVIEW + timedelta(minutes=self._steps)).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = self._chance.choice(STATUSES[:4])
        self._listed[key] = self._listed[key] | {"status": status, "resolved_at": at}

    def _annotate(self, key: str) -> None:
        """Change an unknown field."""
        self._listed[key] = self._listed[key] | {"note": self._steps}

    def _take_away(self, key: str) -> None:
        self._away.append(self._listed.pop(key))

    def _with_garbled(self) -> list[Fields]:
        entries = list(self._listed.values())
        count = int(self._garbled * len(entries))
        for position in self._chance.sample(range(len(entries)), count):
            entries[position] = entries[position] | {"requested_at": "yesterday"}
        return entries
