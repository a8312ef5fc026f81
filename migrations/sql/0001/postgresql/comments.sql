-- The data dictionary: what tables, views and columns hold. SQLite has no place for it.

COMMENT ON TABLE release_requests IS
  'The current version of each release request, one row per id. A field that can no longer be read is the last known one.';
COMMENT ON COLUMN release_requests.id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN release_requests.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_requests.phone_number_id IS
  'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_requests.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_requests.reason IS
  'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_requests.status IS
  'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_requests.rejection_reason IS
  'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_requests.requested_at IS
  'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_requests.resolved_at IS
  'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_requests.extra IS
  'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_requests.first_seen_at IS
  'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_requests.valid_from IS
  'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_requests.missing_since IS
  'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_requests.sync_run_id IS
  'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_requests.digest IS
  'XXH3-64 of the list entry that the request was last read from, seeded with the version of mirror. An entry with the same digest is not decoded again. Null: the next one is, for example while a field of it cannot be read.';
COMMENT ON COLUMN release_requests.phone_number_e164 IS
  'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';

COMMENT ON TABLE release_request_past_versions IS
  'Superseded versions of release requests, one row per id and valid_from.';
COMMENT ON COLUMN release_request_past_versions.id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_past_versions.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_past_versions.phone_number_id IS
  'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_request_past_versions.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_past_versions.reason IS
  'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_request_past_versions.status IS
  'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_past_versions.rejection_reason IS
  'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_request_past_versions.requested_at IS
  'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_past_versions.resolved_at IS
  'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_request_past_versions.extra IS
  'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_request_past_versions.first_seen_at IS
  'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_request_past_versions.valid_from IS
  'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_request_past_versions.valid_to IS
  'Start of the sync that first saw the next version (UTC, local clock): its valid_from.';
COMMENT ON COLUMN release_request_past_versions.missing_since IS
  'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_request_past_versions.sync_run_id IS
  'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_request_past_versions.phone_number_e164 IS
  'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';

COMMENT ON TABLE sync_runs IS
  'Every run of mirror sync, with its outcome and its counts.';
COMMENT ON COLUMN sync_runs.id IS
  'Number of the run.';
COMMENT ON COLUMN sync_runs.environment IS
  'Environment (label of the API token) of the run.';
COMMENT ON COLUMN sync_runs.outcome IS
  'running, applied, unchanged, superseded, refused, failed, or abandoned: the process died, and a later run found it.';
COMMENT ON COLUMN sync_runs.started_at IS
  'Start of the run (UTC, local clock).';
COMMENT ON COLUMN sync_runs.finished_at IS
  'When the outcome was recorded (UTC, local clock). Null while running.';
COMMENT ON COLUMN sync_runs.observed_at IS
  'The run''s time in valid_from and valid_to (UTC): started_at, or just after the complete run before it if the clock went back. Null unless complete.';
COMMENT ON COLUMN sync_runs.seconds IS
  'Duration in seconds. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.completion IS
  '1, 2, … over the complete runs (applied or unchanged) of the environment, in order of completion. Null for all others.';
COMMENT ON COLUMN sync_runs.fetched IS
  'Entries of the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.inserted IS
  'Requests seen for the first time. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.updated IS
  'Requests with a new version because a field changed. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.unchanged IS
  'Requests with a valid entry and without a change in a known field. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.missing IS
  'Requests newly missing from the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.returned IS
  'Missing requests that were in the list again. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.quarantined IS
  'Invalid entries of the list. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.newly_quarantined IS
  'Invalid entries that were not in quarantine before the run. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.duplicates IS
  'Entries equal to another entry with the same id. Null if the run ended before the count was known.';
COMMENT ON COLUMN sync_runs.pages IS
  'List responses read, repeated reads included. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.bytes IS
  'Size of these responses in bytes, decompressed. Null while running, and if abandoned.';
COMMENT ON COLUMN sync_runs.error IS
  'Why the run did not complete. Null if it did.';
COMMENT ON COLUMN sync_runs.base_url IS
  'Base URL of the API.';
COMMENT ON COLUMN sync_runs.etag IS
  'ETag of the list, as sent by the API. Null if there was none, if the list was paged, or unless complete.';
