"""Counts and rankings of a period are those of `Oracle`, on both databases.

The lists are written by hand (see test_statistics_by_hand.py) or generated; `stress/test_chance.py`
generates many more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import views
from mirror.db.cookbook import RECIPES
from mirror.queries import helpers
from mirror.queries.results import Limited
from mirror.report.model import Counts
from mirror.report.period import Period, split
from mirror.report.rankings import Rankings
from mirror.report.snapshot import OpenRequests, Snapshot
from mirror.report.statistics import Statistics, counts, hours, rejection_reasons, undated
from tests.support.oracle_statistics import VERDICTS, Oracle
from tests.support.statistics_lists import (
    JANUARY,
    LIMITS,
    MILLISECOND,
    NUMBERS,
    REASONS,
    REPEATED,
    STATUSES,
    days,
    january,
    limited,
)

ENVIRONMENTS = (None, "random 0", "nowhere")


PERIODS = (
    Period(date(2023, 12, 20), date(2024, 2, 10)),
    days(11, 14),
    days(12, 13),
    Period(date(2023, 1, 1), date(2023, 2, 1)),
    Period(date.min, date(2024, 1, 13)),
)
TIMES = [
    january(day, hour) - before
    for day in range(9, 16)
    for hour in (0, 12)
    for before in (MILLISECOND, 0 * MILLISECOND)
]
"""Times of syncs and events, and the millisecond before each."""


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str | None:
    """The environment to filter by; None for all."""
    name: str | None = request.param
    return name


@pytest.fixture
def statistics(synced: Connection, environment: str | None) -> Statistics:
    """The statistics of these."""
    return Statistics(synced, environment)


@pytest.fixture
def oracles(statistics: Statistics) -> list[Oracle]:
    """The oracle of each period."""
    return [Oracle(statistics.connection, period, statistics.environment) for period in PERIODS]


def test_the_lists_hold_every_case(synced: Connection) -> None:
    """What the comparisons are about does occur in the lists."""
    requests = [
        *helpers.release_requests(synced),
        *helpers.release_requests(synced, missing=True),
    ]
    turnaround = helpers.turnaround(synced)
    changes = helpers.changes(synced)
    assert {request.status for request in requests} == {*STATUSES, "escalated"}
    sources = {(row.status, row.time_source) for row in turnaround}
    assert sources >= {
        ("cancelled", "reported"),
        ("cancelled", "observed"),
        ("approved", "unknown"),
        ("on_hold", "reported"),
    }
    assert ("on_hold", "observed") not in sources
    assert {change.kind for change in changes} == {
        "resolved",
        "reopened",
        "corrected",
        "vanished",
        "returned",
    }
    rows_of_a_change = Counter((change.changed_at, change.request_id) for change in changes)
    assert max(rows_of_a_change.values()) == 2
    assert max(Counter((row.changed_at, row.environment) for row in changes).values()) > 3
    numbers = helpers.phone_numbers(synced)
    assert {number.phone_number for number in numbers} >= {*NUMBERS, REPEATED}
    assert max(Counter(number.phone_number for number in numbers).values()) > 3
    midnights = {
        row.resolved_at.time().isoformat("milliseconds") for row in turnaround if row.resolved_at
    }
    assert midnights >= {"00:00:00.000", "23:59:59.999"}
    reasons = synced.execute(sa.select(views.history.c.rejection_reason))
    assert set(reasons.scalars()) >= set(REASONS)


def test_counts(oracles: list[Oracle]) -> None:
    """The counts are those of the events, and of the view of days."""
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in ("requested", *VERDICTS))
    for oracle in oracles:
        every_day = helpers.days(oracle.connection, environment=oracle.environment)
        result = counts(every_day, oracle.period)
        assert result == oracle.counts()
        assert result.rejected == sum(row.requests for row in oracle.rejection_reasons())
        query = f"""SELECT {sums} FROM release_requests_daily
            WHERE day BETWEEN '{oracle.period.since}' AND :last AND {{ours}}"""
        assert result == Counts(*map(int, oracle.select(query)[0]))


def test_resolutions(statistics: Statistics, oracles: list[Oracle]) -> None:
    """Resolutions without a reported time are counted by what is known of their time.

    Reasons are ranked, with their shares of all rejections of a known time.
    """
    periods = [oracle.period for oracle in oracles]
    for oracle, resolutions in zip(oracles, statistics.resolutions(periods), strict=True):
        assert undated(resolutions) == oracle.undated()
        assert statistics.resolutions([oracle.period]) == [resolutions]
        expected = oracle.rejection_reasons()
        assert sum(reason.share for reason in expected) == pytest.approx(100 if expected else 0)
        for limit, reasons in limited(expected):
            assert rejection_reasons(resolutions, limit=limit) == reasons


def test_hours(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The hours of a period and of its parts are those of the oracle, and of the cookbook."""
    (recipe,) = (recipe for recipe in RECIPES if recipe.name == "hours-to-resolve")
    selected = """(SELECT 'any' AS status, hours_to_resolve, time_source
        FROM release_request_turnaround
        WHERE status IN ('approved', 'rejected', 'cancelled')
          AND resolved_at >= :start AND resolved_at < :end AND {ours}) selected"""
    query = recipe.sql.replace("release_request_turnaround", selected)
    assert query != recipe.sql
    for oracle in oracles:
        by_environment = statistics.hours_by_day(oracle.period)
        by_day: defaultdict[date, list[float]] = defaultdict(list)
        for environment, of_days in by_environment.items():
            of_environment = replace(oracle, environment=environment).hours()
            assert hours(of_days, oracle.period) == of_environment
            for day, values in of_days.items():
                by_day[day] += values
        assert all(day in oracle.period for day in by_day)
        _, parts = split(oracle.period)
        for part in (oracle.period, *parts):
            result = hours(by_day, part)
            oracle_of_part = replace(oracle, period=part)
            assert result == oracle_of_part.hours()
            for _, requests, *percentiles, _ in oracle_of_part.select(query):
                assert result.requests == requests
                if requests:
                    rounded = list(map(float, percentiles))
                    assert [result.median, result.percentile_90] == pytest.approx(
                        rounded, abs=0.051
                    )
        in_parts = sum(hours(by_day, part).requests for part in parts)
        assert in_parts == hours(by_day, oracle.period).requests
        usual = statistics.usual_hours(oracle.at)
        assert (usual.requests, usual.percentile_90) == oracle.usual_hours()


