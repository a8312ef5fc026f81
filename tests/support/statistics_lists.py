"""Lists of upstream from which statistics are computed: written by hand, and generated."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

from mirror.queries.results import Limited
from mirror.report.period import Period
from tests.support.list_parser import Fields
from tests.support.mirrors import Mirror
from tests.support.upstream import request

Lists = list[tuple[datetime, list[Any]]]
"""When each sync starts, and the list it reads."""

MILLISECOND = timedelta(milliseconds=1)
OPEN_INVOICES = "There are open invoices"
OTHER_REASON = {"reason": "The campaign has ended"}
REPEATED = "+15550009999"


def january(day: int, hour: int = 0) -> datetime:
    """Return a time in January 2024."""
    return datetime(2024, 1, day, hour, tzinfo=UTC)


JANUARY = Period(date(2024, 1, 1), date(2024, 2, 1))


def days(first: int, until: int) -> Period:
    """Return some days of January 2024."""
    return Period(date(2024, 1, first), date(2024, 1, until))


LIMITS = (1, 2, 3, 1000)


def limited(rows: list[Any]) -> list[tuple[int, Limited[Any]]]:
    """Return the expected result for each limit."""
    return [(limit, Limited(rows[:limit], len(rows))) for limit in LIMITS]


def _iso(day: int) -> str:
    return january(day, 9).isoformat()


def approved(day: int) -> Fields:
    """Return the fields of a request approved on a day."""
    return {"status": "approved", "resolved_at": _iso(day)}


def rejected(day: int, reason: str | None = OPEN_INVOICES) -> Fields:
    """Return the fields of a request rejected on a day."""
    return {"status": "rejected", "resolved_at": _iso(day), "rejection_reason": reason}


_MISSING = None
BY_HAND: dict[int, list[Fields | None]] = {
    1: [{}],
    2: [{}, approved(12)],
    3: [{}, rejected(12)],
    4: [{}, {}, rejected(13, None)],
    5: [{}, {}, {"status": "cancelled"}],
    6: [{}, {"status": "on_hold"}],
    7: [{}, {}, {"status": "escalated", "resolved_at": _iso(13)}],
    8: [{}, approved(12), {}],
    9: [{}, _MISSING],
    10: [{}, _MISSING, approved(12) | OTHER_REASON],
    11: [{}, approved(12), rejected(13)],
    12: [{"phone_number": REPEATED}, approved(12) | {"phone_number": REPEATED}],
    13: [*[{"phone_number": REPEATED}] * 4, approved(14) | {"phone_number": REPEATED}],
    14: [{"status": "approved"}],
}
"""The fields of each request in one list after the other; the last ones are repeated.

