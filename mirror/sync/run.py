"""One sync: fetch the list, verify it, merge it, record the run.

No transaction is open while a request is in flight. What a sync changes and its outcome are
committed in one transaction.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.sql.selectable import ScalarSelect

from mirror.api.client import CachedList, Client, FetchedList, NotModified
from mirror.api.entries import EntryScan
from mirror.cancellation import CancellationToken
from mirror.cancellation import current as current_cancellation
from mirror.config.settings import ApiSettings
from mirror.db import migrate, replication, revisions, runs, sequences, sqlite
from mirror.db.engine import read_transaction, write_transaction
from mirror.db.runs import Counts, Outcome
from mirror.errors import DatabaseError, GuardRefused, MirrorError, Stopped
from mirror.progress import Phase, Progress, log_environment
from mirror.progress import current as current_progress

if TYPE_CHECKING:
    from mirror.queries.results import Change

logger = logging.getLogger(__name__)


class Result(msgspec.Struct, frozen=True):
    """The result of a sync, as its run has it on record.

    Attributes:
        run_id: number of the run (`sync_runs.id`), or None if it is not on record: it could not be
            put there, or is a dry run.
        environment: name of the environment.
        outcome: how the sync ended.
        seconds: duration.
        started_at, finished_at: UTC, by this machine's clock.
        counts: what it did, or in a dry run would have done; zeros if it did not get that far.
        pages: pages of the list that were fetched.
        bytes: their size, decompressed.
        failure: why the sync failed or was refused.
        changes: in a dry run, the changes that it would have recorded; their `sync_run_id` is 0.
    """

    run_id: int | None
    environment: str
    outcome: Outcome
    seconds: float
    started_at: datetime
    finished_at: datetime
    counts: Counts = msgspec.field(default_factory=Counts)
    pages: int = 0
    bytes: int = 0
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
            seconds=round((finished_at - started_at).total_seconds(), 3),
            started_at=started_at,
            finished_at=finished_at,
            failure=failure,
        )


def utc_now() -> datetime:
    """Return the time of this machine's clock, in UTC."""
    return datetime.now(UTC)


def sync(
    engine: Engine,
    api: ApiSettings,
    environment: str,
    *,
    upgrade: bool = True,
    dry_run: bool = False,
    accept_missing: bool = False,
    accept_base_url: bool = False,
    options: Sequence[str] = (),
    now: Callable[[], datetime] = utc_now,
    progress: Progress | None = None,
    cancellation: CancellationToken | None = None,
) -> Result:
    """Make the mirror of an environment equal to the list of the API, or leave it as it is.

    Cancellation ends a fetch at once, and prevents a merge that has not begun. A merge that has
    begun is finished and committed, unless it waits for a lock of another program.

    Args:
        engine: the mirror's database.
        api: settings of the API.
        environment: name of the environment.
        upgrade: upgrade the schema first; otherwise fail if it is not current.
        dry_run: do the same, but roll it back; the schema must be current. It needs the rights of a
            sync, and leaves no run on record.
        accept_missing: apply the list whatever is missing or unreadable.
        accept_base_url: sync even if the last complete sync used another base URL.
        options: those that name the mirror, for the command in an error.
        now: the clock, UTC.
        progress: counts what is done.
        cancellation: lets another thread end the sync, which then fails with `Stopped`.

    Returns:
        The result; a `MirrorError` is its `failure`, not raised.
    """
    began, started_at = time.monotonic(), now()
    progress, cancellation = progress or Progress(), cancellation or CancellationToken()
    try:
        with _context(environment, progress, cancellation):
            client = Client(api, progress=progress, cancellation=cancellation)
            if dry_run:
                run = _begin_dry_run(engine, environment, api.base_url, started_at)
            else:
                run = _begin(engine, environment, api.base_url, started_at, upgrade=upgrade)
            name = "the dry run" if dry_run else f"run {run.id}"
            logger.debug("%s has begun, with %s", name, api.base_url)
            result = _Sync(
                engine=engine,
                run=run,
                client=client,
                base_url=api.base_url,
                dry_run=dry_run,
                accept_missing=accept_missing,
                accept_base_url=accept_base_url,
                options=options,
                now=now,
                began=began,
                progress=progress,
                cancellation=cancellation,
            ).execute()
            if result.failure is None and not dry_run:
                sqlite.enable_wal(engine)
            return result
    except MirrorError as error:
        return msgspec.structs.replace(
            Result.of_failure(environment, error, started_at, now()), seconds=_seconds_since(began)
        )


@contextmanager
def _context(
    environment: str, progress: Progress, cancellation: CancellationToken
) -> Iterator[None]:
    """Set what belongs to a sync: its name, its cancellation, and its progress, done on exit."""
    token, progress_token = log_environment.set(environment), current_progress.set(progress)
    cancellation_token = current_cancellation.set(cancellation)
    try:
        yield
    finally:
        log_environment.reset(token)
        current_progress.reset(progress_token)
        current_cancellation.reset(cancellation_token)
        progress.phase = Phase.DONE


