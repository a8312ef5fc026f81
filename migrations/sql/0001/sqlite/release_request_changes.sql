-- What the syncs saw change in requests known before: a row per change.
--
-- (SELECT <expression> UNION ALL SELECT <column> WHERE 0) is the expression with the column's
-- declared type; see release_request_versions.sql.
CREATE VIEW release_request_changes AS
WITH
-- Each past version beside its successor: the version of the same request that begins when it ends,
-- which is the current one or a past one.
-- The + keeps SQLite from looking past versions up by valid_to, which is the same for all that one
-- sync superseded.
succession AS NOT MATERIALIZED (
  SELECT earlier.id AS request_id, later.environment, later.phone_number,
         earlier.valid_to AS changed_at,
         earlier.status AS old_status, later.status AS new_status,
         earlier.resolved_at AS old_resolved_at, later.resolved_at AS new_resolved_at,
         earlier.missing_since AS old_missing_since, later.missing_since AS new_missing_since,
         (earlier.phone_number_id, earlier.phone_number, earlier.reason, earlier.status,
          earlier.rejection_reason, earlier.requested_at, earlier.resolved_at)
         IS NOT
         (later.phone_number_id, later.phone_number, later.reason, later.status,
          later.rejection_reason, later.requested_at, later.resolved_at) AS fields_differ,
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_requests AS later ON later.id = earlier.id AND later.valid_from = +earlier.valid_to
  UNION ALL
  SELECT earlier.id, later.environment, later.phone_number, earlier.valid_to,
         earlier.status, later.status, earlier.resolved_at, later.resolved_at,
         earlier.missing_since, later.missing_since,
         (earlier.phone_number_id, earlier.phone_number, earlier.reason, earlier.status,
          earlier.rejection_reason, earlier.requested_at, earlier.resolved_at)
         IS NOT
         (later.phone_number_id, later.phone_number, later.reason, later.status,
          later.rejection_reason, later.requested_at, later.resolved_at),
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_request_past_versions AS later
    ON later.id = earlier.id AND later.valid_from = +earlier.valid_to
),
-- The request is no longer in the list, or in it again.
presence AS (
  SELECT request_id, environment, phone_number, changed_at,
         (SELECT CASE WHEN new_missing_since IS NULL THEN 'returned' ELSE 'vanished' END
          UNION ALL SELECT new_status WHERE 0) AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id
  FROM succession
  WHERE (old_missing_since IS NULL) <> (new_missing_since IS NULL)
),
-- Its fields changed. Versions that are both in the list differ in some field; one that returned
-- may have come back as it was.
content AS (
  SELECT request_id, environment, phone_number, changed_at,
         (SELECT CASE
            WHEN new_status = 'pending' AND old_status <> 'pending' THEN 'reopened'
            WHEN (new_status IN ('approved', 'rejected', 'cancelled')
                  OR new_status <> 'pending' AND new_resolved_at IS NOT NULL)
             AND NOT (old_status IN ('approved', 'rejected', 'cancelled')
                      OR old_status <> 'pending' AND old_resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected'
          END
          UNION ALL SELECT new_status WHERE 0) AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id
  FROM succession
  WHERE new_missing_since IS NULL AND (old_missing_since IS NULL OR fields_differ)
)
SELECT * FROM presence
UNION ALL
SELECT * FROM content;
