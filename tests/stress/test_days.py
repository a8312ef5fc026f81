"""The views of review times and of daily counts, story by story, on both databases.

`test_views.py` compares them with a model on random data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.db import views
from mirror.db.engine import read_transaction
from mirror.db.models import CLOSED_STATUSES
from mirror.queries import helpers
from mirror.sandbox.server import Sandbox
from tests.support import postgres
from tests.support.databases import DATABASES
from tests.support.list_parser import Fields
from tests.support.mirrors import Mirror, mirrors_by_kind
from tests.support.upstream import FakeUpstream, request

REQUESTED = date(2024, 1, 10)
"""Day on which each story's request is submitted, in the afternoon; syncs start a day later."""

FIRST_SYNC = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""Start of the first sync; each next one is a day later."""


def on(day: int, hour: int = 9) -> str:
    """Format a time in January like the API."""
    return f"2024-01-{day:02d}T{hour:02d}:00:00Z"


APPROVED = {"status": "approved", "resolved_at": on(12)}
CANCELLED = {"status": "cancelled"}
ESCALATED = {"status": "escalated"}
MISSING = None


@dataclass(frozen=True)
class Story:
    """The responses for one request, sync after sync, and the rows that must follow.

    Attributes:
        responses: fields that differ from a plain pending request, or None if it is not listed.
        open_at_end: of each day, from the day of submission.
        counted: status and day of each count, as "approved 12".
        turnaround: status, hours and source of the time, or None while it is not resolved.
        undated: whether it was resolved at an unknown time.
    """

    responses: list[Fields | None]
    open_at_end: str
    counted: tuple[str, ...] = ()
    turnaround: tuple[str, float | None, str] | None = None
    undated: int = 0


STORIES = {
    "waits": Story([{}], "1111"),
    "approved on the day of the sync": Story(
        [{}, APPROVED], "110", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "approved, seen two days later": Story(
        [{}, {}, {}, APPROVED], "110000", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "cancelled, without a time": Story(
        [{}, {}, CANCELLED], "11100", ("cancelled 13",), ("cancelled", 69.5, "observed")
    ),
    "first seen approved": Story(
        [APPROVED | {"resolved_at": on(10, 20)}],
        "00",
        ("approved 10",),
        ("approved", 5.5, "reported"),
    ),
    "first seen cancelled, without a time": Story(
        [CANCELLED], "00", (), ("cancelled", None, "unknown"), undated=1
    ),
    "first seen cancelled, with another reason later": Story(
        [CANCELLED, CANCELLED | {"reason": "Other"}],
        "000",
        (),
        ("cancelled", None, "unknown"),
        undated=1,
    ),
    "first seen rejected, the time comes later": Story(
        [{"status": "rejected"}, {"status": "rejected", "resolved_at": on(11)}],
        "10",
        ("rejected 11",),
        ("rejected", 18.5, "reported"),
    ),
    "first seen rejected, the time is withdrawn": Story(
        [{"status": "rejected", "resolved_at": on(11)}, {"status": "rejected"}],
        "00",
        (),
        ("rejected", None, "unknown"),
        undated=1,
    ),
    "first seen cancelled, then reopened": Story([CANCELLED, {}, {}], "0011", (), undated=1),
    "first seen cancelled, reopened and approved": Story(
        [CANCELLED, {}, {}, {}, APPROVED | {"resolved_at": on(14)}],
        "001100",
        ("approved 14",),
        ("approved", 90.5, "reported"),
        undated=1,
    ),
    "first seen cancelled, then vanished and returned reopened": Story(
        [CANCELLED, MISSING, {}], "0001", (), undated=1
    ),
    "first seen cancelled, then vanished": Story(
        [CANCELLED, MISSING], "000", (), ("cancelled", None, "unknown"), undated=1
    ),
    "first seen cancelled, then rejected before it was submitted": Story(
        [CANCELLED, {"status": "rejected", "resolved_at": on(10, 3)}],
        "000",
        ("rejected 10",),
        ("rejected", -11.5, "reported"),
        undated=1,
    ),
    "first seen with an unknown status, then cancelled": Story(
        [ESCALATED, CANCELLED], "110", ("cancelled 12",), ("cancelled", 45.5, "observed")
    ),
    "first seen with an unknown status": Story([ESCALATED], "11"),
    "the time comes later": Story(
        [{}, {}, {"status": "approved"}, APPROVED],
        "11000",
        ("approved 12",),
        ("approved", 42.5, "reported"),
    ),
    "the time is corrected to one after it was seen": Story(
        [{}, APPROVED, APPROVED | {"resolved_at": on(13)}],
        "11000",
        ("approved 13",),
        ("approved", 66.5, "reported"),
    ),
    "approved again before it was seen reopened": Story(
        [{}, APPROVED, {}, APPROVED | {"resolved_at": on(13)}],
        "11000",
        ("approved 12", "approved 13"),
        ("approved", 66.5, "reported"),
    ),
    "reopened": Story([{}, APPROVED, APPROVED, {}], "110011", ("approved 12",)),
    "reopened, and approved again": Story(
        [{}, APPROVED, {}, {}, APPROVED | {"resolved_at": on(15)}],
        "1101100",
        ("approved 12", "approved 15"),
        ("approved", 114.5, "reported"),
    ),
    "approved, then rejected": Story(
        [{}, APPROVED, {"status": "rejected", "resolved_at": on(13)}],
        "11000",
        ("approved 12", "rejected 13"),
        ("rejected", 66.5, "reported"),
    ),
    "on hold": Story([{}, {"status": "on_hold"}], "1111"),
    "vanished": Story([{}, MISSING], "1100"),
    "vanished and returned": Story([{}, MISSING, MISSING, {}], "110011"),
    "vanished after it was approved": Story(
        [APPROVED | {"resolved_at": on(11)}, MISSING],
        "100",
        ("approved 11",),
        ("approved", 18.5, "reported"),
    ),
    "returned, approved before it vanished": Story(
        [{}, {}, MISSING, APPROVED], "110000", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "an unknown status that resolves": Story(
        [{}, ESCALATED | {"resolved_at": on(12)}], "1100", (), ("escalated", 42.5, "reported")
    ),
    "an unknown status that resolves in the end": Story(
        [ESCALATED, MISSING, ESCALATED, ESCALATED | {"resolved_at": on(11)}],
        "10000",
        (),
        ("escalated", 18.5, "reported"),
    ),
    "an unknown status that resolves after it returned": Story(
        [{}, ESCALATED, MISSING, ESCALATED, ESCALATED | {"resolved_at": on(12)}],
        "1100000",
        (),
        ("escalated", 42.5, "reported"),
    ),
    "a status named requested": Story([{}, {"status": "requested"}], "1111"),
    "such a status, resolved": Story(
        [{}, {"status": "requested", "resolved_at": on(12)}],
        "1100",
        (),
        ("requested", 42.5, "reported"),
    ),
    "such a status after an approval": Story(
        [{}, APPROVED, {"status": "requested"}], "11011", ("approved 12",)
    ),
    "resolved before it was submitted, reported": Story(
        [{}, APPROVED | {"resolved_at": on(10, 3)}],
        "000",
        ("approved 10",),
        ("approved", -11.5, "reported"),
    ),
    "resolved in the future, reported": Story(
        [{}, APPROVED | {"resolved_at": on(20)}],
        "11000000000",
        ("approved 20",),
        ("approved", 234.5, "reported"),
    ),
}
SYNCS = max(len(story.responses) for story in STORIES.values())


@dataclass(frozen=True)
class Synced:
    """A mirror that synced each story into an environment of its own, and the rows of its views."""

    mirror: Mirror
    turnaround: list[sa.Row[Any]]
    days: list[sa.Row[Any]]

    @cached_property
    def days_of(self) -> dict[str, list[sa.Row[Any]]]:
        """The days of each story."""
        return {name: list(days) for name, days in groupby(self.days, lambda row: row.environment)}


def sync_stories(mirror: Mirror) -> Synced:
    """Sync all stories, a day per response."""
    for number in range(SYNCS):
        for place, (name, story) in enumerate(STORIES.items()):
            if number < len(story.responses):
                mirror.now = FIRST_SYNC + timedelta(days=number, hours=-1)
                fields = story.responses[number]
                records = [] if fields is None else [entry(place, fields)]
                result = mirror.sync(records, environment=name, accept_missing=True)
                assert result.failure is None
    by_id, by_day = views.turnaround.c.id, views.daily.c.day
    return Synced(mirror, rows(mirror, views.turnaround, by_id), rows(mirror, views.daily, by_day))


def rows(mirror: Mirror, view: sa.Table, *order: sa.Column[Any]) -> list[sa.Row[Any]]:
    """Return all rows of a view, by environment."""
    query = sa.select(view).order_by(view.c.environment, *order)
    with read_transaction(mirror.engine) as connection:
        return list(connection.execute(query))


@pytest.fixture(scope="module")
def of_each_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Synced]]:
    """Mirrors that synced the stories, one of each kind; tests only read them."""
    with mirrors_by_kind(request, sync_stories) as get:
        yield get


@pytest.fixture(params=DATABASES)
def stories(request: pytest.FixtureRequest, of_each_database: Callable[[str], Synced]) -> Synced:
    """A mirror that synced the stories."""
    return of_each_database(request.param)


def entry(place: int, fields: Fields) -> Fields:
    """Return the record of a story's request."""
    return request(place, requested_at=on(10, 14).replace(":00:00Z", ":30:00Z"), **fields)


