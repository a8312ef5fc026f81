"""Status of each environment: age, last run, failures and counts.

Monitors call this every minute, and `sync_runs` may hold a run for each minute of years. Hence no
statement here reads all runs: environments, last runs and recent failures are found by index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.arguments import check_type, texts_argument, time_argument
from mirror.db import environments as environments_on_record
from mirror.db import revisions
from mirror.db.models import CLOSED_STATUSES, quarantined_records, release_requests, sync_runs
from mirror.db.runs import CLOCK_TOLERANCE
from mirror.db.urls import shown_url_of
from mirror.queries.select import check_connection
from mirror.text import format_duration

DOCUMENTED_STATUSES = ("pending", *CLOSED_STATUSES)
"""Upstream may send others at any time; see `EnvironmentStatus.other`."""

_FAILED = ("failed", "refused", "abandoned")
"""Outcomes that count as failures; superseded runs do not."""

_runs = sync_runs.c
_requests = release_requests.c
_quarantine = quarantined_records.c


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """Status of an environment.

    Attributes:
        environment: name of the environment.
        complete_at: start of the last complete sync (UTC), or None: the mirror holds the state of
            upstream at that time or later.
        age: seconds since `complete_at`, or None; negative if the clock went back.
        outcome: outcome of the last run, or None if there was none.
        started_at: start of the last run (UTC), or None.
        seconds: duration of the last run; None if it is running, was abandoned, or never was.
        error: error of the last failure since the last complete sync, or None.
        failures: number of recorded runs after the last complete one that failed, were refused or
            were abandoned.
        pending, approved, rejected, cancelled: requests in the list with that status.
        other: requests in the list with an undocumented status.
        missing: requests no longer in the list.
        quarantined: entries of the list that could not be understood.
        schema_revision: schema revision of the database.
        database: URL of the database, without password.
        base_url: base URL of the API in the last complete sync, or None. Another one is refused.
        age_seconds: the same as `age`.
        max_age_seconds: age in seconds at which the environment is stale, or None for no limit.
        stale: whether the last complete sync is older than that, was never, or lies in the future;
            None without a limit.
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
    base_url: str | None
    age_seconds: float | None = None
    max_age_seconds: float | None = None
    stale: bool | None = None


MaxAge = timedelta | Callable[[str], timedelta | None]
"""The age at which environments are stale, or a function that returns that of each, by name."""


@dataclass(frozen=True, slots=True)
class _RunIds:
    """The last run of an environment, and its last complete one."""

    last: int | None = None
    complete: int | None = None


@dataclass(frozen=True, slots=True)
class _Failures:
    """Number of failures since the last complete run, and the last of them."""

    count: int = 0
    last: int | None = None


def status(
    connection: Connection,
    *,
    now: datetime | None = None,
    environments: Iterable[str] | None = None,
    max_age: MaxAge | None = None,
) -> list[EnvironmentStatus]:
    """Return the status of each environment, ordered by name.

    Args:
        connection: to the mirror's database, in a transaction with one snapshot.
        now: the present time (UTC if it is naive); None for that of this machine's clock.
        environments: only these, even if they never ran; None for all that have runs on record.
        max_age: age at which they are stale, or a function that returns it for the name of an
            environment; None for no limit. The configuration file is not read.

    Raises:
        TypeError: an argument has another type.
    """
    check_connection(connection)
    present = time_argument("now", now) or datetime.now(UTC)
    if environments is not None:
        environments = texts_argument("environments", environments)
    if max_age is not None and not callable(max_age):
        check_type("max_age", max_age, timedelta, "a timedelta or a function")
    run_ids = _run_ids(connection, environments)
    failures = _failures(connection, run_ids)
    runs = _runs_by_id(connection, run_ids, failures)
    requests = _count_requests(connection, environments)
    quarantined = _count_quarantined(connection, environments)
    revision, url = revisions.current(connection), shown_url_of(connection)

    def status_of(environment: str) -> EnvironmentStatus:
        ids = run_ids.get(environment, _RunIds())
        failed = failures.get(environment, _Failures())
        complete, last, last_failed = (runs.get(n) for n in (ids.complete, ids.last, failed.last))
        age = complete and (present - complete.started_at).total_seconds()
        counts: dict[str, Any] = {n: requests.get((environment, n), 0) for n in _COUNTED}
        status = EnvironmentStatus(
            environment=environment,
            complete_at=complete and complete.started_at,
            age=age,
            outcome=last and last.outcome,
            started_at=last and last.started_at,
            seconds=last and last.seconds,
            error=last_failed and last_failed.error,
            failures=failed.count,
            quarantined=quarantined.get(environment, 0),
            schema_revision=revision,
            database=url,
            base_url=complete and complete.base_url,
            age_seconds=age,
            **counts,
        )
        limit = max_age(environment) if callable(max_age) else max_age
        if limit is None:
            return status
        check_type("max_age", limit, timedelta, "a function that returns a timedelta or None")
        stale = is_stale(status, limit)
        return replace(status, max_age_seconds=limit.total_seconds(), stale=stale)

    names = run_ids if environments is None else environments
    return [status_of(name) for name in sorted(set(names))]


