-- A mirror at schema revision 0002, written by tests/db/frozen/freeze.py.
-- Never changed once the revision is in released.sha256.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE change_cursors (
	name TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	seen_until TIMESTAMP, 
	moved_at TIMESTAMP NOT NULL, 
	CONSTRAINT pk_change_cursors PRIMARY KEY (name, environment)
);
INSERT INTO "change_cursors" VALUES('reader','odd','2024-01-11 21:00:00.000','2024-01-11 21:00:00.000');
INSERT INTO "change_cursors" VALUES('default','staging',NULL,'2024-01-11 21:00:00.000');
CREATE TABLE erased_requests (
	request_id TEXT NOT NULL, 
	erasure_id INTEGER NOT NULL, 
	CONSTRAINT pk_erased_requests PRIMARY KEY (request_id), 
	CONSTRAINT fk_erased_requests_erasure_id_erasures FOREIGN KEY(erasure_id) REFERENCES erasures (id)
);
INSERT INTO "erased_requests" VALUES('request-36',1);
INSERT INTO "erased_requests" VALUES('request-38',2);
CREATE TABLE erasures (
	id INTEGER NOT NULL, 
	erased_at TIMESTAMP NOT NULL, 
	requests INTEGER NOT NULL, 
	past_versions INTEGER NOT NULL, 
	quarantined INTEGER NOT NULL, 
	runs INTEGER NOT NULL, 
	cleaned_at TIMESTAMP, 
	undone_at TIMESTAMP, 
	CONSTRAINT pk_erasures PRIMARY KEY (id)
);
INSERT INTO "erasures" VALUES(1,'2024-01-11 20:00:00.000',1,0,0,0,'2024-01-11 20:00:00.000',NULL);
INSERT INTO "erasures" VALUES(2,'2024-01-11 20:00:00.000',0,0,1,0,'2024-01-11 20:00:00.000',NULL);
INSERT INTO "erasures" VALUES(3,'2024-01-11 20:00:00.000',1,0,0,0,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000');
CREATE TABLE quarantined_records (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	environment TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	request_id TEXT, 
	raw TEXT NOT NULL, 
	error TEXT NOT NULL, 
	first_run_id INTEGER NOT NULL, 
	last_run_id INTEGER NOT NULL, 
	first_seen_at TIMESTAMP NOT NULL, 
	last_seen_at TIMESTAMP NOT NULL, 
	resolved_at TIMESTAMP, 
	CONSTRAINT fk_quarantined_records_first_run_id_sync_runs FOREIGN KEY(first_run_id) REFERENCES sync_runs (id), 
	CONSTRAINT fk_quarantined_records_last_run_id_sync_runs FOREIGN KEY(last_run_id) REFERENCES sync_runs (id), 
	CONSTRAINT uq_quarantined_records_environment_fingerprint UNIQUE (environment, fingerprint)
);
INSERT INTO "quarantined_records" VALUES(1,'default','27ae539ce0f580dbb2e246709837dd35408c5db7dde3d6808f12f9e738e6377d','request-11','{"id":"request-11","phone_number_id":"phone-11","phone_number":"+15551230011","reason":"The campaign has ended","status":"pending","requested_at":"yesterday"}','`requested_at` is not a time',1,6,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL);
INSERT INTO "quarantined_records" VALUES(2,'default','4a826b8f94c4f88dcb3761855e863d9c75b64b7b746326da71e88abb89a713bd','request-12','{"id":"request-12","phone_number_id":"phone-12","phone_number":"+15551230012","reason":"The campaign has ended","status":7,"requested_at":"2024-01-10T14:30:12Z"}','`status` is not a string',1,6,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL);
INSERT INTO "quarantined_records" VALUES(3,'default','b6272773015dc2e95e8fffc4ec10c1b53ac5cca9b8dd907b51b8f625b62d39d9',NULL,'"no \"object\", isn''t it? — não"','not an object',1,1,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000');
INSERT INTO "quarantined_records" VALUES(4,'odd','erased-2 request-38 1','request-38','"erased-2"','`requested_at` is null',10,11,'2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL);
CREATE TABLE release_request_past_versions (
	id TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	phone_number_id TEXT, 
	phone_number TEXT NOT NULL, 
	reason TEXT, 
	status TEXT NOT NULL, 
	rejection_reason TEXT, 
	requested_at TIMESTAMP NOT NULL, 
	resolved_at TIMESTAMP, 
	extra JSON, 
	first_seen_at TIMESTAMP NOT NULL, 
	valid_from TIMESTAMP NOT NULL, 
	valid_to TIMESTAMP NOT NULL, 
	missing_since TIMESTAMP, 
	sync_run_id BIGINT NOT NULL, 
	phone_number_e164 TEXT, 
	CONSTRAINT pk_release_request_past_versions PRIMARY KEY (id, valid_from)
);
INSERT INTO "release_request_past_versions" VALUES('request-2','default','phone-2','+15551230002','The campaign has ended','pending',NULL,'2024-01-09 23:59:59.250',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','pending',NULL,'2024-01-10 14:30:03.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','rejected','A porting request isn''t "done" — aguarde','2024-01-10 14:30:03.000','2024-01-11 14:00:00.500',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000',NULL,5,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-4','default','phone-4','+15551230004',NULL,'pending',NULL,'2024-01-10 14:30:04.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-4','default','phone-4','+15551230004',NULL,'approved',NULL,'2024-01-10 14:30:04.000','2024-01-11 14:15:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000',NULL,5,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-5','default',NULL,'+15551230005','The campaign has ended','pending',NULL,'2024-01-10 14:30:05.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000','2024-01-11 15:00:00.000',5,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-7','default','phone-7','+15551230007','The campaign has ended','pending',NULL,'2024-01-10 14:30:07.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-31','odd','phone-31','+15551230031','The campaign has ended','approved',NULL,'2024-01-10 14:30:31.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,10,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-36','odd','erased-1','erased-1','erased-1','pending',NULL,'2024-01-10 14:30:36.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,10,NULL);
INSERT INTO "release_request_past_versions" VALUES('request-39','odd','erased-3','erased-3','erased-3','pending',NULL,'2024-01-10 14:30:39.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,10,NULL);
CREATE TABLE release_requests (
	id TEXT NOT NULL, 
	environment TEXT NOT NULL, 
	phone_number_id TEXT, 
	phone_number TEXT NOT NULL, 
	reason TEXT, 
	status TEXT NOT NULL, 
	rejection_reason TEXT, 
	requested_at TIMESTAMP NOT NULL, 
	resolved_at TIMESTAMP, 
	extra JSON, 
	first_seen_at TIMESTAMP NOT NULL, 
	valid_from TIMESTAMP NOT NULL, 
	missing_since TIMESTAMP, 
	sync_run_id BIGINT NOT NULL, 
	digest BIGINT, 
	phone_number_e164 TEXT, 
	CONSTRAINT pk_release_requests PRIMARY KEY (id)
);
INSERT INTO "release_requests" VALUES('request-1','default','phone-1','+15551230001','It''s "over" — número não é mais necessário;
100 % \ {done} 漢字 🙂','pending',NULL,'2024-01-10 14:30:01.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1,-823654863613562627,NULL);
INSERT INTO "release_requests" VALUES('request-2','default','phone-2','+15551230002','The campaign has ended','approved',NULL,'2024-01-09 23:59:59.250','2024-01-11 13:30:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,5,3736415798831285314,NULL);
INSERT INTO "release_requests" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','pending',NULL,'2024-01-10 14:30:03.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6,6545862319302096506,NULL);
INSERT INTO "release_requests" VALUES('request-4','default','phone-4','+15551230004','Replaced','approved',NULL,'2024-01-10 14:30:04.000','2024-01-11 14:20:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6,-5428396990726060138,NULL);
INSERT INTO "release_requests" VALUES('request-5','default',NULL,'+15551230005','The campaign has ended','cancelled',NULL,'2024-01-10 14:30:05.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,5,3686180645443550989,NULL);
INSERT INTO "release_requests" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6,-6954508791978982760,NULL);
INSERT INTO "release_requests" VALUES('request-7','default','phone-7','+15551230007','The campaign has ended','pending',NULL,'2024-01-10 14:30:07.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000',5,4408919530556284180,NULL);
INSERT INTO "release_requests" VALUES('request-8','default','phone-8','+15551230008','The campaign has ended','pending',NULL,'2024-01-10 14:30:08.000',NULL,'{"carrier":{"name": "It''s \u00e9 \\", "since": 1.50, "tags": [null, true, 1e3]},"priority":3}','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1,1517173602415764846,NULL);
INSERT INTO "release_requests" VALUES('request-9','default','phone-9','+15551230009',NULL,'approved',NULL,'2024-01-01 01:00:00.000','2024-01-05 08:00:00.001',NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1,3671177595487545069,NULL);
INSERT INTO "release_requests" VALUES('request-10','default','phone-2-again','+15551230002','The campaign has ended','pending',NULL,'2024-01-10 14:30:10.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1,6874473428937509928,NULL);
INSERT INTO "release_requests" VALUES('request-21','staging','phone-21','+15551230021','The campaign has ended','pending',NULL,'2024-01-10 14:30:21.000',NULL,NULL,'2024-01-11 19:00:00.000','2024-01-11 19:00:00.000',NULL,9,4180057235415288256,NULL);
INSERT INTO "release_requests" VALUES('request-22','staging','phone-22','+15551230022','The campaign has ended','rejected','Open bill','2024-01-10 14:30:22.000','2024-01-10 18:00:00.000',NULL,'2024-01-11 19:00:00.000','2024-01-11 19:00:00.000',NULL,9,-2701444625995567892,NULL);
INSERT INTO "release_requests" VALUES('request-31','odd','phone-31','+15551230031',NULL,'approved',NULL,'2024-01-10 14:30:31.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,11,536406820678183255,NULL);
INSERT INTO "release_requests" VALUES('request-32','odd','phone-32','+1 (555) 123-0032','� [31m ‮ ﻿ é 	','pending',NULL,'2024-01-10 14:30:32.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10,-8003285251782834507,'+15551230032');
INSERT INTO "release_requests" VALUES('request-33','odd','phone-33','tel:+1-555-123-0033','The campaign has ended','rejected','','2024-01-10 14:30:33.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10,-8872119793259784677,'+15551230033');
INSERT INTO "release_requests" VALUES('request-34','odd','phone-34','+15551230034','','on hold',NULL,'2024-01-10 14:30:34.000',NULL,'{"huge":1111111111111111111111111111111111111111}','2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10,3527492995926880994,NULL);
INSERT INTO "release_requests" VALUES('request-35','odd','phone-35','+15551230035','half of �','pending',NULL,'2024-01-10 14:30:35.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10,8495861832917858022,NULL);
INSERT INTO "release_requests" VALUES('request-36','odd','erased-1','erased-1','erased-1','approved',NULL,'2024-01-10 14:30:36.000','2024-01-11 20:30:00.000',NULL,'2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,11,NULL,NULL);
INSERT INTO "release_requests" VALUES('request-37','odd','phone-37','number �','The campaign has ended','pending',NULL,'2024-01-10 14:30:37.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10,-3331238011604828230,NULL);
INSERT INTO "release_requests" VALUES('request-39','odd','phone-39','+15551230039','as it was before','pending',NULL,'2024-01-10 14:30:39.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 21:00:00.000',NULL,11,5699208503396463446,NULL);
CREATE TABLE sync_runs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	environment TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	started_at TIMESTAMP NOT NULL, 
	finished_at TIMESTAMP, 
	observed_at TIMESTAMP, 
	seconds FLOAT, 
	completion BIGINT, 
	fetched INTEGER, 
	inserted INTEGER, 
	updated INTEGER, 
	unchanged INTEGER, 
	missing INTEGER, 
	returned INTEGER, 
	quarantined INTEGER, 
	newly_quarantined INTEGER, 
	duplicates INTEGER, 
	pages INTEGER, 
	bytes BIGINT, 
	error TEXT, 
	base_url TEXT NOT NULL, 
	etag TEXT, 
	content_digest TEXT, 
	mirror_version TEXT NOT NULL, 
	CONSTRAINT uq_sync_runs_environment_completion UNIQUE (environment, completion)
);
INSERT INTO "sync_runs" VALUES(1,'default','applied','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',0.25,1,14,10,0,0,0,0,3,3,1,2,4918,NULL,'https://api.example/api/v1','"cc6c65dc6564414b03aa157c71c151ef"','a48092046e219830fc11b207dccd29b3','0.1.0');
INSERT INTO "sync_runs" VALUES(2,'default','unchanged','2024-01-11 14:00:00.000','2024-01-11 14:00:00.000','2024-01-11 14:00:00.000',0.25,2,14,0,0,10,0,0,3,0,1,0,0,NULL,'https://api.example/api/v1','"cc6c65dc6564414b03aa157c71c151ef"','a48092046e219830fc11b207dccd29b3','0.1.0');
INSERT INTO "sync_runs" VALUES(3,'default','abandoned','2024-01-11 14:00:00.000','2024-01-11 15:00:00.000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'the run recorded no outcome; found by run 5','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(4,'default','superseded','2024-01-11 14:00:00.000','2024-01-11 15:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,2479,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(5,'default','applied','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000',0.25,3,10,0,4,4,2,0,2,0,0,2,4090,NULL,'https://api.example/api/v1','"a248c47706eabe8664cfbc97a486ef7b"','3cdd289b5aea13c01e7416cdd22b25dc','0.1.0');
INSERT INTO "sync_runs" VALUES(6,'default','applied','2024-01-11 16:00:00.000','2024-01-11 16:00:00.000','2024-01-11 16:00:00.000',0.25,4,11,0,2,6,0,1,2,0,0,2,4312,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(7,'default','refused','2024-01-11 17:00:00.000','2024-01-11 17:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,26,'9 of the 9 requests known in ''default'' are no longer in the list. Nothing was applied; if they are really gone, run again with --environment default --accept-missing','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(8,'default','failed','2024-01-11 18:00:00.000','2024-01-11 18:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,'the API at https://api.example/api/v1 answered 403: FORBIDDEN: The token may not list release requests; check the token and its environment, and if it was regenerated, use the new one','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(9,'staging','applied','2024-01-11 19:00:00.000','2024-01-11 19:00:00.000','2024-01-11 19:00:00.000',0.25,1,2,2,0,0,0,0,0,0,0,2,868,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(10,'odd','applied','2024-01-11 20:00:00.000','2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',0.25,1,9,8,0,0,0,0,1,1,0,2,3192,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(11,'odd','applied','2024-01-11 21:00:00.000','2024-01-11 21:00:00.000','2024-01-11 21:00:00.000',0.25,2,9,0,3,5,0,0,1,0,0,2,3228,NULL,'https://api.example/api/v1','"8a2cc7606341b112289d40fe4da802a1"','22de054690e6480af7ae5452f642067a','0.1.0');
INSERT INTO "sync_runs" VALUES(12,'staging','running','2024-01-11 21:00:00.000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
CREATE INDEX ix_sync_runs_environment_id ON sync_runs (environment, id);
CREATE INDEX ix_sync_runs_environment_observed_at ON sync_runs (environment, observed_at);
CREATE INDEX ix_sync_runs_running ON sync_runs (environment) WHERE outcome = 'running';
CREATE INDEX ix_release_requests_environment ON release_requests (environment);
CREATE INDEX ix_release_requests_missing_since ON release_requests (missing_since) WHERE missing_since IS NOT NULL;
CREATE INDEX ix_release_requests_phone_number ON release_requests (phone_number);
CREATE INDEX ix_release_requests_phone_number_e164 ON release_requests (phone_number_e164) WHERE phone_number_e164 IS NOT NULL;
CREATE INDEX ix_release_requests_status_requested_at ON release_requests (status, requested_at);
CREATE INDEX ix_release_requests_requested_at ON release_requests (requested_at);
CREATE INDEX ix_release_requests_resolved_at ON release_requests (resolved_at);
CREATE INDEX ix_release_request_past_versions_phone_number ON release_request_past_versions (phone_number);
CREATE INDEX ix_release_request_past_versions_phone_number_e164 ON release_request_past_versions (phone_number_e164) WHERE phone_number_e164 IS NOT NULL;
CREATE INDEX ix_release_request_past_versions_valid_to ON release_request_past_versions (valid_to);
CREATE INDEX ix_quarantined_records_first_run_id ON quarantined_records (first_run_id);
CREATE INDEX ix_quarantined_records_last_run_id ON quarantined_records (last_run_id);
CREATE INDEX ix_quarantined_records_request_id ON quarantined_records (request_id);
CREATE INDEX ix_erased_requests_erasure_id ON erased_requests (erasure_id);
CREATE VIEW release_request_changes AS
WITH
-- Each past version beside its successor: the version of the same request that begins when it ends,
-- which is the current one or a past one.
-- coalesce() keeps SQLite from looking past versions up by valid_to, which is the same for all that
-- one sync superseded.
succession AS (
  SELECT earlier.id AS request_id, later.environment, earlier.valid_to AS changed_at,
         earlier.phone_number_id AS old_phone_number_id,
         later.phone_number_id AS new_phone_number_id,
         earlier.phone_number AS old_phone_number, later.phone_number AS new_phone_number,
         earlier.reason AS old_reason, later.reason AS new_reason,
         earlier.status AS old_status, later.status AS new_status,
         earlier.rejection_reason AS old_rejection_reason,
         later.rejection_reason AS new_rejection_reason,
         earlier.requested_at AS old_requested_at, later.requested_at AS new_requested_at,
         earlier.resolved_at AS old_resolved_at, later.resolved_at AS new_resolved_at,
         earlier.missing_since AS old_missing_since, later.missing_since AS new_missing_since,
         later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_requests AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
  UNION ALL
  SELECT earlier.id, later.environment, earlier.valid_to,
         earlier.phone_number_id, later.phone_number_id,
         earlier.phone_number, later.phone_number, earlier.reason, later.reason,
         earlier.status, later.status, earlier.rejection_reason, later.rejection_reason,
         earlier.requested_at, later.requested_at, earlier.resolved_at, later.resolved_at,
         earlier.missing_since, later.missing_since, later.sync_run_id
  FROM release_request_past_versions AS earlier
  JOIN release_request_past_versions AS later
    ON later.id = earlier.id AND later.valid_from = coalesce(earlier.valid_to, NULL)
),
-- The names of the fields that differ.
differences AS (
  SELECT request_id, environment, new_phone_number AS phone_number, changed_at,
         old_status, new_status, old_resolved_at, new_resolved_at,
         old_missing_since, new_missing_since, sync_run_id,
         substr(
           CASE WHEN coalesce(old_phone_number_id <> new_phone_number_id,
                            coalesce(old_phone_number_id, new_phone_number_id) IS NOT NULL)
                THEN ',phone_number_id' ELSE '' END
           || CASE WHEN old_phone_number <> new_phone_number THEN ',phone_number' ELSE '' END
           || CASE WHEN coalesce(old_reason <> new_reason,
                            coalesce(old_reason, new_reason) IS NOT NULL)
                THEN ',reason' ELSE '' END
           || CASE WHEN old_status <> new_status THEN ',status' ELSE '' END
           || CASE WHEN coalesce(old_rejection_reason <> new_rejection_reason,
                            coalesce(old_rejection_reason, new_rejection_reason) IS NOT NULL)
                THEN ',rejection_reason' ELSE '' END
           || CASE WHEN old_requested_at <> new_requested_at THEN ',requested_at' ELSE '' END
           || CASE WHEN coalesce(old_resolved_at <> new_resolved_at,
                            coalesce(old_resolved_at, new_resolved_at) IS NOT NULL)
                THEN ',resolved_at' ELSE '' END,
           2
         ) AS fields
  FROM succession
),
-- Presence: the request is no longer in the list, or in it again. Content: its fields changed.
-- Versions that are both in the list differ in some field; one that returned may have come back as
-- it was.
changes AS (
  SELECT request_id, environment, phone_number, changed_at,
         CASE
           WHEN aspect = 'presence'
             THEN CASE WHEN new_missing_since IS NULL THEN 'returned' ELSE 'vanished' END
           WHEN new_status = 'pending' AND old_status <> 'pending' THEN 'reopened'
           WHEN (new_status IN ('approved', 'rejected', 'cancelled')
                 OR new_status <> 'pending' AND new_resolved_at IS NOT NULL)
            AND NOT (old_status IN ('approved', 'rejected', 'cancelled')
                     OR old_status <> 'pending' AND old_resolved_at IS NOT NULL) THEN 'resolved'
           ELSE 'corrected'
         END AS kind,
         old_status, new_status, old_resolved_at, new_resolved_at, sync_run_id,
         CAST(CASE aspect WHEN 'presence' THEN '' ELSE fields END AS text) AS changed_fields
  FROM differences
  CROSS JOIN (SELECT 'presence' AS aspect UNION ALL SELECT 'content') AS aspects
  WHERE CASE aspect
          WHEN 'presence' THEN (old_missing_since IS NULL) <> (new_missing_since IS NULL)
          ELSE new_missing_since IS NULL AND (old_missing_since IS NULL OR fields <> '')
        END
  UNION ALL
  SELECT id, environment, phone_number, valid_to, status, status, status, resolved_at, resolved_at,
         sync_run_id, reason
  FROM release_request_past_versions WHERE 0
)
SELECT * FROM changes;
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
CREATE VIEW phone_numbers AS
WITH
-- Each request beside what is known of all requests of its number.
-- The number comes first in PARTITION BY, and a filter on it is applied before the windows.
ranked AS (
  SELECT environment, phone_number, phone_number_id, id, status, requested_at,
         row_number() OVER (PARTITION BY phone_number, environment
                            ORDER BY requested_at DESC, id DESC) AS place,
         count(*) OVER number AS requests,
         min(requested_at) OVER number AS first_requested_at,
         max(resolved_at) OVER number AS last_resolved_at
  FROM release_requests
  WINDOW number AS (PARTITION BY phone_number, environment)
)
SELECT environment, phone_number, phone_number_id,
       (SELECT requests UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS requests,
       id AS last_request_id, status AS last_status,
       (SELECT first_requested_at UNION ALL SELECT requested_at FROM release_requests WHERE 0)
         AS first_requested_at,
       requested_at AS last_requested_at,
       (SELECT last_resolved_at UNION ALL SELECT resolved_at FROM release_requests WHERE 0)
         AS last_resolved_at,
       (SELECT status = 'approved' UNION ALL SELECT sync_run_id FROM release_requests WHERE 0)
         AS released
FROM ranked
WHERE place = 1;
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
CREATE VIEW release_request_turnaround AS
WITH
-- Requests whose time of resolution the API reported. The column is passed on as it is, so a filter
-- on it reaches the index.
reported AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         1 AS is_reported
  FROM release_requests
  WHERE status <> 'pending' AND resolved_at IS NOT NULL
),
-- The others got their status when the last version with another one ended. If there is no such
-- version, they had it when they were first seen: since when is unknown.
not_reported AS (
  SELECT request.id, request.environment, request.phone_number, request.status,
         request.requested_at, earlier.valid_to AS resolved_at, 0 AS is_reported
  FROM release_requests AS request
  LEFT JOIN release_request_past_versions AS earlier
    ON earlier.id = request.id AND earlier.status <> request.status
  WHERE request.status IN ('approved', 'rejected', 'cancelled') AND request.resolved_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM release_request_past_versions AS later
                    WHERE later.id = request.id AND later.valid_from > earlier.valid_from
                      AND later.status <> request.status)
),
resolved AS (
  SELECT * FROM reported
  UNION ALL
  SELECT * FROM not_reported
),
-- The hours are a whole number of milliseconds, divided: Postgres comes to the same. julianday() is
-- not exact to the millisecond. The parts are in a SELECT without FROM because SQLite computes such
-- columns once a row: it would compute those of a CTE wherever they are used.
turnaround AS (
  SELECT id, environment, phone_number, status, requested_at, resolved_at,
         (SELECT CAST((CASE WHEN resolved_year = requested_year
                             AND resolved_month = requested_month THEN 0
                            ELSE days_before_resolved - days_before_requested END
                       + resolved_day - requested_day) * 86400000 + resolved_time - requested_time
                      AS double precision) / 3600000
          FROM (
            -- The count of days before the month: those of earlier years, and of earlier months of
            -- this year, three digits for each month from January on.
            SELECT years.*,
                   365 * requested_from_march
                     + (requested_from_march - requested_from_march % 4) / 4
                     - (requested_from_march - requested_from_march % 100) / 100
                     + (requested_from_march - requested_from_march % 400) / 400
                     + CAST(substr('306337000031061092122153184214245275',
                                   requested_month * 3 - 2, 3) AS integer) AS days_before_requested,
                   365 * resolved_from_march
                     + (resolved_from_march - resolved_from_march % 4) / 4
                     - (resolved_from_march - resolved_from_march % 100) / 100
                     + (resolved_from_march - resolved_from_march % 400) / 400
                     + CAST(substr('306337000031061092122153184214245275',
                                   resolved_month * 3 - 2, 3) AS integer) AS days_before_resolved
            FROM (
              -- The year in which February is the last month, so that a leap day is its last day.
              SELECT parts.*,
                     requested_year - CASE WHEN requested_month < 3 THEN 1 ELSE 0 END
                       AS requested_from_march,
                     resolved_year - CASE WHEN resolved_month < 3 THEN 1 ELSE 0 END
                       AS resolved_from_march
              FROM (
                -- The parts of both times, and the milliseconds since midnight. DuckDB's text of
                -- a time has no zeros at the end of the fraction.
                SELECT CAST(substr(CAST(requested_at AS text), 1, 4) AS integer) AS requested_year,
                       CAST(substr(CAST(requested_at AS text), 6, 2) AS integer) AS requested_month,
                       CAST(substr(CAST(requested_at AS text), 9, 2) AS integer) AS requested_day,
                       CAST(substr(CAST(requested_at AS text), 12, 2) AS integer) * 3600000
                         + CAST(substr(CAST(requested_at AS text), 15, 2) AS integer) * 60000
                         + CAST(substr(replace(substr(CAST(requested_at AS text), 18), '.', '')
                                       || '000', 1, 5) AS integer) AS requested_time,
                       CAST(substr(CAST(resolved_at AS text), 1, 4) AS integer) AS resolved_year,
                       CAST(substr(CAST(resolved_at AS text), 6, 2) AS integer) AS resolved_month,
                       CAST(substr(CAST(resolved_at AS text), 9, 2) AS integer) AS resolved_day,
                       CAST(substr(CAST(resolved_at AS text), 12, 2) AS integer) * 3600000
                         + CAST(substr(CAST(resolved_at AS text), 15, 2) AS integer) * 60000
                         + CAST(substr(replace(substr(CAST(resolved_at AS text), 18), '.', '')
                                       || '000', 1, 5) AS integer) AS resolved_time
              ) AS parts
            ) AS years
          ) AS months) AS hours_to_resolve,
         CASE WHEN is_reported = 1 THEN 'reported' WHEN resolved_at IS NULL THEN 'unknown'
              ELSE 'observed' END AS time_source
  FROM resolved
  UNION ALL
  SELECT id, environment, phone_number, status, requested_at, resolved_at, NULL, status
  FROM release_requests WHERE 0
)
SELECT id, environment, phone_number, status, requested_at, resolved_at,
       (SELECT hours_to_resolve UNION ALL SELECT seconds FROM sync_runs WHERE 0)
         AS hours_to_resolve,
       time_source
FROM turnaround;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sync_runs',12);
INSERT INTO "sqlite_sequence" VALUES('quarantined_records',4);
COMMIT;