All were submitted on the tenth at 14:30. The syncs are at noon, from the eleventh on.
"""

JUNK = [["goes", "returns"], ["goes", "returns", "stays"], ["stays"], ["returns", "stays"]]
"""Entries of each list that cannot be understood."""

SUBMITTED = {
    "+15551110001": ["2023-09-05T12:00:00Z", "2023-11-05T12:00:00Z"],
    "+15551110002": ["2023-09-05T12:00:00Z", "2023-09-30T23:59:59.999Z"],
    "+15551110003": ["2023-10-05T12:00:00Z"],
    "+15551110004": ["2023-11-01T00:00:00Z", "2023-11-02T12:00:00Z"],
    "+15551110005": ["2023-09-01T12:00:00Z", "2023-10-01T00:00:00Z"],
    "+15551110006": ["2023-10-10T12:00:00Z", "2023-10-11T12:00:00Z", "2023-10-12T12:00:00Z"],
    "+15551110007": ["2023-10-31T23:59:59.999Z", "2023-11-05T12:00:00Z"],
}
"""The submissions of each number."""

_REJECTION_REASONS = ["é", "a", "a", "B", "B", None, None, "open", "open", "open"]

REASONS = (
    None,
    "",
    OPEN_INVOICES,
    "open",
    "<script>alert('x')</script>",
    '\x1b[31m"red"\n-- %s :reason',
    "Não é necessário",
)
NUMBERS = (
    *(f"+1555000000{digit}" for digit in range(4)),
    "+5511987654321",
    "not a number",
    'O\'Brien "x" \\ %',
)
STATUSES = ("pending", "approved", "approved", "rejected", "rejected", "cancelled", "on_hold")


class RandomUpstream:
    """Generates lists in which requests appear, change and vanish.

    Many times, those of the syncs included, are the first or the last millisecond of a day.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 (test data, no cryptography)
        self.name = f"random {seed}"
        self.requests: list[Fields] = []

    def lists(self) -> Lists:
        """Generate the lists of eight syncs."""
        return [(january(day, hour), self._list(day)) for day in range(11, 15) for hour in (0, 12)]

    def _list(self, day: int) -> list[Any]:
        for _ in range(self.random.randrange(2, 8)):
            fields = {
                "id": f"{self.name} {len(self.requests)}",
                "phone_number": self.random.choice(NUMBERS),
                "requested_at": self._time(day),
            }
            self.requests.append(fields)
        for fields in self.requests:
            if self.random.random() < 0.4:
                edits = (self._review, self._review, self._correct)
                fields.update(self.random.choice(edits)(day))
        listed = [request(**fields) for fields in self.requests if self.random.random() < 0.8]
        return listed + [junk for junk in ("junk", "trash", "waste") if self.random.random() < 0.5]

    def _review(self, day: int) -> Fields:
        status = self.random.choice(STATUSES)
        is_reported = status != "pending" and self.random.random() < 0.7
        return {
            "status": status,
            "resolved_at": self._time(day) if is_reported else None,
            "rejection_reason": self.random.choice(REASONS) if status == "rejected" else None,
        }

    def _correct(self, day: int) -> Fields:
        corrections = [
            OTHER_REASON,
            {"phone_number": self.random.choice(NUMBERS)},
            {"requested_at": self._time(day)},
        ]
        return self.random.choice(corrections)

    def _time(self, day: int) -> str:
        time = self.random.choice(["00:00:00", "09:30:00.250", "23:59:59.999"])
        return f"2024-01-{self.random.randrange(day - 4, day + 3):02d}T{time}Z"


def _by_hand() -> Lists:
    lists: Lists = []
    for place in range(max(map(len, BY_HAND.values()))):
        fields = {number: states[min(place, len(states) - 1)] for number, states in BY_HAND.items()}
        entries = [request(number, **each) for number, each in fields.items() if each is not None]
        lists.append((january(11 + place, 12), entries + JUNK[min(place, len(JUNK) - 1)]))
    return lists


def _single(name: str, requests: list[Fields]) -> Lists:
    """Return one list of requests with these fields."""
    entries = [request(n, **fields) | {"id": f"{name} {n}"} for n, fields in enumerate(requests)]
    return [(january(14, 12), entries)]


LISTS: dict[str, Lists] = {
    "by hand": _by_hand(),
    "repeated": _single(
        "repeated",
        [
            {"phone_number": number, "requested_at": time}
            for number, times in SUBMITTED.items()
            for time in times
        ],
    ),
    "rejected": _single("rejected", [rejected(12, reason) for reason in _REJECTION_REASONS]),
} | {upstream.name: upstream.lists() for upstream in map(RandomUpstream, range(2))}
"""The lists of each environment."""


def sync_lists(mirror: Mirror, lists: dict[str, Lists] = LISTS) -> Mirror:
    """Sync the lists of each environment, at their times."""
    for environment, syncs in lists.items():
        for started_at, entries in syncs:
            mirror.now = started_at - timedelta(hours=1)
            result = mirror.sync(entries, environment=environment, accept_missing=True)
            assert result.failure is None
            assert result.started_at == started_at
    return mirror
