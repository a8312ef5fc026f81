"""Grant a Postgres role the right to read the mirror.

Names of roles, schemas and tables are quoted by the server's own quote_ident(). A role is looked up
before its name is used in a statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from mirror.db import models, revisions, views
from mirror.db.engine import write_transaction
from mirror.errors import DatabaseError, UsageError

_MIRROR_RELATIONS = {
    *models.metadata.tables,
    *views.metadata.tables,
    models.alembic_version.name,
}
_MAX_NAME_BYTES = 63  # Postgres truncates a longer name, and would find another role
_SQL_KEYWORDS = {"public", "none", "current_role", "current_user", "session_user", "user"}
"""Words that SQL accepts in place of a role."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The result of a grant.

    Attributes:
        role: name of the role, quoted if SQL needs that.
        schema: name of the mirror's schema, likewise.
        relations: number of tables and views that the role can read now.
        warnings: a sentence for each power of the role beyond reading that comes from ownership or
            from membership in a role such as pg_write_all_data, and for row-level security that
            keeps rows from it.
        query: a query that lists the privileges of the role in the database, for psql.
    """

    role: str
    schema: str
    relations: int
    warnings: tuple[str, ...]
    query: str


_SCHEMA = sa.text("""
    SELECT nspname AS raw_name, pg_catalog.quote_ident(nspname) AS name, n.oid AS id,
        pg_catalog.quote_ident(r.rolname) AS owner, r.oid AS owner_id,
        pg_catalog.quote_ident(current_user) AS me,
        pg_catalog.pg_has_role(r.oid, 'USAGE') AS may_grant
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid = pg_catalog.to_regclass('release_requests')
""")

_RELATIONS = sa.text("""
    SELECT relname AS raw_name, pg_catalog.quote_ident(relname) AS name,
        relowner = CAST(:owner_id AS oid) AS owned
    FROM pg_class
    WHERE relnamespace = CAST(:id AS oid) AND relkind IN ('r', 'v', 'm', 'p', 'f')
    ORDER BY relname
""")

# The CAST of the parameter keeps the server from truncating it to a name. Two words mean something
# else even if they are quoted: GRANT ... TO "public" is for everybody.
_ROLE = sa.text("""
    SELECT oid AS id, rolname AS raw_name, pg_catalog.quote_ident(rolname) AS name
    FROM pg_roles
    WHERE CAST(rolname AS text) = CAST(:role AS text)
        AND rolname NOT IN ('public', 'none')
""")

# Those of a superuser and of the mirror's owner come first: such a role is refused.
_POWERS = sa.text("""
    SELECT pg_catalog.quote_ident(rolname) AS holder, r.oid = CAST(:role_id AS oid) AS itself,
        rolsuper OR r.oid = CAST(:owner_id AS oid) AS unlimited,
        CASE WHEN rolsuper THEN 'a superuser'
            WHEN r.oid = CAST(:owner_id AS oid) THEN 'the owner of the mirror'
            WHEN r.oid = nspowner THEN 'the owner of the schema'
            WHEN r.oid = datdba THEN 'the owner of the database'
            WHEN rolname = 'pg_maintain' THEN 'a role that locks, clusters and reindexes any table'
            ELSE 'a role that writes to any table or file' END AS power,
        CASE rolname WHEN 'pg_maintain' THEN 'keep others from reading the mirror'
            ELSE 'change or drop the mirror' END AS consequence
    FROM pg_roles AS r, pg_namespace AS n, pg_database
    WHERE n.oid = CAST(:schema_id AS oid) AND datname = current_database()
        AND pg_catalog.pg_has_role(CAST(:role_id AS oid), r.oid, 'MEMBER')
        AND rolname <> 'pg_database_owner'
        AND (rolsuper OR r.oid IN (CAST(:owner_id AS oid), nspowner, datdba) OR rolname IN
            ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program',
             'pg_maintain'))
    ORDER BY unlimited DESC, itself DESC, rolsuper DESC, rolname
""")

_SECURED = sa.text("""
    SELECT pg_catalog.quote_ident(relname) AS name, EXISTS (
        SELECT FROM pg_policy, pg_catalog.unnest(polroles) AS member
        WHERE polrelid = c.oid AND polpermissive AND polcmd IN ('r', '*')
            AND CASE WHEN member = CAST(0 AS oid) THEN true
                ELSE pg_catalog.pg_has_role(CAST(:role_id AS oid), member, 'USAGE') END
    ) AS has_policy
    FROM pg_class AS c, pg_roles AS r
    WHERE relnamespace = CAST(:id AS oid) AND relrowsecurity
        AND r.oid = CAST(:role_id AS oid) AND NOT rolbypassrls
    ORDER BY relname
