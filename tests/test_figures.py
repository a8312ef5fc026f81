"""The figures: how long reviews took, and what each day was like; told by hand, story by story.

`test_views.py` compares both with plain Python on what chance does; here one can read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta

import postgres
import pytest
import sqlalchemy as sa
from conftest import (
    DATABASES,
    TOKEN,
    Mirror,
    World,
    new_database,
    once_of_each_kind,
    request,
)
from model import Fields

from mirror import database, queries, views
from mirror.sandbox import Manner, Sandbox

REQUESTED = date(2024, 1, 10)
"""Each story's request is submitted on that day, in the afternoon; the syncs begin on the next."""

FIRST_SYNC = datetime(2024, 1, 11, 12, tzinfo=UTC)
"""At noon, and a day later the next one."""


def on(day: int, hour: int = 9) -> str:
    """Write a time in January as upstream does."""
    return f"2024-01-{day:02d}T{hour:02d}:00:00Z"


APPROVED = {"status": "approved", "resolved_at": on(12)}
CANCELLED = {"status": "cancelled"}
ESCALATED = {"status": "escalated"}
GONE = None


@dataclass(frozen=True)
class Story:
    """What upstream said of a request from sync to sync, and what the figures must be.

    Attributes:
        told: the fields that differ from a plain pending request, or None if it was not listed.
        open_at_end: of each day, from the one on which it was submitted.
        counted: the days on which a verdict is counted, as "approved 12".
        turnaround: status, hours and whose time it is, or None while it is not resolved.
    """

    told: list[Fields | None]
    open_at_end: str
    counted: tuple[str, ...] = ()
    turnaround: tuple[str, float, str] | None = None


