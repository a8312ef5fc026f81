"""Upgrades of the schema: Alembic's migrations, run in one transaction under the writer's lock."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import errors, revisions, views
from mirror.db.engine import advisory_lock, read_transaction, write_transaction
from mirror.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

_NAME_IN_USE = {
    "42701",  # of a column
    "42710",  # of a constraint or a type
    "42809",  # of a relation of another kind
    "42P06",  # of a schema
    "42P07",  # of a relation
    "42P16",  # of a view with other columns
}
"""SQLSTATEs of Postgres for a name that something else has."""

_RIGHTS = sa.text("""
    SELECT pg_catalog.quote_ident(current_user), pg_catalog.quote_ident(nspname),
        pg_catalog.has_schema_privilege(n.oid, 'CREATE'),
        pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(relowner)),
        pg_catalog.pg_has_role(relowner, 'USAGE')
    FROM pg_namespace AS n
        LEFT JOIN pg_class ON relnamespace = n.oid AND relname = 'alembic_version'
    WHERE nspname = current_schema()
""")
"""The user, the mirror's schema, whether the user may create things there, the mirror's owner, and
whether the user is a member of it."""

_COMMENT = re.compile(
    r"^COMMENT ON (?:VIEW|COLUMN) (?P<relation>\w+)(?s:.*?)(?=^COMMENT ON |\Z)", re.MULTILINE
)
"""A statement of a comments.sql, which is about a view, or about a column of a view or table."""


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Upgrade a database to the head revision, in one transaction; do nothing if it is there.

    Views that somebody dropped are created again, before revisions replace them or build on them.

    Returns:
        The revision before and the revision after.

    Raises:
        SchemaError: the schema is newer than this version of `mirror`, or of an unreleased one.
    """
    head = revisions.known()[-1]
    with read_transaction(engine) as connection:
        schema = revisions.read(connection)
    if not schema.missing:
        revisions.require_known(schema)
        if schema.revision == head:
            return head, head
    with write_transaction(engine, revisions.LOCK) as connection:
        restored = _restore_views(connection)
        before = upgrade_in(connection)
    if restored:
        logger.warning("created again, as somebody had dropped them: %s", ", ".join(restored))
    return before, head


def _restore_views(connection: Connection) -> Sequence[str]:
    """Create the views that were dropped from the database's revision, unless tables were too.

    Returns:
        The views that were created.
    """
    schema = revisions.read(connection)
    if not schema.missing or not views.metadata.tables.keys() >= set(schema.missing):
        return ()
    assert schema.revision is not None
    dialect = connection.dialect.name
    # The newest revision that has such a file made the view what it is.
    statements = [
        revisions.sql_files(name, dialect, schema.revision)[-1].read_text(encoding="utf-8")
        for name in schema.missing
    ]
    for path in revisions.sql_files("comments", dialect, schema.revision):
        found = _COMMENT.finditer(path.read_text(encoding="utf-8"))
        statements += [comment[0] for comment in found if comment["relation"] in schema.missing]
    for sql in statements:
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    return schema.missing


def upgrade_in(connection: Connection) -> str | None:
    """Upgrade a database to the head revision, in the connection's transaction.

    Returns:
        The revision before.

    Raises:
        SchemaError: the schema is newer than this version of `mirror`, or of an unreleased one, or
            there is no place for one.
        DatabaseError: row-level security hides its rows from the user, the user lacks the rights,
            or the database refuses a statement of the upgrade.
    """
    head = revisions.known()[-1]
    schema = revisions.read(connection)
    is_current = schema.revision == head
    advisory_lock(connection, revisions.LOCK, shared=is_current)
    # The holder of the lock may have upgraded meanwhile.
    if not is_current or revisions.read_number(connection) != head:
        schema = revisions.read(connection)
    revisions.require_known(schema)
    revisions.require_rows(connection, schema)
    if schema.revision != head:
        _require_rights(connection)
        _run_alembic(connection)
    return schema.revision


def _require_rights(connection: Connection) -> None:
    """Check that the user of Postgres may create the mirror, or change the one that is there."""
    if connection.dialect.name == "sqlite":
        return
    user, schema, creates, owner, owns = connection.execute(_RIGHTS).one()
    if owner is not None and not owns:
        raise DatabaseError(
            f"the mirror belongs to {owner}, and {user} may not upgrade it",
            hint=f"run `mirror db upgrade` as {owner}",
        )
    if not creates:
        raise DatabaseError(
            f"{user} may not create anything in the schema {schema}",
            hint=f"as its owner, run: GRANT CREATE ON SCHEMA {schema} TO {user}",
        )


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revisions.known()[-1])
    except CommandError as error:
        raise SchemaError(
            "the schema cannot be upgraded, because the table alembic_version does not match the "
            "installed revisions",
            hint="reinstall mirror, or restore the table alembic_version from a backup",
        ) from error
    except sa.exc.DBAPIError as error:
        if errors.is_transient(error.orig, connection.dialect.loaded_dbapi):
            raise
        sqlstate, again = getattr(error.orig, "sqlstate", None), "run `mirror db upgrade`"
        if sqlstate in _NAME_IN_USE:
            hint = f"rename or drop what has this name and is not mirror's, and {again}"
        elif sqlstate is not None:
            hint = f"check the rights of its user, and {again}; if it has all, report the message"
        else:
            hint = (
                "if the message names a table, column, index or view that is not mirror's, rename "
                f"or drop it, and {again}; otherwise report the message"
            )
        message = errors.driver_message(error.orig, connection.engine.url)
        raise DatabaseError(
            f"the upgrade to schema revision {revisions.known()[-1]} failed, and nothing was "
            f"changed ({message})",
            hint=hint,
        ) from error


def alembic_config() -> Config:
    """Return Alembic's configuration for the migrations of this version."""
    from alembic.config import Config

    config = Config(stdout=sys.stdout)  # the default is sys.stdout at the time of import
    config.set_main_option("script_location", str(revisions.scripts_folder()).replace("%", "%%"))
    return config
