"""Record the runs of `mirror sync`: begin, end, last completion.

Overlapping runs are resolved by compare and swap. When a run begins, it reads which run of its
environment completed last; when it completes, that must still be the last one.
"""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.config.settings import same_base_url
from mirror.db.engine import is_standby
from mirror.db.models import release_requests, sync_runs
from mirror.errors import DatabaseError, DatabaseUnavailable, GuardRefused
from mirror.version import __version__

_runs = sync_runs.c
_UNKNOWN_YET = {str(column.name): None for column in sync_runs.columns if column.nullable}
"""Named in a new row: a default would be somebody else's."""

_MILLISECOND = timedelta(milliseconds=1)


class Outcome(StrEnum):
    """The state of a run. `DRY_RUN` is never on record, as a dry run is not."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    REFUSED = "refused"
    FAILED = "failed"
    DRY_RUN = "dry_run"
    RUNNING = "running"
    ABANDONED = "abandoned"


CLOCK_TOLERANCE = timedelta(minutes=1)
"""A larger difference between two machines means that one clock is wrong."""


class Counts(msgspec.Struct, frozen=True):
    """Counts of a merge.

    Every entry of the list is inserted, updated, returned, unchanged, quarantined or a duplicate.
    A quarantined one may also be updated or returned, by the fields that can be read.

    Attributes:
        fetched: entries of the list.
        inserted: requests seen for the first time.
        updated: requests with a new version because a known field changed.
        unchanged: requests with a valid entry whose known fields are the same.
        missing: requests found missing for the first time.
        returned: missing requests that are listed again.
        quarantined: entries that could not be decoded, or only in part.
        newly_quarantined: those of them that were not in quarantine before.
        duplicates: entries equal to another one with the same id.
    """

    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    missing: int = 0
    returned: int = 0
    quarantined: int = 0
    newly_quarantined: int = 0
    duplicates: int = 0

    @property
    def has_requests(self) -> bool:
        """Whether the list had an entry that became a request."""
        return self.fetched > self.quarantined + self.duplicates


class Completion(msgspec.Struct, frozen=True):
    """A completed run of an environment.

    Attributes:
        run_id: `sync_runs.id`.
        number: its place among the completed runs of the environment, from 1.
        outcome: `applied` or `unchanged`.
        observed_at: UTC time that its changes carry.
        counts: of its merge.
        base_url, etag, content_digest: of the list it read. The digest is empty if the next list
            is to be compared whatever it is.
        mirror_version: the version that read it.
    """

    run_id: int
    number: int
    outcome: str
    observed_at: datetime
    counts: Counts
    base_url: str
    etag: str | None
    content_digest: str
    mirror_version: str

    def is_comparable_to(self, base_url: str) -> bool:
        """Return whether this version would decode the same response in the same way."""
        return same_base_url(self.base_url, base_url) and self.mirror_version == __version__


class Run(msgspec.Struct, frozen=True):
    """A run that has begun.

    Attributes:
        id: `sync_runs.id`.
        environment: name of the environment whose list it reads.
        started_at: UTC, by this machine's clock.
        previous: the last completion of the environment when the run began.
        is_emptied: whether its list had requests, and none of the environment was left then.
    """

    id: int
    environment: str
    started_at: datetime
    previous: Completion | None
    is_emptied: bool

    @property
    def is_on_record(self) -> bool:
        """Whether it has a row, which a dry run, with its negative number, has not."""
        return self.id > 0

    @property
    def observed_at(self) -> datetime:
        """UTC time that its changes carry, later than that of the previous completion."""
        started_at = self.started_at.replace(microsecond=self.started_at.microsecond // 1000 * 1000)
        if self.previous is None:
            return started_at
        return max(started_at, self.previous.observed_at + _MILLISECOND)

    @property
    def is_dated_ahead(self) -> bool:
        """Whether its changes are dated in the future, because an earlier run's clock was ahead."""
        return self.observed_at - self.started_at > CLOCK_TOLERANCE


