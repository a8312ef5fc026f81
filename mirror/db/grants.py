"""Who else may read the mirror: rights of Postgres for a role that does nothing but read.

Names of roles, schemas and tables come from the server as its own quote_ident() writes them, so
that SQL made of them means what it says. A role is looked up before its name is used at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from mirror.db import migrate, models, views
from mirror.db.engine import write_transaction
from mirror.errors import DatabaseError, SchemaError, UsageError

_OURS = {*models.metadata.tables, *views.metadata.tables, models.alembic_version.name}
_LONGEST_NAME = 63  # bytes; Postgres cuts what is longer, and would take it for another role
_NO_NAMES = {"public", "none", "current_role", "current_user", "session_user", "user"}
"""Words that SQL has in place of a role."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a role may read, and what else should be known about it.

    Attributes:
        role: its name, quoted if SQL needs that.
        schema: the schema's name, likewise.
        relations: how many tables and views there are to read now.
        warnings: one sentence for each thing that is not as one would expect of a reader: rights
            that it has besides, each with the statement that takes it away; a right that it lacks.
    """

    role: str
    schema: str
    relations: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the mirror lives; names are quoted if SQL needs that."""

    schema: str
    schema_id: int
    owner: str
    owner_id: int
    relations: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Reader:
    """A role; its name is quoted if SQL needs that."""

    name: str
    id: int


_HOME = sa.text("""
    SELECT quote_ident(nspname) AS schema, n.oid AS schema_id,
        quote_ident(r.rolname) AS owner, r.oid AS owner_id,
        quote_ident(current_user) AS me, pg_has_role(r.oid, 'USAGE') AS may_grant
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid = to_regclass('release_requests')
""")

_RELATIONS = sa.text("""
    SELECT relname AS name, quote_ident(relname) AS quoted, relowner = :owner_id AS owned
    FROM pg_class
    WHERE relnamespace = :schema_id AND relkind IN ('r', 'v', 'm', 'p', 'f')
    ORDER BY relname
""")

# Were the parameter of the type name, the server would cut it and find another role. Two words mean
# something else even if they are quoted: GRANT ... TO "public" is for everybody.
_ROLE = sa.text("""
    SELECT oid AS id, quote_ident(rolname) AS name
    FROM pg_roles
    WHERE CAST(rolname AS text) = CAST(:role AS text) AND rolname NOT IN ('public', 'none')
""")

_MASTERS = sa.text("""
    SELECT quote_ident(rolname) AS name, oid = :role_id AS itself, rolsuper AS super
    FROM pg_roles
    WHERE (rolsuper OR oid = :owner_id) AND pg_has_role(:role_id, oid, 'MEMBER')
    ORDER BY itself DESC, super DESC, rolname
    LIMIT 1
""")

_ROUTES = """
    routes AS ( -- roles whose rights it has or can take, and the membership to end for that
        SELECT r.oid, r.rolname, r.rolcreaterole, quote_ident(r.rolname) AS quoted, (
            SELECT string_agg(quote_ident(direct.rolname), ', ' ORDER BY direct.rolname)
            FROM pg_auth_members AS m JOIN pg_roles AS direct ON direct.oid = m.roleid
            WHERE m.member = :role_id AND r.oid <> :role_id
                AND pg_has_role(direct.oid, r.oid, 'MEMBER')
        ) AS via
        FROM pg_roles AS r WHERE pg_has_role(:role_id, r.oid, 'MEMBER')
    )
"""

# Anything but reading counts, also what later versions of Postgres invent. What the owner of the
# schema may do in it is told by the next query.
_RIGHTS = sa.text(f"""
    WITH {_ROUTES},
    relations AS (
        SELECT oid, relacl, :schema || '.' || quote_ident(relname) AS place FROM pg_class
        WHERE relnamespace = :schema_id AND relowner = :owner_id
            AND relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
    ),
    rights AS (
        SELECT '' AS preface, place, grantee, privilege_type FROM relations, aclexplode(relacl)
        UNION ALL
        SELECT '', place, grantee, privilege_type
        FROM relations JOIN pg_attribute ON attrelid = oid, aclexplode(attacl)
        UNION ALL
        SELECT '', 'SCHEMA ' || :schema, grantee, privilege_type
        FROM pg_namespace, aclexplode(nspacl) WHERE oid = :schema_id AND grantee <> nspowner
        UNION ALL
        SELECT 'ALTER DEFAULT PRIVILEGES FOR ROLE ' || :owner
            || CASE defaclnamespace WHEN 0 THEN ' ' ELSE ' IN SCHEMA ' || :schema || ' ' END,
            'TABLES', grantee, privilege_type
        FROM pg_default_acl, aclexplode(defaclacl)
        WHERE defaclrole = :owner_id AND defaclobjtype = 'r'
            AND defaclnamespace IN (0, :schema_id)
    ),
    each AS (
        SELECT preface, place, grantee,
            string_agg(DISTINCT privilege_type, ', ' ORDER BY privilege_type) AS privileges
        FROM rights WHERE privilege_type NOT IN ('SELECT', 'USAGE')
        GROUP BY preface, place, grantee
    )
    SELECT preface, privileges, string_agg(place, ', ' ORDER BY place) AS places,
        coalesce(quoted, 'PUBLIC') AS holder, via
    FROM each LEFT JOIN routes ON routes.oid = grantee
    WHERE grantee = 0 OR routes.oid IS NOT NULL
    GROUP BY preface, privileges, quoted, via, place LIKE 'SCHEMA %'
    ORDER BY preface, holder, places
""")  # noqa: S608 (made of our own words)

