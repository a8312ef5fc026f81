"""The job: pull the list, prove it, merge it, and put the run on record.

It fetches first and writes after: no transaction is open while the network is used. What a sync
changes and its own outcome are committed in one transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy.engine import Connection, Engine

from mirror.api import records
from mirror.api.client import CachedList, Client, FetchedList, NotModified
from mirror.cancellation import CancellationToken
from mirror.config.settings import ApiSettings
from mirror.db import migrate, runs
from mirror.db.engine import enable_wal, write_transaction
from mirror.db.runs import Counts, Outcome
from mirror.errors import DatabaseError, GuardRefused, MirrorError, Stopped
from mirror.progress import Phase, Progress, environment_of_log

if TYPE_CHECKING:
    from mirror.queries.results import Change

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What a sync did, as it is on record.

    Attributes:
        run_id: number of the run (`sync_runs.id`), or None if it could not be put on record.
        environment: label of the token that was used.
        outcome: how it ended.
        counts: what it did, or in a dry run would have done; zeros if it did not get so far.
        pages: answers of the list that were read.
        bytes: their size, decompressed.
        seconds: how long it took.
        started_at, finished_at: UTC, by this machine's clock.
        failure: why it failed or was refused.
        changes: in a dry run, the changes that it would have recorded.
    """

    run_id: int | None
    environment: str
    outcome: Outcome
    counts: Counts
    pages: int
    bytes: int
    seconds: float
    started_at: datetime
    finished_at: datetime
    failure: MirrorError | None = None
    changes: tuple[Change, ...] = ()

    @classmethod
    def of_failure(
        cls, environment: str, failure: MirrorError, started_at: datetime, finished_at: datetime
    ) -> Self:
        """Return the result of a sync that failed before it could be put on record."""
        return cls(
            run_id=None,
            environment=environment,
            outcome=Outcome.FAILED,
            counts=Counts(),
            pages=0,
            bytes=0,
            seconds=round((finished_at - started_at).total_seconds(), 3),
            started_at=started_at,
            finished_at=finished_at,
            failure=failure,
        )


class _RolledBack(Exception):
    """Leaves a transaction without committing it."""


def utc_now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def sync(
    engine: Engine,
    api: ApiSettings,
    environment: str,
    *,
    upgrade: bool = True,
    dry_run: bool = False,
    accept_missing: bool = False,
    now: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
    stopping: CancellationToken | None = None,
) -> Result:
    """Make the mirror of an environment equal to the list of the API, or leave it as it is.

    If it is stopped, the pull ends at once, and no merge begins. A merge that has begun is finished
    and committed, and no wait for the database is cut short.

    Args:
        engine: the mirror's database.
        api: how to talk to the API.
        environment: label of the token.
        upgrade: bring the schema up to date first; otherwise refuse if it is not.
        dry_run: go the same way, but roll the merge back.
        accept_missing: apply the list however many requests it lacks.
        now: the clock, UTC.
        progress: where it counts what it has got done.
        stopping: lets another thread end it; a failure like any other.

    Returns:
        What was done. A failure is in it, not raised.
    """
    began, started_at = time.monotonic(), now()
    progress, stopping = progress or Progress(), stopping or CancellationToken()
    try:
        with _attended(environment, progress), Client(api, progress=progress) as client:
            run = _begin(engine, environment, api.base_url, started_at, upgrade=upgrade)
            logger.debug("run %d has begun, with %s", run.id, api.base_url)
            job = _Job(
                engine, run, client, now=now, began=began, progress=progress, stopping=stopping
            )
            result = job.run(api.base_url, dry_run=dry_run, accept_missing=accept_missing)
            if result.failure is None:
                enable_wal(engine)
            return result
    except MirrorError as error:
        return replace(
            Result.of_failure(environment, error, started_at, now()), seconds=_since(began)
        )


@contextmanager
def _attended(environment: str, progress: Progress) -> Iterator[None]:
    """Have the log and whoever watches know what goes on."""
    before = environment_of_log.set(environment)
    try:
        yield
    finally:
        environment_of_log.reset(before)
        progress.phase = Phase.DONE


def _begin(
    engine: Engine, environment: str, base_url: str, started_at: datetime, *, upgrade: bool
) -> runs.Run:
    """Put a run on record, in a database that has or gets the schema of this version."""
    with write_transaction(engine, runs.lock(environment)) as connection:
        if upgrade:
            migrate.upgrade_in(connection)
        else:
            migrate.require_current(connection)
        return runs.begin(connection, environment, base_url, started_at)


def _since(began: float) -> float:
    """Return the seconds since a reading of the monotonic clock."""
    return round(time.monotonic() - began, 3)


