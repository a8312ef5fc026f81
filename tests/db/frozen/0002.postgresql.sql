-- A mirror at schema revision 0002, written by tests/db/frozen/freeze.py.
-- Never changed once the revision is in released.sha256.
CREATE TABLE alembic_version (
version_num character varying(32) NOT NULL
);
COMMENT ON TABLE alembic_version IS 'Revision of the schema, used by mirror db upgrade.';
COMMENT ON COLUMN alembic_version.version_num IS 'Number of the revision.';
CREATE TABLE change_cursors (
name text NOT NULL COLLATE pg_catalog."C",
environment text NOT NULL COLLATE pg_catalog."C",
seen_until timestamp with time zone,
moved_at timestamp with time zone NOT NULL
);
COMMENT ON TABLE change_cursors IS 'How far each reader of mirror changes --new has read.';
COMMENT ON COLUMN change_cursors.name IS 'Name of the cursor (mirror changes --cursor).';
COMMENT ON COLUMN change_cursors.environment IS 'Environment in which the cursor has this position.';
COMMENT ON COLUMN change_cursors.seen_until IS 'Changes up to this changed_at were shown (UTC). Null: no sync of the environment was complete yet.';
COMMENT ON COLUMN change_cursors.moved_at IS 'When the cursor was last used (UTC, local clock).';
CREATE TABLE erased_requests (
request_id text NOT NULL COLLATE pg_catalog."C",
erasure_id bigint NOT NULL
);
COMMENT ON TABLE erased_requests IS 'Requests whose personal data a sync does not store again.';
COMMENT ON COLUMN erased_requests.request_id IS 'Id of an erased request. Of an erased record in quarantine that is known by no id: its fingerprint.';
COMMENT ON COLUMN erased_requests.erasure_id IS 'Erasure of the request (erasures.id).';
CREATE TABLE erasures (
id bigint NOT NULL,
erased_at timestamp with time zone NOT NULL,
requests integer NOT NULL,
past_versions integer NOT NULL,
quarantined integer NOT NULL,
runs integer NOT NULL,
cleaned_at timestamp with time zone,
undone_at timestamp with time zone
);
COMMENT ON TABLE erasures IS 'Every erasure of a phone number by mirror db erase-number, without the number.';
COMMENT ON COLUMN erasures.id IS 'Number of the erasure. Its mark is erased-1 for number 1, and so on.';
COMMENT ON COLUMN erasures.erased_at IS 'When the number was erased (UTC, local clock).';
COMMENT ON COLUMN erasures.requests IS 'Requests erased.';
COMMENT ON COLUMN erasures.past_versions IS 'Past versions of them.';
COMMENT ON COLUMN erasures.quarantined IS 'Records in quarantine erased.';
COMMENT ON COLUMN erasures.runs IS 'Runs whose error held the number.';
COMMENT ON COLUMN erasures.cleaned_at IS 'When the freed space in the database was cleaned by VACUUM (UTC, local clock). Null if that has not succeeded yet.';
COMMENT ON COLUMN erasures.undone_at IS 'When the erasure was taken back (UTC, local clock): from then on the list counts again. Null otherwise.';
CREATE TABLE quarantined_records (
id bigint NOT NULL,
environment text NOT NULL COLLATE pg_catalog."C",
fingerprint text NOT NULL COLLATE pg_catalog."C",
request_id text COLLATE pg_catalog."C",
raw text NOT NULL,
error text NOT NULL,
first_run_id bigint NOT NULL,
last_run_id bigint NOT NULL,
first_seen_at timestamp with time zone NOT NULL,
last_seen_at timestamp with time zone NOT NULL,
resolved_at timestamp with time zone
);
COMMENT ON TABLE quarantined_records IS 'Invalid entries of the list, one row per distinct entry.';
COMMENT ON COLUMN quarantined_records.id IS 'Number of the record.';
COMMENT ON COLUMN quarantined_records.environment IS 'Environment (label of the API token) whose list contained the record.';
COMMENT ON COLUMN quarantined_records.fingerprint IS 'SHA-256 of the record''s known fields, in hex, or of the whole record if it has none; of an erased request its mark, its id and a number.';
COMMENT ON COLUMN quarantined_records.request_id IS 'Request id, if it is valid. Null otherwise.';
COMMENT ON COLUMN quarantined_records.raw IS 'JSON of the record, as last received.';
COMMENT ON COLUMN quarantined_records.error IS 'Why the record is invalid.';
COMMENT ON COLUMN quarantined_records.first_run_id IS 'First run that saw the record (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.last_run_id IS 'Last applied run that saw the record (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.first_seen_at IS 'Start of the sync that first saw the record (UTC, local clock).';
COMMENT ON COLUMN quarantined_records.last_seen_at IS 'Start of the last applied sync that saw the record (UTC, local clock).';
COMMENT ON COLUMN quarantined_records.resolved_at IS 'Start of the sync whose list no longer contained the record (UTC, local clock). Null while it does.';
CREATE TABLE release_request_past_versions (
id text NOT NULL COLLATE pg_catalog."C",
environment text NOT NULL COLLATE pg_catalog."C",
phone_number_id text COLLATE pg_catalog."C",
phone_number text NOT NULL COLLATE pg_catalog."C",
reason text,
status text NOT NULL COLLATE pg_catalog."C",
rejection_reason text,
requested_at timestamp with time zone NOT NULL,
resolved_at timestamp with time zone,
extra jsonb,
first_seen_at timestamp with time zone NOT NULL,
valid_from timestamp with time zone NOT NULL,
valid_to timestamp with time zone NOT NULL,
missing_since timestamp with time zone,
sync_run_id bigint NOT NULL,
phone_number_e164 text COLLATE pg_catalog."C"
);
COMMENT ON TABLE release_request_past_versions IS 'Superseded versions of release requests, one row per id and valid_from.';
COMMENT ON COLUMN release_request_past_versions.id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_past_versions.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_past_versions.phone_number_id IS 'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_request_past_versions.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_past_versions.reason IS 'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_request_past_versions.status IS 'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_past_versions.rejection_reason IS 'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_request_past_versions.requested_at IS 'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_past_versions.resolved_at IS 'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_request_past_versions.extra IS 'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_request_past_versions.first_seen_at IS 'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_request_past_versions.valid_from IS 'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_request_past_versions.valid_to IS 'Start of the sync that first saw the next version (UTC, local clock): its valid_from.';
COMMENT ON COLUMN release_request_past_versions.missing_since IS 'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_request_past_versions.sync_run_id IS 'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_request_past_versions.phone_number_e164 IS 'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';
CREATE TABLE release_requests (
id text NOT NULL COLLATE pg_catalog."C",
environment text NOT NULL COLLATE pg_catalog."C",
phone_number_id text COLLATE pg_catalog."C",
phone_number text NOT NULL COLLATE pg_catalog."C",
reason text,
status text NOT NULL COLLATE pg_catalog."C",
rejection_reason text,
requested_at timestamp with time zone NOT NULL,
resolved_at timestamp with time zone,
extra jsonb,
first_seen_at timestamp with time zone NOT NULL,
valid_from timestamp with time zone NOT NULL,
missing_since timestamp with time zone,
sync_run_id bigint NOT NULL,
digest bigint,
phone_number_e164 text COLLATE pg_catalog."C"
);
COMMENT ON TABLE release_requests IS 'The current version of each release request, one row per id. A field that can no longer be read is the last known one.';
COMMENT ON COLUMN release_requests.id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN release_requests.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_requests.phone_number_id IS 'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_requests.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_requests.reason IS 'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_requests.status IS 'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_requests.rejection_reason IS 'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_requests.requested_at IS 'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_requests.resolved_at IS 'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_requests.extra IS 'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_requests.first_seen_at IS 'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_requests.valid_from IS 'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_requests.missing_since IS 'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_requests.sync_run_id IS 'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_requests.digest IS 'XXH3-64 of the list entry that the request was last read from, seeded with the version of mirror. An entry with the same digest is not decoded again. Null: the next one is, for example while a field of it cannot be read.';
COMMENT ON COLUMN release_requests.phone_number_e164 IS 'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';
CREATE TABLE sync_runs (
id bigint NOT NULL,
environment text NOT NULL COLLATE pg_catalog."C",
outcome text NOT NULL COLLATE pg_catalog."C",
started_at timestamp with time zone NOT NULL,
finished_at timestamp with time zone,
observed_at timestamp with time zone,
seconds double precision,
completion bigint,
fetched integer,
inserted integer,
updated integer,
unchanged integer,
missing integer,
returned integer,
quarantined integer,
newly_quarantined integer,
duplicates integer,
pages integer,
bytes bigint,
error text,
base_url text NOT NULL,
etag text,
content_digest text,
mirror_version text NOT NULL
);
COMMENT ON TABLE sync_runs IS 'Every run of mirror sync, with its outcome and its counts.';
COMMENT ON COLUMN sync_runs.id IS 'Number of the run.';
COMMENT ON COLUMN sync_runs.environment IS 'Environment (label of the API token) of the run.';
COMMENT ON COLUMN sync_runs.outcome IS 'running, applied, unchanged, superseded, refused, failed, or abandoned: the process died, and a later run found it.';
COMMENT ON COLUMN sync_runs.started_at IS 'Start of the run (UTC, local clock).';
COMMENT ON COLUMN sync_runs.finished_at IS 'When the outcome was recorded (UTC, local clock). Null while running.';
COMMENT ON COLUMN sync_runs.observed_at IS 'The run''s time in valid_from and valid_to (UTC): started_at, or just after the complete run before it if the clock went back. Null unless complete.';
COMMENT ON COLUMN sync_runs.seconds IS 'Duration in seconds. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.completion IS '1, 2, … over the complete runs (applied or unchanged) of the environment, in order of completion. Null for all others.';
COMMENT ON COLUMN sync_runs.fetched IS 'Entries of the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.inserted IS 'Requests seen for the first time. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.updated IS 'Requests with a new version because a field changed. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Requests with a valid entry and without a change in a known field. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.missing IS 'Requests newly missing from the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.returned IS 'Missing requests that were in the list again. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.quarantined IS 'Invalid entries of the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.newly_quarantined IS 'Invalid entries that were not in quarantine before the run. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.duplicates IS 'Entries equal to another entry with the same id. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.pages IS 'List responses read, repeated reads included. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.bytes IS 'Size of these responses in bytes, decompressed. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.error IS 'Why the run did not complete. Null if it did.';
COMMENT ON COLUMN sync_runs.base_url IS 'Base URL of the API.';
COMMENT ON COLUMN sync_runs.etag IS 'ETag of the list, as sent by the API. Null if there was none, if the list was paged, or unless complete.';
COMMENT ON COLUMN sync_runs.content_digest IS 'XXH3-128 of the list''s bytes, in hex. Null unless complete, and after an erasure was undone.';
COMMENT ON COLUMN sync_runs.mirror_version IS 'Version of mirror that ran.';
CREATE VIEW phone_number_history AS
WITH requested AS (
SELECT release_requests.environment,
release_requests.phone_number,
release_requests.phone_number_id,
release_requests.requested_at AS occurred_at,
'requested'::text AS event,
release_requests.id AS request_id,
'pending'::text AS status,
release_requests.reason,
NULL::text AS rejection_reason,
'reported'::text AS time_source,
release_requests.first_seen_at AS observed_at,
release_requests.requested_at,
false AS was_missing
FROM release_requests
), last_of_status AS (
SELECT release_requests.environment,
release_requests.phone_number,
release_requests.phone_number_id,
release_requests.id,
release_requests.status,
release_requests.reason,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.first_seen_at,
release_requests.valid_from
FROM release_requests
UNION ALL
SELECT request.environment,
request.phone_number,
request.phone_number_id,
past.id,
past.status,
past.reason,
past.rejection_reason,
request.requested_at,
past.resolved_at,
past.first_seen_at,
past.valid_from
FROM ((release_requests request
JOIN release_request_past_versions past ON ((past.id = request.id)))
LEFT JOIN release_request_past_versions successor ON (((successor.id = past.id) AND (successor.valid_from = past.valid_to))))
WHERE (COALESCE(successor.status, request.status) <> past.status)
), entered AS (
SELECT version.environment,
version.phone_number,
version.phone_number_id,
version.id,
version.status,
version.reason,
version.rejection_reason,
version.requested_at,
version.resolved_at,
version.first_seen_at,
version.valid_from,
entry.entered_at
FROM (last_of_status version
LEFT JOIN LATERAL ( SELECT earlier.valid_to
FROM release_request_past_versions earlier
WHERE ((earlier.id = version.id) AND (earlier.valid_from < version.valid_from) AND (earlier.status <> version.status))
ORDER BY earlier.valid_from DESC
LIMIT 1) entry(entered_at) ON (true))
), reported AS (
SELECT version.environment,
version.phone_number,
version.phone_number_id,
version.id,
version.status,
version.reason,
version.rejection_reason,
version.requested_at,
version.resolved_at,
version.first_seen_at,
version.valid_from,
version.entered_at,
report.reported_at
FROM (entered version
LEFT JOIN LATERAL ( SELECT version.resolved_at
WHERE ((version.status <> 'pending'::text) AND (NOT (EXISTS ( SELECT 1
FROM release_request_past_versions earlier
WHERE ((earlier.id = version.id) AND (earlier.valid_to <= version.entered_at) AND (earlier.status = version.status) AND (earlier.resolved_at = version.resolved_at))))))) report(reported_at) ON (true))
), status_entered AS (
SELECT reported.environment,
reported.phone_number,
reported.phone_number_id,
COALESCE(reported.reported_at, reported.entered_at) AS occurred_at,
CASE
WHEN (reported.status = 'pending'::text) THEN 'reopened'::text
ELSE reported.status
END AS event,
reported.id AS request_id,
reported.status,
reported.reason,
reported.rejection_reason,
CASE
WHEN (reported.reported_at IS NOT NULL) THEN 'reported'::text
WHEN (reported.entered_at IS NOT NULL) THEN 'observed'::text
ELSE 'unknown'::text
END AS time_source,
COALESCE(reported.entered_at, reported.first_seen_at) AS observed_at,
reported.requested_at,
false AS was_missing
FROM reported
WHERE ((reported.status <> 'pending'::text) OR (reported.entered_at IS NOT NULL))
), vanished AS (
SELECT release_requests.environment,
release_requests.phone_number,
release_requests.phone_number_id,
release_requests.missing_since AS occurred_at,
'vanished'::text AS event,
release_requests.id AS request_id,
release_requests.status,
release_requests.reason,
release_requests.rejection_reason,
'observed'::text AS time_source,
release_requests.missing_since AS observed_at,
release_requests.requested_at,
false AS was_missing
FROM release_requests
WHERE (release_requests.missing_since IS NOT NULL)
UNION ALL
SELECT request.environment,
request.phone_number,
request.phone_number_id,
past.missing_since,
'vanished'::text,
request.id,
past.status,
past.reason,
past.rejection_reason,
'observed'::text,
past.missing_since,
request.requested_at,
false
FROM (release_requests request
JOIN release_request_past_versions past ON ((past.id = request.id)))
WHERE (past.missing_since IS NOT NULL)
), returned AS (
SELECT request.environment,
request.phone_number,
request.phone_number_id,
past.valid_to AS occurred_at,
'returned'::text AS event,
request.id AS request_id,
successor.status,
successor.reason,
successor.rejection_reason,
'observed'::text AS time_source,
past.valid_to AS observed_at,
request.requested_at,
true AS was_missing
FROM ((release_requests request
JOIN release_request_past_versions past ON ((past.id = request.id)))
JOIN release_request_past_versions successor ON (((successor.id = past.id) AND (successor.valid_from = past.valid_to))))
WHERE (past.missing_since IS NOT NULL)
UNION ALL
SELECT request.environment,
request.phone_number,
request.phone_number_id,
past.valid_to,
'returned'::text,
request.id,
request.status,
request.reason,
request.rejection_reason,
'observed'::text,
past.valid_to,
request.requested_at,
true
FROM (release_requests request
JOIN release_request_past_versions past ON (((past.id = request.id) AND (past.valid_to = request.valid_from))))
WHERE (past.missing_since IS NOT NULL)
), events AS (
SELECT requested.environment,
requested.phone_number,
requested.phone_number_id,
requested.occurred_at,
requested.event,
requested.request_id,
requested.status,
requested.reason,
requested.rejection_reason,
requested.time_source,
requested.observed_at,
requested.requested_at,
requested.was_missing
FROM requested
UNION ALL
SELECT status_entered.environment,
status_entered.phone_number,
status_entered.phone_number_id,
status_entered.occurred_at,
status_entered.event,
status_entered.request_id,
status_entered.status,
status_entered.reason,
status_entered.rejection_reason,
status_entered.time_source,
status_entered.observed_at,
status_entered.requested_at,
status_entered.was_missing
FROM status_entered
UNION ALL
SELECT vanished.environment,
vanished.phone_number,
vanished.phone_number_id,
vanished.occurred_at,
vanished.event,
vanished.request_id,
vanished.status,
vanished.reason,
vanished.rejection_reason,
vanished.time_source,
vanished.observed_at,
vanished.requested_at,
vanished.was_missing
FROM vanished
UNION ALL
SELECT returned.environment,
returned.phone_number,
returned.phone_number_id,
returned.occurred_at,
returned.event,
returned.request_id,
returned.status,
returned.reason,
returned.rejection_reason,
returned.time_source,
returned.observed_at,
returned.requested_at,
returned.was_missing
FROM returned
)
SELECT event.environment,
event.phone_number,
event.phone_number_id,
event.occurred_at,
event.event,
event.request_id,
event.status,
event.reason,
event.rejection_reason,
event.time_source,
event.observed_at,
CASE event.time_source
WHEN 'unknown'::text THEN event.requested_at
WHEN 'observed'::text THEN ( SELECT GREATEST(event.requested_at, COALESCE(( SELECT run.observed_at
FROM sync_runs run
WHERE ((run.environment = event.environment) AND (run.observed_at >= former.valid_from) AND (run.observed_at < former.valid_to) AND (NOT (EXISTS ( SELECT 1
FROM quarantined_records record
WHERE ((record.environment = event.environment) AND (record.request_id = event.request_id) AND (record.first_seen_at <= run.observed_at) AND ((record.resolved_at IS NULL) OR (record.resolved_at > run.observed_at)))))))
ORDER BY run.observed_at DESC
LIMIT 1),
CASE
WHEN event.was_missing THEN former.valid_from
ELSE ( SELECT max(earlier.valid_to) AS max
FROM release_request_past_versions earlier
WHERE ((earlier.id = former.id) AND (earlier.valid_from < former.valid_from) AND (earlier.status <> former.status)))
END, former.first_seen_at)) AS "greatest"
FROM release_request_past_versions former
WHERE ((former.id = event.request_id) AND (former.valid_from < event.observed_at) AND ((former.missing_since IS NOT NULL) = event.was_missing))
ORDER BY former.valid_from DESC
LIMIT 1)
ELSE NULL::timestamp with time zone
END AS not_before
FROM events event;
COMMENT ON VIEW phone_number_history IS 'The history of each phone number: one row per event, over all its requests. In order: ORDER BY coalesce(occurred_at, not_before), request_id, observed_at, event <> ''requested'', event <> ''returned''.';
COMMENT ON COLUMN phone_number_history.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN phone_number_history.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_number_history.phone_number_id IS 'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN phone_number_history.occurred_at IS 'Best known time of the event (UTC); time_source says where it comes from. Null where it is unknown.';
COMMENT ON COLUMN phone_number_history.event IS 'requested; the status entered (approved, …); reopened (back to pending); vanished from or returned to the list.';
COMMENT ON COLUMN phone_number_history.request_id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN phone_number_history.status IS 'Status of the request after the event.';
COMMENT ON COLUMN phone_number_history.reason IS 'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN phone_number_history.rejection_reason IS 'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN phone_number_history.time_source IS 'Source of occurred_at. reported: sent by the API; observed: the API states no time for this event (always for reopened, vanished and returned), or only the time of an earlier one; it is then the start of the sync that first saw it; unknown: the API states no time, and the request had this status when a sync first saw it; occurred_at is then null.';
COMMENT ON COLUMN phone_number_history.observed_at IS 'Start of the sync that first saw the event (UTC, local clock).';
COMMENT ON COLUMN phone_number_history.not_before IS 'The event happened between this time and observed_at (UTC). observed: start of the last complete sync that saw the request before the event (local clock), but not before requested_at; unknown: requested_at. Null where the time is reported.';
CREATE VIEW phone_numbers AS
WITH ranked AS (
SELECT release_requests.environment,
release_requests.phone_number,
release_requests.phone_number_id,
release_requests.id,
release_requests.status,
release_requests.requested_at,
row_number() OVER (PARTITION BY release_requests.phone_number, release_requests.environment ORDER BY release_requests.requested_at DESC, release_requests.id DESC) AS place,
count(*) OVER number AS requests,
min(release_requests.requested_at) OVER number AS first_requested_at,
max(release_requests.resolved_at) OVER number AS last_resolved_at
FROM release_requests
WINDOW number AS (PARTITION BY release_requests.phone_number, release_requests.environment)
)
SELECT ranked.environment,
ranked.phone_number,
ranked.phone_number_id,
ranked.requests,
ranked.id AS last_request_id,
ranked.status AS last_status,
ranked.first_requested_at,
ranked.requested_at AS last_requested_at,
ranked.last_resolved_at,
(ranked.status = 'approved'::text) AS released
FROM ranked
WHERE (ranked.place = 1);
COMMENT ON VIEW phone_numbers IS 'Phone numbers that have release requests, one row per environment and number.';
COMMENT ON COLUMN phone_numbers.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN phone_numbers.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_numbers.phone_number_id IS 'API id of the phone number''s record in its last request. Null if the API sent none.';
COMMENT ON COLUMN phone_numbers.requests IS 'Count of release requests for the number.';
COMMENT ON COLUMN phone_numbers.last_request_id IS 'Id of the request submitted last.';
COMMENT ON COLUMN phone_numbers.last_status IS 'Status of that request, as returned by the API.';
COMMENT ON COLUMN phone_numbers.first_requested_at IS 'When the first request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN phone_numbers.last_requested_at IS 'When the last request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN phone_numbers.last_resolved_at IS 'Latest resolved_at of the requests (UTC, reported by the API). Resolutions whose time the API does not state (observed or unknown) are left out. Null if none has one.';
COMMENT ON COLUMN phone_numbers.released IS 'Whether the last request was approved: the number has been or will be released. 1 or 0 in SQLite.';
CREATE SEQUENCE quarantined_records_id_seq
START WITH 1
INCREMENT BY 1
NO MINVALUE
NO MAXVALUE
CACHE 1;
ALTER SEQUENCE quarantined_records_id_seq OWNED BY quarantined_records.id;
CREATE VIEW release_request_changes AS
WITH succession AS NOT MATERIALIZED (
SELECT earlier.id AS request_id,
later.environment,
earlier.valid_to AS changed_at,
earlier.phone_number_id AS old_phone_number_id,
later.phone_number_id AS new_phone_number_id,
earlier.phone_number AS old_phone_number,
later.phone_number AS new_phone_number,
earlier.reason AS old_reason,
later.reason AS new_reason,
earlier.status AS old_status,
later.status AS new_status,
earlier.rejection_reason AS old_rejection_reason,
later.rejection_reason AS new_rejection_reason,
earlier.requested_at AS old_requested_at,
later.requested_at AS new_requested_at,
earlier.resolved_at AS old_resolved_at,
later.resolved_at AS new_resolved_at,
earlier.missing_since AS old_missing_since,
later.missing_since AS new_missing_since,
later.sync_run_id
FROM (release_request_past_versions earlier
JOIN release_requests later ON (((later.id = earlier.id) AND (later.valid_from = earlier.valid_to))))
WHERE ((earlier.id || ''::text) = earlier.id)
UNION ALL
SELECT earlier.id,
later.environment,
earlier.valid_to,
earlier.phone_number_id,
later.phone_number_id,
earlier.phone_number,
later.phone_number,
earlier.reason,
later.reason,
earlier.status,
later.status,
earlier.rejection_reason,
later.rejection_reason,
earlier.requested_at,
later.requested_at,
earlier.resolved_at,
later.resolved_at,
earlier.missing_since,
later.missing_since,
later.sync_run_id
FROM (release_request_past_versions earlier
JOIN release_request_past_versions later ON (((later.id = earlier.id) AND (later.valid_from = earlier.valid_to))))
WHERE ((earlier.id || ''::text) = earlier.id)
), differences AS NOT MATERIALIZED (
SELECT succession.request_id,
succession.environment,
succession.new_phone_number AS phone_number,
succession.changed_at,
succession.old_status,
succession.new_status,
succession.old_resolved_at,
succession.new_resolved_at,
succession.old_missing_since,
succession.new_missing_since,
succession.sync_run_id,
concat_ws(','::text,
CASE
WHEN (succession.old_phone_number_id IS DISTINCT FROM succession.new_phone_number_id) THEN 'phone_number_id'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_phone_number <> succession.new_phone_number) THEN 'phone_number'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_reason IS DISTINCT FROM succession.new_reason) THEN 'reason'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_status <> succession.new_status) THEN 'status'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_rejection_reason IS DISTINCT FROM succession.new_rejection_reason) THEN 'rejection_reason'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_requested_at <> succession.new_requested_at) THEN 'requested_at'::text
ELSE NULL::text
END,
CASE
WHEN (succession.old_resolved_at IS DISTINCT FROM succession.new_resolved_at) THEN 'resolved_at'::text
ELSE NULL::text
END) AS changed_fields
FROM succession
), presence AS (
SELECT differences.request_id,
differences.environment,
differences.phone_number,
differences.changed_at,
CASE
WHEN (differences.new_missing_since IS NULL) THEN 'returned'::text
ELSE 'vanished'::text
END AS kind,
differences.old_status,
differences.new_status,
differences.old_resolved_at,
differences.new_resolved_at,
differences.sync_run_id,
''::text AS changed_fields
FROM differences
WHERE ((differences.old_missing_since IS NULL) <> (differences.new_missing_since IS NULL))
), content AS (
SELECT differences.request_id,
differences.environment,
differences.phone_number,
differences.changed_at,
CASE
WHEN ((differences.new_status = 'pending'::text) AND (differences.old_status <> 'pending'::text)) THEN 'reopened'::text
WHEN (((differences.new_status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((differences.new_status <> 'pending'::text) AND (differences.new_resolved_at IS NOT NULL))) AND (NOT ((differences.old_status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((differences.old_status <> 'pending'::text) AND (differences.old_resolved_at IS NOT NULL))))) THEN 'resolved'::text
ELSE 'corrected'::text
END AS kind,
differences.old_status,
differences.new_status,
differences.old_resolved_at,
differences.new_resolved_at,
differences.sync_run_id,
differences.changed_fields
FROM differences
WHERE ((differences.new_missing_since IS NULL) AND ((differences.old_missing_since IS NULL) OR (differences.changed_fields <> ''::text)))
)
SELECT presence.request_id,
presence.environment,
presence.phone_number,
presence.changed_at,
presence.kind,
presence.old_status,
presence.new_status,
presence.old_resolved_at,
presence.new_resolved_at,
presence.sync_run_id,
presence.changed_fields
FROM presence
UNION ALL
SELECT content.request_id,
content.environment,
content.phone_number,
content.changed_at,
content.kind,
content.old_status,
content.new_status,
content.old_resolved_at,
content.new_resolved_at,
content.sync_run_id,
content.changed_fields
FROM content;
COMMENT ON VIEW release_request_changes IS 'Changes that syncs saw in requests known before. A request that returned with other fields has two rows.';
COMMENT ON COLUMN release_request_changes.request_id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_changes.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_changes.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_changes.changed_at IS 'Start of the sync that first saw the change (UTC, local clock).';
COMMENT ON COLUMN release_request_changes.kind IS 'resolved (left pending for good), reopened (back to pending), corrected (another change of a field or the status), vanished (no longer in the list), returned (in it again).';
COMMENT ON COLUMN release_request_changes.old_status IS 'Status before the change, as returned by the API.';
COMMENT ON COLUMN release_request_changes.new_status IS 'Status after the change, as returned by the API.';
COMMENT ON COLUMN release_request_changes.old_resolved_at IS 'resolved_at before the change (UTC, reported by the API). Null if there was none.';
COMMENT ON COLUMN release_request_changes.new_resolved_at IS 'resolved_at after the change (UTC, reported by the API). Null if there is none.';
COMMENT ON COLUMN release_request_changes.sync_run_id IS 'Run that first saw the change (sync_runs.id).';
COMMENT ON COLUMN release_request_changes.changed_fields IS 'Names of the fields that changed, in the order of the columns of release_requests and separated by commas, such as status,resolved_at. Empty for vanished and returned.';
CREATE VIEW release_request_turnaround AS
WITH reported AS (
SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number,
release_requests.status,
release_requests.requested_at,
release_requests.resolved_at,
'reported'::text AS time_source
FROM release_requests
WHERE ((release_requests.status <> 'pending'::text) AND (release_requests.resolved_at IS NOT NULL))
), not_reported AS (
SELECT request.id,
request.environment,
request.phone_number,
request.status,
request.requested_at,
entry.entered_at AS resolved_at,
CASE
WHEN (entry.entered_at IS NULL) THEN 'unknown'::text
ELSE 'observed'::text
END AS time_source
FROM (release_requests request
LEFT JOIN LATERAL ( SELECT earlier.valid_to
FROM release_request_past_versions earlier
WHERE ((earlier.id = request.id) AND (earlier.status <> request.status))
ORDER BY earlier.valid_from DESC
LIMIT 1) entry(entered_at) ON (true))
WHERE ((request.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) AND (request.resolved_at IS NULL))
), resolved AS (
SELECT reported.id,
reported.environment,
reported.phone_number,
reported.status,
reported.requested_at,
reported.resolved_at,
reported.time_source
FROM reported
UNION ALL
SELECT not_reported.id,
not_reported.environment,
not_reported.phone_number,
not_reported.status,
not_reported.requested_at,
not_reported.resolved_at,
not_reported.time_source
FROM not_reported
)
SELECT resolved.id,
resolved.environment,
resolved.phone_number,
resolved.status,
resolved.requested_at,
resolved.resolved_at,
((((EXTRACT(epoch FROM (resolved.resolved_at - resolved.requested_at)) * (1000)::numeric))::bigint)::double precision / (3600000)::double precision) AS hours_to_resolve,
resolved.time_source
FROM resolved;
COMMENT ON VIEW release_request_turnaround IS 'Review times: one row per resolved request (approved, rejected, cancelled, or another status than pending with a resolved_at), missing ones included.';
COMMENT ON COLUMN release_request_turnaround.id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_turnaround.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_turnaround.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_turnaround.status IS 'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_turnaround.requested_at IS 'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_turnaround.resolved_at IS 'Best known time at which the request got its status (UTC); time_source says where it comes from. Null where it is unknown.';
COMMENT ON COLUMN release_request_turnaround.hours_to_resolve IS 'Hours from requested_at to resolved_at; an upper bound where time_source is observed. Null where it is unknown.';
COMMENT ON COLUMN release_request_turnaround.time_source IS 'Source of resolved_at. reported: sent by the API; observed: the API states no time; it is then the start of the sync that first saw it; unknown: the API states no time, and the request had this status when a sync first saw it; resolved_at is then null.';
CREATE VIEW release_request_versions AS
WITH past AS (
SELECT version.id,
version.environment,
version.phone_number_id,
version.phone_number,
version.reason,
version.status,
version.rejection_reason,
version.requested_at,
version.resolved_at,
version.extra,
version.first_seen_at,
version.valid_from,
version.missing_since,
version.sync_run_id,
version.valid_to,
(1 + ( SELECT count(*) AS count
FROM release_request_past_versions earlier
WHERE ((earlier.id = version.id) AND (earlier.valid_from < version.valid_from)))) AS version,
version.phone_number_e164
FROM release_request_past_versions version
), current AS (
SELECT request.id,
request.environment,
request.phone_number_id,
request.phone_number,
request.reason,
request.status,
request.rejection_reason,
request.requested_at,
request.resolved_at,
request.extra,
request.first_seen_at,
request.valid_from,
request.missing_since,
request.sync_run_id,
NULL::timestamp with time zone AS valid_to,
(1 + ( SELECT count(*) AS count
FROM release_request_past_versions earlier
WHERE (earlier.id = request.id))) AS version,
request.phone_number_e164
FROM release_requests request
)
SELECT past.id,
past.environment,
past.phone_number_id,
past.phone_number,
past.reason,
past.status,
past.rejection_reason,
past.requested_at,
past.resolved_at,
past.extra,
past.first_seen_at,
past.valid_from,
past.missing_since,
past.sync_run_id,
past.valid_to,
past.version,
past.phone_number_e164
FROM past
UNION ALL
SELECT current.id,
current.environment,
current.phone_number_id,
current.phone_number,
current.reason,
current.status,
current.rejection_reason,
current.requested_at,
current.resolved_at,
current.extra,
current.first_seen_at,
current.valid_from,
current.missing_since,
current.sync_run_id,
current.valid_to,
current.version,
current.phone_number_e164
FROM current;
COMMENT ON VIEW release_request_versions IS 'Every version of every release request, past and current. As of a time T: valid_from <= T and (valid_to is null or valid_to > T).';
COMMENT ON COLUMN release_request_versions.id IS 'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_versions.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_versions.phone_number_id IS 'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_request_versions.phone_number IS 'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_versions.reason IS 'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_request_versions.status IS 'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_versions.rejection_reason IS 'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_request_versions.requested_at IS 'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_versions.resolved_at IS 'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_request_versions.extra IS 'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_request_versions.first_seen_at IS 'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_request_versions.valid_from IS 'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_request_versions.missing_since IS 'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_request_versions.sync_run_id IS 'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_request_versions.valid_to IS 'Start of the sync that first saw the next version (UTC, local clock): its valid_from. Null for the current version.';
COMMENT ON COLUMN release_request_versions.version IS '1, 2, … over the versions of the request.';
COMMENT ON COLUMN release_request_versions.phone_number_e164 IS 'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';
CREATE VIEW release_requests_daily AS
WITH RECURSIVE complex_ids AS MATERIALIZED (
SELECT release_requests.id
FROM release_requests
WHERE (release_requests.missing_since IS NOT NULL)
UNION
SELECT release_request_past_versions.id
FROM release_request_past_versions
WHERE ((release_request_past_versions.missing_since IS NOT NULL) OR (release_request_past_versions.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((release_request_past_versions.status <> 'pending'::text) AND (release_request_past_versions.resolved_at IS NOT NULL)))
), simple_requests AS (
SELECT request.environment,
request.requested_at,
request.first_seen_at,
request.status,
COALESCE(request.resolved_at, entry.entered_at) AS resolved_at,
COALESCE(entry.entered_at, request.first_seen_at) AS observed_at
FROM (release_requests request
LEFT JOIN LATERAL ( SELECT
CASE
WHEN (request.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) THEN request.valid_from
ELSE ( SELECT earlier.valid_to
FROM release_request_past_versions earlier
WHERE ((earlier.id = request.id) AND (earlier.status <> request.status))
ORDER BY earlier.valid_from DESC
LIMIT 1)
END AS valid_to
WHERE (request.valid_from > request.first_seen_at)) entry(entered_at) ON (true))
WHERE (((request.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((request.status <> 'pending'::text) AND (request.resolved_at IS NOT NULL))) AND (NOT (EXISTS ( SELECT 1
FROM complex_ids
WHERE (complex_ids.id = request.id)))))
UNION ALL
SELECT request.environment,
request.requested_at,
request.first_seen_at,
NULL::text,
NULL::timestamp with time zone,
NULL::timestamp with time zone
FROM release_requests request
WHERE ((NOT ((request.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((request.status <> 'pending'::text) AND (request.resolved_at IS NOT NULL)))) AND (NOT (EXISTS ( SELECT 1
FROM complex_ids
WHERE (complex_ids.id = request.id)))))
), simple_days AS MATERIALIZED (
SELECT simple_requests.environment,
((simple_requests.requested_at AT TIME ZONE 'UTC'::text))::date AS requested_on,
simple_requests.status,
((simple_requests.resolved_at AT TIME ZONE 'UTC'::text))::date AS resolved_on,
((LEAST(simple_requests.requested_at, simple_requests.first_seen_at, simple_requests.resolved_at, simple_requests.observed_at) AT TIME ZONE 'UTC'::text))::date AS opened_on,
((LEAST(COALESCE(simple_requests.resolved_at, simple_requests.requested_at), simple_requests.observed_at) AT TIME ZONE 'UTC'::text))::date AS closed_on,
count(*) AS requests
FROM simple_requests
GROUP BY simple_requests.environment, (((simple_requests.requested_at AT TIME ZONE 'UTC'::text))::date), simple_requests.status, (((simple_requests.resolved_at AT TIME ZONE 'UTC'::text))::date), (((LEAST(simple_requests.requested_at, simple_requests.first_seen_at, simple_requests.resolved_at, simple_requests.observed_at) AT TIME ZONE 'UTC'::text))::date), (((LEAST(COALESCE(simple_requests.resolved_at, simple_requests.requested_at), simple_requests.observed_at) AT TIME ZONE 'UTC'::text))::date)
), complex_versions AS (
SELECT version.environment,
version.id,
version.status,
version.requested_at,
version.resolved_at,
version.first_seen_at,
version.valid_from,
version.missing_since,
lag(version.status) OVER life AS previous_status,
lag(version.missing_since) OVER life AS previous_missing_since
FROM ( SELECT request.environment,
past.id,
past.status,
request.requested_at,
past.resolved_at,
past.first_seen_at,
past.valid_from,
past.missing_since
FROM (release_requests request
JOIN release_request_past_versions past ON ((past.id = request.id)))
WHERE (request.id IN ( SELECT complex_ids.id
FROM complex_ids))
UNION ALL
SELECT release_requests.environment,
release_requests.id,
release_requests.status,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since
FROM release_requests
WHERE (release_requests.id IN ( SELECT complex_ids.id
FROM complex_ids))) version
WINDOW life AS (PARTITION BY version.id ORDER BY version.valid_from)
), complex_entries AS (
SELECT complex_versions.environment,
complex_versions.id,
complex_versions.status,
complex_versions.requested_at,
complex_versions.resolved_at,
complex_versions.first_seen_at,
complex_versions.valid_from,
complex_versions.missing_since,
complex_versions.previous_status,
complex_versions.previous_missing_since,
max(
CASE
WHEN ((complex_versions.previous_status IS NULL) OR (complex_versions.previous_status <> complex_versions.status)) THEN complex_versions.valid_from
ELSE NULL::timestamp with time zone
END) OVER (PARTITION BY complex_versions.id ORDER BY complex_versions.valid_from) AS entered_at
FROM complex_versions
), complex_states AS (
SELECT complex_entries.environment,
complex_entries.id,
complex_entries.status,
complex_entries.requested_at,
complex_entries.resolved_at,
complex_entries.first_seen_at,
complex_entries.valid_from,
complex_entries.missing_since,
complex_entries.previous_status,
complex_entries.previous_missing_since,
complex_entries.entered_at,
CASE
WHEN ((complex_entries.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((complex_entries.status <> 'pending'::text) AND (last_value(complex_entries.resolved_at) OVER period IS NOT NULL))) THEN 0
ELSE 1
END AS is_open,
(last_value(complex_entries.valid_from) OVER period = complex_entries.valid_from) AS is_last,
((complex_entries.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) AND (complex_entries.entered_at = complex_entries.first_seen_at) AND (last_value(complex_entries.resolved_at) OVER period IS NULL)) AS is_undated
FROM complex_entries
WINDOW period AS (PARTITION BY complex_entries.id, complex_entries.entered_at ORDER BY complex_entries.valid_from ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
), complex_events AS (
SELECT complex_states.environment,
complex_states.id,
'requested'::text AS event,
0 AS place,
CASE
WHEN complex_states.is_undated THEN 0
ELSE 1
END AS is_open,
complex_states.requested_at AS occurred_at,
complex_states.first_seen_at AS observed_at
FROM complex_states
WHERE (complex_states.previous_status IS NULL)
UNION ALL
SELECT complex_states.environment,
complex_states.id,
NULL::text,
1,
complex_states.is_open,
complex_states.valid_from,
complex_states.valid_from
FROM complex_states
WHERE (complex_states.previous_missing_since IS NOT NULL)
UNION ALL
SELECT state.environment,
state.id,
NULLIF(state.status, 'requested'::text) AS "nullif",
2,
state.is_open,
CASE
WHEN state.is_undated THEN NULL::timestamp with time zone
WHEN ((state.status = 'pending'::text) OR (state.resolved_at IS NULL) OR (EXISTS ( SELECT 1
FROM release_request_past_versions earlier
WHERE ((earlier.id = state.id) AND (earlier.valid_to <= state.entered_at) AND (earlier.status = state.status) AND (earlier.resolved_at = state.resolved_at))))) THEN state.entered_at
ELSE state.resolved_at
END AS resolved_at,
state.entered_at
FROM complex_states state
WHERE (state.is_last AND ((state.status <> 'pending'::text) OR (state.entered_at > state.first_seen_at)))
UNION ALL
SELECT complex_states.environment,
complex_states.id,
NULL::text,
2,
0,
complex_states.missing_since,
complex_states.missing_since
FROM complex_states
WHERE (complex_states.missing_since IS NOT NULL)
), complex_steps AS (
SELECT complex_events.environment,
complex_events.event,
complex_events.occurred_at,
min(LEAST(complex_events.occurred_at, complex_events.observed_at)) OVER sequel AS effective_at,
(complex_events.is_open - lag(complex_events.is_open, 1, 0) OVER sequel) AS opened
FROM complex_events
WINDOW sequel AS (PARTITION BY complex_events.id ORDER BY complex_events.observed_at, complex_events.place ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
), complex_days AS MATERIALIZED (
SELECT complex_steps.environment,
complex_steps.event,
((complex_steps.occurred_at AT TIME ZONE 'UTC'::text))::date AS occurred_on,
((complex_steps.effective_at AT TIME ZONE 'UTC'::text))::date AS effective_on,
count(*) AS events,
sum(complex_steps.opened) AS opened
FROM complex_steps
GROUP BY complex_steps.environment, complex_steps.event, (((complex_steps.occurred_at AT TIME ZONE 'UTC'::text))::date), (((complex_steps.effective_at AT TIME ZONE 'UTC'::text))::date)
), additions AS (
SELECT simple_days.environment,
simple_days.requested_on AS day,
'requested'::text AS event,
simple_days.requests AS events,
0 AS opened
FROM simple_days
UNION ALL
SELECT simple_days.environment,
simple_days.resolved_on,
NULLIF(simple_days.status, 'requested'::text) AS "nullif",
simple_days.requests,
0
FROM simple_days
WHERE (simple_days.status IS NOT NULL)
UNION ALL
SELECT simple_days.environment,
simple_days.opened_on,
NULL::text,
0,
simple_days.requests
FROM simple_days
UNION ALL
SELECT simple_days.environment,
simple_days.closed_on,
NULL::text,
0,
(- simple_days.requests)
FROM simple_days
WHERE (simple_days.status IS NOT NULL)
UNION ALL
SELECT complex_days.environment,
complex_days.occurred_on,
complex_days.event,
complex_days.events,
0
FROM complex_days
UNION ALL
SELECT complex_days.environment,
complex_days.effective_on,
NULL::text,
0,
complex_days.opened
FROM complex_days
), undated_resolutions AS (
SELECT additions.environment,
sum(additions.events) AS undated
FROM additions
WHERE (additions.day IS NULL)
GROUP BY additions.environment
), calendar AS (
SELECT additions.environment,
min(additions.day) AS day
FROM additions
GROUP BY additions.environment
HAVING (min(additions.day) <= ((now() AT TIME ZONE 'UTC'::text))::date)
UNION ALL
SELECT calendar.environment,
(calendar.day + 1)
FROM calendar
WHERE (calendar.day < ((now() AT TIME ZONE 'UTC'::text))::date)
), all_days AS (
SELECT additions.environment,
additions.day,
additions.event,
additions.events,
additions.opened
FROM additions
UNION ALL
SELECT calendar.environment,
calendar.day,
NULL::text,
0,
0
FROM calendar
)
SELECT all_days.environment,
all_days.day,
(sum(
CASE
WHEN (all_days.event = 'requested'::text) THEN all_days.events
ELSE (0)::bigint
END))::bigint AS requested,
(sum(
CASE
WHEN (all_days.event = 'approved'::text) THEN all_days.events
ELSE (0)::bigint
END))::bigint AS approved,
(sum(
CASE
WHEN (all_days.event = 'rejected'::text) THEN all_days.events
ELSE (0)::bigint
END))::bigint AS rejected,
(sum(
CASE
WHEN (all_days.event = 'cancelled'::text) THEN all_days.events
ELSE (0)::bigint
END))::bigint AS cancelled,
(sum(sum(all_days.opened)) OVER (PARTITION BY all_days.environment ORDER BY all_days.day))::bigint AS open_at_end,
(COALESCE(undated_resolutions.undated, (0)::numeric))::bigint AS undated
FROM (all_days
LEFT JOIN undated_resolutions USING (environment))
WHERE (all_days.day <= ((now() AT TIME ZONE 'UTC'::text))::date)
GROUP BY all_days.environment, all_days.day, undated_resolutions.undated;
COMMENT ON VIEW release_requests_daily IS 'Daily counts of the events of phone_number_history, with a row for every day from the first request of the environment to today (UTC).';
COMMENT ON COLUMN release_requests_daily.environment IS 'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_requests_daily.day IS 'Day (UTC). Text YYYY-MM-DD in SQLite.';
COMMENT ON COLUMN release_requests_daily.requested IS 'Requests submitted on the day.';
COMMENT ON COLUMN release_requests_daily.approved IS 'Requests approved on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.rejected IS 'Requests rejected on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.cancelled IS 'Requests cancelled on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.open_at_end IS 'Requests neither resolved nor missing at the end of the day; for today, now. Undated ones are left out, unless they were reopened.';
COMMENT ON COLUMN release_requests_daily.undated IS 'Requests of the environment that were resolved at an unknown time, before a sync first saw them. The same on each day.';
CREATE SEQUENCE sync_runs_id_seq
START WITH 1
INCREMENT BY 1
NO MINVALUE
NO MAXVALUE
CACHE 1;
ALTER SEQUENCE sync_runs_id_seq OWNED BY sync_runs.id;
ALTER TABLE ONLY quarantined_records ALTER COLUMN id SET DEFAULT nextval('quarantined_records_id_seq'::regclass);
ALTER TABLE ONLY sync_runs ALTER COLUMN id SET DEFAULT nextval('sync_runs_id_seq'::regclass);
INSERT INTO alembic_version VALUES ('0002');
INSERT INTO change_cursors VALUES ('reader', 'odd', '2024-01-11 21:00:00+00', '2024-01-11 21:00:00+00');
INSERT INTO change_cursors VALUES ('default', 'staging', NULL, '2024-01-11 21:00:00+00');
INSERT INTO erased_requests VALUES ('request-36', 1);
INSERT INTO erased_requests VALUES ('request-38', 2);
INSERT INTO erasures VALUES (1, '2024-01-11 20:00:00+00', 1, 0, 0, 0, '2024-01-11 20:00:00+00', NULL);
INSERT INTO erasures VALUES (2, '2024-01-11 20:00:00+00', 0, 0, 1, 0, '2024-01-11 20:00:00+00', NULL);
INSERT INTO erasures VALUES (3, '2024-01-11 20:00:00+00', 1, 0, 0, 0, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00');
INSERT INTO quarantined_records VALUES (1, 'default', '27ae539ce0f580dbb2e246709837dd35408c5db7dde3d6808f12f9e738e6377d', 'request-11', '{"id":"request-11","phone_number_id":"phone-11","phone_number":"+15551230011","reason":"The campaign has ended","status":"pending","requested_at":"yesterday"}', '`requested_at` is not a time', 1, 6, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL);
INSERT INTO quarantined_records VALUES (2, 'default', '4a826b8f94c4f88dcb3761855e863d9c75b64b7b746326da71e88abb89a713bd', 'request-12', '{"id":"request-12","phone_number_id":"phone-12","phone_number":"+15551230012","reason":"The campaign has ended","status":7,"requested_at":"2024-01-10T14:30:12Z"}', '`status` is not a string', 1, 6, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL);
INSERT INTO quarantined_records VALUES (3, 'default', 'b6272773015dc2e95e8fffc4ec10c1b53ac5cca9b8dd907b51b8f625b62d39d9', NULL, '"no \"object\", isn''t it? — não"', 'not an object', 1, 1, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00');
INSERT INTO quarantined_records VALUES (4, 'odd', 'erased-2 request-38 1', 'request-38', '"erased-2"', '`requested_at` is null', 10, 11, '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL);
INSERT INTO release_request_past_versions VALUES ('request-2', 'default', 'phone-2', '+15551230002', 'The campaign has ended', 'pending', NULL, '2024-01-09 23:59:59.25+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:03+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'rejected', 'A porting request isn''t "done" — aguarde', '2024-01-10 14:30:03+00', '2024-01-11 14:00:00.5+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', NULL, 5, NULL);
INSERT INTO release_request_past_versions VALUES ('request-4', 'default', 'phone-4', '+15551230004', NULL, 'pending', NULL, '2024-01-10 14:30:04+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-4', 'default', 'phone-4', '+15551230004', NULL, 'approved', NULL, '2024-01-10 14:30:04+00', '2024-01-11 14:15:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', NULL, 5, NULL);
INSERT INTO release_request_past_versions VALUES ('request-5', 'default', NULL, '+15551230005', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:05+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', '2024-01-11 15:00:00+00', 5, NULL);
INSERT INTO release_request_past_versions VALUES ('request-7', 'default', 'phone-7', '+15551230007', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:07+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1, NULL);
INSERT INTO release_request_past_versions VALUES ('request-31', 'odd', 'phone-31', '+15551230031', 'The campaign has ended', 'approved', NULL, '2024-01-10 14:30:31+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 10, NULL);
INSERT INTO release_request_past_versions VALUES ('request-36', 'odd', 'erased-1', 'erased-1', 'erased-1', 'pending', NULL, '2024-01-10 14:30:36+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 10, NULL);
INSERT INTO release_request_past_versions VALUES ('request-39', 'odd', 'erased-3', 'erased-3', 'erased-3', 'pending', NULL, '2024-01-10 14:30:39+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 10, NULL);
INSERT INTO release_requests VALUES ('request-1', 'default', 'phone-1', '+15551230001', 'It''s "over" — número não é mais necessário;
100 % \ {done} 漢字 🙂', 'pending', NULL, '2024-01-10 14:30:01+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1, -823654863613562627, NULL);
INSERT INTO release_requests VALUES ('request-2', 'default', 'phone-2', '+15551230002', 'The campaign has ended', 'approved', NULL, '2024-01-09 23:59:59.25+00', '2024-01-11 13:30:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 5, 3736415798831285314, NULL);
INSERT INTO release_requests VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:03+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6, 6545862319302096506, NULL);
INSERT INTO release_requests VALUES ('request-4', 'default', 'phone-4', '+15551230004', 'Replaced', 'approved', NULL, '2024-01-10 14:30:04+00', '2024-01-11 14:20:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6, -5428396990726060138, NULL);
INSERT INTO release_requests VALUES ('request-5', 'default', NULL, '+15551230005', 'The campaign has ended', 'cancelled', NULL, '2024-01-10 14:30:05+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 5, 3686180645443550989, NULL);
INSERT INTO release_requests VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6, -6954508791978982760, NULL);
INSERT INTO release_requests VALUES ('request-7', 'default', 'phone-7', '+15551230007', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:07+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', 5, 4408919530556284180, NULL);
INSERT INTO release_requests VALUES ('request-8', 'default', 'phone-8', '+15551230008', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:08+00', NULL, '{"carrier": {"name": "It''s é \\", "tags": [null, true, 1000], "since": 1.50}, "priority": 3}', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1, 1517173602415764846, NULL);
INSERT INTO release_requests VALUES ('request-9', 'default', 'phone-9', '+15551230009', NULL, 'approved', NULL, '2024-01-01 01:00:00+00', '2024-01-05 08:00:00.001+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1, 3671177595487545069, NULL);
INSERT INTO release_requests VALUES ('request-10', 'default', 'phone-2-again', '+15551230002', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:10+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1, 6874473428937509928, NULL);
INSERT INTO release_requests VALUES ('request-21', 'staging', 'phone-21', '+15551230021', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:21+00', NULL, NULL, '2024-01-11 19:00:00+00', '2024-01-11 19:00:00+00', NULL, 9, 4180057235415288256, NULL);
INSERT INTO release_requests VALUES ('request-22', 'staging', 'phone-22', '+15551230022', 'The campaign has ended', 'rejected', 'Open bill', '2024-01-10 14:30:22+00', '2024-01-10 18:00:00+00', NULL, '2024-01-11 19:00:00+00', '2024-01-11 19:00:00+00', NULL, 9, -2701444625995567892, NULL);
INSERT INTO release_requests VALUES ('request-31', 'odd', 'phone-31', '+15551230031', NULL, 'approved', NULL, '2024-01-10 14:30:31+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 11, 536406820678183255, NULL);
INSERT INTO release_requests VALUES ('request-32', 'odd', 'phone-32', '+1 (555) 123-0032', '� [31m ‮ ﻿ é 	', 'pending', NULL, '2024-01-10 14:30:32+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10, -8003285251782834507, '+15551230032');
INSERT INTO release_requests VALUES ('request-33', 'odd', 'phone-33', 'tel:+1-555-123-0033', 'The campaign has ended', 'rejected', '', '2024-01-10 14:30:33+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10, -8872119793259784677, '+15551230033');
INSERT INTO release_requests VALUES ('request-34', 'odd', 'phone-34', '+15551230034', '', 'on hold', NULL, '2024-01-10 14:30:34+00', NULL, '{"huge": 1111111111111111111111111111111111111111}', '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10, 3527492995926880994, NULL);
INSERT INTO release_requests VALUES ('request-35', 'odd', 'phone-35', '+15551230035', 'half of �', 'pending', NULL, '2024-01-10 14:30:35+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10, 8495861832917858022, NULL);
INSERT INTO release_requests VALUES ('request-36', 'odd', 'erased-1', 'erased-1', 'erased-1', 'approved', NULL, '2024-01-10 14:30:36+00', '2024-01-11 20:30:00+00', NULL, '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 11, NULL, NULL);
INSERT INTO release_requests VALUES ('request-37', 'odd', 'phone-37', 'number �', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:37+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10, -3331238011604828230, NULL);
INSERT INTO release_requests VALUES ('request-39', 'odd', 'phone-39', '+15551230039', 'as it was before', 'pending', NULL, '2024-01-10 14:30:39+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 21:00:00+00', NULL, 11, 5699208503396463446, NULL);
INSERT INTO sync_runs VALUES (1, 'default', 'applied', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', 0.25, 1, 14, 10, 0, 0, 0, 0, 3, 3, 1, 2, 4918, NULL, 'https://api.example/api/v1', '"cc6c65dc6564414b03aa157c71c151ef"', 'a48092046e219830fc11b207dccd29b3', '0.1.0');
INSERT INTO sync_runs VALUES (2, 'default', 'unchanged', '2024-01-11 14:00:00+00', '2024-01-11 14:00:00+00', '2024-01-11 14:00:00+00', 0.25, 2, 14, 0, 0, 10, 0, 0, 3, 0, 1, 0, 0, NULL, 'https://api.example/api/v1', '"cc6c65dc6564414b03aa157c71c151ef"', 'a48092046e219830fc11b207dccd29b3', '0.1.0');
INSERT INTO sync_runs VALUES (3, 'default', 'abandoned', '2024-01-11 14:00:00+00', '2024-01-11 15:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'the run recorded no outcome; found by run 5', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (4, 'default', 'superseded', '2024-01-11 14:00:00+00', '2024-01-11 15:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 2479, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (5, 'default', 'applied', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', 0.25, 3, 10, 0, 4, 4, 2, 0, 2, 0, 0, 2, 4090, NULL, 'https://api.example/api/v1', '"a248c47706eabe8664cfbc97a486ef7b"', '3cdd289b5aea13c01e7416cdd22b25dc', '0.1.0');
INSERT INTO sync_runs VALUES (6, 'default', 'applied', '2024-01-11 16:00:00+00', '2024-01-11 16:00:00+00', '2024-01-11 16:00:00+00', 0.25, 4, 11, 0, 2, 6, 0, 1, 2, 0, 0, 2, 4312, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (7, 'default', 'refused', '2024-01-11 17:00:00+00', '2024-01-11 17:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 26, '9 of the 9 requests known in ''default'' are no longer in the list. Nothing was applied; if they are really gone, run again with --environment default --accept-missing', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (8, 'default', 'failed', '2024-01-11 18:00:00+00', '2024-01-11 18:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 'the API at https://api.example/api/v1 answered 403: FORBIDDEN: The token may not list release requests; check the token and its environment, and if it was regenerated, use the new one', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (9, 'staging', 'applied', '2024-01-11 19:00:00+00', '2024-01-11 19:00:00+00', '2024-01-11 19:00:00+00', 0.25, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 2, 868, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (10, 'odd', 'applied', '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', 0.25, 1, 9, 8, 0, 0, 0, 0, 1, 1, 0, 2, 3192, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (11, 'odd', 'applied', '2024-01-11 21:00:00+00', '2024-01-11 21:00:00+00', '2024-01-11 21:00:00+00', 0.25, 2, 9, 0, 3, 5, 0, 0, 1, 0, 0, 2, 3228, NULL, 'https://api.example/api/v1', '"8a2cc7606341b112289d40fe4da802a1"', '22de054690e6480af7ae5452f642067a', '0.1.0');
INSERT INTO sync_runs VALUES (12, 'staging', 'running', '2024-01-11 21:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
SELECT pg_catalog.setval('quarantined_records_id_seq', 4, true);
SELECT pg_catalog.setval('sync_runs_id_seq', 12, true);
ALTER TABLE ONLY alembic_version
ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY change_cursors
ADD CONSTRAINT pk_change_cursors PRIMARY KEY (name, environment);
ALTER TABLE ONLY erased_requests
ADD CONSTRAINT pk_erased_requests PRIMARY KEY (request_id);
ALTER TABLE ONLY erasures
ADD CONSTRAINT pk_erasures PRIMARY KEY (id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT pk_quarantined_records PRIMARY KEY (id);
ALTER TABLE ONLY release_request_past_versions
ADD CONSTRAINT pk_release_request_past_versions PRIMARY KEY (id, valid_from);
ALTER TABLE ONLY release_requests
ADD CONSTRAINT pk_release_requests PRIMARY KEY (id);
ALTER TABLE ONLY sync_runs
ADD CONSTRAINT pk_sync_runs PRIMARY KEY (id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT uq_quarantined_records_environment_fingerprint UNIQUE (environment, fingerprint);
ALTER TABLE ONLY sync_runs
ADD CONSTRAINT uq_sync_runs_environment_completion UNIQUE (environment, completion);
CREATE INDEX ix_erased_requests_erasure_id ON erased_requests USING btree (erasure_id);
CREATE INDEX ix_quarantined_records_first_run_id ON quarantined_records USING btree (first_run_id);
CREATE INDEX ix_quarantined_records_last_run_id ON quarantined_records USING btree (last_run_id);
CREATE INDEX ix_quarantined_records_request_id ON quarantined_records USING btree (request_id);
CREATE INDEX ix_release_request_past_versions_phone_number ON release_request_past_versions USING btree (phone_number);
CREATE INDEX ix_release_request_past_versions_phone_number_e164 ON release_request_past_versions USING btree (phone_number_e164) WHERE (phone_number_e164 IS NOT NULL);
CREATE INDEX ix_release_request_past_versions_valid_to ON release_request_past_versions USING btree (valid_to);
CREATE INDEX ix_release_requests_environment ON release_requests USING btree (environment);
CREATE INDEX ix_release_requests_missing_since ON release_requests USING btree (missing_since) WHERE (missing_since IS NOT NULL);
CREATE INDEX ix_release_requests_phone_number ON release_requests USING btree (phone_number);
CREATE INDEX ix_release_requests_phone_number_e164 ON release_requests USING btree (phone_number_e164) WHERE (phone_number_e164 IS NOT NULL);
CREATE INDEX ix_release_requests_requested_at ON release_requests USING btree (requested_at);
CREATE INDEX ix_release_requests_resolved_at ON release_requests USING btree (resolved_at);
CREATE INDEX ix_release_requests_status_requested_at ON release_requests USING btree (status, requested_at);
CREATE INDEX ix_sync_runs_environment_id ON sync_runs USING btree (environment, id);
CREATE INDEX ix_sync_runs_environment_observed_at ON sync_runs USING btree (environment, observed_at);
CREATE INDEX ix_sync_runs_running ON sync_runs USING btree (environment) WHERE (outcome = 'running'::text);
ALTER TABLE ONLY erased_requests
ADD CONSTRAINT fk_erased_requests_erasure_id_erasures FOREIGN KEY (erasure_id) REFERENCES erasures(id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_first_run_id_sync_runs FOREIGN KEY (first_run_id) REFERENCES sync_runs(id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_last_run_id_sync_runs FOREIGN KEY (last_run_id) REFERENCES sync_runs(id);
