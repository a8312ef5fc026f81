"""The views: the surface for SQL, BI tools, the query helpers and the commands.

What they are called and what they say about themselves is here; their SELECTs are in
`mirror.db.view_sql`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Date, Double, MetaData, Table, Text

from mirror.db import daily_sql as days
from mirror.db import view_sql
from mirror.db.dialects import BY_NAME, Dialect
from mirror.db.models import Identifier, UTCDateTime, past_versions, release_requests

metadata = MetaData()
"""The views as SQLAlchemy sees them; apart from the tables, so that Alembic leaves them alone."""


@dataclass(frozen=True, slots=True)
class View:
    """A view, and what it says about itself.

    Attributes:
        table: its name, comment and columns, in the order of the query.
        select: writes its SELECT in the words of a database.
    """

    table: Table
    select: Callable[[Dialect], str]

    @property
    def name(self) -> str:
        """The view's name in the database."""
        return self.table.name

    def query(self, dialect: str) -> str:
        """Return its SELECT for a database, "sqlite" or "postgresql"."""
        return self.select(BY_NAME[dialect]).strip()


def _same(*names: str) -> list[Column[Any]]:
    """Columns that a view takes over from `release_requests` as they are."""
    return [
        Column(one.name, one.type, comment=one.comment, nullable=one.nullable)
        for one in (release_requests.c[name] for name in names)
    ]


def _made(name: str, kind: Any, comment: str, *, nullable: bool = False) -> Column[Any]:
    """A column that a view makes itself."""
    return Column(name, kind, comment=comment, nullable=nullable)


_KNOWN_WHEN = (
    "reported: it is what upstream said; observed: upstream said nothing, and it is when the pull "
    "began that first saw it."
)

versions = Table(
    "release_request_versions",
    metadata,
    *_same(*release_requests.columns.keys()),
    _made(
        "valid_to",
        UTCDateTime,
        f"{past_versions.c.valid_to.comment} Null for the current version.",
        nullable=True,
    ),
    _made("version", BigInteger, "1, 2, … over the versions of the request."),
    comment="Every version of every release request, past and current. As of a time T: "
    "valid_from <= T and (valid_to is null or valid_to > T).",
)

changes = Table(
    "release_request_changes",
    metadata,
    _made("request_id", Identifier, "Id of the request, as upstream gave it."),
    *_same("environment", "phone_number"),
    _made(
        "changed_at",
        UTCDateTime,
        "When the pull began that first saw the change (UTC, this machine's clock).",
    ),
    _made(
        "kind",
        Text,
        "resolved (left pending for good), reopened (back to pending), corrected (any "
        "other field or status), vanished (no longer in the list), returned (in it again).",
    ),
    _made("old_status", Identifier, "Status before, as upstream gave it."),
    _made("new_status", Identifier, "Status after, as upstream gave it."),
    _made(
        "old_resolved_at",
        UTCDateTime,
        "resolved_at before (UTC, reported by upstream). Null if there was none.",
        nullable=True,
    ),
    _made(
        "new_resolved_at",
        UTCDateTime,
        "resolved_at after (UTC, reported by upstream). Null if there is none.",
        nullable=True,
    ),
    _made("sync_run_id", BigInteger, "The run that saw the change (sync_runs.id)."),
    comment="What the syncs saw change in requests known before. A request that returned with "
    "other fields has two rows.",
)

history = Table(
    "phone_number_history",
    metadata,
    *_same("environment", "phone_number", "phone_number_id"),
    _made(
        "occurred_at",
        UTCDateTime,
        "When it happened (UTC), as well as is known; time_source says who says so.",
    ),
    _made(
        "event",
        Text,
        "requested; the status entered (approved, …); reopened (back to pending); "
        "vanished or returned (from and to the list).",
    ),
    _made("request_id", Identifier, "Id of the request, as upstream gave it."),
    _made("status", Identifier, "Status of the request after the event."),
    *_same("reason", "rejection_reason"),
    _made("time_source", Text, f"Whose time occurred_at is. {_KNOWN_WHEN}"),
    _made(
        "observed_at",
        UTCDateTime,
        "When the pull began that first saw it (UTC, this machine's clock).",
    ),
    comment="The life of each phone number: one row per event, over all its requests.",
)

numbers = Table(
    "phone_numbers",
    metadata,
    *_same("environment", "phone_number"),
    _made(
        "phone_number_id",
        Identifier,
        "Upstream id of the number's record in its last request. Null if upstream gave none.",
        nullable=True,
    ),
    _made("requests", BigInteger, "How many release requests there were for the number."),
    _made("last_request_id", Identifier, "Id of the request submitted last."),
    _made("last_status", Identifier, "Status of that request, as upstream gave it."),
    _made(
        "first_requested_at",
        UTCDateTime,
        "When the first was submitted (UTC, reported by upstream).",
    ),
    _made(
        "last_requested_at",
        UTCDateTime,
        "When the last was submitted (UTC, reported by upstream).",
    ),
    _made(
        "last_resolved_at",
        UTCDateTime,
        "The latest resolved_at of its requests (UTC, reported by upstream). Null if none has one.",
        nullable=True,
    ),
    _made(
        "released",
        Boolean,
        "Whether the last request was approved: the number has been or will be released. "
        "1 or 0 in SQLite.",
    ),
    comment="Phone numbers for which there were release requests, one row per environment.",
)

turnaround = Table(
    "release_request_turnaround",
    metadata,
    *_same("id", "environment", "phone_number", "status", "requested_at"),
    _made(
        "resolved_at",
        UTCDateTime,
        "When the request got its status (UTC), as well as is known; time_source says who says so.",
    ),
    _made(
        "hours_to_resolve",
        Double,
        "Hours from requested_at to resolved_at. Where time_source is observed, at most so many.",
    ),
    _made("time_source", Text, f"Whose time resolved_at is. {_KNOWN_WHEN}"),
    comment="How long reviews took: one row per request that is resolved (approved, rejected, "
    "cancelled, or another status than pending with a resolved_at), missing ones included.",
)

daily = Table(
    "release_requests_daily",
    metadata,
    *_same("environment"),
    _made("day", Date, "The day (UTC). Text YYYY-MM-DD in SQLite."),
    _made("requested", BigInteger, "Requests submitted on the day."),
    *(
        _made(verdict, BigInteger, f"Requests {verdict} on the day, at the best known time.")
        for verdict in ("approved", "rejected", "cancelled")
    ),
    _made(
        "open_at_end",
        BigInteger,
        "Requests that were neither resolved nor missing at the end of the day; for today, now.",
    ),
    comment="What happened on each day, without gaps from the first request of the environment "
    "to today (UTC): the events of phone_number_history, counted.",
)

VIEWS: Sequence[View] = (
    View(versions, view_sql.versions),
    View(changes, view_sql.changes),
    View(history, view_sql.history),
    View(numbers, view_sql.numbers),
    View(turnaround, view_sql.turnaround),
    View(daily, days.daily),
)
"""In the order in which they can be created."""
