"""The views, in both databases: what syncs saw becomes versions, changes, history and numbers.

A story is what upstream said about one request, sync after sync. All stories are told to one
mirror side by side, once in each database, and each test looks at one of them. At the end, chance
tells a long one to both databases at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db import views
from mirror.db.engine import read_transaction
from mirror.queries import helpers
from mirror.queries.results import PhoneNumber, ReleaseRequest
from mirror.sandbox.server import Sandbox
from mirror.sync.run import Outcome
from tests.support import oracle_statistics as figures
from tests.support.databases import DATABASES
from tests.support.list_parser import KNOWN, Fields
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.oracle import Memory, State
from tests.support.upstream import FakeUpstream, request

Event = tuple[str, str, str, str]
"""Event, status after it, when it happened, and who says so."""

NOON = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""When the clock of a mirror under test starts; its first sync is an hour later."""

REQUESTED = "2024-01-10T14:30:00Z"
MORNING = "2024-01-11T09:00:00Z"
NEXT_DAY = "2024-01-12T09:00:00Z"

APPROVED = {"status": "approved", "resolved_at": MORNING}
REJECTED = {
    "status": "rejected",
    "resolved_at": NEXT_DAY,
    "rejection_reason": "A porting request is in progress",
}
ON_HOLD = {"status": "on_hold"}
GARBLED = {"requested_at": "yesterday"}
GONE = None


def synced(number: int) -> datetime:
    """When the sync with this number began; the first one is 1."""
    return NOON + timedelta(hours=number)


