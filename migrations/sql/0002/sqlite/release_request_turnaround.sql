-- How long reviews took: one row per resolved request.
--
-- A SELECT ... WHERE 0 gives a column its declared type; see release_request_versions.sql, also for
-- what the SQL avoids.
CREATE VIEW release_request_turnaround AS
WITH
-- Requests whose time of resolution the API reported. The column is passed on as it is, so a filter
-- on it reaches the index.
reported AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         1 AS is_reported
  FROM release_requests
  WHERE status <> 'pending' AND resolved_at IS NOT NULL
),
-- The others got their status when the last version with another one ended. If there is no such
-- version, they had it when they were first seen: since when is unknown.
not_reported AS (
  SELECT request.id, request.environment, request.phone_number, request.status,
         request.requested_at, earlier.valid_to AS resolved_at, 0 AS is_reported
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
-- The hours are a whole number of milliseconds, divided: Postgres comes to the same. julianday() is
-- not exact to the millisecond. The parts are in a SELECT without FROM because SQLite computes such
-- columns once a row: it would compute those of a CTE wherever they are used.
turnaround AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         (SELECT CAST((CASE WHEN resolved_year = requested_year
                             AND resolved_month = requested_month THEN 0
                            ELSE days_before_resolved - days_before_requested END
                       + resolved_day - requested_day) * 86400000 + resolved_time - requested_time
                      AS double precision) / 3600000
          FROM (
            -- The count of days before the month: those of earlier years, and of earlier months of
            -- this year, three digits for each month from January on.
            SELECT years.*,
                   365 * requested_from_march
                     + (requested_from_march - requested_from_march % 4) / 4
                     - (requested_from_march - requested_from_march % 100) / 100
                     + (requested_from_march - requested_from_march % 400) / 400
                     + CAST(substr('306337000031061092122153184214245275',
                                   requested_month * 3 - 2, 3) AS integer) AS days_before_requested,
                   365 * resolved_from_march
                     + (resolved_from_march - resolved_from_march % 4) / 4
                     - (resolved_from_march - resolved_from_march % 100) / 100
                     + (resolved_from_march - resolved_from_march % 400) / 400
                     + CAST(substr('306337000031061092122153184214245275',
                                   resolved_month * 3 - 2, 3) AS integer) AS days_before_resolved
            FROM (
              -- The year in which February is the last month, so that a leap day is its last day.
              SELECT parts.*,
                     requested_year - CASE WHEN requested_month < 3 THEN 1 ELSE 0 END
                       AS requested_from_march,
                     resolved_year - CASE WHEN resolved_month < 3 THEN 1 ELSE 0 END
                       AS resolved_from_march
              FROM (
                -- The parts of both times, and the milliseconds since midnight. DuckDB's text of
                -- a time has no zeros at the end of the fraction.
                SELECT CAST(substr(CAST(requested_at AS text), 1, 4) AS integer) AS requested_year,
                       CAST(substr(CAST(requested_at AS text), 6, 2) AS integer) AS requested_month,
                       CAST(substr(CAST(requested_at AS text), 9, 2) AS integer) AS requested_day,
                       CAST(substr(CAST(requested_at AS text), 12, 2) AS integer) * 3600000
                         + CAST(substr(CAST(requested_at AS text), 15, 2) AS integer) * 60000
                         + CAST(substr(replace(substr(CAST(requested_at AS text), 18), '.', '')
                                       || '000', 1, 5) AS integer) AS requested_time,
                       CAST(substr(CAST(resolved_at AS text), 1, 4) AS integer) AS resolved_year,
                       CAST(substr(CAST(resolved_at AS text), 6, 2) AS integer) AS resolved_month,
                       CAST(substr(CAST(resolved_at AS text), 9, 2) AS integer) AS resolved_day,
                       CAST(substr(CAST(resolved_at AS text), 12, 2) AS integer) * 3600000
                         + CAST(substr(CAST(resolved_at AS text), 15, 2) AS integer) * 60000
                         + CAST(substr(replace(substr(CAST(resolved_at AS text), 18), '.', '')
                                       || '000', 1, 5) AS integer) AS resolved_time
              ) AS parts
            ) AS years
          ) AS months) AS hours_to_resolve,
         CASE WHEN is_reported = 1 THEN 'reported' WHEN resolved_at IS NULL THEN 'unknown'
              ELSE 'observed' END AS time_source
  FROM resolved
  UNION ALL
  SELECT id, environment, phone_number, status, requested_at, resolved_at, NULL, status
  FROM release_requests WHERE 0
)
SELECT id, environment, phone_number, status, requested_at, resolved_at,
       (SELECT hours_to_resolve UNION ALL SELECT seconds FROM sync_runs WHERE 0)
         AS hours_to_resolve,
       time_source
FROM turnaround;
