"""Runs the migrations, on a connection of `mirror` or, for the `alembic` command, on a new one."""

from __future__ import annotations

from logging.config import fileConfig

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from mirror.config import settings
from mirror.db import models, revisions
from mirror.db.engine import create_engine, write_transaction
from mirror.db.urls import parse_url
from mirror.errors import SchemaError


def database_url() -> str:
    """Return the URL of `alembic -x database=URL`, or else of the database that `mirror` uses."""
    return settings.database_url(context.get_x_argument(as_dictionary=True).get("database"))


def run_online(connection: Connection) -> None:
    """Run the migrations in the connection's transaction: all or none."""
    context.configure(
        connection=connection,
        target_metadata=models.metadata,
        transactional_ddl=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        # Alembic's own look for the table may use operators of others, which fit better.
        if connection.execute(sa.select(models.alembic_version)).first() is None:
            drop_version_table()


def drop_version_table() -> None:
    """Drop Alembic's table, which would be empty: `mirror` takes that for another program's."""
    context.execute("DROP TABLE IF EXISTS alembic_version")


def run_offline() -> None:
    """Print the SQL of the migrations."""
    context.configure(
        dialect_name=parse_url(database_url()).get_backend_name(),
        target_metadata=models.metadata,
        literal_binds=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
        if context.get_revision_argument() is None:  # base
            drop_version_table()


connection_of_mirror: Connection | None = context.config.attributes.get("connection")
if connection_of_mirror is not None:
    run_online(connection_of_mirror)
else:
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        run_offline()
    else:
        engine = create_engine(database_url(), create=True)
        with write_transaction(engine, revisions.LOCK) as connection:
            try:
                revisions.require_known(revisions.read(connection))
            except SchemaError as error:
                raise CommandError(str(error)) from error
            run_online(connection)
