"""The first load: an empty mirror is filled without its indexes, unless another session uses it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from mirror.db import bulk
from mirror.db.engine import read_transaction
from mirror.db.runs import Outcome
from mirror.errors import DatabaseError
from mirror.sandbox.server import Sandbox
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror
from tests.support.schema import inventory, opened
from tests.support.upstream import FakeUpstream, request

LIST = [request(number) for number in range(300)]
TABLES = (
    "release_requests",
    "release_request_past_versions",
    "sync_runs",
    "quarantined_records",
)
INDEXES = """SELECT relname, oid FROM pg_class JOIN pg_index ON indexrelid = oid
    WHERE relname LIKE 'ix_release_requests%' AND indpred IS NULL
    ORDER BY relname"""
"""The indexes that a first load creates again; the partial ones stay."""


def test_a_first_load_keeps_the_schema(mirror: Mirror) -> None:
    """After a first load the schema is the same as before."""
    with opened(mirror.url) as connection:
        before = inventory(connection)
    assert mirror.sync(LIST).counts.inserted == 300
    with opened(mirror.url) as connection:
        assert inventory(connection) == before
    assert mirror.sync([*LIST[1:], request(0, status="approved")]).counts.updated == 1
    assert mirror.sync(LIST[1:]).counts.missing == 1


def test_a_first_load_creates_indexes_anew(postgres_mirror: Mirror) -> None:
    """A first load in Postgres drops the indexes and creates them; later loads keep them."""
    before = postgres_mirror.rows(INDEXES)
    postgres_mirror.sync(LIST)
    after = postgres_mirror.rows(INDEXES)
    assert [name for name, _ in after] == [name for name, _ in before]
    assert not set(after) & set(before)
    postgres_mirror.sync([*LIST, request(300)])
    postgres_mirror.sync([request(number) for number in range(500, 800)], environment="other")
    assert postgres_mirror.rows(INDEXES) == after


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_first_load_that_is_rolled_back(mirror: Mirror, dry_run: bool) -> None:
    """A dry run, and a load that the database refuses half way, change nothing."""
    if not dry_run:
        mirror.upstream.records = [*LIST[:200], request(200, reason="no"), *LIST[201:]]
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
    """Make the database refuse requests whose reason is "no"."""
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


def test_a_first_load_beside_a_reader(postgres_mirror: Mirror) -> None:
    """While another session reads the empty table, a first load keeps the indexes."""
    before = postgres_mirror.rows(INDEXES)
    with read_transaction(postgres_mirror.engine) as reader:
        assert reader.exec_driver_sql("SELECT count(*) FROM release_requests").scalar() == 0
        result = postgres_mirror.sync(LIST)
    assert (result.outcome, result.counts.inserted) == (Outcome.APPLIED, 300)
    assert postgres_mirror.rows(INDEXES) == before


ROLES = {
    "a role that may only write rows": [
        "GRANT TEMPORARY ON DATABASE {name} TO {role}",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ],
    "an owner who may create nothing": [
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        *(f"ALTER TABLE {table} OWNER TO {{role}}" for table in TABLES),
        "GRANT SELECT ON alembic_version, erased_requests TO {role}",
    ],
}


@pytest.mark.parametrize("grants", ROLES.values(), ids=ROLES)
def test_a_first_load_by_another_role(
    postgres_mirror: Mirror, sandbox: Sandbox, upstream: FakeUpstream, grants: list[str]
) -> None:
    """A role that may not create indexes can sync, also the first time, with those in place."""
    name = make_url(postgres_mirror.url).database
    role = f"role_of_{name}"  # unique on the server
    with opened(postgres_mirror.url) as connection:
        for statement in ("CREATE ROLE {role}", *grants):
            connection.exec_driver_sql(statement.format(name=name, role=role))
    url = make_url(postgres_mirror.url).update_query_dict({"options": f"-crole={role}"})
    other = Mirror(url.render_as_string(hide_password=False), sandbox, upstream)
    before = postgres_mirror.rows(INDEXES)
    try:
        result = other.sync(LIST, upgrade=False)
        assert (result.failure, result.counts.inserted) == (None, 300)
        assert postgres_mirror.rows(INDEXES) == before
    finally:
        with opened(postgres_mirror.url) as connection:
            for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}"):
                connection.exec_driver_sql(statement.format(role))
            connection.exec_driver_sql(f"DROP ROLE {role}")


def test_a_table_filled_in_the_meantime(
    postgres_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was filled between the first check and the lock is not treated as empty."""
    postgres_mirror.sync([request(1)], environment="other")
    before = postgres_mirror.rows(INDEXES)
    is_empty, first = bulk._is_empty, iter([True])
    monkeypatch.setattr(bulk, "_is_empty", lambda *args: next(first, False) or is_empty(*args))
    result = postgres_mirror.sync(LIST)
    assert result.outcome is Outcome.REFUSED
    assert "belongs to the environment 'other'" in str(result.failure)
    assert postgres_mirror.sync(LIST[2:]).counts.inserted == 298
    assert postgres_mirror.rows(INDEXES) == before


def test_a_sync_sets_wal_mode(tmp_path: Path, sandbox: Sandbox, upstream: FakeUpstream) -> None:
    """A new file gets WAL mode after its first load, a restored copy with the next sync."""
    path = tmp_path / "mirror.db"
    mirror = Mirror(f"sqlite:///{path}", sandbox, upstream)
    upgrade(mirror.url)
    modes = []
    for statement in ("PRAGMA journal_mode", "PRAGMA journal_mode = DELETE"):
        with closing(sqlite3.connect(path)) as other:
            modes += other.execute(statement).fetchone()
        mirror.sync(LIST)
        with closing(sqlite3.connect(path)) as other:
            modes += other.execute("PRAGMA journal_mode").fetchone()
    assert modes == ["delete", "wal", "delete", "wal"]


def test_an_index_may_be_gone(mirror: Mirror) -> None:
    """An index that somebody dropped is missed, but stops no sync."""
    mirror.sync(LIST)
    with opened(mirror.url) as connection:
        connection.exec_driver_sql("DROP INDEX ix_release_requests_environment")
    assert mirror.sync([*LIST[1:], request(0, status="approved")]).counts.updated == 1


def test_a_sync_beside_maintenance(
    postgres_mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VACUUM, or CREATE INDEX CONCURRENTLY, which waits for transactions, holds up no sync."""
    postgres_mirror.sync(LIST)
    with postgres_mirror.engine.begin() as connection:
        for table in ("release_requests", "release_request_past_versions"):
            connection.exec_driver_sql(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        monkeypatch.setattr("mirror.db.lock_waits.LOCK_WAIT", 1)
        result = postgres_mirror.sync([request(number, status="approved") for number in range(300)])
    assert (result.failure, result.counts.updated) == (None, 300)