def iso(time: datetime) -> str:
    """Write a time as upstream does."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


ASKED: Event = ("requested", "pending", REQUESTED, "reported")
"""The event that each story begins with."""


def said(event: str, when: str) -> Event:
    """Make an event that entered a status, at the time that upstream reported."""
    return (event, event, when, "reported")


def seen(event: str, number: int, status: str | None = None) -> Event:
    """Make an event whose time is that of the sync with this number."""
    return (event, status or event, iso(synced(number)), "observed")


@dataclass(frozen=True)
class Story:
    """What upstream said about a request in each sync, and what must come of it.

    Attributes:
        told: the fields that differ from a plain pending request, or None if it was not listed;
            the last one is told until all stories have ended.
        changes: number of the sync and kind of each change.
        events: the history of the request, oldest event first.
    """

    told: list[Fields | None]
    changes: list[tuple[int, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=lambda: [ASKED])

    def at(self, number: int) -> Fields | None:
        """What upstream says in the sync with this number."""
        return self.told[min(number, len(self.told)) - 1]

    def states(self) -> list[tuple[Fields, bool]]:
        """What the mirror must know after each sync: the known fields, and whether it is listed."""
        states: list[tuple[Fields, bool]] = []
        for number in range(1, SYNCS + 1):
            fields = self.at(number)
            if fields is None:
                states.append((states[-1][0], False))
            elif fields is GARBLED:
                states.append(states[-1])
            else:
                states.append(({key: fields[key] for key in fields if key != "carrier"}, True))
        return states


STORIES = {
    "nothing happens": Story([{}]),
    "approved": Story([{}, APPROVED], [(2, "resolved")], [ASKED, said("approved", MORNING)]),
    "rejected": Story([{}, REJECTED], [(2, "resolved")], [ASKED, said("rejected", NEXT_DAY)]),
    "cancelled, no time given": Story(
        [{}, {}, {"status": "cancelled"}], [(3, "resolved")], [ASKED, seen("cancelled", 3)]
    ),
    "first seen approved": Story([APPROVED], [], [ASKED, said("approved", MORNING)]),
    "first seen approved, no time given": Story(
        [{"status": "approved"}], [], [ASKED, seen("approved", 1)]
    ),
    "resolved_at comes later": Story(
        [{}, {"status": "approved"}, APPROVED],
        [(2, "resolved"), (3, "corrected")],
        [ASKED, said("approved", MORNING)],
    ),
    "resolved_at is corrected": Story(
        [{}, APPROVED, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "resolved"), (3, "corrected")],
        [ASKED, said("approved", NEXT_DAY)],
    ),
    "resolved_at is corrected, then the status changes": Story(
        [{}, APPROVED, APPROVED | {"resolved_at": "2024-01-11T10:00:00Z"}, REJECTED],
        [(2, "resolved"), (3, "corrected"), (4, "corrected")],
        [ASKED, said("approved", "2024-01-11T10:00:00Z"), said("rejected", NEXT_DAY)],
    ),
    "approved, then rejected": Story(
        [{}, APPROVED, REJECTED],
        [(2, "resolved"), (3, "corrected")],
        [ASKED, said("approved", MORNING), said("rejected", NEXT_DAY)],
    ),
    "approved, then rejected, no time given": Story(
        [{"status": "approved"}, {"status": "approved"}, {"status": "rejected"}],
        [(3, "corrected")],
        [ASKED, seen("approved", 1), seen("rejected", 3)],
    ),
    "approved, then rejected, the same time given": Story(
        [{}, APPROVED, APPROVED | {"status": "rejected"}],
        [(2, "resolved"), (3, "corrected")],
        [ASKED, said("approved", MORNING), said("rejected", MORNING)],
    ),
    "reopened": Story(
        [{}, APPROVED, {}],
        [(2, "resolved"), (3, "reopened")],
        [ASKED, said("approved", MORNING), seen("reopened", 3, "pending")],
    ),
    "reopened, then approved again": Story(
        [{}, APPROVED, {}, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [
            ASKED,
            said("approved", MORNING),
            seen("reopened", 3, "pending"),
            said("approved", NEXT_DAY),
        ],
    ),
    "reopened, then approved again, the old time kept": Story(
        [{}, APPROVED, {}, APPROVED],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [ASKED, said("approved", MORNING), seen("reopened", 3, "pending"), seen("approved", 4)],
    ),
    "reopened, then cancelled again, no time given": Story(
        [{}, {"status": "cancelled"}, {}, {"status": "cancelled"}],
        [(2, "resolved"), (3, "reopened"), (4, "resolved")],
        [ASKED, seen("cancelled", 2), seen("reopened", 3, "pending"), seen("cancelled", 4)],
    ),
    "on hold, then approved": Story(
        [{}, ON_HOLD, APPROVED | {"resolved_at": NEXT_DAY}],
        [(2, "corrected"), (3, "resolved")],
        [ASKED, seen("on_hold", 2), said("approved", NEXT_DAY)],
    ),
    "on hold, then pending": Story(
        [ON_HOLD, {}],
        [(2, "reopened")],
        [ASKED, seen("on_hold", 1), seen("reopened", 2, "pending")],
    ),
    "an unknown status resolves, then does not": Story(
        [{}, {"status": "escalated", "resolved_at": MORNING}, ON_HOLD],
        [(2, "resolved"), (3, "corrected")],
        [ASKED, said("escalated", MORNING), seen("on_hold", 3)],
    ),
    "vanished": Story([{}, GONE], [(2, "vanished")], [ASKED, seen("vanished", 2, "pending")]),
    "vanished after it was approved": Story(
        [APPROVED, GONE],
        [(2, "vanished")],
        [ASKED, said("approved", MORNING), seen("vanished", 2, "approved")],
    ),
    "vanished twice": Story(
        [{}, GONE, {}, GONE, GONE, {}],
        [(2, "vanished"), (3, "returned"), (4, "vanished"), (6, "returned")],
        [
            ASKED,
            seen("vanished", 2, "pending"),
            seen("returned", 3, "pending"),
            seen("vanished", 4, "pending"),
            seen("returned", 6, "pending"),
        ],
    ),
    "returned with another reason": Story(
        [{}, GONE, {"reason": "The campaign has ended"}],
        [(2, "vanished"), (3, "corrected"), (3, "returned")],
        [ASKED, seen("vanished", 2, "pending"), seen("returned", 3, "pending")],
    ),
    "returned approved, before it vanished": Story(
        [{}, GONE, APPROVED],
        [(2, "vanished"), (3, "resolved"), (3, "returned")],
        [
            ASKED,
            said("approved", MORNING),
            seen("vanished", 2, "pending"),
            seen("returned", 3, "approved"),
        ],
    ),
    "returned cancelled, no time given": Story(
        [{}, GONE, {"status": "cancelled"}],
        [(2, "vanished"), (3, "resolved"), (3, "returned")],
        [
            ASKED,
            seen("vanished", 2, "pending"),
            seen("returned", 3, "cancelled"),
            seen("cancelled", 3),
        ],
    ),
    "returned reopened": Story(
        [APPROVED, GONE, {}],
        [(2, "vanished"), (3, "reopened"), (3, "returned")],
        [
            ASKED,
            said("approved", MORNING),
            seen("vanished", 2, "approved"),
            seen("returned", 3, "pending"),
            seen("reopened", 3, "pending"),
        ],
    ),
    "garbled for a while": Story([{}, GARBLED, GARBLED, {}]),
    "garbled while it was approved": Story(
        [{}, GARBLED, APPROVED], [(3, "resolved")], [ASKED, said("approved", MORNING)]
    ),
    "only an unknown field changes": Story([{}, {"carrier": "Example"}, {"carrier": "Other"}]),
    "another reason": Story([{}, {"reason": "The campaign has ended"}], [(2, "corrected")]),
    "another phone_number_id": Story([{}, {"phone_number_id": "phone-x"}], [(2, "corrected")]),
    "phone_number_id withdrawn": Story([{}, {"phone_number_id": None}], [(2, "corrected")]),
    "another phone_number": Story([{}, {"phone_number": "+15559990000"}], [(2, "corrected")]),
    "another requested_at": Story(
        [{}, {"requested_at": MORNING}],
        [(2, "corrected")],
        [("requested", "pending", MORNING, "reported")],
    ),
    "another rejection_reason": Story(
        [REJECTED, REJECTED | {"rejection_reason": "There are open invoices"}],
        [(2, "corrected")],
        [ASKED, said("rejected", NEXT_DAY)],
    ),
}
IDS = {name: f"request-{position}" for position, name in enumerate(STORIES)}
SYNCS = max(len(story.told) for story in STORIES.values())


def entry(name: str, fields: Fields) -> Fields:
    """Make the record of a story's request."""
    return request(int(IDS[name].removeprefix("request-")), **fields)


