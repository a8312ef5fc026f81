"""Logical replication in Postgres: which of the mirror's tables others subscribe to, or publish.

A subscriber is for reading: replication stops at the first row that both sides have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from mirror.db.models import alembic_version, metadata
from mirror.errors import DatabaseError

_TABLES = """
    WITH RECURSIVE parts AS (
        SELECT c.oid, relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE nspname = current_schema() AND relname IN :tables
        -- A partition may be published or subscribed to by itself.
        UNION ALL SELECT inhrelid, relname FROM pg_inherits JOIN parts ON inhparent = oid
    )
"""
_NAMES: sa.BindParameter[Any] = sa.bindparam(
    "tables",
    [*metadata.tables, alembic_version.name],
    expanding=True,
    type_=sa.Text,
    literal_execute=True,
)

_SUBSCRIBED = sa.text(f"""{_TABLES}
    SELECT DISTINCT relname::text FROM parts JOIN pg_subscription_rel ON srrelid = oid ORDER BY 1
""").bindparams(_NAMES)  # noqa: S608 (no value is in it)

_PUBLICATIONS = sa.text(f"""{_TABLES}
    SELECT pg_catalog.quote_ident(pubname) AS name,
        bool_or(parts.relname = 'alembic_version') AS has_version
    FROM parts JOIN pg_class AS c ON c.oid = parts.oid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        -- By name: to_regclass() fails at each schema that the user may not use.
        JOIN pg_publication_tables ON schemaname = nspname AND tablename = c.relname
    GROUP BY 1 ORDER BY 1
""").bindparams(_NAMES)  # noqa: S608


def subscribed(connection: Connection) -> Sequence[str]:
    """Return the mirror's tables that a subscription writes to, also if only to a partition."""
    if connection.dialect.name == "sqlite":
        return []
    return connection.scalars(_SUBSCRIBED).all()


def publications(connection: Connection) -> Sequence[Row[Any]]:
    """Return the publications in Postgres that have tables of the mirror, or their partitions.

    Returns:
        For each its quoted name (`name`), and whether it has `alembic_version` (`has_version`).
    """
    return connection.execute(_PUBLICATIONS).all()


def refuse_subscriber(connection: Connection) -> None:
    """Check that no subscription writes to the mirror's tables; all that writes rows begins so.

    Upgrades and grants do not write rows, and are for subscribers too.

    Raises:
        DatabaseError: one does.
    """
    if tables := subscribed(connection):
        raise DatabaseError(
            f"a subscription writes to {', '.join(tables)}, and would stop at a row that is "
            "written beside it",
            hint="write at the publisher only; to write here, drop the subscription first",
        )
