-- The history of each phone number: one row per event, over all its requests. The events of
-- a request are listed under its current number.
--
-- A SELECT ... WHERE 0 gives a column its declared type; see release_request_versions.sql, also for
-- what the SQL avoids.
CREATE VIEW phone_number_history AS
WITH
-- Each request was submitted once.
requested AS (
  SELECT environment, phone_number, phone_number_id, requested_at AS occurred_at,
         'requested' AS event, id AS request_id, 'pending' AS status, reason,
         NULL AS rejection_reason, 'reported' AS time_source, first_seen_at AS observed_at,
         requested_at, 0 AS was_missing
  FROM release_requests
),
-- The last version with each status that a request has or had: the current version, and each past
-- one whose successor has another status.
last_of_status AS (
  SELECT environment, phone_number, phone_number_id, id, status, reason, rejection_reason,
         requested_at, resolved_at, first_seen_at, valid_from
  FROM release_requests
  UNION ALL
  SELECT request.environment, request.phone_number, request.phone_number_id, past.id, past.status,
         past.reason, past.rejection_reason, request.requested_at, past.resolved_at,
         past.first_seen_at, past.valid_from
  FROM release_requests AS request
  JOIN release_request_past_versions AS past ON past.id = request.id
  LEFT JOIN release_request_past_versions AS successor
    ON successor.id = past.id AND successor.valid_from = past.valid_to
  WHERE coalesce(successor.status, request.status) <> past.status
),
-- When a sync first saw that status: when the last version with another status before it ended.
-- Null for the status that the request had when it was first seen.
entered AS (
  SELECT version.*,
         (SELECT earlier.valid_to FROM release_request_past_versions AS earlier
          WHERE earlier.id = version.id AND earlier.valid_from < version.valid_from
            AND earlier.status <> version.status
          ORDER BY earlier.valid_from DESC LIMIT 1) AS entered_at
  FROM last_of_status AS version
),
-- When it was entered as the API reported it, unless the API had reported the same time when the
-- request had that status before.
reported AS (
  SELECT version.*,
         CASE WHEN status <> 'pending'
               AND NOT EXISTS (
                 SELECT 1 FROM release_request_past_versions AS earlier
                 WHERE earlier.id = version.id AND earlier.valid_to <= version.entered_at
                   AND earlier.status = version.status
                   AND earlier.resolved_at = version.resolved_at)
              THEN resolved_at END AS reported_at
  FROM entered AS version
),
-- The best known time is the reported one, then the observed one. There is none for the status that
-- the request had when it was first seen. That it was pending then is no event.
status_entered AS (
  SELECT environment, phone_number, phone_number_id,
         coalesce(reported_at, entered_at) AS occurred_at,
         CASE WHEN status = 'pending' THEN 'reopened' ELSE status END AS event,
         id AS request_id, status, reason, rejection_reason,
         CASE WHEN reported_at IS NOT NULL THEN 'reported'
              WHEN entered_at IS NOT NULL THEN 'observed'
              ELSE 'unknown' END AS time_source,
         coalesce(entered_at, first_seen_at) AS observed_at, requested_at, 0 AS was_missing
  FROM reported
  WHERE status <> 'pending' OR entered_at IS NOT NULL
),
-- Requests that are no longer in the list, and those that once were not.
vanished AS (
  SELECT environment, phone_number, phone_number_id, missing_since AS occurred_at,
         'vanished' AS event, id AS request_id, status, reason, rejection_reason,
         'observed' AS time_source, missing_since AS observed_at, requested_at,
         0 AS was_missing
  FROM release_requests
  WHERE missing_since IS NOT NULL
  UNION ALL
  SELECT request.environment, request.phone_number, request.phone_number_id, past.missing_since,
         'vanished', request.id, past.status, past.reason, past.rejection_reason, 'observed',
         past.missing_since, request.requested_at, 0
  FROM release_requests AS request
  JOIN release_request_past_versions AS past ON past.id = request.id
  WHERE past.missing_since IS NOT NULL
),
-- What followed a missing version, which is a past version or the current one.
-- coalesce() keeps SQLite from looking past versions up by valid_to, which is the same for all that
-- one sync superseded.
returned AS (
  SELECT request.environment, request.phone_number, request.phone_number_id,
         past.valid_to AS occurred_at, 'returned' AS event, request.id AS request_id,
         successor.status, successor.reason, successor.rejection_reason,
         'observed' AS time_source, past.valid_to AS observed_at, request.requested_at,
         1 AS was_missing
  FROM release_requests AS request
  JOIN release_request_past_versions AS past ON past.id = request.id
  JOIN release_request_past_versions AS successor
    ON successor.id = past.id AND successor.valid_from = past.valid_to
  WHERE past.missing_since IS NOT NULL
  UNION ALL
  SELECT request.environment, request.phone_number, request.phone_number_id, past.valid_to,
         'returned', request.id, request.status, request.reason, request.rejection_reason,
         'observed', past.valid_to, request.requested_at, 1
  FROM release_requests AS request
  JOIN release_request_past_versions AS past
    ON past.id = request.id AND coalesce(past.valid_to, NULL) = request.valid_from
  WHERE past.missing_since IS NOT NULL
),
-- All of them, each with what its not_before depends on: whether the request was missing before.
events AS (
  SELECT * FROM requested
  UNION ALL
  SELECT * FROM status_entered
  UNION ALL
  SELECT * FROM vanished
  UNION ALL
  SELECT * FROM returned
),
-- What a sync saw change had not yet changed when the last complete run before it saw the request
-- in its former state: a run while that version was valid, and no record of the request was in
-- quarantine. If none is left (quarantine has only the first and the last day of a record), it was
-- seen when the request went missing, or got its former status: later versions may have been read
-- from entries whose status was unreadable.
history AS (
  SELECT environment, phone_number, phone_number_id, occurred_at, event, request_id, status, reason,
         rejection_reason, time_source, observed_at,
         CASE time_source
           WHEN 'unknown' THEN requested_at
           WHEN 'observed' THEN (
             SELECT (SELECT max(seen_at) FROM (
                       SELECT event.requested_at AS seen_at
                       UNION ALL
                       SELECT coalesce(
                         (SELECT run.observed_at FROM sync_runs AS run
                          WHERE run.environment = event.environment
                            AND run.observed_at >= former.valid_from
                            AND run.observed_at < former.valid_to
                            AND NOT EXISTS (
                              SELECT 1 FROM quarantined_records AS record
                              WHERE record.environment = event.environment
                                AND record.request_id = event.request_id
                                AND record.first_seen_at <= run.observed_at
                                AND (record.resolved_at IS NULL
                                     OR record.resolved_at > run.observed_at))
                          ORDER BY run.observed_at DESC LIMIT 1),
                         CASE WHEN event.was_missing = 1 THEN former.valid_from
                              ELSE (SELECT max(earlier.valid_to)
                                    FROM release_request_past_versions AS earlier
                                    WHERE earlier.id = former.id
                                      AND earlier.valid_from < former.valid_from
                                      AND earlier.status <> former.status) END,
                         former.first_seen_at)) AS known)
             FROM release_request_past_versions AS former
             WHERE former.id = event.request_id AND former.valid_from < event.observed_at
               AND (former.missing_since IS NOT NULL) = event.was_missing
             ORDER BY former.valid_from DESC LIMIT 1)
         END AS not_before
  FROM events AS event
)
SELECT environment, phone_number, phone_number_id,
       (SELECT occurred_at UNION ALL SELECT first_seen_at FROM release_requests WHERE 0)
         AS occurred_at,
       (SELECT event UNION ALL SELECT status FROM release_requests WHERE 0) AS event,
       request_id,
       (SELECT status UNION ALL SELECT environment FROM release_requests WHERE 0) AS status,
       reason,
       (SELECT rejection_reason UNION ALL SELECT environment FROM release_requests WHERE 0)
         AS rejection_reason,
       (SELECT time_source UNION ALL SELECT status FROM release_requests WHERE 0) AS time_source,
       (SELECT observed_at UNION ALL SELECT first_seen_at FROM release_requests WHERE 0)
         AS observed_at,
       (SELECT not_before UNION ALL SELECT first_seen_at FROM release_requests WHERE 0)
         AS not_before
FROM history;
