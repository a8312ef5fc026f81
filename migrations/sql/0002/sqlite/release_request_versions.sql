-- Every version of every release request, past and current, numbered per request.
--
-- In SQLite a column of a view has a declared type, which drivers read, only if it is a column of a
-- table. So an expression takes over the type of a column that has the right one: by a SELECT
-- without rows at the end of a UNION ALL in FROM, as here, which Turso understands; or, where
-- SQLite since 3.41 would lose the type, by (SELECT <expression> UNION ALL SELECT <column> FROM
-- <table> WHERE 0). It loses that of a function's value, and of an expression in a CTE below.
--
-- A number that a program binds as text is compared as a number only with a column that has an
-- affinity. The second way gives it; the first one, which is faster, only if such a SELECT is at
-- the beginning too, and the expression is in a CAST.
--
-- The views also run in DuckDB, which reads them in its own dialect, and in SQLite since 3.25. So
-- they have no min() or max() of two values, date() with a modifier, strftime('%s'), unary plus,
-- comparison of rows by IS NOT, integer division, REAL (of 32 bits there) or MATERIALIZED. Times
-- are cast to text before substr().
CREATE VIEW release_request_versions AS
WITH
-- A current version has no end yet, and comes after all past ones.
versions AS (
  SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason,
         requested_at, resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id,
         valid_to, sync_run_id AS version, phone_number_e164
  FROM release_request_past_versions WHERE 0
  UNION ALL
  SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason,
         requested_at, resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id,
         valid_to,
         CAST(1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                   WHERE earlier.id = version.id
                     AND earlier.valid_from < version.valid_from) AS bigint) AS version,
         phone_number_e164
  FROM release_request_past_versions AS version
  UNION ALL
  SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason,
         requested_at, resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id,
         NULL,
         CAST(1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                   WHERE earlier.id = request.id) AS bigint),
         phone_number_e164
  FROM release_requests AS request
  UNION ALL
  SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason,
         requested_at, resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id,
         valid_to, sync_run_id, phone_number_e164
  FROM release_request_past_versions WHERE 0
)
SELECT * FROM versions;
