"""The job, end to end, over real HTTP into both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mirror.api.client import CachedList, Client, FetchedList, NotModified
from mirror.db import bulk
from mirror.db.engine import write_transaction
from mirror.errors import ApiError, GuardRefused, SchemaError, TokenRefused
from mirror.queries import helpers
from mirror.sync.run import Outcome, sync
from tests.support import ROOT
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, FakeUpstream, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mirror.sandbox.server import Sandbox

DATA = ROOT / "tests" / "data"


def records_of(name: str) -> list[Any]:
    """The entries of an example answer."""
    return list(json.loads((DATA / name).read_text())["data"])


def test_documented_list(mirror: Mirror) -> None:
    """The documented answer becomes two rows, with the times that upstream said."""
    result = mirror.sync(records_of("documented-list.json"))
    assert result.outcome is Outcome.APPLIED
    assert (result.counts.fetched, result.counts.inserted) == (2, 2)
    first, second = mirror.ask(helpers.release_requests)
    assert (first.id, first.status, first.resolved_at) == ("request-uuid-1", "pending", None)
    assert second.resolved_at == datetime(2024, 1, 8, 16, 20, tzinfo=UTC)
    assert second.requested_at == datetime(2024, 1, 5, 10, 0, tzinfo=UTC)


def test_nothing_new_touches_nothing(mirror: Mirror) -> None:
    """The same bytes again are recorded as unchanged, and no row is written."""
    mirror.sync(records_of("documented-list.json"))
    before = mirror.state()
    result = mirror.sync()
    assert result.outcome is Outcome.UNCHANGED
    assert (result.counts.fetched, result.counts.unchanged, result.pages) == (2, 2, 1)
    assert mirror.state() == before


def test_etag_saves_the_download(sqlite_mirror: Mirror) -> None:
    """A list that the API says is still the same is not even read."""
    sqlite_mirror.sandbox.manner.etag = True
    sqlite_mirror.sync([request(1)])
    result = sqlite_mirror.sync()
    assert (result.outcome, result.bytes, result.pages) == (Outcome.UNCHANGED, 0, 0)
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED
    assert sqlite_mirror.sync([request(1), request(2)]).counts.inserted == 1


def test_same_bytes_read_by_another_version_are_merged_again(
    sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer mirror may understand more of the same list."""
    sqlite_mirror.sync([request(1)])
    monkeypatch.setattr("mirror.db.runs.__version__", "99.0")
    assert sqlite_mirror.sync().outcome is Outcome.APPLIED
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED


def test_an_approval_makes_a_second_version(mirror: Mirror) -> None:
    """A change closes the old version where the new one begins, and is told as a change."""
    records = records_of("documented-list.json")
    mirror.sync(records)
    records[0] |= {"status": "approved", "resolved_at": "2024-01-11T09:00:00Z"}
    result = mirror.sync(records)
    assert (result.counts.updated, result.counts.unchanged) == (1, 1)
    versions = mirror.rows(
        "SELECT version, status, valid_from, valid_to FROM release_request_versions"
        " WHERE id = 'request-uuid-1' ORDER BY version"
    )
    assert [row[:2] for row in versions] == [(1, "pending"), (2, "approved")]
    assert versions[0][3] == versions[1][2]
    assert versions[1][3] is None
    (change,) = mirror.ask(helpers.changes)
    assert (change.kind, change.old_status, change.new_status, change.sync_run_id) == (
        "resolved",
        "pending",
        "approved",
        result.run_id,
    )
    events = mirror.ask(helpers.phone_number_history, "+1 (555) 123-4567")
    assert [event.event for event in events] == ["requested", "approved"]