def lock(environment: str) -> str:
    """Return the name of the writer's lock of an environment."""
    return f"sync {environment}"


def begin(
    connection: Connection,
    environment: str,
    base_url: str,
    started_at: datetime,
    *,
    run_id: int | None = None,
) -> Run:
    """Record a new run, as running; its number is the next one, unless it is given.

    Raises:
        DatabaseError: a trigger of somebody else keeps the row out.
    """
    # Not correlated with the run: Postgres would read all requests for that.
    some = sa.exists().where(release_requests.c.environment == environment).label("some")
    last = _last(_runs.environment == environment)
    row = connection.execute(last.add_columns(some)).one_or_none()
    previous = _completion(row)
    number = {} if run_id is None else {"id": run_id}
    run_id = connection.scalar(
        sa.insert(sync_runs)
        .values(
            _UNKNOWN_YET
            | number
            | {
                "environment": environment,
                "outcome": "running",
                "started_at": started_at,
                "base_url": base_url,
                "mirror_version": __version__,
            }
        )
        .returning(_runs.id)
    )
    if run_id is None:
        raise DatabaseError(
            "the table sync_runs takes no rows, and gives no error: a trigger or a rule that is "
            "not the mirror's keeps them out",
            hint="drop it, or give the mirror a database of its own",
        )
    had_requests = previous is not None and previous.counts.has_requests
    is_emptied = had_requests and row is not None and not row.some
    return Run(run_id, environment, started_at, previous, is_emptied)


def last_completion(connection: Connection, environment: str) -> Completion | None:
    """Return the last completion of an environment."""
    return _completion(connection.execute(_last(_runs.environment == environment)).one_or_none())


def require_no_older(connection: Connection, run: Run) -> None:
    """Check that a transaction does not see an older state than that with which a run began.

    A connection may lead to a standby that lags behind, although the one before led to the primary:
    with digests from there a request that changed would be taken for unchanged. Elsewhere the
    environment was renamed or forgotten meanwhile, which the end of the run reports.

    Raises:
        DatabaseUnavailable: it does.
    """
    last = last_completion(connection, run.environment)
    is_older = run.previous is not None and (last is None or last.number < run.previous.number)
    if is_older and is_standby(connection):
        raise DatabaseUnavailable(
            "the database was read in an older state than the one before: some connections lead to "
            "a standby. Nothing was applied",
            hint="use a URL that leads to the primary only, such as one with "
            "target_session_attrs=read-write; docs/operations.md has the settings of poolers",
        )


def require_base_url(environment: str, last: Completion | None, base_url: str) -> None:
    """Check that an environment keeps the base URL of its last completion, if there is one.

    Otherwise a forgotten variable would mix the requests of two APIs, or send a token to an API
    that it does not belong to.

    Raises:
        GuardRefused: it is another one.
    """
    if last is not None and not same_base_url(last.base_url, base_url):
        raise GuardRefused(
            f"the requests of {environment!r} come from {last.base_url}, and the base URL is now "
            f"{base_url}. Nothing was sent to it, and nothing was applied",
            hint="check --base-url, TALKOVER_BASE_URL and base_url in the configuration file. If "
            f"the API has moved, run again, once, with --environment {shlex.quote(environment)} "
            "--accept-base-url. For another API use another environment",
        )


def completion(connection: Connection, run: Run) -> Completion | None:
    """Return the completion of a run, or None if it is not recorded as complete."""
    return _completion(connection.execute(_last(_runs.id == run.id)).one_or_none())


