"""The schema revision of a database, and whether this version of `mirror` works with it.

Revisions are numbered, and the last number is the head. So an up-to-date database is recognized
without Alembic, which takes a sixth of a second to import.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import placement, views
from mirror.db.engine import advisory_lock
from mirror.db.models import alembic_version, metadata, release_requests
from mirror.errors import DatabaseError, SchemaError

logger = logging.getLogger(__name__)

LOCK = "schema"
"""Name of the writer's lock of upgrades in Postgres; those of environments begin with "sync ".

Others that write share it, so that no upgrade comes between their look at the schema and their
commit. An erasure does not share it, so that no sync comes between. It is the last but one lock to
take: after those of environments, before that of sequences.
"""

_EXISTING = {
    "sqlite": "SELECT name, 0 AS hidden, 0 AS limited FROM main.sqlite_master WHERE name IN :names",
    # Types count, as a table has one of its name. In a transaction that writes, row_security is
    # off: there each policy is one too many.
    "postgresql": """
        WITH home AS (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        SELECT relname AS name, limited, limited AND (
            pg_catalog.current_setting('row_security') = 'off' OR NOT EXISTS (
                SELECT FROM pg_policy, pg_catalog.unnest(polroles) AS role
                WHERE polrelid = c.oid AND polpermissive AND polcmd IN ('r', '*')
                    AND CASE WHEN role = CAST(0 AS oid) THEN true
                        ELSE pg_catalog.pg_has_role(role, 'USAGE') END
            )
        ) AS hidden
        FROM home JOIN pg_class AS c ON relnamespace = home.oid,
            LATERAL (
                SELECT relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid) AS limited
            ) AS l
        WHERE relname IN :names
        UNION ALL
        SELECT typname, false, false FROM home JOIN pg_type ON typnamespace = home.oid
        WHERE typrelid = 0 AND typname IN :names
    """,
}
"""By dialect, which of some names there are in the mirror's schema. Cheaper than SQLAlchemy's
inspector. `limited` are those of which the user may not see all rows because of row-level security,
and `hidden` those of which it sees none."""

_VIEW = "release_requests_daily"
_UNRELEASED_CTE = "winding_ids"
"""A view of revision 0001, and a part of its SQL as unreleased versions of `mirror` created it."""

_INDEX = "ix_release_requests_environment"
"""An index of revision 0001 that is as new as the column `digest`."""

_REVISION = re.compile(r"[0-9]{4}")


class Schema(msgspec.Struct, frozen=True):
    """The schema of a database.

    Attributes:
        revision: its number, or None if there is none.
        is_unreleased: whether an unreleased version of `mirror` created it.
        hidden: its tables of which the user sees no row, because of row-level security.
        limited: those of which it sees some.
        missing: views of its revision that were dropped; at the head revision also tables.
    """

    revision: str | None
    is_unreleased: bool = False
    hidden: Sequence[str] = ()
    limited: Sequence[str] = ()
    missing: Sequence[str] = ()


def scripts_folder() -> Path:
    """Return the folder of the migration scripts, in the wheel or in the checkout."""
    package = Path(__file__).parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def known() -> Sequence[str]:
    """Return the revisions that this version of `mirror` has, the first one first.

    They are read once: a newer version may be installed over a process that runs for long.
    """
    return _known_in(scripts_folder())


def _numbers(scripts: Path) -> Sequence[str]:
    return sorted(path.name[:4] for path in (scripts / "versions").glob("[0-9]*.py"))


_known_in = cache(_numbers)


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it has no schema yet, and can get one.

    Raises:
        SchemaError: another program uses the names of the mirror's tables, or the mirror is in a
            schema of Postgres that `search_path` does not name.
    """
    return read(connection).revision


def _existing(connection: Connection, names: Iterable[str]) -> Sequence[sa.Row[Any]]:
    """Return which of some names are in use where the mirror is."""
    query = sa.text(_EXISTING[connection.dialect.name])
    # As literals, which take the type of the column: others may have an operator that fits better.
    given: sa.BindParameter[Any] = sa.bindparam(
        "names", sorted(names), sa.Text, expanding=True, literal_execute=True
    )
    return connection.execute(query.bindparams(given)).all()


