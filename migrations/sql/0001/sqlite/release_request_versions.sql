-- Every version of every release request, past and current, numbered per request.
--
-- In SQLite a column of a view has a declared type only if it is a column of a table; drivers read
-- that type, and SQLite takes it from the last SELECT of a UNION ALL. So each view ends with a SELECT
-- of columns of the right types, which has no row.
--
-- DuckDB runs the views in its own dialect, where min() and max() of two values, `date(…, '+1 day')`,
-- strftime('%s') and a unary + mean something else or nothing; `/` is not integer division, and REAL
-- has 32 bits. SQLite before 3.35 knows no MATERIALIZED.
CREATE VIEW release_request_versions AS
WITH
past AS (
  SELECT version.id, version.environment, version.phone_number_id, version.phone_number,
         version.reason, version.status, version.rejection_reason, version.requested_at,
         version.resolved_at, version.extra, version.first_seen_at, version.valid_from,
         version.missing_since, version.sync_run_id, version.valid_to,
         1 + (SELECT count(*) FROM release_request_past_versions AS earlier
              WHERE earlier.id = version.id AND earlier.valid_from < version.valid_from) AS version,
         version.phone_number_e164
  FROM release_request_past_versions AS version
),
-- A current version has no end yet, and comes after all past ones.
current AS (
  SELECT request.id, request.environment, request.phone_number_id, request.phone_number,
         request.reason, request.status, request.rejection_reason, request.requested_at,
         request.resolved_at, request.extra, request.first_seen_at, request.valid_from,
         request.missing_since, request.sync_run_id, NULL AS valid_to,
         1 + (SELECT count(*) FROM release_request_past_versions AS earlier
              WHERE earlier.id = request.id) AS version,
         request.phone_number_e164
  FROM release_requests AS request
)
SELECT * FROM past
UNION ALL
SELECT * FROM current
UNION ALL
SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason, requested_at,
       resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id, valid_to,
       sync_run_id, phone_number_e164
FROM release_request_past_versions WHERE 0;
