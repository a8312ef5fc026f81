"""Errors of the drivers become ours, and are transient by their code or documented class."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from mirror.db.engine import create_engine, read_transaction
from mirror.db.errors import is_transient
from mirror.db.urls import shown_url
from mirror.errors import DatabaseError, UsageError
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.upstream import request


class OperationalError(Exception):
    """Has the name of an error of a driver, and is none."""


class _Lost(psycopg.OperationalError):
    """A subclass that a later driver may have."""


def sqlite_error(code: int) -> sqlite3.Error:
    """An error of SQLite with a code."""
    error = sqlite3.DatabaseError("some words")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (psycopg.OperationalError("the connection is lost"), True),
        (_Lost("la conexión se ha perdido"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (psycopg.ProgrammingError("some words"), False),
        (psycopg.errors.DeadlockDetected("some words"), True),
        (psycopg.errors.InsufficientPrivilege("some words"), False),
        (psycopg.errors.UniqueViolation("some words"), False),
        (OperationalError("some words"), False),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), True),
        (sqlite_error(sqlite3.SQLITE_FULL), True),
        (sqlite_error(sqlite3.SQLITE_CORRUPT_VTAB), False),
        (sqlite3.OperationalError("database is locked"), False),
        (None, False),
    ],
    ids=repr,
)
def test_transient_errors(error: BaseException | None, transient: bool) -> None:
    """The code decides, else the class of PEP 249; a name or a word alone never does."""
    assert is_transient(error, psycopg) is transient


def test_errors_are_translated(mirror: Mirror) -> None:
    """An error of the driver or of SQLAlchemy becomes a DatabaseError that names the database."""
    url = shown_url(mirror.url)
    with pytest.raises(DatabaseError) as refused, read_transaction(mirror.engine) as connection:
        connection.execute(sa.text("SELECT nonsense"))
    assert type(refused.value) is DatabaseError
    assert str(refused.value).startswith(f"the database {url} refused a statement (")
    with pytest.raises(DatabaseError) as rejected, read_transaction(mirror.engine) as connection:
        sa.inspect(object())
    assert type(rejected.value) is DatabaseError
    assert str(rejected.value) == (
        f"SQLAlchemy rejected a statement for the database {url} (NoInspectionAvailable); "
        "please report this as a defect of mirror"
    )


def test_what_others_added_refuses(mirror: Mirror) -> None:
    """The advice is about a constraint of others; the message does not quote what it refuses."""
    mirror.sync([request(1, reason="moved to Lisbon")])
    with mirror.engine.begin() as connection:
        connection.exec_driver_sql("CREATE UNIQUE INDEX others ON release_requests (reason)")
    list_ = [request(number, reason="moved to Lisbon") for number in (1, 2)]
    failure = mirror.sync(list_).failure
    assert "Lisbon" not in str(failure)
    assert "see which trigger, constraint or index that is not the mirror's" in str(failure)


def test_what_others_added_refuses_a_copy(postgres_mirror: Mirror) -> None:
    """Postgres quotes the row of a COPY as the context of any error; the message does not."""
    postgres_mirror.sync([])
    with postgres_mirror.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE 'not now' USING DETAIL = NEW.reason; END $$; CREATE TRIGGER refuse BEFORE "
            "INSERT ON release_requests FOR EACH ROW EXECUTE PROCEDURE refuse()"
        )
    failure = str(postgres_mirror.sync([request(1, reason="moved to Lisbon")]).failure)
    assert "refused (not now); see which trigger" in failure
    assert postgres_mirror.runs("error")[-1] == (failure,)


def test_a_damaged_file(tmp_path: Path) -> None:
    """The advice is to restore a backup; for what SQLite cannot open, to check path and rights."""
    path = tmp_path / "mirror.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE a (b UNIQUE)")
    os.truncate(path, path.stat().st_size // 2)
    ran = run_mirror("status", "--database", f"sqlite:///{path}")
    assert (ran.code, "restore a backup" in ran.err) == (1, True), ran.err
    path.write_text("no database" * 100)
    ran = run_mirror("status", "--database", f"sqlite:///{path}")
    assert (ran.code, "the rights to the file and to its folder" in ran.err) == (1, True), ran.err


@pytest.mark.parametrize("create", [True, False])
def test_a_path_that_is_no_file(tmp_path: Path, create: bool) -> None:
    """A device, pipe or socket is refused at once: SQLite would wait for it, or call it busy."""
    pipe, link, bound = tmp_path / "pipe", tmp_path / "link", tmp_path / "socket"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bound))
        for path in (pipe, link, bound, Path(os.devnull)):
            with pytest.raises(UsageError) as raised:
                create_engine(f"sqlite:///{path}", create=create)
            shown = f"{path} is a device, a pipe or a socket; name a file with sqlite:///PATH"
            assert str(raised.value) == shown
