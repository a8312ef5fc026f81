"""The schema and its revisions: Alembic, run inside one transaction that holds the writer's lock.

Alembic takes a sixth of a second to import, so whether there is anything to do is found out
without it: the revisions are numbered, and the last number is the head. A new database gets the
schema as `models` and `views` describe it, and not revision by revision, which is how Alembic's
cookbook builds one from scratch; that the revisions lead to the same is for the tests to show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import SetColumnComment

from mirror.db.engine import advisory_lock, read_transaction, write_transaction
from mirror.db.models import alembic_version, complete_indexes, metadata
from mirror.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = "schema"
"""Name of the writer's lock of upgrades in Postgres; those of environments begin with "sync "."""


def scripts_folder() -> Path:
    """Return the folder of the migration scripts, of the wheel or of the checkout."""
    package = Path(__file__).parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revisions() -> list[str]:
    """Return the revisions that this version of `mirror` knows, the first one first."""
    return sorted(path.name[:4] for path in (scripts_folder() / "versions").glob("[0-9]*.py"))


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it has no schema yet."""
    if not _has_revision_table(connection):
        return None
    return connection.scalar(sa.select(alembic_version.c.version_num))


def _has_revision_table(connection: Connection) -> bool:
    return sa.inspect(connection).has_table(alembic_version.name)


def require_current(connection: Connection) -> None:
    """Make sure that a database has the schema that this version of `mirror` works with.

    Raises:
        SchemaError: it is missing, older or newer; the message names the command to run.
    """
    found = current(connection)
    known = revisions()
    if found == known[-1]:
        return
    if found is None:
        raise SchemaError(
            "the database has no mirror in it yet", hint="run `mirror sync`, or `mirror db upgrade`"
        )
    if found in known:
        raise SchemaError(
            f"the database is at schema revision {found}, and this version of mirror works with "
            f"{known[-1]}",
            hint="run `mirror db upgrade`",
        )
    raise SchemaError(
        f"the database is at schema revision {found}, and this version of mirror knows none after "
        f"{known[-1]}",
        hint="run `pip install --upgrade talkover-mirror`",
    )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Bring a database to the head revision, in one transaction; do nothing if it is there.

    Returns:
        The revision before and the revision after.

    Raises:
        SchemaError: the database is newer than this version of `mirror`.
    """
    head = revisions()[-1]
    with read_transaction(engine) as connection:
        found = current(connection)
    if found == head:
        return found, head
    with write_transaction(engine, LOCK) as connection:
        return upgrade_in(connection), head


def upgrade_in(connection: Connection) -> str | None:
    """Bring a database to the head revision, in the connection's transaction.

    Returns:
        The revision before.

    Raises:
        SchemaError: the database is newer than this version of `mirror`.
    """
    known = revisions()
    found = current(connection)
    if found == known[-1]:
        return found
    advisory_lock(connection, LOCK)
    found = current(connection)  # somebody else may have held the lock, and done it
    if found is not None and found not in known:
        require_current(connection)
    if found is None and not _has_revision_table(connection):
        _create(connection, known[-1])
    elif found != known[-1]:
        _run_alembic(connection)
    return found


def _create(connection: Connection, head: str) -> None:
    """Make the schema in a database that has none."""
    from mirror.db import views

    dialect = connection.dialect.name
    complete_indexes(dialect)
    metadata.create_all(connection, checkfirst=False)
    for view in views.VIEWS:
        connection.exec_driver_sql(f"CREATE VIEW {view.name} AS\n{view.query(dialect)}")
        if dialect == "postgresql":
            said = str(view.table.comment).replace("'", "''")
            connection.exec_driver_sql(f"COMMENT ON VIEW {view.name} IS '{said}'")
            for column in view.table.columns:
                connection.execute(SetColumnComment(column))
    alembic_version.create(connection, checkfirst=False)
    connection.execute(sa.insert(alembic_version).values(version_num=head))


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaError(
            "the schema cannot be upgraded, as its revisions and what the database says of its own "
            "do not fit",
            hint="install mirror anew, or restore the table alembic_version from a backup",
        ) from error


def alembic_config() -> Config:
    """Return Alembic's configuration for the scripts that belong to this version."""
    from alembic.config import Config

    config = Config(stdout=sys.stdout)  # its default is what stdout was when it was imported
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    return config