def answered(one: ReleaseRequest) -> Fields:
    """Give a request of the mirror the form that upstream gave it, unknown fields apart."""
    fields = {
        name: getattr(one, name)
        for name in ("id", "phone_number_id", "phone_number", "reason", "status")
    } | {"requested_at": iso(one.requested_at), "rejection_reason": one.rejection_reason}
    if one.resolved_at is not None:
        fields["resolved_at"] = iso(one.resolved_at)
    return {name: value for name, value in fields.items() if value is not None}


class Told:
    """A mirror that all stories were told to, and what its views say; tests only read it."""

    def __init__(self, mirror: Mirror) -> None:
        for number in range(1, SYNCS + 1):
            said = ((name, story.at(number)) for name, story in STORIES.items())
            records = [entry(name, fields) for name, fields in said if fields is not None]
            result = mirror.sync(records, accept_missing=True)
            assert result.failure is None
            assert result.started_at == synced(number)
        self.ask = mirror.query
        self.changes = rows_of(mirror, views.changes)
        versions = rows_of(mirror, views.versions)
        self.versions = sorted(versions, key=lambda row: row["valid_from"])


@pytest.fixture(scope="module")
def tellings(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Told]]:
    """The mirrors that the stories were told to, once of each kind."""
    with mirrors_by_kind(request, Told) as get:
        yield get


@pytest.fixture(params=DATABASES)
def told(request: pytest.FixtureRequest, tellings: Callable[[str], Told]) -> Told:
    """A mirror that was told the stories."""
    return tellings(request.param)


def rows_of(mirror: Mirror, view: sa.Table) -> list[dict[str, Any]]:
    """All rows of a view, as the types of its columns give them to Python, in a fixed order."""
    with read_transaction(mirror.engine) as connection:
        rows = [dict(row) for row in connection.execute(sa.select(view)).mappings()]
    return in_order(rows)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put rows into an order that depends on nothing but what they hold."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