def _last(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select the row of the last completion that meets a condition."""
    return (
        sa.select(sync_runs)
        .where(_runs.completion.is_not(None), condition)
        .order_by(_runs.completion.desc())
        .limit(1)
    )


def _completion(row: sa.Row[Any] | None) -> Completion | None:
    """Return the completion of a row, if there is one."""
    if row is None:
        return None
    return Completion(
        run_id=row.id,
        number=row.completion,
        outcome=row.outcome,
        observed_at=row.observed_at,
        counts=Counts(**{name: getattr(row, name) for name in Counts.__struct_fields__}),
        base_url=row.base_url,
        etag=row.etag,
        content_digest=row.content_digest or "",
        mirror_version=row.mirror_version,
    )


def content_digest_of(completion: Completion) -> sa.ScalarSelect[str]:
    """Select the digest of a completion: `forget_list` may have removed it meanwhile."""
    earlier = sync_runs.alias()
    return (
        sa.select(earlier.c.content_digest)
        .where(earlier.c.id == completion.run_id)
        .scalar_subquery()
    )


def forget_list(connection: Connection, environment: str) -> None:
    """Have the next sync of an environment compare its list, even if it is the one applied last.

    The connection must hold the environment's lock.
    """
    if last := last_completion(connection, environment):
        connection.execute(
            sa.update(sync_runs)
            .where(_runs.id == last.run_id)
            .values(etag=None, content_digest=None)
        )


def is_superseded(connection: Connection, run: Run) -> bool:
    """Return whether another run has completed since this one began.

    The connection must hold the environment's lock, so that the result stays true.

    Raises:
        DatabaseUnavailable: the row of the run is gone. A dry run has none.
    """
    last = (
        sa.select(_runs.id)
        .where(_runs.environment == run.environment, _runs.completion.is_not(None))
        .order_by(_runs.completion.desc())
        .limit(1)
    )
    own = sa.select(_runs.id).where(*_is_unfinished(run))
    last_id, own_id = connection.execute(
        sa.select(last.scalar_subquery(), own.scalar_subquery())
    ).one()
    if run.is_on_record and own_id is None:
        raise _not_on_record(run)
    return bool(last_id != (run.previous and run.previous.run_id))


def complete(
    connection: Connection,
    run: Run,
    *,
    outcome: str,
    finished_at: datetime,
    counts: Counts,
    **values: Any,
) -> None:
    """Record the completion of a run, in the transaction of its merge; mark older ones abandoned.

    An earlier run that is still `running` becomes `abandoned`. If its process is still running,
    it corrects its row when it ends.
    """
    end(
        connection,
        run,
        outcome=outcome,
        finished_at=finished_at,
        counts=counts,
        observed_at=run.observed_at,
        completion=1 if run.previous is None else run.previous.number + 1,
        **values,
    )
    connection.execute(
        sa.update(sync_runs)
        .where(
            _runs.environment == run.environment,
            _runs.outcome == "running",
            _runs.id < run.id,
        )
        .values(
            outcome="abandoned",
            finished_at=finished_at,
            error=f"the run recorded no outcome; found by run {run.id}",
        )
    )


def end(
    connection: Connection,
    run: Run,
    *,
    outcome: str,
    finished_at: datetime,
    counts: Counts | None = None,
    error: str | None = None,
    **values: Any,
) -> None:
    """Record the outcome of a run.

    Raises:
        DatabaseUnavailable: the row of the run is gone. The caller rolls back.
    """
    result = connection.execute(
        sa.update(sync_runs)
        .where(*_is_unfinished(run))
        .values(
            outcome=outcome,
            finished_at=finished_at,
            error=error,
            **(msgspec.structs.asdict(counts) if counts else {}),
            **values,
        )
    )
    if not result.rowcount:
        raise _not_on_record(run)


def _is_unfinished(run: Run) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _runs.id == run.id,
        _runs.environment == run.environment,
        _runs.started_at == run.started_at,
        _runs.outcome.in_(("running", "abandoned")),
    )


def _not_on_record(run: Run) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"run {run.id} of {run.environment!r} is no longer on record. Nothing was applied",
        hint="was the environment renamed or forgotten meanwhile, or the database restored to an "
        "older state? Run again, under the new name if there is one",
    )
