"""`mirror db erase-number`: what it erases, what stays, and what later syncs make of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror import erasure
from mirror.config.settings import ApiSettings, Secret
from mirror.db import erasures, models
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.erasures import marked_object
from mirror.errors import DatabaseError
from mirror.numbers.mentions import mentions
from mirror.queries import helpers
from mirror.sync import compare
from mirror.sync.run import Result, sync
from tests.support.commands import Ran, run_mirror, run_on_a_terminal
from tests.support.http_servers import HttpRequest, ScriptedServer, envelope, http
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request, requests

NUMBER = "+15551234567"
SPELLED = "tel:+1-555-123-4567"
SECRETS = ("5551234567", "123-4567", "SECRET")
"""Nothing of these is in the database after an erasure."""

OTHERS = requests(*range(11, 30))
JUNK = {"id": 7, "phone_number": "(555) 123-4567", "reason": "SECRET"}
"""An entry without a usable id."""


def erase(mirror: Mirror, number: str = NUMBER, *options: str) -> Ran:
    """Erase a number without a question."""
    return run_mirror("db", "erase-number", number, "--yes", *options, "--database", mirror.url)


def person(number: int, **fields: Any) -> dict[str, Any]:
    """A request of the number, with texts about its owner."""
    texts = {"phone_number_id": f"SECRET-{number}", "reason": f"SECRET reason {number}"}
    return request(number, **{"phone_number": NUMBER, **texts, **fields})


REJECTED = {
    "status": "rejected",
    "resolved_at": "2024-01-11T13:30:00Z",
    "rejection_reason": "SECRET debt",
}
FIRST = [
    person(1, note="SECRET note"),
    person(2, phone_number=SPELLED),
    person(3),
    person(4, requested_at="SECRET time"),  # no row of its own
]
SECOND = [FIRST[0] | REJECTED, FIRST[1], person(3, requested_at="SECRET time"), FIRST[3]]


def test_every_text_is_erased_or_stays_on_purpose() -> None:
    """A new text about a number or its owner is erased too, and a change of it makes a version."""
    texts = {
        column.name
        for column in models.release_requests.columns
        if isinstance(column.type, (sa.Text, sa.String))
    }
    erased = {*erasures.TEXTS, "phone_number"}
    assert texts - erased == {"id", "environment", "status", "phone_number_e164"}
    assert erased <= {*compare.KNOWN_FIELDS}


def counts(mirror: Mirror) -> dict[str, list[tuple[Any, ...]]]:
    """What is the same before and after an erasure."""
    queries = {
        "release_requests_daily": "*",
        "release_request_turnaround": "id, status, requested_at, resolved_at, hours_to_resolve",
        "release_request_versions": "id, version, status, valid_from, valid_to, missing_since",
        "release_request_changes": "request_id, kind, changed_at, old_status, new_status",
        "quarantined_records": "id, request_id, error, first_run_id, last_run_id, resolved_at",
    }
    return {
        name: sorted(mirror.rows(f"SELECT {columns} FROM {name}"), key=str)
        for name, columns in queries.items()
    }


def leaks(mirror: Mirror) -> list[str]:
    """Rows with something that was erased, and the files of SQLite that hold its bytes."""
    found = [
        row
        for table in models.metadata.tables
        for row in mirror.stored(table)
        if any(secret in row for secret in SECRETS)
    ]
    if mirror.engine.dialect.name == "sqlite":
        file = Path(str(mirror.engine.url.database))
        for path in (file, Path(f"{file}-wal")):
            data = path.read_bytes() if path.exists() else b""
            found += [f"{path.name}: {secret}" for secret in SECRETS if secret.encode() in data]
    return found


def test_a_number_is_erased_for_good(mirror: Mirror) -> None:
    """All of it goes, and all counts stay; no later sync brings it back, whatever the list does."""
    mirror.sync([*FIRST, JUNK, *OTHERS])
    mirror.sync([*SECOND, JUNK, *OTHERS])
    before, events = counts(mirror), len(mirror.query(helpers.phone_number_history, NUMBER))
    ran = erase(mirror, "(555) 123-4567", "--region", "US")
    assert (ran.code, ran.out) == (0, "")
    assert "found in default: 3 requests, 1 past version and 3 records in quarantine" in ran.err
    assert f"stored as {SPELLED} (another notation of {NUMBER}" in ran.err
    assert f"stored as {NUMBER} " in ran.err
    assert "erased as erased-1" in ran.err
    assert "backups" in ran.err
    assert leaks(mirror) == []
    assert counts(mirror) == before
    assert mirror.rows("SELECT requests FROM phone_numbers WHERE phone_number = 'erased-1'") == [
        (3,)
    ]
    history = run_mirror("history", "erased-1", "--format", "json", "--database", mirror.url)
    assert len(json.loads(history.out)) == events
    assert mirror.rows(
        "SELECT id, requests, past_versions, quarantined, runs, cleaned_at IS NULL FROM erasures"
    ) == [(1, 3, 1, 3, 0, False)]
    assert mirror.sync().outcome == "unchanged"

    lists = [
        [*SECOND, JUNK],
        [record | {"reason": "SECRET 2", "note": "SECRET 3"} for record in SECOND] + [JUNK],
        [*SECOND[1:], JUNK],  # the first one is missing
        [*FIRST[:3], person(4), JUNK],  # it returns, and all can be read
        [FIRST[0], FIRST[0] | REJECTED, *FIRST[1:], JUNK],  # contradicting entries
        [person(1, phone_number="+15550009999"), *FIRST[1:3]],  # a corrected number
    ]  # fmt: skip
    results = []
    for number, records in enumerate(lists):
        result = mirror.sync([*records, *OTHERS, *requests(*range(50, 51 + number))])
        assert (result.outcome, leaks(mirror)) == ("applied", []), records
        found = result.counts
        results.append((found.inserted, found.updated, found.missing, found.newly_quarantined))
    # The texts of an erased request make no version; its status and times do, as for any other.
    assert results == [
        (1, 0, 0, 0), (1, 0, 0, 0), (1, 0, 1, 0), (2, 0, 0, 0), (1, 0, 0, 3), (1, 0, 1, 0),
    ]  # fmt: skip
    assert mirror.rows(
        "SELECT id, phone_number, phone_number_id, reason, status, missing_since IS NULL "
        "FROM release_requests WHERE phone_number = 'erased-1' ORDER BY id"
    ) == [
        ("request-1", "erased-1", "erased-1", "erased-1", "pending", True),
        ("request-2", "erased-1", "erased-1", "erased-1", "pending", True),
        ("request-3", "erased-1", "erased-1", "erased-1", "pending", True),
        ("request-4", "erased-1", "erased-1", "erased-1", "pending", False),
    ]
    assert mirror.query(helpers.release_requests, number="+15550009999") == []

    # Taken back, the next sync stores again what the list still has, though it is the same list.
    undone = run_mirror("db", "erase-number", "erased-1", "--undo", "--database", mirror.url)
    assert (undone.code, "took erased-1 back" in undone.err) == (0, True)
    assert mirror.sync().outcome == "applied"
    restored = mirror.query(helpers.release_requests, number=NUMBER)
    assert [row.phone_number for row in restored] == [SPELLED, NUMBER]
    assert mirror.sync().outcome == "unchanged"
    again = run_mirror("db", "erase-number", "erased-1", "--undo", "--database", mirror.url)
    assert (again.code, "there is no erasure 'erased-1'" in again.err) == (2, True)
    assert "erased as erased-2" in erase(mirror).err


@pytest.fixture
def found_mirror(sqlite_mirror: Mirror) -> Mirror:
    """Two environments with the number, and other requests whose texts have it."""
    mirror = sqlite_mirror
    mention = request(5, reason="Moved to +1 (555) 123-4567", extra_field="SECRET")
    garbled = request(6, requested_at="soon", reason="Moved to 001 555 123 4567")
    mirror.sync([person(1), mention, garbled, *OTHERS], environment="prod")
    mirror.sync([person(2), *requests(*range(31, 40))], environment="dev")
    return mirror


def test_what_is_found_is_shown_first(found_mirror: Mirror) -> None:
    """Nothing is erased in a dry run, without a terminal, or after a no."""
    mirror = found_mirror
    before = mirror.state()
    command = ("db", "erase-number", NUMBER, "--database", mirror.url)
    shown = [
        f"mirror: stored as {NUMBER}",
        "mirror: found in dev, prod: 2 requests, 0 past versions and 1 record in quarantine",
        "mirror: not erased: 1 other request mentions the number in a text: request-5",
    ]
    ran = run_mirror(*command, "--dry-run")
    assert (ran.code, ran.err.splitlines()) == (0, shown)
    ran = run_mirror(*command)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        *shown,
        "mirror: nobody can be asked whether to erase a number; confirm it with --yes",
    ]
    ran, screen = run_on_a_terminal("-m", "mirror", *command, merge=True, typed="n\n")
    assert (ran.code, "nothing was erased" in screen) == (1, True)
    assert mirror.state() == before
    assert "erased as erased-1" in erase(mirror).err
    assert mirror.rows("SELECT count(*) FROM phone_numbers WHERE phone_number = 'erased-1'") == [
        (2,)  # one in each environment
    ]
    ran = run_mirror(*command, "--dry-run")
    assert ran.err.splitlines() == [f"mirror: the mirror holds nothing of {NUMBER}", shown[2]]
    # Of a request with another number only the record in quarantine is erased.
    mirror.sync([person(1), request(6, requested_at="soon", reason="0015551234567"), *OTHERS],
                environment="prod")  # fmt: skip
    assert mirror.rows("SELECT raw FROM quarantined_records WHERE resolved_at IS NULL") == [
        (
            json.dumps(
                request(6, requested_at="soon", reason="0015551234567"), separators=(",", ":")
            ),
        )
    ]


def test_one_environment(found_mirror: Mirror) -> None:
    """With --environment the others keep the number; an unknown one is refused."""
    mirror = found_mirror
    mirror.sync([person(1), JUNK, *OTHERS], environment="prod")
    mirror.sync([person(2), JUNK, *requests(*range(31, 40))], environment="dev")
    assert "found in dev: 1 request" in erase(mirror, NUMBER, "--environment", "dev").err
    query = "SELECT environment FROM release_requests WHERE phone_number = :number"
    assert mirror.rows(query, number=NUMBER) == [("prod",)]
    ran = erase(mirror, NUMBER, "--environment", "nowhere")
    assert (ran.code, "there is no environment 'nowhere' on record" in ran.err) == (2, True)
    assert erase(mirror, NUMBER, "--environment", "prod").code == 0  # also of the same junk
    assert {raw for (raw,) in mirror.rows("SELECT raw FROM quarantined_records")} == {
        '"erased-1"', '"erased-2"',
    }  # fmt: skip
    ran = erase(mirror, "erased-1", "--undo", "--dry-run")
    assert (ran.code, "--undo takes an erasure back as a whole" in ran.err) == (2, True)
    # An environment that was renamed keeps its erasures.
    run_mirror("db", "rename-environment", "dev", "new", "--database", mirror.url)
    mirror.sync([person(2, reason="SECRET 2"), *requests(*range(31, 41))], environment="new")
    assert mirror.rows(query, number="erased-1") == [("new",)]
    # So does one that was forgotten.
    forget = ("db", "forget-environment", "new", "--with-requests", "--yes")
    run_mirror(*forget, "--database", mirror.url)
    mirror.sync([person(2), *requests(*range(31, 40))], environment="again")
    assert mirror.rows(query, number="erased-1") == [("again",)]


def test_a_first_sync_beside_an_erasure(postgres_mirror: Mirror) -> None:
    """An erasure waits for the sync of an environment that nobody knew when it began."""
    mirror, other = postgres_mirror, create_engine(postgres_mirror.url)
    mirror.sync([person(1), *OTHERS])
    merged, released, places = threading.Event(), threading.Event(), count()

    def before_commit(_: Connection) -> None:
        if next(places) == 1:  # after that of the beginning
            merged.set()
            released.wait()

    def sync_first(*event: Any) -> None:
        if "pg_advisory_xact_lock" in event[2] and not syncs:
            syncs.append(pool.submit(mirror.sync, [person(50)], environment="new"))
            merged.wait()

    sa.event.listen(mirror.engine, "commit", before_commit)
    sa.event.listen(other, "before_cursor_execute", sync_first)
    syncs: list[Future[Result]] = []
    with ThreadPoolExecutor() as pool, ExitStack() as at_the_end:
        for event in (merged, released):
            at_the_end.callback(event.set)
        erased = pool.submit(erasure.erase, other, NUMBER, now=mirror.now)
        assert merged.wait(60)
        with pytest.raises(TimeoutError):
            erased.result(timeout=0.1)
        released.set()
        assert erased.result(timeout=60)[1].requests == 2
        assert syncs[0].result(timeout=60).outcome == "applied"
    assert leaks(mirror) == []


def test_numbers_that_are_not_erased(sqlite_mirror: Mirror) -> None:
    """A mark, a number that may be two, and what is no number are refused; nothing is an answer."""
    mirror = sqlite_mirror
    assert erase(mirror).code == 0
    two = ("+551155550123", "+441155550123")
    mirror.sync([request(1, phone_number="1155550123"), *OTHERS])
    assert erase(mirror, "erased-1").code == 2
    assert erase(mirror, "hello").code == 2
    for more in ("+1 212 555 0123/24", f"{NUMBER} ext. 45", f"{NUMBER} / +15550009999"):
        assert (erase(mirror, more).code, erase(mirror, more).out) == (2, "")
    ran = erase(mirror, "+15550009999")
    assert (ran.code, ran.err) == (0, "mirror: the mirror holds nothing of +15550009999\n")
    mirror.sync([request(1, phone_number="1155550123"), request(2, phone_number=two[0]), *OTHERS])
    ran = erase(mirror, "11 5555-0123", "--region", "BR", "--dry-run")
    assert (ran.code, f"stored as {two[0]}" in ran.err) == (0, True)


def test_numbers_without_a_country_code(
    sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named if they may be the number, and erased with the region that they belong to."""
    mirror = sqlite_mirror
    national = ("(555) 123-4567", "555-123-4567", "5551234567")
    stored = dict(enumerate([*national, NUMBER, SPELLED, "(555) 123-4568", "+445551234567"], 1))
    mirror.sync([*(request(n, phone_number=text) for n, text in stored.items()), *OTHERS])
    told = "may be this number; name each one itself, or give its country with --region\n"
    command = ("db", "erase-number", "--dry-run", "--database", mirror.url)
    for number, options, found, not_erased in (
        (NUMBER, (), 2, ", ".join(national)),
        (national[0], (), 1, ", ".join(["+15551234567", "+445551234567", *national[1:], SPELLED])),
        (national[0], ("--region", "US"), 5, "+445551234567"),
        (NUMBER, ("--region", "US"), 5, ""),
        ("+495551234567", (), 0, ", ".join(national)),
    ):
        err = run_mirror(*command, number, *options).err
        assert (f"found in default: {found} request" in err) == (found > 0), err
        named = err.partition("not erased: ")[2].removesuffix(told).strip()
        assert sorted(named.split(", ")) == sorted(not_erased.split(", ")), err
        assert "holds nothing" not in err

    def refuse(*_: object) -> None:
        raise DatabaseError("only their owner may vacuum it", hint="run it as their owner")

    # What was not cleaned is said by the exit code, and cleaned by the same command.
    with monkeypatch.context() as patch:
        patch.setattr(erasure, "vacuum", refuse)
        ran = erase(mirror, NUMBER, "--region", "US")
        assert (ran.code, "run it as their owner" in ran.err) == (1, True)
    assert erase(mirror, NUMBER, "--region", "US").code == 0
    assert erasure.is_clean(mirror.engine)
    assert erase(mirror, "+445551234567").code == 0
    undone = run_mirror("db", "erase-number", "erased-1", "--undo", "--database", mirror.url)
    assert "that may have a number of erased-2 again" in undone.err


