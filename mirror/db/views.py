"""The views, as SQLAlchemy tables: the read interface for SQL, BI tools and the query helpers.

Their SELECTs are in `migrations/sql/`. Column comments are the data dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, MetaData, Table, Text

from mirror.db.models import APPENDED_COLUMNS, CLOSED_STATUSES, past_versions, release_requests
from mirror.db.types import Identifier, Names, UTCDateTime

metadata = MetaData()
"""Apart from the tables' metadata, so that `alembic check` ignores the views."""


def _copied(*names: str) -> list[Column[Any]]:
    """Return columns with the type and comment that they have in `release_requests`."""
    return [
        Column(name, column.type, comment=column.comment, nullable=column.nullable)
        for name, column in ((name, release_requests.c[name]) for name in names)
    ]


def _column(name: str, kind: Any, comment: str, *, nullable: bool = False) -> Column[Any]:
    """Return a column that the view computes."""
    return Column(name, kind, comment=comment, nullable=nullable)


_REQUEST_ID = str(release_requests.c.id.comment)


def _time_source(column: str, when_observed: str) -> Column[Any]:
    """Return the column that says where the time in another column comes from."""
    return _column(
        "time_source",
        Text,
        f"Source of {column}. reported: sent by the API; observed: the API states {when_observed}; "
        "it is then the start of the sync that first saw it; unknown: the API states no time, and "
        f"the request had this status when a sync first saw it; {column} is then null.",
    )


versions = Table(
    "release_request_versions",
    metadata,
    *_copied(
        *(
            name
            for name in past_versions.columns.keys()  # noqa: SIM118
            if name not in {"valid_to", *APPENDED_COLUMNS}
        )
    ),
    _column(
        "valid_to",
        UTCDateTime,
        f"{past_versions.c.valid_to.comment} Null for the current version.",
        nullable=True,
    ),
    _column("version", BigInteger, "1, 2, … over the versions of the request."),
    *_copied(*APPENDED_COLUMNS),
    comment="Every version of every release request, past and current. As of a time T: "
    "valid_from <= T and (valid_to is null or valid_to > T).",
)

changes = Table(
    "release_request_changes",
    metadata,
    _column("request_id", Identifier, _REQUEST_ID),
    *_copied("environment", "phone_number"),
    _column(
        "changed_at",
        UTCDateTime,
        "Start of the sync that first saw the change (UTC, local clock).",
    ),
    _column(
        "kind",
        Text,
        "resolved (left pending for good), reopened (back to pending), corrected (another change "
        "of a field or the status), vanished (no longer in the list), returned (in it again).",
    ),
    _column("old_status", Identifier, "Status before the change, as returned by the API."),
    _column("new_status", Identifier, "Status after the change, as returned by the API."),
    _column(
        "old_resolved_at",
        UTCDateTime,
        "resolved_at before the change (UTC, reported by the API). Null if there was none.",
        nullable=True,
    ),
    _column(
        "new_resolved_at",
        UTCDateTime,
        "resolved_at after the change (UTC, reported by the API). Null if there is none.",
        nullable=True,
    ),
    _column("sync_run_id", BigInteger, "Run that first saw the change (sync_runs.id)."),
    _column(
        "changed_fields",
        Names,
        "Names of the fields that changed, in the order of the columns of release_requests and "
        "separated by commas, such as status,resolved_at. Empty for vanished and returned.",
    ),
    comment="Changes that syncs saw in requests known before. A request that returned with other "
    "fields has two rows.",
)

