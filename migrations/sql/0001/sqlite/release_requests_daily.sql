-- What happened on each day (UTC) and how many requests were open at its end: the events of
-- phone_number_history, counted.
--
-- A request opens and closes where its events say so, in the order in which syncs observed them: at
-- the best known time, but not after the observation, nor after what came next. So the sum over all
-- days is what is open now, whatever the clocks were like. A request that was resolved at an unknown
-- time before it was first seen is open on no day until it is reopened.
--
-- A SELECT ... WHERE 0 gives a column its declared type; see release_request_versions.sql, also for
-- what the SQL avoids.
CREATE VIEW release_requests_daily AS
WITH RECURSIVE
-- Requests that were missing at some time, or changed after they were resolved. Only their events
-- are sorted one by one, which takes several times as long as what suffices for the others.
complex_ids AS (
  SELECT id FROM release_requests WHERE missing_since IS NOT NULL
  UNION
  SELECT id FROM release_request_past_versions
  WHERE missing_since IS NOT NULL
     OR status IN ('approved', 'rejected', 'cancelled')
     OR status <> 'pending' AND resolved_at IS NOT NULL
),
-- When the resolved ones among all other requests got their status: when the last version with
-- another one ended. With a documented status that is when their current version began, which is
-- the only one with it.
simple_resolved AS (
  SELECT environment, requested_at, first_seen_at, status, resolved_at,
         CASE WHEN valid_from = first_seen_at THEN NULL
              WHEN status IN ('approved', 'rejected', 'cancelled') THEN valid_from
              ELSE (SELECT earlier.valid_to FROM release_request_past_versions AS earlier
                    WHERE earlier.id = request.id AND earlier.status <> request.status
                    ORDER BY earlier.valid_from DESC LIMIT 1) END AS entered_at
  FROM release_requests AS request
  WHERE (status IN ('approved', 'rejected', 'cancelled')
         OR status <> 'pending' AND resolved_at IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM complex_ids WHERE complex_ids.id = request.id)
),
-- All other requests opened once and closed at most once. Where the time of that is unknown,
-- resolved_at is null.
simple_requests AS (
  SELECT environment, requested_at, first_seen_at, status,
         coalesce(resolved_at, entered_at) AS resolved_at,
         coalesce(entered_at, first_seen_at) AS observed_at
  FROM simple_resolved
  UNION ALL
  SELECT environment, requested_at, first_seen_at, NULL, NULL, NULL
  FROM release_requests AS request
  WHERE NOT (status IN ('approved', 'rejected', 'cancelled')
             OR status <> 'pending' AND resolved_at IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM complex_ids WHERE complex_ids.id = request.id)
),
-- The same, grouped by days. Status, resolved_on and closed_on are null for those that are open.
-- Those that were resolved at an unknown time close when they open. They open when they are known,
-- but not after they close: computed below, once a group, which takes half the time.
simple_days AS (
  SELECT environment, requested_on, status, resolved_on, known_on, closed_on, count(*) AS requests
  FROM (SELECT environment, status,
               substr(CAST(requested_at AS text), 1, 10) AS requested_on,
               substr(CAST(resolved_at AS text), 1, 10) AS resolved_on,
               substr(CAST(CASE WHEN requested_at < first_seen_at THEN requested_at
                                ELSE first_seen_at END AS text), 1, 10) AS known_on,
               substr(CAST(CASE WHEN coalesce(resolved_at, requested_at) < observed_at
                                THEN coalesce(resolved_at, requested_at)
                                ELSE observed_at END AS text), 1, 10) AS closed_on
        FROM simple_requests) AS days
  GROUP BY 1, 2, 3, 4, 5, 6
),
-- All versions of the complex requests, each beside the one before it.
complex_versions AS (
  SELECT environment, id, status, requested_at, resolved_at, first_seen_at, valid_from,
         missing_since,
         lag(status) OVER life AS previous_status,
         lag(missing_since) OVER life AS previous_missing_since
  FROM (SELECT request.environment, past.id, past.status, request.requested_at, past.resolved_at,
               past.first_seen_at, past.valid_from, past.missing_since
        FROM release_requests AS request
        JOIN release_request_past_versions AS past ON past.id = request.id
        WHERE request.id IN (SELECT id FROM complex_ids)
        UNION ALL
        SELECT environment, id, status, requested_at, resolved_at, first_seen_at, valid_from,
               missing_since
        FROM release_requests
        WHERE id IN (SELECT id FROM complex_ids)) AS version
  WINDOW life AS (PARTITION BY id ORDER BY valid_from)
),
-- When the period of versions with the same status began.
complex_entries AS (
  SELECT complex_versions.*,
         max(CASE WHEN previous_status IS NULL OR previous_status <> status THEN valid_from END)
           OVER (PARTITION BY id ORDER BY valid_from) AS entered_at
  FROM complex_versions
),
-- Whether the request is open (1 or 0) in the period in which it has the status, while it is in the
-- list. A status that is not documented is closed if the period ends with a resolved_at. If it was
-- closed when it was first seen, and the period ends without one, the time of that is unknown.
complex_states AS (
  SELECT complex_entries.*,
         CASE WHEN status IN ('approved', 'rejected', 'cancelled')
                OR status <> 'pending' AND last_value(resolved_at) OVER period IS NOT NULL
              THEN 0 ELSE 1 END AS is_open,
         last_value(valid_from) OVER period = valid_from AS is_last,
         status IN ('approved', 'rejected', 'cancelled') AND entered_at = first_seen_at
           AND last_value(resolved_at) OVER period IS NULL AS is_undated
  FROM complex_entries
  WINDOW period AS (PARTITION BY id, entered_at ORDER BY valid_from
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
),
-- Their events, as in phone_number_history, and whether the request is open after each. Place is
-- their order where one sync observed several. A status that the API calls "requested" is not
-- counted as a submission.
complex_events AS (
  SELECT environment, id, 'requested' AS event, 0 AS place,
         CASE WHEN is_undated THEN 0 ELSE 1 END AS is_open,
         requested_at AS occurred_at, first_seen_at AS observed_at
  FROM complex_states
  WHERE previous_status IS NULL
  UNION ALL
  SELECT environment, id, NULL, 1, is_open, valid_from, valid_from
  FROM complex_states
  WHERE previous_missing_since IS NOT NULL
  UNION ALL
  SELECT environment, id, nullif(status, 'requested'), 2, is_open,
         CASE WHEN is_undated THEN NULL
              WHEN status = 'pending' OR resolved_at IS NULL
                OR EXISTS (SELECT 1 FROM release_request_past_versions AS earlier
                           WHERE earlier.id = state.id AND earlier.valid_to <= state.entered_at
                             AND earlier.status = state.status
                             AND earlier.resolved_at = state.resolved_at)
              THEN entered_at ELSE resolved_at END,
         entered_at
  FROM complex_states AS state
  WHERE is_last AND (status <> 'pending' OR entered_at > first_seen_at)
  UNION ALL
  SELECT environment, id, NULL, 2, 0, missing_since, missing_since
  FROM complex_states
  WHERE missing_since IS NOT NULL
),
-- When each event takes effect on the count of open requests, and by how much: 1, 0 or -1.
complex_steps AS (
  SELECT environment, event, occurred_at,
         min(CASE WHEN occurred_at < observed_at THEN occurred_at ELSE observed_at END)
           OVER sequel AS effective_at,
         is_open - lag(is_open, 1, 0) OVER sequel AS opened
  FROM complex_events
  WINDOW sequel AS (PARTITION BY id ORDER BY observed_at, place
                    ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
),
-- The same, grouped by days.
complex_days AS (
  SELECT environment, event,
         substr(CAST(occurred_at AS text), 1, 10) AS occurred_on,
         substr(CAST(effective_at AS text), 1, 10) AS effective_on,
         count(*) AS events, sum(opened) AS opened
  FROM complex_steps
  GROUP BY 1, 2, 3, 4
),
-- What each day adds: events to count, and requests that opened (closed, if negative). The day of
-- what happened at an unknown time is null.
additions AS (
  SELECT environment, requested_on AS day, 'requested' AS event, requests AS events, 0 AS opened
  FROM simple_days
  UNION ALL
  SELECT environment, resolved_on, nullif(status, 'requested'), requests, 0
  FROM simple_days WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, CASE WHEN closed_on < known_on THEN closed_on ELSE known_on END, NULL, 0,
         requests
  FROM simple_days
  UNION ALL
  SELECT environment, closed_on, NULL, 0, -requests FROM simple_days WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, occurred_on, event, events, 0 FROM complex_days
  UNION ALL
  SELECT environment, effective_on, NULL, 0, opened FROM complex_days
),
undated_resolutions AS (
  SELECT environment, sum(events) AS undated FROM additions WHERE day IS NULL GROUP BY environment
),
-- Every day from the first one of an environment to today, as a number: 1YYYYMMDD.
calendar (environment, number) AS (
  SELECT environment, CAST('1' || replace(min(day), '-', '') AS integer) FROM additions
  GROUP BY environment HAVING min(day) <= CAST(CURRENT_DATE AS text)
  UNION ALL
  SELECT environment,
         number + CASE
           WHEN number % 10000 = 1231 THEN 8870
           WHEN number % 10000 IN (131, 331, 531, 731, 831, 1031) THEN 70
           WHEN number % 10000 IN (430, 630, 930, 1130) THEN 71
           WHEN number % 10000 = 229 THEN 72
           WHEN number % 10000 = 228
            AND (number % 40000 >= 10000
                 OR number % 1000000 < 10000 AND number % 4000000 >= 10000) THEN 73
           ELSE 1 END
  FROM calendar
  WHERE number < CAST('1' || replace(CAST(CURRENT_DATE AS text), '-', '') AS integer)
),
all_days AS (
  SELECT environment, day, event, events, opened FROM additions
  UNION ALL
  SELECT environment,
         substr(CAST(number AS text), 2, 4) || '-' || substr(CAST(number AS text), 6, 2) || '-'
           || substr(CAST(number AS text), 8, 2), NULL, 0, 0
  FROM calendar
),
days AS (
  SELECT environment, day,
         CAST(sum(CASE WHEN event = 'requested' THEN events ELSE 0 END) AS bigint) AS requested,
         CAST(sum(CASE WHEN event = 'approved' THEN events ELSE 0 END) AS bigint) AS approved,
         CAST(sum(CASE WHEN event = 'rejected' THEN events ELSE 0 END) AS bigint) AS rejected,
         CAST(sum(CASE WHEN event = 'cancelled' THEN events ELSE 0 END) AS bigint) AS cancelled,
         CAST(sum(sum(opened)) OVER (PARTITION BY environment ORDER BY day) AS bigint)
           AS open_at_end,
         CAST(coalesce(undated, 0) AS bigint) AS undated
  FROM all_days LEFT JOIN undated_resolutions USING (environment)
  WHERE day <= CAST(CURRENT_DATE AS text)
  GROUP BY environment, day, undated
)
SELECT environment,
       (SELECT day UNION ALL SELECT environment FROM release_requests WHERE 0) AS day,
       (SELECT requested UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS requested,
       (SELECT approved UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS approved,
       (SELECT rejected UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS rejected,
       (SELECT cancelled UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS cancelled,
       (SELECT open_at_end UNION ALL SELECT sync_run_id FROM release_requests WHERE 0)
         AS open_at_end,
       (SELECT undated UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS undated
FROM days;
