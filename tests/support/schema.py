"""The schema of a database: scripts, Alembic commands, a later revision, and an inventory."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import Connection

from mirror.db import migrate, revisions
from mirror.db.engine import create_engine, write_transaction
from mirror.db.urls import parse_url

INVENTORY = (
    """SELECT c.relname, c.relkind, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
              a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid), l.collname,
              col_description(c.oid, a.attnum)
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
       LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
       LEFT JOIN pg_collation l ON l.oid = a.attcollation
       WHERE c.relnamespace = 'public'::regnamespace""",
    """SELECT relname, relkind, relpersistence, obj_description(oid, 'pg_class') FROM pg_class
       WHERE relnamespace = 'public'::regnamespace""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace""",
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "SELECT version_num, '' FROM alembic_version",
)
"""Queries of everything that a schema in Postgres consists of."""


_LATER = """
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{head}"


def create_view(revision):
    folder = Path(__file__).parents[1] / "sql" / revision
    path = folder / op.get_context().dialect.name / "phone_numbers.sql"
    op.execute(path.read_text().rstrip().removesuffix(";"))


def upgrade():
    op.add_column("release_requests", sa.Column("colour", sa.Text()))
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP VIEW IF EXISTS phone_numbers")
    create_view(revision)
    {last_step}


def downgrade():
    op.execute("DROP VIEW phone_numbers")
    create_view("{before}")
    op.drop_column("release_requests", "colour")
"""


@contextmanager
def later_revision(folder: Path, last_step: str = "pass") -> Iterator[str]:
    """Add a revision that adds columns to a table and a view, in a copy of the migrations.

    Args:
        folder: an empty folder; the name of the copy needs escaping in Alembic's configuration.
        last_step: a Python statement at the end of the revision's upgrade.
    """
    head = revisions.known()[-1]
    revision = f"{int(head) + 1:04d}"
    scripts = folder / "100% of them"
    shutil.copytree(
        revisions.scripts_folder(), scripts, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = last_with_file(scripts, "sqlite", "phone_numbers")
    text = _LATER.format(revision=revision, head=head, before=before, last_step=last_step)
    (scripts / "versions" / f"{revision}_later.py").write_text(text)
    for create in ("CREATE VIEW", "CREATE OR REPLACE VIEW"):
        dialect = "sqlite" if create == "CREATE VIEW" else "postgresql"
        view = (scripts / "sql" / before / dialect / "phone_numbers.sql").read_text()
        path = scripts / "sql" / revision / dialect / "phone_numbers.sql"
        path.parent.mkdir(parents=True)
        path.write_text(
            view.replace("CREATE VIEW", create).replace("AS released", "AS released, 1 AS later")
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "scripts_folder", lambda: scripts)
        yield revision


def last_with_file(scripts: Path, dialect: str, name: str) -> str:
    """Return the last revision that has a SQL file of this name, such as that of a view."""
    return max(scripts.glob(f"sql/*/{dialect}/{name}.sql")).parents[1].name


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """Open a database for writing under the lock of upgrades."""
    with write_transaction(create_engine(url, create=True), revisions.LOCK) as connection:
        yield connection


def alembic(url: str, do: Callable[..., Any], *arguments: str) -> None:
    """Run an Alembic command on a database, in one transaction."""
    config = migrate.alembic_config()
    with opened(url) as connection:
        config.attributes["connection"] = connection
        do(config, *arguments)


def inventory(connection: Connection) -> list[tuple[Any, ...]]:
    """Return everything that a schema consists of, as the database describes it."""
    if connection.dialect.name == "sqlite":
        stored = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
        return sorted((*row[:3], " ".join((row[3] or "").split())) for row in stored)
    found: list[tuple[Any, ...]] = []
    for query in INVENTORY:
        found += sorted(map(tuple, connection.exec_driver_sql(query)), key=str)
    return found


def execute_script(url: str, script: str) -> None:
    """Run a script of many statements."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(str(parse_url(url).database))
        connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(script.encode())
