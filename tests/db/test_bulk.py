"""The first load: an empty mirror is filled without its indexes, unless somebody is in the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from mirror.db import bulk
from mirror.db.engine import read_transaction
from mirror.errors import DatabaseError
from mirror.sandbox.server import Sandbox
from mirror.sync.run import Outcome
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror
from tests.support.schema import inventory, opened
from tests.support.upstream import FakeUpstream, request

LIST = [request(number) for number in range(300)]
INDEXES = """SELECT relname, oid FROM pg_class WHERE relkind = 'i'
    AND relname LIKE 'ix_release_requests%' AND relname <> 'ix_release_requests_missing_since'
    ORDER BY relname"""
"""Those that are worth to be made again; no request of a list is in the other one."""


@pytest.fixture
def on_postgres(
    make_ready_database: Callable[[str], str], sandbox: Sandbox, world: FakeUpstream
) -> Mirror:
    """A mirror in Postgres that has its schema, but has seen nothing yet."""
    return Mirror(make_ready_database("postgresql"), sandbox, world)


def test_the_indexes_are_made_again(mirror: Mirror) -> None:
    """After a first load the schema is the one that it was before."""
    with opened(mirror.url) as connection:
        before = inventory(connection)
    assert mirror.sync(LIST).counts.inserted == 300
    with opened(mirror.url) as connection:
        assert inventory(connection) == before
    assert mirror.sync([*LIST[1:], request(0, status="approved")]).counts.updated == 1
    assert mirror.sync(LIST[1:]).counts.missing == 1


def test_postgres_fills_an_empty_table_without_indexes(on_postgres: Mirror) -> None:
    """Where nobody is in the way the indexes are others afterwards."""
    before = on_postgres.rows(INDEXES)
    on_postgres.sync(LIST)
    after = on_postgres.rows(INDEXES)
    assert [name for name, _ in after] == [name for name, _ in before]
    assert not set(after) & set(before)
    on_postgres.sync([*LIST, request(300)])
    on_postgres.sync([request(number) for number in range(500, 800)], environment="other")
    assert on_postgres.rows(INDEXES) == after


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_first_load_that_does_not_count_leaves_everything(mirror: Mirror, dry_run: bool) -> None:
    """A dry run, and a load that the database refuses half way, change nothing at all."""
    if not dry_run:
        mirror.world.records = [
            {**one, "reason": "no" if one is LIST[200] else "yes"} for one in LIST
        ]
        refuse_some_rows(mirror)
    with opened(mirror.url) as connection:
        before = inventory(connection)
    result = mirror.sync(None if not dry_run else LIST, dry_run=dry_run)
    assert result.outcome is (Outcome.DRY_RUN if dry_run else Outcome.FAILED)
    assert isinstance(result.failure, DatabaseError) is not dry_run
    with opened(mirror.url) as connection:
        assert inventory(connection) == before
    assert mirror.rows("SELECT count(*) FROM release_requests") == [(0,)]


def refuse_some_rows(mirror: Mirror) -> None:
    """Let the database refuse requests whose reason is "no"."""
    with opened(mirror.url) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON release_requests WHEN NEW.reason = 'no' "
                "BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        else:
            connection.exec_driver_sql(
                "ALTER TABLE release_requests ADD CONSTRAINT refuse CHECK (reason <> 'no')"
            )


def test_a_reader_is_not_waited_for(on_postgres: Mirror) -> None:
    """A first load goes on with the indexes in place while somebody reads the empty table."""
    before = on_postgres.rows(INDEXES)
    with read_transaction(on_postgres.engine) as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM release_requests").scalar() == 0
        result = on_postgres.sync(LIST)
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, 300)
    assert on_postgres.rows(INDEXES) == before


def test_who_does_not_own_the_table_fills_it_with_its_indexes(
    on_postgres: Mirror, sandbox: Sandbox, world: FakeUpstream
) -> None:
    """A role that may only write rows can sync, also the first time."""
    name = make_url(on_postgres.url).database
    role = f"writer_of_{name}"  # no other one on the server has that name
    with opened(on_postgres.url) as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"GRANT TEMPORARY ON DATABASE {name} TO {role}")
        for what in ("TABLES", "SEQUENCES"):
            connection.exec_driver_sql(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {role}")
    url = make_url(on_postgres.url).update_query_dict({"options": f"-crole={role}"})
    theirs = Mirror(url.render_as_string(hide_password=False), sandbox, world)
    before = on_postgres.rows(INDEXES)
    try:
        result = theirs.sync(LIST, upgrade=False)
        assert (result.failure, result.counts.inserted) == (None, 300)
        assert on_postgres.rows(INDEXES) == before
    finally:
        with opened(on_postgres.url) as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")


def test_who_comes_second_compares(on_postgres: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was filled between the first look and the lock is not taken for empty."""
    on_postgres.sync([request(1)], environment="other")
    before = on_postgres.rows(INDEXES)
    look = bulk._is_empty
    looks = iter([True])
    monkeypatch.setattr(bulk, "_is_empty", lambda *given: next(looks, False) or look(*given))
    result = on_postgres.sync(LIST)
    assert result.outcome is Outcome.REFUSED
    assert "belongs to the environment 'other'" in str(result.failure)
    assert on_postgres.sync(LIST[2:]).counts.inserted == 298
    assert on_postgres.rows(INDEXES) == before


def test_a_sync_sets_wal_mode(tmp_path: Path, sandbox: Sandbox, world: FakeUpstream) -> None:
    """A new file gets WAL mode after its first load, a restored copy with the next sync."""
    path = tmp_path / "mirror.db"
    mirror = Mirror(f"sqlite:///{path}", sandbox, world)
    upgrade(mirror.url)
    modes = []
    for statement in ("PRAGMA journal_mode", "PRAGMA journal_mode = DELETE"):
        with closing(sqlite3.connect(path)) as other:
            modes += other.execute(statement).fetchone()
        mirror.sync(LIST)
        with closing(sqlite3.connect(path)) as other:
            modes += other.execute("PRAGMA journal_mode").fetchone()
    assert modes == ["delete", "wal", "delete", "wal"]
