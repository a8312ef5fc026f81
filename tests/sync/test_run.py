"""A sync, end to end: real HTTP into both databases."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mirror.db.runs import Outcome
from mirror.db.urls import parse_url
from mirror.errors import ApiError, GuardRefused, MirrorError, SchemaError, TokenRefused
from mirror.queries import helpers
from mirror.sync.run import Result, sync
from tests.db.frozen.freeze import rows_of
from tests.support import ROOT
from tests.support.commands import run_mirror
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.schema import inventory, opened
from tests.support.upstream import TOKEN, FakeUpstream, request, requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from mirror.sandbox.server import Sandbox


def example(name: str) -> list[Any]:
    """The entries of an example response."""
    return list(json.loads((ROOT / "tests" / "data" / name).read_text())["data"])


def counts(result: Result) -> dict[str, int]:
    """The counts of a sync that are not 0."""
    return {name: count for name, count in msgspec.structs.asdict(result.counts).items() if count}


def test_documented_list(mirror: Mirror) -> None:
    """The documented response becomes two rows, with the times of the API."""
    result = mirror.sync(example("documented-list.json"))
    assert result.outcome is Outcome.APPLIED
    assert counts(result) == {"fetched": 2, "inserted": 2}
    first, second = mirror.query(helpers.release_requests)
    assert (first.id, first.status, first.resolved_at) == ("request-uuid-1", "pending", None)
    assert second.resolved_at == datetime(2024, 1, 8, 16, 20, tzinfo=UTC)
    assert second.requested_at == datetime(2024, 1, 5, 10, 0, tzinfo=UTC)


def test_nothing_new_touches_nothing(mirror: Mirror) -> None:
    """The same bytes again are recorded as unchanged, and no row is written."""
    mirror.sync(example("documented-list.json"))
    before = mirror.state()
    result = mirror.sync()
    assert (result.outcome, result.pages) == (Outcome.UNCHANGED, 1)
    assert counts(result) == {"fetched": 2, "unchanged": 2}
    assert mirror.state() == before


def test_deleted_requests_come_back(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """An unchanged list is applied where all requests are gone, as after a restore without them."""
    mirror.sandbox.config.etag = True
    mirror.sync([request(1), "junk"])
    with opened(mirror.url) as connection:
        connection.exec_driver_sql("DELETE FROM release_requests")
    result = mirror.sync()
    assert counts(result) == {"fetched": 2, "inserted": 1, "quarantined": 1}
    assert "the mirror has no request of 'default'" in caplog.text
    for list_ in (["junk"], [{"id": "1"}, {"id": "1"}]):
        mirror.sync(list_, accept_missing=True)
        with opened(mirror.url) as connection:
            connection.exec_driver_sql("DELETE FROM release_requests")
        assert mirror.sync().outcome is Outcome.UNCHANGED


def test_etag_saves_the_download(sqlite_mirror: Mirror) -> None:
    """A list that is not modified, as the API says, is not even read."""
    sqlite_mirror.sandbox.config.etag = True
    sqlite_mirror.sync([request(1)])
    result = sqlite_mirror.sync()
    assert (result.outcome, result.bytes, result.pages) == (Outcome.UNCHANGED, 0, 0)
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED
    assert sqlite_mirror.sync(requests(1, 2)).counts.inserted == 1


def test_same_bytes_read_by_another_version_are_merged_again(
    sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer mirror may understand more of the same list."""
    sqlite_mirror.sync([request(1)])
    monkeypatch.setattr("mirror.db.runs.__version__", "99.0")
    assert sqlite_mirror.sync().outcome is Outcome.APPLIED
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED


def test_an_approval_makes_a_second_version(mirror: Mirror) -> None:
    """A change closes the old version where the new one begins, and is listed as a change."""
    records = example("documented-list.json")
    mirror.sync(records)
    records[0] |= {"status": "approved", "resolved_at": "2024-01-11T09:00:00Z"}
    result = mirror.sync(records)
    assert counts(result) == {"fetched": 2, "updated": 1, "unchanged": 1}
    versions = mirror.rows(
        "SELECT version, status, valid_from, valid_to FROM release_request_versions"
        " WHERE id = 'request-uuid-1' ORDER BY version"
    )
    assert [version[:2] for version in versions] == [(1, "pending"), (2, "approved")]
    assert versions[0][3] == versions[1][2]
    assert versions[1][3] is None
    (change,) = mirror.query(helpers.changes)
    assert (change.kind, change.sync_run_id) == ("resolved", result.run_id)
    assert (change.old_status, change.new_status) == ("pending", "approved")
    events = mirror.query(helpers.phone_number_history, "+1 (555) 123-4567")
    assert [event.event for event in events] == ["requested", "approved"]


