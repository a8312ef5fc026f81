"""How well each environment is mirrored: how old it is, how its runs went, and what is in it.

A monitor asks every minute, of a mirror that may hold a run for each minute of years. So nothing
here reads all runs: the environments, their last runs and what failed since are found by index.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import migrate
from mirror.db.engine import shown_url_of
from mirror.db.models import CLOSED_STATUSES, quarantined_records, release_requests, sync_runs

DOCUMENTED_STATUSES = ("pending", *CLOSED_STATUSES)
"""Upstream may send others at any time."""

_CLOCK_TOLERANCE = 60.0
"""Seconds by which the clocks of two machines may differ before one of them is wrong."""

_FAILED = ("failed", "refused", "abandoned")
"""Outcomes of runs that should have completed; one that was superseded, or a dry run, need not."""

_runs = sync_runs.c
_current = release_requests.c
_kept = quarantined_records.c


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """How well an environment is mirrored.

    Attributes:
        environment: label of the token whose list is mirrored.
        complete_at: when the last complete pull began (UTC), or None if there was none: the mirror
            holds what upstream said then or later.
        age: seconds since `complete_at`, or None; below zero if the clock went back.
        outcome: of the last run, or None if there was none.
        started_at: when the last run began (UTC), or None.
        seconds: how long the last run took; None if it has not ended, was abandoned, or never was.
        error: why the last run that failed since the last complete one did so, or None.
        failures: runs on record that began after the last complete one and failed, were refused,
            or died.
        pending, approved, rejected, cancelled: requests in the list with that status.
        other: requests in the list with a status that is not documented.
        missing: requests that are no longer in the list.
        quarantined: entries of the list that cannot be understood.
        schema_revision: of the mirror's database.
        database: its URL, without a password.
    """

    environment: str
    complete_at: datetime | None
    age: float | None
    outcome: str | None
    started_at: datetime | None
    seconds: float | None
    error: str | None
    failures: int
    pending: int
    approved: int
    rejected: int
    cancelled: int
    other: int
    missing: int
    quarantined: int
    schema_revision: str | None
    database: str


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Which runs tell of an environment: the last one, and the last one that completed."""

    last: int | None = None
    complete: int | None = None


@dataclass(frozen=True, slots=True)
class _Failures:
    """How many runs failed since the last complete one, and which one did so last."""

    count: int = 0
    last: int | None = None


def status(
    connection: Connection, *, now: datetime, environments: Sequence[str] | None = None
) -> list[EnvironmentStatus]:
    """Return how well each environment is mirrored, in the order of their names.

    Args:
        connection: to the mirror's database, in a transaction that sees one state of it.
        now: the time by this machine's clock (UTC).
        environments: only these, also if they never ran; None for all that are on record.
    """
    numbers = _numbers(connection, environments)
    failures = _failures(connection, numbers)
    runs = _runs_by_number(connection, numbers, failures)
    requests = _count_requests(connection, environments)
    quarantined = _count_quarantined(connection, environments)
    revision, url = migrate.current(connection), shown_url_of(connection)

    def of(environment: str) -> EnvironmentStatus:
        its = numbers.get(environment, _Numbers())
        failed = failures.get(environment, _Failures())
        complete, last, last_failed = (runs.get(n) for n in (its.complete, its.last, failed.last))
        return EnvironmentStatus(
            environment=environment,
            complete_at=complete and complete.started_at,
            age=complete and (now - complete.started_at).total_seconds(),
            outcome=last and last.outcome,
            started_at=last and last.started_at,
            seconds=last and last.seconds,
            error=last_failed and last_failed.error,
            failures=failed.count,
            quarantined=quarantined.get(environment, 0),
            schema_revision=revision,
            database=url,
            **{what: requests.get((environment, what), 0) for what in _COUNTED},
        )

    return [of(name) for name in sorted(set(numbers if environments is None else environments))]


def last_complete(connection: Connection) -> dict[str, int | None]:
    """Return which run of each environment completed last, or None if none did.

    As long as these are the same, no sync has changed what the mirror tells of requests.

    Args:
        connection: to the mirror's database.
    """
    return {name: its.complete for name, its in _numbers(connection, None).items()}


