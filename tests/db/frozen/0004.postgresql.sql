-- A mirror at revision 0004 of the schema, made by tests/frozen/freeze.py.
-- Once the revision is released, this file is never changed.
CREATE TABLE alembic_version (
version_num character varying(32) NOT NULL
);
COMMENT ON TABLE alembic_version IS 'Revision of the schema, which Alembic keeps for mirror db upgrade.';
COMMENT ON COLUMN alembic_version.version_num IS 'Number of the revision.';
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
extra json,
first_seen_at timestamp with time zone NOT NULL,
valid_from timestamp with time zone NOT NULL,
valid_to timestamp with time zone NOT NULL,
missing_since timestamp with time zone,
sync_run_id bigint NOT NULL
);
COMMENT ON TABLE release_request_past_versions IS 'Superseded versions of release requests, one row per id and valid_from.';
COMMENT ON COLUMN release_request_past_versions.id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN release_request_past_versions.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_request_past_versions.phone_number_id IS 'Upstream id of the number''s record; a number bought again has a new one. Null if upstream gave none.';
COMMENT ON COLUMN release_request_past_versions.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_past_versions.reason IS 'Why the customer gives the number back. Null if upstream gave none.';
COMMENT ON COLUMN release_request_past_versions.status IS 'As upstream gave it; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_past_versions.rejection_reason IS 'Why the request was denied. Null unless upstream gave one.';
COMMENT ON COLUMN release_request_past_versions.requested_at IS 'When the request was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN release_request_past_versions.resolved_at IS 'When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.';
COMMENT ON COLUMN release_request_past_versions.extra IS 'JSON object of the fields that this version of mirror does not know. Null if there are none.';
COMMENT ON COLUMN release_request_past_versions.first_seen_at IS 'When the pull began that first saw the request (UTC, this machine''s clock).';
COMMENT ON COLUMN release_request_past_versions.valid_from IS 'When the pull began that first saw this version (UTC, this machine''s clock).';
COMMENT ON COLUMN release_request_past_versions.valid_to IS 'When the pull began that first saw the next version (UTC): the valid_from of that one.';
COMMENT ON COLUMN release_request_past_versions.missing_since IS 'When the pull began that no longer found the request in the list (UTC). Null while it is in the list.';
COMMENT ON COLUMN release_request_past_versions.sync_run_id IS 'The run that first saw this version (sync_runs.id).';
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
extra json,
first_seen_at timestamp with time zone NOT NULL,
valid_from timestamp with time zone NOT NULL,
missing_since timestamp with time zone,
sync_run_id bigint NOT NULL
);
COMMENT ON TABLE release_requests IS 'The current version of each release request, one row per id.';
COMMENT ON COLUMN release_requests.id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN release_requests.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_requests.phone_number_id IS 'Upstream id of the number''s record; a number bought again has a new one. Null if upstream gave none.';
COMMENT ON COLUMN release_requests.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_requests.reason IS 'Why the customer gives the number back. Null if upstream gave none.';
COMMENT ON COLUMN release_requests.status IS 'As upstream gave it; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_requests.rejection_reason IS 'Why the request was denied. Null unless upstream gave one.';
COMMENT ON COLUMN release_requests.requested_at IS 'When the request was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN release_requests.resolved_at IS 'When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.';
COMMENT ON COLUMN release_requests.extra IS 'JSON object of the fields that this version of mirror does not know. Null if there are none.';
COMMENT ON COLUMN release_requests.first_seen_at IS 'When the pull began that first saw the request (UTC, this machine''s clock).';
COMMENT ON COLUMN release_requests.valid_from IS 'When the pull began that first saw this version (UTC, this machine''s clock).';
COMMENT ON COLUMN release_requests.missing_since IS 'When the pull began that no longer found the request in the list (UTC). Null while it is in the list.';
COMMENT ON COLUMN release_requests.sync_run_id IS 'The run that first saw this version (sync_runs.id).';
CREATE VIEW phone_number_history AS
SELECT r.environment,
r.phone_number,
r.phone_number_id,
r.requested_at AS occurred_at,
'requested'::text AS event,
r.id AS request_id,
'pending'::text AS status,
r.reason,
NULL::text AS rejection_reason,
'reported'::text AS time_source,
r.first_seen_at AS observed_at
FROM release_requests r
UNION ALL
SELECT c.environment,
c.phone_number,
c.phone_number_id,
COALESCE(c.reported_at, c.entered_at, c.first_seen_at) AS occurred_at,
CASE
WHEN (c.status = 'pending'::text) THEN 'reopened'::text
ELSE c.status
END AS event,
c.id AS request_id,
c.status,
c.reason,
c.rejection_reason,
CASE
WHEN (c.reported_at IS NULL) THEN 'observed'::text
ELSE 'reported'::text
END AS time_source,
COALESCE(c.entered_at, c.first_seen_at) AS observed_at
FROM ( SELECT v.id,
v.environment,
v.phone_number_id,
v.phone_number,
v.reason,
v.status,
v.rejection_reason,
v.requested_at,
v.resolved_at,
v.extra,
v.first_seen_at,
v.valid_from,
v.missing_since,
v.sync_run_id,
v.entered_at,
reported_at.value AS reported_at
FROM (( SELECT r.id,
r.environment,
r.phone_number_id,
r.phone_number,
r.reason,
r.status,
r.rejection_reason,
r.requested_at,
r.resolved_at,
r.extra,
r.first_seen_at,
r.valid_from,
r.missing_since,
r.sync_run_id,
entered_at.value AS entered_at
FROM (release_requests r
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = r.id) AND (e.status <> r.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) v
LEFT JOIN LATERAL ( SELECT v.resolved_at
WHERE ((v.status <> 'pending'::text) AND (NOT (EXISTS ( SELECT 1
FROM release_request_past_versions e
WHERE ((e.id = v.id) AND (e.valid_to <= v.entered_at) AND (e.status = v.status) AND (e.resolved_at = v.resolved_at))))))) reported_at(value) ON (true))) c
WHERE ((c.status <> 'pending'::text) OR (c.entered_at IS NOT NULL))
UNION ALL
SELECT c.environment,
c.phone_number,
c.phone_number_id,
COALESCE(c.reported_at, c.entered_at, c.first_seen_at) AS occurred_at,
CASE
WHEN (c.status = 'pending'::text) THEN 'reopened'::text
ELSE c.status
END AS event,
c.id AS request_id,
c.status,
c.reason,
c.rejection_reason,
CASE
WHEN (c.reported_at IS NULL) THEN 'observed'::text
ELSE 'reported'::text
END AS time_source,
COALESCE(c.entered_at, c.first_seen_at) AS observed_at
FROM ( SELECT v.environment,
v.phone_number,
v.phone_number_id,
v.id,
v.status,
v.reason,
v.rejection_reason,
v.resolved_at,
v.first_seen_at,
v.next_status,
v.entered_at,
reported_at.value AS reported_at
FROM (( SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.id,
p.status,
p.reason,
p.rejection_reason,
p.resolved_at,
p.first_seen_at,
COALESCE(n.status, r.status) AS next_status,
entered_at.value AS entered_at
FROM (((release_requests r
JOIN release_request_past_versions p ON ((p.id = r.id)))
LEFT JOIN release_request_past_versions n ON (((n.id = p.id) AND (n.valid_from = p.valid_to))))
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = p.id) AND (e.valid_from < p.valid_from) AND (e.status <> p.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) v
LEFT JOIN LATERAL ( SELECT v.resolved_at
WHERE ((v.status <> 'pending'::text) AND (NOT (EXISTS ( SELECT 1
FROM release_request_past_versions e
WHERE ((e.id = v.id) AND (e.valid_to <= v.entered_at) AND (e.status = v.status) AND (e.resolved_at = v.resolved_at))))))) reported_at(value) ON (true))) c
WHERE ((c.next_status <> c.status) AND ((c.status <> 'pending'::text) OR (c.entered_at IS NOT NULL)))
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
r.missing_since AS occurred_at,
'vanished'::text AS event,
r.id AS request_id,
r.status,
r.reason,
r.rejection_reason,
'observed'::text AS time_source,
r.missing_since AS observed_at
FROM release_requests r
WHERE (r.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.missing_since AS occurred_at,
'vanished'::text AS event,
r.id AS request_id,
p.status,
p.reason,
p.rejection_reason,
'observed'::text AS time_source,
p.missing_since AS observed_at
FROM (release_requests r
JOIN release_request_past_versions p ON ((p.id = r.id)))
WHERE (p.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.valid_to AS occurred_at,
'returned'::text AS event,
r.id AS request_id,
n.status,
n.reason,
n.rejection_reason,
'observed'::text AS time_source,
p.valid_to AS observed_at
FROM ((release_requests r
JOIN release_request_past_versions p ON ((p.id = r.id)))
JOIN release_request_past_versions n ON (((n.id = p.id) AND (n.valid_from = p.valid_to))))
WHERE (p.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.valid_to AS occurred_at,
'returned'::text AS event,
r.id AS request_id,
r.status,
r.reason,
r.rejection_reason,
'observed'::text AS time_source,
p.valid_to AS observed_at
FROM (release_requests r
JOIN release_request_past_versions p ON (((p.id = r.id) AND (p.valid_to = r.valid_from))))
WHERE (p.missing_since IS NOT NULL);
COMMENT ON VIEW phone_number_history IS 'The life of each phone number: one row per event, over all its requests.';
COMMENT ON COLUMN phone_number_history.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN phone_number_history.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_number_history.phone_number_id IS 'Upstream id of the number''s record; a number bought again has a new one. Null if upstream gave none.';
COMMENT ON COLUMN phone_number_history.occurred_at IS 'When it happened (UTC), as well as is known; time_source says who says so.';
COMMENT ON COLUMN phone_number_history.event IS 'requested; the status entered (approved, …); reopened (back to pending); vanished or returned (from and to the list).';
COMMENT ON COLUMN phone_number_history.request_id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN phone_number_history.status IS 'Status of the request after the event.';
COMMENT ON COLUMN phone_number_history.reason IS 'Why the customer gives the number back. Null if upstream gave none.';
COMMENT ON COLUMN phone_number_history.rejection_reason IS 'Why the request was denied. Null unless upstream gave one.';
COMMENT ON COLUMN phone_number_history.time_source IS 'Whose time occurred_at is. reported: it is what upstream said; observed: upstream said nothing, and it is when the pull began that first saw it.';
COMMENT ON COLUMN phone_number_history.observed_at IS 'When the pull began that first saw it (UTC, this machine''s clock).';
CREATE VIEW phone_numbers AS
SELECT n.environment,
n.phone_number,
n.phone_number_id,
n.requests,
n.id AS last_request_id,
n.status AS last_status,
n.first_requested_at,
n.requested_at AS last_requested_at,
n.last_resolved_at,
(n.status = 'approved'::text) AS released
FROM ( SELECT r.environment,
r.phone_number,
r.phone_number_id,
r.id,
r.status,
r.requested_at,
r.sync_run_id,
row_number() OVER (PARTITION BY r.phone_number, r.environment ORDER BY r.requested_at DESC, r.id DESC) AS place,
count(*) OVER (PARTITION BY r.phone_number, r.environment) AS requests,
min(r.requested_at) OVER (PARTITION BY r.phone_number, r.environment) AS first_requested_at,
max(r.resolved_at) OVER (PARTITION BY r.phone_number, r.environment) AS last_resolved_at
FROM release_requests r) n
WHERE (n.place = 1);
COMMENT ON VIEW phone_numbers IS 'Phone numbers for which there were release requests, one row per environment.';
COMMENT ON COLUMN phone_numbers.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN phone_numbers.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_numbers.phone_number_id IS 'Upstream id of the number''s record in its last request. Null if upstream gave none.';
COMMENT ON COLUMN phone_numbers.requests IS 'How many release requests there were for the number.';
COMMENT ON COLUMN phone_numbers.last_request_id IS 'Id of the request submitted last.';
COMMENT ON COLUMN phone_numbers.last_status IS 'Status of that request, as upstream gave it.';
COMMENT ON COLUMN phone_numbers.first_requested_at IS 'When the first was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN phone_numbers.last_requested_at IS 'When the last was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN phone_numbers.last_resolved_at IS 'The latest resolved_at of its requests (UTC, reported by upstream). Null if none has one.';
COMMENT ON COLUMN phone_numbers.released IS 'Whether the last request was approved: the number has been or will be released. 1 or 0 in SQLite.';
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
COMMENT ON TABLE quarantined_records IS 'Entries of the list that could not be understood, each once.';
COMMENT ON COLUMN quarantined_records.id IS 'Number of the record.';
COMMENT ON COLUMN quarantined_records.environment IS 'Label of the token whose list held the record.';
COMMENT ON COLUMN quarantined_records.fingerprint IS 'SHA-256 of the record''s known fields, in hex, or of all of it if it has none.';
COMMENT ON COLUMN quarantined_records.request_id IS 'Id of the request, if that much could be read. Null otherwise.';
COMMENT ON COLUMN quarantined_records.raw IS 'The record''s JSON, as it last came.';
COMMENT ON COLUMN quarantined_records.error IS 'Why it could not be understood.';
COMMENT ON COLUMN quarantined_records.first_run_id IS 'The run that first saw it (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.last_run_id IS 'The last applied run that saw it (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.first_seen_at IS 'When the pull began that first saw it (UTC).';
COMMENT ON COLUMN quarantined_records.last_seen_at IS 'When the last applied pull began that saw it (UTC).';
COMMENT ON COLUMN quarantined_records.resolved_at IS 'When the pull began that no longer held it (UTC). Null while it occurs.';
CREATE SEQUENCE quarantined_records_id_seq
START WITH 1
INCREMENT BY 1
NO MINVALUE
NO MAXVALUE
CACHE 1;
ALTER SEQUENCE quarantined_records_id_seq OWNED BY quarantined_records.id;
CREATE VIEW release_request_changes AS
SELECT n.id AS request_id,
n.environment,
n.phone_number,
o.valid_to AS changed_at,
CASE
WHEN (n.missing_since IS NULL) THEN 'returned'::text
ELSE 'vanished'::text
END AS kind,
o.status AS old_status,
n.status AS new_status,
o.resolved_at AS old_resolved_at,
n.resolved_at AS new_resolved_at,
n.sync_run_id
FROM (release_request_past_versions o
JOIN release_requests n ON (((n.id = o.id) AND (n.valid_from = o.valid_to))))
WHERE (((o.missing_since IS NULL) <> (n.missing_since IS NULL)) AND ((o.id || ''::text) = o.id))
UNION ALL
SELECT n.id AS request_id,
n.environment,
n.phone_number,
o.valid_to AS changed_at,
CASE
WHEN (n.missing_since IS NULL) THEN 'returned'::text
ELSE 'vanished'::text
END AS kind,
o.status AS old_status,
n.status AS new_status,
o.resolved_at AS old_resolved_at,
n.resolved_at AS new_resolved_at,
n.sync_run_id
FROM (release_request_past_versions o
JOIN release_request_past_versions n ON (((n.id = o.id) AND (n.valid_from = o.valid_to))))
WHERE (((o.missing_since IS NULL) <> (n.missing_since IS NULL)) AND ((o.id || ''::text) = o.id))
UNION ALL
SELECT n.id AS request_id,
n.environment,
n.phone_number,
o.valid_to AS changed_at,
CASE
WHEN ((n.status = 'pending'::text) AND (o.status <> 'pending'::text)) THEN 'reopened'::text
WHEN (((n.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((n.status <> 'pending'::text) AND (n.resolved_at IS NOT NULL))) AND (NOT ((o.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((o.status <> 'pending'::text) AND (o.resolved_at IS NOT NULL))))) THEN 'resolved'::text
ELSE 'corrected'::text
END AS kind,
o.status AS old_status,
n.status AS new_status,
o.resolved_at AS old_resolved_at,
n.resolved_at AS new_resolved_at,
n.sync_run_id
FROM (release_request_past_versions o
JOIN release_requests n ON (((n.id = o.id) AND (n.valid_from = o.valid_to))))
WHERE ((n.missing_since IS NULL) AND ((o.missing_since IS NULL) OR (EXISTS ( SELECT o.phone_number_id,
o.phone_number,
o.reason,
o.status,
o.rejection_reason,
o.requested_at,
o.resolved_at
EXCEPT
SELECT n.phone_number_id,
n.phone_number,
n.reason,
n.status,
n.rejection_reason,
n.requested_at,
n.resolved_at))) AND ((o.id || ''::text) = o.id))
UNION ALL
SELECT n.id AS request_id,
n.environment,
n.phone_number,
o.valid_to AS changed_at,
CASE
WHEN ((n.status = 'pending'::text) AND (o.status <> 'pending'::text)) THEN 'reopened'::text
WHEN (((n.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((n.status <> 'pending'::text) AND (n.resolved_at IS NOT NULL))) AND (NOT ((o.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((o.status <> 'pending'::text) AND (o.resolved_at IS NOT NULL))))) THEN 'resolved'::text
ELSE 'corrected'::text
END AS kind,
o.status AS old_status,
n.status AS new_status,
o.resolved_at AS old_resolved_at,
n.resolved_at AS new_resolved_at,
n.sync_run_id
FROM (release_request_past_versions o
JOIN release_request_past_versions n ON (((n.id = o.id) AND (n.valid_from = o.valid_to))))
WHERE ((n.missing_since IS NULL) AND ((o.missing_since IS NULL) OR (EXISTS ( SELECT o.phone_number_id,
o.phone_number,
o.reason,
o.status,
o.rejection_reason,
o.requested_at,
o.resolved_at
EXCEPT
SELECT n.phone_number_id,
n.phone_number,
n.reason,
n.status,
n.rejection_reason,
n.requested_at,
n.resolved_at))) AND ((o.id || ''::text) = o.id));
COMMENT ON VIEW release_request_changes IS 'What the syncs saw change in requests known before. A request that returned with other fields has two rows.';
COMMENT ON COLUMN release_request_changes.request_id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN release_request_changes.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_request_changes.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_changes.changed_at IS 'When the pull began that first saw the change (UTC, this machine''s clock).';
COMMENT ON COLUMN release_request_changes.kind IS 'resolved (left pending for good), reopened (back to pending), corrected (any other field or status), vanished (no longer in the list), returned (in it again).';
COMMENT ON COLUMN release_request_changes.old_status IS 'Status before, as upstream gave it.';
COMMENT ON COLUMN release_request_changes.new_status IS 'Status after, as upstream gave it.';
COMMENT ON COLUMN release_request_changes.old_resolved_at IS 'resolved_at before (UTC, reported by upstream). Null if there was none.';
COMMENT ON COLUMN release_request_changes.new_resolved_at IS 'resolved_at after (UTC, reported by upstream). Null if there is none.';
COMMENT ON COLUMN release_request_changes.sync_run_id IS 'The run that saw the change (sync_runs.id).';
CREATE VIEW release_request_turnaround AS
SELECT r.id,
r.environment,
r.phone_number,
r.status,
r.requested_at,
r.resolved_at,
((((EXTRACT(epoch FROM (r.resolved_at - r.requested_at)) * (1000)::numeric))::bigint)::double precision / (3600000)::double precision) AS hours_to_resolve,
'reported'::text AS time_source
FROM release_requests r
WHERE ((r.status <> 'pending'::text) AND (r.resolved_at IS NOT NULL))
UNION ALL
SELECT r.id,
r.environment,
r.phone_number,
r.status,
r.requested_at,
COALESCE(r.entered_at, r.first_seen_at) AS resolved_at,
((((EXTRACT(epoch FROM (COALESCE(r.entered_at, r.first_seen_at) - r.requested_at)) * (1000)::numeric))::bigint)::double precision / (3600000)::double precision) AS hours_to_resolve,
'observed'::text AS time_source
FROM ( SELECT r_1.id,
r_1.environment,
r_1.phone_number_id,
r_1.phone_number,
r_1.reason,
r_1.status,
r_1.rejection_reason,
r_1.requested_at,
r_1.resolved_at,
r_1.extra,
r_1.first_seen_at,
r_1.valid_from,
r_1.missing_since,
r_1.sync_run_id,
entered_at.value AS entered_at
FROM (release_requests r_1
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = r_1.id) AND (e.status <> r_1.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) r
WHERE ((r.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) AND (r.resolved_at IS NULL));
COMMENT ON VIEW release_request_turnaround IS 'How long reviews took: one row per request that is resolved (approved, rejected, cancelled, or another status than pending with a resolved_at), missing ones included.';
COMMENT ON COLUMN release_request_turnaround.id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN release_request_turnaround.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_request_turnaround.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_turnaround.status IS 'As upstream gave it; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_turnaround.requested_at IS 'When the request was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN release_request_turnaround.resolved_at IS 'When the request got its status (UTC), as well as is known; time_source says who says so.';
COMMENT ON COLUMN release_request_turnaround.hours_to_resolve IS 'Hours from requested_at to resolved_at. Where time_source is observed, at most so many.';
COMMENT ON COLUMN release_request_turnaround.time_source IS 'Whose time resolved_at is. reported: it is what upstream said; observed: upstream said nothing, and it is when the pull began that first saw it.';
CREATE VIEW release_request_versions AS
SELECT v.id,
v.environment,
v.phone_number_id,
v.phone_number,
v.reason,
v.status,
v.rejection_reason,
v.requested_at,
v.resolved_at,
v.extra,
v.first_seen_at,
v.valid_from,
v.missing_since,
v.sync_run_id,
v.valid_to,
(1 + ( SELECT count(*) AS count
FROM release_request_past_versions e
WHERE ((e.id = v.id) AND (e.valid_from < v.valid_from)))) AS version
FROM release_request_past_versions v
UNION ALL
SELECT v.id,
v.environment,
v.phone_number_id,
v.phone_number,
v.reason,
v.status,
v.rejection_reason,
v.requested_at,
v.resolved_at,
v.extra,
v.first_seen_at,
v.valid_from,
v.missing_since,
v.sync_run_id,
NULL::timestamp with time zone AS valid_to,
(1 + ( SELECT count(*) AS count
FROM release_request_past_versions e
WHERE (e.id = v.id))) AS version
FROM release_requests v;
COMMENT ON VIEW release_request_versions IS 'Every version of every release request, past and current. As of a time T: valid_from <= T and (valid_to is null or valid_to > T).';
COMMENT ON COLUMN release_request_versions.id IS 'Id of the request, as upstream gave it.';
COMMENT ON COLUMN release_request_versions.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_request_versions.phone_number_id IS 'Upstream id of the number''s record; a number bought again has a new one. Null if upstream gave none.';
COMMENT ON COLUMN release_request_versions.phone_number IS 'The number, as upstream gave it; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_versions.reason IS 'Why the customer gives the number back. Null if upstream gave none.';
COMMENT ON COLUMN release_request_versions.status IS 'As upstream gave it; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_versions.rejection_reason IS 'Why the request was denied. Null unless upstream gave one.';
COMMENT ON COLUMN release_request_versions.requested_at IS 'When the request was submitted (UTC, reported by upstream).';
COMMENT ON COLUMN release_request_versions.resolved_at IS 'When it left pending (UTC, reported by upstream). Null while pending, and where upstream did not say.';
COMMENT ON COLUMN release_request_versions.extra IS 'JSON object of the fields that this version of mirror does not know. Null if there are none.';
COMMENT ON COLUMN release_request_versions.first_seen_at IS 'When the pull began that first saw the request (UTC, this machine''s clock).';
COMMENT ON COLUMN release_request_versions.valid_from IS 'When the pull began that first saw this version (UTC, this machine''s clock).';
COMMENT ON COLUMN release_request_versions.missing_since IS 'When the pull began that no longer found the request in the list (UTC). Null while it is in the list.';
COMMENT ON COLUMN release_request_versions.sync_run_id IS 'The run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_request_versions.valid_to IS 'When the pull began that first saw the next version (UTC): the valid_from of that one. Null for the current version.';
COMMENT ON COLUMN release_request_versions.version IS '1, 2, … over the versions of the request.';
CREATE VIEW release_requests_daily AS
WITH RECURSIVE winding_ids AS MATERIALIZED (
SELECT release_requests.id
FROM release_requests
WHERE (release_requests.missing_since IS NOT NULL)
UNION
SELECT p.id
FROM release_request_past_versions p
WHERE ((p.missing_since IS NOT NULL) OR ((p.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((p.status <> 'pending'::text) AND (p.resolved_at IS NOT NULL))))
), steady AS MATERIALIZED (
SELECT r.environment,
((r.requested_at AT TIME ZONE 'UTC'::text))::date AS requested_on,
r.status,
((r.occurred_at AT TIME ZONE 'UTC'::text))::date AS resolved_on,
((
CASE
WHEN (r.closed_at < r.opened_at) THEN r.closed_at
ELSE r.opened_at
END AT TIME ZONE 'UTC'::text))::date AS opened_on,
((r.closed_at AT TIME ZONE 'UTC'::text))::date AS closed_on,
count(*) AS times
FROM ( SELECT r_1.environment,
r_1.requested_at,
r_1.opened_at,
r_1.status,
r_1.occurred_at,
CASE
WHEN (r_1.observed_at < r_1.occurred_at) THEN r_1.observed_at
ELSE r_1.occurred_at
END AS closed_at
FROM ( SELECT r_2.environment,
r_2.requested_at,
r_2.status,
CASE
WHEN (r_2.first_seen_at < r_2.requested_at) THEN r_2.first_seen_at
ELSE r_2.requested_at
END AS opened_at,
COALESCE(r_2.resolved_at, r_2.entered_at, r_2.first_seen_at) AS occurred_at,
COALESCE(r_2.entered_at, r_2.first_seen_at) AS observed_at
FROM ( SELECT r_3.id,
r_3.environment,
r_3.phone_number_id,
r_3.phone_number,
r_3.reason,
r_3.status,
r_3.rejection_reason,
r_3.requested_at,
r_3.resolved_at,
r_3.extra,
r_3.first_seen_at,
r_3.valid_from,
r_3.missing_since,
r_3.sync_run_id,
entered_at.value AS entered_at
FROM (release_requests r_3
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = r_3.id) AND (e.status <> r_3.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) r_2
WHERE (((r_2.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((r_2.status <> 'pending'::text) AND (r_2.resolved_at IS NOT NULL))) AND (NOT (r_2.id IN ( SELECT winding_ids.id
FROM winding_ids))))
UNION ALL
SELECT r_2.environment,
r_2.requested_at,
NULL::text,
CASE
WHEN (r_2.first_seen_at < r_2.requested_at) THEN r_2.first_seen_at
ELSE r_2.requested_at
END AS requested_at,
NULL::timestamp with time zone,
NULL::timestamp with time zone
FROM release_requests r_2
WHERE ((NOT ((r_2.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((r_2.status <> 'pending'::text) AND (r_2.resolved_at IS NOT NULL)))) AND (NOT (r_2.id IN ( SELECT winding_ids.id
FROM winding_ids))))) r_1) r
GROUP BY r.environment, (((r.requested_at AT TIME ZONE 'UTC'::text))::date), r.status, (((r.occurred_at AT TIME ZONE 'UTC'::text))::date), (((
CASE
WHEN (r.closed_at < r.opened_at) THEN r.closed_at
ELSE r.opened_at
END AT TIME ZONE 'UTC'::text))::date), (((r.closed_at AT TIME ZONE 'UTC'::text))::date)
), winding AS MATERIALIZED (
SELECT step.environment,
((step.occurred_at AT TIME ZONE 'UTC'::text))::date AS occurred_on,
((step.taken_at AT TIME ZONE 'UTC'::text))::date AS taken_on,
step.event,
step.place,
count(*) AS times,
sum(step.opened) AS opened
FROM ( SELECT event.environment,
event.event,
event.place,
event.occurred_at,
min(
CASE
WHEN (event.observed_at < event.occurred_at) THEN event.observed_at
ELSE event.occurred_at
END) OVER sequel AS taken_at,
(event.is_open - lag(event.is_open, 1, 0) OVER sequel) AS opened
FROM ( SELECT r.environment,
r.phone_number,
r.phone_number_id,
r.requested_at AS occurred_at,
'requested'::text AS event,
r.id AS request_id,
'pending'::text AS status,
r.reason,
NULL::text AS rejection_reason,
'reported'::text AS time_source,
r.first_seen_at AS observed_at,
1 AS is_open,
0 AS place
FROM ( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
UNION ALL
SELECT c.environment,
c.phone_number,
c.phone_number_id,
COALESCE(c.reported_at, c.entered_at, c.first_seen_at) AS "coalesce",
CASE
WHEN (c.status = 'pending'::text) THEN 'reopened'::text
ELSE c.status
END AS status,
c.id,
c.status,
c.reason,
c.rejection_reason,
CASE
WHEN (c.reported_at IS NULL) THEN 'observed'::text
ELSE 'reported'::text
END AS "case",
COALESCE(c.entered_at, c.first_seen_at) AS "coalesce",
CASE
WHEN ((c.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((c.status <> 'pending'::text) AND (c.resolved_at IS NOT NULL))) THEN 0
ELSE 1
END AS is_open,
2 AS place
FROM ( SELECT v.id,
v.environment,
v.phone_number_id,
v.phone_number,
v.reason,
v.status,
v.rejection_reason,
v.requested_at,
v.resolved_at,
v.extra,
v.first_seen_at,
v.valid_from,
v.missing_since,
v.sync_run_id,
v.entered_at,
reported_at.value AS reported_at
FROM (( SELECT r.id,
r.environment,
r.phone_number_id,
r.phone_number,
r.reason,
r.status,
r.rejection_reason,
r.requested_at,
r.resolved_at,
r.extra,
r.first_seen_at,
r.valid_from,
r.missing_since,
r.sync_run_id,
entered_at.value AS entered_at
FROM (( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = r.id) AND (e.status <> r.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) v
LEFT JOIN LATERAL ( SELECT v.resolved_at
WHERE ((v.status <> 'pending'::text) AND (NOT (EXISTS ( SELECT 1
FROM release_request_past_versions e
WHERE ((e.id = v.id) AND (e.valid_to <= v.entered_at) AND (e.status = v.status) AND (e.resolved_at = v.resolved_at))))))) reported_at(value) ON (true))) c
WHERE ((c.status <> 'pending'::text) OR (c.entered_at IS NOT NULL))
UNION ALL
SELECT c.environment,
c.phone_number,
c.phone_number_id,
COALESCE(c.reported_at, c.entered_at, c.first_seen_at) AS "coalesce",
CASE
WHEN (c.status = 'pending'::text) THEN 'reopened'::text
ELSE c.status
END AS status,
c.id,
c.status,
c.reason,
c.rejection_reason,
CASE
WHEN (c.reported_at IS NULL) THEN 'observed'::text
ELSE 'reported'::text
END AS "case",
COALESCE(c.entered_at, c.first_seen_at) AS "coalesce",
CASE
WHEN ((c.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((c.status <> 'pending'::text) AND (c.resolved_at IS NOT NULL))) THEN 0
ELSE 1
END AS is_open,
2 AS place
FROM ( SELECT v.environment,
v.phone_number,
v.phone_number_id,
v.id,
v.status,
v.reason,
v.rejection_reason,
v.resolved_at,
v.first_seen_at,
v.next_status,
v.entered_at,
reported_at.value AS reported_at
FROM (( SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.id,
p.status,
p.reason,
p.rejection_reason,
p.resolved_at,
p.first_seen_at,
COALESCE(n.status, r.status) AS next_status,
entered_at.value AS entered_at
FROM (((( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
JOIN release_request_past_versions p ON ((p.id = r.id)))
LEFT JOIN release_request_past_versions n ON (((n.id = p.id) AND (n.valid_from = p.valid_to))))
LEFT JOIN LATERAL ( SELECT e.valid_to
FROM release_request_past_versions e
WHERE ((e.id = p.id) AND (e.valid_from < p.valid_from) AND (e.status <> p.status))
ORDER BY e.valid_from DESC
LIMIT 1) entered_at(value) ON (true))) v
LEFT JOIN LATERAL ( SELECT v.resolved_at
WHERE ((v.status <> 'pending'::text) AND (NOT (EXISTS ( SELECT 1
FROM release_request_past_versions e
WHERE ((e.id = v.id) AND (e.valid_to <= v.entered_at) AND (e.status = v.status) AND (e.resolved_at = v.resolved_at))))))) reported_at(value) ON (true))) c
WHERE ((c.next_status <> c.status) AND ((c.status <> 'pending'::text) OR (c.entered_at IS NOT NULL)))
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
r.missing_since,
'vanished'::text,
r.id,
r.status,
r.reason,
r.rejection_reason,
'observed'::text,
r.missing_since,
0 AS is_open,
2 AS place
FROM ( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
WHERE (r.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.missing_since,
'vanished'::text,
r.id,
p.status,
p.reason,
p.rejection_reason,
'observed'::text,
p.missing_since,
0 AS is_open,
2 AS place
FROM (( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
JOIN release_request_past_versions p ON ((p.id = r.id)))
WHERE (p.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.valid_to,
'returned'::text,
r.id,
n.status,
n.reason,
n.rejection_reason,
'observed'::text,
p.valid_to,
CASE
WHEN ((n.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((n.status <> 'pending'::text) AND (( SELECT l.resolved_at
FROM release_request_versions l
WHERE ((l.id = n.id) AND (l.valid_from >= n.valid_from) AND (NOT (EXISTS ( SELECT 1
FROM release_request_versions e
WHERE ((e.id = n.id) AND (e.status <> n.status) AND ((e.valid_from >= n.valid_from) AND (e.valid_from <= l.valid_from)))))))
ORDER BY l.valid_from DESC
LIMIT 1) IS NOT NULL))) THEN 0
ELSE 1
END AS is_open,
1 AS place
FROM ((( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
JOIN release_request_past_versions p ON ((p.id = r.id)))
JOIN release_request_past_versions n ON (((n.id = p.id) AND (n.valid_from = p.valid_to))))
WHERE (p.missing_since IS NOT NULL)
UNION ALL
SELECT r.environment,
r.phone_number,
r.phone_number_id,
p.valid_to,
'returned'::text,
r.id,
r.status,
r.reason,
r.rejection_reason,
'observed'::text,
p.valid_to,
CASE
WHEN ((r.status = ANY (ARRAY['approved'::text, 'rejected'::text, 'cancelled'::text])) OR ((r.status <> 'pending'::text) AND (r.resolved_at IS NOT NULL))) THEN 0
ELSE 1
END AS is_open,
1 AS place
FROM (( SELECT release_requests.id,
release_requests.environment,
release_requests.phone_number_id,
release_requests.phone_number,
release_requests.reason,
release_requests.status,
release_requests.rejection_reason,
release_requests.requested_at,
release_requests.resolved_at,
release_requests.extra,
release_requests.first_seen_at,
release_requests.valid_from,
release_requests.missing_since,
release_requests.sync_run_id
FROM release_requests
WHERE (release_requests.id IN ( SELECT winding_ids.id
FROM winding_ids))) r
JOIN release_request_past_versions p ON (((p.id = r.id) AND (p.valid_to = r.valid_from))))
WHERE (p.missing_since IS NOT NULL)) event
WINDOW sequel AS (PARTITION BY event.request_id ORDER BY event.observed_at, event.place ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) step
GROUP BY step.environment, (((step.occurred_at AT TIME ZONE 'UTC'::text))::date), (((step.taken_at AT TIME ZONE 'UTC'::text))::date), step.event, step.place
), told AS (
SELECT steady.environment,
steady.requested_on AS day,
'requested'::text AS event,
steady.times,
0 AS opened
FROM steady
UNION ALL
SELECT steady.environment,
steady.resolved_on,
NULLIF(steady.status, 'requested'::text) AS "nullif",
steady.times,
0
FROM steady
WHERE (steady.status IS NOT NULL)
UNION ALL
SELECT steady.environment,
steady.opened_on,
NULL::text,
0,
steady.times
FROM steady
UNION ALL
SELECT steady.environment,
steady.closed_on,
NULL::text,
0,
(- steady.times)
FROM steady
WHERE (steady.status IS NOT NULL)
UNION ALL
SELECT winding.environment,
winding.occurred_on,
CASE
WHEN (winding.place = 0) THEN winding.event
ELSE NULLIF(winding.event, 'requested'::text)
END AS "nullif",
winding.times,
0
FROM winding
UNION ALL
SELECT winding.environment,
winding.taken_on,
NULL::text,
0,
winding.opened
FROM winding
), calendar AS (
SELECT told.environment,
min(told.day) AS day
FROM told
GROUP BY told.environment
HAVING (min(told.day) <= ((now() AT TIME ZONE 'UTC'::text))::date)
UNION ALL
SELECT calendar.environment,
(calendar.day + 1)
FROM calendar
WHERE (calendar.day < ((now() AT TIME ZONE 'UTC'::text))::date)
)
SELECT d.environment,
d.day,
(d.requested)::bigint AS requested,
(d.approved)::bigint AS approved,
(d.rejected)::bigint AS rejected,
(d.cancelled)::bigint AS cancelled,
(d.open_at_end)::bigint AS open_at_end
FROM ( SELECT d_1.environment,
d_1.day,
sum(
CASE
WHEN (d_1.event = 'requested'::text) THEN d_1.times
ELSE (0)::bigint
END) AS requested,
sum(
CASE
WHEN (d_1.event = 'approved'::text) THEN d_1.times
ELSE (0)::bigint
END) AS approved,
sum(
CASE
WHEN (d_1.event = 'rejected'::text) THEN d_1.times
ELSE (0)::bigint
END) AS rejected,
sum(
CASE
WHEN (d_1.event = 'cancelled'::text) THEN d_1.times
ELSE (0)::bigint
END) AS cancelled,
sum(sum(d_1.opened)) OVER (PARTITION BY d_1.environment ORDER BY d_1.day) AS open_at_end
FROM ( SELECT told.environment,
told.day,
told.event,
told.times,
told.opened
FROM told
UNION ALL
SELECT calendar.environment,
calendar.day,
NULL::text,
0,
0
FROM calendar) d_1
WHERE (d_1.day <= ((now() AT TIME ZONE 'UTC'::text))::date)
GROUP BY d_1.environment, d_1.day) d;
COMMENT ON VIEW release_requests_daily IS 'What happened on each day, without gaps from the first request of the environment to today (UTC): the events of phone_number_history, counted.';
COMMENT ON COLUMN release_requests_daily.environment IS 'Label of the token whose list holds the request (setting --environment).';
COMMENT ON COLUMN release_requests_daily.day IS 'The day (UTC). Text YYYY-MM-DD in SQLite.';
COMMENT ON COLUMN release_requests_daily.requested IS 'Requests submitted on the day.';
COMMENT ON COLUMN release_requests_daily.approved IS 'Requests approved on the day, at the best known time.';
COMMENT ON COLUMN release_requests_daily.rejected IS 'Requests rejected on the day, at the best known time.';
COMMENT ON COLUMN release_requests_daily.cancelled IS 'Requests cancelled on the day, at the best known time.';
COMMENT ON COLUMN release_requests_daily.open_at_end IS 'Requests that were neither resolved nor missing at the end of the day; for today, now.';
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
content_sha256 text,
mirror_version text NOT NULL
);
COMMENT ON TABLE sync_runs IS 'Every run of mirror sync, with its outcome and what it did.';
COMMENT ON COLUMN sync_runs.id IS 'Number of the run.';
COMMENT ON COLUMN sync_runs.environment IS 'Label of the token that was used.';
COMMENT ON COLUMN sync_runs.outcome IS 'running, applied, unchanged, superseded, refused, failed, dry_run, or abandoned for a run that died and was found by a later one.';
COMMENT ON COLUMN sync_runs.started_at IS 'When the run began (UTC, this machine''s clock).';
COMMENT ON COLUMN sync_runs.finished_at IS 'When the outcome was recorded (UTC, this machine''s clock). Null while running.';
COMMENT ON COLUMN sync_runs.observed_at IS 'The time that stands for this pull in valid_from and valid_to (UTC): started_at, or just after the complete pull before it if the clock went back. Null unless complete.';
COMMENT ON COLUMN sync_runs.seconds IS 'How long the run took, in seconds. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.completion IS '1, 2, … over the complete pulls (applied or unchanged) of the environment, in the order they completed. Null for all others.';
COMMENT ON COLUMN sync_runs.fetched IS 'Entries of the list. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.inserted IS 'Requests seen for the first time. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.updated IS 'Requests that got a new version because a field changed. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Requests whose known fields were the same as before. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.missing IS 'Requests found missing from the list for the first time. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.returned IS 'Missing requests that were in the list again. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.quarantined IS 'Entries of the list that could not be understood. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.newly_quarantined IS 'Those of them that were not in quarantine before the run. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.duplicates IS 'Entries equal to another one with the same id. Null if the run ended before it was known.';
COMMENT ON COLUMN sync_runs.pages IS 'Answers of the list that were read, repetitions included. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.bytes IS 'Size of those answers, decompressed, in bytes. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.error IS 'Why the run did not complete. Null if it did.';
COMMENT ON COLUMN sync_runs.base_url IS 'Base URL of the API that was asked.';
COMMENT ON COLUMN sync_runs.etag IS 'ETag of the list, as the API sent it. Null if there was none, if the list came in pages, or unless complete.';
COMMENT ON COLUMN sync_runs.content_sha256 IS 'SHA-256 of the list''s bytes, in hex. Null unless complete.';
COMMENT ON COLUMN sync_runs.mirror_version IS 'Version of mirror that ran.';
CREATE SEQUENCE sync_runs_id_seq
START WITH 1
INCREMENT BY 1
NO MINVALUE
NO MAXVALUE
CACHE 1;
ALTER SEQUENCE sync_runs_id_seq OWNED BY sync_runs.id;
ALTER TABLE ONLY quarantined_records ALTER COLUMN id SET DEFAULT nextval('quarantined_records_id_seq'::regclass);
ALTER TABLE ONLY sync_runs ALTER COLUMN id SET DEFAULT nextval('sync_runs_id_seq'::regclass);
INSERT INTO alembic_version VALUES ('0004');
INSERT INTO quarantined_records VALUES (1, 'default', '27ae539ce0f580dbb2e246709837dd35408c5db7dde3d6808f12f9e738e6377d', 'request-11', '{"id":"request-11","phone_number_id":"phone-11","phone_number":"+15551230011","reason":"The campaign has ended","status":"pending","requested_at":"yesterday"}', 'Invalid RFC3339 encoded datetime - at `$.requested_at`', 1, 6, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL);
INSERT INTO quarantined_records VALUES (2, 'default', '4a826b8f94c4f88dcb3761855e863d9c75b64b7b746326da71e88abb89a713bd', 'request-12', '{"id":"request-12","phone_number_id":"phone-12","phone_number":"+15551230012","reason":"The campaign has ended","status":7,"requested_at":"2024-01-10T14:30:12Z"}', 'Expected `str`, got `int` - at `$.status`', 1, 6, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL);
INSERT INTO quarantined_records VALUES (3, 'default', 'b6272773015dc2e95e8fffc4ec10c1b53ac5cca9b8dd907b51b8f625b62d39d9', NULL, '"no \"object\", isn''t it? — não"', 'Expected `object`, got `str`', 1, 1, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00');
INSERT INTO release_request_past_versions VALUES ('request-2', 'default', 'phone-2', '+15551230002', 'The campaign has ended', 'pending', NULL, '2024-01-09 23:59:59.25+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_request_past_versions VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:03+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_request_past_versions VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'rejected', 'A porting request isn''t "done" — aguarde', '2024-01-10 14:30:03+00', '2024-01-11 14:00:00.5+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', NULL, 5);
INSERT INTO release_request_past_versions VALUES ('request-4', 'default', 'phone-4', '+15551230004', NULL, 'pending', NULL, '2024-01-10 14:30:04+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_request_past_versions VALUES ('request-4', 'default', 'phone-4', '+15551230004', NULL, 'approved', NULL, '2024-01-10 14:30:04+00', '2024-01-11 14:15:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', NULL, 5);
INSERT INTO release_request_past_versions VALUES ('request-5', 'default', NULL, '+15551230005', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:05+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_request_past_versions VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_request_past_versions VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 16:00:00+00', '2024-01-11 15:00:00+00', 5);
INSERT INTO release_request_past_versions VALUES ('request-7', 'default', 'phone-7', '+15551230007', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:07+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 1);
INSERT INTO release_requests VALUES ('request-1', 'default', 'phone-1', '+15551230001', 'It''s "over" — número não é mais necessário;
100 % \ {done} 漢字 🙂', 'pending', NULL, '2024-01-10 14:30:01+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1);
INSERT INTO release_requests VALUES ('request-2', 'default', 'phone-2', '+15551230002', 'The campaign has ended', 'approved', NULL, '2024-01-09 23:59:59.25+00', '2024-01-11 13:30:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 5);
INSERT INTO release_requests VALUES ('request-3', 'default', 'phone-3', '+15551230003', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:03+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6);
INSERT INTO release_requests VALUES ('request-4', 'default', 'phone-4', '+15551230004', 'Replaced', 'approved', NULL, '2024-01-10 14:30:04+00', '2024-01-11 14:20:00+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6);
INSERT INTO release_requests VALUES ('request-5', 'default', NULL, '+15551230005', 'The campaign has ended', 'cancelled', NULL, '2024-01-10 14:30:05+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', NULL, 5);
INSERT INTO release_requests VALUES ('request-6', 'default', 'phone-6', '+15551230006', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:06+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 16:00:00+00', NULL, 6);
INSERT INTO release_requests VALUES ('request-7', 'default', 'phone-7', '+15551230007', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:07+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', 5);
INSERT INTO release_requests VALUES ('request-8', 'default', 'phone-8', '+15551230008', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:08+00', NULL, '{"carrier":{"name": "It''s \u00e9 \\", "since": 1.50, "tags": [null, true, 1e3]},"priority":3}', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1);
INSERT INTO release_requests VALUES ('request-9', 'default', 'phone-9', '+15551230009', NULL, 'approved', NULL, '2024-01-01 01:00:00+00', '2024-01-05 08:00:00.001+00', NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1);
INSERT INTO release_requests VALUES ('request-10', 'default', 'phone-2-again', '+15551230002', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:10+00', NULL, NULL, '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', NULL, 1);
INSERT INTO release_requests VALUES ('request-21', 'staging', 'phone-21', '+15551230021', 'The campaign has ended', 'pending', NULL, '2024-01-10 14:30:21+00', NULL, NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10);
INSERT INTO release_requests VALUES ('request-22', 'staging', 'phone-22', '+15551230022', 'The campaign has ended', 'rejected', 'Open bill', '2024-01-10 14:30:22+00', '2024-01-10 18:00:00+00', NULL, '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', NULL, 10);
INSERT INTO sync_runs VALUES (1, 'default', 'applied', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', '2024-01-11 13:00:00+00', 0.25, 1, 14, 10, 0, 0, 0, 0, 3, 3, 1, 1, 2459, NULL, 'https://api.example/api/v1', '"cc6c65dc6564414b03aa157c71c151ef"', 'cc6c65dc6564414b03aa157c71c151efe1377e45fd688b0fe16136940690a396', '0.1.0');
INSERT INTO sync_runs VALUES (2, 'default', 'unchanged', '2024-01-11 14:00:00+00', '2024-01-11 14:00:00+00', '2024-01-11 14:00:00+00', 0.25, 2, 14, 0, 0, 10, 0, 0, 3, 0, 1, 0, 0, NULL, 'https://api.example/api/v1', '"cc6c65dc6564414b03aa157c71c151ef"', 'cc6c65dc6564414b03aa157c71c151efe1377e45fd688b0fe16136940690a396', '0.1.0');
INSERT INTO sync_runs VALUES (3, 'default', 'abandoned', '2024-01-11 14:00:00+00', '2024-01-11 15:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'the run ended without a word; run 5 found it', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (4, 'default', 'superseded', '2024-01-11 14:00:00+00', '2024-01-11 15:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 2479, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (5, 'default', 'applied', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', '2024-01-11 15:00:00+00', 0.25, 3, 10, 0, 4, 4, 2, 0, 2, 0, 0, 1, 2045, NULL, 'https://api.example/api/v1', '"a248c47706eabe8664cfbc97a486ef7b"', 'a248c47706eabe8664cfbc97a486ef7b4bce27f314ca281e8cdb29d7394e3342', '0.1.0');
INSERT INTO sync_runs VALUES (6, 'default', 'applied', '2024-01-11 16:00:00+00', '2024-01-11 16:00:00+00', '2024-01-11 16:00:00+00', 0.25, 4, 11, 0, 2, 6, 0, 1, 2, 0, 0, 1, 2156, NULL, 'https://api.example/api/v1', '"535c4d5e1923c48473fd36c333f62307"', '535c4d5e1923c48473fd36c333f62307d2dd3ba1ba051330d82c6db2edc79211', '0.1.0');
INSERT INTO sync_runs VALUES (7, 'default', 'refused', '2024-01-11 17:00:00+00', '2024-01-11 17:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1, 26, '9 of the 9 requests known in ''default'' are no longer in the list. Nothing was applied; if that is right, run again with --accept-missing', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (8, 'default', 'dry_run', '2024-01-11 18:00:00+00', '2024-01-11 18:00:00+00', NULL, 0.25, NULL, 12, 1, 0, 9, 0, 0, 2, 0, 0, 1, 2326, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (9, 'default', 'failed', '2024-01-11 19:00:00+00', '2024-01-11 19:00:00+00', NULL, 0.25, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, 0, 'the API at https://api.example/api/v1 answered 403: FORBIDDEN: The token may not list release requests. Check the token and its environment; if it was regenerated, use the new one', 'https://api.example/api/v1', NULL, NULL, '0.1.0');
INSERT INTO sync_runs VALUES (10, 'staging', 'applied', '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', '2024-01-11 20:00:00+00', 0.25, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0, 1, 434, NULL, 'https://api.example/api/v1', '"775cff605a0b2759a8c2595467b4a3b9"', '775cff605a0b2759a8c2595467b4a3b95431113fbbe719e44a4d73502da79b5b', '0.1.0');
INSERT INTO sync_runs VALUES (11, 'staging', 'running', '2024-01-11 20:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'https://api.example/api/v1', NULL, NULL, '0.1.0');
SELECT pg_catalog.setval('quarantined_records_id_seq', 3, true);
SELECT pg_catalog.setval('sync_runs_id_seq', 11, true);
ALTER TABLE ONLY alembic_version
ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
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
CREATE INDEX ix_quarantined_records_first_run_id ON quarantined_records USING btree (first_run_id);
CREATE INDEX ix_quarantined_records_last_run_id ON quarantined_records USING btree (last_run_id);
CREATE INDEX ix_release_request_past_versions_phone_number ON release_request_past_versions USING btree (phone_number);
CREATE INDEX ix_release_request_past_versions_valid_to ON release_request_past_versions USING btree (valid_to);
CREATE INDEX ix_release_requests_missing_since ON release_requests USING btree (missing_since) WHERE (missing_since IS NOT NULL);
CREATE INDEX ix_release_requests_phone_number ON release_requests USING btree (phone_number);
CREATE INDEX ix_release_requests_requested_at ON release_requests USING btree (requested_at);
CREATE INDEX ix_release_requests_resolved_at ON release_requests USING btree (resolved_at);
CREATE INDEX ix_release_requests_status_requested_at ON release_requests USING btree (status, requested_at);
CREATE INDEX ix_sync_runs_environment_id ON sync_runs USING btree (environment, id);
CREATE INDEX ix_sync_runs_running ON sync_runs USING btree (environment) WHERE (outcome = 'running'::text);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_first_run_id_sync_runs FOREIGN KEY (first_run_id) REFERENCES sync_runs(id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_last_run_id_sync_runs FOREIGN KEY (last_run_id) REFERENCES sync_runs(id);