def test_edge_cases(mirror: Mirror) -> None:
    """Valid entries are kept, invalid ones are quarantined once, with the reason."""
    records = example("edge-cases.json")
    result = mirror.sync(records)
    assert (result.counts.inserted, result.counts.quarantined) == (6, 3)
    assert result.counts.newly_quarantined == 3
    again = mirror.sync()
    assert (again.outcome, again.counts.quarantined) == (Outcome.UNCHANGED, 3)
    shuffled = mirror.sync(records[::-1])
    assert shuffled.outcome is Outcome.APPLIED
    assert counts(shuffled) == {"fetched": 9, "unchanged": 6, "quarantined": 3}
    quarantine = mirror.rows("SELECT error, raw, resolved_at FROM quarantined_records ORDER BY 1")
    assert [(error, json.loads(raw), resolved) for error, raw, resolved in quarantine] == [
        ("`id` is empty", records[6], None),
        ("`requested_at` is not a time", records[7], None),
        ("not an object", records[8], None),
    ]
    by_id = {row.id[-1]: row for row in mirror.query(helpers.release_requests)}
    assert by_id["5"].status == "on_hold"
    assert json.loads(by_id["5"].extra) == {
        "reviewer": {"id": 7, "name": "Ops"},
        "tags": ["porting"],
    }
    assert by_id["3"].requested_at == datetime(2024, 3, 5, 9, tzinfo=UTC)
    assert by_id["3"].resolved_at == datetime(2024, 3, 6, 12, 34, 56, 789000, tzinfo=UTC)
    assert by_id["6"].reason == records[5]["reason"]
    events = mirror.query(helpers.phone_number_history, "+55 11 98765-4321")
    assert len({event.request_id for event in events}) == 4
    assert {event.phone_number_id for event in events} == {"p-1", "p-9"}


def test_a_new_upstream_field_makes_no_version(mirror: Mirror) -> None:
    """A field added to every record is kept in place, and quarantines nothing anew."""
    records = example("edge-cases.json")
    mirror.sync(records)
    for record in records:
        if isinstance(record, dict):
            record["carrier"] = {"name": "Example"}
    assert counts(mirror.sync(records)) == {"fetched": 9, "unchanged": 6, "quarantined": 3}
    assert mirror.rows("SELECT count(*) FROM release_request_past_versions") == [(0,)]
    assert mirror.rows("SELECT count(*) FROM quarantined_records") == [(3,)]
    extras = [json.loads(row.extra) for row in mirror.query(helpers.release_requests)]
    assert all(extra["carrier"] == {"name": "Example"} for extra in extras)


def test_a_record_that_turns_invalid_keeps_its_row(mirror: Mirror) -> None:
    """The row stays as it was, is not missing, and is updated once the record is valid again."""
    mirror.sync(requests(1, 2))
    before = mirror.query(helpers.release_requests)
    invalid = [request(1, requested_at="yesterday"), request(2)]
    quarantined = {"fetched": 2, "unchanged": 1, "quarantined": 1, "newly_quarantined": 1}
    assert counts(mirror.sync(invalid)) == quarantined
    assert mirror.query(helpers.release_requests) == before
    result = mirror.sync([request(1, status="cancelled"), request(2)])
    assert counts(result) == {"fetched": 2, "updated": 1, "unchanged": 1}
    ((resolved_at,),) = mirror.rows("SELECT resolved_at FROM quarantined_records")
    assert resolved_at is not None
    assert counts(mirror.sync(invalid)) == quarantined | {"updated": 1}  # pending again
    assert mirror.rows("SELECT resolved_at FROM quarantined_records") == [(None,)]


