-- How long reviews took: one row per resolved request.
--
-- The last SELECT has no row, but gives the columns their declared types; see
-- release_request_versions.sql.
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
         request.requested_at, earlier.valid_to AS resolved_at,
         CASE WHEN earlier.valid_to IS NULL THEN 'unknown' ELSE 'observed' END AS time_source
  FROM release_requests AS request
  LEFT JOIN release_request_past_versions AS earlier
    ON earlier.id = request.id AND earlier.status <> request.status
  WHERE request.status IN ('approved', 'rejected', 'cancelled') AND request.resolved_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM release_request_past_versions AS later
                    WHERE later.id = request.id AND later.valid_from > earlier.valid_from
                      AND later.status <> request.status)
),
resolved AS (
  SELECT * FROM reported
  UNION ALL
  SELECT * FROM not_reported
),
-- The parts of both times; of the time of day the milliseconds. DuckDB leaves out the fraction where
-- it is 0.
parts AS (
  SELECT resolved.*,
         CAST(substr(CAST(requested_at AS text), 1, 4) AS integer) AS requested_year,
         CAST(substr(CAST(requested_at AS text), 6, 2) AS integer) AS requested_month,
         CAST(substr(CAST(requested_at AS text), 9, 2) AS integer) AS requested_day,
         CAST(substr(CAST(requested_at AS text), 12, 2) AS integer) * 3600000
           + CAST(substr(CAST(requested_at AS text), 15, 2) AS integer) * 60000
           + CAST(replace(substr(substr(CAST(requested_at AS text), 18) || '.000', 1, 6), '.', '')
                  AS integer) AS requested_time,
         CAST(substr(CAST(resolved_at AS text), 1, 4) AS integer) AS resolved_year,
         CAST(substr(CAST(resolved_at AS text), 6, 2) AS integer) AS resolved_month,
         CAST(substr(CAST(resolved_at AS text), 9, 2) AS integer) AS resolved_day,
         CAST(substr(CAST(resolved_at AS text), 12, 2) AS integer) * 3600000
           + CAST(substr(CAST(resolved_at AS text), 15, 2) AS integer) * 60000
           + CAST(replace(substr(substr(CAST(resolved_at AS text), 18) || '.000', 1, 6), '.', '')
                  AS integer) AS resolved_time
  FROM resolved
),
-- The year begins in March here, so that the leap day is its last.
years AS (
  SELECT parts.*,
         requested_year - CASE WHEN requested_month < 3 THEN 1 ELSE 0 END AS requested_y,
         resolved_year - CASE WHEN resolved_month < 3 THEN 1 ELSE 0 END AS resolved_y
  FROM parts
),
-- Days from the first of one month to the first of the other.
months AS (
  SELECT years.*,
         CASE WHEN resolved_year = requested_year AND resolved_month = requested_month THEN 0
              ELSE 365 * resolved_y + (resolved_y - resolved_y % 4) / 4 - (resolved_y - resolved_y % 100) / 100
             + (resolved_y - resolved_y % 400) / 400
             + CAST(substr('306337000031061092122153184214245275', resolved_month * 3 - 2, 3) AS integer)
                   - (365 * requested_y + (requested_y - requested_y % 4) / 4 - (requested_y - requested_y % 100) / 100
             + (requested_y - requested_y % 400) / 400
             + CAST(substr('306337000031061092122153184214245275', requested_month * 3 - 2, 3) AS integer))
         END AS days_between
  FROM years
)
-- The hours are a whole number of milliseconds, divided: Postgres comes to the same. julianday() is not
-- exact to the millisecond.
SELECT id, environment, phone_number, status, requested_at, resolved_at,
       CAST((days_between + resolved_day - requested_day) * 86400000 + resolved_time - requested_time
            AS double precision) / 3600000 AS hours_to_resolve,
       time_source
FROM months
UNION ALL
SELECT request.id, request.environment, request.phone_number, request.status,
       request.requested_at, request.resolved_at, run.seconds, request.status
FROM release_requests AS request CROSS JOIN sync_runs AS run WHERE 0;
