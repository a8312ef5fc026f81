"""`mirror.connect`: which databases it opens, read-only and in one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

import mirror as package
from mirror.db import migrate, revisions
from mirror.db.engine import create_engine, write_transaction
from mirror.db.urls import parse_url
from mirror.errors import DatabaseError, SchemaError
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror
from tests.support.upstream import request


def downgrade(url: str) -> None:
    """Upgrade a database, and downgrade it again."""
    from alembic import command

    config = migrate.alembic_config()
    with write_transaction(create_engine(url, create=True), revisions.LOCK) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.downgrade(config, "base")


def set_revision(url: str, revision: str) -> None:
    """Make a mirror, and change the revision on record."""
    upgrade(url)
    with write_transaction(create_engine(url), "test") as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


def create_empty(url: str) -> None:
    """Make a database without tables."""
    path = parse_url(url).database
    if url.startswith("sqlite") and path:
        Path(path).touch()


@pytest.mark.parametrize(
    ("prepare", "known", "message"),
    [
        (create_empty, ["0001"], "no mirror in it yet; run `mirror sync`, or `mirror db upgrade`"),
        (downgrade, ["0001"], "no mirror in it yet; run `mirror sync`, or `mirror db upgrade`"),
        (
            lambda url: set_revision(url, "0001"),
            ["0001", "9999"],
            "at schema revision 0001.*run `mirror db upgrade`",
        ),
        (
            lambda url: set_revision(url, "9999"),
            ["0001"],
            "revision 9999.*install a newer version of mirror",
        ),
    ],
    ids=["empty", "downgraded to nothing", "older", "newer"],
)
def test_another_schema(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[str], None],
    known: list[str],
    message: str,
) -> None:
    """A database with another schema is refused, and the message names the command to run."""
    prepare(database_url)
    monkeypatch.setattr(revisions, "known", lambda: known)
    with pytest.raises(SchemaError, match=message), package.connect(database_url):
        pytest.fail("it was opened")


def test_a_missing_file(tmp_path: Path) -> None:
    """A missing file is not created; the message says what to run."""
    url = f"sqlite:///{tmp_path}/folder/mirror.db"
    with pytest.raises(DatabaseError, match="run `mirror sync` first"), package.connect(url):
        pytest.fail("it was opened")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_postgres_database(make_database: Callable[[str], str]) -> None:
    """A missing Postgres database is named in the message."""
    url = parse_url(make_database("postgresql")).set(database="nowhere")
    with (
        pytest.raises(DatabaseError, match='"nowhere" does not exist'),
        package.connect(url.render_as_string(hide_password=False)),
    ):
        pytest.fail("it was opened")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file that is no database is refused, and not changed."""
    file = tmp_path / "mirror.db"
    file.write_text("Dear diary, " * 1000)
    with pytest.raises(DatabaseError, match="not a database"), package.connect(f"sqlite:///{file}"):
        pytest.fail("it was opened")
    assert file.read_text() == "Dear diary, " * 1000


def test_a_database_of_another_program(tmp_path: Path) -> None:
    """Opening a SQLite file that is not a mirror changes no byte of it."""
    file = tmp_path / "other.db"
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(SchemaError), package.connect(f"sqlite:///{file}"):
        pytest.fail("it was opened")
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


NEW_RUN = """
INSERT INTO sync_runs (environment, outcome, started_at, base_url, mirror_version)
VALUES ('dev', 'applied', '2024-01-01 00:00:00.000', 'x', 'x')
"""


@pytest.mark.parametrize("afterwards", [False, True], ids=["at once", "after a commit"])
@pytest.mark.parametrize(
    "statement",
    [
        NEW_RUN,
        "UPDATE release_requests SET status = 'approved'",
        "DELETE FROM quarantined_records",
        "CREATE TABLE notes (text TEXT)",
        "DROP VIEW phone_numbers",
    ],
    ids=lambda statement: statement.split()[0],
)
def test_read_only(ready_database_url: str, statement: str, *, afterwards: bool) -> None:
    """Nothing can be written through the connection."""
    with package.connect(ready_database_url) as connection:
        if afterwards:
            connection.commit()
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"):
            connection.exec_driver_sql(statement)


def go_on_after(connection: sa.Connection, mistake: str) -> None:
    """Catch the error of a statement, and delete rows."""
    with suppress(sa.exc.DBAPIError):
        connection.exec_driver_sql(mistake)
    connection.exec_driver_sql("DELETE FROM sync_runs")


@pytest.mark.parametrize("mistake", ["SELECT 1", "SELECT nothing"])
def test_mistakes_of_a_program(ready_database_url: str, mistake: str) -> None:
    """A statement that would write, or follows a failed one, is no reason to try again later."""
    with (
        pytest.raises(DatabaseError) as raised,
        package.connect(ready_database_url) as connection,
    ):
        go_on_after(connection, mistake)
    assert type(raised.value) is DatabaseError
    assert raised.value.hint is not None
    assert "only reads" in raised.value.hint


@pytest.mark.parametrize("statement", ["SELECT nothing", "SELECT abs(-9223372036854775807 - 1)"])
def test_a_wrong_statement(ready_database_url: str, statement: str) -> None:
    """The advice is about the statement of the program, not about the database."""
    with (
        pytest.raises(DatabaseError, match="refused a statement") as raised,
        package.connect(ready_database_url) as connection,
    ):
        connection.exec_driver_sql(statement)
    assert raised.value.hint == "correct it; `mirror db describe` lists tables and columns"


def test_one_snapshot(mirror: Mirror) -> None:
    """What a sync commits meanwhile is visible to the next connection only."""
    mirror.sync([request(1)])
    with package.connect(mirror.url) as connection:
        mirror.sync([request(1, status="approved"), request(2)])
        assert package.count_by_status(connection) == [("pending", 1)]
        assert package.changes(connection) == []
    with package.connect(mirror.url) as connection:
        assert package.count_by_status(connection) == [("approved", 1), ("pending", 1)]


def test_environment_variable(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without an argument MIRROR_DATABASE_URL names the mirror; an argument takes precedence."""
    mirror.sync([request(1)])
    monkeypatch.setenv("MIRROR_DATABASE_URL", mirror.url)
    with package.connect() as connection:
        assert len(package.release_requests(connection)) == 1
    with (
        pytest.raises(DatabaseError, match="there is no mirror at"),
        package.connect(f"sqlite:///{tmp_path}/none.db"),
    ):
        pytest.fail("it was opened")