COMMENT ON COLUMN sync_runs.content_digest IS
  'XXH3-128 of the list''s bytes, in hex. Null unless complete, and after an erasure was undone.';
COMMENT ON COLUMN sync_runs.mirror_version IS
  'Version of mirror that ran.';

COMMENT ON TABLE quarantined_records IS
  'Invalid entries of the list, one row per distinct entry.';
COMMENT ON COLUMN quarantined_records.id IS
  'Number of the record.';
COMMENT ON COLUMN quarantined_records.environment IS
  'Environment (label of the API token) whose list contained the record.';
COMMENT ON COLUMN quarantined_records.fingerprint IS
  'SHA-256 of the record''s known fields, in hex, or of the whole record if it has none; of an erased request its mark, its id and a number.';
COMMENT ON COLUMN quarantined_records.request_id IS
  'Request id, if it is valid. Null otherwise.';
COMMENT ON COLUMN quarantined_records.raw IS
  'JSON of the record, as last received.';
COMMENT ON COLUMN quarantined_records.error IS
  'Why the record is invalid.';
COMMENT ON COLUMN quarantined_records.first_run_id IS
  'First run that saw the record (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.last_run_id IS
  'Last applied run that saw the record (sync_runs.id).';
COMMENT ON COLUMN quarantined_records.first_seen_at IS
  'Start of the sync that first saw the record (UTC, local clock).';
COMMENT ON COLUMN quarantined_records.last_seen_at IS
  'Start of the last applied sync that saw the record (UTC, local clock).';
COMMENT ON COLUMN quarantined_records.resolved_at IS
  'Start of the sync whose list no longer contained the record (UTC, local clock). Null while it does.';

COMMENT ON TABLE erasures IS
  'Every erasure of a phone number by mirror db erase-number, without the number.';
COMMENT ON COLUMN erasures.id IS
  'Number of the erasure. Its mark is erased-1 for number 1, and so on.';
COMMENT ON COLUMN erasures.erased_at IS
  'When the number was erased (UTC, local clock).';
COMMENT ON COLUMN erasures.requests IS
  'Requests erased.';
COMMENT ON COLUMN erasures.past_versions IS
  'Past versions of them.';
COMMENT ON COLUMN erasures.quarantined IS
  'Records in quarantine erased.';
COMMENT ON COLUMN erasures.runs IS
  'Runs whose error held the number.';
COMMENT ON COLUMN erasures.cleaned_at IS
  'When the freed space in the database was cleaned by VACUUM (UTC, local clock). Null if that has not succeeded yet.';
COMMENT ON COLUMN erasures.undone_at IS
  'When the erasure was taken back (UTC, local clock): from then on the list counts again. Null otherwise.';

COMMENT ON TABLE erased_requests IS
  'Requests whose personal data a sync does not store again.';
COMMENT ON COLUMN erased_requests.request_id IS
  'Id of an erased request. Of an erased record in quarantine that is known by no id: its fingerprint.';
COMMENT ON COLUMN erased_requests.erasure_id IS
  'Erasure of the request (erasures.id).';

COMMENT ON TABLE change_cursors IS
  'How far each reader of mirror changes --new has read.';
COMMENT ON COLUMN change_cursors.name IS
  'Name of the cursor (mirror changes --cursor).';
COMMENT ON COLUMN change_cursors.environment IS
  'Environment in which the cursor has this position.';
COMMENT ON COLUMN change_cursors.seen_until IS
  'Changes up to this changed_at were shown (UTC). Null: no sync of the environment was complete yet.';
COMMENT ON COLUMN change_cursors.moved_at IS
  'When the cursor was last used (UTC, local clock).';

COMMENT ON TABLE alembic_version IS
  'Revision of the schema, used by mirror db upgrade.';
COMMENT ON COLUMN alembic_version.version_num IS
  'Number of the revision.';

COMMENT ON VIEW release_request_versions IS
  'Every version of every release request, past and current. As of a time T: valid_from <= T and (valid_to is null or valid_to > T).';
