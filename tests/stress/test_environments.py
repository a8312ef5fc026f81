"""Renaming and forgetting environments: nothing else changes, and no running sync does harm."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mirror.config.settings import ApiSettings, Secret
from mirror.db import environments
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.db.environments import Contents
from mirror.db.models import metadata
from mirror.errors import DatabaseUnavailable, SchemaError, UsageError
from mirror.sync.run import Result, sync
from tests.support.commands import Ran, run_mirror, run_on_a_terminal
from tests.support.http_servers import HttpRequest, ScriptedServer, whole
from tests.support.mirrors import Mirror
from tests.support.upstream import TOKEN, request

APPROVED = request(1, status="approved")


def fill(mirror: Mirror, environment: str = "default") -> None:
    """Give an environment requests, a past version, quarantine, and each kind of run."""
    number = {"default": 0, "dev": 100}[environment]
    records = [request(number + 1), request(number + 2), f"junk of {environment}"]
    mirror.sync(records, environment=environment)
    changed = [request(number + 1, status="approved"), *records[1:]]
    mirror.sync(changed, environment=environment)
    mirror.sync(environment=environment)
    mirror.sync([], environment=environment)  # refused
    mirror.upstream.records = changed
    mirror.sandbox.invalidate()


FILLED = Contents(requests=2, past_versions=1, quarantined=1, runs=4, complete_runs=3)


def tables(mirror: Mirror) -> dict[str, list[dict[str, Any]]]:
    """All rows, in order."""
    with read_transaction(mirror.engine) as connection:
        return {
            table.name: sorted(
                (dict(row) for row in connection.execute(sa.select(table)).mappings()), key=repr
            )
            for table in metadata.sorted_tables
        }


def renamed(rows: dict[str, list[dict[str, Any]]], old: str, new: str) -> dict[str, Any]:
    """The rows with another name for an environment."""
    return {
        table: sorted(
            (row | ({"environment": new} if row["environment"] == old else {}) for row in some),
            key=repr,
        )
        for table, some in rows.items()
    }


def run_db(mirror: Mirror, *arguments: str) -> Ran:
    """Run a command of `mirror db`."""
    return run_mirror("db", *arguments, MIRROR_DATABASE_URL=mirror.url)


@pytest.mark.parametrize("etag", [False, True], ids=["by bytes", "by ETag"])
def test_only_the_name_changes(mirror: Mirror, *, etag: bool) -> None:
    """After the renaming all rows are as before but for the name, and nothing new stays that."""
    mirror.sandbox.config.etag = etag
    fill(mirror, "dev")
    fill(mirror)
    before = tables(mirror)
    tried = environments.rename(mirror.engine, "default", "prod", now=mirror.now, dry_run=True)
    assert (tried, tables(mirror)) == (FILLED, before)
    assert environments.rename(mirror.engine, "default", "prod", now=mirror.now) == FILLED
    assert tables(mirror) == renamed(before, "default", "prod")
    responses = len(mirror.sandbox.request_log)
    result = mirror.sync(environment="prod")
    assert (result.outcome, result.counts.quarantined) == ("unchanged", 1)
    assert (result.bytes == 0) is etag
    assert len(mirror.sandbox.request_log) == responses + 1


def test_from_one_token_to_a_file(mirror: Mirror, tmp_path: Path) -> None:
    """The refused sync names the command, which runs although that sync is on record."""
    mirror.sync([request(1)])
    file = tmp_path / "mirror.toml"
    file.write_text(
        f'database = "{mirror.url}"\n[environments.prod]\n'
        f'base_url = "{mirror.sandbox.base_url}"\ntoken_env = "TALKOVER_TOKEN"\n'
    )
    settings = {"MIRROR_CONFIG": str(file), "TALKOVER_TOKEN": TOKEN}
    refused = run_mirror("sync", **settings)
    assert refused.code == 4
    (command,) = re.findall("`(mirror db rename-environment .*)`", refused.err)
    assert command == "mirror db rename-environment default prod"
    assert run_mirror(*command.split()[1:], "--dry-run", **settings).code == 0
    assert run_mirror("sync", "--accept-missing", **settings).code == 4
    done = run_mirror(*command.split()[1:], **settings)
    assert (done.code, done.out) == (0, "")
    assert done.err == (
        "mirror: renamed 'default' to 'prod': 1 request, 0 past versions, 0 records in "
        "quarantine and 1 run\n"
    )
    assert "unchanged: 1 in the list" in run_mirror("sync", **settings).err


def test_mixed_up_tokens_are_no_renaming(sqlite_mirror: Mirror) -> None:
    """Of two environments with requests, the message is about the token alone."""
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="prod")
    mirror.sync([request(2)], environment="dev")
    failure = str(mirror.sync([request(1)], environment="dev").failure)
    assert "check the token of 'dev'" in failure
    assert "rename" not in failure


def test_names_that_are_refused(mirror: Mirror) -> None:
    """An unknown old name, and a new one that is invalid or that of another environment."""
    none = run_db(mirror, "rename-environment", "default", "prod")
    assert none.err.endswith("no environment 'default' on record; nothing was ever synced\n")
    fill(mirror)
    fill(mirror, "dev")
    mirror.sync([], environment="empty")
    before = tables(mirror)
    for old, new, message in (
        ("prdo", "prod", "there is no environment 'prdo' on record; there are default, dev, empty"),
        ("\udcff", "prod", "on record; there are default, dev, empty"),
        ("default", "dev", "there is an environment 'dev' already, with 2 requests"),
        ("default", "empty", "there is an environment 'empty' already, with 0 requests"),
        ("default", "default", "is both the old name and the new one"),
        ("default", "", "the new name is empty"),
        ("default", " prod", "cannot be the name"),
        ("default", "pr\nod", "cannot be the name"),
        ("default", "x" * 101, "cannot be the name"),
    ):
        for options in ((), ("--dry-run",)):
            ran = run_db(mirror, "rename-environment", *options, "--", old, new)
            assert (ran.code, ran.out) == (2, "")
            assert message in ran.err
            assert ran.err.count("\n") == 1
    assert tables(mirror) == before


def test_names_that_a_shell_would_read_otherwise(sqlite_mirror: Mirror) -> None:
    """The command in the message can be pasted, whatever the names."""
    sqlite_mirror.sync([request(1)], environment="a b")
    failure = str(sqlite_mirror.sync(environment="-x").failure)
    assert "`mirror db rename-environment -- 'a b' -x`" in failure


def test_an_environment_without_requests_is_forgotten(mirror: Mirror) -> None:
    """After a mistyped name its runs go, and with them what keeps the status stale."""
    fill(mirror)
    before = tables(mirror)
    mirror.sync(environment="prdo")
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="prdo")
    with_both = tables(mirror)
    for options in (("--dry-run",), ()):
        assert tables(mirror) == with_both
        ran = run_db(mirror, "forget-environment", "prdo", *options)
        verb = "would delete" if options else "deleted"
        expected = "0 requests, 0 past versions, 0 records in quarantine and 2 runs"
        assert (ran.code, ran.out, ran.err) == (0, "", f"mirror: {verb} 'prdo': {expected}\n")
    assert tables(mirror) == before
    unknown = run_db(mirror, "forget-environment", "prdo")
    assert unknown.code == 2
    assert "there is no environment 'prdo' on record; there is default\n" in unknown.err


def test_quarantine_without_requests_is_forgotten(mirror: Mirror) -> None:
    """Records in quarantine refer to runs, and go with them."""
    fill(mirror)
    before = tables(mirror)
    mirror.sync(["junk"], environment="dev")
    assert run_db(mirror, "forget-environment", "dev").code == 0
    assert tables(mirror) == before


def test_requests_are_forgotten_only_when_confirmed(mirror: Mirror) -> None:
    """Requests need --with-requests, and a yes of a person or --yes."""
    fill(mirror)
    before = tables(mirror)
    fill(mirror, "dev")
    with_both = tables(mirror)
    forget = ("forget-environment", "dev")
    for options, message in (
        ((), "--with-requests"),
        (("--yes",), "--with-requests"),
        (("--dry-run",), "--with-requests"),
        (("--with-requests",), "--yes"),
    ):
        ran = run_db(mirror, *forget, *options)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err
    assert run_db(mirror, *forget, "--with-requests", "--dry-run").code == 0
    assert tables(mirror) == with_both
    done = run_db(mirror, *forget, "--with-requests", "--yes")
    assert (done.code, done.err) == (0, f"mirror: deleted 'dev': {FILLED}\n")
    assert tables(mirror) == before


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_a_person_is_asked(sqlite_mirror: Mirror, typed: str, code: int) -> None:
    """The question has the numbers; what is not a yes leaves everything as it is."""
    fill(sqlite_mirror)
    before = tables(sqlite_mirror)
    command = ("-m", "mirror", "db", "forget-environment", "default", "--with-requests")
    database = ("--database", sqlite_mirror.url)
    ran, shown = run_on_a_terminal(*command, *database, merge=True, typed=typed)
    assert ran.code == code
    assert f"Delete 'default' for good: {FILLED}? [y/N]:" in " ".join(shown.split())
    assert (tables(sqlite_mirror) == before) is bool(code)
    assert ("nothing was deleted" in shown) is bool(code)


def test_another_schema_is_left_alone(mirror: Mirror) -> None:
    """A database of an unknown schema revision is refused."""
    fill(mirror)
    with write_transaction(mirror.engine, "test") as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = tables(mirror)
    changes: list[Callable[[], object]] = [
        lambda: environments.rename(mirror.engine, "default", "prod", now=mirror.now),
        lambda: environments.forget(mirror.engine, "default", with_requests=True),
    ]
    for change in changes:
        with pytest.raises(SchemaError, match="revision 9999"):
            change()
    assert tables(mirror) == before


# Beside syncs.

LIST = whole([request(1), request(2)])
CHANGED = whole([APPROVED, request(2), "junk"])


def sync_from(base_url: str, url: str, environment: str) -> Result:
    """Sync, by the real clock."""
    engine = create_engine(url, create=True)
    return sync(engine, ApiSettings(base_url, Secret(TOKEN)), environment)


@pytest.mark.parametrize("known", [True, False], ids=["known", "first sync"])
@pytest.mark.parametrize("response", [LIST, CHANGED], ids=["as before", "changed"])
@pytest.mark.parametrize("change", ["rename", "forget"])
def test_a_sync_that_runs_meanwhile(
    mirror: Mirror, change: str, response: bytes, *, known: bool
) -> None:
    """It fails as if the database were unavailable, changes nothing, and the next one works."""
    after: list[Any] = []

    def change_environment(_: HttpRequest) -> bytes:
        if change == "rename":
            environments.rename(mirror.engine, "default", "prod", now=mirror.now)
        else:
            environments.forget(mirror.engine, "default", with_requests=True)
        after.append(tables(mirror))
        return response

    with ScriptedServer([LIST] * known + [change_environment, response]).running() as server:
        if known:
            assert sync_from(server.base_url, mirror.url, "default").outcome == "applied"
        failure = sync_from(server.base_url, mirror.url, "default").failure
        assert isinstance(failure, DatabaseUnavailable)
        assert "no longer on record" in failure.message
        assert tables(mirror) == after[0]
        (running,) = mirror.rows("SELECT count(*) FROM sync_runs WHERE outcome = 'running'")
        assert running == (0,)
        environment = "prod" if change == "rename" else "default"
        unchanged = known and change == "rename" and response == LIST
        result = sync_from(server.base_url, mirror.url, environment)
        assert result.outcome == ("unchanged" if unchanged else "applied")
    assert mirror.rows("SELECT DISTINCT environment FROM sync_runs") == [(environment,)]


def test_a_sync_under_the_new_name_is_superseded(mirror: Mirror) -> None:
    """A sync that began under the new name before the renaming does not apply its list."""

    def rename(_: HttpRequest) -> bytes:
        environments.rename(mirror.engine, "default", "prod", now=mirror.now)
        return CHANGED

    with ScriptedServer([LIST, rename, CHANGED]).running() as server:
        assert sync_from(server.base_url, mirror.url, "default").outcome == "applied"
        assert sync_from(server.base_url, mirror.url, "prod").outcome == "superseded"
        assert sync_from(server.base_url, mirror.url, "prod").outcome == "applied"


def test_renaming_back_and_forth_at_once(mirror: Mirror) -> None:
    """Two renamings of the same names and syncs of both do not wait for each other for ever."""
    fill(mirror)
    failures: list[Exception] = []

    def rename(old: str, new: str) -> None:
        engine = create_engine(mirror.url)
        for _ in range(5):
            try:
                environments.rename(engine, old, new, now=mirror.now)
            except UsageError:  # the other one was faster
                pass
            except Exception as error:  # noqa: BLE001 (it is asserted that there is none)
                failures.append(error)

    threads = [
        threading.Thread(target=rename, args=names)
        for names in (("default", "a"), ("a", "default"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    (name,) = {row["environment"] for row in tables(mirror)["release_requests"]}
    assert mirror.sync(environment=name).outcome == "unchanged"
