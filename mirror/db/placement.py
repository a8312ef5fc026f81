"""Where the mirror's objects are: in one schema of Postgres, whatever `search_path` says.

The schema is the first one on the user's `search_path` that holds a mirror; without one, the first
that exists, where a mirror would be created. Each transaction sets its `search_path` to exactly
that schema, so an object of the same name elsewhere is never meant. Postgres looks into
`pg_catalog` before it, and into `pg_temp` last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

TEMPORARY_SCHEMA = "pg_temp"
"""Schema of the temporary tables, without which a table of somebody else could be meant."""

SQLITE_SCHEMAS = {TEMPORARY_SCHEMA: "temp"}
"""What SQLite calls it, as SQLAlchemy's `schema_translate_map`."""

MIRROR_TABLES = ("alembic_version", "release_requests", "sync_runs")
"""The tables that make a schema that of a mirror, whatever its revision."""

# The user's search_path is in force here, so all names are qualified.
_HAS_MIRROR = " AND ".join(
    f"pg_catalog.to_regclass(pg_catalog.format('%I.{table}', path.name)) IS NOT NULL"
    for table in MIRROR_TABLES
)
_SEARCH_PATH = f"""
    pg_catalog.set_config('search_path', COALESCE((
        SELECT pg_catalog.format('%I, {TEMPORARY_SCHEMA}', path.name)
        FROM pg_catalog.unnest(pg_catalog.current_schemas(false))
            WITH ORDINALITY AS path(name, place)
        WHERE pg_catalog.left(CAST(path.name AS pg_catalog.text), 3) OPERATOR(pg_catalog.<>) 'pg_'
        ORDER BY {_HAS_MIRROR} DESC, path.place
        LIMIT 1
    ), ''), true)
"""  # noqa: S608 (no value is in it)

_ELSEWHERE = sa.text("""
    SELECT nspname AS raw_name, pg_catalog.quote_ident(nspname) AS name,
        pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS usable
    FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relname = ANY(CAST(:tables AS name[])) AND relkind IN ('r', 'p')
        AND nspname IS DISTINCT FROM current_schema()
    GROUP BY n.oid, nspname HAVING count(*) = :count
    ORDER BY nspname
""")

# The user's search_path is in force here as well.
_USER_PATH = sa.text("""
    SELECT setting, source, current_user FROM pg_catalog.pg_settings
    WHERE name OPERATOR(pg_catalog.=) CAST('search_path' AS pg_catalog.text)
""")
_PATH_NAME = re.compile(r'"((?:[^"]|"")*)"|([^\s,]+)')

# A schema with the table sync_runs has a mirror of its own. Views of others may have the same name.
_RELATION_ELSEWHERE = sa.text("""
    SELECT pg_catalog.quote_ident(nspname)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE relname = CAST(:name AS name) AND relpersistence <> 't' AND NOT EXISTS (
        SELECT FROM pg_class AS other
        WHERE other.relnamespace = n.oid AND other.relname = 'sync_runs'
    ) AND (relkind IN ('r', 'p') OR relkind = 'v' AND EXISTS (
        SELECT FROM pg_rewrite AS r
        JOIN pg_depend AS d ON d.objid = r.oid AND d.classid = CAST('pg_rewrite' AS regclass)
        JOIN pg_class AS used ON used.oid = d.refobjid
            AND d.refclassid = CAST('pg_class' AS regclass) AND used.oid <> c.oid
        WHERE r.ev_class = c.oid AND used.relname = ANY(CAST(:used AS name[]))
    ))
    ORDER BY nspname
""")


def search_path() -> sa.ColumnElement[str]:
    """Return the expression that finds the mirror's schema, and sets `search_path` to it.

    It ends with the transaction: a pooler's session keeps nothing of it.
    """
    return sa.literal_column(_SEARCH_PATH, sa.Text).label("search_path")


def schema(connection: Connection) -> str | None:
    """Return the name of the mirror's schema, quoted if SQL needs that.

    Returns:
        None in SQLite, and if no schema on the `search_path` exists that the user may use.
    """
    if connection.dialect.name == "sqlite":
        return None
    return connection.scalar(sa.select(sa.func.pg_catalog.quote_ident(sa.func.current_schema())))


def elsewhere(connection: Connection) -> Sequence[Row[Any]]:
    """Return the other schemas of Postgres that hold a mirror, on the `search_path` or not.

    In that of the connection, another process may have created one since the last statement.

    Returns:
        For each its name as SQL has it (`name`), the name itself (`raw_name`), and whether the user
        may use it (`usable`).
    """
    if connection.dialect.name == "sqlite":
        return []
    tables = list(MIRROR_TABLES)
    return connection.execute(_ELSEWHERE, {"tables": tables, "count": len(tables)}).all()


def relation_elsewhere(connection: Connection, name: str, used: list[str]) -> str | None:
    """Return another schema than the mirror's that holds one of its tables or views, or None.

    Args:
        connection: to the mirror's database.
        name: of the table or view, which is not in the mirror's schema.
        used: names of the mirror's tables and views; a view reads at least one of them.
    """
    if connection.dialect.name == "sqlite":
        return None
    schemas = connection.scalars(_RELATION_ELSEWHERE, {"name": name, "used": used})
    return schemas.first()


class UserPath(msgspec.Struct, frozen=True):
    """The `search_path` that a session of the user begins with.

    Attributes:
        schemas: their names, also of those that do not exist, or that the user may not use.
        is_chosen: whether the connection itself asked for it, that is `options=-csearch_path=…` in
            the URL, the service file or PGOPTIONS, and the server did so: a pooler may drop it.
            One of the role, of the database or by default may be meant for other programs.
    """

    schemas: frozenset[str]
    is_chosen: bool


def user_path(connection: Connection) -> UserPath:
    """Return what the server has as the user's `search_path` in Postgres."""
    connection.execute(sa.text("SET LOCAL search_path TO DEFAULT"))
    path, source, user = connection.execute(_USER_PATH).one()
    connection.execute(sa.select(search_path()))
    names = (
        quoted.replace('""', '"') or plain.lower() for quoted, plain in _PATH_NAME.findall(path)
    )
    schemas = frozenset(user if name == "$user" else name for name in names)
    return UserPath(schemas, source == "client")
