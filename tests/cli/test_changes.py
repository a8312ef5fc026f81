"""`mirror changes`: the fields that changed, the changes of a run, and those new to a reader."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest

from mirror import cli
from mirror.db import environments
from mirror.queries import cursors
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import request

APPROVED = {"status": "approved", "resolved_at": "2024-01-11T10:00:00Z"}

Seen = list[tuple[str, str]]


def changes(mirror: Mirror, *options: str) -> Ran:
    """Run `mirror changes`."""
    return run_mirror("changes", *options, "--database", mirror.url)


def new(mirror: Mirror, *options: str) -> Seen:
    """The environment and request of each change that `--new` shows."""
    ran = changes(mirror, "--new", "--format", "json", *options)
    assert ran.code == 0
    return [(row["environment"], row["request_id"]) for row in json.loads(ran.out)]


def test_what_a_run_saw(mirror: Mirror) -> None:
    """Changes are listed newest first, with the fields that changed; or those of a run."""
    mirror.sync([request(1), request(2)])
    mirror.sync([request(1, **APPROVED), request(2)])
    mirror.sync([request(1, **APPROVED, reason="Another")])
    mirror.sync([request(1, **APPROVED, reason="Another"), request(2, phone_number="+15559990000")])
    rows = json.loads(changes(mirror, "--format", "json").out)
    assert [(row["kind"], row["sync_run_id"], row["changed_fields"]) for row in rows] == [
        ("corrected", 4, ["phone_number"]),
        ("returned", 4, []),
        ("corrected", 3, ["reason"]),
        ("vanished", 3, []),
        ("resolved", 2, ["status", "resolved_at"]),
    ]
    table = changes(mirror, "--run", "2", "--format", "csv").out
    (row,) = csv.DictReader(io.StringIO(table))
    assert (row["request_id"], row["changed_fields"]) == ("request-1", "status,resolved_at")
    assert changes(mirror, "--run", "2").out.splitlines()[1].endswith("\tstatus,resolved_at")
    limited = changes(mirror, "--limit", "2", "--sort", "kind", "--columns", "kind")
    assert limited.out.split() == ["kind", "corrected", "corrected"]
    assert limited.err == "mirror: 2 of 5 shown; --limit sets how many\n"
    view = mirror.rows(
        "SELECT changed_fields FROM release_request_changes "
        "WHERE ',' || changed_fields || ',' LIKE '%,resolved_at,%'"
    )
    assert view == [("status,resolved_at",)]


def test_a_run_without_changes(sqlite_mirror: Mirror) -> None:
    """A sentence says why a run has no changes, or that there is no such run."""
    sqlite_mirror.sync([request(1)])
    for number in ("2", "-1", str(2**70)):
        ran = changes(sqlite_mirror, "--run", number, "--format", "json")
        assert (ran.code, ran.out) == (0, "[]\n")
        assert ran.err == f"mirror: there is no run {number}; the last one is 1\n"
    assert changes(sqlite_mirror, "--run", "1").err == (
        "mirror: run 1 of 'default' (applied) saw no such change; a request that is seen for the "
        "first time is not a change\n"
    )


def test_new_changes(mirror: Mirror) -> None:
    """Each reader sees each change of each environment once, whatever the times of the syncs."""
    for environment, number in (("dev", 1), ("prod", 11)):
        mirror.sync([request(number), request(number + 1)], environment=environment)
    assert new(mirror) == []
    mirror.now += timedelta(days=1)
    mirror.sync([request(1, **APPROVED), request(2)], environment="dev")
    assert new(mirror) == [("dev", "request-1")]
    mirror.now -= timedelta(days=1)  # committed later, with an earlier time
    mirror.sync([request(11), request(12, **APPROVED)], environment="prod")
    assert new(mirror, "--environment", "dev") == []
    assert new(mirror) == [("prod", "request-12")]
    assert new(mirror) == []
    assert new(mirror, "--cursor", "slack", "--environment", "prod") == [("prod", "request-12")]
    assert new(mirror, "--cursor", "slack") == [("dev", "request-1")]
    with_sentence = changes(mirror, "--new")
    assert with_sentence.err == "mirror: the cursor 'default' has shown all changes\n"
    sorted_rows = changes(mirror, "--cursor", "sorted", "--sort", "request_id", "--columns", "kind")
    assert sorted_rows.out.split() == ["kind", "resolved", "resolved"]
    positions = mirror.rows("SELECT name, environment FROM change_cursors ORDER BY 1, 2")
    assert positions == [
        (name, environment)
        for name in ("default", "slack", "sorted")
        for environment in ("dev", "prod")
    ]


def test_new_since(sqlite_mirror: Mirror) -> None:
    """`--since` counts where the reader never was, and later skips nothing."""
    sqlite_mirror.sync([request(1), request(2)])
    sqlite_mirror.sync([request(1, **APPROVED), request(2)])
    later = (sqlite_mirror.now + timedelta(days=1)).isoformat()
    assert new(sqlite_mirror, "--since", later) == []
    sqlite_mirror.sync([request(1, **APPROVED), request(2, **APPROVED)])
    assert new(sqlite_mirror, "--since", later) == [("default", "request-2")]


def test_before_the_first_complete_sync(sqlite_mirror: Mirror) -> None:
    """A reader that comes before there is anything loses nothing by its `--since`."""
    sqlite_mirror.sandbox.set_fault("forbidden")
    sqlite_mirror.sync()
    ran = changes(sqlite_mirror, "--new", "--since", "1d")
    assert ran.err == "mirror: no sync was complete yet; `mirror status` shows why\n"
    sqlite_mirror.sandbox.set_fault(None)
    sqlite_mirror.sync([request(1)])
    sqlite_mirror.sync([request(1, **APPROVED)])
    assert new(sqlite_mirror, "--since", "1d") == [("default", "request-1")]


def _full() -> TextIO:
    return Path("/dev/full").open("w")


def _closed_pipe() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def _closed() -> TextIO:
    """What `cli.main` has in place of a stdout that is closed."""
    return os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")


def _interrupted(*_arguments: Any, **_options: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stream", "code"), [(_full, 75), (_closed_pipe, 0), (_closed, 1), (io.StringIO, 1)]
)
def test_what_was_not_written_is_shown_again(
    sqlite_mirror: Mirror, monkeypatch: pytest.MonkeyPatch, stream: Callable[[], TextIO], code: int
) -> None:
    """The cursor stays if the disk is full, stdout is closed or not read, or it is interrupted."""
    sqlite_mirror.sync([request(1)])
    sqlite_mirror.sync([request(1, **APPROVED)])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out := stream())
        if stream is io.StringIO:
            patch.setattr("mirror.cli.output.write_rows", _interrupted)
        assert cli.run(["changes", "--new", "--database", sqlite_mirror.url]) == code
    with suppress(OSError):
        out.close()
    assert new(sqlite_mirror) == [("default", "request-1")]


def test_two_readers_of_one_cursor(sqlite_mirror: Mirror) -> None:
    """The reader that is slower does not move the cursor back."""
    sqlite_mirror.sync([request(1), request(2)])
    sqlite_mirror.sync([request(1, **APPROVED), request(2)])
    slow = sqlite_mirror.query(cursors.unseen, "default")
    sqlite_mirror.sync([request(1, **APPROVED), request(2, **APPROVED)])
    fast = sqlite_mirror.query(cursors.unseen, "default")
    assert [change.request_id for change in slow.changes] == ["request-1"]
    assert [change.request_id for change in fast.changes] == ["request-2", "request-1"]
    for unseen in (fast, slow):
        cursors.move(sqlite_mirror.engine, "default", unseen.positions, now=sqlite_mirror.now)
    assert new(sqlite_mirror) == []


def test_a_renamed_environment(sqlite_mirror: Mirror) -> None:
    """A cursor goes with an environment that is renamed, and is deleted with one."""
    mirror = sqlite_mirror
    mirror.sync([request(1), request(2)])
    mirror.sync([request(1, **APPROVED), request(2)])
    mirror.sandbox.set_fault("forbidden", times=1)
    mirror.sync(environment="prod")  # leaves a failed run, and so a position without a time
    behind = mirror.query(cursors.unseen, "behind")
    assert new(mirror) == [("default", "request-1")]
    environments.rename(mirror.engine, "default", "prod", now=mirror.now)
    mirror.sync([request(1, **APPROVED), request(2, **APPROVED)], environment="prod")
    assert new(mirror) == [("prod", "request-2")]
    mirror.sync([request(11)], environment="default")  # another one of that name
    cursors.move(mirror.engine, "behind", behind.positions, now=mirror.now)
    assert list(behind.positions) == ["default", "prod"]
    assert mirror.rows(
        "SELECT environment, seen_until FROM change_cursors WHERE name = 'behind'"
    ) == [("prod", None)]
    environments.forget(mirror.engine, "default", with_requests=True)
    environments.forget(mirror.engine, "prod", with_requests=True)
    assert mirror.rows("SELECT * FROM change_cursors") == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--new", "--run", "1"), "--run and --new contradict each other; leave one out"),
        (("--cursor", "a", "--limit", "1"), "--limit with --new would lose what it leaves out"),
        (("--cursor", ""), "'' cannot be the name of a cursor"),
        (("--cursor", "a\nb"), "'a\\nb' cannot be the name of a cursor"),
        (("--cursor", "x" * 101), "cannot be the name of a cursor"),
    ],
)
def test_wrong_usage(options: tuple[str, ...], error: str) -> None:
    """What contradicts itself is refused, before the database is opened."""
    ran = run_mirror("changes", *options, "--database", "sqlite:////nowhere/mirror.db")
    assert (ran.code, ran.out) == (2, "")
    assert error in ran.err