def _begin(
    engine: Engine, environment: str, base_url: str, started_at: datetime, *, upgrade: bool
) -> runs.Run:
    """Upgrade the schema, or require the current one; record the new run under the next number."""
    with write_transaction(engine, runs.lock(environment)) as connection:
        if upgrade:
            migrate.upgrade_in(connection)
        else:
            revisions.hold_current(connection)
        replication.refuse_subscriber(connection)
        sequences.repair(connection)
        return runs.begin(connection, environment, base_url, started_at)


def _begin_dry_run(
    engine: Engine, environment: str, base_url: str, started_at: datetime
) -> runs.Run:
    """Begin a run as a sync does, and roll it back: what would fail later fails now.

    Its number is negative, so that the sequence of the numbers does not move on in Postgres; each
    has its own, so that dry runs of several environments do not wait for each other.
    """
    number = -1 - secrets.randbits(62)
    try:
        with write_transaction(engine, runs.lock(environment), commit=False) as connection:
            revisions.hold_current(connection)
            replication.refuse_subscriber(connection)
            sequences.require_rights(connection)
            return runs.begin(connection, environment, base_url, started_at, run_id=number)
    except DatabaseError as error:
        is_refusal_of_server = type(error) is DatabaseError and error.__cause__ is not None
        if not is_refusal_of_server:
            raise
        needed = "a dry run needs the rights of a sync, whose changes it makes and rolls back"
        raise DatabaseError(error.message, hint=f"{error.hint}; {needed}") from error


def _seconds_since(began: float) -> float:
    """Return the seconds since a reading of the monotonic clock, to the millisecond."""
    return round(time.monotonic() - began, 3)


