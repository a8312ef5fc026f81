-- What the syncs saw change in requests known before: a row per change.
CREATE VIEW release_request_changes AS
WITH
-- Each past version beside its successor: the version of the same request that begins when it ends,
-- which is the current one or a past one.
-- `id || '' = id` is always true, but Postgres expects it of one row in 200. It then looks
-- successors up by index; without it, it reads a table of 100,000 rows to find 1,000 of them.
succession AS NOT MATERIALIZED (
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
  JOIN release_requests AS later ON later.id = earlier.id AND later.valid_from = earlier.valid_to
  WHERE earlier.id || '' = earlier.id
  UNION ALL
  SELECT earlier.id, later.environment, earlier.valid_to,
         earlier.phone_number_id, later.phone_number_id,
         earlier.phone_number, later.phone_number, earlier.reason, later.reason,
         earlier.status, later.status, earlier.rejection_reason, later.rejection_reason,
         earlier.requested_at, later.requested_at, earlier.resolved_at, later.resolved_at,
         earlier.missing_since, later.missing_since, later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_request_past_versions AS later
    ON later.id = earlier.id AND later.valid_from = earlier.valid_to
  WHERE earlier.id || '' = earlier.id
),
-- The names of the fields that differ.
differences AS NOT MATERIALIZED (
  SELECT request_id, environment, new_phone_number AS phone_number, changed_at,
         old_status, new_status, old_resolved_at, new_resolved_at,
         old_missing_since, new_missing_since, sync_run_id,
         concat_ws(
           ',',
           CASE WHEN old_phone_number_id IS DISTINCT FROM new_phone_number_id
                THEN 'phone_number_id' END,
           CASE WHEN old_phone_number <> new_phone_number THEN 'phone_number' END,
           CASE WHEN old_reason IS DISTINCT FROM new_reason THEN 'reason' END,
           CASE WHEN old_status <> new_status THEN 'status' END,
           CASE WHEN old_rejection_reason IS DISTINCT FROM new_rejection_reason
                THEN 'rejection_reason' END,
           CASE WHEN old_requested_at <> new_requested_at THEN 'requested_at' END,
           CASE WHEN old_resolved_at IS DISTINCT FROM new_resolved_at THEN 'resolved_at' END
         ) AS changed_fields
  FROM succession
),
-- The request is no longer in the list, or in it again.
presence AS (
  SELECT request_id, environment, phone_number, changed_at,
         CASE WHEN new_missing_since IS NULL THEN 'returned' ELSE 'vanished' END AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id,
         '' AS changed_fields
  FROM differences
  WHERE (old_missing_since IS NULL) <> (new_missing_since IS NULL)
),
-- Its fields changed. Versions that are both in the list differ in some field; one that returned
-- may have come back as it was.
content AS (
  SELECT request_id, environment, phone_number, changed_at,
         CASE
           WHEN new_status = 'pending' AND old_status <> 'pending' THEN 'reopened'
           WHEN (new_status IN ('approved', 'rejected', 'cancelled')
                 OR new_status <> 'pending' AND new_resolved_at IS NOT NULL)
            AND NOT (old_status IN ('approved', 'rejected', 'cancelled')
                     OR old_status <> 'pending' AND old_resolved_at IS NOT NULL) THEN 'resolved'
           ELSE 'corrected'
         END AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id, changed_fields
  FROM differences
  WHERE new_missing_since IS NULL AND (old_missing_since IS NULL OR changed_fields <> '')
)
SELECT * FROM presence
UNION ALL
SELECT * FROM content;