@pytest.mark.parametrize("name", STORIES)
def test_stories(stories: Synced, name: str) -> None:
    """Review times are those of the story; days count its events and what is open, without gaps."""
    story, today = STORIES[name], datetime.now(UTC).date()
    reviews = [row for row in stories.turnaround if row.environment == name]
    found = [(row.status, row.hours_to_resolve, row.time_source) for row in reviews]
    assert found == [story.turnaround] * (story.turnaround is not None)
    for row in reviews:
        if row.resolved_at is None:
            continue
        assert (row.resolved_at - row.requested_at) / timedelta(hours=1) == row.hours_to_resolve
    days = stories.days_of[name]
    assert [row.day for row in days] == [
        REQUESTED + timedelta(days=number) for number in range(len(days))
    ]
    assert today - timedelta(days=1) <= days[-1].day <= today
    open_at_end = "".join(str(row.open_at_end) for row in days)
    assert open_at_end == story.open_at_end.ljust(len(days), story.open_at_end[-1])
    counted = [
        f"{status} {row.day.day}"
        for row in days
        for status in CLOSED_STATUSES
        if getattr(row, status)
    ]
    assert counted == list(story.counted)
    assert [(row.day, row.requested) for row in days if row.requested] == [(REQUESTED, 1)]
    assert {row.undated for row in days} == {story.undated}


