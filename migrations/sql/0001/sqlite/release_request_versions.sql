-- Every version of every release request, past and current, numbered per request.
--
-- In SQLite a column of a view has a declared type only if it is a column of a table, and ODBC and
-- JDBC drivers read that type. So an expression takes over the type of a column that has the right
-- one: (SELECT <expression> UNION ALL SELECT <column> WHERE 0) gives the expression's value.
CREATE VIEW release_request_versions AS
WITH
past AS (
  SELECT version.id, version.environment, version.phone_number_id, version.phone_number,
         version.reason, version.status, version.rejection_reason, version.requested_at,
         version.resolved_at, version.extra, version.first_seen_at, version.valid_from,
         version.missing_since, version.sync_run_id, version.valid_to,
         (SELECT 1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                      WHERE earlier.id = version.id AND earlier.valid_from < version.valid_from)
          UNION ALL SELECT version.sync_run_id WHERE 0) AS version,
         version.phone_number_e164
  FROM release_request_past_versions AS version
),
-- A current version has no end yet, and comes after all past ones.
current AS (
  SELECT request.id, request.environment, request.phone_number_id, request.phone_number,
         request.reason, request.status, request.rejection_reason, request.requested_at,
         request.resolved_at, request.extra, request.first_seen_at, request.valid_from,
         request.missing_since, request.sync_run_id,
         (SELECT request.valid_from WHERE 0) AS valid_to,
         (SELECT 1 + (SELECT count(*) FROM release_request_past_versions AS earlier
                      WHERE earlier.id = request.id)
          UNION ALL SELECT request.sync_run_id WHERE 0) AS version,
         request.phone_number_e164
  FROM release_requests AS request
)
SELECT * FROM past
UNION ALL
SELECT * FROM current;