def test_released(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The released numbers are counted once each."""
    for oracle in oracles:
        released = statistics.released(oracle.period)
        assert released.total() == oracle.released()
        for environment, count in released.items():
            assert replace(oracle, environment=environment).released() == count


@pytest.mark.parametrize("name", ["repeat_numbers", "rejected_again"])
def test_rankings(statistics: Statistics, oracles: list[Oracle], name: str) -> None:
    """The first rows are those of the oracle, with the number of all."""
    rankings = Rankings(statistics.connection, statistics.environment)
    for oracle in oracles:
        for limit, expected in limited(getattr(oracle, name)()):
            result = getattr(rankings, name)(oracle.period, limit=limit)
            assert result == expected
            assert result.omitted == max(0, result.total - limit)


def test_resolutions_of_many_closed_before(
    statistics: Statistics, oracles: list[Oracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If many requests were closed before, all events are read; the result is the same."""
    periods = [oracle.period for oracle in oracles]
    expected = [sorted(map(repr, groups)) for groups in statistics.resolutions(periods)]
    monkeypatch.setattr("mirror.report.statistics._MAX_CLOSED_BEFORE", 0)
    counted = [sorted(map(repr, groups)) for groups in statistics.resolutions(periods)]
    assert counted == expected


def test_rejected_again_of_many_candidates(
    statistics: Statistics, oracles: list[Oracle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there are many numbers to look up, all events are read; the result is the same."""
    monkeypatch.setattr("mirror.report.rankings._MAX_CANDIDATES", 1)
    for oracle in oracles:
        rankings = Rankings(statistics.connection, statistics.environment)
        assert rankings.rejected_again(oracle.period, limit=1000).rows == oracle.rejected_again()


def test_open_requests(statistics: Statistics) -> None:
    """The open requests of now are as many as the last day says."""
    connection = statistics.connection
    scope: dict[str, Any] = {"environment": statistics.environment}
    snapshot = Snapshot(connection, statistics.environment)
    open_requests = Oracle(connection, JANUARY, statistics.environment).open_requests()
    for limit, expected in limited(open_requests):
        assert snapshot.open_requests(limit=limit) == expected
    unresolved = [
        request.id
        for request in helpers.release_requests(connection, **scope)
        if request.status == "pending"
        or (request.status not in VERDICTS and request.resolved_at is None)
    ]
    assert {request.id for request in open_requests} == set(unresolved)
    last_days = {day.environment: day for day in helpers.days(connection, **scope)}
    assert sum(day.open_at_end for day in last_days.values()) == len(open_requests)


@pytest.fixture
def times() -> list[datetime]:
    """Some of the times; stress/test_chance.py has all."""
    return TIMES[::3]


def test_as_of_a_time(statistics: Statistics, times: list[datetime]) -> None:
    """Open, missing and quarantined are those of the time."""
    connection = statistics.connection
    for at in (datetime.min.replace(tzinfo=UTC), *times):
        oracle = Oracle(connection, JANUARY, statistics.environment, now=at)
        snapshot = Snapshot(connection, statistics.environment, at)
        open_requests = oracle.open_requests()
        for limit, expected in limited(open_requests)[-2:]:
            assert snapshot.open_requests(limit=limit) == expected
        since = [january(10, 14), at, None]
        counted = snapshot.count_open(since)
        for environment in {request.environment for request in open_requests} | counted.keys():
            times = [row.requested_at for row in open_requests if row.environment == environment]
            older = [sum(time <= limit for time in times) if limit else 0 for limit in since]
            assert counted[environment] == OpenRequests(len(times), min(times), older)
        for limit, missing in limited(oracle.missing_requests())[-2:]:
            assert snapshot.missing_requests(limit=limit) == missing
        for limit, quarantined in limited(oracle.quarantined_records())[-2:]:
            assert snapshot.quarantined_records(limit=limit) == quarantined
        for counted_by, rows in (
            (snapshot.missing(), oracle.missing_requests()),
            (snapshot.quarantined(), oracle.quarantined_records()),
        ):
            assert counted_by == Counter(row.environment for row in rows)
        assert snapshot.missing().total() == oracle.missing()
        assert snapshot.quarantined().total() == oracle.quarantined()


def test_changes(statistics: Statistics, oracles: list[Oracle]) -> None:
    """The last syncs come first, with their counts; so do changes other than resolutions."""
    rankings = Rankings(statistics.connection, statistics.environment)
    for oracle in oracles:
        for (limit, syncs), (_, surprises) in zip(
            limited(oracle.syncs()), limited(oracle.surprises()), strict=True
        ):
            result = rankings.changes(oracle.period, max_syncs=limit, max_surprises=limit)
            assert result == (syncs, surprises)


def test_last_events(statistics: Statistics) -> None:
    """The last events of a number are the end of its history in its environment."""
    connection = statistics.connection
    histories = Oracle(connection, JANUARY).histories()
    for number in helpers.phone_numbers(connection, environment=statistics.environment):
        history = histories[number.environment, number.phone_number]
        for limit in LIMITS:
            result = Rankings(connection).last_events(number, limit=limit)
            assert result == Limited(history[-limit:], len(history))
        if number.phone_number.startswith("+"):
            scope = {"environment": number.environment}
            assert history == helpers.phone_number_history(connection, number.phone_number, **scope)
