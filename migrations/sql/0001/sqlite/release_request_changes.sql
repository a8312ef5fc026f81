-- What the syncs saw change in requests known before: a row per change.
--
-- A SELECT ... WHERE 0 gives a column its declared type; see release_request_versions.sql, also for
-- what the SQL avoids.
CREATE VIEW release_request_changes AS
WITH
-- Each past version beside its successor: the version of the same request that begins when it ends,
-- which is the current one or a past one.
-- coalesce() keeps SQLite from looking past versions up by valid_to, which is the same for all that
-- one sync superseded.
succession AS (
  SELECT earlier.id AS request_id, later.environment, later.phone_number,
         earlier.valid_to AS changed_at,
         earlier.status AS old_status, later.status AS new_status,
         earlier.resolved_at AS old_resolved_at, later.resolved_at AS new_resolved_at,
         earlier.missing_since AS old_missing_since, later.missing_since AS new_missing_since,
         (earlier.phone_number, earlier.status, earlier.requested_at)
         <> (later.phone_number, later.status, later.requested_at)
         OR coalesce(earlier.phone_number_id <> later.phone_number_id,
                     coalesce(earlier.phone_number_id, later.phone_number_id) IS NOT NULL)
         OR coalesce(earlier.reason <> later.reason,
                     coalesce(earlier.reason, later.reason) IS NOT NULL)
         OR coalesce(earlier.rejection_reason <> later.rejection_reason,
                     coalesce(earlier.rejection_reason, later.rejection_reason) IS NOT NULL)
         OR coalesce(earlier.resolved_at <> later.resolved_at,
                     coalesce(earlier.resolved_at, later.resolved_at) IS NOT NULL)
           AS fields_differ,
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_requests AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
  UNION ALL
  SELECT earlier.id, later.environment, later.phone_number, earlier.valid_to,
         earlier.status, later.status, earlier.resolved_at, later.resolved_at,
         earlier.missing_since, later.missing_since,
         (earlier.phone_number, earlier.status, earlier.requested_at)
         <> (later.phone_number, later.status, later.requested_at)
         OR coalesce(earlier.phone_number_id <> later.phone_number_id,
                     coalesce(earlier.phone_number_id, later.phone_number_id) IS NOT NULL)
         OR coalesce(earlier.reason <> later.reason,
                     coalesce(earlier.reason, later.reason) IS NOT NULL)
         OR coalesce(earlier.rejection_reason <> later.rejection_reason,
                     coalesce(earlier.rejection_reason, later.rejection_reason) IS NOT NULL)
         OR coalesce(earlier.resolved_at <> later.resolved_at,
                     coalesce(earlier.resolved_at, later.resolved_at) IS NOT NULL),
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_request_past_versions AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
),
-- Presence: the request is no longer in the list, or in it again. Content: its fields changed.
-- Versions that are both in the list differ in some field; one that returned may have come back as
-- it was.
changes AS (
  SELECT request_id, environment, phone_number, changed_at,
         CASE
           WHEN aspect = 'presence'
             THEN CASE WHEN new_missing_since IS NULL THEN 'returned' ELSE 'vanished' END
           WHEN new_status = 'pending' AND old_status <> 'pending' THEN 'reopened'
           WHEN (new_status IN ('approved', 'rejected', 'cancelled')
                 OR new_status <> 'pending' AND new_resolved_at IS NOT NULL)
            AND NOT (old_status IN ('approved', 'rejected', 'cancelled')
                     OR old_status <> 'pending' AND old_resolved_at IS NOT NULL) THEN 'resolved'
           ELSE 'corrected'
         END AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id
  FROM succession
  CROSS JOIN (SELECT 'presence' AS aspect UNION ALL SELECT 'content') AS aspects
  WHERE CASE aspect
          WHEN 'presence' THEN (old_missing_since IS NULL) <> (new_missing_since IS NULL)
          ELSE new_missing_since IS NULL AND (old_missing_since IS NULL OR fields_differ)
        END
  UNION ALL
  SELECT id, environment, phone_number, valid_to, status, status, status, resolved_at, resolved_at,
         sync_run_id
  FROM release_request_past_versions WHERE 0
)
SELECT * FROM changes;
