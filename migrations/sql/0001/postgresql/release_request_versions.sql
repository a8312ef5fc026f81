-- Every version of every release request, past and current, numbered per request.
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
         request.missing_since, request.sync_run_id, CAST(NULL AS timestamptz) AS valid_to,
         1 + (SELECT count(*) FROM release_request_past_versions AS earlier
              WHERE earlier.id = request.id) AS version,
         request.phone_number_e164
  FROM release_requests AS request
)
SELECT * FROM past
UNION ALL
SELECT * FROM current;
