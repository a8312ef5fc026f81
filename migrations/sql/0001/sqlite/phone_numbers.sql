-- Phone numbers for which there were release requests: the last request of each, and sums.
--
-- A SELECT ... WHERE 0 gives a column its declared type; see release_request_versions.sql, also for
-- what the SQL avoids.
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
)
SELECT environment, phone_number, phone_number_id,
       (SELECT requests UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS requests,
       id AS last_request_id, status AS last_status,
       (SELECT first_requested_at UNION ALL SELECT requested_at FROM release_requests WHERE 0)
         AS first_requested_at,
       requested_at AS last_requested_at,
       (SELECT last_resolved_at UNION ALL SELECT resolved_at FROM release_requests WHERE 0)
         AS last_resolved_at,
       (SELECT status = 'approved' UNION ALL SELECT sync_run_id FROM release_requests WHERE 0)
         AS released
FROM ranked
WHERE place = 1;
