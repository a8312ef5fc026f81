"""The merge: a list that was proven whole becomes rows, versions and quarantine.

The list is staged in a temporary table, compared with the mirror by set-based SQL, and applied; an
empty mirror is filled without a comparison. All of it happens in the caller's transaction, so that
it counts as a whole or not at all.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.api.records import InvalidRecord, Record, batches
from mirror.db import bulk
from mirror.db.models import past_versions, quarantined_records, release_requests
from mirror.db.runs import Counts
from mirror.db.types import Identifier, to_text, to_texts
from mirror.errors import GuardRefused
from mirror.progress import Progress

_FEW_MISSING, _SHARE_MISSING = 5, 0.1
"""So many requests, or that share of all, may go missing at once."""

_current = release_requests.c
_kept = quarantined_records.c
_WIRE_FIELDS = [
    "phone_number_id",
    "phone_number",
    "reason",
    "status",
    "rejection_reason",
    "requested_at",
    "resolved_at",
]
_STAGED_FIELDS = ["id", *_WIRE_FIELDS, "extra"]

_temporary = sa.MetaData()


def _temporary_table(name: str, *columns: sa.Column[str]) -> sa.Table:
    return sa.Table(name, _temporary, *columns, prefixes=["TEMPORARY"])


def _like_current() -> list[sa.Column[str]]:
    return [sa.Column(name, _current[name].type) for name in _STAGED_FIELDS]


_staged = _temporary_table("staged", *_like_current())
_rejected = _temporary_table(
    "rejected",
    sa.Column("request_id", Identifier),
    sa.Column("raw", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("fingerprint", Identifier),
)
_differing = _temporary_table("differing", sa.Column("why", sa.Text), *_like_current())


@dataclass(frozen=True, slots=True)
class SyncContext:
    """On whose behalf a merge runs.

    Attributes:
        environment: label of the token whose list it is.
        run_id: the run on record.
        observed_at: UTC time that stands for the pull in `valid_from`.
    """

    environment: str
    run_id: int
    observed_at: datetime


def merge(
    connection: Connection,
    pull: SyncContext,
    entries: Iterable[Record | InvalidRecord],
    fetched: int,
    *,
    accept_missing: bool = False,
    progress: Progress | None = None,
) -> Counts:
    """Make the mirror equal to a list.

    Args:
        connection: in a transaction that holds the writer's lock of the environment.
        pull: on whose behalf.
        entries: the whole list, decoded, each id at most once among the records.
        fetched: number of entries of the list as it came.
        accept_missing: apply the list however many requests it lacks.
        progress: where the entries are counted.

    Raises:
        GuardRefused: the list belongs to another environment, or lacks too many requests. The
            caller rolls back.
    """
    progress = progress or Progress()
    progress.begin_loading(fetched)
    listed = _Listed(entries, progress)
    with bulk.deferred_indexes(connection, release_requests) as nothing_known:
        if nothing_known:
            _fill(connection, pull, listed)
    if nothing_known:
        differing = {"new": listed.records}
    else:
        with bulk.temporary(connection, _staged, _differing):
            differing = _compare(connection, pull, listed, fetched, accept_missing=accept_missing)
            _apply(connection, pull)
    newly_quarantined = _quarantine(connection, pull, listed.rejects)
    new, updated, returned = (differing.get(why, 0) for why in ("new", "updated", "returned"))
    written = sum(differing.values())
    bulk.analyze_what_grew(
        connection,
        {
            release_requests: written,
            past_versions: written - new - differing.get("extra", 0),
        },
    )
    return Counts(
        fetched=fetched,
        inserted=new,
        updated=updated,
        unchanged=listed.records - new - updated - returned,
        missing=differing.get("missing", 0),
        returned=returned,
        quarantined=len(listed.rejects),
        newly_quarantined=newly_quarantined,
        duplicates=fetched - listed.records - len(listed.rejects),
    )


class _Listed:
    """The entries of a list on their way into a table, and what came by.

    Attributes:
        records: how many records there were.
        rejects: the others.
    """

    def __init__(self, entries: Iterable[Record | InvalidRecord], progress: Progress) -> None:
        self.records = 0
        self.rejects: list[InvalidRecord] = []
        self._entries = entries
        self._progress = progress

    def rows(self) -> Iterator[tuple[str | None, ...]]:
        """Make rows of the records, in the text form that both databases read."""
        for batch in batches(self._entries):
            records = [one for one in batch if isinstance(one, Record)]
            self.records += len(records)
            if len(records) < len(batch):
                self.rejects += [one for one in batch if isinstance(one, InvalidRecord)]
            requested_at = to_texts([one.requested_at for one in records])
            resolved_at = to_texts([one.resolved_at for one in records])
            for one, requested, resolved in zip(records, requested_at, resolved_at, strict=True):
                yield (
                    one.id,
                    one.phone_number_id,
                    one.phone_number,
                    one.reason,
                    one.status,
                    one.rejection_reason,
                    requested,
                    resolved,
                    one.extra or None,
                )
            self._progress.entries += len(batch)


def _fill(connection: Connection, pull: SyncContext, listed: _Listed) -> None:
    """Write the list into an empty mirror, where there is nothing to compare it with."""
    bulk.copy_rows(
        connection,
        release_requests,
        _STAGED_FIELDS,
        listed.rows(),
        environment=pull.environment,
        first_seen_at=to_text(pull.observed_at),
        valid_from=to_text(pull.observed_at),
        sync_run_id=pull.run_id,
    )


def _compare(
    connection: Connection,
    pull: SyncContext,
    listed: _Listed,
    fetched: int,
    *,
    accept_missing: bool,
) -> dict[str, int]:
    """Find out what differs between the list and the mirror; return how much of each kind."""
    bulk.copy_rows(connection, _staged, _STAGED_FIELDS, listed.rows())
    with bulk.comparing_whole_tables(connection):
        _find_differing(connection, pull)
        differing = _count_differing(connection)
        if differing.get("stranger"):
            raise _strangers(connection, pull)
        known = _count_known(connection, pull)
        present = listed.records - differing.get("new", 0) - differing.get("returned", 0)
        if known > present:
            differing["missing"] = _find_missing(connection, pull, listed.rejects)
    missing = differing.get("missing", 0)
    if missing and not accept_missing:
        _guard(pull, missing, known, fetched)
    bulk.analyze(connection, _differing)
    return differing


def _find_differing(connection: Connection, pull: SyncContext) -> None:
    """Note the requests of the list that are not in the mirror as they are in the list."""
    unknown = _current.id.is_(None)
    stranger = _current.environment != pull.environment
    was_missing = _current.missing_since.is_not(None)
    changed = sa.or_(*(_current[name].is_distinct_from(_staged.c[name]) for name in _WIRE_FIELDS))
    # Postgres cannot compare values of type json.
    extra = sa.cast(_current.extra, sa.Text).is_distinct_from(sa.cast(_staged.c.extra, sa.Text))
    why = sa.case(
        (unknown, "new"),
        (stranger, "stranger"),
        (was_missing, "returned"),
        (changed, "updated"),
        else_="extra",
    )
    connection.execute(
        sa.insert(_differing).from_select(
            [*_STAGED_FIELDS, "why"],
            sa.select(_staged, why)
            .join_from(_staged, release_requests, _current.id == _staged.c.id, isouter=True)
            .where(sa.or_(unknown, stranger, was_missing, changed, extra)),
        )
    )


def _count_differing(connection: Connection) -> dict[str, int]:
    counted = connection.execute(
        sa.select(_differing.c.why, sa.func.count()).group_by(_differing.c.why)
    )
    return dict(counted.all())


def _strangers(connection: Connection, pull: SyncContext) -> GuardRefused:
    """Say that the list holds a request of another environment: the tokens are mixed up."""
    found = connection.execute(
        sa.select(_current.id, _current.environment)
        .join(_differing, _differing.c.id == _current.id)
        .where(_differing.c.why == "stranger")
        .limit(1)
    ).one()
    return GuardRefused(
        f"the list holds request {found.id}, which belongs to the environment "
        f"{found.environment!r}: the tokens seem to be mixed up. Nothing was applied",
        hint=f"check which token belongs to {pull.environment!r}",
    )


def _count_known(connection: Connection, pull: SyncContext) -> int:
    """Count the requests of the environment that were in its list when it was last applied."""
    known = connection.scalar(
        sa.select(sa.func.count()).where(
            _current.environment == pull.environment, _current.missing_since.is_(None)
        )
    )
    assert known is not None
    return known


def _find_missing(connection: Connection, pull: SyncContext, rejects: list[InvalidRecord]) -> int:
    """Note the requests that the list lacks, and return how many there are.

    Those whose entry could not be understood are not missing.
    """
    bulk.copy_rows(
        connection,
        _staged,
        ["id"],
        {(one.request_id,) for one in rejects if one.request_id is not None},
    )
    bulk.index_temporary(connection, _staged, "id")
    return _inserted(
        connection,
        sa.insert(_differing).from_select(
            ["id", "why"],
            sa.select(_current.id, sa.literal("missing")).where(
                _current.environment == pull.environment,
                _current.missing_since.is_(None),
                ~sa.exists().where(_staged.c.id == _current.id),
            ),
        ),
    )


def _guard(pull: SyncContext, missing: int, known: int, fetched: int) -> None:
    """Refuse a list from which too much is gone to believe it."""
    if not fetched or (missing > _FEW_MISSING and missing > known * _SHARE_MISSING):
        raise GuardRefused(
            f"{missing:,} of the {known:,} requests known in {pull.environment!r} are no longer in "
            "the list. Nothing was applied",
            hint="if that is right, run again with "
            f"--environment {shlex.quote(pull.environment)} --accept-missing",
        )


def _apply(connection: Connection, pull: SyncContext) -> None:
    """Make the mirror as the list is, where they differ."""
    _keep_past_versions(connection, pull)
    _mark_missing(connection, pull)
    _update(connection, pull)
    _update_extra(connection)
    _insert(connection, pull)


def _keep_past_versions(connection: Connection, pull: SyncContext) -> None:
    """Keep the versions that are about to be superseded."""
    names = list(_current.keys())
    connection.execute(
        sa.insert(past_versions).from_select(
            [*names, "valid_to"],
            sa.select(
                *(_current[name] for name in names),
                sa.literal(pull.observed_at, past_versions.c.valid_to.type),
            )
            .join(_differing, _differing.c.id == _current.id)
            .where(_differing.c.why.in_(("missing", "updated", "returned"))),
        )
    )


def _mark_missing(connection: Connection, pull: SyncContext) -> None:
    """Give the missing requests a version that says since when."""
    connection.execute(
        _update_where("missing").values(
            missing_since=pull.observed_at,
            valid_from=pull.observed_at,
            sync_run_id=pull.run_id,
        )
    )


def _update(connection: Connection, pull: SyncContext) -> None:
    """Give the changed and returned requests their new version."""
    connection.execute(
        _update_where("updated", "returned").values(
            {name: _differing.c[name] for name in [*_WIRE_FIELDS, "extra"]}
            | {
                "missing_since": None,
                "valid_from": pull.observed_at,
                "sync_run_id": pull.run_id,
            }
        )
    )


def _update_extra(connection: Connection) -> None:
    """Follow a change in unknown fields alone in place: it must not forge history."""
    connection.execute(_update_where("extra").values(extra=_differing.c.extra))


def _update_where(*why: str) -> sa.Update:
    return sa.update(release_requests).where(
        _current.id == _differing.c.id, _differing.c.why.in_(why)
    )


def _insert(connection: Connection, pull: SyncContext) -> None:
    """Insert the requests that were not known."""
    observed_at = sa.literal(pull.observed_at, _current.valid_from.type)
    connection.execute(
        sa.insert(release_requests).from_select(
            [*_STAGED_FIELDS, "environment", "first_seen_at", "valid_from", "sync_run_id"],
            sa.select(
                *(_differing.c[name] for name in _STAGED_FIELDS),
                sa.literal(pull.environment),
                observed_at,
                observed_at,
                sa.literal(pull.run_id),
            ).where(_differing.c.why == "new"),
        )
    )


def _inserted(connection: Connection, statement: sa.Insert) -> int:
    """Run an INSERT … SELECT; return how many rows it inserted, which SQLAlchemy does not keep."""
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount


def _quarantine(connection: Connection, pull: SyncContext, rejects: list[InvalidRecord]) -> int:
    """Keep the rejects, each once; close those that no longer occur; return how many are new."""
    new = 0
    if rejects:
        with bulk.temporary(connection, _rejected), bulk.comparing_whole_tables(connection):
            new = _keep_rejects(connection, pull, rejects)
    connection.execute(
        sa.update(quarantined_records)
        .where(
            _kept.environment == pull.environment,
            _kept.resolved_at.is_(None),
            _kept.last_run_id != pull.run_id,
        )
        .values(resolved_at=pull.observed_at)
    )
    return new


def _keep_rejects(connection: Connection, pull: SyncContext, rejects: list[InvalidRecord]) -> int:
    """Keep the rejects, each once; return how many are new."""
    once = {reject.fingerprint: reject for reject in rejects}
    bulk.copy_rows(
        connection,
        _rejected,
        list(_rejected.columns.keys()),
        ((one.request_id, one.raw, one.error, one.fingerprint) for one in once.values()),
    )
    bulk.index_temporary(connection, _rejected, "fingerprint")
    same = sa.and_(
        _kept.environment == pull.environment, _kept.fingerprint == _rejected.c.fingerprint
    )
    reopened = connection.execute(
        sa.update(quarantined_records)
        .where(same, _kept.resolved_at.is_not(None))
        .values(resolved_at=None)
    )
    connection.execute(
        sa.update(quarantined_records)
        .where(same)
        .values(
            raw=_rejected.c.raw,
            error=_rejected.c.error,
            last_run_id=pull.run_id,
            last_seen_at=pull.observed_at,
        )
    )
    return reopened.rowcount + _insert_rejected(connection, pull, ~sa.exists().where(same))


def _insert_rejected(
    connection: Connection, pull: SyncContext, is_new: sa.ColumnElement[bool]
) -> int:
    """Insert the rejects that were never seen before; return how many there were."""
    run_id, observed_at = (
        sa.literal(pull.run_id),
        sa.literal(pull.observed_at, _kept.first_seen_at.type),
    )
    values = {
        "environment": sa.literal(pull.environment),
        "first_run_id": run_id,
        "last_run_id": run_id,
        "first_seen_at": observed_at,
        "last_seen_at": observed_at,
    }
    return _inserted(
        connection,
        sa.insert(quarantined_records).from_select(
            [*_rejected.columns.keys(), *values],
            sa.select(*_rejected.columns, *values.values()).where(is_new),
        ),
    )
