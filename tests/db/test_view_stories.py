"""The views of versions, changes and history, story by story, on both databases.

A story is what the API returned for one request, sync after sync. One mirror of each kind syncs all
stories side by side, and each test looks at one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from mirror.db import views
from mirror.queries import helpers
from mirror.queries.results import ReleaseRequest
from tests.support.databases import DATABASES
from tests.support.list_parser import Fields
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.rows import in_order, iso, rows_of
from tests.support.upstream import request

Event = tuple[str, str, str | None, str, str | None]
"""Event, status after it, time, source of the time, and what it was not before."""

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""Start of the mirror's clock; the first sync is an hour later."""

MORNING = "2024-01-11T09:00:00Z"
NEXT_DAY = "2024-01-12T09:00:00Z"

APPROVED = {"status": "approved", "resolved_at": MORNING}
REJECTED = {
    "status": "rejected",
    "resolved_at": NEXT_DAY,
    "rejection_reason": "A porting request is in progress",
}
ON_HOLD = {"status": "on_hold"}
INVALID = {"requested_at": "yesterday"}
UNREADABLE = 5  # as a status
MISSING = None


def sync_start(number: int) -> datetime:
    """Return the start of a sync by its number, from 1."""
    return NOON + timedelta(hours=number)


REQUESTED_AT = "2024-01-10T14:30:00Z"
REQUESTED: Event = ("requested", "pending", REQUESTED_AT, "reported", None)
"""The first event of each story."""


def reported(event: str, when: str) -> Event:
    """Return the event of a status entered at a time that the API reported."""
    return (event, event, when, "reported", None)


def observed(
    event: str, number: int, status: str | None = None, *, after: int | str | None = None
) -> Event:
    """Return an event with the time of a sync, which came after another one or after a time.

    That is the sync before it, unless it did not show the request in its former state.
    """
    if after is None or isinstance(after, int):
        after = iso(sync_start(after or number - 1))
    return (event, status or event, iso(sync_start(number)), "observed", after)


def unknown(event: str) -> Event:
    """Return the event of the status that the request had when it was first seen."""
    return (event, event, None, "unknown", REQUESTED_AT)


