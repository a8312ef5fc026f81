"""A real logical subscriber: its tables and views, readers there, and a switch to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.db.engine import read_transaction
from mirror.db.views import VIEWS
from tests.support.mirrors import stored
from tests.support.outages import (
    NEW,
    OLD,
    OutageMirror,
    outage_mirrors,
    result_of,
    run_checked,
    wait_until,
)
from tests.support.pages import OPERATIONS, blocks, section
from tests.support.postgres import Server, execute, own_server
from tests.support.upstream import request, requests

SETTINGS = ("fsync=off", "wal_level=logical", "wal_receiver_status_interval=1s")


REQUESTS = range(1, 201)


@dataclass
class Replicated:
    """A mirror that has synced OLD and NEW, and its subscriber.

    Attributes:
        publisher: the server of the mirror.
        mirror: on the publisher.
        copy: at the subscriber.
    """

    publisher: Server
    mirror: OutageMirror
    copy: OutageMirror

    def wait(self) -> None:
        """Wait until the subscriber has what the publisher has."""
        [(position,)] = execute(self.publisher.url, "SELECT pg_current_wal_lsn()")
        confirmed = (
            f"SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots"
            " WHERE slot_name = 'mirror'"
        )
        ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
        wait_until(lambda: execute(self.copy.url, ready) == [(True,)])
        wait_until(lambda: execute(self.publisher.url, confirmed) == [(True,)])

    def switch(self) -> None:
        """End the subscription."""
        self.wait()
        execute(self.copy.url, "DROP SUBSCRIPTION mirror")


@pytest.fixture
def replicated() -> Iterator[Replicated]:
    """Tables that are replicated by the statements of docs/operations.md."""
    with own_server(SETTINGS) as publisher, own_server(SETTINGS) as subscriber:
        execute(publisher.url, "CREATE ROLE replicator LOGIN REPLICATION SUPERUSER")
        with outage_mirrors() as make:
            replicated = Replicated(publisher, make(publisher.url), make(subscriber.url))
            replicated.mirror.load_old()
            (sql,) = blocks(section(OPERATIONS, "### Logical replication"), "sql")
            here = f"host={publisher.folder} dbname=postgres"
            sql = sql.replace("host=db.example.com dbname=bi", here)
            publish, subscribe = re.findall(r"^CREATE .*?;$", sql, re.MULTILINE | re.DOTALL)
            execute(publisher.url, publish)
            upgraded = run_checked("db", "upgrade", "--database", replicated.copy.command_url)
            assert upgraded.code == 0
            execute(subscriber.url, subscribe)
            assert replicated.mirror.run(NEW).code == 0
            replicated.wait()
            yield replicated


def views_of(mirror: OutageMirror) -> dict[str, list[str]]:
    """All rows of all views."""
    with read_transaction(mirror.engine) as connection:
        return {view.name: stored(connection, view.name) for view in VIEWS}


def test_a_subscriber_has_the_mirror(replicated: Replicated, tmp_path: Path) -> None:
    """Tables and views are those of the publisher, and all commands that read work."""
    mirror, copy = replicated.mirror, replicated.copy
    assert copy.has_new()
    assert copy.state() == mirror.state()
    assert views_of(copy) == views_of(mirror)
    assert copy.stored("sync_runs") == mirror.stored("sync_runs")
    for command in (
        ["status", "--max-age", "1h"],
        ["history", "+15550000001"],
        ["changes"],
        ["requests", "--missing"],
        ["db", "current"],
        ["report", "--output", f"{tmp_path}/report.html"],
    ):
        assert run_checked(*command, "--database", copy.command_url).code == 0
    doctor = run_checked(
        "doctor", "--database", copy.command_url, "--base-url", mirror.sandbox.base_url
    )
    assert "subscription" in doctor.out


def test_a_sync_arrives_as_one_transaction(replicated: Replicated) -> None:
    """Readers at the subscriber see one state, also if it has more columns than the publisher."""
    mirror, copy = replicated.mirror, replicated.copy
    execute(copy.url, "ALTER TABLE release_requests ADD COLUMN colour text")
    statuses = "SELECT DISTINCT status FROM release_requests WHERE missing_since IS NULL"
    assert mirror.run(requests(*REQUESTS)).code == 0
    for status in ("approved", "rejected", "pending"):
        wait_until(lambda: len(copy.rows(statuses)) == 1)
        assert mirror.run(requests(*REQUESTS, status=status)).code == 0
        while (seen := copy.rows(statuses)) != [(status,)]:
            assert len(seen) == 1
    assert len(copy.rows("SELECT FROM release_requests WHERE missing_since IS NULL")) == 200


def test_a_switch_to_a_subscriber(replicated: Replicated) -> None:
    """The first sync after a switch sets the sequences, says so, and goes on from there.

    What was erased stays erased, and no reader of the changes begins again.
    """
    mirror, copy = replicated.mirror, replicated.copy
    at = ["--database", mirror.command_url]
    assert run_checked("changes", "--new", *at).code == 0
    assert run_checked("db", "erase-number", "+15550000002", "--yes", *at).code == 0
    replicated.switch()
    ran = copy.run([*NEW, "rubbish"])
    assert (ran.code, result_of(ran)["outcome"]) == (3, "applied"), ran
    assert "sequence" in ran.err
    assert copy.outcomes() == ["applied"] * 3
    assert [number for (number,) in copy.runs("id")] == [1, 2, 3]
    again = copy.run([request(1, status="rejected"), request(2), *NEW[1:]])
    assert (again.code, "sequence" in again.err) == (0, False)
    numbers = copy.rows("SELECT phone_number FROM release_requests WHERE id = 'request-2'")
    assert numbers == [("erased-1",)]
    new = run_checked("changes", "--new", "--format", "json", "--database", copy.command_url)
    assert {change["sync_run_id"] for change in json.loads(new.out)} == {4}


@pytest.mark.parametrize("behind", [True, False])
def test_a_sync_at_a_subscriber_is_refused(replicated: Replicated, behind: bool) -> None:
    """It would number a run as the publisher does, and stop replication, which goes on."""
    copy = replicated.copy
    if not behind:  # as after a switch back, where the sequence is right already
        execute(copy.url, "SELECT setval('sync_runs_id_seq', 2)")
    before = copy.state()
    ran = copy.run(OLD)
    copy_runs = copy.outcomes()
    assert (ran.code, result_of(ran)["outcome"]) == (1, "failed")
    assert "subscription" in ran.err
    assert (copy.state(), copy_runs) == (before, ["applied", "applied"])
    assert replicated.mirror.run([request(1, status="rejected")]).code == 0
    replicated.wait()
    assert copy.state() == replicated.mirror.state()
