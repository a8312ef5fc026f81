"""The stored digests are no more than a shortcut: whatever they are, the mirror converges."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.db import revisions
from mirror.db.engine import write_transaction
from mirror.db.runs import Counts, Outcome
from mirror.errors import DatabaseUnavailable
from tests.support.mirrors import Mirror
from tests.support.upstream import request

LIST = [request(number) for number in range(120)]
DIGESTS = "SELECT id, digest FROM release_requests ORDER BY id"

TAMPERED = {
    "emptied": "digest = NULL",
    "wrong": "digest = digest + 1",
    "all the same": "digest = (SELECT max(digest) FROM release_requests)",
    "half of them wrong": "digest = CASE WHEN id < 'request-5' THEN 0 ELSE digest END",
    "of another version": "digest = -digest",
}


def tamper(mirror: Mirror, change: str) -> None:
    """Change the digests of all requests, and forget which list was applied last."""
    with write_transaction(mirror.engine, "test") as connection:
        tamper_in(connection, change)
        connection.exec_driver_sql("UPDATE sync_runs SET content_digest = '', etag = NULL")


def tamper_in(connection: Connection, change: str) -> None:
    """Change the digests of all requests."""
    if change == "swapped":
        swap(connection)
    else:
        connection.exec_driver_sql(f"UPDATE release_requests SET {TAMPERED[change]}")


def swap(connection: Connection) -> None:
    """Give each request the digest of another one."""
    rows = connection.exec_driver_sql(DIGESTS).all()
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        connection.exec_driver_sql(
            f"UPDATE release_requests SET digest = {mark} WHERE id = {mark}", (other.digest, row.id)
        )


def changed_list() -> tuple[list[dict[str, Any]], Counts]:
    """The list after some changes, and what the next sync counts."""
    changed = [request(number, status="approved") for number in range(7)]
    new = [request(number) for number in range(200, 203)]
    invalid = [request(119, status=5)]
    entries = [*changed, *LIST[7:110], *LIST[113:119], *invalid, *new, LIST[50]]
    return entries, Counts(
        fetched=121,
        inserted=3,
        updated=7,
        unchanged=109,
        missing=3,
        quarantined=1,
        newly_quarantined=1,
        duplicates=1,
    )


@pytest.mark.parametrize("change", [*TAMPERED, "swapped"])
def test_the_same_list_with_other_digests(mirror: Mirror, change: str) -> None:
    """One sync sets the digests right; no version is forged and nothing else is written."""
    mirror.sync(LIST)
    before, digests = mirror.state(), mirror.rows(DIGESTS)
    tamper(mirror, change)
    assert mirror.rows(DIGESTS) != digests
    result = mirror.sync()
    assert (result.outcome, result.counts) == (
        Outcome.APPLIED,
        Counts(fetched=120, unchanged=120),
    )
    assert (mirror.state(), mirror.rows(DIGESTS)) == (before, digests)


@pytest.mark.parametrize("change", [*TAMPERED, "swapped"])
def test_another_list_with_other_digests(mirror: Mirror, change: str) -> None:
    """Exactly what changed upstream gets a version, as it would with the right digests."""
    mirror.sync(LIST)
    tamper(mirror, change)
    entries, counts = changed_list()
    assert mirror.sync(entries).counts == counts
    past = mirror.rows("SELECT id FROM release_request_past_versions ORDER BY id")
    assert len(past) == counts.updated + counts.missing
    assert mirror.sync([*entries[1:], entries[0]]).counts == Counts(
        fetched=121, unchanged=119, quarantined=1, duplicates=1
    )
    missing = mirror.rows("SELECT id FROM release_requests WHERE missing_since IS NOT NULL")
    assert sorted(row[0] for row in missing) == ["request-110", "request-111", "request-112"]


def test_only_entries_with_another_digest_are_compared(mirror: Mirror) -> None:
    """A request that was tampered with is corrected only once its entry changes.

    That is the bargain of digests: the mirror trusts its own rows.
    """
    mirror.sync(LIST)
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("UPDATE release_requests SET reason = 'tampered with'")
    assert mirror.sync(LIST[::-1]).counts.unchanged == 120
    assert mirror.rows("SELECT DISTINCT reason FROM release_requests") == [("tampered with",)]
    assert mirror.sync([request(0, status="approved"), *LIST[1:]]).counts.updated == 1
    assert mirror.rows("SELECT count(*) FROM release_requests WHERE reason <> 'tampered with'") == [
        (1,)
    ]


def test_another_notation_updates_the_digest(mirror: Mirror) -> None:
    """An entry that is written otherwise, or has unknown fields, is compared once."""
    mirror.sync(LIST)
    first = mirror.rows(DIGESTS)
    spaced = [json.loads(json.dumps(entry)) | {"score": 1} for entry in LIST]
    for number in range(3):
        result = mirror.sync([*spaced[number:], *spaced[:number]])
        assert result.counts == Counts(fetched=120, unchanged=120)
    second = mirror.rows(DIGESTS)
    assert [row[0] for row in first] == [row[0] for row in second]
    assert not {row[1] for row in first} & {row[1] for row in second}
    assert mirror.rows("SELECT count(*) FROM release_request_past_versions") == [(0,)]


def test_the_same_id_in_two_environments(mirror: Mirror) -> None:
    """Digests of another environment do not count; the guard names the request."""
    mirror.sync(LIST)
    result = mirror.sync([*LIST[:1], request(500)], environment="other")
    assert result.outcome is Outcome.REFUSED
    assert "request-0, which belongs to the environment 'default'" in str(result.failure)
    assert mirror.sync([request(500)], environment="other").counts.inserted == 1
    assert mirror.sync([*LIST[::-1]]).counts == Counts(fetched=120, unchanged=120)


def test_a_missing_request_returns_unchanged(mirror: Mirror) -> None:
    """The digest of a missing request does not make it listed again; its entry does."""
    mirror.sync(LIST)
    assert mirror.sync(LIST[1:]).counts.missing == 1
    assert mirror.sync([LIST[2], LIST[1], *LIST[3:]]).counts == Counts(fetched=119, unchanged=119)
    assert mirror.sync(LIST).counts == Counts(fetched=120, unchanged=119, returned=1)
    assert mirror.rows("SELECT count(*) FROM release_requests WHERE missing_since IS NOT NULL") == [
        (0,)
    ]


@pytest.mark.parametrize("change", ["emptied", "wrong", "swapped"])
def test_digests_that_change_during_the_fetch(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A list compared with other digests than the stored ones is not applied; the next one is."""
    mirror.sync(LIST)
    with monkeypatch.context() as patch:
        require_current = revisions.require_current

        def tamper(connection: Connection) -> None:
            tamper_in(connection, change)
            require_current(connection)

        patch.setattr(revisions, "require_current", tamper)
        result = mirror.sync(LIST[3:])
    assert result.outcome is Outcome.FAILED
    assert isinstance(result.failure, DatabaseUnavailable)
    assert mirror.sync().counts == Counts(fetched=117, unchanged=117, missing=3)