def test_duplicates(mirror: Mirror) -> None:
    """Equal entries count once; contradicting ones are quarantined, and the row stays."""
    mirror.sync(requests(1, 2))
    before = mirror.state()["release_requests"]
    assert counts(mirror.sync(requests(1, 2, 1))) == {"fetched": 3, "unchanged": 2, "duplicates": 1}
    result = mirror.sync([*requests(1, 2), request(1, status="approved")])
    assert (result.counts.quarantined, result.counts.duplicates) == (2, 0)
    assert mirror.state()["release_requests"] == before


def test_missing_and_returned(mirror: Mirror) -> None:
    """A request that goes missing keeps its row, and its absence stays in its versions."""
    mirror.sync(requests(1, 2))
    assert counts(mirror.sync([request(2)])) == {"fetched": 1, "unchanged": 1, "missing": 1}
    assert [row.id for row in mirror.query(helpers.release_requests)] == ["request-2"]
    (missing,) = mirror.query(helpers.release_requests, missing=True)
    assert missing.missing_since == mirror.now
    assert mirror.sync(requests(2, 3)).counts.missing == 0
    back = mirror.sync([request(1, status="approved"), *requests(2, 3)])
    assert counts(back) == {"fetched": 3, "returned": 1, "unchanged": 2}
    kinds = [change.kind for change in mirror.query(helpers.changes)]
    assert sorted(kinds) == ["resolved", "returned", "vanished"]
    events = mirror.query(helpers.phone_number_history, request(1)["phone_number"])
    assert {event.event for event in events} == {"requested", "vanished", "returned", "approved"}


def test_guard(mirror: Mirror) -> None:
    """A list that lacks too many requests is refused, unless that is accepted.

    If it lacks all, the token may be that of another environment.
    """
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
            assert ("check that the token is" in str(result.failure)) is (left == 0)
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
    """A list may lack five requests, even if these are all, but must not be empty."""
    sqlite_mirror.sync(requests(*range(5)))
    result = sqlite_mirror.sync(requests(*range(5, 10)))
    assert (result.outcome, result.counts.missing) == (Outcome.APPLIED, 5)
    assert sqlite_mirror.sync([]).outcome is Outcome.REFUSED


def test_environments_are_independent(mirror: Mirror) -> None:
    """Each environment has its own list and its own missing requests."""
    mirror.sync([request(1)], environment="dev")
    mirror.sync([request(2)], environment="prod")
    assert mirror.sync(requests(1, 3), environment="dev").counts.missing == 0
    prod = mirror.query(helpers.release_requests, environment="prod")
    assert [row.id for row in prod] == ["request-2"]
    assert len(mirror.query(helpers.release_requests)) == 3


def test_mixed_up_tokens_are_refused(mirror: Mirror) -> None:
    """A request never moves from one environment to another, whatever is accepted."""
    mirror.sync([request(1)], environment="dev")
    before = mirror.state()
    result = mirror.sync(requests(1, 2), environment="prod", accept_missing=True)
    assert result.outcome is Outcome.REFUSED
    assert mirror.state() == before


@pytest.mark.parametrize("paging", ["meta", "pagination"])
def test_paged_lists_are_fetched_completely(sqlite_mirror: Mirror, paging: Any) -> None:
    """1,037 requests in pages of 100 take 11 requests, under either key."""
    sqlite_mirror.sandbox.config.paging = paging
    result = sqlite_mirror.sync(requests(*range(1037)))
    assert (result.counts.inserted, result.pages) == (1037, 11)
    assert len(sqlite_mirror.sandbox.request_log) == 11
    assert sqlite_mirror.rows("SELECT count(*) FROM release_requests") == [(1037,)]
    assert sqlite_mirror.sync().outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("known", [True, False], ids=["some are known", "a first load"])