def is_stale(status: EnvironmentStatus, max_age: timedelta) -> bool:
    """Return whether an environment has no recent complete sync, or its age is unknown.

    Args:
        status: of the environment.
        max_age: maximum age of the last complete sync.

    Returns:
        True if there was none, if it is older, or if it lies more than a minute in the future: then
        a clock is or was wrong, and the age means nothing.
    """
    if status.age is None:
        return True
    return not -CLOCK_TOLERANCE.total_seconds() <= status.age <= max_age.total_seconds()


def describe_age(status: EnvironmentStatus) -> str:
    """Return why an environment is stale, as a clause."""
    if status.age is None:
        return "it had no complete pull yet"
    if status.age < 0:
        return "its last complete pull began in the future, so a clock is wrong"
    age, limit = format_duration(status.age), format_duration(status.max_age_seconds)
    return f"its last complete pull began {age} ago, more than the {limit} allowed"


def _run_ids(connection: Connection, environments: Sequence[str] | None) -> dict[str, _RunIds]:
    names = environments_on_record.names_query()
    in_environment = _runs.environment == names.c.environment
    last = sa.select(sa.func.max(_runs.id)).where(in_environment).scalar_subquery()
    complete = (
        sa.select(_runs.id)
        .where(in_environment, _runs.completion.is_not(None))
        .order_by(_runs.completion.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(names.c.environment, last, complete).where(
        names.c.environment.is_not(None), *_among(names.c.environment, environments)
    )
    return {name: _RunIds(*ids) for name, *ids in connection.execute(query)}


def _failures(connection: Connection, run_ids: dict[str, _RunIds]) -> dict[str, _Failures]:
    """Count the failures of each environment since its last complete run.

    Environments whose last run is complete, nearly all, need no statement. Each of the others has
    one with its run id as a parameter: for a join, the planner of Postgres expects a third of all
    runs to be newer than any id.
    """
    query = sa.select(sa.func.count(), sa.func.max(_runs.id)).where(_runs.outcome.in_(_FAILED))
    failures = {}
    for environment, ids in run_ids.items():
        if ids.last != ids.complete:
            newer = [_runs.environment == environment, _runs.id > (ids.complete or 0)]
            failures[environment] = _Failures(*connection.execute(query.where(*newer)).one())
    return failures


def _runs_by_id(
    connection: Connection, run_ids: dict[str, _RunIds], failures: dict[str, _Failures]
) -> dict[int | None, Any]:
    wanted = {run_id for ids in run_ids.values() for run_id in (ids.last, ids.complete)}
    wanted |= {failed.last for failed in failures.values()}
    query = sa.select(
        _runs.id, _runs.outcome, _runs.started_at, _runs.seconds, _runs.error, _runs.base_url
    )
    return {row.id: row for row in connection.execute(query.where(_runs.id.in_(wanted - {None})))}


_COUNTED = (*DOCUMENTED_STATUSES, "other", "missing")


def _count_requests(
    connection: Connection, environments: Sequence[str] | None
) -> dict[tuple[str, str], int]:
    """Count the requests by environment and `_COUNTED`, in one pass."""
    category = sa.case(
        (_requests.missing_since.is_not(None), "missing"),
        (_requests.status.in_(DOCUMENTED_STATUSES), _requests.status),
        else_="other",
    ).label("category")
    query = (
        sa.select(_requests.environment, category, sa.func.count())
        .where(*_among(_requests.environment, environments))
        .group_by(_requests.environment, category)
    )
    return {(name, category): count for name, category, count in connection.execute(query)}


def _count_quarantined(
    connection: Connection, environments: Sequence[str] | None
) -> dict[str, int]:
    """Count the unresolved quarantined records by environment."""
    query = (
        sa.select(_quarantine.environment, sa.func.count())
        .where(_quarantine.resolved_at.is_(None), *_among(_quarantine.environment, environments))
        .group_by(_quarantine.environment)
    )
    return dict(connection.execute(query).all())


def _among(
    column: sa.ColumnElement[str], environments: Collection[str] | None
) -> list[sa.ColumnElement[bool]]:
    return [] if environments is None else [column.in_(environments)]