_POWERS = sa.text(f"""
    WITH {_ROUTES}
    SELECT 'may write to any table or file, as a member of ' || quoted AS power,
        'REVOKE ' || via || ' FROM ' || :role AS remedy
    FROM routes
    WHERE rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
    UNION ALL
    SELECT 'may make itself a member of the owner (CREATEROLE)',
        coalesce('REVOKE ' || via || ' FROM ' || :role, 'ALTER ROLE ' || :role || ' NOCREATEROLE')
    FROM routes
    WHERE rolcreaterole AND CAST(current_setting('server_version_num') AS int) < 160000
    UNION ALL
    SELECT 'may drop everything, as the owner of the schema ' || :schema,
        'ALTER SCHEMA ' || :schema || ' OWNER TO ' || :owner
    FROM pg_namespace JOIN routes ON routes.oid = nspowner
    WHERE pg_namespace.oid = :schema_id AND rolname <> 'pg_database_owner'
    UNION ALL
    SELECT 'may drop everything, as the owner of the database',
        'ALTER DATABASE ' || quote_ident(datname) || ' OWNER TO ' || :owner
    FROM pg_database JOIN routes ON routes.oid = datdba WHERE datname = current_database()
""")  # noqa: S608 (likewise)

_CONNECT = sa.text("""
    SELECT quote_ident(current_database())
    FROM pg_roles
    WHERE oid = :role_id AND rolcanlogin
        AND NOT has_database_privilege(oid, current_database(), 'CONNECT')
""")

_OPEN = sa.text("SELECT has_schema_privilege(:role_id, :schema_id, 'USAGE')")


def grant_read(engine: Engine, role: str) -> Granted:
    """Let a role of Postgres read the mirror: all that is there, and all that upgrades will make.

    It gets USAGE on the schema that holds the mirror, and SELECT on the tables and views that the
    mirror's owner has there or makes there later; nothing else, such as a way to log in. Rights
    that it has already stay as they are. Doing it again changes nothing.

    Args:
        engine: the mirror's database, as its owner, a member of the owner, or a superuser.
        role: the role's name, as it is: not quoted, upper and lower case being different.

    Returns:
        What it may read now, and what else it may do.

    Raises:
        UsageError: the database is SQLite, there is no such role, or it may do everything anyway.
        SchemaError: the database has no mirror, or one of another version.
        DatabaseError: the user of the engine may not grant this; nothing was granted.
    """
    if engine.dialect.name == "sqlite":
        raise UsageError(
            "SQLite has no roles: whoever may read the file may read the mirror",
            hint="let programs open it with file:PATH?mode=ro, and they cannot write",
        )
    _check(role)
    with write_transaction(engine, migrate.LOCK) as connection:
        home = _home(connection)
        reader = _reader(connection, role, home)
        _grant(connection, home, reader)
        return Granted(
            reader.name,
            home.schema,
            len(home.relations),
            tuple(_warnings(connection, home, reader)),
        )


def _check(role: str) -> None:
    """Refuse names that no role can have, and that would come to mean something else."""
    try:
        size = len(role.encode())
    except UnicodeEncodeError:  # bytes of the command line that are not UTF-8
        size = 0
    if not 0 < size <= _LONGEST_NAME or "\0" in role:
        raise UsageError(
            f"{role!r} cannot be the name of a role: names are UTF-8, and have 1 to "
            f"{_LONGEST_NAME} bytes"
        )
    if role.startswith("pg_"):
        raise UsageError(
            f"{role!r} is one of the roles that Postgres has by itself",
            hint="name one that you made",
        )


