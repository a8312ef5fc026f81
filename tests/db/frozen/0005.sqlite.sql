-- A mirror at revision 0005 of the schema, made by tests/frozen/freeze.py.
-- Once the revision is released, this file is never changed.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
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
INSERT INTO "quarantined_records" VALUES(1,'default','27ae539ce0f580dbb2e246709837dd35408c5db7dde3d6808f12f9e738e6377d','request-11','{"id":"request-11","phone_number_id":"phone-11","phone_number":"+15551230011","reason":"The campaign has ended","status":"pending","requested_at":"yesterday"}','Invalid RFC3339 encoded datetime - at `$.requested_at`',1,6,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL);
INSERT INTO "quarantined_records" VALUES(2,'default','4a826b8f94c4f88dcb3761855e863d9c75b64b7b746326da71e88abb89a713bd','request-12','{"id":"request-12","phone_number_id":"phone-12","phone_number":"+15551230012","reason":"The campaign has ended","status":7,"requested_at":"2024-01-10T14:30:12Z"}','Expected `str`, got `int` - at `$.status`',1,6,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL);
INSERT INTO "quarantined_records" VALUES(3,'default','b6272773015dc2e95e8fffc4ec10c1b53ac5cca9b8dd907b51b8f625b62d39d9',NULL,'"no \"object\", isn''t it? — não"','Expected `object`, got `str`',1,1,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000');
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
	CONSTRAINT pk_release_request_past_versions PRIMARY KEY (id, valid_from)
);
INSERT INTO "release_request_past_versions" VALUES('request-2','default','phone-2','+15551230002','The campaign has ended','pending',NULL,'2024-01-09 23:59:59.250',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
INSERT INTO "release_request_past_versions" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','pending',NULL,'2024-01-10 14:30:03.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
INSERT INTO "release_request_past_versions" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','rejected','A porting request isn''t "done" — aguarde','2024-01-10 14:30:03.000','2024-01-11 14:00:00.500',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000',NULL,5);
INSERT INTO "release_request_past_versions" VALUES('request-4','default','phone-4','+15551230004',NULL,'pending',NULL,'2024-01-10 14:30:04.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
INSERT INTO "release_request_past_versions" VALUES('request-4','default','phone-4','+15551230004',NULL,'approved',NULL,'2024-01-10 14:30:04.000','2024-01-11 14:15:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000',NULL,5);
INSERT INTO "release_request_past_versions" VALUES('request-5','default',NULL,'+15551230005','The campaign has ended','pending',NULL,'2024-01-10 14:30:05.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
INSERT INTO "release_request_past_versions" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
INSERT INTO "release_request_past_versions" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 16:00:00.000','2024-01-11 15:00:00.000',5);
INSERT INTO "release_request_past_versions" VALUES('request-7','default','phone-7','+15551230007','The campaign has ended','pending',NULL,'2024-01-10 14:30:07.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,1);
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
	CONSTRAINT pk_release_requests PRIMARY KEY (id)
);
INSERT INTO "release_requests" VALUES('request-1','default','phone-1','+15551230001','It''s "over" — número não é mais necessário;
100 % \ {done} 漢字 🙂','pending',NULL,'2024-01-10 14:30:01.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1);
INSERT INTO "release_requests" VALUES('request-2','default','phone-2','+15551230002','The campaign has ended','approved',NULL,'2024-01-09 23:59:59.250','2024-01-11 13:30:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,5);
INSERT INTO "release_requests" VALUES('request-3','default','phone-3','+15551230003','The campaign has ended','pending',NULL,'2024-01-10 14:30:03.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6);
INSERT INTO "release_requests" VALUES('request-4','default','phone-4','+15551230004','Replaced','approved',NULL,'2024-01-10 14:30:04.000','2024-01-11 14:20:00.000',NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6);
INSERT INTO "release_requests" VALUES('request-5','default',NULL,'+15551230005','The campaign has ended','cancelled',NULL,'2024-01-10 14:30:05.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000',NULL,5);
INSERT INTO "release_requests" VALUES('request-6','default','phone-6','+15551230006','The campaign has ended','pending',NULL,'2024-01-10 14:30:06.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 16:00:00.000',NULL,6);
INSERT INTO "release_requests" VALUES('request-7','default','phone-7','+15551230007','The campaign has ended','pending',NULL,'2024-01-10 14:30:07.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000',5);
INSERT INTO "release_requests" VALUES('request-8','default','phone-8','+15551230008','The campaign has ended','pending',NULL,'2024-01-10 14:30:08.000',NULL,'{"carrier":{"name": "It''s \u00e9 \\", "since": 1.50, "tags": [null, true, 1e3]},"priority":3}','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1);
INSERT INTO "release_requests" VALUES('request-9','default','phone-9','+15551230009',NULL,'approved',NULL,'2024-01-01 01:00:00.000','2024-01-05 08:00:00.001',NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1);
INSERT INTO "release_requests" VALUES('request-10','default','phone-2-again','+15551230002','The campaign has ended','pending',NULL,'2024-01-10 14:30:10.000',NULL,NULL,'2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',NULL,1);
INSERT INTO "release_requests" VALUES('request-21','staging','phone-21','+15551230021','The campaign has ended','pending',NULL,'2024-01-10 14:30:21.000',NULL,NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10);
INSERT INTO "release_requests" VALUES('request-22','staging','phone-22','+15551230022','The campaign has ended','rejected','Open bill','2024-01-10 14:30:22.000','2024-01-10 18:00:00.000',NULL,'2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',NULL,10);
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
	content_sha256 TEXT, 
	mirror_version TEXT NOT NULL, 
	CONSTRAINT uq_sync_runs_environment_completion UNIQUE (environment, completion)
);
INSERT INTO "sync_runs" VALUES(1,'default','applied','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000','2024-01-11 13:00:00.000',0.25,1,14,10,0,0,0,0,3,3,1,1,2459,NULL,'https://api.example/api/v1','"cc6c65dc6564414b03aa157c71c151ef"','cc6c65dc6564414b03aa157c71c151efe1377e45fd688b0fe16136940690a396','0.1.0');
INSERT INTO "sync_runs" VALUES(2,'default','unchanged','2024-01-11 14:00:00.000','2024-01-11 14:00:00.000','2024-01-11 14:00:00.000',0.25,2,14,0,0,10,0,0,3,0,1,0,0,NULL,'https://api.example/api/v1','"cc6c65dc6564414b03aa157c71c151ef"','cc6c65dc6564414b03aa157c71c151efe1377e45fd688b0fe16136940690a396','0.1.0');
INSERT INTO "sync_runs" VALUES(3,'default','abandoned','2024-01-11 14:00:00.000','2024-01-11 15:00:00.000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'the run ended without a word; run 5 found it','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(4,'default','superseded','2024-01-11 14:00:00.000','2024-01-11 15:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,2479,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(5,'default','applied','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000','2024-01-11 15:00:00.000',0.25,3,10,0,4,4,2,0,2,0,0,1,2045,NULL,'https://api.example/api/v1','"a248c47706eabe8664cfbc97a486ef7b"','a248c47706eabe8664cfbc97a486ef7b4bce27f314ca281e8cdb29d7394e3342','0.1.0');
INSERT INTO "sync_runs" VALUES(6,'default','applied','2024-01-11 16:00:00.000','2024-01-11 16:00:00.000','2024-01-11 16:00:00.000',0.25,4,11,0,2,6,0,1,2,0,0,1,2156,NULL,'https://api.example/api/v1','"535c4d5e1923c48473fd36c333f62307"','535c4d5e1923c48473fd36c333f62307d2dd3ba1ba051330d82c6db2edc79211','0.1.0');
INSERT INTO "sync_runs" VALUES(7,'default','refused','2024-01-11 17:00:00.000','2024-01-11 17:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,1,26,'9 of the 9 requests known in ''default'' are no longer in the list. Nothing was applied; if that is right, run again with --environment default --accept-missing','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(8,'default','dry_run','2024-01-11 18:00:00.000','2024-01-11 18:00:00.000',NULL,0.25,NULL,12,1,0,9,0,0,2,0,0,1,2326,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(9,'default','failed','2024-01-11 19:00:00.000','2024-01-11 19:00:00.000',NULL,0.25,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,'the API at https://api.example/api/v1 answered 403: FORBIDDEN: The token may not list release requests. Check the token and its environment; if it was regenerated, use the new one','https://api.example/api/v1',NULL,NULL,'0.1.0');
INSERT INTO "sync_runs" VALUES(10,'staging','applied','2024-01-11 20:00:00.000','2024-01-11 20:00:00.000','2024-01-11 20:00:00.000',0.25,1,2,2,0,0,0,0,0,0,0,1,434,NULL,'https://api.example/api/v1','"775cff605a0b2759a8c2595467b4a3b9"','775cff605a0b2759a8c2595467b4a3b95431113fbbe719e44a4d73502da79b5b','0.1.0');
INSERT INTO "sync_runs" VALUES(11,'staging','running','2024-01-11 20:00:00.000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'https://api.example/api/v1',NULL,NULL,'0.1.0');
CREATE INDEX ix_sync_runs_environment_id ON sync_runs (environment, id);
CREATE INDEX ix_sync_runs_running ON sync_runs (environment) WHERE outcome = 'running';
CREATE INDEX ix_release_requests_missing_since ON release_requests (missing_since) WHERE missing_since IS NOT NULL;
CREATE INDEX ix_release_requests_phone_number ON release_requests (phone_number);
CREATE INDEX ix_release_requests_status_requested_at ON release_requests (status, requested_at);
CREATE INDEX ix_release_request_past_versions_phone_number ON release_request_past_versions (phone_number);
CREATE INDEX ix_release_request_past_versions_valid_to ON release_request_past_versions (valid_to);
CREATE INDEX ix_quarantined_records_first_run_id ON quarantined_records (first_run_id);
CREATE INDEX ix_quarantined_records_last_run_id ON quarantined_records (last_run_id);
CREATE INDEX ix_release_requests_requested_at ON release_requests (requested_at);
CREATE INDEX ix_release_requests_resolved_at ON release_requests (resolved_at);
CREATE VIEW release_request_versions AS
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, v.valid_to,
       (SELECT 1 + (SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id AND e.valid_from < v.valid_from) UNION ALL SELECT v.sync_run_id WHERE 0) AS version
FROM release_request_past_versions v
UNION ALL
SELECT v.id, v.environment, v.phone_number_id, v.phone_number, v.reason, v.status,
       v.rejection_reason, v.requested_at, v.resolved_at, v.extra, v.first_seen_at, v.valid_from,
       v.missing_since, v.sync_run_id, (SELECT v.valid_from WHERE 0),
       (SELECT 1 + (SELECT count(*) FROM release_request_past_versions e WHERE e.id = v.id) UNION ALL SELECT v.sync_run_id WHERE 0)
FROM release_requests v;
CREATE VIEW release_request_changes AS
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.missing_since IS NULL THEN 'returned' ELSE 'vanished' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE (o.missing_since IS NULL) <> (n.missing_since IS NULL)
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_requests n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at))
UNION ALL
SELECT n.id AS request_id, n.environment, n.phone_number, o.valid_to AS changed_at,
       (SELECT CASE WHEN n.status = 'pending' AND o.status <> 'pending' THEN 'reopened'
            WHEN (n.status IN ('approved', 'rejected', 'cancelled') OR n.status <> 'pending' AND n.resolved_at IS NOT NULL)
             AND NOT (o.status IN ('approved', 'rejected', 'cancelled') OR o.status <> 'pending' AND o.resolved_at IS NOT NULL) THEN 'resolved'
            ELSE 'corrected' END UNION ALL SELECT n.status WHERE 0) AS kind,
       o.status AS old_status, n.status AS new_status,
       o.resolved_at AS old_resolved_at, n.resolved_at AS new_resolved_at, n.sync_run_id
FROM release_request_past_versions o
JOIN release_request_past_versions n ON n.id = o.id AND n.valid_from = +o.valid_to
WHERE n.missing_since IS NULL
  AND (o.missing_since IS NULL OR EXISTS (
       SELECT o.phone_number_id, o.phone_number, o.reason, o.status, o.rejection_reason,
              o.requested_at, o.resolved_at
       EXCEPT
       SELECT n.phone_number_id, n.phone_number, n.reason, n.status, n.rejection_reason,
              n.requested_at, n.resolved_at));
CREATE VIEW phone_number_history AS
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       (SELECT 'requested' UNION ALL SELECT r.status WHERE 0) AS event, r.id AS request_id, (SELECT 'pending' UNION ALL SELECT r.status WHERE 0) AS status, r.reason,
       (SELECT r.rejection_reason WHERE 0) AS rejection_reason, (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source,
       r.first_seen_at AS observed_at
FROM release_requests r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0)
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) v) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0)
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to) v) c
WHERE c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since
FROM release_requests r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to
FROM release_requests r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, (SELECT 'returned' UNION ALL SELECT r.status WHERE 0), r.id,
       r.status, r.reason, r.rejection_reason, (SELECT 'observed' UNION ALL SELECT r.status WHERE 0), p.valid_to
FROM release_requests r
JOIN release_request_past_versions p
  ON p.id = r.id AND +p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL;
CREATE VIEW phone_numbers AS
SELECT n.environment, n.phone_number, n.phone_number_id,
       (SELECT n.requests UNION ALL SELECT n.sync_run_id WHERE 0) AS requests, n.id AS last_request_id,
       n.status AS last_status,
       (SELECT n.first_requested_at UNION ALL SELECT n.requested_at WHERE 0) AS first_requested_at,
       n.requested_at AS last_requested_at,
       (SELECT n.last_resolved_at UNION ALL SELECT n.requested_at WHERE 0) AS last_resolved_at,
       (SELECT n.status = 'approved' UNION ALL SELECT n.sync_run_id WHERE 0) AS released
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, r.id, r.status, r.requested_at,
             r.sync_run_id,
             row_number() OVER (PARTITION BY r.phone_number, r.environment
                                ORDER BY r.requested_at DESC, r.id DESC) AS place,
             count(*) OVER (PARTITION BY r.phone_number, r.environment) AS requests,
             min(r.requested_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS first_requested_at,
             max(r.resolved_at) OVER (PARTITION BY r.phone_number, r.environment)
               AS last_resolved_at
      FROM release_requests r) n
WHERE n.place = 1;
CREATE VIEW release_request_turnaround AS
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, r.resolved_at,
       (SELECT CAST((strftime('%s', substr(r.resolved_at, 1, 19)) - strftime('%s', substr(r.requested_at, 1, 19))) * 1000 + substr(r.resolved_at, 21, 3) - substr(r.requested_at, 21, 3) AS REAL) / 3600000 UNION ALL SELECT seconds FROM sync_runs WHERE 0) AS hours_to_resolve,
       (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source
FROM release_requests r
WHERE r.status <> 'pending' AND r.resolved_at IS NOT NULL
UNION ALL
SELECT r.id, r.environment, r.phone_number, r.status, r.requested_at, (SELECT coalesce(r.entered_at, r.first_seen_at) UNION ALL SELECT r.first_seen_at WHERE 0),
       (SELECT CAST((strftime('%s', substr(coalesce(r.entered_at, r.first_seen_at), 1, 19)) - strftime('%s', substr(r.requested_at, 1, 19))) * 1000 + substr(coalesce(r.entered_at, r.first_seen_at), 21, 3) - substr(r.requested_at, 21, 3) AS REAL) / 3600000 UNION ALL SELECT seconds FROM sync_runs WHERE 0), (SELECT 'observed' UNION ALL SELECT r.status WHERE 0)
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) r
WHERE r.status IN ('approved', 'rejected', 'cancelled') AND r.resolved_at IS NULL;
CREATE VIEW release_requests_daily AS
WITH RECURSIVE
winding_ids AS MATERIALIZED (
  SELECT id FROM release_requests WHERE missing_since IS NOT NULL
  UNION
  SELECT p.id FROM release_request_past_versions p
  WHERE p.missing_since IS NOT NULL OR (p.status IN ('approved', 'rejected', 'cancelled') OR p.status <> 'pending' AND p.resolved_at IS NOT NULL)),
steady AS MATERIALIZED (
  SELECT environment, substr(requested_at, 1, 10) AS requested_on, status,
         substr(occurred_at, 1, 10) AS resolved_on,
         substr(CASE WHEN closed_at < opened_at THEN closed_at ELSE opened_at END, 1, 10) AS opened_on,
         substr(closed_at, 1, 10) AS closed_on, count(*) AS times
  FROM (SELECT environment, requested_at, opened_at, status, occurred_at,
               CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END AS closed_at
        FROM (SELECT r.environment, r.requested_at, r.status,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END AS opened_at,
                     coalesce(r.resolved_at, r.entered_at, r.first_seen_at) AS occurred_at,
                     coalesce(r.entered_at, r.first_seen_at) AS observed_at
              FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM release_requests r) r
              WHERE (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM winding_ids w WHERE w.id = r.id)
              UNION ALL
              SELECT r.environment, r.requested_at, NULL,
                     CASE WHEN r.first_seen_at < r.requested_at THEN r.first_seen_at ELSE r.requested_at END, NULL, NULL
              FROM release_requests r
              WHERE NOT (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) AND NOT EXISTS (SELECT 1 FROM winding_ids w WHERE w.id = r.id)) r) r
  GROUP BY 1, 2, 3, 4, 5, 6),
winding AS MATERIALIZED (
  SELECT environment, substr(occurred_at, 1, 10) AS occurred_on,
         substr(taken_at, 1, 10) AS taken_on, event, place, count(*) AS times,
         sum(opened) AS opened
  FROM (SELECT environment, event, place, occurred_at,
               min(CASE WHEN observed_at < occurred_at THEN observed_at ELSE occurred_at END) OVER sequel AS taken_at,
               is_open - lag(is_open, 1, 0) OVER sequel AS opened
        FROM (
SELECT r.environment, r.phone_number, r.phone_number_id, r.requested_at AS occurred_at,
       (SELECT 'requested' UNION ALL SELECT r.status WHERE 0) AS event, r.id AS request_id, (SELECT 'pending' UNION ALL SELECT r.status WHERE 0) AS status, r.reason,
       (SELECT r.rejection_reason WHERE 0) AS rejection_reason, (SELECT 'reported' UNION ALL SELECT r.status WHERE 0) AS time_source,
       r.first_seen_at AS observed_at,
       1 AS is_open, 0 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.*, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = r.id AND e.status <> r.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r) v) c
WHERE c.status <> 'pending' OR c.entered_at IS NOT NULL
UNION ALL
SELECT c.environment, c.phone_number, c.phone_number_id,
       (SELECT coalesce(c.reported_at, c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN c.status = 'pending' THEN 'reopened' ELSE c.status END,
       c.id, c.status, c.reason, c.rejection_reason,
       CASE WHEN c.reported_at IS NULL THEN 'observed' ELSE 'reported' END,
       (SELECT coalesce(c.entered_at, c.first_seen_at) UNION ALL SELECT c.first_seen_at WHERE 0),
       CASE WHEN (c.status IN ('approved', 'rejected', 'cancelled') OR c.status <> 'pending' AND c.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 2 AS place
FROM (SELECT v.*, (SELECT v.resolved_at WHERE v.status <> 'pending' AND NOT EXISTS (SELECT 1 FROM release_request_past_versions e
       WHERE e.id = v.id AND e.valid_to <= v.entered_at AND e.status = v.status
         AND e.resolved_at = v.resolved_at)) AS reported_at
FROM (SELECT r.environment, r.phone_number, r.phone_number_id, p.id, p.status, p.reason,
       p.rejection_reason, p.resolved_at, p.first_seen_at,
       coalesce(n.status, r.status) AS next_status, (SELECT e.valid_to FROM release_request_past_versions e WHERE e.id = p.id AND e.valid_from < p.valid_from AND e.status <> p.status ORDER BY e.valid_from DESC LIMIT 1) AS entered_at
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
LEFT JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to) v) c
WHERE c.next_status <> c.status AND (c.status <> 'pending' OR c.entered_at IS NOT NULL)
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, r.missing_since, 'vanished', r.id,
       r.status, r.reason, r.rejection_reason, 'observed', r.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
WHERE r.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.missing_since, 'vanished', r.id,
       p.status, p.reason, p.rejection_reason, 'observed', p.missing_since,
       0 AS is_open, 2 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, 'returned', r.id,
       n.status, n.reason, n.rejection_reason, 'observed', p.valid_to,
       CASE WHEN (n.status IN ('approved', 'rejected', 'cancelled')
        OR n.status <> 'pending' AND (
          SELECT l.resolved_at FROM release_request_versions l
          WHERE l.id = n.id AND l.valid_from >= n.valid_from
            AND NOT EXISTS (
              SELECT 1 FROM release_request_versions e
              WHERE e.id = n.id AND e.status <> n.status
                AND e.valid_from BETWEEN n.valid_from AND l.valid_from)
          ORDER BY l.valid_from DESC LIMIT 1) IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p ON p.id = r.id
JOIN release_request_past_versions n ON n.id = p.id AND n.valid_from = p.valid_to
WHERE p.missing_since IS NOT NULL
UNION ALL
SELECT r.environment, r.phone_number, r.phone_number_id, p.valid_to, (SELECT 'returned' UNION ALL SELECT r.status WHERE 0), r.id,
       r.status, r.reason, r.rejection_reason, (SELECT 'observed' UNION ALL SELECT r.status WHERE 0), p.valid_to,
       CASE WHEN (r.status IN ('approved', 'rejected', 'cancelled') OR r.status <> 'pending' AND r.resolved_at IS NOT NULL) THEN 0 ELSE 1 END AS is_open, 1 AS place
FROM (SELECT * FROM release_requests WHERE id IN (SELECT id FROM winding_ids)) r
JOIN release_request_past_versions p
  ON p.id = r.id AND +p.valid_to = r.valid_from
WHERE p.missing_since IS NOT NULL
) event
        WINDOW sequel AS (PARTITION BY request_id ORDER BY observed_at, place
                          ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)) step
  GROUP BY 1, 2, 3, 4, 5),
told AS (
  SELECT environment, requested_on AS day, 'requested' AS event, times, 0 AS opened FROM steady
  UNION ALL
  SELECT environment, resolved_on, nullif(status, 'requested'), times, 0 FROM steady
  WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, opened_on, NULL, 0, times FROM steady
  UNION ALL
  SELECT environment, closed_on, NULL, 0, -times FROM steady WHERE status IS NOT NULL
  UNION ALL
  SELECT environment, occurred_on, CASE WHEN place = 0 THEN event ELSE nullif(event, 'requested') END,
         times, 0
  FROM winding
  UNION ALL
  SELECT environment, taken_on, NULL, 0, opened FROM winding),
calendar AS (
  SELECT environment, min(day) AS day FROM told
  GROUP BY environment HAVING min(day) <= date('now')
  UNION ALL
  SELECT environment, replace(date(day, '+1 day'), '0300-02-29', '0300-03-01') FROM calendar WHERE day < date('now'))
SELECT environment, (SELECT day UNION ALL SELECT environment WHERE 0) AS day,
       (SELECT CAST(requested AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS requested,
       (SELECT CAST(approved AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS approved,
       (SELECT CAST(rejected AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS rejected,
       (SELECT CAST(cancelled AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS cancelled,
       (SELECT CAST(open_at_end AS bigint) UNION ALL SELECT sync_run_id FROM release_requests WHERE 0) AS open_at_end
FROM (SELECT environment, day,
             sum(CASE WHEN event = 'requested' THEN times ELSE 0 END) AS requested,
             sum(CASE WHEN event = 'approved' THEN times ELSE 0 END) AS approved,
             sum(CASE WHEN event = 'rejected' THEN times ELSE 0 END) AS rejected,
             sum(CASE WHEN event = 'cancelled' THEN times ELSE 0 END) AS cancelled,
             sum(sum(opened)) OVER (PARTITION BY environment ORDER BY day) AS open_at_end
      FROM (SELECT * FROM told
            UNION ALL
            SELECT environment, day, NULL, 0, 0 FROM calendar) d
      WHERE day <= date('now')
      GROUP BY environment, day) d;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('sync_runs',11);
INSERT INTO "sqlite_sequence" VALUES('quarantined_records',3);
COMMIT;
