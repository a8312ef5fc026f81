-- How long reviews took: one row per resolved request.
--
-- (SELECT <expression> UNION ALL SELECT <column> WHERE 0) is the expression with the column's
-- declared type; see release_request_versions.sql.
CREATE VIEW release_request_turnaround AS
WITH
-- Requests whose time of resolution the API reported. The column is passed on as it is, so a filter
-- on it reaches the index.
reported AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         (SELECT 'reported' UNION ALL SELECT status WHERE 0) AS time_source
  FROM release_requests
  WHERE status <> 'pending' AND resolved_at IS NOT NULL
),
-- When the others got their status: when the last version with another one ended.
entered AS (
  SELECT request.id, request.environment, request.phone_number, request.status,
         request.requested_at,
         (SELECT earlier.valid_to FROM release_request_past_versions AS earlier
          WHERE earlier.id = request.id AND earlier.status <> request.status
          ORDER BY earlier.valid_from DESC LIMIT 1) AS entered_at
  FROM release_requests AS request
  WHERE request.status IN ('approved', 'rejected', 'cancelled') AND request.resolved_at IS NULL
),
-- If there is no such version, they had it when they were first seen: since when is unknown.
not_reported AS (
  SELECT id, environment, phone_number, status, requested_at,
         (SELECT entered_at UNION ALL SELECT requested_at WHERE 0) AS resolved_at,
         (SELECT CASE WHEN entered_at IS NULL THEN 'unknown' ELSE 'observed' END
          UNION ALL SELECT status WHERE 0) AS time_source
  FROM entered
),
resolved AS (
  SELECT * FROM reported
  UNION ALL
  SELECT * FROM not_reported
)
-- The hours are a whole number of milliseconds, divided: Postgres comes to the same. Seconds and
-- milliseconds are counted apart, as julianday() is not exact to the millisecond.
SELECT id, environment, phone_number, status, requested_at, resolved_at,
       (SELECT CAST((strftime('%s', substr(resolved_at, 1, 19))
                     - strftime('%s', substr(requested_at, 1, 19))) * 1000
                    + substr(resolved_at, 21, 3) - substr(requested_at, 21, 3) AS REAL) / 3600000
        UNION ALL SELECT seconds FROM sync_runs WHERE 0) AS hours_to_resolve,
       time_source
FROM resolved;