def test_dry_run(mirror: Mirror, *, known: bool) -> None:
    """A dry run shows what would change, and changes nothing: no row, no run, no byte, no file."""
    if known:
        mirror.sync(requests(1, 2))
    before, content = everything(mirror), files(mirror)
    changed = [request(1, status="approved"), *requests(2, 3), "junk"]
    result = mirror.sync(changed, dry_run=True)
    assert (result.outcome, result.run_id) == (Outcome.DRY_RUN, None)
    assert (result.counts.inserted, result.counts.updated) == ((1, 1) if known else (3, 0))
    assert result.counts.newly_quarantined == 1
    assert [(change.request_id, change.sync_run_id) for change in result.changes] == (
        [("request-1", 0)] if known else []
    )
    assert (everything(mirror), files(mirror)) == (before, content)
    assert mirror.sync().counts == result.counts
    before, content = everything(mirror), files(mirror)
    unchanged = mirror.sync(dry_run=True)
    assert (unchanged.outcome, unchanged.counts.unchanged) == (Outcome.DRY_RUN, 3)
    refused = mirror.sync([], dry_run=True)
    assert (refused.outcome, type(refused.failure)) == (Outcome.REFUSED, GuardRefused)
    assert mirror.sync([], dry_run=True, accept_missing=True).counts.missing == 3
    mirror.sandbox.set_fault("not-found")
    failed = mirror.sync(dry_run=True)
    assert (failed.outcome, type(failed.failure), failed.run_id) == (Outcome.FAILED, ApiError, None)
    assert (everything(mirror), files(mirror)) == (before, content)


def everything(mirror: Mirror) -> tuple[object, ...]:
    """The schema, all rows, and in Postgres the sequences."""
    names = [] if mirror.url.startswith("sqlite") else ["sync_runs", "quarantined_records"]
    query = "SELECT last_value, is_called FROM {}_id_seq"
    sequences = [mirror.rows(query.format(name)) for name in names]
    with opened(mirror.url) as connection:
        return inventory(connection), rows_of(connection), sequences


