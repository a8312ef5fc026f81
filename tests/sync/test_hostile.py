"""Hostile content of a list: stored as it came, and harmless to the database.

The expected fields of an entry come from the JSON reader of the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from mirror.db import revisions
from mirror.queries import helpers
from tests.support.cli_mirror import (
    FORMATS,
    KNOWN,
    TIMES,
    CliMirror,
    as_csv,
    as_json,
    expected_fields,
    from_csv,
    from_json,
    read_json,
    storable,
    stored_fields,
    unsafe,
)
from tests.support.commands import run_mirror
from tests.support.databases import DATABASES
from tests.support.hostile import BAD, EXACT, LONGEST, NUMBER, TEXTS, entry, good_entries
from tests.support.mirrors import Mirror


def test_hostile_lists_are_applied(cli_mirror: CliMirror) -> None:
    """Good records are applied, bad ones are counted, and neither sync reports an error."""
    good, listed = len(good_entries(1)), len(good_entries(2))
    first, second = json.loads(cli_mirror.first.out), json.loads(cli_mirror.second.out)
    assert (cli_mirror.first.code, cli_mirror.first.err) == (3, "")
    assert (cli_mirror.second.code, cli_mirror.second.err) == (0, "")
    assert first["outcome"] == "applied"
    assert (first["inserted"], first["quarantined"]) == (good, len(BAD))
    assert (first["fetched"], first["duplicates"]) == (good + len(BAD), 0)
    assert second["outcome"] == "applied"
    assert second["updated"] == 2 * len(TEXTS)
    assert second["missing"] == good - listed == len(TEXTS)
    assert second["unchanged"] == listed - 2 * len(TEXTS)


def test_every_field_is_stored_as_it_came(cli_mirror: CliMirror) -> None:
    """Every field of every good record is stored, and nothing else."""
    first, second = (
        {fields["id"]: fields for fields in map(expected_fields, good_entries(turn))}
        for turn in (1, 2)
    )
    vanished = {key: fields for key, fields in first.items() if key not in second}
    for missing, expected in ((False, second), (True, vanished)):
        stored = cli_mirror.mirror.query(
            helpers.release_requests, environment="default", missing=missing
        )
        assert {row.id: stored_fields(row) for row in stored} == expected
        assert len(stored) == len(expected)


@pytest.mark.parametrize("name", EXACT)
def test_unknown_values_are_stored_exactly(cli_mirror: CliMirror, name: str) -> None:
    """No digit or level of an unknown value is lost; in SQLite also no byte."""
    query = "SELECT CAST(extra AS text) FROM release_requests WHERE id = :id"
    ((stored,),) = cli_mirror.mirror.rows(query, id=f"exact {name}")
    sent = f'{{"score":{EXACT[name]}}}'
    assert read_json(stored) == read_json(sent)
    if cli_mirror.mirror.engine.dialect.name == "sqlite":
        assert stored in {sent, f'{{"score":"{EXACT[name]}"}}'}


def test_only_bad_records_are_quarantined(cli_mirror: CliMirror) -> None:
    """The quarantine has exactly the bad records: each with its JSON, its id and a reason."""
    query = "SELECT request_id, raw, error FROM quarantined_records WHERE environment = 'default'"
    errors = {(request_id, raw): error for request_id, raw, error in cli_mirror.mirror.rows(query)}
    assert set(errors) == {bad.row for bad in BAD}
    for bad in BAD:
        assert bad.reason in errors[bad.row]
        assert not unsafe(errors[bad.row])


def test_both_databases_hold_the_same(cli_mirrors: Callable[[str], CliMirror]) -> None:
    """Rows, versions and quarantine do not depend on the kind of database."""
    names = ", ".join(sorted(KNOWN - TIMES))
    for query in (
        f"SELECT CAST(extra AS text), {names}, missing_since IS NULL FROM release_requests",
        f"SELECT CAST(extra AS text), {names} FROM release_request_past_versions",
        "SELECT request_id, raw, error, fingerprint FROM quarantined_records",
        "SELECT phone_number, request_id, status, event FROM phone_number_history",
    ):
        rows, others = (
            cli_mirrors(kind).mirror.rows(f"{query} WHERE environment = 'default'")
            for kind in DATABASES
        )
        if query.startswith("SELECT CAST"):  # Postgres writes the same JSON in another way
            rows, others = (
                [(*row, extra and read_json(extra)) for extra, *row in found]
                for found in (rows, others)
            )
        assert sorted(rows, key=repr) == sorted(others, key=repr)
    times = [
        [(row["id"], row["requested_at"], row["resolved_at"]) for row in rows]
        for rows in (cli_mirrors(kind).rows_of("requests") for kind in DATABASES)
    ]
    assert times[0] == times[1]


def test_nothing_was_injected(cli_mirror: CliMirror) -> None:
    """The database has its own tables and views, at its own revision, and is intact."""
    mirror = cli_mirror.mirror
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view')",
        "postgresql": "SELECT table_name FROM information_schema.tables "
        "WHERE table_schema = 'public'",
    }[mirror.engine.dialect.name]
    assert {name for (name,) in mirror.rows(query)} - {"sqlite_sequence"} == {
        "alembic_version", "change_cursors", "erased_requests", "erasures",
        "phone_number_history", "phone_numbers",
        "quarantined_records",
        "release_request_changes", "release_request_past_versions", "release_request_turnaround",
        "release_request_versions", "release_requests", "release_requests_daily", "sync_runs",
    }  # fmt: skip
    assert mirror.query(revisions.current) == revisions.known()[-1]
    if mirror.engine.dialect.name == "sqlite":
        assert mirror.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("name", TEXTS)
def test_a_filter_finds_a_hostile_text(cli_mirrors: Callable[[str], CliMirror], name: str) -> None:
    """A filter by a hostile status or number finds the requests that have it, and no others."""
    text = storable(TEXTS[name])
    mirror = cli_mirrors("sqlite" if name < "lines" else "postgresql").mirror
    marked = {mark: (mark + text)[:LONGEST] for mark in "abc2"}
    rows = mirror.query(helpers.release_requests, status=marked["2"])
    assert {row.id for row in rows} == {marked["a"], marked["b"]}
    query = "SELECT id FROM release_requests WHERE phone_number = :number ORDER BY id"
    assert mirror.rows(query, number=text[:LONGEST]) == [(marked["a"],), (marked["c"],)]


def test_changes_and_history_have_hostile_statuses(cli_mirror: CliMirror) -> None:
    """Changes and history have each status as it came."""
    before, after = (
        {fields["id"]: fields["status"] for fields in map(expected_fields, good_entries(turn))}
        for turn in (1, 2)
    )
    changed = {
        (key, status, after[key])
        for key, status in before.items()
        if after.get(key, status) != status
    }
    vanished = {(key, status, status) for key, status in before.items() if key not in after}
    changes = cli_mirror.mirror.query(helpers.changes, environment="default")
    assert {(row.request_id, row.old_status, row.new_status) for row in changes} == (
        changed | vanished
    )
    events = cli_mirror.mirror.query(helpers.phone_number_history, NUMBER)
    assert {event.event for event in events} == {"requested"} | {
        status
        for request_id, *statuses in changed
        if request_id.startswith("b")
        for status in statuses
    }


def test_a_megabyte_is_stored_and_printed(mirror: Mirror) -> None:
    """A megabyte in any text is stored whole, and printed whole in all three formats."""
    long = TEXTS["c0"] + TEXTS["bidi"] + "\0" + "long " * 200_000
    good = entry(reason=long, rejection_reason=long, **{long: long})
    bad = entry(id="bad", status=None, reason=long)
    result = mirror.sync([good, bad])
    assert (result.counts.inserted, result.counts.quarantined) == (1, 1)
    (row,) = mirror.query(helpers.release_requests)
    assert stored_fields(row) == expected_fields(good)
    assert mirror.rows("SELECT raw FROM quarantined_records") == [(bad.decode(),)]
    if mirror.engine.dialect.name == "postgresql":
        return  # the output does not depend on the database
    command = ("requests", "--database", mirror.url, "--format")
    printed = {name: run_mirror(*command, name).out for name in FORMATS}
    rows = [asdict(row)]
    assert from_json(printed["json"]) == as_json(rows)
    assert from_csv(printed["csv"]) == as_csv(rows)
    assert printed["table"].count("\n") == 2
    assert not unsafe(printed["table"].replace("\t", ""))