@pytest.mark.parametrize("name", STORIES)
def test_stories(told: Told, name: str) -> None:
    """What is told of a request makes versions, changes, and a history under its last number.

    There is a new version exactly when a known field changes, or when it vanishes or returns. They
    are numbered, each begins where the one before ends, and the last one is open. Each change is
    told once, of its kind; one that returned with other fields has two rows. Each event is told
    once, at the best known time, in the order in which things happened.
    """
    story, states = STORIES[name], STORIES[name].states()
    entered = [1] + [
        number for number, (old, new) in enumerate(pairwise(states), start=2) if old != new
    ]
    begins = list(map(synced, entered))
    expected = [
        {
            "version": place,
            "valid_from": begin,
            "valid_to": end,
            "sync_run_id": number,
            "first_seen_at": synced(1),
            "status": states[number - 1][0].get("status", "pending"),
            "missing_since": None if states[number - 1][1] else begin,
        }
        for place, (number, begin, end) in enumerate(
            zip(entered, begins, [*begins[1:], None], strict=True), start=1
        )
    ]
    versions = [row for row in told.versions if row["id"] == IDS[name]]
    assert [{key: row[key] for key in expected[0]} for row in versions] == expected
    changes = [row for row in told.changes if row["request_id"] == IDS[name]]
    assert changes == in_order([changed(name, number, kind) for number, kind in story.changes])
    number = entry(name, states[-1][0])["phone_number"]
    events = told.ask(helpers.phone_number_history, number)
    assert [
        (event.event, event.status, iso(event.occurred_at), event.time_source) for event in events
    ] == story.events
    assert {(event.environment, event.request_id) for event in events} == {("default", IDS[name])}


def changed(name: str, number: int, kind: str) -> dict[str, Any]:
    """What must be told of a change that the sync with a number saw."""
    old, new = (fields for fields, _ in STORIES[name].states()[number - 2 : number])
    row: dict[str, Any] = {
        "request_id": IDS[name],
        "environment": "default",
        "phone_number": entry(name, new)["phone_number"],
        "changed_at": synced(number),
        "kind": kind,
        "sync_run_id": number,
    }
    for which, fields in (("old", old), ("new", new)):
        at = fields.get("resolved_at")
        row[f"{which}_status"] = fields.get("status", "pending")
        row[f"{which}_resolved_at"] = at and datetime.fromisoformat(at)
    return row


@pytest.mark.parametrize("number", range(1, SYNCS + 1))
def test_as_of(told: Told, number: int) -> None:
    """As of any time from a sync to the next one, the mirror tells what it knew after the first."""
    states = {name: story.states()[number - 1] for name, story in STORIES.items()}
    for when in (
        synced(number),
        synced(number) + timedelta(minutes=30),
        synced(number + 1) - timedelta(milliseconds=1),
    ):
        for missing in (False, True):
            found = told.ask(helpers.release_requests, as_of=when, missing=missing)
            assert in_order([answered(one) for one in found]) == in_order(
                [entry(name, fields) for name, (fields, here) in states.items() if here != missing]
            )


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("another rejection_reason", [None, "There are open invoices"]),
        ("approved, then rejected", [None, None, REJECTED["rejection_reason"]]),
    ],
)
def test_history_tells_the_rejection_reason(
    told: Told, name: str, reasons: list[str | None]
) -> None:
    """Why a request was denied stands with the event that denied it, as upstream last said it."""
    events = told.ask(helpers.phone_number_history, entry(name, {})["phone_number"])
    assert [event.rejection_reason for event in events] == reasons


def test_a_corrected_number_takes_its_history_along(told: Told) -> None:
    """The history of a request stands under the number that upstream gives now, and only there."""
    old = entry("another phone_number", {})["phone_number"]
    assert told.ask(helpers.phone_number_history, old) == []
    assert len(told.ask(helpers.phone_number_history, "+15559990000")) == 1


def test_phone_numbers(mirror: Mirror) -> None:
    """A number has a row in each environment that sums up its requests and tells the last one."""
    again, tie, gone, reopened = (f"+1555222000{digit}" for digit in range(4))
    feb, mar, apr = (datetime(2023, month, 1, tzinfo=UTC) for month in (2, 3, 4))

    def make(number: int, phone_number: str, requested_at: datetime, **fields: Any) -> Fields:
        fields = {key: iso(one) if key == "resolved_at" else one for key, one in fields.items()}
        return request(number, phone_number=phone_number, requested_at=iso(requested_at), **fields)

    records = [
        make(1, again, mar, status="approved", resolved_at=apr),
        make(2, again, feb, status="rejected", resolved_at=mar),
        make(3, tie, feb, status="approved", resolved_at=apr),
        make(4, tie, feb, status="rejected", resolved_at=mar, phone_number_id=None),
        make(5, reopened, feb, status="approved", resolved_at=mar),
        make(6, reopened, mar),
        make(7, gone, feb, status="approved"),
    ]
    mirror.sync(records, environment="dev")
    mirror.sync(records[:-1], environment="dev")
    mirror.sync([make(8, again, apr)], environment="prod")
    assert mirror.query(helpers.phone_numbers) == [
        PhoneNumber(*row)
        for row in [
            ("dev", again, "phone-1", 2, "request-1", "approved", feb, mar, apr, True),
            ("prod", again, "phone-8", 1, "request-8", "pending", apr, apr, None, False),
            ("dev", tie, None, 2, "request-4", "rejected", feb, feb, apr, False),
            ("dev", gone, "phone-7", 1, "request-7", "approved", feb, feb, None, True),
            ("dev", reopened, "phone-6", 2, "request-6", "pending", feb, mar, mar, False),
        ]
    ]


