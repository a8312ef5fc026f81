"""The tables, and the statuses that close a request.

Column comments are the data dictionary: Postgres stores them, `mirror db describe` prints them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    ForeignKeyConstraint,
    FromClause,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    or_,
)

from mirror.db.types import Identifier, JSONObject, RowNumber, UTCDateTime

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

CLOSED_STATUSES = ("approved", "rejected", "cancelled")
"""Documented statuses that end a request. The API may send others at any time."""

metadata = MetaData(naming_convention=NAMING_CONVENTION)

PARTIAL = "partial"
"""Key in `Index.info` for the condition of a partial index, in SQL.

Passed as an option of each dialect, it would make SQLAlchemy load both dialects: 20 ms at each
start. The migrations create the indexes.
"""


def is_partial(index: Index) -> bool:
    """Return whether an index covers only some rows of its table."""
    return PARTIAL in index.info


def is_resolved(versions: FromClause) -> ColumnElement[bool]:
    """Return the condition that a request has left pending for good.

    Args:
        versions: a table or view with the columns `status` and `resolved_at`.
    """
    status, resolved_at = versions.c.status, versions.c.resolved_at
    return or_(status.in_(CLOSED_STATUSES), and_(status != "pending", resolved_at.is_not(None)))


def _required(name: str, kind: Any, comment: str) -> Column[Any]:
    """Return a column that is never null."""
    return Column(name, kind, nullable=False, comment=comment)


def _optional(name: str, kind: Any, comment: str) -> Column[Any]:
    """Return a column that may be null."""
    return Column(name, kind, comment=comment)


def _count(name: str, comment: str) -> Column[int]:
    """Return a column of `sync_runs` with a count of the run."""
    return Column(
        name, Integer, comment=f"{comment} Null if the run ended before the count was known."
    )


def _request_columns() -> list[Column[Any]]:
    """Return the columns of a version of a request, current or past."""
    return [
        _required("id", Identifier, "Request id, as returned by the API."),
        _required(
            "environment",
            Identifier,
            "Environment (label of the API token, --environment) whose list contains the request.",
        ),
        _optional(
            "phone_number_id",
            Identifier,
            "API id of the phone number's record; a number bought again has a new one. "
            "Null if the API sent none.",
        ),
        _required(
            "phone_number",
            Identifier,
            "Phone number, as returned by the API; documented as E.164 (+15551234567).",
        ),
        _optional(
            "reason",
            Text,
            "The customer's reason to release the number. Null if the API sent none.",
        ),
        _required(
            "status",
            Identifier,
            "Status, as returned by the API; documented: pending, approved, rejected, cancelled.",
        ),
        _optional(
            "rejection_reason",
            Text,
            "Why the request was rejected. Null unless the API sent a reason.",
        ),
        _required(
            "requested_at",
            UTCDateTime,
            "When the request was submitted (UTC, reported by the API).",
        ),
        _optional(
            "resolved_at",
            UTCDateTime,
            "When the request left pending (UTC, reported by the API). Null while it is pending, "
            "and if the API sent no time.",
        ),
        _optional(
            "extra",
            JSONObject,
            "JSON object of the fields that this version of mirror does not know. A number that "
            "Postgres could not hold is a string. Null if there are none.",
        ),
        _required(
            "first_seen_at",
            UTCDateTime,
            "Start of the sync that first saw the request (UTC, local clock).",
        ),
        _required(
            "valid_from",
            UTCDateTime,
            "Start of the sync that first saw this version (UTC, local clock).",
        ),
    ]


def _version_columns() -> list[Column[Any]]:
    """Return the columns for the origin of a version."""
    return [
        _optional(
            "missing_since",
            UTCDateTime,
            "Start of the first sync whose list lacked the request (UTC, local clock). "
            "Null while the request is listed.",
        ),
        # Not a foreign key: Postgres spends 5 µs a row on the check, as much as on writing the
        # row, and only the transaction of the run writes here.
        _required("sync_run_id", BigInteger, "Run that first saw this version (sync_runs.id)."),
    ]


def _appended_columns() -> list[Column[Any]]:
    """Return the columns behind all others, where `ALTER TABLE` puts those of later revisions."""
    return [
        _optional(
            "phone_number_e164",
            Identifier,
            "E.164 form of phone_number if it is written otherwise, such as 15551234567 or "
            "tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its "
            "country, or may be two numbers.",
        ),
    ]


APPENDED_COLUMNS = tuple(str(column.name) for column in _appended_columns())
"""Columns of a version that are the last ones in tables and views."""


sync_runs = Table(
    "sync_runs",
    metadata,
    Column("id", RowNumber, primary_key=True, comment="Number of the run."),
    _required("environment", Identifier, "Environment (label of the API token) of the run."),
    _required(
        "outcome",
        Identifier,
        "running, applied, unchanged, superseded, refused, failed, or abandoned: the process died, "
        "and a later run found it.",
    ),
    _required("started_at", UTCDateTime, "Start of the run (UTC, local clock)."),
    _optional(
        "finished_at",
        UTCDateTime,
        "When the outcome was recorded (UTC, local clock). Null while running.",
    ),
    _optional(
        "observed_at",
        UTCDateTime,
        "The run's time in valid_from and valid_to (UTC): started_at, or just after the complete "
        "run before it if the clock went back. Null unless complete.",
    ),
    _optional("seconds", Float, "Duration in seconds. Null while running, and if abandoned."),
    _optional(
        "completion",
        BigInteger,
        "1, 2, … over the complete runs (applied or unchanged) of the environment, in order of "
        "completion. Null for all others.",
    ),
    _count("fetched", "Entries of the list."),
    _count("inserted", "Requests seen for the first time."),
    _count("updated", "Requests with a new version because a field changed."),
    _count("unchanged", "Requests with a valid entry and without a change in a known field."),
    _count("missing", "Requests newly missing from the list."),
    _count("returned", "Missing requests that were in the list again."),
    _count("quarantined", "Invalid entries of the list."),
    _count("newly_quarantined", "Invalid entries that were not in quarantine before the run."),
    _count("duplicates", "Entries equal to another entry with the same id."),
    _optional(
        "pages",
        Integer,
        "List responses read, repeated reads included. Null while running, and if abandoned.",
    ),
    _optional(
        "bytes",
        BigInteger,
        "Size of these responses in bytes, decompressed. Null while running, and if abandoned.",
    ),
    _optional("error", Text, "Why the run did not complete. Null if it did."),
    _required("base_url", Text, "Base URL of the API."),
    _optional(
        "etag",
        Text,
        "ETag of the list, as sent by the API. Null if there was none, if the list was paged, or "
        "unless complete.",
    ),
    _optional(
        "content_digest",
        Text,
        "XXH3-128 of the list's bytes, in hex. Null unless complete, and after an erasure "
        "was undone.",
    ),
    _required("mirror_version", Text, "Version of mirror that ran."),
    UniqueConstraint("environment", "completion"),
    Index("ix_sync_runs_environment_id", "environment", "id"),
    Index("ix_sync_runs_environment_observed_at", "environment", "observed_at"),
    Index("ix_sync_runs_running", "environment", info={PARTIAL: "outcome = 'running'"}),
    comment="Every run of mirror sync, with its outcome and its counts.",
    sqlite_autoincrement=True,
)

release_requests = Table(
    "release_requests",
    metadata,
    *_request_columns(),
    *_version_columns(),
    _optional(
        "digest",
        BigInteger,
        "XXH3-64 of the list entry that the request was last read from, seeded with the version of "
        "mirror. An entry with the same digest is not decoded again. Null: the next one is, for "
        "example while a field of it cannot be read.",
    ),
    *_appended_columns(),
    PrimaryKeyConstraint("id"),
    Index("ix_release_requests_environment", "environment"),
    Index(
        "ix_release_requests_missing_since",
        "missing_since",
        info={PARTIAL: "missing_since IS NOT NULL"},
    ),
    Index("ix_release_requests_phone_number", "phone_number"),
    Index(
        "ix_release_requests_phone_number_e164",
        "phone_number_e164",
        info={PARTIAL: "phone_number_e164 IS NOT NULL"},
    ),
    Index("ix_release_requests_status_requested_at", "status", "requested_at"),
    Index("ix_release_requests_requested_at", "requested_at"),
    Index("ix_release_requests_resolved_at", "resolved_at"),
    comment="The current version of each release request, one row per id. A field that can no "
    "longer be read is the last known one.",
)

past_versions = Table(
    "release_request_past_versions",
    metadata,
    *_request_columns(),
    _required(
        "valid_to",
        UTCDateTime,
        "Start of the sync that first saw the next version (UTC, local clock): its valid_from.",
    ),
    *_version_columns(),
    *_appended_columns(),
    PrimaryKeyConstraint("id", "valid_from"),
    Index("ix_release_request_past_versions_phone_number", "phone_number"),
    Index(
        "ix_release_request_past_versions_phone_number_e164",
        "phone_number_e164",
        info={PARTIAL: "phone_number_e164 IS NOT NULL"},
    ),
    Index("ix_release_request_past_versions_valid_to", "valid_to"),
    comment="Superseded versions of release requests, one row per id and valid_from.",
)

quarantined_records = Table(
    "quarantined_records",
    metadata,
    Column("id", RowNumber, primary_key=True, comment="Number of the record."),
    _required(
        "environment",
        Identifier,
        "Environment (label of the API token) whose list contained the record.",
    ),
    _required(
        "fingerprint",
        Identifier,
        "SHA-256 of the record's known fields, in hex, or of the whole record if it has none; of "
        "an erased request its mark, its id and a number.",
    ),
    _optional("request_id", Identifier, "Request id, if it is valid. Null otherwise."),
    _required("raw", Text, "JSON of the record, as last received."),
    _required("error", Text, "Why the record is invalid."),
    _required("first_run_id", RowNumber, "First run that saw the record (sync_runs.id)."),
    _required("last_run_id", RowNumber, "Last applied run that saw the record (sync_runs.id)."),
    _required(
        "first_seen_at",
        UTCDateTime,
        "Start of the sync that first saw the record (UTC, local clock).",
    ),
    _required(
        "last_seen_at",
        UTCDateTime,
        "Start of the last applied sync that saw the record (UTC, local clock).",
    ),
    _optional(
        "resolved_at",
        UTCDateTime,
        "Start of the sync whose list no longer contained the record (UTC, local clock). Null "
        "while it does.",
    ),
    ForeignKeyConstraint(["first_run_id"], ["sync_runs.id"]),
    ForeignKeyConstraint(["last_run_id"], ["sync_runs.id"]),
    UniqueConstraint("environment", "fingerprint"),
    Index("ix_quarantined_records_first_run_id", "first_run_id"),
    Index("ix_quarantined_records_last_run_id", "last_run_id"),
    Index("ix_quarantined_records_request_id", "request_id"),
    comment="Invalid entries of the list, one row per distinct entry.",
    sqlite_autoincrement=True,
)

erasures = Table(
    "erasures",
    metadata,
    # Numbered by mirror: a sequence of Postgres may be behind after a restore.
    Column(
        "id",
        RowNumber,
        primary_key=True,
        autoincrement=False,
        comment="Number of the erasure. Its mark is erased-1 for number 1, and so on.",
    ),
    _required("erased_at", UTCDateTime, "When the number was erased (UTC, local clock)."),
    _required("requests", Integer, "Requests erased."),
    _required("past_versions", Integer, "Past versions of them."),
    _required("quarantined", Integer, "Records in quarantine erased."),
    _required("runs", Integer, "Runs whose error held the number."),
    _optional(
        "cleaned_at",
        UTCDateTime,
        "When the freed space in the database was cleaned by VACUUM (UTC, local clock). Null if "
        "that has not succeeded yet.",
    ),
    _optional(
        "undone_at",
        UTCDateTime,
        "When the erasure was taken back (UTC, local clock): from then on the list counts again. "
        "Null otherwise.",
    ),
    comment="Every erasure of a phone number by mirror db erase-number, without the number.",
)

erased_requests = Table(
    "erased_requests",
    metadata,
    _required(
        "request_id",
        Identifier,
        "Id of an erased request. Of an erased record in quarantine that is known by no id: its "
        "fingerprint.",
    ),
    _required("erasure_id", RowNumber, "Erasure of the request (erasures.id)."),
    PrimaryKeyConstraint("request_id"),
    ForeignKeyConstraint(["erasure_id"], ["erasures.id"]),
    Index("ix_erased_requests_erasure_id", "erasure_id"),
    comment="Requests whose personal data a sync does not store again.",
)

change_cursors = Table(
    "change_cursors",
    metadata,
    _required("name", Identifier, "Name of the cursor (mirror changes --cursor)."),
    _required("environment", Identifier, "Environment in which the cursor has this position."),
    _optional(
        "seen_until",
        UTCDateTime,
        "Changes up to this changed_at were shown (UTC). Null: no sync of the environment was "
        "complete yet.",
    ),
    _required("moved_at", UTCDateTime, "When the cursor was last used (UTC, local clock)."),
    PrimaryKeyConstraint("name", "environment"),
    comment="How far each reader of mirror changes --new has read.",
)

alembic_version = Table(
    "alembic_version",
    MetaData(),  # not in `metadata`: Alembic creates and owns this table
    _required("version_num", String(32), "Number of the revision."),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    comment="Revision of the schema, used by mirror db upgrade.",
)