STORIES = {
    "waits": Story([{}], "1111"),
    "approved on the day of the sync": Story(
        [{}, APPROVED], "110", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "approved, seen two days later": Story(
        [{}, {}, {}, APPROVED], "110000", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "cancelled, no time given": Story(
        [{}, {}, CANCELLED], "11100", ("cancelled 13",), ("cancelled", 69.5, "observed")
    ),
    "first seen approved": Story(
        [APPROVED | {"resolved_at": on(10, 20)}],
        "00",
        ("approved 10",),
        ("approved", 5.5, "reported"),
    ),
    "first seen cancelled, no time given": Story(
        [CANCELLED], "10", ("cancelled 11",), ("cancelled", 21.5, "observed")
    ),
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
    "vanished": Story([{}, GONE], "1100"),
    "vanished and returned": Story([{}, GONE, GONE, {}], "110011"),
    "vanished after it was approved": Story(
        [APPROVED | {"resolved_at": on(11)}, GONE],
        "100",
        ("approved 11",),
        ("approved", 18.5, "reported"),
    ),
    "returned, approved before it vanished": Story(
        [{}, {}, GONE, APPROVED], "110000", ("approved 12",), ("approved", 42.5, "reported")
    ),
    "an unknown status that resolves": Story(
        [{}, ESCALATED | {"resolved_at": on(12)}], "1100", (), ("escalated", 42.5, "reported")
    ),
    "an unknown status that resolves in the end": Story(
        [ESCALATED, GONE, ESCALATED, ESCALATED | {"resolved_at": on(11)}],
        "10000",
        (),
        ("escalated", 18.5, "reported"),
    ),
    "an unknown status that resolves after it returned": Story(
        [{}, ESCALATED, GONE, ESCALATED, ESCALATED | {"resolved_at": on(12)}],
        "1100000",
        (),
        ("escalated", 42.5, "reported"),
    ),
    "a status that is called as we call submitting": Story([{}, {"status": "requested"}], "1111"),
    "such a status that resolves": Story(
        [{}, {"status": "requested", "resolved_at": on(12)}],
        "1100",
        (),
        ("requested", 42.5, "reported"),
    ),
    "such a status after it was approved": Story(
        [{}, APPROVED, {"status": "requested"}], "11011", ("approved 12",)
    ),
    "resolved before it was submitted, they say": Story(
        [{}, APPROVED | {"resolved_at": on(10, 3)}],
        "000",
        ("approved 10",),
        ("approved", -11.5, "reported"),
    ),
    "resolved in the future, they say": Story(
        [{}, APPROVED | {"resolved_at": on(20)}],
        "11000000000",
        ("approved 20",),
        ("approved", 234.5, "reported"),
    ),
}
SYNCS = max(len(story.told) for story in STORIES.values())


@contextmanager
def told_to(url: str) -> Iterator[Mirror]:
    """A mirror that was told each story in an environment of its own."""
    world = World()
    with Sandbox(world, Manner(token=TOKEN)).running() as sandbox:
        mirror = Mirror(url, sandbox, world)
        for number in range(SYNCS):
            for place, (name, story) in enumerate(STORIES.items()):
                if number < len(story.told):
                    mirror.now = FIRST_SYNC + timedelta(days=number, hours=-1)
                    listed = story.told[number]
                    records = [] if listed is None else [entry(place, listed)]
                    result = mirror.sync(records, environment=name, accept_missing=True)
                    assert result.failure is None
        yield mirror


@pytest.fixture(scope="module")
def mirrors(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Mirror]]:
    """The mirrors that were told the stories, once of each kind; tests only read them."""

    @contextmanager
    def make(kind: str) -> Iterator[Mirror]:
        with new_database(kind, request) as url, told_to(url) as mirror:
            yield mirror

    with once_of_each_kind(make) as get:
        yield get


@pytest.fixture(params=DATABASES)
def told(request: pytest.FixtureRequest, mirrors: Callable[[str], Mirror]) -> Mirror:
    """A mirror that was told the stories."""
    return mirrors(request.param)


def entry(place: int, fields: Fields) -> Fields:
    """Make the record of a story's request."""
    return request(place, requested_at=on(10, 14).replace(":00:00Z", ":30:00Z"), **fields)


def rows(mirror: Mirror, view: sa.Table, environment: str) -> list[sa.Row[tuple[object, ...]]]:
    """The rows of a story in a view."""
    query = sa.select(view).where(view.c.environment == environment)
    with database.reading(mirror.engine) as connection:
        return list(connection.execute(query.order_by(*view.primary_key or view.columns)))


@pytest.mark.parametrize("name", STORIES)
def test_turnaround(told: Mirror, name: str) -> None:
    """A request that is resolved has a row that says how long it took, and who says so."""
    found = [
        (row.status, row.hours_to_resolve, row.time_source)
        for row in rows(told, views.turnaround, name)
    ]
    expected = STORIES[name].turnaround
    assert found == ([] if expected is None else [expected])
    for row in rows(told, views.turnaround, name):
        hours = (row.resolved_at - row.requested_at) / timedelta(hours=1)
        assert hours == row.hours_to_resolve


@pytest.mark.parametrize("name", STORIES)
def test_open_at_end(told: Mirror, name: str) -> None:
    """A request is open from the day on which it was submitted until the best known time."""
    open_at_end = "".join(str(row.open_at_end) for row in rows(told, views.daily, name))
    told_days = STORIES[name].open_at_end
    assert open_at_end[: len(told_days)] == told_days
    assert set(open_at_end[len(told_days) :]) == {told_days[-1]}, "nothing happens after the story"


@pytest.mark.parametrize("name", STORIES)
def test_counted_days(told: Mirror, name: str) -> None:
    """A verdict is counted on the day of its event in the history, a request on its own."""
    days = rows(told, views.daily, name)
    verdicts = ("approved", "rejected", "cancelled")
    counted = [
        f"{verdict} {row.day.day}" for row in days for verdict in verdicts if getattr(row, verdict)
    ]
    assert counted == list(STORIES[name].counted)
    assert [(row.day, row.requested) for row in days if row.requested] == [(REQUESTED, 1)]


@pytest.mark.parametrize("name", STORIES)
def test_days_have_no_gaps(told: Mirror, name: str) -> None:
    """There is a row for each day from the first request to today, also where nothing happened."""
    before = datetime.now(UTC).date()
    days = [row.day for row in rows(told, views.daily, name)]
    assert before <= days[-1] <= datetime.now(UTC).date()
    assert days == [REQUESTED + timedelta(days=number) for number in range(len(days))]


def test_the_helpers_say_what_the_views_say(told: Mirror) -> None:
    """The helpers for Python give the rows of the views, also of a part of the time alone."""
    start, end = datetime(2024, 1, 11, 9, tzinfo=UTC), datetime(2024, 1, 13, 9, tzinfo=UTC)
    for name in STORIES:
        found = told.ask(queries.turnaround, environment=name)
        assert [astuple(one) for one in found] == rows(told, views.turnaround, name)
        days = told.ask(queries.days, environment=name)
        assert [astuple(one) for one in days] == rows(told, views.daily, name)
    some = told.ask(queries.turnaround, since=start, until=end)
    every = told.ask(queries.turnaround)
    assert some == [one for one in every if start <= one.resolved_at < end]
    assert some[0].resolved_at == start
    assert every == sorted(every, key=lambda one: (one.resolved_at, one.id))
    two = told.ask(queries.days, since=date(2024, 1, 11), until=date(2024, 1, 13))
    assert {one.day for one in two} == {date(2024, 1, 11), date(2024, 1, 12)}
    assert {one.environment for one in two} == STORIES.keys()


def test_resolved_days_before_it_was_submitted(mirror: Mirror) -> None:
    """Whatever upstream says, nothing is open before there is anything, nor less than nothing."""
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
def test_figures_of_nothing(mirror: Mirror) -> None:
    """An empty mirror has no days, and a request from the future has none yet."""
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
    postgres_server: str, sandbox: Sandbox, world: World, zone: str
) -> None:
    """The day of an event does not depend on the time zone that Postgres thinks in."""
    with postgres.empty_database(postgres_server, zone) as url:
        mirror = Mirror(url, sandbox, world)
        first, last = "2016-01-10T00:30:00Z", "2016-01-11T23:30:00Z"
        mirror.sync([request(requested_at=first), request(2, requested_at=last)])
        query = "SELECT CAST(day AS text) FROM release_requests_daily WHERE requested > 0"
        with mirror.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW timezone").scalar_one() == zone
            assert sorted(connection.exec_driver_sql(query).scalars()) == [
                "2016-01-10",
                "2016-01-11",
            ]