class _Sync(msgspec.Struct, frozen=True, kw_only=True):
    """A sync whose run is on record.

    Attributes:
        engine, now, progress, cancellation, dry_run, accept_missing, accept_base_url, options:
            arguments of `sync`.
        run: its run.
        client: fetches the list.
        base_url: of the API.
        began: start of the sync by the monotonic clock, in seconds.
    """

    engine: Engine
    run: runs.Run
    client: Client
    base_url: str
    dry_run: bool
    accept_missing: bool
    accept_base_url: bool
    options: Sequence[str]
    now: Callable[[], datetime]
    began: float
    progress: Progress
    cancellation: CancellationToken

    def execute(self) -> Result:
        """Sync; record how the run ended, whatever happens."""
        try:
            return self._sync()
        except GuardRefused as error:
            return self._finish(Outcome.REFUSED, failure=error)
        except MirrorError as error:
            return self._finish(Outcome.FAILED, failure=error)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            if interrupted:
                self.cancellation.set()  # the record of the end waits for no lock
            defect = "ended by a defect of mirror; please report it"
            reason = "interrupted" if interrupted else defect
            self._finish(Outcome.FAILED, failure=MirrorError(reason))
            raise

    def _sync(self) -> Result:
        """Fetch the list; apply it unless it is the one applied last."""
        last, cached = self.run.previous, None
        if not self.accept_base_url:
            runs.require_base_url(self.run.environment, last, self.base_url)
        if last is not None:
            etag, digest = last.etag, last.content_digest
            if self.run.is_emptied:
                logger.warning(
                    "the mirror has no request of %r, although its last list had some: were they "
                    "deleted, or left out of a restore? The whole list is applied again",
                    self.run.environment,
                )
            if not digest or self.run.is_emptied or not last.is_comparable_to(self.base_url):
                etag, digest = None, ""
            cached = CachedList(etag, digest, last.counts.fetched)
        fetched = self._fetch(cached)
        if isinstance(fetched, FetchedList):
            return self._apply(fetched)
        assert last is not None, "without a cached list there is no NotModified"
        return self._record_unchanged(last, fetched.etag)

    def _fetch(self, cached: CachedList | None) -> FetchedList | NotModified:
        """Fetch the list, unless or until the sync is cancelled."""
        began = time.monotonic()
        fetched = self.client.fetch_list(cached, self._new_scan)
        logger.debug(
            "%s: %s, %s bytes in %.1f s",
            "list read" if isinstance(fetched, FetchedList) else "nothing new",
            "1 page" if self.client.pages == 1 else f"{self.client.pages:,} pages",
            f"{self.client.received:,}",
            time.monotonic() - began,
        )
        return fetched

    def _new_scan(self) -> EntryScan:
        """Return a scan that knows the requests that the list should hold."""
        from mirror.sync.compare import stored_digests

        with read_transaction(self.engine, time_limits=False) as connection:
            runs.require_no_older(connection, self.run)
            with stored_digests(connection, self.run.environment) as known:
                return EntryScan(known)

    def _record_unchanged(self, last: runs.Completion, etag: str | None) -> Result:
        """Record that the list is the one applied last; touch nothing else."""
        counts = Counts(
            fetched=last.counts.fetched,
            unchanged=last.counts.fetched - last.counts.quarantined - last.counts.duplicates,
            quarantined=last.counts.quarantined,
            duplicates=last.counts.duplicates,
        )
        with self._transaction() as connection:
            if runs.is_superseded(connection, self.run):
                return self._finish_in(connection, Outcome.SUPERSEDED)
            return self._finish_in(
                connection,
                Outcome.DRY_RUN if self.dry_run else Outcome.UNCHANGED,
                counts,
                etag=etag,
                content_digest=runs.content_digest_of(last),
            )

    def _apply(self, fetched: FetchedList) -> Result:
        """Merge the list and record it, in one transaction."""
        from mirror.sync.merge import merge

        with self._transaction() as connection:
            # A newer version of mirror may have upgraded the schema during the fetch.
            revisions.hold_current(connection)
            if runs.is_superseded(connection, self.run):
                return self._finish_in(connection, Outcome.SUPERSEDED)
            if self.cancellation.is_set():
                raise Stopped
            if self.dry_run:  # records in quarantine refer to it
                runs.begin(
                    connection,
                    self.run.environment,
                    self.base_url,
                    self.run.started_at,
                    run_id=self.run.id,
                )
            began = time.monotonic()
            counts = merge(
                connection,
                self.run,
                fetched.scan,
                accept_missing=self.accept_missing,
                progress=self.progress,
                options=self.options,
            )
            logger.debug("merged in %.3f s", time.monotonic() - began)
            if self.run.is_dated_ahead:
                logger.warning(
                    "what this sync saw is dated %s UTC, because an earlier one ran while its "
                    "clock was ahead; see `mirror doctor`",
                    f"{self.run.observed_at:%Y-%m-%d %H:%M}",
                )
            if self.dry_run:
                return msgspec.structs.replace(
                    self._result(Outcome.DRY_RUN, counts), changes=self._preview(connection)
                )
            return self._finish_in(
                connection,
                Outcome.APPLIED,
                counts,
                etag=fetched.etag,
                content_digest=fetched.digest,
            )

    def _preview(self, connection: Connection) -> tuple[Change, ...]:
        """Return the changes of a dry run, which refer to no run."""
        from mirror.queries import helpers

        changes = helpers.changes(connection, run_id=self.run.id)
        return tuple(dataclasses.replace(change, sync_run_id=0) for change in changes)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Open a transaction that holds the writer's lock of the environment."""
        with write_transaction(
            self.engine, runs.lock(self.run.environment), commit=not self.dry_run
        ) as connection:
            yield connection
            began = time.monotonic()
        verb = "rolled back" if self.dry_run else "committed"
        logger.debug("%s in %.3f s", verb, time.monotonic() - began)

    def _finish(self, outcome: Outcome, failure: MirrorError) -> Result:
        """Record how the run ended, in a transaction of its own, if the database can be reached.

        A run that is on record as complete stays so: its commit succeeded, and only the response
        to the commit was lost.
        """
        if self.dry_run:
            return self._result(outcome, failure=failure)
        try:
            with self._transaction() as connection:
                if completion := runs.completion(connection, self.run):
                    return self._result(Outcome(completion.outcome), completion.counts)
                return self._finish_in(connection, outcome, failure=failure)
        except (DatabaseError, Stopped) as error:
            logger.debug("%s", error)
            logger.warning(
                "the end of run %d could not be put on record; the next sync will find it",
                self.run.id,
            )
            return self._result(outcome, failure=failure)

    def _finish_in(
        self,
        connection: Connection,
        outcome: Outcome,
        counts: Counts | None = None,
        failure: MirrorError | None = None,
        **fetched_list: str | ScalarSelect[str] | None,
    ) -> Result:
        """Record how the run ended, in the transaction of its changes, unless it is a dry run.

        Args:
            connection: in that transaction.
            outcome: how the run ended.
            counts: what it did.
            failure: why it failed or was refused.
            fetched_list: `etag` and `content_digest` of a list that was applied or is unchanged.
        """
        result = self._result(outcome, counts, failure)
        if self.dry_run:
            return result
        values: dict[str, Any] = {
            "outcome": outcome,
            "finished_at": result.finished_at,
            "counts": counts,
            "pages": result.pages,
            "bytes": result.bytes,
            "seconds": result.seconds,
            **fetched_list,
        }
        if outcome in {Outcome.APPLIED, Outcome.UNCHANGED}:
            runs.complete(connection, self.run, **values)
        else:
            error = None if failure is None else str(failure)
            runs.end(connection, self.run, error=error, **values)
        return result

    def _result(
        self, outcome: Outcome, counts: Counts | None = None, failure: MirrorError | None = None
    ) -> Result:
        return Result(
            run_id=None if self.dry_run else self.run.id,
            environment=self.run.environment,
            outcome=outcome,
            seconds=_seconds_since(self.began),
            started_at=self.run.started_at,
            finished_at=self.now(),
            counts=counts or Counts(),
            pages=self.client.pages,
            bytes=self.client.received,
            failure=failure,
        )