def test_all_or_nothing(sqlite_mirror: Mirror) -> None:
    """An erasure that fails half-way changes nothing, and a sync that runs meanwhile is right."""
    mirror = sqlite_mirror
    mirror.sync([*FIRST, *OTHERS])
    before = mirror.state()
    trigger = (
        "CREATE TRIGGER fails BEFORE UPDATE ON quarantined_records BEGIN "
        "SELECT RAISE(ABORT, 'no'); END"
    )
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql(trigger)
    assert erase(mirror).code == 1
    assert (mirror.state(), mirror.stored("erasures")) == (before, [])
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("DROP TRIGGER fails")


def test_a_sync_that_runs_meanwhile(make_ready_database: Callable[[str], str]) -> None:
    """It was begun before the erasure and ends after it, and brings nothing back.

    One that was begun before an erasure is taken back does not keep the next one from reading.
    """
    engine = create_engine(make_ready_database("sqlite"))
    first, second = (
        http(200, envelope([*records, *OTHERS], meta={"current_page": 1, "last_page": 1}))
        for records in (FIRST, SECOND)
    )

    def erasing(_: HttpRequest) -> bytes:
        erasure.erase(engine, NUMBER, now=datetime.now(UTC))
        return second

    def undoing(_: HttpRequest) -> bytes:
        erasure.undo(engine, "erased-1", now=datetime.now(UTC))
        return second

    def stored() -> set[str]:
        with read_transaction(engine) as connection:
            versions = connection.scalars(sa.select(models.release_requests.c.phone_number))
            return {NUMBER, SPELLED, "erased-1"}.intersection(versions)

    with ScriptedServer([first, erasing, undoing, second]).running() as server:
        api = ApiSettings(server.base_url, Secret(TOKEN))
        results = [(sync(engine, api, "default").outcome, stored()) for _ in range(4)]
    assert results == [
        ("applied", {NUMBER, SPELLED}),
        ("applied", {"erased-1"}),
        ("unchanged", {"erased-1"}),
        ("applied", {NUMBER, SPELLED}),
    ]