_FRESH = 30
"""Requests at the start: enough for the guard to let a few vanish at once."""

REASONS = ("Number is no longer in use", "The campaign has ended", "Número não é\0 necessário")
JUNK: tuple[Any, ...] = ("junk", 42, None, [], {"phone_number": "+15550000000"})


class Fate:
    """An upstream that chance rules, and what there is to understand in each of its lists.

    Attributes:
        requests: each request as upstream would give it, also those that it does not list.
        away: the ids of those.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 (a test's fate, no cryptography)
        self.now = NOON
        self.requests: dict[str, Fields] = {}
        self.away: set[str] = set()
        for _ in range(_FRESH):
            self._submit()

    def live(self) -> None:
        """Let a day pass: requests are made, resolved, reopened, edited, lost and found."""
        self.now += timedelta(days=1)
        for _ in range(self.chance.randrange(4)):
            self._submit()
        for act, share in (
            (self._resolve, 0.15),
            (self._edit, 0.1),
            (self._reopen, 0.03),
            (self._hold, 0.03),
        ):
            for one in self.requests.values():
                if self.chance.random() < share:
                    act(one)
        here = sorted(self.requests.keys() - self.away)
        back = {one for one in sorted(self.away) if self.chance.random() < 0.4}
        self.away -= back
        self.away |= set(self.chance.sample(here, self.chance.randrange(max(1, len(here) // 10))))

    def answer(self) -> tuple[list[Any], dict[str, Fields], set[str]]:
        """Give the list of today.

        Returns:
            Its entries; those that can be understood, by id; the ids of those that cannot.
        """
        chance = self.chance
        listed = {key: one for key, one in self.requests.items() if key not in self.away}
        bad = {key for key in listed if chance.random() < 0.03}
        entries: list[Any] = []
        for key, one in listed.items():
            if key not in bad:
                entries += [one] * (2 if chance.random() < 0.05 else 1)
            elif chance.random() < 0.5:
                entries.append(one | chance.choice([GARBLED, {"status": 7}, {"phone_number": ""}]))
            else:
                entries += [one, one | {"reason": "Something else"}]
        entries += chance.sample(JUNK, chance.randrange(3))
        chance.shuffle(entries)
        understood = {key: one for key, one in listed.items() if key not in bad}
        return entries, {key: dict(one) for key, one in understood.items()}, bad

    def _submit(self) -> None:
        chance = self.chance
        number = len(self.requests)
        one = request(
            number,
            phone_number=f"+1555000{chance.randrange(40):04d}",
            phone_number_id=chance.choice([f"phone-{chance.randrange(40)}", None]),
            reason=chance.choice([*REASONS, None]),
            requested_at=self._time(),
        )
        self.requests[one["id"]] = one
        if chance.random() < 0.2:
            self._resolve(one)

    def _time(self) -> str:
        """Write a time of the past day in one of the ways that ISO 8601 knows."""
        time = self.now - timedelta(microseconds=self.chance.randrange(86_400_000_000))
        zone = timezone(timedelta(minutes=self.chance.choice([0, 0, 0, -180, 330])))
        precision = self.chance.choice(["seconds", "milliseconds", "microseconds"])
        return time.astimezone(zone).isoformat(timespec=precision).replace("+00:00", "Z")

    def _resolve(self, one: Fields) -> None:
        if one["status"] in {"pending", "on_hold"} or self.chance.random() < 0.1:
            one["status"] = self.chance.choice(["approved", "approved", "rejected", "cancelled"])
            self._set(one, "resolved_at", self.chance.choice([self._time(), None]))
            denied = one["status"] == "rejected"
            self._set(one, "rejection_reason", self.chance.choice(REASONS) if denied else None)

    def _edit(self, one: Fields) -> None:
        name = self.chance.choice(
            ["reason", "phone_number", "phone_number_id", "requested_at", "resolved_at", "carrier"]
        )
        value = {
            "reason": self.chance.choice([*REASONS, None]),
            "phone_number": f"+1555000{self.chance.randrange(40):04d}",
            "phone_number_id": self.chance.choice(["phone-x", None]),
            "requested_at": self._time(),
            "resolved_at": self._time(),
            "carrier": self.chance.random(),
        }[name]
        self._set(one, name, value)

    def _reopen(self, one: Fields) -> None:
        one["status"] = "pending"
        self._set(one, "resolved_at", None)
        self._set(one, "rejection_reason", None)

    def _hold(self, one: Fields) -> None:
        one["status"] = "on_hold"

    def _set(self, one: Fields, name: str, value: object) -> None:
        one.pop(name, None)
        if value is not None:
            one[name] = value


def like(rows: list[dict[str, Any]], model: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cut rows to the columns that the model has."""
    names = {name for row in model for name in row}
    return in_order([{name: row[name] for name in names} for row in rows])


