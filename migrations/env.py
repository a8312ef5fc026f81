"""Runs the migrations, on the connection that `mirror` gives or on one of Alembic's own command."""

from __future__ import annotations

from logging.config import fileConfig

from alembic import context
from sqlalchemy.engine import Connection

from mirror.config import settings
from mirror.db import migrate as schema
from mirror.db import models
from mirror.db.engine import create_engine, parse_url, write_transaction


def database_url() -> str:
    """The database that `mirror` would use; `alembic -x database=URL` is the option's place."""
    return settings.database_url(context.get_x_argument(as_dictionary=True).get("database"))


def migrate(connection: Connection) -> None:
    """Run the migrations in the connection's transaction, so that all or none count."""
    context.configure(
        connection=connection,
        target_metadata=models.metadata,
        transactional_ddl=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_offline() -> None:
    """Print the SQL of the migrations."""
    context.configure(
        dialect_name=parse_url(database_url()).get_backend_name(),
        target_metadata=models.metadata,
        literal_binds=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        migrate_offline()
    else:
        with write_transaction(
            create_engine(database_url(), create=True), schema.LOCK
        ) as connection:
            migrate(connection)
