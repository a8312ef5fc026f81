"""Query helpers: read the mirror, and return the frozen dataclasses of `mirror.queries.results`.

Each takes an SQLAlchemy connection and reads the tables and views that SQL and BI tools read.
Neither network nor token is needed.

`since`, `until` and `as_of` are a date, a datetime or ISO 8601 text, as for the options of the same
name: a date means its start (00:00 UTC), and a time without an offset is in UTC. An argument of
another type is a `TypeError`, and text that is no date or time a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.arguments import (
    check_text,
    day_argument,
    storable,
    texts_argument,
    time_argument,
    whole_number,
)
from mirror.config import settings
from mirror.db import revisions
from mirror.db.engine import create_engine, read_transaction
from mirror.db.models import quarantined_records, sync_runs
from mirror.db.models import release_requests as current
from mirror.db.views import changes as changes_view
from mirror.db.views import daily as daily_view
from mirror.db.views import history as history_view
from mirror.db.views import numbers as numbers_view
from mirror.db.views import turnaround as turnaround_view
from mirror.db.views import versions as versions_view
from mirror.queries.results import (
    Change,
    Day,
    HistoryEvent,
    PhoneNumber,
    QuarantinedRecord,
    ReleaseRequest,
    SyncRun,
    Turnaround,
)
from mirror.queries.select import (
    between,
    check_connection,
    count,
    fetch,
    fetch_sorted,
    in_environment,
    select_as,
)

HISTORY_ORDER = (
    sa.func.coalesce(history_view.c.occurred_at, history_view.c.not_before),
    history_view.c.request_id,
    history_view.c.observed_at,
    history_view.c.event != "requested",
    history_view.c.event != "returned",
)
"""The order of the events in a history. One at an unknown time follows its own `requested`."""

_changes = changes_view.c
CHANGES_ORDER = (_changes.changed_at.desc(), _changes.request_id, _changes.kind)
"""Changes, newest first."""

_records = quarantined_records.c
QUARANTINE_ORDER = (
    _records.first_seen_at.desc(),
    _records.request_id.nulls_last(),
    _records.id,
)
"""Entries in quarantine, those that were first seen last first; those of one sync by request."""

_MAX_IDS = 30_000


@contextmanager
def connect(database_url: str | None = None) -> Iterator[Connection]:
    """Open the mirror read-only, in one transaction with one snapshot.

    In Postgres its `search_path` is the mirror's schema: tables of your own in another schema are
    named with it.

    Args:
        database_url: as for `--database`; None for the environment variables, or the default.

    Raises:
        DatabaseError: there is no mirror, its schema is not that of this version, or row-level
            security hides its rows.
    """
    check_text(database_url=database_url)
    with read_transaction(create_engine(settings.database_url(database_url))) as connection:
        revisions.require_current(connection)
        yield connection


def phone_number_history(
    connection: Connection,
    number: str,
    *,
    region: str | None = None,
    environment: str | None = None,
) -> list[HistoryEvent]:
    """Return the history of a phone number over all its requests, oldest event first.

    A request whose number was corrected has all its events under the present one.

    Args:
        connection: to the mirror's database.
        number: in any common notation.
        region: ISO 3166 country code, for numbers without a calling code.
        environment: only events in this environment; None for all.

    Raises:
        UsageError: this is not a phone number, or the region does not exist.
    """
    view = history_view.c
    query = (
        select_as(HistoryEvent, history_view)
        .where(view.phone_number.in_(_stored(connection, number, region)))
        .order_by(*HISTORY_ORDER)
    )
    return fetch(connection, HistoryEvent, query, in_environment(view, environment))


def release_requests(
    connection: Connection,
    *,
    number: str | None = None,
    region: str | None = None,
    environment: str | None = None,
    status: str | None = None,
    since: date | str | None = None,
    until: date | str | None = None,
    as_of: date | str | None = None,
    missing: bool = False,
    ids: Iterable[str] | None = None,
    limit: int | None = None,
    sort: str | None = None,
) -> list[ReleaseRequest]:
    """Return release requests that are in the list, most recently submitted first.

    Args:
        connection: to the mirror's database.
        number: only those of this phone number, in any common notation.
        region: ISO 3166 country code, for numbers without a calling code.
        environment: only those of this environment; None for all.
        status: only those with this status.
        since: only those submitted at or after this time.
        until: only those submitted before this time; a date excludes that day.
        as_of: in the state that the mirror had at this time; None for now.
        missing: return the requests no longer in the list instead.
        ids: only those with one of these ids, at most 30,000; None for all.
        limit: return at most this many; None for all.
        sort: an attribute of `ReleaseRequest` to sort by, except `extra`, such as "status";
            "-status" is descending. Nulls come last, and equal ones are in the order of their ids.

    Raises:
        UsageError: this is not a phone number, or the region does not exist.
        ValueError: `sort` is no attribute, `limit` is negative, or there are too many `ids`.
    """
    check_connection(connection)
    newest = limit is not None and sort is None and not missing and as_of is None
    hint = environment is not None and newest and connection.dialect.name == "sqlite"
    source, conditions = _requests_where(
        connection,
        number=number,
        region=region,
        environment=None if hint else environment,
        status=status,
        since=since,
        until=until,
        as_of=as_of,
        missing=missing,
        ids=ids,
    )
    columns = source.c
    if hint:
        # SQLite would sort all requests of the environment for the first ones. Told that most
        # requests are in it, it reads them in the order of the index of requested_at.
        (in_it,) = in_environment(columns, environment)
        conditions.append(sa.func.likelihood(in_it, sa.literal_column("0.9")))
    return fetch_sorted(
        connection,
        ReleaseRequest,
        source,
        conditions,
        sort=sort,
        limit=limit,
        default=(columns.requested_at.desc(), columns.id),
        ties=(columns.id,),
    )


def count_requests(connection: Connection, **filters: Any) -> int:
    """Count the requests that `release_requests` returns with these arguments, without a limit."""
    source, conditions = _requests_where(connection, **filters)
    return count(connection, source, conditions)


def _requests_where(
    connection: Connection,
    *,
    number: str | None = None,
    region: str | None = None,
    environment: str | None = None,
    status: str | None = None,
    since: date | str | None = None,
    until: date | str | None = None,
    as_of: date | str | None = None,
    missing: bool = False,
    ids: Iterable[str] | None = None,
) -> tuple[sa.Table, list[sa.ColumnElement[bool]]]:
    """Return the table or view of requests, and the conditions of the filters."""
    check_text(status=status)
    source, conditions = known_requests(environment, time_argument("as_of", as_of))
    columns = source.c
    conditions.append(
        columns.missing_since.is_not(None) if missing else columns.missing_since.is_(None)
    )
    if number is not None:
        conditions.append(columns.phone_number.in_(_stored(connection, number, region)))
    if status is not None:
        conditions.append(columns.status == storable(status))
    conditions += between(
        columns.requested_at, time_argument("since", since), time_argument("until", until)
    )
    if ids is not None:
        conditions.append(columns.id.in_(_ids(ids)))
    return source, conditions


def known_requests(
    environment: str | None, as_of: datetime | None
) -> tuple[sa.Table, list[sa.ColumnElement[bool]]]:
    """Return the table or view of the requests known at a time, missing ones included.

    Args:
        environment: only those of this environment; None for all.
        as_of: the time (UTC); None for now.

    Returns:
        The table or view, and the conditions that select them.
    """
    if as_of is None:
        return current, in_environment(current.c, environment)
    columns = versions_view.c
    return versions_view, [
        *in_environment(columns, environment),
        columns.valid_from <= as_of,
        sa.or_(columns.valid_to.is_(None), columns.valid_to > as_of),
    ]


def changes(
    connection: Connection,
    *,
    since: date | str | None = None,
    environment: str | None = None,
    run_id: int | None = None,
    limit: int | None = None,
    sort: str | None = None,
) -> list[Change]:
    """Return the changes that syncs saw, newest first.

    Args:
        connection: to the mirror's database.
        since: only changes seen at or after this time.
        environment: only those of this environment; None for all.
        run_id: only changes that this run saw.
        limit: return at most this many; None for all.
        sort: an attribute of `Change` to sort by, with "-" before it for descending order. Nulls
            come last.

    Raises:
        ValueError: `sort` is no attribute, or `limit` is negative.
    """
    conditions = _changes_where(connection, since=since, environment=environment, run_id=run_id)
    return fetch_sorted(
        connection, Change, changes_view, conditions, sort=sort, limit=limit, default=CHANGES_ORDER
    )


def count_changes(
    connection: Connection,
    *,
    since: date | str | None = None,
    environment: str | None = None,
    run_id: int | None = None,
) -> int:
    """Count the changes that `changes` returns with these arguments, without a limit."""
    conditions = _changes_where(connection, since=since, environment=environment, run_id=run_id)
    return count(connection, changes_view, conditions)


def _changes_where(
    connection: Connection,
    *,
    since: date | str | None,
    environment: str | None,
    run_id: int | None,
) -> list[sa.ColumnElement[bool]]:
    view = changes_view.c
    conditions = [
        *in_environment(view, environment),
        *between(view.changed_at, time_argument("since", since)),
    ]
    if run_id is not None:
        conditions += _of_run(connection, whole_number("run_id", run_id))
    return conditions


def _of_run(connection: Connection, run_id: int) -> list[sa.ColumnElement[bool]]:
    """Restrict changes to those of a run; by their time too, which has an index."""
    check_connection(connection)
    if abs(run_id) >= 2**63:  # the databases refuse such numbers
        return [sa.false()]
    observed_at = connection.scalar(
        sa.select(sync_runs.c.observed_at).where(sync_runs.c.id == run_id)
    )
    view = changes_view.c
    return [
        view.sync_run_id == run_id,
        *([view.changed_at == observed_at] if observed_at is not None else []),
    ]


def phone_numbers(connection: Connection, *, environment: str | None = None) -> list[PhoneNumber]:
    """Return the phone numbers that have release requests, in order.

    Args:
        connection: to the mirror's database.
        environment: only those of this environment; None for all.
    """
    view = numbers_view.c
    query = select_as(PhoneNumber, numbers_view).order_by(view.phone_number, view.environment)
    return fetch(connection, PhoneNumber, query, in_environment(view, environment))


def turnaround(
    connection: Connection,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    environment: str | None = None,
) -> list[Turnaround]:
    """Return how long each review took, in the order in which they ended.

    Those that ended at an unknown time come last; `since` or `until` leaves them out.

    Args:
        connection: to the mirror's database.
        since: only requests resolved at or after this time.
        until: only requests resolved before this time; a date excludes that day.
        environment: only those of this environment; None for all.
    """
    view = turnaround_view.c
    conditions = [
        *in_environment(view, environment),
        *between(view.resolved_at, time_argument("since", since), time_argument("until", until)),
    ]
    query = select_as(Turnaround, turnaround_view).order_by(view.resolved_at.nulls_last(), view.id)
    return fetch(connection, Turnaround, query, conditions)


def days(
    connection: Connection,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    environment: str | None = None,
) -> list[Day]:
    """Return the counts of each day, without gaps, by environment and day.

    What happened at an unknown time is counted on no day, but in `Day.undated`.

    Args:
        connection: to the mirror's database.
        since: only the day (UTC) of this time and later ones.
        until: only days before that of this time.
        environment: only those of this environment; None for all.
    """
    view = daily_view.c
    conditions = [
        *in_environment(view, environment),
        *between(view.day, day_argument("since", since), day_argument("until", until)),
    ]
    query = select_as(Day, daily_view).order_by(view.environment, view.day)
    return fetch(connection, Day, query, conditions)


def quarantine(
    connection: Connection,
    *,
    environment: str | None = None,
    resolved: bool = False,
    limit: int | None = None,
    sort: str | None = None,
) -> list[QuarantinedRecord]:
    """Return the entries that could not be understood, most recently first seen first.

    Args:
        connection: to the mirror's database.
        environment: only those of this environment; None for all.
        resolved: include entries that the list no longer holds.
        limit: return at most this many; None for all.
        sort: an attribute of `QuarantinedRecord` to sort by, with "-" before it for descending
            order. Nulls come last.

    Raises:
        ValueError: `sort` is no attribute, or `limit` is negative.
    """
    return fetch_sorted(
        connection,
        QuarantinedRecord,
        quarantined_records,
        _quarantine_where(environment, resolved=resolved),
        sort=sort,
        limit=limit,
        default=QUARANTINE_ORDER,
    )


def count_quarantine(
    connection: Connection, *, environment: str | None = None, resolved: bool = False
) -> int:
    """Count the entries that `quarantine` returns with these arguments, without a limit."""
    conditions = _quarantine_where(environment, resolved=resolved)
    return count(connection, quarantined_records, conditions)


def _quarantine_where(environment: str | None, *, resolved: bool) -> list[sa.ColumnElement[bool]]:
    conditions = in_environment(quarantined_records.c, environment)
    return conditions if resolved else [*conditions, quarantined_records.c.resolved_at.is_(None)]


def runs(
    connection: Connection,
    *,
    environment: str | None = None,
    outcomes: Iterable[str] | None = None,
    since: date | str | None = None,
    limit: int | None = None,
    sort: str | None = None,
) -> list[SyncRun]:
    """Return the recorded runs, the one that started last first.

    Args:
        connection: to the mirror's database.
        environment: only those of this environment; None for all.
        outcomes: only those with one of these outcomes; None for all.
        since: only those that started at or after this time.
        limit: return at most this many; None for all.
        sort: an attribute of `SyncRun` to sort by, with "-" before it for descending order. Nulls
            come last, and the later run of two equal ones comes first.

    Raises:
        ValueError: `sort` is no attribute, or `limit` is negative.
    """
    return fetch_sorted(
        connection,
        SyncRun,
        sync_runs,
        _runs_where(environment, outcomes, since),
        sort=sort,
        limit=limit,
        default=(sync_runs.c.id.desc(),),
    )


def count_runs(
    connection: Connection,
    *,
    environment: str | None = None,
    outcomes: Iterable[str] | None = None,
    since: date | str | None = None,
) -> int:
    """Count the runs that `runs` returns with these arguments, without a limit."""
    return count(connection, sync_runs, _runs_where(environment, outcomes, since))


def _runs_where(
    environment: str | None, outcomes: Iterable[str] | None, since: date | str | None
) -> list[sa.ColumnElement[bool]]:
    columns = sync_runs.c
    conditions = [
        *in_environment(columns, environment),
        *between(columns.started_at, time_argument("since", since)),
    ]
    if outcomes is not None:
        conditions.append(columns.outcome.in_(texts_argument("outcomes", outcomes)))
    return conditions


def last_run(
    connection: Connection, *, environment: str | None = None, complete: bool = False
) -> SyncRun | None:
    """Return the run that started last, or None if there is none.

    Args:
        connection: to the mirror's database.
        environment: only runs of this environment; None for all.
        complete: only runs that read the whole list (outcome applied or unchanged).
    """
    conditions = in_environment(sync_runs.c, environment)
    if complete:
        conditions.append(sync_runs.c.completion.is_not(None))
    query = select_as(SyncRun, sync_runs).order_by(sync_runs.c.id.desc()).limit(1)
    return next(iter(fetch(connection, SyncRun, query, conditions)), None)


def count_by_status(
    connection: Connection, *, environment: str | None = None
) -> list[tuple[str, int]]:
    """Count the requests in the list by status, most frequent first."""
    check_connection(connection)
    number = sa.func.count()
    query = (
        sa.select(current.c.status, number)
        .where(current.c.missing_since.is_(None), *in_environment(current.c, environment))
        .group_by(current.c.status)
        .order_by(number.desc(), current.c.status)
    )
    return [(status, requests) for status, requests in connection.execute(query)]


def _ids(ids: Iterable[str]) -> list[str]:
    """Return the different ids of an argument.

    Raises:
        TypeError: it is no list of texts.
        ValueError: they are more than each database takes as parameters of a statement.
    """
    different = list(dict.fromkeys(texts_argument("ids", ids)))
    if len(different) > _MAX_IDS:
        raise ValueError(f"ids must be at most {_MAX_IDS:,}, not {len(different):,}")
    return different


def _stored(connection: Connection, number: str, region: str | None) -> list[str]:
    """Return the stored phone numbers that a number may mean."""
    from mirror.queries.lookup import find_number  # most commands read no number

    return [match.phone_number for match in find_number(connection, number, region)]
