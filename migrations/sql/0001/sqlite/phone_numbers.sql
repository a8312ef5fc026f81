-- Phone numbers for which there were release requests: the last request of each, and sums.
--
-- The SELECT ... WHERE 0 gives the columns their declared types; see release_request_versions.sql,
-- also for what the SQL avoids.
CREATE VIEW phone_numbers AS
WITH
-- Each request beside what is known of all requests of its number.
-- The number comes first in PARTITION BY, and a filter on it is applied before the windows.
ranked AS (
  SELECT environment, phone_number, phone_number_id, id, status, requested_at,
         row_number() OVER (PARTITION BY phone_number, environment
                            ORDER BY requested_at DESC, id DESC) AS place,
         count(*) OVER number AS requests,
         min(requested_at) OVER number AS first_requested_at,
         max(resolved_at) OVER number AS last_resolved_at
  FROM release_requests
  WINDOW number AS (PARTITION BY phone_number, environment)
),
numbers AS (
  SELECT environment, phone_number, phone_number_id, requests, id AS last_request_id,
         status AS last_status, first_requested_at, requested_at AS last_requested_at,
         last_resolved_at, status = 'approved' AS released
  FROM ranked
  WHERE place = 1
  UNION ALL
  SELECT environment, phone_number, phone_number_id, sync_run_id, id, status, requested_at,
         requested_at, resolved_at, sync_run_id
  FROM release_requests WHERE 0
)
SELECT * FROM numbers;
