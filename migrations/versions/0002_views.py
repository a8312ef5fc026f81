"""Views over versions, changes, and the life of each phone number.

Revision 0002, after 0001.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RELEASE_REQUEST_VERSIONS = """
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

RELEASE_REQUEST_CHANGES = """
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled')
                  OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled')
                      OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled')
                  OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled')
                      OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))
"""

PHONE_NUMBER_HISTORY = """
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       'requested' AS event, r.id AS request_id, 'pending' AS status, r.reason,
       NULL AS rejection_reason, 'reported' AS time_source, r.first_seen_at AS observed_at
FROM release_requests r
UNION ALL
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
      FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e
                         WHERE e.id = r.id AND e.status <> r.status
                         ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
            FROM release_requests r) v) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
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
      FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
                   p.rejection_reason, p.resolved_at, p.first_seen_at,
                   (SELECT e.valid_to FROM release_request_past_versions e
                    WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status
                    ORDER BY e.valid_from DESC LIMIT 1) AS entered_at,
                   coalesce((SELECT n.status FROM release_request_past_versions n
                             WHERE n.id = p.id AND n.valid_from = p.valid_to),
                            r.status) AS next_status
            FROM release_requests r
            JOIN release_request_past_versions p ON p.id = r.id) v) c
WHERE c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)
UNION ALL
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

PHONE_NUMBERS = """
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

VIEWS = {
    "release_request_versions": RELEASE_REQUEST_VERSIONS,
    "release_request_changes": RELEASE_REQUEST_CHANGES,
    "phone_number_history": PHONE_NUMBER_HISTORY,
    "phone_numbers": PHONE_NUMBERS,
}

COMMENTS = {
    "VIEW release_request_versions": "Every version of every release request, past and current. As of a time T: valid_from <= T and (valid_to is null or valid_to > T).",
    "COLUMN release_request_versions.id": "Id of the request, as upstream gave it.",
    "COLUMN release_request_versions.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN release_request_versions.phone_number_id": "Upstream id of the number's record; a number bought again has a new one. Null if upstream gave none.",
    "COLUMN release_request_versions.phone_number": "The number, as upstream gave it; documented as E.164 (+15551234567).",
    "COLUMN release_request_versions.reason": "Why the customer gives the number back. Null if upstream gave none.",
    "COLUMN release_request_versions.status": "As upstream gave it; documented: pending, approved, rejected, cancelled.",
    "COLUMN release_request_versions.rejection_reason": "Why the request was denied. Null unless upstream gave one.",
    "COLUMN release_request_versions.requested_at": "When the request was submitted (UTC, reported by upstream).",
    "COLUMN release_request_versions.resolved_at": "When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.",
    "COLUMN release_request_versions.extra": "JSON object of the fields that this version of mirror does not know. Null if there are none.",
    "COLUMN release_request_versions.first_seen_at": "When the pull began that first saw the request (UTC, this machine's clock).",
    "COLUMN release_request_versions.valid_from": "When the pull began that first saw this version (UTC, this machine's clock).",
    "COLUMN release_request_versions.missing_since": "When the pull began that no longer found the request in the list (UTC). Null while it is in the list.",
    "COLUMN release_request_versions.sync_run_id": "The run that first saw this version (sync_runs.id).",
    "COLUMN release_request_versions.valid_to": "When the pull began that first saw the next version (UTC): the valid_from of that one. Null = current.",
    "COLUMN release_request_versions.version": "1, 2, … over the versions of the request.",
    "VIEW release_request_changes": "What the syncs saw change in requests known before. A request that returned with other fields has two rows.",
    "COLUMN release_request_changes.request_id": "Id of the request.",
    "COLUMN release_request_changes.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN release_request_changes.phone_number": "The number, as upstream gave it; documented as E.164 (+15551234567).",
    "COLUMN release_request_changes.changed_at": "When the pull began that first saw the change (UTC, this machine's clock).",
    "COLUMN release_request_changes.kind": "resolved (left pending for good), reopened (back to pending), corrected (any other field or status), vanished (no longer in the list), returned (in it again).",
    "COLUMN release_request_changes.old_status": "Status before.",
    "COLUMN release_request_changes.new_status": "Status after.",
    "COLUMN release_request_changes.old_resolved_at": "resolved_at before (UTC). Null if none.",
    "COLUMN release_request_changes.new_resolved_at": "resolved_at after (UTC). Null if none.",
    "COLUMN release_request_changes.sync_run_id": "The run that saw the change (sync_runs.id).",
    "VIEW phone_number_history": "The life of each phone number: one row per event, over all its requests.",
    "COLUMN phone_number_history.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN phone_number_history.phone_number": "The number, as upstream gave it; documented as E.164 (+15551234567).",
    "COLUMN phone_number_history.phone_number_id": "Upstream id of the number's record; a number bought again has a new one. Null if upstream gave none.",
    "COLUMN phone_number_history.occurred_at": "When it happened (UTC), as well as is known.",
    "COLUMN phone_number_history.event": "requested; the status entered (approved, …); reopened (back to pending); vanished or returned (from and to the list).",
    "COLUMN phone_number_history.request_id": "Id of the request.",
    "COLUMN phone_number_history.status": "Status of the request after the event.",
    "COLUMN phone_number_history.reason": "Why the customer gives the number back. Null if upstream gave none.",
    "COLUMN phone_number_history.rejection_reason": "Why the request was denied. Null unless upstream gave one.",
    "COLUMN phone_number_history.time_source": "reported: occurred_at is what upstream said; observed: it is when a pull began that first saw it.",
    "COLUMN phone_number_history.observed_at": "When the pull began that first saw it (UTC).",
    "VIEW phone_numbers": "Phone numbers for which there were release requests, one row per environment.",
    "COLUMN phone_numbers.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN phone_numbers.phone_number": "The number, as upstream gave it; documented as E.164 (+15551234567).",
    "COLUMN phone_numbers.phone_number_id": "Upstream id of the number's record in its last request. Null if none was given.",
    "COLUMN phone_numbers.requests": "How many release requests there were for the number.",
    "COLUMN phone_numbers.last_request_id": "Id of the request submitted last.",
    "COLUMN phone_numbers.last_status": "Status of that request.",
    "COLUMN phone_numbers.first_requested_at": "When the first was submitted (UTC).",
    "COLUMN phone_numbers.last_requested_at": "When the last was submitted (UTC).",
    "COLUMN phone_numbers.last_resolved_at": "The latest resolved_at of its requests (UTC). Null if upstream reported none.",
    "COLUMN phone_numbers.released": "Whether the last request was approved: the number has been or will be released.",
}


def upgrade() -> None:
    """Create the views, with their comments where the database keeps any."""
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS\n{query.strip()}")
    if op.get_context().dialect.name == "postgresql":
        for what, comment in COMMENTS.items():
            text = comment.replace("'", "''")
            op.execute(f"COMMENT ON {what} IS '{text}'")


def downgrade() -> None:
    """Drop the views."""
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