""")

_MAY_USE_SCHEMA = sa.text("""
    SELECT pg_catalog.has_schema_privilege(
        CAST(:role_id AS oid), CAST(:schema_id AS oid), 'USAGE'
    )
""")

_PRIVILEGES = """\
WITH reader AS (SELECT oid FROM pg_roles WHERE rolname = {role}),
held AS (
    SELECT 'database' AS kind, datname::text AS name, privilege
    FROM reader, pg_database AS d,
        unnest(ARRAY['CONNECT', 'CREATE', 'TEMPORARY']) AS privilege
    WHERE datname = current_database() AND has_database_privilege(reader.oid, d.oid, privilege)
    UNION ALL
    SELECT 'schema', nspname, privilege
    FROM reader, pg_namespace AS n, unnest(ARRAY['CREATE', 'USAGE']) AS privilege
    WHERE nspname = {schema} AND has_schema_privilege(reader.oid, n.oid, privilege)
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'relation' END, relname, privilege
    FROM reader, pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
            'TRIGGER'{maintain}]) AS privilege
    WHERE nspname = {schema} AND CASE
        WHEN relkind = 'S' THEN privilege IN ('SELECT', 'UPDATE')
            AND has_sequence_privilege(reader.oid, c.oid, privilege)
        WHEN relkind NOT IN ('r', 'v', 'm', 'p', 'f') THEN false
        WHEN privilege IN ('DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN')
            THEN has_table_privilege(reader.oid, c.oid, privilege)
        ELSE has_any_column_privilege(reader.oid, c.oid, privilege) END
    UNION ALL
    SELECT 'role', rolname, 'MEMBER'
    FROM reader, pg_roles AS r
    WHERE r.oid <> reader.oid AND pg_has_role(reader.oid, r.oid, 'MEMBER')
)
SELECT kind, name, string_agg(privilege, ', ' ORDER BY privilege) AS privileges
FROM held GROUP BY kind, name ORDER BY kind, name;"""


def grant_read(engine: Engine, role: str) -> Granted:
    """Let a role of Postgres read the mirror, including the tables and views of later upgrades.

    Grants USAGE on the schema of the mirror, and SELECT on the tables and views that the mirror's
    owner has there or creates there later. Other privileges of the role stay. Idempotent.

    Args:
        engine: the mirror's database, as its owner, a member of the owner, or a superuser.
        role: the role's name: unquoted and case-sensitive.

    Raises:
        UsageError: the database is SQLite, the role does not exist, or it is a superuser or the
            mirror's owner.
        SchemaError: the database has no mirror, or one of another version.
        DatabaseError: the user of the engine may not grant this; nothing was granted.
    """
    if engine.dialect.name == "sqlite":
        raise UsageError(
            "SQLite has no roles: file permissions decide who can read the mirror",
            hint="open it with file:PATH?mode=ro in programs that must not write",
        )
    _check_name(role)
    with write_transaction(engine, "grants") as connection:
        schema = _find_schema(connection)
        relations = _owned_relations(connection, schema)
        reader = _find_role(connection, role)
        warnings = _find_powers(connection, schema, reader)
        warnings += _find_hidden(connection, schema, reader)
        _grant(connection, schema, relations, reader)
        query = _PRIVILEGES.format(
            role=_literal(reader.raw_name),
            schema=_literal(schema.raw_name),
            maintain=", 'MAINTAIN'" if _has_maintain(connection) else "",
        )
        return Granted(reader.name, schema.name, len(relations), warnings, query)


def _check_name(role: str) -> None:
    """Refuse names that no role can have, and those of Postgres's own roles."""
    try:
        size = len(role.encode())
    except UnicodeEncodeError:  # bytes of the command line that are not UTF-8
        size = 0
    if not 0 < size <= _MAX_NAME_BYTES or "\0" in role:
        raise UsageError(
            f"{role!r} cannot be the name of a role: names are UTF-8, and have 1 to "
            f"{_MAX_NAME_BYTES} bytes"
        )
    if role.startswith("pg_"):
        raise UsageError(f"{role!r} is a predefined role of Postgres", hint="name one of your own")


def _find_schema(connection: Connection) -> Row[Any]:
    """Return the mirror's schema; check that the user may grant rights on it."""
    schema = connection.execute(_SCHEMA).one_or_none()
    if schema is not None and not schema.may_grant:
        # Postgres itself gives no more than a warning if the user may read.
        raise DatabaseError(
            f"the mirror belongs to {schema.owner}, and {schema.me} may not grant rights on it",
            hint=f"run this with a database URL that has {schema.owner} as its user",
        )
    revisions.hold_current(connection)
    assert schema is not None, "a current mirror has the table"
    return schema