COMMENT ON COLUMN release_request_versions.id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_versions.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_versions.phone_number_id IS
  'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN release_request_versions.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_versions.reason IS
  'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN release_request_versions.status IS
  'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_versions.rejection_reason IS
  'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN release_request_versions.requested_at IS
  'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_versions.resolved_at IS
  'When the request left pending (UTC, reported by the API). Null while it is pending, and if the API sent no time.';
COMMENT ON COLUMN release_request_versions.extra IS
  'JSON object of the fields that this version of mirror does not know. A number that Postgres could not hold is a string. Null if there are none.';
COMMENT ON COLUMN release_request_versions.first_seen_at IS
  'Start of the sync that first saw the request (UTC, local clock).';
COMMENT ON COLUMN release_request_versions.valid_from IS
  'Start of the sync that first saw this version (UTC, local clock).';
COMMENT ON COLUMN release_request_versions.missing_since IS
  'Start of the first sync whose list lacked the request (UTC, local clock). Null while the request is listed.';
COMMENT ON COLUMN release_request_versions.sync_run_id IS
  'Run that first saw this version (sync_runs.id).';
COMMENT ON COLUMN release_request_versions.valid_to IS
  'Start of the sync that first saw the next version (UTC, local clock): its valid_from. Null for the current version.';
COMMENT ON COLUMN release_request_versions.version IS
  '1, 2, … over the versions of the request.';
COMMENT ON COLUMN release_request_versions.phone_number_e164 IS
  'E.164 form of phone_number if it is written otherwise, such as 15551234567 or tel:+1-555-123-4567. Null if phone_number has that form already, does not tell its country, or may be two numbers.';

COMMENT ON VIEW release_request_changes IS
  'Changes that syncs saw in requests known before. A request that returned with other fields has two rows.';
COMMENT ON COLUMN release_request_changes.request_id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_changes.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_changes.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_changes.changed_at IS
  'Start of the sync that first saw the change (UTC, local clock).';
COMMENT ON COLUMN release_request_changes.kind IS
  'resolved (left pending for good), reopened (back to pending), corrected (another change of a field or the status), vanished (no longer in the list), returned (in it again).';
COMMENT ON COLUMN release_request_changes.old_status IS
  'Status before the change, as returned by the API.';
COMMENT ON COLUMN release_request_changes.new_status IS
  'Status after the change, as returned by the API.';
COMMENT ON COLUMN release_request_changes.old_resolved_at IS
  'resolved_at before the change (UTC, reported by the API). Null if there was none.';
COMMENT ON COLUMN release_request_changes.new_resolved_at IS
  'resolved_at after the change (UTC, reported by the API). Null if there is none.';
COMMENT ON COLUMN release_request_changes.sync_run_id IS
  'Run that first saw the change (sync_runs.id).';
COMMENT ON COLUMN release_request_changes.changed_fields IS
  'Names of the fields that changed, in the order of the columns of release_requests and separated by commas, such as status,resolved_at. Empty for vanished and returned.';

COMMENT ON VIEW phone_number_history IS
  'The history of each phone number: one row per event, over all its requests. In order: ORDER BY coalesce(occurred_at, not_before), request_id, observed_at, event <> ''requested'', event <> ''returned''.';
COMMENT ON COLUMN phone_number_history.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN phone_number_history.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_number_history.phone_number_id IS
  'API id of the phone number''s record; a number bought again has a new one. Null if the API sent none.';
COMMENT ON COLUMN phone_number_history.occurred_at IS
  'Best known time of the event (UTC); time_source says where it comes from. Null where it is unknown.';
COMMENT ON COLUMN phone_number_history.event IS
  'requested; the status entered (approved, …); reopened (back to pending); vanished from or returned to the list.';
COMMENT ON COLUMN phone_number_history.request_id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN phone_number_history.status IS
  'Status of the request after the event.';
COMMENT ON COLUMN phone_number_history.reason IS
  'The customer''s reason to release the number. Null if the API sent none.';
COMMENT ON COLUMN phone_number_history.rejection_reason IS
  'Why the request was rejected. Null unless the API sent a reason.';
