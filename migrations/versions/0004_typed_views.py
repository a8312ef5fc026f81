"""Views whose columns have types in SQLite too, two more views, and fuller comments.

Revision 0004, after 0003.
"""

from __future__ import annotations

import runpy
from collections.abc import Collection
from pathlib import Path
from typing import Any

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQLITE_RELEASE_REQUEST_VERSIONS = """
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, v.valid_to,
       (SELECT 1 + (SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id AND e.valid_from < v.valid_from) UNION ALL SELECT v.sync_run_id WHERE 0) AS version
FROM release_request_past_versions v
UNION ALL
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, (SELECT v.valid_from WHERE 0),
       (SELECT 1 + (SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id) UNION ALL SELECT v.sync_run_id WHERE 0)
FROM release_requests v
"""

SQLITE_RELEASE_REQUEST_CHANGES = """
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))
"""

SQLITE_PHONE_NUMBER_HISTORY = """
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       (SELECT 'requested' UNION ALL SELECT r.status WHERE 0) AS event, r.id AS request_id, (SELECT 'pending' UNION ALL SELECT r.status WHERE 0) AS status, r.reason,
       (SELECT r.rejection_reason WHERE 0) AS rejection_reason, (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source,
       r.first_seen_at AS observed_at
FROM release_requests r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0)
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) v) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0)
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to) v) c
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
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, (SELECT 'returned' UNION ALL SELECT r.status WHERE 0), r.id,
       r.status, r.reason, r.rejection_reason, (SELECT 'observed' UNION ALL SELECT r.status WHERE 0), p.valid_to
FROM release_requests r
JOIN release_request_past_versions p
  ON p.id = r.id AND +p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
"""

SQLITE_PHONE_NUMBERS = """
SELECT n.environment, n.phone_number, n.phone_number_id,
       (SELECT n.requests UNION ALL SELECT n.sync_run_id WHERE 0) AS requests, n.id AS last_request_id,
       n.status AS last_status,
       (SELECT n.first_requested_at UNION ALL SELECT n.requested_at WHERE 0) AS first_requested_at,
       n.requested_at AS last_requested_at,
       (SELECT n.last_resolved_at UNION ALL SELECT n.requested_at WHERE 0) AS last_resolved_at,
       (SELECT n.status = 'approved' UNION ALL SELECT n.sync_run_id WHERE 0) AS released
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, r.id, r.status, r.requested_at,
             r.sync_run_id,
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

SQLITE_RELEASE_REQUEST_TURNAROUND = """
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, r.resolved_at,
       (SELECT CAST((strftime('%s', substr(r.resolved_at, 1, 19)) - strftime('%s', substr(r.requested_at, 1, 19))) * 1000 + substr(r.resolved_at, 21, 3) - substr(r.requested_at, 21, 3) AS REAL) / 3600000 UNION ALL SELECT seconds FROM sync_runs WHERE 0) AS hours_to_resolve,
       (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source
FROM release_requests r
WHERE r.status <> 'pending' AND r.resolved_at IS NOT NULL
UNION ALL
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, (SELECT coalesce(r.entered_at, r.first_seen_at) UNION ALL SELECT r.first_seen_at WHERE 0),
       (SELECT CAST((strftime('%s', substr(coalesce(r.entered_at, r.first_seen_at), 1, 19)) - strftime('%s', substr(r.requested_at, 1, 19))) * 1000 + substr(coalesce(r.entered_at, r.first_seen_at), 21, 3) - substr(r.requested_at, 21, 3) AS REAL) / 3600000 UNION ALL SELECT seconds FROM sync_runs WHERE 0), (SELECT 'observed' UNION ALL SELECT r.status WHERE 0)
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) r
WHERE r.status IN ('approved', 'rejected', 'cancelled') AND r.resolved_at IS NULL
"""

SQLITE_RELEASE_REQUESTS_DAILY = """
WITH RECURSIVE
winding_ids AS MATERIALIZED (
  SELECT id FROM release_requests WHERE missing_since IS NOT NULL
  UNION
  SELECT p.id FROM release_request_past_versions p
  WHERE p.missing_since IS NOT NULL OR (p.status IN ('approved', 'rejected', 'cancelled') OR p.status <> 'pending' AND p.resolved_at IS NOT NULL)),
