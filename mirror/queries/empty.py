"""Why a command found nothing: a sentence on what there is instead.

Nothing is read unless a result is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.config.file import nearest
from mirror.db import environments, runs
from mirror.db.models import past_versions, quarantined_records, release_requests, sync_runs
from mirror.queries.helpers import known_requests
from mirror.queries.select import Conditions, between, in_environment
from mirror.text import one_line, there_are

NEVER_SYNCED = "nothing was ever synced; run `mirror sync`"

_MAX_LENGTH = 60  # characters of a status


def no_environment(connection: Connection, environment: str | None) -> str | None:
    """Say that an environment is unknown, or was never completely synced; None if it was.

    Args:
        connection: to the mirror's database.
        environment: its name; None for all.
    """
    names = environments.on_record(connection)
    if not names:
        return NEVER_SYNCED
    if environment is None:
        if any(runs.last_completion(connection, name) for name in names):
            return None
        return "no sync was complete yet; `mirror status` shows why"
    if environment not in names:
        hint = _nearest(environment, names) or there_are([repr(name) for name in names])
        return f"there is no environment {environment!r} in the mirror; {hint}"
    if runs.last_completion(connection, environment) is None:
        return f"no sync of {environment!r} was complete yet; `mirror status` shows why"
    return None


def no_requests(
    connection: Connection,
    *,
    environment: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    as_of: datetime | None = None,
    missing: bool = False,
) -> str | None:
    """Say why `release_requests` found nothing with these arguments; None if they do not say."""
    if reason := no_environment(connection, environment):
        return reason
    scope = _scope(environment)
    if as_of is not None:
        first = _first_observed_at(connection, environment)
        if as_of < first:
            return (
                f"the mirror knows nothing of {_text(as_of)}; its first complete sync{scope} began "
                f"at {_text(first)}"
            )
        scope += f" at {_text(as_of)}"
    source, conditions = known_requests(environment, as_of)
    is_missing = source.c.missing_since.is_not(None)
    count = sa.func.count()
    total, missing_ones = connection.execute(
        sa.select(count, count.filter(is_missing)).select_from(source).where(*conditions)
    ).one()
    if not total:
        return f"there is no request{scope}"
    if missing and not missing_ones:
        return f"no request is missing from the list{scope}"
    if not missing and missing_ones == total:
        return f"all {total:,} requests{scope} are missing from the list; --missing shows them"
    conditions.append(is_missing if missing else ~is_missing)
    requests = _Requests(
        connection, source, conditions, "missing request" if missing else "request", scope
    )
    return (
        requests.without_status(status)
        or requests.without_time(since, until)
        or requests.of_time(since, until).without_status(status)
    )


def no_changes(
    connection: Connection,
    *,
    environment: str | None = None,
    since: datetime | None = None,
    run_id: int | None = None,
) -> str | None:
    """Say why `changes` found nothing with these arguments."""
    if reason := no_environment(connection, environment):
        return reason
    if run_id is not None:
        return _no_changes_of_run(connection, run_id)
    scope, columns = _scope(environment), past_versions.c
    last = connection.scalar(
        sa.select(sa.func.max(columns.valid_to)).where(*in_environment(columns, environment))
    )
    if last is None or since is None:
        return (
            f"no sync has seen a change{scope} yet; a request that is seen for the first time is "
            "not a change"
        )
    return (
        f"no change{scope} was seen at {_text(since)} or later; the last one was at {_text(last)}"
    )


def _no_changes_of_run(connection: Connection, run_id: int) -> str:
    columns = sync_runs.c
    is_run = columns.id == run_id if abs(run_id) < 2**63 else sa.false()
    run = connection.execute(
        sa.select(columns.environment, columns.outcome).where(is_run)
    ).one_or_none()
    if run is None:
        last = connection.scalar(sa.select(sa.func.max(columns.id)))
        return f"there is no run {run_id}; the last one is {last}"
    return (
        f"run {run_id} of {run.environment!r} ({run.outcome}) saw no such change; a request that "
        "is seen for the first time is not a change"
    )


def no_quarantine(
    connection: Connection, *, environment: str | None = None, resolved: bool = False
) -> str | None:
    """Say why `quarantine` found nothing with these arguments."""
    if reason := no_environment(connection, environment):
        return reason
    conditions = in_environment(quarantined_records.c, environment)
    count = sa.select(sa.func.count()).select_from(quarantined_records).where(*conditions)
    former = 0 if resolved else connection.scalar(count)
    if former:
        occur = "record that no longer occurs" if former == 1 else "records that no longer occur"
        return f"no record{_scope(environment)} is in quarantine; --all shows {former:,} {occur}"
    return f"no record{_scope(environment)} was ever in quarantine"


def no_runs(
    connection: Connection,
    *,
    environment: str | None = None,
    outcomes: Collection[str] | None = None,
    since: datetime | None = None,
) -> str | None:
    """Say why `runs` found nothing with these arguments."""
    names = environments.on_record(connection)
    if not names:
        return NEVER_SYNCED
    if environment is not None and environment not in names:
        return no_environment(connection, environment)
    columns, scope = sync_runs.c, _scope(environment)
    conditions = in_environment(columns, environment)
    if outcomes:
        conditions.append(columns.outcome.in_(outcomes))
        scope = f" with the outcome {' or '.join(outcomes)}{scope}"
    last = connection.scalar(sa.select(sa.func.max(columns.started_at)).where(*conditions))
    if last is None or since is None:
        return f"there is no run{scope}"
    return (
        f"no run{scope} started at {_text(since)} or later; the last one started at {_text(last)}"
    )


@dataclass(frozen=True, slots=True)
class _Requests:
    """Requests that there are, at least one.

    Attributes:
        connection: to the mirror's database.
        source: the table or view that has them.
        conditions: select them.
        noun: what they are.
        scope: where and when, in words.
    """

    connection: Connection
    source: sa.Table
    conditions: Conditions
    noun: str
    scope: str

    def of_time(self, since: datetime | None, until: datetime | None) -> Self:
        """Return those that were submitted in a time."""
        submitted = between(self.source.c.requested_at, since, until)
        return replace(
            self, conditions=[*self.conditions, *submitted], noun=f"{self.noun} of that time"
        )

    def without_status(self, status: str | None) -> str | None:
        """Say that none has a status, and which there are; None if one has it."""
        if status is None:
            return None
        column = self.source.c.status
        statuses = self.connection.scalars(
            sa.select(column).where(*self.conditions).distinct().order_by(column)
        ).all()
        if status in statuses:
            return None
        known = [one_line(name)[:_MAX_LENGTH] for name in statuses]
        hint = _nearest(status, known) or there_are(known)
        return f"no {self.noun} has the status {status!r}{self.scope}; {hint}"

    def without_time(self, since: datetime | None, until: datetime | None) -> str | None:
        """Say that none was submitted in a time, and when the nearest ones were."""
        if since is not None and until is not None and since >= until:
            return f"{_text(since)} is not before {_text(until)}, so no time lies between them"
        submitted_at = self.source.c.requested_at
        first, last = sa.func.min(submitted_at), sa.func.max(submitted_at)
        if self._select(first, *between(submitted_at, since, until)) is not None:
            return None
        period, nearest = [], []
        if since is not None:
            period.append(f"at {_text(since)} or later")
            if earlier := self._select(last, submitted_at < since):
                nearest.append(f"the last one before was at {_text(earlier)}")
        if until is not None:
            period.append(f"before {_text(until)}")
            if later := self._select(first, submitted_at >= until):
                nearest.append(f"the first one after was at {_text(later)}")
        return (
            f"no {self.noun}{self.scope} was submitted {' and '.join(period)}; "
            f"{' and '.join(nearest)}"
        )

    def _select(
        self, column: sa.ColumnElement[datetime], *conditions: sa.ColumnElement[bool]
    ) -> datetime | None:
        return self.connection.scalar(sa.select(column).where(*self.conditions, *conditions))


def _first_observed_at(connection: Connection, environment: str | None) -> datetime:
    """Return when the first complete sync began, also if its run was pruned."""
    times: list[datetime | None] = [
        connection.scalar(
            sa.select(sa.func.min(columns[name])).where(*in_environment(columns, environment))
        )
        for columns, name in ((sync_runs.c, "observed_at"), (release_requests.c, "first_seen_at"))
    ]
    return min(time for time in times if time is not None)


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """Suggest the nearest known name; None if none is near."""
    close = nearest(name, known)
    return close and f"did you mean {close!r}?"


def _scope(environment: str | None) -> str:
    return "" if environment is None else f" in {environment!r}"


def _text(time: datetime) -> str:
    """Format a time (UTC), with milliseconds if there are any."""
    return time.isoformat(" ", "milliseconds")[:23].removesuffix(".000") + " UTC"