COMMENT ON COLUMN phone_number_history.time_source IS
  'Source of occurred_at. reported: sent by the API; observed: the API states no time for this event (always for reopened, vanished and returned), or only the time of an earlier one; it is then the start of the sync that first saw it; unknown: the API states no time, and the request had this status when a sync first saw it; occurred_at is then null.';
COMMENT ON COLUMN phone_number_history.observed_at IS
  'Start of the sync that first saw the event (UTC, local clock).';
COMMENT ON COLUMN phone_number_history.not_before IS
  'The event happened between this time and observed_at (UTC). observed: start of the last complete sync that saw the request before the event (local clock), but not before requested_at; unknown: requested_at. Null where the time is reported.';

COMMENT ON VIEW phone_numbers IS
  'Phone numbers that have release requests, one row per environment and number.';
COMMENT ON COLUMN phone_numbers.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN phone_numbers.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN phone_numbers.phone_number_id IS
  'API id of the phone number''s record in its last request. Null if the API sent none.';
COMMENT ON COLUMN phone_numbers.requests IS
  'Count of release requests for the number.';
COMMENT ON COLUMN phone_numbers.last_request_id IS
  'Id of the request submitted last.';
COMMENT ON COLUMN phone_numbers.last_status IS
  'Status of that request, as returned by the API.';
COMMENT ON COLUMN phone_numbers.first_requested_at IS
  'When the first request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN phone_numbers.last_requested_at IS
  'When the last request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN phone_numbers.last_resolved_at IS
  'Latest resolved_at of the requests (UTC, reported by the API). Resolutions whose time the API does not state (observed or unknown) are left out. Null if none has one.';
COMMENT ON COLUMN phone_numbers.released IS
  'Whether the last request was approved: the number has been or will be released. 1 or 0 in SQLite.';

COMMENT ON VIEW release_request_turnaround IS
  'Review times: one row per resolved request (approved, rejected, cancelled, or another status than pending with a resolved_at), missing ones included.';
COMMENT ON COLUMN release_request_turnaround.id IS
  'Request id, as returned by the API.';
COMMENT ON COLUMN release_request_turnaround.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_request_turnaround.phone_number IS
  'Phone number, as returned by the API; documented as E.164 (+15551234567).';
COMMENT ON COLUMN release_request_turnaround.status IS
  'Status, as returned by the API; documented: pending, approved, rejected, cancelled.';
COMMENT ON COLUMN release_request_turnaround.requested_at IS
  'When the request was submitted (UTC, reported by the API).';
COMMENT ON COLUMN release_request_turnaround.resolved_at IS
  'Best known time at which the request got its status (UTC); time_source says where it comes from. Null where it is unknown.';
COMMENT ON COLUMN release_request_turnaround.hours_to_resolve IS
  'Hours from requested_at to resolved_at; an upper bound where time_source is observed. Null where it is unknown.';
COMMENT ON COLUMN release_request_turnaround.time_source IS
  'Source of resolved_at. reported: sent by the API; observed: the API states no time; it is then the start of the sync that first saw it; unknown: the API states no time, and the request had this status when a sync first saw it; resolved_at is then null.';

COMMENT ON VIEW release_requests_daily IS
  'Daily counts of the events of phone_number_history, with a row for every day from the first request of the environment to today (UTC).';
COMMENT ON COLUMN release_requests_daily.environment IS
  'Environment (label of the API token, --environment) whose list contains the request.';
COMMENT ON COLUMN release_requests_daily.day IS
  'Day (UTC). Text YYYY-MM-DD in SQLite.';
COMMENT ON COLUMN release_requests_daily.requested IS
  'Requests submitted on the day.';
COMMENT ON COLUMN release_requests_daily.approved IS
  'Requests approved on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.rejected IS
  'Requests rejected on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.cancelled IS
  'Requests cancelled on the day, by the best known time; undated ones are left out.';
COMMENT ON COLUMN release_requests_daily.open_at_end IS
  'Requests neither resolved nor missing at the end of the day; for today, now. Undated ones are left out, unless they were reopened.';
COMMENT ON COLUMN release_requests_daily.undated IS
  'Requests of the environment that were resolved at an unknown time, before a sync first saw them. The same on each day.';
