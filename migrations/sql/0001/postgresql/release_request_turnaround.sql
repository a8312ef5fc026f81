-- How long reviews took: one row per resolved request.
CREATE VIEW release_request_turnaround AS
WITH
-- Requests whose time of resolution the API reported. The column is passed on as it is, so a filter
-- on it reaches the index.
reported AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         'reported' AS time_source
  FROM release_requests
  WHERE status <> 'pending' AND resolved_at IS NOT NULL
),
-- The others got their status when the last version with another one ended. If there is no such
-- version, they had it when they were first seen: since when is unknown.
not_reported AS (
  SELECT request.id, request.environment, request.phone_number, request.status,
         request.requested_at, entry.entered_at AS resolved_at,
         CASE WHEN entry.entered_at IS NULL THEN 'unknown' ELSE 'observed' END AS time_source
  FROM release_requests AS request
  LEFT JOIN LATERAL (
    SELECT earlier.valid_to FROM release_request_past_versions AS earlier
    WHERE earlier.id = request.id AND earlier.status <> request.status
    ORDER BY earlier.valid_from DESC LIMIT 1
  ) AS entry (entered_at) ON true
  WHERE request.status IN ('approved', 'rejected', 'cancelled') AND request.resolved_at IS NULL
),
resolved AS (
  SELECT * FROM reported
  UNION ALL
  SELECT * FROM not_reported
)
-- The hours are a whole number of milliseconds, divided: SQLite comes to the same.
SELECT id, environment, phone_number, status, requested_at, resolved_at,
       CAST(extract(epoch FROM resolved_at - requested_at) * 1000 AS bigint)
         / CAST(3600000 AS double precision) AS hours_to_resolve,
       time_source
FROM resolved;