@dataclass(frozen=True)
class Story:
    """The responses for one request, sync after sync, and the rows that must follow.

    Attributes:
        responses: fields that differ from a plain pending request, or None if it is not listed; the
            last one lasts until all stories have ended.
        changes: number of the sync and kind of each change.
        events: history of the request, oldest event first.
    """

    responses: list[Fields | None]
    changes: list[tuple[int, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=lambda: [REQUESTED])

    def at(self, number: int) -> Fields | None:
        """Return the response of a sync."""
        return self.responses[min(number, len(self.responses)) - 1]

    def states(self) -> list[tuple[Fields, bool]]:
        """Return the expected known fields after each sync, and whether the request is listed."""
        states: list[tuple[Fields, bool]] = []
        for number in range(1, SYNCS + 1):
            fields = self.at(number)
            if fields is None:
                states.append((states[-1][0], False))
            elif fields is INVALID:  # its other fields can be read
                states.append(({}, True))
            else:
                known = {key: fields[key] for key in fields if key != "carrier"}
                if known.get("status") == UNREADABLE:
                    known["status"] = states[-1][0]["status"]
                states.append((known, True))
        return states


APPROVED_AND_REOPENED = [
    REQUESTED,
    reported("approved", MORNING),
    observed("reopened", 3, "pending"),
]
STORIES = {
    "nothing happens": Story([{}]),
    "approved": Story(
        [{}, APPROVED], [(2, "resolved")], [REQUESTED, reported("approved", MORNING)]
    ),
    "rejected": Story(
        [{}, REJECTED], [(2, "resolved")], [REQUESTED, reported("rejected", NEXT_DAY)]
    ),
    "cancelled, without a time": Story(
        [{}, {}, {"status": "cancelled"}], [(3, "resolved")], [REQUESTED, observed("cancelled", 3)]
    ),
    "first seen approved": Story([APPROVED], [], [REQUESTED, reported("approved", MORNING)]),
    "first seen approved, without a time": Story(
        [{"status": "approved"}], [], [REQUESTED, unknown("approved")]
    ),
    "first seen approved, the time comes later": Story(
        [{"status": "approved"}, APPROVED],
        [(2, "corrected")],
        [REQUESTED, reported("approved", MORNING)],
    ),
    "first seen approved, the time is withdrawn": Story(
        [APPROVED, {"status": "approved"}], [(2, "corrected")], [REQUESTED, unknown("approved")]
    ),
    "first seen cancelled, then rejected before it was submitted": Story(
        [{"status": "cancelled"}, REJECTED | {"resolved_at": "2024-01-09T09:00:00Z"}],
        [(2, "corrected")],
        [reported("rejected", "2024-01-09T09:00:00Z"), REQUESTED, unknown("cancelled")],
    ),
    "first seen cancelled, then approved when it was submitted": Story(
        [{"status": "cancelled"}, APPROVED | {"resolved_at": REQUESTED_AT}],
        [(2, "corrected")],
        [REQUESTED, unknown("cancelled"), reported("approved", REQUESTED_AT)],
    ),
    "first seen cancelled, then reopened": Story(
        [{"status": "cancelled"}, {"status": "cancelled", "reason": "Other"}, {}],
        [(2, "corrected"), (3, "reopened")],
        [REQUESTED, unknown("cancelled"), observed("reopened", 3, "pending")],
    ),
    "resolved_at comes later": Story(
        [{}, {"status": "approved"}, APPROVED],
        [(2, "resolved"), (3, "corrected")],
        [REQUESTED, reported("approved", MORNING)],
    ),
    "resolved_at is corrected": Story(
        [{}, APPROVED, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "resolved"), (3, "corrected")],
        [REQUESTED, reported("approved", NEXT_DAY)],
    ),
    "resolved_at is corrected, then the status changes": Story(
        [{}, APPROVED, APPROVED | {"resolved_at": "2024-01-11T10:00:00Z"}, REJECTED],
        [(2, "resolved"), (3, "corrected"), (4, "corrected")],
        [REQUESTED, reported("approved", "2024-01-11T10:00:00Z"), reported("rejected", NEXT_DAY)],
    ),
    "approved, then rejected": Story(
        [{}, APPROVED, REJECTED],
        [(2, "resolved"), (3, "corrected")],
        [REQUESTED, reported("approved", MORNING), reported("rejected", NEXT_DAY)],
    ),
    "approved, then rejected, without a time": Story(
        [{"status": "approved"}, {"status": "approved"}, {"status": "rejected"}],
        [(3, "corrected")],
        [REQUESTED, unknown("approved"), observed("rejected", 3)],
    ),
    "approved, then rejected, with the same time": Story(
        [{}, APPROVED, APPROVED | {"status": "rejected"}],
        [(2, "resolved"), (3, "corrected")],
        [REQUESTED, reported("approved", MORNING), reported("rejected", MORNING)],
    ),
    "reopened": Story(
        [{}, APPROVED, {}],
        [(2, "resolved"), (3, "reopened")],
        APPROVED_AND_REOPENED,
    ),
    "reopened, then approved again": Story(
        [{}, APPROVED, {}, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [*APPROVED_AND_REOPENED, reported("approved", NEXT_DAY)],
    ),
    "reopened, then approved again, the old time kept": Story(
        [{}, APPROVED, {}, APPROVED],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [*APPROVED_AND_REOPENED, observed("approved", 4)],
    ),
    "reopened, then cancelled again, without a time": Story(
        [{}, {"status": "cancelled"}, {}, {"status": "cancelled"}],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [
            REQUESTED,
            observed("cancelled", 2),
            observed("reopened", 3, "pending"),
            observed("cancelled", 4),
        ],
    ),
    "on hold, then approved": Story(
        [{}, ON_HOLD, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "corrected"), (3, "resolved")],
        [REQUESTED, observed("on_hold", 2), reported("approved", NEXT_DAY)],
    ),
    "on hold, then pending": Story(
        [ON_HOLD, {}],
        [(2, "reopened")],
        [REQUESTED, unknown("on_hold"), observed("reopened", 2, "pending")],
    ),
    "an unknown status resolves, then does not": Story(
        [{}, {"status": "escalated", "resolved_at": MORNING}, ON_HOLD],
        [(2, "resolved"), (3, "corrected")],
        [REQUESTED, reported("escalated", MORNING), observed("on_hold", 3)],
    ),
    "vanished": Story(
        [{}, MISSING], [(2, "vanished")], [REQUESTED, observed("vanished", 2, "pending")]
    ),
    "vanished after it was approved": Story(
        [APPROVED, MISSING],
        [(2, "vanished")],
        [REQUESTED, reported("approved", MORNING), observed("vanished", 2, "approved")],
    ),
    "vanished twice": Story(
        [{}, MISSING, {}, MISSING, MISSING, {}],
        [(2, "vanished"), (3, "returned"), (4, "vanished"), (6, "returned")],
        [
            REQUESTED,
            observed("vanished", 2, "pending"),
            observed("returned", 3, "pending"),
            observed("vanished", 4, "pending"),
            observed("returned", 6, "pending"),
        ],
    ),
    "returned with another reason": Story(
        [{}, MISSING, {"reason": "The campaign has ended"}],
        [(2, "vanished"), (3, "corrected"), (3, "returned")],
        [REQUESTED, observed("vanished", 2, "pending"), observed("returned", 3, "pending")],
    ),
    "returned approved, before it vanished": Story(
        [{}, MISSING, APPROVED],
        [(2, "vanished"), (3, "resolved"), (3, "returned")],
        [
            REQUESTED,
            reported("approved", MORNING),
            observed("vanished", 2, "pending"),
            observed("returned", 3, "approved"),
        ],
    ),
    "returned cancelled, without a time": Story(
        [{}, MISSING, {"status": "cancelled"}],
        [(2, "vanished"), (3, "resolved"), (3, "returned")],
        [
            REQUESTED,
            observed("vanished", 2, "pending"),
            observed("returned", 3, "cancelled"),
            observed("cancelled", 3, after=1),
        ],
    ),
    "returned reopened": Story(
        [APPROVED, MISSING, {}],
        [(2, "vanished"), (3, "reopened"), (3, "returned")],
        [
            REQUESTED,
            reported("approved", MORNING),
            observed("vanished", 2, "approved"),
            observed("returned", 3, "pending"),
            observed("reopened", 3, "pending", after=1),
        ],
    ),
    "cancelled while missing, long after the first sync": Story(
        [{}, {}, MISSING, MISSING, {"status": "cancelled"}],
        [(3, "vanished"), (5, "resolved"), (5, "returned")],
        [
            REQUESTED,
            observed("vanished", 3, "pending"),
            observed("returned", 5, "cancelled"),
            observed("cancelled", 5, after=2),
        ],
    ),
    "invalid for a while": Story([{}, INVALID, INVALID, {}]),
    "cancelled while invalid": Story(
        [{}, {}, INVALID, INVALID, {"status": "cancelled"}],
        [(5, "resolved")],
        [REQUESTED, observed("cancelled", 5, after=2)],
    ),
    "cancelled after it was invalid": Story(
        [{}, INVALID, {}, {"status": "cancelled"}],
        [(4, "resolved")],
        [REQUESTED, observed("cancelled", 4)],
    ),
    "cancelled when it was invalid again": Story(
        [{}, INVALID, {"reason": "Other"}, {"reason": "Other"}, INVALID, {"status": "cancelled"}],
        [(3, "corrected"), (5, "corrected"), (6, "resolved")],
        # Quarantine has one record for both times, from sync 2 to sync 6.
        [REQUESTED, observed("cancelled", 6, after=1)],
    ),
    "on hold again, another reason while its status is unreadable, then cancelled": Story(
        [
            *({}, ON_HOLD, {}, ON_HOLD, {"status": UNREADABLE, "reason": "Other"}),
            {"status": "cancelled", "reason": "Other"},
        ],
        [(2, "corrected"), (3, "reopened"), (4, "corrected"), (5, "corrected"), (6, "resolved")],
        [
            REQUESTED,
            observed("on_hold", 2),
            observed("reopened", 3, "pending"),
            observed("on_hold", 4),
            observed("cancelled", 6, after=4),
        ],
    ),
    "on hold, two other reasons, the last while its status is unreadable, then cancelled": Story(
        [
            *({}, ON_HOLD, ON_HOLD | {"reason": "Other"}),
            *({"status": status, "reason": "Third"} for status in (UNREADABLE, "cancelled")),
        ],
        [(2, "corrected"), (3, "corrected"), (4, "corrected"), (5, "resolved")],
        [REQUESTED, observed("on_hold", 2), observed("cancelled", 5, after=2)],
    ),
    "invalid, then missing": Story(
        [{}, INVALID, MISSING],
        [(3, "vanished")],
        [REQUESTED, observed("vanished", 3, "pending", after=1)],
    ),
    "missing, then invalid": Story(
        [{}, MISSING, MISSING, INVALID, {}],
        [(2, "vanished"), (4, "returned")],
        [
            REQUESTED,
            observed("vanished", 2, "pending"),
            observed("returned", 4, "pending", after=3),
        ],
    ),
    "submitted after a sync by the clock of the API": Story(
        [
            {},
            {"requested_at": "2024-01-12T09:00:00Z"},
            {"status": "cancelled"} | {"requested_at": "2024-01-12T09:00:00Z"},
        ],
        [(2, "corrected"), (3, "resolved")],
        [
            observed("cancelled", 3, after="2024-01-12T09:00:00Z"),
            ("requested", "pending", "2024-01-12T09:00:00Z", "reported", None),
        ],
    ),
    "approved while invalid": Story(
        [{}, INVALID, APPROVED], [(3, "resolved")], [REQUESTED, reported("approved", MORNING)]
    ),
    "only an unknown field changes": Story([{}, {"carrier": "Example"}, {"carrier": "Other"}]),
    "another reason": Story([{}, {"reason": "The campaign has ended"}], [(2, "corrected")]),
    "another phone_number_id": Story([{}, {"phone_number_id": "phone-x"}], [(2, "corrected")]),
    "phone_number_id withdrawn": Story([{}, {"phone_number_id": None}], [(2, "corrected")]),
    "another phone_number": Story([{}, {"phone_number": "+15559990000"}], [(2, "corrected")]),
    "another requested_at": Story(
        [{}, {"requested_at": MORNING}],
        [(2, "corrected")],
        [("requested", "pending", MORNING, "reported", None)],
    ),
    "another rejection_reason": Story(
        [REJECTED, REJECTED | {"rejection_reason": "There are open invoices"}],
        [(2, "corrected")],
        [REQUESTED, reported("rejected", NEXT_DAY)],
    ),
}
IDS = {name: f"request-{position}" for position, name in enumerate(STORIES)}
IN_ORDER = (
    *("phone_number_id", "phone_number", "reason", "status", "rejection_reason"),
    *("requested_at", "resolved_at"),
)
"""The known fields in the order of `changed_fields`."""
SYNCS = max(len(story.responses) for story in STORIES.values())