def _home(connection: Connection) -> _Home:
    """Find the mirror by the search path, and make sure that it is the user's to share."""
    found = connection.execute(_HOME).one_or_none()
    if found is not None and not found.may_grant:
        # Postgres itself would leave it at a warning if the user may read.
        raise DatabaseError(
            f"the mirror belongs to {found.owner}, and {found.me} may not share it",
            hint=f"run this with a database URL that has {found.owner} as its user",
        )
    migrate.require_current(connection)
    if found is None:
        raise SchemaError(
            "the table release_requests is not where alembic_version is",
            hint="check the search_path in the database URL",
        )
    relations = connection.execute(
        _RELATIONS, {"schema_id": found.schema_id, "owner_id": found.owner_id}
    ).all()
    foreign = [one.quoted for one in relations if one.name in _OURS and not one.owned]
    if foreign:
        raise DatabaseError(
            f"parts of the mirror do not belong to {found.owner}, as the others do: "
            f"{', '.join(foreign)}",
            hint=f"run first, for each: ALTER TABLE {found.schema}.{foreign[0]} "
            f"OWNER TO {found.owner}",
        )
    owned = [one for one in relations if one.owned]
    return _Home(
        found.schema,
        found.schema_id,
        found.owner,
        found.owner_id,
        tuple(f"{found.schema}.{one.quoted}" for one in owned),
        tuple(one.quoted for one in owned if one.name not in _OURS),
    )


def _reader(connection: Connection, role: str, home: _Home) -> _Reader:
    """Look a role up, and make sure that it is one to read with."""
    found = connection.execute(_ROLE, {"role": role}).one_or_none()
    if found is None:
        raise UsageError(_not_found(connection, role))
    master = connection.execute(
        _MASTERS, {"role_id": found.id, "owner_id": home.owner_id}
    ).one_or_none()
    if master is not None:
        what = "a superuser" if master.super else "the owner of the mirror"
        raise UsageError(
            f"{found.name} {'is' if master.itself else f'is a member of {master.name},'} {what}, "
            "and may do everything already",
            hint="name a role that is for reading only",
        )
    return _Reader(found.name, found.id)


def _not_found(connection: Connection, role: str) -> str:
    """Say that there is no such role, and what may have been meant."""
    lower = role.lower()
    if lower in _NO_NAMES:
        return f"{role!r} is no role, but a word of SQL; name the role that is to read"
    if connection.execute(_ROLE, {"role": lower}).one_or_none() is not None:
        return (
            f"there is no role {role!r}, but there is {lower!r}: Postgres keeps names in lower "
            "case unless they are quoted"
        )
    quoted = connection.scalar(sa.select(sa.func.quote_ident(role)))
    return f"there is no role {role!r}; make it first: CREATE ROLE {quoted} LOGIN PASSWORD '…'"


def _grant(connection: Connection, home: _Home, reader: _Reader) -> None:
    """Grant what a reader needs, and nothing else.

    Raises:
        DatabaseError: the schema belongs to somebody else, who has not opened it to the role.
    """
    future = f"ALTER DEFAULT PRIVILEGES FOR ROLE {home.owner} IN SCHEMA {home.schema}"
    for statement in (
        f"GRANT USAGE ON SCHEMA {home.schema} TO {reader.name}",
        f"GRANT SELECT ON TABLE {', '.join(home.relations)} TO {reader.name}",
        f"{future} GRANT SELECT ON TABLES TO {reader.name}",
    ):
        # Else a % in a name would be taken for the mark of a parameter.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    # Of a schema that is not the user's, Postgres grants nothing, and gives a warning only.
    if not connection.scalar(_OPEN, {"role_id": reader.id, "schema_id": home.schema_id}):
        raise DatabaseError(
            f"{home.owner} owns the mirror, but may not open the schema {home.schema} to others",
            hint=f""
            f"let the schema's owner run first: GRANT USAGE ON SCHEMA {home.schema} TO "
            f"{reader.name}",
        )


def _warnings(connection: Connection, home: _Home, reader: _Reader) -> list[str]:
    """Tell what is not as one would expect of somebody who reads the mirror and nothing else."""
    values = {
        "role": reader.name,
        "role_id": reader.id,
        "schema": home.schema,
        "schema_id": home.schema_id,
        "owner": home.owner,
        "owner_id": home.owner_id,
    }
    found = []
    if home.others:
        found.append(
            f"{reader.name} may also read what mirror did not make, but {home.owner} has in the "
            f"same schema: {', '.join(home.others)}"
        )
    found += [
        f"{reader.name} {one.power}; to take that away: {one.remedy}"
        for one in connection.execute(_POWERS, values)
    ]
    found += [_beyond_reading(one, reader) for one in connection.execute(_RIGHTS, values)]
    found += [
        f"{reader.name} may not connect to the database; to let it: GRANT CONNECT ON DATABASE "
        f"{name} TO {reader.name}"
        for name in connection.scalars(_CONNECT, values)
    ]
    return found


def _beyond_reading(right: Row[Any], reader: _Reader) -> str:
    """Tell of a right that the role has beyond reading, and how to take it away."""
    where = "new tables" if right.preface else right.places
    reason = ""
    remedy = f"{right.preface}REVOKE {right.privileges} ON {right.places} FROM {right.holder}"
    if right.holder == "PUBLIC":
        reason = ", as everybody does"
    elif right.via is not None:
        reason = f", as a member of {right.holder}"
        remedy = f"REVOKE {right.via} FROM {reader.name}"
    return f"{reader.name} has {right.privileges} on {where}{reason}; to take that away: {remedy}"