def test_edge_cases(mirror: Mirror) -> None:
    """What can be understood is kept, what cannot is in quarantine with its reason, once."""
    records = records_of("edge-cases.json")
    result = mirror.sync(records)
    assert (result.counts.inserted, result.counts.quarantined) == (6, 3)
    assert result.counts.newly_quarantined == 3
    again = mirror.sync()
    assert (again.outcome, again.counts.quarantined) == (Outcome.UNCHANGED, 3)
    shuffled = mirror.sync(records[::-1])
    assert (shuffled.outcome, shuffled.counts.newly_quarantined) == (Outcome.APPLIED, 0)
    assert shuffled.counts.quarantined == 3
    kept = mirror.rows("SELECT error, raw, resolved_at FROM quarantined_records ORDER BY error")
    assert [(error, json.loads(raw), resolved_at) for error, raw, resolved_at in kept] == [
        ("`id` is empty", records[6], None),
        ("`requested_at` is not a time", records[7], None),
        ("not an object", records[8], None),
    ]
    by_id = {one.id[-1]: one for one in mirror.ask(helpers.release_requests)}
    assert by_id["5"].status == "on_hold"
    assert json.loads(by_id["5"].extra) == {
        "reviewer": {"id": 7, "name": "Ops"},
        "tags": ["porting"],
    }
    assert by_id["3"].requested_at == datetime(2024, 3, 5, 9, tzinfo=UTC)
    assert by_id["3"].resolved_at == datetime(2024, 3, 6, 12, 34, 56, 789000, tzinfo=UTC)
    assert by_id["6"].reason == records[5]["reason"]
    events = mirror.ask(helpers.phone_number_history, "+55 11 98765-4321")
    assert len({event.request_id for event in events}) == 4
    assert {event.phone_number_id for event in events} == {"p-1", "p-9"}


def test_a_new_upstream_field_forges_nothing(mirror: Mirror) -> None:
    """A field added to every record is kept in place: no version, nothing new in quarantine."""
    records = records_of("edge-cases.json")
    mirror.sync(records)
    for record in records:
        if isinstance(record, dict):
            record["carrier"] = {"name": "Example"}
    result = mirror.sync(records)
    assert (result.counts.updated, result.counts.unchanged) == (0, 6)
    assert (result.counts.quarantined, result.counts.newly_quarantined) == (3, 0)
    assert mirror.rows("SELECT count(*) FROM release_request_past_versions") == [(0,)]
    assert mirror.rows("SELECT count(*) FROM quarantined_records") == [(3,)]
    extras = [json.loads(one.extra) for one in mirror.ask(helpers.release_requests)]
    assert all(extra["carrier"] == {"name": "Example"} for extra in extras)


def test_a_record_that_turns_bad_keeps_its_row(mirror: Mirror) -> None:
    """The row stays as it was, is not missing, and follows upstream once it can be read again."""
    mirror.sync([request(1), request(2)])
    before = mirror.state()["release_requests"]
    result = mirror.sync([request(1, requested_at="yesterday"), request(2)])
    assert (result.counts.missing, result.counts.quarantined) == (0, 1)
    assert mirror.state()["release_requests"] == before
    result = mirror.sync([request(1, status="cancelled"), request(2)])
    assert (result.counts.updated, result.counts.quarantined) == (1, 0)
    ((resolved_at,),) = mirror.rows("SELECT resolved_at FROM quarantined_records")
    assert resolved_at is not None
    again = mirror.sync([request(1, requested_at="yesterday"), request(2)])
    assert again.counts.newly_quarantined == 1
    assert mirror.rows("SELECT resolved_at FROM quarantined_records") == [(None,)]


def test_duplicates(mirror: Mirror) -> None:
    """Equal entries count once; contradicting ones go to quarantine and the row stays."""
    mirror.sync([request(1), request(2)])
    before = mirror.state()["release_requests"]
    result = mirror.sync([request(1), request(2), request(1)])
    assert (result.counts.duplicates, result.counts.unchanged) == (1, 2)
    result = mirror.sync([request(1), request(2), request(1, status="approved")])
    assert (result.counts.quarantined, result.counts.duplicates) == (2, 0)
    assert mirror.state()["release_requests"] == before


def test_missing_and_returned(mirror: Mirror) -> None:
    """A request that vanishes keeps its row; that it was away stays in its versions."""
    mirror.sync([request(1), request(2)])
    gone = mirror.sync([request(2)])
    assert gone.counts.missing == 1
    assert [one.id for one in mirror.ask(helpers.release_requests)] == ["request-2"]
    (missing,) = mirror.ask(helpers.release_requests, missing=True)
    assert missing.missing_since == mirror.now
    assert mirror.sync([request(2), request(3)]).counts.missing == 0
    back = mirror.sync([request(1, status="approved"), request(2), request(3)])
    assert (back.counts.returned, back.counts.updated, back.counts.unchanged) == (1, 0, 2)
    kinds = [change.kind for change in mirror.ask(helpers.changes)]
    assert sorted(kinds) == ["resolved", "returned", "vanished"]
    events = mirror.ask(helpers.phone_number_history, request(1)["phone_number"])
    assert {event.event for event in events} == {"requested", "vanished", "returned", "approved"}