def test_the_helpers_return_the_rows_of_the_views(stories: Synced) -> None:
    """The query helpers return the rows of the views, also for a part of the time."""
    ask = stories.mirror.query
    start, end = datetime(2024, 1, 11, 9, tzinfo=UTC), datetime(2024, 1, 13, 9, tzinfo=UTC)
    reviews = ask(helpers.turnaround)
    assert Counter(map(astuple, reviews)) == Counter(map(tuple, stories.turnaround))
    never = datetime.max.replace(tzinfo=UTC)
    assert reviews == sorted(reviews, key=lambda review: (review.resolved_at or never, review.id))
    assert reviews[-1].resolved_at is None
    some = ask(helpers.turnaround, since=start, until=end)
    assert some == [review for review in reviews if start <= (review.resolved_at or never) < end]
    assert some[0].resolved_at == start
    name = "reopened, and approved again"
    (review,) = ask(helpers.turnaround, environment=name)
    assert [review] == [other for other in reviews if other.environment == name]
    first, last = date(2024, 1, 11), date(2024, 1, 13)
    days = ask(helpers.days, environment=name, until=last)
    assert list(map(astuple, days)) == [row for row in stories.days_of[name] if row.day < last]
    days = ask(helpers.days, since=first, until=last)
    assert sorted(map(astuple, days)) == [row for row in stories.days if first <= row.day < last]


def test_resolved_days_before_it_was_submitted(mirror: Mirror) -> None:
    """With a resolved_at before requested_at, the count of open requests is never negative."""
    bogus = {"status": "approved", "resolved_at": on(8)}
    mirror.sync([request(requested_at=on(10), **bogus), request(2, requested_at=on(11))])
    query = "SELECT CAST(day AS text), requested, approved, open_at_end FROM release_requests_daily"
    assert mirror.rows(f"{query} ORDER BY day LIMIT 5") == [
        ("2024-01-08", 0, 1, 0),
        ("2024-01-09", 0, 0, 0),
        ("2024-01-10", 1, 0, 0),
        ("2024-01-11", 1, 0, 1),
        ("2024-01-12", 0, 0, 1),
    ]


@pytest.mark.calendar
def test_days_of_nothing(mirror: Mirror) -> None:
    """An empty mirror has no days; a request from the future is counted later, but is open."""
    mirror.now = datetime.now(UTC) - timedelta(hours=2)
    mirror.sync([])
    assert mirror.rows("SELECT * FROM release_requests_daily") == []
    tomorrow = datetime.now(UTC) + timedelta(days=2)
    mirror.sync([request(requested_at=tomorrow.isoformat())])
    days = mirror.rows("SELECT requested, open_at_end FROM release_requests_daily")
    assert {requested for requested, _ in days} == {0}
    assert {open_at_end for _, open_at_end in days} == {1}, "it is there, and open"


@pytest.mark.calendar
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_days_are_those_of_utc(
    postgres_server: str, sandbox: Sandbox, upstream: FakeUpstream, zone: str
) -> None:
    """The day of an event does not depend on the time zone of the Postgres session."""
    with postgres.empty_database(postgres_server, zone) as url:
        mirror = Mirror(url, sandbox, upstream)
        first, last = "2016-01-10T00:30:00Z", "2016-01-11T23:30:00Z"
        mirror.sync([request(requested_at=first), request(2, requested_at=last)])
        query = "SELECT CAST(day AS text) FROM release_requests_daily WHERE requested > 0"
        with mirror.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW timezone").scalar_one() == zone
            assert sorted(connection.exec_driver_sql(query).scalars()) == [
                "2016-01-10",
                "2016-01-11",
            ]