def entry(name: str, fields: Fields) -> Fields:
    """Return the record of a story's request."""
    return request(int(IDS[name].removeprefix("request-")), **fields)


def as_record(row: ReleaseRequest) -> Fields:
    """Convert a row to the record that the API sent, unknown fields apart."""
    fields = {
        name: getattr(row, name)
        for name in ("id", "phone_number_id", "phone_number", "reason", "status")
    } | {"requested_at": iso(row.requested_at), "rejection_reason": row.rejection_reason}
    if row.resolved_at is not None:
        fields["resolved_at"] = iso(row.resolved_at)
    return {name: value for name, value in fields.items() if value is not None}


class Synced:
    """A mirror that synced all stories, and the rows of its views; tests only read it."""

    def __init__(self, mirror: Mirror) -> None:
        for number in range(1, SYNCS + 1):
            responses = ((name, story.at(number)) for name, story in STORIES.items())
            records = [entry(name, fields) for name, fields in responses if fields is not None]
            result = mirror.sync(records, accept_missing=True)
            assert result.failure is None
            assert result.started_at == sync_start(number)
        self.ask = mirror.query
        self.changes = rows_of(mirror, views.changes)
        versions = rows_of(mirror, views.versions)
        self.versions = sorted(versions, key=lambda row: row["valid_from"])