def recalled(mirror: Mirror, when: datetime) -> dict[str, State]:
    """What the helper says about a time, listed or not, in the words of the model."""
    found = [
        one
        for missing in (False, True)
        for one in mirror.query(helpers.release_requests, as_of=when, missing=missing)
    ]
    assert all(one.missing_since in {None, one.valid_from} for one in found)
    return {
        one.id: State(
            {name: getattr(one, name) for name in KNOWN},
            gone=one.missing_since is not None,
            since=one.valid_from,
            first=one.first_seen_at,
        )
        for one in found
    }


def assert_figures_of_the_days(mirrors: list[Mirror], memory: Memory) -> None:
    """Each day since the first request has its row, up to today, which may end meanwhile."""
    before = datetime.now(UTC).date()
    one, other = (rows_of(mirror, views.daily) for mirror in mirrors)
    if datetime.now(UTC).date() != before:
        assert_figures_of_the_days(mirrors, memory)
        return
    assert one == other
    model = figures.daily(memory, before)
    assert like(one, model) == in_order(model)
    waiting = [states[-1] for states in memory.states.values() if not states[-1].gone]
    assert model[-1]["open_at_end"] == sum(not state.resolved for state in waiting)


@pytest.fixture
def seed() -> int:
    """What decides what upstream does."""
    return 8


@pytest.fixture
def many_days() -> int:
    """How long it goes on."""
    return 12


def test_chance(
    make_ready_database: Callable[[str], str],
    sandbox: Sandbox,
    upstream: FakeUpstream,
    seed: int,
    many_days: int,
) -> None:
    """Whatever upstream does, both databases say the same, and what plain memory says too."""
    mirrors = [Mirror(make_ready_database(kind), sandbox, upstream) for kind in DATABASES]
    fate, memory = Fate(seed), Memory()
    for day in range(many_days):
        quiet = day % 6 == 5
        if not quiet:
            fate.live()
        entries, understood, bad = fate.answer()
        results = []
        for mirror in mirrors:
            mirror.now = NOON + timedelta(days=day)
            results.append(mirror.sync(None if quiet else entries))
        assert {one.outcome for one in results} == {Outcome.UNCHANGED if quiet else Outcome.APPLIED}
        assert results[0].counts == results[1].counts
        if not quiet:
            memory.learn(mirrors[0].now, understood, bad)
        for view, model in (
            (views.changes, memory.changes()),
            (views.history, memory.history()),
            (views.numbers, memory.numbers()),
            (views.versions, memory.versions()),
            (views.turnaround, figures.turnaround(memory)),
        ):
            one, other = (rows_of(mirror, view) for mirror in mirrors)
            assert one == other
            assert like(one, model) == in_order(model)
        if quiet:
            assert_figures_of_the_days(mirrors, memory)
    for mirror in mirrors:
        for when in (NOON + timedelta(days=day, hours=1) for day in range(many_days)):
            for then in (when - timedelta(milliseconds=1), when):
                assert recalled(mirror, then) == memory.as_of(then)
    kinds = {row["kind"] for row in memory.changes()}
    assert kinds == {"resolved", "reopened", "corrected", "vanished", "returned"}
