"""Times that nobody knows: they are counted on no day, bounded, and told in order."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mirror.db.cookbook import RECIPES
from mirror.db.models import CLOSED_STATUSES
from mirror.db.prune import prune
from mirror.queries import helpers
from mirror.queries.results import HistoryEvent
from mirror.sandbox.simulation import Simulation
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request

EDGE_CASES = json.loads((ROOT / "tests/data/edge-cases.json").read_text())["data"]
NUMBER = "+5511987654321"
COOKBOOK = {recipe.name: recipe.sql for recipe in RECIPES}
FIRST_SYNC = datetime(2024, 1, 11, 13, tzinfo=UTC)
HOUR = timedelta(hours=1)


def events(mirror: Mirror, number: str = NUMBER) -> list[HistoryEvent]:
    """Return the history of a number."""
    found: list[HistoryEvent] = mirror.query(helpers.phone_number_history, number)
    return found


def by_cookbook(mirror: Mirror, number: str) -> list[str]:
    """Return the events of a number in the order of the cookbook's query."""
    return [event for _, _, event, *_ in mirror.rows(COOKBOOK["history"], number=number)]


@pytest.mark.parametrize("without_times", [(), ("rejected",)], ids=["", "no rejection times"])
def test_a_first_sync_of_a_year(mirror: Mirror, without_times: tuple[str, ...]) -> None:
    """What was resolved at an unknown time is counted, but on no day; no day has a cliff."""
    mirror.now = datetime.now(UTC)
    records: list[Any] = list(Simulation(1000, 1, mirror.now).list_payload())
    for record in records:
        if record["status"] in without_times:
            del record["resolved_at"]
    mirror.sync(records)
    statuses = Counter(record["status"] for record in records)
    undated = {name: statuses[name] for name in ("cancelled", *without_times)}
    days = mirror.query(helpers.days)
    assert {day.undated for day in days} == {sum(undated.values())}
    for name in CLOSED_STATUSES:
        assert sum(getattr(day, name) for day in days) == statuses[name] - undated.get(name, 0)
    assert sum(day.requested for day in days) == len(records)
    assert days[-1].open_at_end == statuses["pending"]
    assert max(day.open_at_end for day in days) < 3 * statuses["pending"]
    reviews = mirror.query(helpers.turnaround)
    unknown = Counter(row.status for row in reviews if row.time_source == "unknown")
    assert unknown == undated
    assert {row.hours_to_resolve for row in reviews if row.time_source == "unknown"} == {None}
    *_, percent, perhaps_more = zip(*mirror.rows(COOKBOOK["rejection-rate"]), strict=True)
    assert [share is None for share in percent] == [more > 0 for more in perhaps_more]
    assert max(perhaps_more) == perhaps_more[-1] == undated.get("rejected", 0)
    hours = {row[0]: row[-1] for row in mirror.rows(COOKBOOK["hours-to-resolve"])}
    assert hours == {"approved": 0, "rejected": 0} | undated
    assert {row[-1] for row in mirror.rows(COOKBOOK["released-per-month"])} == {0}


def test_a_correction_of_a_request_resolved_without_time(mirror: Mirror) -> None:
    """It was resolved when a sync first saw its status, however often it changes after that."""
    resolved = request(1, status="cancelled", resolved_at=None)
    mirror.sync([request(1)])
    mirror.sync([resolved])
    (review,) = before = mirror.query(helpers.turnaround)
    assert (review.resolved_at, review.time_source) == (mirror.now, "observed")
    mirror.sync([resolved | {"reason": "Other"}])
    assert mirror.query(helpers.turnaround) == before


def test_the_edge_cases(mirror: Mirror) -> None:
    """An unknown event follows that of its own request, before any later request."""
    mirror.now = datetime(2025, 6, 1, 12, tzinfo=UTC)
    mirror.sync(EDGE_CASES)
    found = events(mirror)
    assert [(event.event, event.request_id[-1]) for event in found] == [
        ("requested", "1"),
        ("rejected", "1"),
        ("requested", "2"),
        ("cancelled", "2"),
        ("requested", "3"),
        ("approved", "3"),
        ("requested", "4"),
    ]
    cancelled = found[3]
    assert (cancelled.occurred_at, cancelled.time_source) == (None, "unknown")
    assert cancelled.not_before == found[2].occurred_at
    assert cancelled.observed_at == mirror.now
    assert by_cookbook(mirror, NUMBER) == [event.event for event in found]
    (number,) = (row for row in mirror.query(helpers.phone_numbers) if row.phone_number == NUMBER)
    assert (number.requests, number.last_status) == (4, "pending")


