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
  SELECT earlier.id AS request_id, later.environment, earlier.valid_to AS changed_at,
         earlier.phone_number_id AS old_phone_number_id,
         later.phone_number_id AS new_phone_number_id,
         earlier.phone_number AS old_phone_number, later.phone_number AS new_phone_number,
         earlier.reason AS old_reason, later.reason AS new_reason,
         earlier.status AS old_status, later.status AS new_status,
         earlier.rejection_reason AS old_rejection_reason,
         later.rejection_reason AS new_rejection_reason,
         earlier.requested_at AS old_requested_at, later.requested_at AS new_requested_at,
         earlier.resolved_at AS old_resolved_at, later.resolved_at AS new_resolved_at,
         earlier.missing_since AS old_missing_since, later.missing_since AS new_missing_since,
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_requests AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
  UNION ALL
  SELECT earlier.id, later.environment, earlier.valid_to,
         earlier.phone_number_id, later.phone_number_id,
         earlier.phone_number, later.phone_number, earlier.reason, later.reason,
         earlier.status, later.status, earlier.rejection_reason, later.rejection_reason,
         earlier.requested_at, later.requested_at, earlier.resolved_at, later.resolved_at,
         earlier.missing_since, later.missing_since, later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_request_past_versions AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
),
-- The names of the fields that differ.
differences AS (
  SELECT request_id, environment, new_phone_number AS phone_number, changed_at,
         old_status, new_status, old_resolved_at, new_resolved_at,
         old_missing_since, new_missing_since, sync_run_id,
         substr(
           CASE WHEN coalesce(old_phone_number_id <> new_phone_number_id,
                            coalesce(old_phone_number_id, new_phone_number_id) IS NOT NULL)
                THEN ',phone_number_id' ELSE '' END
           || CASE WHEN old_phone_number <> new_phone_number THEN ',phone_number' ELSE '' END
           || CASE WHEN coalesce(old_reason <> new_reason,
                            coalesce(old_reason, new_reason) IS NOT NULL)
                THEN ',reason' ELSE '' END
           || CASE WHEN old_status <> new_status THEN ',status' ELSE '' END
           || CASE WHEN coalesce(old_rejection_reason <> new_rejection_reason,
                            coalesce(old_rejection_reason, new_rejection_reason) IS NOT NULL)
                THEN ',rejection_reason' ELSE '' END
           || CASE WHEN old_requested_at <> new_requested_at THEN ',requested_at' ELSE '' END
           || CASE WHEN coalesce(old_resolved_at <> new_resolved_at,
                            coalesce(old_resolved_at, new_resolved_at) IS NOT NULL)
                THEN ',resolved_at' ELSE '' END,
           2
         ) AS fields
  FROM succession
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
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id,
         CAST(CASE aspect WHEN 'presence' THEN '' ELSE fields END AS text) AS changed_fields
  FROM differences
  CROSS JOIN (SELECT 'presence' AS aspect UNION ALL SELECT 'content') AS aspects
  WHERE CASE aspect
          WHEN 'presence' THEN (old_missing_since IS NULL) <> (new_missing_since IS NULL)
          ELSE new_missing_since IS NULL AND (old_missing_since IS NULL OR fields <> '')
        END
  UNION ALL
  SELECT id, environment, phone_number, valid_to, status, status, status, resolved_at, resolved_at,
         sync_run_id, reason
  FROM release_request_past_versions WHERE 0
)
SELECT * FROM changes;
