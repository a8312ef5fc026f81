"""The views: the surface for SQL, BI tools, the query helpers and the commands.

A change is a past version beside its successor, which is the version of the same id whose
`valid_from` is its `valid_to`. Written that way, the views need few window functions, and a filter
by number, id or time reaches the indexes of the tables. SQLite and Postgres get the same SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Integer, MetaData, Table, Text

from mirror.models import Identifier, UTCDateTime, past_versions, release_requests

metadata = MetaData()
"""The views as SQLAlchemy sees them; apart from the tables, so that Alembic leaves them alone."""


@dataclass(frozen=True, slots=True)
class View:
    """A view, and what it says about itself.

    Attributes:
        table: its name, comment and columns, in the order of the query.
        query: its SELECT.
    """

    table: Table
    query: str

    @property
    def name(self) -> str:
        """The view's name in the database."""
        return self.table.name


def _same(*names: str) -> list[Column[Any]]:
    """Columns that a view takes over from `release_requests` as they are."""
    return [
        Column(name, release_requests.c[name].type, comment=release_requests.c[name].comment)
        for name in names
    ]


_FIELDS = [column.name for column in release_requests.columns]

versions = Table(
    "release_request_versions",
    metadata,
    *_same(*_FIELDS),
    Column("valid_to", UTCDateTime, comment=f"{past_versions.c.valid_to.comment} Null = current."),
    Column("version", Integer, comment="1, 2, … over the versions of the request."),
    comment="Every version of every release request, past and current. As of a time T: "
    "valid_from <= T and (valid_to is null or valid_to > T).",
)

_VERSIONS = """
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, v.valid_to,
       1 + (SELECT count(*) FROM release_request_past_versions e
            WHERE e.id = v.id AND e.valid_from < v.valid_from) AS version
FROM release_request_past_versions v
UNION ALL
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, NULL,
       1 + (SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id)
FROM release_requests v
"""

changes = Table(
    "release_request_changes",
    metadata,
    Column("request_id", Identifier, comment="Id of the request."),
    *_same("environment", "phone_number"),
    Column(
        "changed_at",
        UTCDateTime,
        comment="When the pull began that first saw the change (UTC, this machine's clock).",
    ),
    Column(
        "kind",
        Text,
        comment="resolved (left pending for good), reopened (back to pending), corrected (any "
        "other field or status), vanished (no longer in the list), returned (in it again).",
    ),
    Column("old_status", Identifier, comment="Status before."),
    Column("new_status", Identifier, comment="Status after."),
    Column("old_resolved_at", UTCDateTime, comment="resolved_at before (UTC). Null if none."),
    Column("new_resolved_at", UTCDateTime, comment="resolved_at after (UTC). Null if none."),
    Column("sync_run_id", Integer, comment="The run that saw the change (sync_runs.id)."),
    comment="What the syncs saw change in requests known before. A request that returned with "
    "other fields has two rows.",
)

_CHANGE = """
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       {kind} AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN {successors} n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE {seen}
"""
_PRESENCE = {
    "kind": "CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END",
    "seen": "(o.missing_since IS NULL) <> (n.missing_since IS NULL)",
}
_CONTENT = {
    "kind": """CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled')
                  OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled')
                      OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END""",
    "seen": """n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))""",
}
_CHANGES = "UNION ALL".join(
    _CHANGE.format(successors=successors, **what)
    for what in (_PRESENCE, _CONTENT)
    for successors in ("release_requests", "release_request_past_versions")
)

history = Table(
    "phone_number_history",
    metadata,
    *_same("environment", "phone_number", "phone_number_id"),
    Column("occurred_at", UTCDateTime, comment="When it happened (UTC), as well as is known."),
    Column(
        "event",
        Text,
        comment="requested; the status entered (approved, …); reopened (back to pending); "
        "vanished or returned (from and to the list).",
    ),
    Column("request_id", Identifier, comment="Id of the request."),
    Column("status", Identifier, comment="Status of the request after the event."),
    *_same("reason", "rejection_reason"),
    Column(
        "time_source",
        Text,
        comment="reported: occurred_at is what upstream said; observed: it is when a pull began "
        "that first saw it.",
    ),
    Column("observed_at", UTCDateTime, comment="When the pull began that first saw it (UTC)."),
    comment="The life of each phone number: one row per event, over all its requests.",
)