def _owned_relations(connection: Connection, schema: Row[Any]) -> list[str]:
    """Return the qualified names of the tables and views of the mirror's owner."""
    values = {"id": schema.id, "owner_id": schema.owner_id}
    relations = connection.execute(_RELATIONS, values).all()
    foreign = [
        relation.name
        for relation in relations
        if relation.raw_name in _MIRROR_RELATIONS and not relation.owned
    ]
    if foreign:
        raise DatabaseError(
            f"{schema.owner} owns the mirror, but not all of it: {', '.join(foreign)}",
            hint=f"run first, for each: ALTER TABLE {schema.name}.{foreign[0]} "
            f"OWNER TO {schema.owner}",
        )
    return [f"{schema.name}.{relation.name}" for relation in relations if relation.owned]


def _find_role(connection: Connection, role: str) -> Row[Any]:
    """Look a role up; if there is none, raise UsageError with what may have been meant."""
    reader = connection.execute(_ROLE, {"role": role}).one_or_none()
    if reader is not None:
        return reader
    lower = role.lower()
    if lower in _SQL_KEYWORDS:
        raise UsageError(f"{role!r} is a keyword of SQL", hint="name a role")
    if connection.execute(_ROLE, {"role": lower}).one_or_none() is not None:
        raise UsageError(
            f"there is no role {role!r}, but there is {lower!r}: Postgres folds names to lower "
            "case unless they are quoted"
        )
    quoted = connection.scalar(sa.select(sa.func.pg_catalog.quote_ident(role)))
    raise UsageError(
        f"there is no role {role!r}",
        hint=f"create it first: CREATE ROLE {quoted} LOGIN PASSWORD '…'",
    )


def _find_powers(connection: Connection, schema: Row[Any], reader: Row[Any]) -> tuple[str, ...]:
    """Return a warning for each power beyond reading; refuse a role that may do everything."""
    values = {"role_id": reader.id, "schema_id": schema.id, "owner_id": schema.owner_id}
    warnings = []
    for row in connection.execute(_POWERS, values):
        membership = "" if row.itself else f"a member of {row.holder}, "
        sentence = f"{reader.name} is {membership}{row.power}"
        if row.unlimited:
            raise UsageError(
                f"{sentence}, and may do everything already",
                hint="name a role that is for reading only",
            )
        warnings.append(f"{sentence}, and may {row.consequence}")
    return tuple(warnings)


def _find_hidden(connection: Connection, schema: Row[Any], reader: Row[Any]) -> tuple[str, ...]:
    """Return a warning if row-level security keeps rows from a role, which no error would say."""
    values = {"role_id": reader.id, "id": schema.id}
    tables = connection.execute(_SECURED, values).all()
    return tuple(
        f"row-level security is on for {', '.join(names)}: {reader.name} sees "
        f"{'the rows that a policy lets it see' if has_policy else 'no rows'} there, and gets no "
        f"error. To show all: ALTER TABLE {schema.name}.{names[0]} DISABLE ROW LEVEL SECURITY"
        for has_policy in (False, True)
        if (names := [table.name for table in tables if table.has_policy is has_policy])
    )


def _grant(
    connection: Connection, schema: Row[Any], relations: list[str], reader: Row[Any]
) -> None:
    """Grant USAGE of the schema, and SELECT on present and future relations.

    Raises:
        DatabaseError: the schema belongs to another role, which has not granted USAGE.
    """
    defaults = f"ALTER DEFAULT PRIVILEGES FOR ROLE {schema.owner} IN SCHEMA {schema.name}"
    for statement in (
        f"GRANT USAGE ON SCHEMA {schema.name} TO {reader.name}",
        f"GRANT SELECT ON TABLE {', '.join(relations)} TO {reader.name}",
        f"{defaults} GRANT SELECT ON TABLES TO {reader.name}",
    ):
        # Else a % in a name would be parsed as the marker of a parameter.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    # Postgres grants nothing on a schema of another role, and gives a warning only.
    if not connection.scalar(_MAY_USE_SCHEMA, {"role_id": reader.id, "schema_id": schema.id}):
        raise DatabaseError(
            f"{schema.owner} owns the mirror, but may not grant USAGE of the schema {schema.name}",
            hint="let the schema's owner run first: "
            f"GRANT USAGE ON SCHEMA {schema.name} TO {reader.name}",
        )


def _has_maintain(connection: Connection) -> bool:
    """Return whether the server knows the privilege MAINTAIN, as Postgres 17 and later do."""
    return (connection.dialect.server_version_info or ()) >= (17,)


def _literal(text: str) -> str:
    """Return a text as a literal of SQL in printable ASCII, which is safe on a terminal."""
    escaped = "".join(
        char if " " <= char <= "~" and char != "\\" else f"\\+{ord(char):06X}" for char in text
    ).replace("'", "''")
    return f"U&'{escaped}'" if "\\" in escaped else f"'{escaped}'"