def test_requests_of_one_time(mirror: Mirror) -> None:
    """With equal times, each request's events stay together, and requested comes before unknown."""
    when, before = "2023-05-01T09:00:00Z", "2023-04-01T09:00:00Z"
    number = request(1)["phone_number"]
    cancelled = {"status": "cancelled", "phone_number": number, "requested_at": when}
    mirror.sync(
        [
            request(3, **cancelled),
            request(1, **cancelled),
            request(2, **cancelled | {"status": "rejected", "resolved_at": when}),
            request(4, **cancelled | {"status": "approved", "resolved_at": before}),
            request(5, phone_number=number, requested_at=before),
        ]
    )
    found = events(mirror, number)
    assert [(event.event, event.request_id[-1]) for event in found] == [
        ("approved", "4"),
        ("requested", "5"),
        ("requested", "1"),
        ("cancelled", "1"),
        ("requested", "2"),
        ("rejected", "2"),
        ("requested", "3"),
        ("cancelled", "3"),
        ("requested", "4"),
    ]
    assert by_cookbook(mirror, number) == [event.event for event in found]


def test_the_bound_after_pruning(mirror: Mirror) -> None:
    """Without the run before, the bound is an earlier run that saw the former state."""
    mirror.sync([request(1), request(2)])
    for _ in range(3):
        mirror.sync()
    mirror.sync([request(1, status="cancelled"), request(2)])
    number = request(1)["phone_number"]
    assert events(mirror, number)[-1].not_before == FIRST_SYNC + 3 * HOUR
    prune(mirror.engine, before=FIRST_SYNC + 2.5 * HOUR)
    assert events(mirror, number)[-1].not_before == FIRST_SYNC + 3 * HOUR
    prune(mirror.engine, before=datetime(2100, 1, 1, tzinfo=UTC))
    assert events(mirror, number)[-1].not_before == FIRST_SYNC


def test_runs_that_saw_nothing(mirror: Mirror) -> None:
    """Failed and refused runs, and those of other environments, are no bound."""
    mirror.sync([request(1), request(2)])
    mirror.sandbox.set_fault("not-found", times=1)
    assert mirror.sync().failure
    assert mirror.sync([]).failure
    mirror.sync([request(3)], environment="other")
    mirror.sync([request(1, status="cancelled")], accept_missing=True)
    cancelled, vanished = (events(mirror, request(place)["phone_number"])[-1] for place in (1, 2))
    assert (vanished.event, vanished.not_before) == ("vanished", FIRST_SYNC)
    assert (cancelled.event, cancelled.not_before) == ("cancelled", FIRST_SYNC)


def test_history_says_what_is_unknown(sqlite_mirror: Mirror) -> None:
    """A terminal shows between which days it happened; tables say how many times are unknown."""
    sqlite_mirror.now = datetime(2025, 6, 1, 12, tzinfo=UTC)
    sqlite_mirror.sync(EDGE_CASES)
    settings = {"MIRROR_DATABASE_URL": sqlite_mirror.url}
    commands = ((80, "history", NUMBER), (40, "history", NUMBER))
    (wide, narrow) = drawn(*commands, merge=False, **settings)
    for shown in map(plain, (wide, narrow)):
        (place,) = (number for number, line in enumerate(shown) if "between" in line)
        assert shown[place].startswith("between 2024-03-03  cancelled ")
        assert shown[place + 1].startswith("and 2025-06-01 ")
        text = " ".join(" ".join(shown).split())
        assert "1 time is unknown: the request already had this status when a sync first" in text
    ran = run_mirror("history", NUMBER, **settings)
    assert ran.err.startswith("mirror: 1 time is unknown: ")
    assert {line.count("\t") for line in ran.out.splitlines()} == {11}
    ran = run_mirror("history", NUMBER, "--format", "json", **settings)
    assert ran.err == "", "time_source says it"
    rows = json.loads(ran.out)
    assert list(rows[3])[-1] == "not_before"
    assert (rows[3]["occurred_at"], rows[3]["not_before"]) == (None, rows[2]["occurred_at"])