@pytest.fixture(scope="module")
def of_each_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Synced]]:
    """Mirrors that synced the stories, one of each kind."""
    with mirrors_by_kind(request, Synced) as get:
        yield get


@pytest.fixture(params=DATABASES)
def stories(request: pytest.FixtureRequest, of_each_database: Callable[[str], Synced]) -> Synced:
    """A mirror that synced the stories."""
    return of_each_database(request.param)


@pytest.mark.parametrize("name", STORIES)
def test_stories(stories: Synced, name: str) -> None:
    """A story makes the expected versions, changes, and events under the request's last number."""
    story, states = STORIES[name], STORIES[name].states()
    entered = [1] + [
        number for number, (old, new) in enumerate(pairwise(states), start=2) if old != new
    ]
    begins = list(map(sync_start, entered))
    expected = [
        {
            "version": place,
            "valid_from": begin,
            "valid_to": end,
            "sync_run_id": number,
            "first_seen_at": sync_start(1),
            "status": states[number - 1][0].get("status", "pending"),
            "missing_since": None if states[number - 1][1] else begin,
        }
        for place, (number, begin, end) in enumerate(
            zip(entered, begins, [*begins[1:], None], strict=True), start=1
        )
    ]
    versions = [row for row in stories.versions if row["id"] == IDS[name]]
    assert [{key: row[key] for key in expected[0]} for row in versions] == expected
    changes = [row for row in stories.changes if row["request_id"] == IDS[name]]
    assert changes == in_order([changed(name, number, kind) for number, kind in story.changes])
    number = entry(name, states[-1][0])["phone_number"]
    events = stories.ask(helpers.phone_number_history, number)
    assert [
        (
            event.event,
            event.status,
            event.occurred_at and iso(event.occurred_at),
            event.time_source,
            event.not_before and iso(event.not_before),
        )
        for event in events
    ] == story.events
    assert {(event.environment, event.request_id) for event in events} == {("default", IDS[name])}