history = Table(
    "phone_number_history",
    metadata,
    *_copied("environment", "phone_number", "phone_number_id"),
    _column(
        "occurred_at",
        UTCDateTime,
        "Best known time of the event (UTC); time_source says where it comes from. Null where it "
        "is unknown.",
        nullable=True,
    ),
    _column(
        "event",
        Text,
        "requested; the status entered (approved, …); reopened (back to pending); "
        "vanished from or returned to the list.",
    ),
    _column("request_id", Identifier, _REQUEST_ID),
    _column("status", Identifier, "Status of the request after the event."),
    *_copied("reason", "rejection_reason"),
    _time_source(
        "occurred_at",
        "no time for this event (always for reopened, vanished and returned), or only the time of "
        "an earlier one",
    ),
    _column(
        "observed_at",
        UTCDateTime,
        "Start of the sync that first saw the event (UTC, local clock).",
    ),
    _column(
        "not_before",
        UTCDateTime,
        "The event happened between this time and observed_at (UTC). observed: start of the last "
        "complete sync that saw the request before the event (local clock), but not before "
        "requested_at; unknown: requested_at. Null where the time is reported.",
        nullable=True,
    ),
    comment="The history of each phone number: one row per event, over all its requests. In order: "
    "ORDER BY coalesce(occurred_at, not_before), request_id, observed_at, event <> 'requested', "
    "event <> 'returned'.",
)

numbers = Table(
    "phone_numbers",
    metadata,
    *_copied("environment", "phone_number"),
    _column(
        "phone_number_id",
        Identifier,
        "API id of the phone number's record in its last request. Null if the API sent none.",
        nullable=True,
    ),
    _column("requests", BigInteger, "Count of release requests for the number."),
    _column("last_request_id", Identifier, "Id of the request submitted last."),
    _column("last_status", Identifier, "Status of that request, as returned by the API."),
    _column(
        "first_requested_at",
        UTCDateTime,
        "When the first request was submitted (UTC, reported by the API).",
    ),
    _column(
        "last_requested_at",
        UTCDateTime,
        "When the last request was submitted (UTC, reported by the API).",
    ),
    _column(
        "last_resolved_at",
        UTCDateTime,
        "Latest resolved_at of the requests (UTC, reported by the API). Resolutions whose time the "
        "API does not state (observed or unknown) are left out. Null if none has one.",
        nullable=True,
    ),
    _column(
        "released",
        Boolean,
        "Whether the last request was approved: the number has been or will be released. "
        "1 or 0 in SQLite.",
    ),
    comment="Phone numbers that have release requests, one row per environment and number.",
)

turnaround = Table(
    "release_request_turnaround",
    metadata,
    *_copied("id", "environment", "phone_number", "status", "requested_at"),
    _column(
        "resolved_at",
        UTCDateTime,
        "Best known time at which the request got its status (UTC); time_source says where it "
        "comes from. Null where it is unknown.",
        nullable=True,
    ),
    _column(
        "hours_to_resolve",
        Double,
        "Hours from requested_at to resolved_at; an upper bound where time_source is observed. "
        "Null where it is unknown.",
        nullable=True,
    ),
    _time_source("resolved_at", "no time"),
    comment="Review times: one row per resolved request (approved, rejected, cancelled, or another "
    "status than pending with a resolved_at), missing ones included.",
)

daily = Table(
    "release_requests_daily",
    metadata,
    *_copied("environment"),
    _column("day", Date, "Day (UTC). Text YYYY-MM-DD in SQLite."),
    _column("requested", BigInteger, "Requests submitted on the day."),
    *(
        _column(
            status,
            BigInteger,
            f"Requests {status} on the day, by the best known time; undated ones are left out.",
        )
        for status in CLOSED_STATUSES
    ),
    _column(
        "open_at_end",
        BigInteger,
        "Requests neither resolved nor missing at the end of the day; for today, now. Undated ones "
        "are left out, unless they were reopened.",
    ),
    _column(
        "undated",
        BigInteger,
        "Requests of the environment that were resolved at an unknown time, before a sync first "
        "saw them. The same on each day.",
    ),
    comment="Daily counts of the events of phone_number_history, with a row for every day from the "
    "first request of the environment to today (UTC).",
)

VIEWS: Sequence[Table] = (versions, changes, history, numbers, turnaround, daily)