def is_stale(status: EnvironmentStatus, max_age: timedelta) -> bool:
    """Tell whether an environment was not mirrored completely of late, or nobody can know.

    Args:
        status: of the environment.
        max_age: how old the last complete pull may be.

    Returns:
        Whether there was none, it is older, or it lies more than a minute in the future: then a
        clock is or was wrong, and says nothing about age.
    """
    if status.age is None:
        return True
    return not -_CLOCK_TOLERANCE <= status.age <= max_age.total_seconds()


def _numbers(connection: Connection, environments: Sequence[str] | None) -> dict[str, _Numbers]:
    """Return which runs tell of each environment that is on record."""
    labels = _labels()
    mine = _runs.environment == labels.c.environment
    last = sa.select(sa.func.max(_runs.id)).where(mine).scalar_subquery()
    complete = (
        sa.select(_runs.id)
        .where(mine, _runs.completion.is_not(None))
        .order_by(_runs.completion.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(labels.c.environment, last, complete).where(
        labels.c.environment.is_not(None), *_among(labels.c.environment, environments)
    )
    return {name: _Numbers(*numbers) for name, *numbers in connection.execute(query)}


def _labels() -> sa.CTE:
    """Return the environments that are on record, and a null.

    It steps through the index from one label to the next. DISTINCT would read a row for each run.
    """
    label = sa.func.min(_runs.environment)
    labels = sa.select(label.label("environment")).cte("labels", recursive=True)
    next_label = sa.select(label).where(_runs.environment > labels.c.environment).scalar_subquery()
    return labels.union_all(sa.select(next_label).where(labels.c.environment.is_not(None)))


def _failures(connection: Connection, numbers: dict[str, _Numbers]) -> dict[str, _Failures]:
    """Count the runs of each environment that failed since its last complete one.

    The others, which are nearly all, cost no question. Each one has its own, with the number as it
    is: in a join, the planner of Postgres expects a third of all runs behind any number.
    """
    query = sa.select(sa.func.count(), sa.func.max(_runs.id)).where(_runs.outcome.in_(_FAILED))
    return {
        name: _Failures(*connection.execute(query.where(*_since(name, its.complete))).one())
        for name, its in numbers.items()
        if its.last != its.complete
    }


def _since(environment: str, run_id: int | None) -> list[sa.ColumnElement[bool]]:
    """The conditions that a run of an environment began after another one, or after none."""
    return [_runs.environment == environment, _runs.id > (run_id or 0)]


def _runs_by_number(
    connection: Connection, numbers: dict[str, _Numbers], failures: dict[str, _Failures]
) -> dict[int | None, Any]:
    """Return the rows of the runs that tell of environments, by their numbers."""
    wanted = {number for one in numbers.values() for number in (one.last, one.complete)}
    wanted |= {one.last for one in failures.values()}
    query = sa.select(_runs.id, _runs.outcome, _runs.started_at, _runs.seconds, _runs.error)
    found = connection.execute(query.where(_runs.id.in_(wanted - {None})))
    return {row.id: row for row in found}


_COUNTED = (*DOCUMENTED_STATUSES, "other", "missing")


def _count_requests(
    connection: Connection, environments: Sequence[str] | None
) -> dict[tuple[str, str], int]:
    """Count the requests of each environment by what is `_COUNTED`, in one pass over them."""
    what = sa.case(
        (_current.missing_since.is_not(None), "missing"),
        (_current.status.in_(DOCUMENTED_STATUSES), _current.status),
        else_="other",
    ).label("what")
    query = (
        sa.select(_current.environment, what, sa.func.count())
        .where(*_among(_current.environment, environments))
        .group_by(_current.environment, what)
    )
    return {(name, what): count for name, what, count in connection.execute(query)}


def _count_quarantined(
    connection: Connection, environments: Sequence[str] | None
) -> dict[str, int]:
    """Count the records of each environment that are in quarantine and still occur."""
    query = (
        sa.select(_kept.environment, sa.func.count())
        .where(_kept.resolved_at.is_(None), *_among(_kept.environment, environments))
        .group_by(_kept.environment)
    )
    return dict(connection.execute(query).all())


def _among(
    column: sa.ColumnElement[str], environments: Collection[str] | None
) -> list[sa.ColumnElement[bool]]:
    return [] if environments is None else [column.in_(environments)]