def read(connection: Connection) -> Schema:
    """Read the revision, and recognize the schemas that were in use before the first release.

    Their revisions were numbered 0001 to 0005 as well. They lack the column `digest`, which is only
    looked for if the index is gone as well. The view of 0004 and 0005 has another definition, which
    is only read while this version has no revision of that number.
    """
    ours = [*metadata.tables, *views.metadata.tables]
    names = set(_names(connection.dialect.name))
    # One statement for all: between two of them, another process may create the mirror.
    found = _existing(connection, {*names, *placement.MIRROR_TABLES, _INDEX})
    existing = {row.name for row in found}
    if not existing.issuperset(placement.MIRROR_TABLES):
        _require_place(connection, existing & names)
        return Schema(None)
    schema = Schema(
        None,
        hidden=[row.name for row in found if row.hidden],
        limited=[row.name for row in found if row.limited],
    )
    if alembic_version.name in schema.hidden:
        require_rows(connection, schema)
    revision = read_number(connection)
    schema = msgspec.structs.replace(schema, revision=revision)
    unreleased = msgspec.structs.replace(schema, is_unreleased=True)
    if _INDEX not in existing:
        columns = sa.inspect(connection).get_columns(release_requests.name)
        if "digest" not in {column["name"] for column in columns}:
            return unreleased
    numbers = known()
    if revision in numbers:
        missing = [name for name in ours if name not in existing]
        if revision != numbers[-1]:  # only views have files, by which it is known when they came
            dialect = connection.dialect.name
            missing = [name for name in missing if sql_files(name, dialect, revision)]
        for name in missing:
            _refuse_elsewhere(connection, name, ours)
        return msgspec.structs.replace(schema, missing=missing)
    if _VIEW not in existing:
        return unreleased
    definition = sa.inspect(connection).get_view_definition(_VIEW)
    return unreleased if _UNRELEASED_CTE in definition else schema


def sql_files(name: str, dialect: str, revision: str) -> list[Path]:
    """Return the SQL files of a name in the revisions up to one, the oldest first."""
    found = (scripts_folder() / "sql").glob(f"*/{dialect}/{name}.sql")
    return sorted(path for path in found if path.parts[-3] <= revision)


def _refuse_elsewhere(connection: Connection, name: str, ours: list[str]) -> None:
    """Refuse a mirror one of whose tables or views is in another schema than the others."""
    if schema := placement.relation_elsewhere(connection, name, ours):
        home = placement.schema(connection)
        kind = "view" if name in views.metadata.tables else "table"
        raise SchemaError(
            f"the mirror is in the schema {home}, but its {kind} {name} is in {schema}",
            hint=f"run for each that is there: ALTER {kind.upper()} {schema}.{name} "
            f"SET SCHEMA {home}",
        )


def read_number(connection: Connection) -> str:
    """Return the revision of a mirror, whose tables exist.

    Raises:
        SchemaError: there is none, or `alembic_version` has those of another program.
    """
    # All columns: the table of another program may have others.
    every = sa.select(sa.text("*")).select_from(alembic_version).limit(2)
    rows = connection.execute(every).mappings().all()
    if not rows:
        raise SchemaError(
            f"the table alembic_version{_where(connection)} is empty, so the schema revision of "
            "the mirror beside it is not known",
            hint="restore its row from a backup, or from the server that this one is a copy of",
        )
    revision = rows[0].get("version_num")
    if len(rows) > 1 or not (isinstance(revision, str) and _REVISION.fullmatch(revision)):
        raise _foreign(connection, alembic_version.name)
    return revision


def _require_place(connection: Connection, existing: Collection[str]) -> None:
    """Check that a mirror may be created where there is none.

    Args:
        connection: of the database.
        existing: those of the mirror's names that are in use there.

    Raises:
        SchemaError: another program uses one of its names, most tables of a mirror are there, there
            is a mirror in a schema that `search_path` does not name, or there is no schema.
    """
    tables = metadata.tables.keys()  # without views, which Postgres drops with a table
    if len(tables & set(existing)) > len(tables) / 2:
        lost = ", ".join(name for name in placement.MIRROR_TABLES if name not in existing)
        raise _lacks(lost)
    if existing:
        raise _foreign(connection, min(existing))
    if connection.dialect.name == "sqlite":
        return
    others = placement.elsewhere(connection)
    path = placement.user_path(connection) if others else None
    for other in others:
        if path and other.raw_name in path.schemas and not other.usable:
            user = _user(connection)
            raise SchemaError(
                f"the mirror is in the schema {other.name}, which {user} may not use",
                hint=f"as its owner, run: GRANT USAGE ON SCHEMA {other.name} TO {user}",
            )
    if path and not path.is_chosen:
        raise SchemaError(
            f"the mirror is in the schema {' or '.join(other.name for other in others)}, which the "
            f"search_path of {_user(connection)} does not reach",
            hint=f"{_choose(connection, others[0].name)}; for another mirror name another schema "
            "there",
        )
    if placement.schema(connection) is None:
        raise SchemaError(
            f"the search_path of {_user(connection)} names no schema that exists and that it may "
            "use",
            hint=f"create one, such as CREATE SCHEMA mirror, and {_choose(connection, 'mirror')}",
        )


