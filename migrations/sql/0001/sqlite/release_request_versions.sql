-- Every version of every release request, past and current, numbered per request.
--
-- In SQLite a column of a view has a declared type, which drivers read, only if it is a column of a
-- table. So an expression takes over the type of a column that has the right one:
-- (SELECT <expression> UNION ALL SELECT <column> FROM <table> WHERE 0) is its value. Since SQLite
-- 3.41 PRAGMA table_info has no type for a UNION ALL of an expression and such a column in FROM, and
-- DuckDB stumbles over the last SELECT without FROM.
--
-- The views also run in DuckDB, which reads them in its own dialect, and in SQLite since 3.25. So
-- they have no min() or max() of two values, date() with a modifier, strftime('%s'), unary plus,
-- comparison of rows by IS NOT, integer division, REAL (of 32 bits there) or MATERIALIZED. Times
-- are cast to text before substr().
CREATE VIEW release_request_versions AS
WITH
past AS (
  SELECT version.id, version.environment, version.phone_number_id, version.phone_number,
         version.reason, version.status, version.rejection_reason, version.requested_at,
         version.resolved_at, version.extra, version.first_seen_at, version.valid_from,
         version.missing_since, version.sync_run_id, version.valid_to,
         (SELECT 1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                      WHERE earlier.id = version.id AND earlier.valid_from < version.valid_from)
          UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS version,
         version.phone_number_e164
  FROM release_request_past_versions AS version
),
-- A current version has no end yet, and comes after all past ones.
current AS (
  SELECT request.id, request.environment, request.phone_number_id, request.phone_number,
         request.reason, request.status, request.rejection_reason, request.requested_at,
         request.resolved_at, request.extra, request.first_seen_at, request.valid_from,
         request.missing_since, request.sync_run_id,
         (SELECT valid_from FROM release_requests WHERE 0) AS valid_to,
         (SELECT 1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                      WHERE earlier.id = request.id)
          UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS version,
         request.phone_number_e164
  FROM release_requests AS request
),
versions AS (
  SELECT * FROM past
  UNION ALL
  SELECT * FROM current
  UNION ALL
  SELECT id, environment, phone_number_id, phone_number, reason, status, rejection_reason,
         requested_at, resolved_at, extra, first_seen_at, valid_from, missing_since, sync_run_id,
         valid_to, sync_run_id, phone_number_e164
  FROM release_request_past_versions WHERE 0
)
SELECT * FROM versions;