# An event's time is the best known one: `resolved_at` of the last version with that status, unless
# it was told already when the status was entered before. The observed time is that of the first
# version with it: where the last other status ended.
# The last versions of each status that a request went through: of the status it has now, and of
# those it had. {versions} adds `entered_at`, when the status before ended.
_STATUS_ENTERED = """
SELECT c.environment, c.phone_number, c.phone_number_id,
       coalesce(c.reported_at, c.entered_at, c.first_seen_at),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       coalesce(c.entered_at, c.first_seen_at)
FROM (SELECT v.*,
             CASE WHEN v.status <> 'pending' AND NOT EXISTS (
                    SELECT 1 FROM release_request_past_versions e
                    WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
                      AND e.resolved_at = v.resolved_at)
                  THEN v.resolved_at END AS reported_at
      FROM ({versions}) v) c
WHERE {condition}
"""
_STATUS_NOW = _STATUS_ENTERED.format(
    versions="""SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e
                         WHERE e.id = r.id AND e.status <> r.status
                         ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
            FROM release_requests r""",
    condition="c.status <> 'pending' OR c.entered_at IS NOT NULL",
)
_STATUS_BEFORE = _STATUS_ENTERED.format(
    versions="""SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
                   p.rejection_reason, p.resolved_at, p.first_seen_at,
                   (SELECT e.valid_to FROM release_request_past_versions e
                    WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status
                    ORDER BY e.valid_from DESC LIMIT 1) AS entered_at,
                   coalesce((SELECT n.status FROM release_request_past_versions n
                             WHERE n.id = p.id AND n.valid_from = p.valid_to),
                            r.status) AS next_status
            FROM release_requests r
            JOIN release_request_past_versions p ON p.id = r.id""",
    condition="c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)",
)
_REQUESTED = """
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       'requested' AS event, r.id AS request_id, 'pending' AS status, r.reason,
       NULL AS rejection_reason, 'reported' AS time_source, r.first_seen_at AS observed_at
FROM release_requests r
"""
_GONE_AND_BACK = """
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since
FROM release_requests r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', p.valid_to
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id AND p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
"""
_BRANCHES = (_REQUESTED, _STATUS_NOW, _STATUS_BEFORE, _GONE_AND_BACK)
_HISTORY = "UNION ALL".join(_BRANCHES)

numbers = Table(
    "phone_numbers",
    metadata,
    *_same("environment", "phone_number"),
    Column(
        "phone_number_id",
        Identifier,
        comment="Upstream id of the number's record in its last request. Null if none was given.",
    ),
    Column("requests", Integer, comment="How many release requests there were for the number."),
    Column("last_request_id", Identifier, comment="Id of the request submitted last."),
    Column("last_status", Identifier, comment="Status of that request."),
    Column("first_requested_at", UTCDateTime, comment="When the first was submitted (UTC)."),
    Column("last_requested_at", UTCDateTime, comment="When the last was submitted (UTC)."),
    Column(
        "last_resolved_at",
        UTCDateTime,
        comment="The latest resolved_at of its requests (UTC). Null if upstream reported none.",
    ),
    Column(
        "released",
        Boolean,
        comment="Whether the last request was approved: the number has been or will be released.",
    ),
    comment="Phone numbers for which there were release requests, one row per environment.",
)

# The number comes first in PARTITION BY, so that a filter on it is pushed down.
_NUMBERS = """
SELECT n.environment, n.phone_number, n.phone_number_id, n.requests, n.id AS last_request_id,
       n.status AS last_status, n.first_requested_at, n.requested_at AS last_requested_at,
       n.last_resolved_at, n.status = 'approved' AS released
FROM (SELECT r.*,
             row_number() OVER (PARTITION BY r.phone_number, r.environment
                                ORDER BY r.requested_at DESC, r.id DESC) AS place,
             count(*) OVER (PARTITION BY r.phone_number, r.environment) AS requests,
             min(r.requested_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS first_requested_at,
             max(r.resolved_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS last_resolved_at
      FROM release_requests r) n
WHERE n.place = 1
"""

VIEWS: Sequence[View] = (
    View(versions, _VERSIONS.strip()),
    View(changes, _CHANGES.strip()),
    View(history, _HISTORY.strip()),
    View(numbers, _NUMBERS.strip()),
)
"""In the order in which they can be created."""