def changed(name: str, number: int, kind: str) -> dict[str, Any]:
    """Return the expected row of a change that a sync saw."""
    old, new = (fields for fields, _ in STORIES[name].states()[number - 2 : number])
    row: dict[str, Any] = {
        "request_id": IDS[name],
        "environment": "default",
        "phone_number": entry(name, new)["phone_number"],
        "changed_at": sync_start(number),
        "kind": kind,
        "sync_run_id": number,
    }
    for which, fields in (("old", old), ("new", new)):
        at = fields.get("resolved_at")
        row[f"{which}_status"] = fields.get("status", "pending")
        row[f"{which}_resolved_at"] = at and datetime.fromisoformat(at)
    records = entry(name, old), entry(name, new)
    differ = tuple(
        field for field in IN_ORDER if len({record.get(field) for record in records}) > 1
    )
    return row | {"changed_fields": () if kind in {"vanished", "returned"} else differ}


@pytest.mark.parametrize("number", range(1, SYNCS + 1))
def test_as_of(stories: Synced, number: int) -> None:
    """As of any time from one sync to the next, the mirror has the rows of the first."""
    states = {name: story.states()[number - 1] for name, story in STORIES.items()}
    for when in (
        sync_start(number),
        sync_start(number) + timedelta(minutes=30),
        sync_start(number + 1) - timedelta(milliseconds=1),
    ):
        for missing in (False, True):
            found = stories.ask(helpers.release_requests, as_of=when, missing=missing)
            assert in_order([as_record(row) for row in found]) == in_order(
                [entry(name, fields) for name, (fields, here) in states.items() if here != missing]
            )


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("another rejection_reason", [None, "There are open invoices"]),
        ("approved, then rejected", [None, None, REJECTED["rejection_reason"]]),
    ],
)
def test_history_has_the_rejection_reason(
    stories: Synced, name: str, reasons: list[str | None]
) -> None:
    """The event that rejected a request has the reason, as the API last returned it."""
    events = stories.ask(helpers.phone_number_history, entry(name, {})["phone_number"])
    assert [event.rejection_reason for event in events] == reasons


def test_a_corrected_number_keeps_its_history(stories: Synced) -> None:
    """The history of a request is listed under its current number, and only there."""
    old = entry("another phone_number", {})["phone_number"]
    assert stories.ask(helpers.phone_number_history, old) == []
    assert len(stories.ask(helpers.phone_number_history, "+15559990000")) == 1