def test_guard(mirror: Mirror) -> None:
    """Too many requests gone at once are not believed, unless the person says so."""
    cases = [(2, 0, True), (20, 15, False), (20, 14, True), (100, 90, False), (100, 89, True)]
    for known, left, refused in cases:
        environment = f"{left} of {known}"
        listed = [request(number, id=f"{environment}, {number}") for number in range(known)]
        mirror.sync(listed, environment=environment)
        before = mirror.state()
        result = mirror.sync(listed[:left], environment=environment)
        assert result.outcome is (Outcome.REFUSED if refused else Outcome.APPLIED)
        assert isinstance(result.failure, GuardRefused) is refused
        if refused:
            assert mirror.state() == before
            assert mirror.runs("outcome", "error")[-1] == ("refused", str(result.failure))
            accepted = mirror.sync(listed[:left], environment=environment, accept_missing=True)
            assert (accepted.outcome, accepted.counts.missing) == (Outcome.APPLIED, known - left)
            assert mirror.sync(environment=environment).outcome is Outcome.UNCHANGED


def test_an_empty_list_is_fine_where_nothing_is_known(sqlite_mirror: Mirror) -> None:
    """A new customer has no release requests, and nothing to lose."""
    assert sqlite_mirror.sync([]).outcome is Outcome.APPLIED
    assert sqlite_mirror.sync([request(1)]).counts.inserted == 1


def test_few_requests_may_all_be_replaced(sqlite_mirror: Mirror) -> None:
    """A list that is not empty may lack five requests, also if there were no others."""
    sqlite_mirror.sync([request(number) for number in range(5)])
    result = sqlite_mirror.sync([request(number) for number in range(5, 10)])
    assert (result.outcome, result.counts.missing) == (Outcome.APPLIED, 5)
    refused = sqlite_mirror.sync([])
    assert refused.outcome is Outcome.REFUSED


def test_environments_live_side_by_side(mirror: Mirror) -> None:
    """Each environment has its own list, and its own idea of what is missing."""
    mirror.sync([request(1)], environment="dev")
    mirror.sync([request(2)], environment="prod")
    assert mirror.sync([request(1), request(3)], environment="dev").counts.missing == 0
    prod = mirror.ask(helpers.release_requests, environment="prod")
    assert [one.id for one in prod] == ["request-2"]
    assert len(mirror.ask(helpers.release_requests)) == 3


def test_mixed_up_tokens_are_refused(mirror: Mirror) -> None:
    """A request never moves from one environment to another, whatever the person accepts."""
    mirror.sync([request(1)], environment="dev")
    before = mirror.state()
    result = mirror.sync([request(1), request(2)], environment="prod", accept_missing=True)
    assert result.outcome is Outcome.REFUSED
    assert mirror.state() == before


@pytest.mark.parametrize("paging", ["meta", "pagination"])
def test_paged_lists_are_read_whole(sqlite_mirror: Mirror, paging: Any) -> None:
    """1,037 requests in pages of 100 take 11 questions, under either key."""
    sqlite_mirror.sandbox.manner.paging = paging
    result = sqlite_mirror.sync([request(number) for number in range(1037)])
    assert (result.counts.inserted, result.pages) == (1037, 11)
    assert len(sqlite_mirror.sandbox.asked) == 11
    assert sqlite_mirror.rows("SELECT count(*) FROM release_requests") == [(1037,)]
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED


def test_dry_run(mirror: Mirror) -> None:
    """A dry run says what would change, is on record, and changes nothing."""
    mirror.sync([request(1), request(2)])
    before = mirror.state()
    changed = [request(1, status="approved"), request(2), request(3), "junk"]
    result = mirror.sync(changed, dry_run=True)
    assert result.outcome is Outcome.DRY_RUN
    assert (result.counts.inserted, result.counts.updated) == (1, 1)
    assert [change.request_id for change in result.changes] == ["request-1"]
    assert mirror.state() == before
    assert mirror.runs("outcome", "inserted")[-1] == ("dry_run", 1)
    assert mirror.sync().counts == result.counts
    assert mirror.sync(dry_run=True).counts.unchanged == 3


