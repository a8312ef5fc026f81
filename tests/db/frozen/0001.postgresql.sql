-- A mirror at revision 0001 of the schema, made by tests/frozen/freeze.py.
-- Once the revision is released, this file is never changed.
CREATE TABLE alembic_version (
version_num character varying(32) NOT NULL
);
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
COMMENT ON COLUMN sync_runs.seconds IS 'How long the run took, in seconds. Null while running.';
COMMENT ON COLUMN sync_runs.completion IS '1, 2, … over the complete pulls (applied or unchanged) of the environment, in the order they completed. Null for all others.';
COMMENT ON COLUMN sync_runs.fetched IS 'Entries of the list.';
COMMENT ON COLUMN sync_runs.inserted IS 'Requests seen for the first time.';
COMMENT ON COLUMN sync_runs.updated IS 'Requests that got a new version because a field changed.';
COMMENT ON COLUMN sync_runs.unchanged IS 'Requests whose known fields were the same as before.';
COMMENT ON COLUMN sync_runs.missing IS 'Requests found missing from the list for the first time.';
COMMENT ON COLUMN sync_runs.returned IS 'Missing requests that were in the list again.';
COMMENT ON COLUMN sync_runs.quarantined IS 'Entries of the list that could not be understood.';
COMMENT ON COLUMN sync_runs.newly_quarantined IS 'Those of them that were not in quarantine before the run.';
COMMENT ON COLUMN sync_runs.duplicates IS 'Entries equal to another one with the same id.';
COMMENT ON COLUMN sync_runs.pages IS 'Answers of the list that were read, repetitions included.';
COMMENT ON COLUMN sync_runs.bytes IS 'Size of those answers, decompressed, in bytes.';
COMMENT ON COLUMN sync_runs.error IS 'Why the run did not complete. Null if it did.';
COMMENT ON COLUMN sync_runs.base_url IS 'Base URL of the API that was asked.';
COMMENT ON COLUMN sync_runs.etag IS 'ETag of the list, if it came in one answer that had one.';
COMMENT ON COLUMN sync_runs.content_sha256 IS 'SHA-256 of the list''s bytes, in hex.';
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
INSERT INTO alembic_version VALUES ('0001');
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
CREATE INDEX ix_release_requests_status_requested_at ON release_requests USING btree (status, requested_at);
CREATE INDEX ix_sync_runs_environment_id ON sync_runs USING btree (environment, id);
CREATE INDEX ix_sync_runs_running ON sync_runs USING btree (environment) WHERE (outcome = 'running'::text);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_first_run_id_sync_runs FOREIGN KEY (first_run_id) REFERENCES sync_runs(id);
ALTER TABLE ONLY quarantined_records
ADD CONSTRAINT fk_quarantined_records_last_run_id_sync_runs FOREIGN KEY (last_run_id) REFERENCES sync_runs(id);