def test_a_reader_keeps_the_bytes(sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads, the WAL cannot be emptied: 75; the same command does it later."""
    monkeypatch.setattr("mirror.db.lock_waits.LOCK_WAIT", 0.01)
    mirror = sqlite_mirror
    mirror.sync([*FIRST, *OTHERS])
    with read_transaction(mirror.engine) as reader:
        reader.execute(sa.select(models.sync_runs.c.id)).all()
        ran = erase(mirror)
        assert (ran.code, "run the same command again" in ran.err) == (75, True)
        assert [row for row in leaks(mirror) if "SECRET" in row]
    assert not erasure.is_clean(mirror.engine)
    assert erase(mirror).code == 0
    assert leaks(mirror) == []
    assert erasure.is_clean(mirror.engine)


def test_errors_of_runs(sqlite_mirror: Mirror) -> None:
    """The error of a run that quotes the number becomes the mark."""
    mirror = sqlite_mirror
    mirror.sync(OTHERS)
    with write_transaction(mirror.engine, "test") as connection:
        connection.execute(sa.update(models.sync_runs).values(error="answered: 1-555-123-4567"))
    assert "1 error of runs" in erase(mirror).err
    assert mirror.runs("error") == [("erased-1",)]


@pytest.mark.parametrize(
    ("text", "is_in"),
    [
        ('{"n": "+1 (555) 123-4567"}', True),
        ('{"n": "001-555.123.4567"}', True),
        ('{"n": 15551234567}', True),
        ('{"n": 5551234567.0}', True),
        (r'{"n": "\u002b1\u0035551234567"}', True),
        ('{"n": "\uff11\uff15\uff15\uff15\uff11\uff12\uff13\uff14\uff15\uff16\uff17"}', True),
        (r'{"n": "555\/123\t4567"}', True),
        ("tel:+1-555-123-4567;ext=5", True),
        ('["555","123","4567"]', False),
        ("25551234567", False),
        ("55512345678", False),
        ("555 123 4568", False),
    ],
)
def test_mentions(text: str, *, is_in: bool) -> None:
    """A number is found in a text in every usual notation, and no longer number is taken for it."""
    assert mentions(NUMBER)(text) is is_in


def test_mentions_of_texts() -> None:
    """What is no number in E.164 form is found by its digits, or as a whole text."""
    assert mentions("055 1234567")('"0551234567"')
    assert mentions("anonymous")('{"phone_number": "anonymous"}')
    assert not mentions("anonymous")('{"reason": "an anonymous call"}')
    assert not mentions("12")('{"n": "+1200"}')


def test_unknown_fields_of_an_erased_request(sqlite_mirror: Mirror) -> None:
    """A later sync has the mark in their place too."""
    sqlite_mirror.sync([request(1, carrier="Example")])
    erasure.erase(sqlite_mirror.engine, request(1)["phone_number"], now=sqlite_mirror.now)
    sqlite_mirror.sync([request(1, carrier="Example", status="approved")])
    [(status, extra)] = sqlite_mirror.rows("SELECT status, extra FROM release_requests")
    assert (status, json.loads(extra)) == ("approved", marked_object("erased-1"))
