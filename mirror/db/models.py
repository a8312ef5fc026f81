"""The tables, and the type that keeps times in UTC.

Comments are written for the people who query the database; Postgres stores them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    TIMESTAMP,
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

RowNumber = BigInteger().with_variant(Integer, "sqlite")
"""What the database counts by itself; in SQLite only an INTEGER can be."""

_WHERE = "where"

metadata = MetaData(naming_convention=NAMING_CONVENTION)


class _SQLiteTimestamp(UserDefinedType[str]):
    """A column declared TIMESTAMP that holds text.

    The declaration and the form of the text are those that sqlite-jdbc, hence Metabase and DBeaver,
    reads as a time to the millisecond.
    """

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "TIMESTAMP"


class UTCDateTime(TypeDecorator[datetime]):
    """A time in UTC, kept to the millisecond; Python always sees it aware.

    Postgres keeps a `timestamptz`. SQLite keeps the text of `to_text`.
    """

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type of the database."""
        if dialect.name == "sqlite":
            return _SQLiteTimestamp()
        return dialect.type_descriptor(TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Cut a time to the millisecond, for the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            value = value.replace(tzinfo=UTC)
        if dialect.name == "sqlite":
            return to_text(value.astimezone(UTC))
        return value.replace(microsecond=value.microsecond // 1000 * 1000)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give a time of the database to Python, aware and in UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value).replace(tzinfo=UTC)
        time: datetime = value
        return time.astimezone(UTC)


def to_text(time: datetime) -> str:
    """Write an aware UTC time as `YYYY-MM-DD HH:MM:SS.mmm`: SQLite keeps it, Postgres reads it."""
    (text,) = to_texts([time])
    assert text is not None
    return text


def to_texts(times: Sequence[datetime | None]) -> list[str | None]:
    """Write many times as `to_text` does, in a tenth of the time that `isoformat` takes."""
    isos: list[str | None] = msgspec.to_builtins(times)
    together = "\n".join([iso or "" for iso in isos])
    if "." in together or not isos:
        return [iso and _with_milliseconds(iso) for iso in isos]
    # Most of them are whole seconds, and all of those can be written at once.
    return [one or None for one in together.replace("T", " ").replace("Z", ".000").split("\n")]


def _with_milliseconds(iso: str) -> str:
    fraction = iso[20:23] if iso[19] == "." else "000"
    return f"{iso[:10]} {iso[11:19]}.{fraction}"


Identifier = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is compared and sorted byte by byte, in both databases alike."""


def _partial_index(name: str, column: Column[Any], where: ColumnElement[bool]) -> None:
    """Give a table an index of the rows that meet a condition; see `complete_indexes`.

    SQLAlchemy takes the condition under the names of both databases, and then loads the dialects
    of both: 20 ms at each start for the one that is not used.
    """
    Index(name, column, info={_WHERE: where})


def is_partial(index: Index) -> bool:
    """Tell whether an index is one of some rows only."""
    return _WHERE in index.info


def complete_indexes(dialect: str) -> None:
    """Tell SQLAlchemy the conditions of partial indexes, before it makes them in a database."""
    for table in metadata.tables.values():
        for index in filter(is_partial, table.indexes):
            index.dialect_options[dialect]["where"] = index.info[_WHERE]


def _request_columns() -> list[Column[Any]]:
    """The columns of a request's version, current or past."""
    return [
        Column("id", Identifier, nullable=False, comment="Id of the request, as upstream gave it."),
        Column(
            "environment",
            Identifier,
            nullable=False,
            comment="Label of the token whose list holds the request (setting --environment).",
        ),
        Column(
            "phone_number_id",
            Identifier,
            comment="Upstream id of the number's record; a number bought again has a new one. "
            "Null if upstream gave none.",
        ),
        Column(
            "phone_number",
            Identifier,
            nullable=False,
            comment="The number, as upstream gave it; documented as E.164 (+15551234567).",
        ),
        Column(
            "reason",
            Text,
            comment="Why the customer gives the number back. Null if upstream gave none.",
        ),
        Column(
            "status",
            Identifier,
            nullable=False,
            comment="As upstream gave it; documented: pending, approved, rejected, cancelled.",
        ),
        Column(
            "rejection_reason",
            Text,
            comment="Why the request was denied. Null unless upstream gave one.",
        ),
        Column(
            "requested_at",
            UTCDateTime,
            nullable=False,
            comment="When the request was submitted (UTC, reported by upstream).",
        ),
        Column(
            "resolved_at",
            UTCDateTime,
            comment="When it left pending (UTC, reported by upstream). Null while pending, and "
            "where upstream did not say.",
        ),
        Column(
            "extra",
            JSON(none_as_null=True),
            comment="JSON object of the fields that this version of mirror does not know. Null "
            "if there are none.",
        ),
        Column(
            "first_seen_at",
            UTCDateTime,
            nullable=False,
            comment="When the pull began that first saw the request (UTC, this machine's clock).",
        ),
        Column(
            "valid_from",
            UTCDateTime,
            nullable=False,
            comment="When the pull began that first saw this version (UTC, this machine's clock).",
        ),
    ]


def _version_columns() -> list[Column[Any]]:
    """The columns that say how a version came to be."""
    return [
        Column(
            "missing_since",
            UTCDateTime,
            comment="When the pull began that no longer found the request in the list (UTC). "
            "Null while it is in the list.",
        ),
        # Not a foreign key: checking one costs Postgres 5 µs a row, as much as writing the row,
        # and only the transaction that owns the run writes here.
        Column(
            "sync_run_id",
            BigInteger,
            nullable=False,
            comment="The run that first saw this version (sync_runs.id).",
        ),
    ]


def _count(name: str, comment: str) -> Column[int]:
    """A column of `sync_runs` that counts what a run found or did."""
    return Column(name, Integer, comment=f"{comment} Null if the run ended before it was known.")


sync_runs = Table(
    "sync_runs",
    metadata,
    Column(
        "id",
        RowNumber,
        primary_key=True,
        comment="Number of the run.",
    ),
    Column("environment", Identifier, nullable=False, comment="Label of the token that was used."),
    Column(
        "outcome",
        Identifier,
        nullable=False,
        comment="running, applied, unchanged, superseded, refused, failed, dry_run, or abandoned "
        "for a run that died and was found by a later one.",
    ),
    Column(
        "started_at",
        UTCDateTime,
        nullable=False,
        comment="When the run began (UTC, this machine's clock).",
    ),
    Column(
        "finished_at",
        UTCDateTime,
        comment="When the outcome was recorded (UTC, this machine's clock). Null while running.",
    ),
    Column(
        "observed_at",
        UTCDateTime,
        comment="The time that stands for this pull in valid_from and valid_to (UTC): started_at, "
        "or just after the complete pull before it if the clock went back. Null unless complete.",
    ),
    Column(
        "seconds",
        Float,
        comment="How long the run took, in seconds. Null while running, and if abandoned.",
    ),
    Column(
        "completion",
        BigInteger,
        comment="1, 2, … over the complete pulls (applied or unchanged) of the environment, in "
        "the order they completed. Null for all others.",
    ),
    _count("fetched", "Entries of the list."),
    _count("inserted", "Requests seen for the first time."),
    _count("updated", "Requests that got a new version because a field changed."),
    _count("unchanged", "Requests whose known fields were the same as before."),
    _count("missing", "Requests found missing from the list for the first time."),
    _count("returned", "Missing requests that were in the list again."),
    _count("quarantined", "Entries of the list that could not be understood."),
    _count("newly_quarantined", "Those of them that were not in quarantine before the run."),
    _count("duplicates", "Entries equal to another one with the same id."),
    Column(
        "pages",
        Integer,
        comment="Answers of the list that were read, repetitions included. Null while running, "
        "and if abandoned.",
    ),
    Column(
        "bytes",
        BigInteger,
        comment="Size of those answers, decompressed, in bytes. Null while running, and if "
        "abandoned.",
    ),
    Column("error", Text, comment="Why the run did not complete. Null if it did."),
    Column("base_url", Text, nullable=False, comment="Base URL of the API that was asked."),
    Column(
        "etag",
        Text,
        comment="ETag of the list, as the API sent it. Null if there was none, if the list came in "
        "pages, or unless complete.",
    ),
    Column(
        "content_sha256",
        Text,
        comment="SHA-256 of the list's bytes, in hex. Null unless complete.",
    ),
    Column("mirror_version", Text, nullable=False, comment="Version of mirror that ran."),
    UniqueConstraint("environment", "completion"),
    Index("ix_sync_runs_environment_id", "environment", "id"),
    comment="Every run of mirror sync, with its outcome and what it did.",
    sqlite_autoincrement=True,
)
_partial_index(
    "ix_sync_runs_running", sync_runs.c.environment, where=sync_runs.c.outcome == "running"
)

release_requests = Table(
    "release_requests",
    metadata,
    *_request_columns(),
    *_version_columns(),
    PrimaryKeyConstraint("id"),
    Index("ix_release_requests_phone_number", "phone_number"),
    Index("ix_release_requests_status_requested_at", "status", "requested_at"),
    Index("ix_release_requests_requested_at", "requested_at"),
    Index("ix_release_requests_resolved_at", "resolved_at"),
    comment="The current version of each release request, one row per id.",
)
_partial_index(
    "ix_release_requests_missing_since",
    release_requests.c.missing_since,
    where=release_requests.c.missing_since.is_not(None),
)

past_versions = Table(
    "release_request_past_versions",
    metadata,
    *_request_columns(),
    Column(
        "valid_to",
        UTCDateTime,
        nullable=False,
        comment="When the pull began that first saw the next version (UTC): the valid_from of "
        "that one.",
    ),
    *_version_columns(),
    PrimaryKeyConstraint("id", "valid_from"),
    Index("ix_release_request_past_versions_phone_number", "phone_number"),
    Index("ix_release_request_past_versions_valid_to", "valid_to"),
    comment="Superseded versions of release requests, one row per id and valid_from.",
)

quarantined_records = Table(
    "quarantined_records",
    metadata,
    Column(
        "id",
        RowNumber,
        primary_key=True,
        comment="Number of the record.",
    ),
    Column(
        "environment",
        Identifier,
        nullable=False,
        comment="Label of the token whose list held the record.",
    ),
    Column(
        "fingerprint",
        Identifier,
        nullable=False,
        comment="SHA-256 of the record's known fields, in hex, or of all of it if it has none.",
    ),
    Column(
        "request_id",
        Identifier,
        comment="Id of the request, if that much could be read. Null otherwise.",
    ),
    Column("raw", Text, nullable=False, comment="The record's JSON, as it last came."),
    Column("error", Text, nullable=False, comment="Why it could not be understood."),
    Column(
        "first_run_id",
        RowNumber,
        nullable=False,
        comment="The run that first saw it (sync_runs.id).",
    ),
    Column(
        "last_run_id",
        RowNumber,
        nullable=False,
        comment="The last applied run that saw it (sync_runs.id).",
    ),
    Column(
        "first_seen_at",
        UTCDateTime,
        nullable=False,
        comment="When the pull began that first saw it (UTC).",
    ),
    Column(
        "last_seen_at",
        UTCDateTime,
        nullable=False,
        comment="When the last applied pull began that saw it (UTC).",
    ),
    Column(
        "resolved_at",
        UTCDateTime,
        comment="When the pull began that no longer held it (UTC). Null while it occurs.",
    ),
    ForeignKeyConstraint(["first_run_id"], ["sync_runs.id"]),
    ForeignKeyConstraint(["last_run_id"], ["sync_runs.id"]),
    UniqueConstraint("environment", "fingerprint"),
    Index("ix_quarantined_records_first_run_id", "first_run_id"),
    Index("ix_quarantined_records_last_run_id", "last_run_id"),
    comment="Entries of the list that could not be understood, each once.",
    sqlite_autoincrement=True,
)

alembic_version = Table(
    "alembic_version",
    MetaData(),  # Alembic makes it itself, and must not find it among ours
    Column("version_num", String(32), nullable=False, comment="Number of the revision."),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
    comment="Revision of the schema, which Alembic keeps for mirror db upgrade.",
)