steady AS MATERIALIZED (
  SELECT environment, substr(requested_at, 1, 10) AS requested_on, status,
         substr(occurred_at, 1, 10) AS resolved_on,
         substr(CASE WHEN closed_at < opened_at THEN closed_at ELSE opened_at END, 1, 10) AS opened_on,
         substr(closed_at, 1, 10) AS closed_on, count(*) AS times
  FROM (SELECT environment, requested_at, opened_at, status, occurred_at,
               CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END AS closed_at
        FROM (SELECT r.environment, r.requested_at, r.status,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END AS opened_at,
                     coalesce(r.resolved_at, r.entered_at, r.first_seen_at) AS occurred_at,
                     coalesce(r.entered_at, r.first_seen_at) AS observed_at
              FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) r
              WHERE (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND r.id NOT IN (SELECT id FROM winding_ids)
              UNION ALL
              SELECT r.environment, r.requested_at, NULL,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END, NULL, NULL
              FROM release_requests r
              WHERE NOT (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND r.id NOT IN (SELECT id FROM winding_ids)) r) r
  GROUP BY 1, 2, 3, 4, 5, 6),
winding AS MATERIALIZED (
  SELECT environment, substr(occurred_at, 1, 10) AS occurred_on,
         substr(taken_at, 1, 10) AS taken_on, event, place, count(*) AS times,
         sum(opened) AS opened
  FROM (SELECT environment, event, place, occurred_at,
               min(CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END) OVER sequel AS taken_at,
               is_open - lag(is_open, 1, 0) OVER sequel AS opened
        FROM (
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       (SELECT 'requested' UNION ALL SELECT r.status WHERE 0) AS event, r.id AS request_id, (SELECT 'pending' UNION ALL SELECT r.status WHERE 0) AS status, r.reason,
       (SELECT r.rejection_reason WHERE 0) AS rejection_reason, (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source,
       r.first_seen_at AS observed_at,
       1 AS is_open, 0 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r) v) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to) v) c
WHERE c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to,
       CASE WHEN (n.status IN ('approved', 'rejected', 'cancelled')
        OR n.status <> 'pending' AND (
          SELECT l.resolved_at FROM release_request_versions l
          WHERE l.id = n.id AND l.valid_from >= n.valid_from
            AND NOT EXISTS (
              SELECT 1 FROM release_request_versions e
              WHERE e.id = n.id AND e.status <> n.status
                AND e.valid_from BETWEEN n.valid_from AND l.valid_from)
          ORDER BY l.valid_from DESC LIMIT 1) IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, (SELECT 'returned' UNION ALL SELECT r.status WHERE 0), r.id,
       r.status, r.reason, r.rejection_reason, (SELECT 'observed' UNION ALL SELECT r.status WHERE 0), p.valid_to,
       CASE WHEN (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p
  ON p.id = r.id AND +p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
) event
        WINDOW sequel AS (PARTITION BY request_id ORDER BY observed_at, place
                          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) step
  GROUP BY 1, 2, 3, 4, 5),
told AS (
  SELECT environment, requested_on AS day, 'requested' AS event, times, 0 AS opened FROM steady
  UNION ALL
  SELECT environment, resolved_on, nullif(status, 'requested'), times, 0 FROM steady
  WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, opened_on, NULL, 0, times FROM steady
  UNION ALL
  SELECT environment, closed_on, NULL, 0, -times FROM steady WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, occurred_on, CASE WHEN place = 0 THEN event ELSE nullif(event, 'requested') END,
         times, 0
  FROM winding
  UNION ALL
  SELECT environment, taken_on, NULL, 0, opened FROM winding),
calendar AS (
  SELECT environment, min(day) AS day FROM told
  GROUP BY environment HAVING min(day) <= date('now')
  UNION ALL
  SELECT environment, date(day, '+1 day') FROM calendar WHERE day < date('now'))
SELECT environment, (SELECT day UNION ALL SELECT environment WHERE 0) AS day,
       (SELECT CAST(requested AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS requested,
       (SELECT CAST(approved AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS approved,
       (SELECT CAST(rejected AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS rejected,
       (SELECT CAST(cancelled AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS cancelled,
       (SELECT CAST(open_at_end AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS open_at_end
FROM (SELECT environment, day,
             sum(CASE WHEN event = 'requested' THEN times ELSE 0 END) AS requested,
             sum(CASE WHEN event = 'approved' THEN times ELSE 0 END) AS approved,
             sum(CASE WHEN event = 'rejected' THEN times ELSE 0 END) AS rejected,
             sum(CASE WHEN event = 'cancelled' THEN times ELSE 0 END) AS cancelled,
             sum(sum(opened)) OVER (PARTITION BY environment ORDER BY day) AS open_at_end
      FROM (SELECT * FROM told
            UNION ALL
            SELECT environment, day, NULL, 0, 0 FROM calendar) d
      WHERE day <= date('now')
      GROUP BY environment, day) d
"""

POSTGRESQL_RELEASE_REQUEST_CHANGES = """
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL) AND o.id || '' = o.id
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL) AND o.id || '' = o.id
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
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
              n.requested_at, n.resolved_at)) AND o.id || '' = o.id
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
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
              n.requested_at, n.resolved_at)) AND o.id || '' = o.id
"""

POSTGRESQL_PHONE_NUMBER_HISTORY = """
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       'requested' AS event, r.id AS request_id, 'pending' AS status, r.reason,
       NULL AS rejection_reason, 'reported' AS time_source,
       r.first_seen_at AS observed_at
FROM release_requests r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       coalesce(c.reported_at, c.entered_at, c.first_seen_at),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       coalesce(c.entered_at, c.first_seen_at)
FROM (SELECT v.*, reported_at.value AS reported_at
FROM (SELECT r.*, entered_at.value AS entered_at
FROM release_requests r LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) v LEFT JOIN LATERAL (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at (value) ON true) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       coalesce(c.reported_at, c.entered_at, c.first_seen_at),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       coalesce(c.entered_at, c.first_seen_at)
FROM (SELECT v.*, reported_at.value AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, entered_at.value AS entered_at
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) v LEFT JOIN LATERAL (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at (value) ON true) c
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
JOIN release_request_past_versions p
  ON p.id = r.id AND p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
"""

POSTGRESQL_PHONE_NUMBERS = """
SELECT n.environment, n.phone_number, n.phone_number_id,
       n.requests AS requests, n.id AS last_request_id,
       n.status AS last_status,
       n.first_requested_at AS first_requested_at,
       n.requested_at AS last_requested_at,
       n.last_resolved_at AS last_resolved_at,
       n.status = 'approved' AS released
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, r.id, r.status, r.requested_at,
             r.sync_run_id,
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

POSTGRESQL_RELEASE_REQUEST_TURNAROUND = """
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, r.resolved_at,
       CAST(extract(epoch FROM r.resolved_at - r.requested_at) * 1000 AS bigint) / CAST(3600000 AS double precision) AS hours_to_resolve,
       'reported' AS time_source
FROM release_requests r
WHERE r.status <> 'pending' AND r.resolved_at IS NOT NULL
UNION ALL
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, coalesce(r.entered_at, r.first_seen_at),
       CAST(extract(epoch FROM coalesce(r.entered_at, r.first_seen_at) - r.requested_at) * 1000 AS bigint) / CAST(3600000 AS double precision), 'observed'
FROM (SELECT r.*, entered_at.value AS entered_at
FROM release_requests r LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) r
WHERE r.status IN ('approved', 'rejected', 'cancelled') AND r.resolved_at IS NULL
"""

POSTGRESQL_RELEASE_REQUESTS_DAILY = """
WITH RECURSIVE
winding_ids AS MATERIALIZED (
  SELECT id FROM release_requests WHERE missing_since IS NOT NULL
  UNION
  SELECT p.id FROM release_request_past_versions p
  WHERE p.missing_since IS NOT NULL OR (p.status IN ('approved', 'rejected', 'cancelled') OR p.status <> 'pending' AND p.resolved_at IS NOT NULL)),
steady AS MATERIALIZED (
  SELECT environment, CAST(requested_at AT TIME ZONE 'UTC' AS date) AS requested_on, status,
         CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS resolved_on,
         CAST(CASE WHEN closed_at < opened_at THEN closed_at ELSE opened_at END AT TIME ZONE 'UTC' AS date) AS opened_on,
         CAST(closed_at AT TIME ZONE 'UTC' AS date) AS closed_on, count(*) AS times
  FROM (SELECT environment, requested_at, opened_at, status, occurred_at,
               CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END AS closed_at
        FROM (SELECT r.environment, r.requested_at, r.status,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END AS opened_at,
                     coalesce(r.resolved_at, r.entered_at, r.first_seen_at) AS occurred_at,
                     coalesce(r.entered_at, r.first_seen_at) AS observed_at
              FROM (SELECT r.*, entered_at.value AS entered_at
FROM release_requests r LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) r
              WHERE (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND r.id NOT IN (SELECT id FROM winding_ids)
              UNION ALL
              SELECT r.environment, r.requested_at, NULL,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END, NULL, NULL
              FROM release_requests r
              WHERE NOT (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND r.id NOT IN (SELECT id FROM winding_ids)) r) r
  GROUP BY 1, 2, 3, 4, 5, 6),
winding AS MATERIALIZED (
  SELECT environment, CAST(occurred_at AT TIME ZONE 'UTC' AS date) AS occurred_on,
         CAST(taken_at AT TIME ZONE 'UTC' AS date) AS taken_on, event, place, count(*) AS times,
         sum(opened) AS opened
  FROM (SELECT environment, event, place, occurred_at,
               min(CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END) OVER sequel AS taken_at,
               is_open - lag(is_open, 1, 0) OVER sequel AS opened
        FROM (
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       'requested' AS event, r.id AS request_id, 'pending' AS status, r.reason,
       NULL AS rejection_reason, 'reported' AS time_source,
       r.first_seen_at AS observed_at,
       1 AS is_open, 0 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       coalesce(c.reported_at, c.entered_at, c.first_seen_at),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       coalesce(c.entered_at, c.first_seen_at),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, reported_at.value AS reported_at
FROM (SELECT r.*, entered_at.value AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) v LEFT JOIN LATERAL (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at (value) ON true) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       coalesce(c.reported_at, c.entered_at, c.first_seen_at),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       coalesce(c.entered_at, c.first_seen_at),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, reported_at.value AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, entered_at.value AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to LEFT JOIN LATERAL (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at (value) ON true) v LEFT JOIN LATERAL (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at (value) ON true) c
WHERE c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to,
       CASE WHEN (n.status IN ('approved', 'rejected', 'cancelled')
        OR n.status <> 'pending' AND (
          SELECT l.resolved_at FROM release_request_versions l
          WHERE l.id = n.id AND l.valid_from >= n.valid_from
            AND NOT EXISTS (
              SELECT 1 FROM release_request_versions e
              WHERE e.id = n.id AND e.status <> n.status
                AND e.valid_from BETWEEN n.valid_from AND l.valid_from)
          ORDER BY l.valid_from DESC LIMIT 1) IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', p.valid_to,
       CASE WHEN (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p
  ON p.id = r.id AND p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
) event
        WINDOW sequel AS (PARTITION BY request_id ORDER BY observed_at, place
                          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) step
  GROUP BY 1, 2, 3, 4, 5),
told AS (
  SELECT environment, requested_on AS day, 'requested' AS event, times, 0 AS opened FROM steady
  UNION ALL
  SELECT environment, resolved_on, nullif(status, 'requested'), times, 0 FROM steady
  WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, opened_on, NULL, 0, times FROM steady
  UNION ALL
  SELECT environment, closed_on, NULL, 0, -times FROM steady WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, occurred_on, CASE WHEN place = 0 THEN event ELSE nullif(event, 'requested') END,
         times, 0
  FROM winding
  UNION ALL
  SELECT environment, taken_on, NULL, 0, opened FROM winding),
calendar AS (
  SELECT environment, min(day) AS day FROM told
  GROUP BY environment HAVING min(day) <= CAST(now() AT TIME ZONE 'UTC' AS date)
  UNION ALL
  SELECT environment, day + 1 FROM calendar WHERE day < CAST(now() AT TIME ZONE 'UTC' AS date))
SELECT environment, day AS day,
       CAST(requested AS bigint) AS requested,
       CAST(approved AS bigint) AS approved,
       CAST(rejected AS bigint) AS rejected,
       CAST(cancelled AS bigint) AS cancelled,
       CAST(open_at_end AS bigint) AS open_at_end
FROM (SELECT environment, day,
             sum(CASE WHEN event = 'requested' THEN times ELSE 0 END) AS requested,
             sum(CASE WHEN event = 'approved' THEN times ELSE 0 END) AS approved,
             sum(CASE WHEN event = 'rejected' THEN times ELSE 0 END) AS rejected,
             sum(CASE WHEN event = 'cancelled' THEN times ELSE 0 END) AS cancelled,
             sum(sum(opened)) OVER (PARTITION BY environment ORDER BY day) AS open_at_end
      FROM (SELECT * FROM told
            UNION ALL
            SELECT environment, day, NULL, 0, 0 FROM calendar) d
      WHERE day <= CAST(now() AT TIME ZONE 'UTC' AS date)
      GROUP BY environment, day) d
"""

SQLITE_VIEWS = {
    "release_request_versions": SQLITE_RELEASE_REQUEST_VERSIONS,
    "release_request_changes": SQLITE_RELEASE_REQUEST_CHANGES,
    "phone_number_history": SQLITE_PHONE_NUMBER_HISTORY,
    "phone_numbers": SQLITE_PHONE_NUMBERS,
    "release_request_turnaround": SQLITE_RELEASE_REQUEST_TURNAROUND,
    "release_requests_daily": SQLITE_RELEASE_REQUESTS_DAILY,
}

POSTGRESQL_VIEWS = {
    "release_request_changes": POSTGRESQL_RELEASE_REQUEST_CHANGES,
    "phone_number_history": POSTGRESQL_PHONE_NUMBER_HISTORY,
    "phone_numbers": POSTGRESQL_PHONE_NUMBERS,
    "release_request_turnaround": POSTGRESQL_RELEASE_REQUEST_TURNAROUND,
    "release_requests_daily": POSTGRESQL_RELEASE_REQUESTS_DAILY,
}

# What is said of a table or column: before and after.
TABLE_COMMENTS = {
    "COLUMN sync_runs.seconds": (
        "How long the run took, in seconds. Null while running.",
        "How long the run took, in seconds. Null while running, and if abandoned.",
    ),
    "COLUMN sync_runs.fetched": (
        "Entries of the list.",
        "Entries of the list. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.inserted": (
        "Requests seen for the first time.",
        "Requests seen for the first time. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.updated": (
        "Requests that got a new version because a field changed.",
        "Requests that got a new version because a field changed. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.unchanged": (
        "Requests whose known fields were the same as before.",
        "Requests whose known fields were the same as before. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.missing": (
        "Requests found missing from the list for the first time.",
        "Requests found missing from the list for the first time. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.returned": (
        "Missing requests that were in the list again.",
        "Missing requests that were in the list again. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.quarantined": (
        "Entries of the list that could not be understood.",
        "Entries of the list that could not be understood. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.newly_quarantined": (
        "Those of them that were not in quarantine before the run.",
        "Those of them that were not in quarantine before the run. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.duplicates": (
        "Entries equal to another one with the same id.",
        "Entries equal to another one with the same id. Null if the run ended before it was known.",
    ),
    "COLUMN sync_runs.pages": (
        "Answers of the list that were read, repetitions included.",
        "Answers of the list that were read, repetitions included. Null while running, and if abandoned.",
    ),
    "COLUMN sync_runs.bytes": (
        "Size of those answers, decompressed, in bytes.",
        "Size of those answers, decompressed, in bytes. Null while running, and if abandoned.",
    ),
    "COLUMN sync_runs.etag": (
        "ETag of the list, if it came in one answer that had one.",
        "ETag of the list, as the API sent it. Null if there was none, if the list came in pages, or unless complete.",
    ),
    "COLUMN sync_runs.content_sha256": (
        "SHA-256 of the list's bytes, in hex.",
        "SHA-256 of the list's bytes, in hex. Null unless complete.",
    ),
    "TABLE alembic_version": (
        "",
        "Revision of the schema, which Alembic keeps for mirror db upgrade.",
    ),
    "COLUMN alembic_version.version_num": (
        "",
        "Number of the revision.",
    ),
}

VIEW_COMMENTS = {
    "COLUMN release_request_versions.valid_to": "When the pull began that first saw the next version (UTC): the valid_from of that one. Null for the current version.",
    "COLUMN release_request_changes.request_id": "Id of the request, as upstream gave it.",
    "COLUMN release_request_changes.old_status": "Status before, as upstream gave it.",
    "COLUMN release_request_changes.new_status": "Status after, as upstream gave it.",
    "COLUMN release_request_changes.old_resolved_at": "resolved_at before (UTC, reported by upstream). Null if there was none.",
    "COLUMN release_request_changes.new_resolved_at": "resolved_at after (UTC, reported by upstream). Null if there is none.",
    "COLUMN phone_number_history.occurred_at": "When it happened (UTC), as well as is known; time_source says who says so.",
    "COLUMN phone_number_history.request_id": "Id of the request, as upstream gave it.",
    "COLUMN phone_number_history.time_source": "Whose time occurred_at is. reported: it is what upstream said; observed: upstream said nothing, and it is when the pull began that first saw it.",
    "COLUMN phone_number_history.observed_at": "When the pull began that first saw it (UTC, this machine's clock).",
    "COLUMN phone_numbers.phone_number_id": "Upstream id of the number's record in its last request. Null if upstream gave none.",
    "COLUMN phone_numbers.last_status": "Status of that request, as upstream gave it.",
    "COLUMN phone_numbers.first_requested_at": "When the first was submitted (UTC, reported by upstream).",
    "COLUMN phone_numbers.last_requested_at": "When the last was submitted (UTC, reported by upstream).",
    "COLUMN phone_numbers.last_resolved_at": "The latest resolved_at of its requests (UTC, reported by upstream). Null if none has one.",
    "COLUMN phone_numbers.released": "Whether the last request was approved: the number has been or will be released. 1 or 0 in SQLite.",
    "VIEW release_request_turnaround": "How long reviews took: one row per request that is resolved (approved, rejected, cancelled, or another status than pending with a resolved_at), missing ones included.",
    "COLUMN release_request_turnaround.id": "Id of the request, as upstream gave it.",
    "COLUMN release_request_turnaround.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN release_request_turnaround.phone_number": "The number, as upstream gave it; documented as E.164 (+15551234567).",
    "COLUMN release_request_turnaround.status": "As upstream gave it; documented: pending, approved, rejected, cancelled.",
    "COLUMN release_request_turnaround.requested_at": "When the request was submitted (UTC, reported by upstream).",
    "COLUMN release_request_turnaround.resolved_at": "When the request got its status (UTC), as well as is known; time_source says who says so.",
    "COLUMN release_request_turnaround.hours_to_resolve": "Hours from requested_at to resolved_at. Where time_source is observed, at most so many.",
    "COLUMN release_request_turnaround.time_source": "Whose time resolved_at is. reported: it is what upstream said; observed: upstream said nothing, and it is when the pull began that first saw it.",
    "VIEW release_requests_daily": "What happened on each day, without gaps from the first request of the environment to today (UTC): the events of phone_number_history, counted.",
    "COLUMN release_requests_daily.environment": "Label of the token whose list holds the request (setting --environment).",
    "COLUMN release_requests_daily.day": "The day (UTC). Text YYYY-MM-DD in SQLite.",
    "COLUMN release_requests_daily.requested": "Requests submitted on the day.",
    "COLUMN release_requests_daily.approved": "Requests approved on the day, at the best known time.",
    "COLUMN release_requests_daily.rejected": "Requests rejected on the day, at the best known time.",
    "COLUMN release_requests_daily.cancelled": "Requests cancelled on the day, at the best known time.",
    "COLUMN release_requests_daily.open_at_end": "Requests that were neither resolved nor missing at the end of the day; for today, now.",
}


def upgrade() -> None:
    """Create the views: in SQLite all of them anew; in Postgres nothing that depends on them is lost."""
    if op.get_context().dialect.name == "sqlite":
        drop(views_before())
        create(SQLITE_VIEWS)
    else:
        create(POSTGRESQL_VIEWS, replace=True)
        comment({what: after for what, (_, after) in TABLE_COMMENTS.items()} | VIEW_COMMENTS)


def downgrade() -> None:
    """Drop the two new views, and give the others back the form they had."""
    if op.get_context().dialect.name == "sqlite":
        drop(SQLITE_VIEWS)
        create(views_before())
    else:
        drop([name for name in POSTGRESQL_VIEWS if name not in views_before()])
        create(views_before(), replace=True)
        before = {what: before for what, (before, _) in TABLE_COMMENTS.items()}
        kept = {what: text for what, text in comments_before().items() if what in VIEW_COMMENTS}
        comment(before | kept)


def views_before() -> dict[str, str]:
    """The views as revision 0002 made them."""
    return revision_0002()["VIEWS"]


def comments_before() -> dict[str, str]:
    """What revision 0002 said of them."""
    return revision_0002()["COMMENTS"]


def revision_0002() -> dict[str, Any]:
    """What stands in revision 0002, which never changes."""
    return runpy.run_path(str(Path(__file__).with_name("0002_views.py")))


def create(views: dict[str, str], *, replace: bool = False) -> None:
    """Create views, in their order."""
    for name, query in views.items():
        op.execute(f"CREATE {'OR REPLACE ' * replace}VIEW {name} AS\n{query.strip()}")


def drop(views: Collection[str]) -> None:
    """Drop views, the last one first."""
    for name in reversed(list(views)):
        op.execute(f"DROP VIEW {name}")


def comment(comments: dict[str, str]) -> None:
    """Set comments."""
    for what, text in comments.items():
        quoted = text.replace("'", "''")
        op.execute(f"COMMENT ON {what} IS '{quoted}'")