def files(mirror: Mirror) -> dict[str, bytes]:
    """The files in the folder of a SQLite database."""
    if not mirror.url.startswith("sqlite"):
        return {}
    folder = Path(parse_url(mirror.url).database or "").parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_large_dry_run_restores_the_file(sqlite_mirror: Mirror) -> None:
    """Pages that SQLite had to write before the end are rolled back, also without WAL."""
    before = files(sqlite_mirror)
    sqlite_mirror.upstream.records = requests(*range(3_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mirror.db.sqlite._CACHE_KIB", 100)
        assert sqlite_mirror.sync(dry_run=True).counts.inserted == 3_000
    assert files(sqlite_mirror) == before


@pytest.mark.parametrize("kind", DATABASES)
def test_a_dry_run_without_a_mirror(
    kind: str, make_database: Callable[[str], str], sandbox: Sandbox, tmp_path: Path
) -> None:
    """It names the command to run, makes nothing, and asks the API nothing."""
    url = f"sqlite:///{tmp_path}/folder/mirror.db" if kind == "sqlite" else make_database(kind)
    arguments = ("sync", "--dry-run", "--base-url", sandbox.base_url, "--database", url)
    ran = run_mirror(*arguments, TALKOVER_TOKEN=TOKEN)
    assert (ran.code, ran.out) == (1, "")
    assert "; run `mirror sync`" in ran.err
    assert list(tmp_path.iterdir()) == []
    if kind == "postgresql":
        assert Mirror(url, sandbox, FakeUpstream()).rows(
            "SELECT count(*) FROM pg_class WHERE relname = 'alembic_version'"
        ) == [(0,)]
        return
    file = tmp_path / "empty.db"
    file.touch()
    ran = run_mirror(*arguments[:-1], f"sqlite:///{file}", TALKOVER_TOKEN=TOKEN)
    assert (ran.code, ran.out) == (1, "")
    assert "; run `mirror sync`" in ran.err
    assert ([*tmp_path.iterdir()], file.stat().st_size) == ([file], 0)
    assert sandbox.request_log == []


def test_no_upgrade_refuses_an_empty_database(new_mirror: Mirror) -> None:
    """Without permission to upgrade, the error names the command to run."""
    result = new_mirror.sync([request(1)], upgrade=False)
    assert (result.outcome, result.run_id) == (Outcome.FAILED, None)
    assert isinstance(result.failure, SchemaError)
    assert "mirror db upgrade" in str(result.failure)
    assert result.seconds >= 0


@pytest.mark.parametrize("error", [TokenRefused, ApiError])
def test_a_failed_run_is_on_record_and_changes_nothing(
    sqlite_mirror: Mirror, tmp_path: Path, error: type[MirrorError]
) -> None:
    """A refused token, or status 200 without success, leaves the rows alone and is on record."""
    sqlite_mirror.sync([request(1)])
    before, api = sqlite_mirror.state(), sqlite_mirror.api
    if error is TokenRefused:
        sqlite_mirror.sandbox.config.token = "regenerated"
    else:
        response = tmp_path / "list.json"
        response.write_text('{"success": false, "data": []}')
        sqlite_mirror.sandbox.config.file = response
    result = sync(sqlite_mirror.engine, api, "default")
    assert result.outcome is Outcome.FAILED
    assert type(result.failure) is error
    assert sqlite_mirror.state() == before
    assert sqlite_mirror.runs("outcome", "error")[-1] == ("failed", str(result.failure))
    assert TOKEN not in str(result.failure)


@pytest.mark.calendar
def test_the_clock_may_go_back(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """Versions never end before they begin, and syncs go on, whatever the clock does."""
    mirror.sync([request(1)])
    assert caplog.messages == []
    mirror.now -= timedelta(days=300)
    assert mirror.sync([request(1, status="approved")]).counts.updated == 1
    (message,) = caplog.messages
    assert "is dated 2024-01-11 13:00 UTC" in message
    first, second = mirror.rows(
        "SELECT valid_from, valid_to FROM release_request_versions ORDER BY version"
    )
    assert first[0] < first[1] == second[0]


def test_defaults_that_others_gave_to_columns(postgres_mirror: Mirror) -> None:
    """No value that upstream does not state gets into a new row."""
    for table, column, default in (
        ("release_requests", "missing_since", "now()"),
        ("release_requests", "phone_number_e164", "'+1'"),
        ("quarantined_records", "resolved_at", "now()"),
        ("sync_runs", "completion", "5"),
        ("sync_runs", "error", "'none'"),
    ):
        statement = f"ALTER TABLE {table} ALTER {column} SET DEFAULT {default}"
        with opened(postgres_mirror.url) as connection:
            connection.exec_driver_sql(statement)
    bad = request(3, status=5)
    postgres_mirror.sync([request(1)])
    postgres_mirror.sync([request(1), request(2), bad])
    assert postgres_mirror.rows(
        "SELECT id, missing_since, phone_number_e164 FROM release_requests ORDER BY id"
    ) == [("request-1", None, None), ("request-2", None, None)]
    assert postgres_mirror.rows("SELECT resolved_at FROM quarantined_records") == [(None,)]
    assert postgres_mirror.runs("completion", "error") == [(1, None), (2, None)]


def test_postgres_has_statistics_after_the_first_sync(postgres_mirror: Mirror) -> None:
    """Without statistics the second sync would compare every row with every other one."""
    size = "SELECT reltuples FROM pg_class WHERE relname = '{}'"
    postgres_mirror.sync(requests(*range(300)))
    assert postgres_mirror.rows(size.format("release_requests")) == [(300,)]
    postgres_mirror.sync(requests(*range(400), status="approved"))
    assert postgres_mirror.rows(size.format("release_requests")) == [(400,)]
    assert postgres_mirror.rows(size.format("release_request_past_versions")) == [(300,)]


def test_a_sync_logs_its_steps(sqlite_mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    """What is read, merged and committed, or rolled back, is logged with its size and time."""
    caplog.set_level("DEBUG", "mirror.sync")
    base_url = sqlite_mirror.api.base_url
    size = sqlite_mirror.sync([request(1)]).bytes
    sqlite_mirror.sync([request(1)], dry_run=True)
    messages = [re.sub(r"\d+\.\d+ s", "- s", text) for text in caplog.messages]
    assert messages == [
        f"run 1 has begun, with {base_url}",
        f"list read: 2 pages, {size} bytes in - s",
        "merged in - s",
        "committed in - s",
        f"the dry run has begun, with {base_url}",
        f"nothing new: 1 page, {size // 2} bytes in - s",
        "rolled back in - s",
    ]


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (KeyboardInterrupt, "interrupted"),
        (ZeroDivisionError, "ended by a defect of mirror; please report it"),
    ],
)
def test_what_ended_a_sync_is_on_record(
    sqlite_mirror: Mirror,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    recorded: str,
) -> None:
    """An exception that is no error of mirror is raised again after the run was recorded."""

    def fetch_list(*_: object) -> None:
        raise error

    monkeypatch.setattr("mirror.sync.run.Client.fetch_list", fetch_list)
    with pytest.raises(error):
        sqlite_mirror.sync([request(1)])
    assert sqlite_mirror.runs("outcome", "error") == [("failed", recorded)]