def test_no_upgrade_refuses_an_empty_database(new_mirror: Mirror) -> None:
    """Without permission to upgrade, the person is told what to run."""
    result = new_mirror.sync([request(1)], upgrade=False)
    assert (result.outcome, result.run_id) == (Outcome.FAILED, None)
    assert isinstance(result.failure, SchemaError)
    assert "mirror db upgrade" in str(result.failure)


def test_a_failed_run_is_on_record_and_changes_nothing(sqlite_mirror: Mirror) -> None:
    """A refused token leaves the rows alone, and the run says why it failed."""
    sqlite_mirror.sync([request(1)])
    before = sqlite_mirror.state()
    api = sqlite_mirror.api
    sqlite_mirror.sandbox.manner.token = "regenerated"
    result = sync(sqlite_mirror.engine, api, "default")
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.failure, TokenRefused)
    assert sqlite_mirror.state() == before
    assert sqlite_mirror.runs("outcome", "error")[-1] == ("failed", str(result.failure))
    assert TOKEN not in str(result.failure)


@pytest.mark.calendar
def test_the_clock_may_go_back(mirror: Mirror) -> None:
    """Intervals never turn inside out, and syncs go on, whatever this machine's clock does."""
    mirror.sync([request(1)])
    mirror.now -= timedelta(days=300)
    result = mirror.sync([request(1, status="approved")])
    assert result.counts.updated == 1
    versions = mirror.rows(
        "SELECT valid_from, valid_to FROM release_request_versions ORDER BY version"
    )
    assert versions[0][0] < versions[0][1] == versions[1][0]


def test_an_older_pull_never_replaces_a_newer_one(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is superseded if another one completed since it began."""
    mirror.sync([request(1)])

    class Slow(Client):
        def read_list(self, known: CachedList | None = None) -> FetchedList | NotModified:
            """Read the list, and let another run see a newer one and complete in between."""
            found = super().read_list(known)
            monkeypatch.undo()
            assert mirror.sync([request(1, status="approved")]).counts.updated == 1
            return found

    monkeypatch.setattr("mirror.sync.run.Client", Slow)
    slow = mirror.sync([request(1), request(2)])
    assert slow.outcome is Outcome.SUPERSEDED
    assert slow.failure is None
    assert [one.status for one in mirror.ask(helpers.release_requests)] == ["approved"]
    assert mirror.runs("outcome") == [("applied",), ("superseded",), ("applied",)]


def test_abandoned_runs_are_found(mirror: Mirror) -> None:
    """A run that died is marked by the next complete one."""
    mirror.sync([request(1)])
    with mirror.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE sync_runs SET outcome = 'running', completion = NULL, finished_at = NULL"
        )
    mirror.sync([request(1), request(2)])
    assert mirror.runs("outcome") == [("abandoned",), ("applied",)]


def test_records_upstream_errors(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Success false with status 200 is a failure, and nothing is believed."""
    sqlite_mirror.sync([request(1)])
    before = sqlite_mirror.state()
    file = tmp_path / "list.json"
    file.write_text('{"success": false, "data": []}')
    sqlite_mirror.sandbox.manner.file = file
    result = sqlite_mirror.sync()
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.failure, ApiError)
    assert sqlite_mirror.state() == before
    assert sqlite_mirror.runs("outcome", "error")[-1] == ("failed", str(result.failure))


def test_postgres_knows_its_tables_after_the_first_sync(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """Without statistics the second sync would compare every row with every other one."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    mirror.sync([request(number) for number in range(300)])
    sizes = "SELECT reltuples FROM pg_class WHERE relname = 'release_requests'"
    assert mirror.rows(sizes) == [(300,)]
    mirror.sync([request(number, status="approved") for number in range(400)])
    assert mirror.rows(sizes) == [(400,)]
    assert mirror.rows(sizes.replace("_requests", "_request_past_versions")) == [(300,)]


def test_whole_tables_are_not_joined_row_by_row(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """Postgres may take a full table for empty; the comparison must not depend on that."""
    mirror = Mirror(make_ready_database("postgresql"), sandbox, upstream)
    with write_transaction(mirror.engine, "test") as connection:
        settings = []
        with bulk.comparing_whole_tables(connection):
            settings.append(connection.exec_driver_sql("SHOW enable_nestloop").scalar())
        settings.append(connection.exec_driver_sql("SHOW enable_nestloop").scalar())
    assert settings == ["off", "on"]