def _names(dialect: str) -> Iterator[str]:
    """Yield the names of what a mirror creates, which nothing else may have in its schema.

    A sequence is not among them: Postgres gives it another name if its own is in use.
    """
    yield from views.metadata.tables
    for table in (*metadata.tables.values(), alembic_version):
        yield table.name
        yield from (str(index.name) for index in table.indexes)
        if dialect == "postgresql":  # SQLite gives their indexes names of its own
            for constraint in table.constraints:
                if isinstance(constraint, (sa.PrimaryKeyConstraint, sa.UniqueConstraint)):
                    yield str(constraint.name)


def _foreign(connection: Connection, name: str) -> SchemaError:
    """Return the error for a name of the mirror's that another program uses."""
    if connection.dialect.name == "sqlite":
        hint = "name another file with --database"
    else:
        hint = (
            "give the mirror a schema or a database of its own, such as CREATE SCHEMA mirror, and "
            f"{_choose(connection, 'mirror')}"
        )
    return SchemaError(f"{name}{_where(connection)} belongs to another program", hint=hint)


def _lacks(tables: str) -> SchemaError:
    """Return the error for a mirror without some of its tables, which no upgrade creates again."""
    return SchemaError(
        f"the mirror lacks {tables}, which somebody dropped",
        hint="restore the database from a backup",
    )


def _where(connection: Connection) -> str:
    schema = placement.schema(connection)
    return "" if schema is None else f" in the schema {schema}"


def _user(connection: Connection) -> str:
    return str(connection.scalar(sa.text("SELECT pg_catalog.quote_ident(current_user)")))


def _choose(connection: Connection, schema: str) -> str:
    """Return how to name a schema of Postgres in the database URL, or for the user."""
    separator = "&" if connection.engine.url.query else "?"
    # A backslash keeps what follows in the value of `options`.
    value = quote(schema.replace("\\", "\\\\").replace(" ", "\\ "))
    return (
        f"add {separator}options=-csearch_path%3D{value} to the database URL or, behind a pooler, "
        f"run ALTER ROLE {_user(connection)} SET search_path = {schema}"
    )


def require_current(connection: Connection) -> None:
    """Check that a database has the schema that this version of `mirror` works with.

    Raises:
        SchemaError: it is missing, older, newer or of an unreleased version; the hint names the
            command to run.
        DatabaseError: row-level security hides its rows from the user.
    """
    schema = read(connection)
    require_known(schema)
    head = known()[-1]
    if schema.revision is None:
        raise SchemaError(
            "the database has no mirror in it yet", hint="run `mirror sync`, or `mirror db upgrade`"
        )
    if schema.revision != head:
        raise SchemaError(
            f"the database is at schema revision {schema.revision}, and this version of mirror "
            f"works with {head}",
            hint="run `mirror db upgrade`",
        )
    require_rows(connection, schema)


def hold_current(connection: Connection) -> None:
    """Check the schema as `require_current` does; upgrades wait until the transaction ends.

    Without the lock, an upgrade that is not yet committed would go unnoticed: what is written then
    waits for its tables, and goes into a schema that this version does not know.
    """
    advisory_lock(connection, LOCK, shared=True)
    require_current(connection)


def require_rows(connection: Connection, schema: Schema) -> None:
    """Check that the user sees rows, and warn if it does not see all: no error would say so.

    A transaction that writes needs all of them.
    """
    if not schema.limited:
        return
    tables = ", ".join(sorted(schema.hidden or schema.limited))
    user = _user(connection)
    if schema.hidden:
        name = f"{placement.schema(connection)}.{min(schema.hidden)}"
        raise DatabaseError(
            f"row-level security hides rows of {tables} from {user}",
            hint=f"as the owner, run for each: ALTER TABLE {name} DISABLE ROW LEVEL SECURITY (if "
            f"the owner sees none either, also ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY); or "
            f"as a superuser: ALTER ROLE {user} BYPASSRLS",
        )
    logger.warning(
        "row-level security limits %s to those rows of %s that a policy lets it see", user, tables
    )


def require_known(schema: Schema) -> None:
    """Check that this version of `mirror` can use or upgrade a schema."""
    if schema.is_unreleased:
        raise SchemaError(
            f"the database was made by an unreleased version of mirror (schema revision "
            f"{schema.revision}), and cannot be upgraded",
            hint="name a new database and run `mirror sync`",
        )
    if schema.missing:
        if lost := [name for name in schema.missing if name in metadata.tables]:
            raise _lacks(", ".join(lost))
        raise SchemaError(
            f"the mirror lacks {', '.join(schema.missing)}, which somebody dropped",
            hint="run `mirror db upgrade`, which creates views again",
        )
    numbers = known()
    if schema.revision is not None and schema.revision not in numbers:
        raise SchemaError(
            f"the database is at schema revision {schema.revision}, and this version of mirror "
            f"knows none after {numbers[-1]}",
            hint="restart it: a newer version was installed meanwhile"
            if schema.revision in _numbers(scripts_folder())
            else "install a newer version of mirror",
        )