class _Job:
    """A run that has begun, and what it needs to end."""

    def __init__(
        self,
        engine: Engine,
        run: runs.Run,
        client: Client,
        *,
        now: Callable[[], datetime],
        began: float,
        progress: Progress,
        stopping: CancellationToken,
    ) -> None:
        self._engine = engine
        self._run = run
        self._client = client
        self._now = now
        self._began = began
        self._progress = progress
        self._stopping = stopping

    def run(self, base_url: str, *, dry_run: bool, accept_missing: bool) -> Result:
        """Do the job, and put on record how it ended."""
        try:
            return self._do(base_url, dry_run=dry_run, accept_missing=accept_missing)
        except GuardRefused as error:
            return self._record(Outcome.REFUSED, failure=error)
        except MirrorError as error:
            return self._record(Outcome.FAILED, failure=error)
        except BaseException as error:
            wanted = isinstance(error, KeyboardInterrupt)
            what = "interrupted" if wanted else "ended by a defect of mirror; please report it"
            self._record(Outcome.FAILED, failure=MirrorError(what))
            raise

    def _do(self, base_url: str, *, dry_run: bool, accept_missing: bool) -> Result:
        """Pull the list, and apply it unless it is the one that is known already."""
        last, known = self._run.previous, None
        if last is not None and last.is_comparable_to(base_url):
            known = CachedList(last.etag, last.content_sha256, last.counts.fetched)
        found = self._read(known)
        if isinstance(found, FetchedList):
            return self._apply(found, dry_run=dry_run, accept_missing=accept_missing)
        assert last is not None, "only a known list can be nothing new"
        return self._nothing_new(last, found.etag, dry_run=dry_run)

    def _read(self, known: CachedList | None) -> FetchedList | NotModified:
        """Read the list, unless or until it is stopped."""
        began = time.monotonic()
        with self._stopping.calling(self._client.stop):
            found = self._client.read_list(known)
        logger.debug(
            "%s: %d pages, %s bytes in %.1f s",
            "list read" if isinstance(found, FetchedList) else "nothing new",
            self._client.pages,
            f"{self._client.received:,}",
            time.monotonic() - began,
        )
        return found

    def _nothing_new(self, known: runs.Completion, etag: str | None, *, dry_run: bool) -> Result:
        """Record that the list is the one applied last; touch nothing else."""
        counts = Counts(
            fetched=known.counts.fetched,
            unchanged=known.counts.fetched - known.counts.quarantined - known.counts.duplicates,
            quarantined=known.counts.quarantined,
            duplicates=known.counts.duplicates,
        )
        if dry_run:
            return self._record(Outcome.DRY_RUN, counts)
        with self._writing() as connection:
            if runs.is_superseded(connection, self._run):
                return self._end(connection, Outcome.SUPERSEDED)
            return self._complete(
                connection,
                Outcome.UNCHANGED,
                counts,
                etag=etag,
                content_sha256=known.content_sha256,
            )

    def _apply(self, listing: FetchedList, *, dry_run: bool, accept_missing: bool) -> Result:
        """Merge the list and record it, in one transaction."""
        from mirror.sync.merge import SyncContext, merge

        pull = SyncContext(self._run.environment, self._run.id, self._run.observed_at)
        preview: list[Change] = []
        try:
            with self._writing() as connection:
                migrate.require_current(
                    connection
                )  # a newer version may have upgraded it meanwhile
                if runs.is_superseded(connection, self._run):
                    return self._end(connection, Outcome.SUPERSEDED)
                if self._stopping.is_set():
                    raise Stopped
                began = time.monotonic()
                counts = merge(
                    connection,
                    pull,
                    records.decode(listing.items, listing.repeated),
                    listing.count,
                    accept_missing=accept_missing,
                    progress=self._progress,
                )
                logger.debug("merged in %.3f s", time.monotonic() - began)
                if dry_run:
                    from mirror.queries import helpers

                    preview = helpers.changes(connection, run_id=self._run.id)
                    raise _RolledBack
                return self._complete(
                    connection,
                    Outcome.APPLIED,
                    counts,
                    etag=listing.etag,
                    content_sha256=listing.sha256,
                )
        except _RolledBack:
            return replace(self._record(Outcome.DRY_RUN, counts), changes=tuple(preview))

    def _record(
        self, outcome: Outcome, counts: Counts | None = None, failure: MirrorError | None = None
    ) -> Result:
        """Record how the run ended, in a transaction of its own, if the database can be reached.

        If it is on record as complete, that stands: what failed was the answer to its commit.
        """
        try:
            with self._writing() as connection:
                if done := runs.completion(connection, self._run):
                    return self._result(Outcome(done.outcome), self._now(), done.counts)
                return self._end(connection, outcome, counts, failure)
        except DatabaseError as error:
            logger.debug("%s", error)
            logger.warning(
                "the end of run %d could not be put on record; the next sync will find it",
                self._run.id,
            )
            return self._result(outcome, self._now(), counts, failure or error)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with write_transaction(self._engine, runs.lock(self._run.environment)) as connection:
            yield connection
            began = time.monotonic()
        logger.debug("committed in %.3f s", time.monotonic() - began)

    def _complete(
        self,
        connection: Connection,
        outcome: Outcome,
        counts: Counts,
        *,
        etag: str | None,
        content_sha256: str,
    ) -> Result:
        result = self._result(outcome, self._now(), counts)
        runs.complete(
            connection,
            self._run,
            outcome=outcome,
            counts=counts,
            etag=etag,
            content_sha256=content_sha256,
            **_traffic(result),
        )
        return result

    def _end(
        self,
        connection: Connection,
        outcome: Outcome,
        counts: Counts | None = None,
        failure: MirrorError | None = None,
    ) -> Result:
        result = self._result(outcome, self._now(), counts, failure)
        runs.end(
            connection,
            self._run,
            outcome=outcome,
            counts=counts,
            error=None if failure is None else str(failure),
            **_traffic(result),
        )
        return result

    def _result(
        self,
        outcome: Outcome,
        finished_at: datetime,
        counts: Counts | None = None,
        failure: MirrorError | None = None,
    ) -> Result:
        return Result(
            run_id=self._run.id,
            environment=self._run.environment,
            outcome=outcome,
            counts=counts or Counts(),
            pages=self._client.pages,
            bytes=self._client.received,
            seconds=_since(self._began),
            started_at=self._run.started_at,
            finished_at=finished_at,
            failure=failure,
        )


def _traffic(result: Result) -> dict[str, Any]:
    """The columns of a run's row that say what it took."""
    return {
        "finished_at": result.finished_at,
        "pages": result.pages,
        "bytes": result.bytes,
        "seconds": result.seconds,
    }
