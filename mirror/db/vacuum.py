"""Clean the freed space of a database, in which deleted and replaced values remain otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db import placement
from mirror.db.engine import read_transaction
from mirror.db.errors import translate_errors
from mirror.errors import DatabaseError, DatabaseUnavailable

_NOT_OWNED = sa.text("""
    SELECT pg_catalog.quote_ident(relname) FROM pg_class
    WHERE relnamespace = pg_catalog.to_regnamespace(:schema) AND relname IN :tables
        AND NOT pg_catalog.pg_has_role(relowner, 'USAGE')
    ORDER BY relname
""").bindparams(sa.bindparam("tables", expanding=True, literal_execute=True, type_=sa.Text))


def overwrite_freed(connection: Connection) -> None:
    """Have SQLite overwrite what this connection's transaction deletes or replaces."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def vacuum(engine: Engine, tables: Sequence[sa.Table]) -> None:
    """Clean the freed space of a database.

    SQLite writes the file anew and empties its WAL: replaced values are in neither. Postgres
    removes the replaced rows of some tables and their values in the planner's statistics; the bytes
    stay in the files until their place is used again.

    Args:
        engine: the database.
        tables: those to clean in Postgres.

    Raises:
        DatabaseUnavailable: the database is busy, or there is no room on the disk.
        DatabaseError: the tables of Postgres belong to another role.
    """
    if engine.dialect.name == "sqlite":
        _vacuum_sqlite(engine)
    else:
        _vacuum_postgres(engine, [table.name for table in tables])


def _vacuum_sqlite(engine: Engine) -> None:
    # Not engine.connect(), which begins a transaction.
    with translate_errors(engine), closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("PRAGMA secure_delete = ON")
        samples = cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat4'")
        if samples.fetchone():  # values of indexed columns
            cursor.execute("ANALYZE")
        cursor.execute("VACUUM")
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (0,)
    if busy:
        raise DatabaseUnavailable(
            "another program reads the database, so its WAL file cannot be emptied",
            hint="close it, or wait for it, and run the same command again",
        )


def _vacuum_postgres(engine: Engine, tables: Sequence[str]) -> None:
    with read_transaction(engine) as connection:
        schema = placement.schema(connection)
        parameters = {"schema": schema, "tables": tables}
        not_owned = connection.scalars(_NOT_OWNED, parameters).all()
    if not_owned:
        raise DatabaseError(
            f"only their owner may vacuum {', '.join(not_owned)}",
            hint="run the same command again as their owner",
        )
    autocommit = {"isolation_level": "AUTOCOMMIT"}
    with (
        translate_errors(engine),
        engine.connect().execution_options(**autocommit) as autocommitting,
    ):
        names = ", ".join(f"{schema}.{name}" for name in tables)
        # Else a % in the name of the schema would be parsed as the marker of a parameter.
        no_parameters = {"no_parameters": True}
        autocommitting.exec_driver_sql(f"VACUUM (ANALYZE) {names}", execution_options=no_parameters)
