"""Schema revisions: Alembic's migrations, run in one transaction under the writer's lock.

Alembic takes a sixth of a second to import, so an up-to-date database is recognized without it:
revisions are numbered, and the last number is the head.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.db.engine import advisory_lock, read_transaction, write_transaction
from mirror.db.models import alembic_version, release_requests
from mirror.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

LOCK = "schema"
"""Name of the writer's lock of upgrades in Postgres; those of environments begin with "sync "."""

_EXISTING = {
    "sqlite": "SELECT name FROM sqlite_master WHERE name IN (:revision, :view, :index)",
    "postgresql": "SELECT relname FROM pg_class"
    " WHERE oid IN (to_regclass(:revision), to_regclass(:view), to_regclass(:index))",
}
"""By dialect, which of three relations exist. Cheaper than SQLAlchemy's inspector."""

_VIEW = "release_requests_daily"
_UNRELEASED_CTE = "winding_ids"
"""A view of revision 0001, and a part of its SQL as unreleased versions of `mirror` created it."""

_INDEX = "ix_release_requests_environment"
"""An index of revision 0001 that is as new as the column `digest`."""


class _Schema(msgspec.Struct, frozen=True):
    """The schema of a database.

    Attributes:
        revision: its number, or None if there is none.
        is_unreleased: whether an unreleased version of `mirror` created it.
    """

    revision: str | None
    is_unreleased: bool


def scripts_folder() -> Path:
    """Return the folder of the migration scripts, in the wheel or in the checkout."""
    package = Path(__file__).parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revisions() -> list[str]:
    """Return the revisions that this version of `mirror` has, the first one first."""
    return sorted(path.name[:4] for path in (scripts_folder() / "versions").glob("[0-9]*.py"))


def current(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it has no schema yet."""
    return _read_schema(connection).revision


def _read_schema(connection: Connection) -> _Schema:
    """Read the revision, and recognize the schemas that were in use before the first release.

    Their revisions were numbered 0001 to 0005 as well. 0001 to 0003 lack the view
    `release_requests_daily`. The view of 0004 and 0005 has another definition, which is only read
    while this version has no revision of that number. A later 0001 lacks the column `digest`, which
    is only looked for if the index is gone as well.
    """
    names = {"revision": alembic_version.name, "view": _VIEW, "index": _INDEX}
    existing = set(connection.scalars(sa.text(_EXISTING[connection.dialect.name]), names))
    if alembic_version.name not in existing:
        return _Schema(None, is_unreleased=False)
    revision = connection.scalar(sa.select(alembic_version.c.version_num))
    if revision is None or _VIEW not in existing:
        return _Schema(revision, is_unreleased=revision is not None)
    if _INDEX not in existing:
        columns = sa.inspect(connection).get_columns(release_requests.name)
        if "digest" not in {column["name"] for column in columns}:
            return _Schema(revision, is_unreleased=True)
    if revision in revisions():
        return _Schema(revision, is_unreleased=False)
    definition = sa.inspect(connection).get_view_definition(_VIEW)
    return _Schema(revision, is_unreleased=_UNRELEASED_CTE in definition)


def require_current(connection: Connection) -> None:
    """Check that a database has the schema that this version of `mirror` works with.

    Raises:
        SchemaError: it is missing, older, newer or of an unreleased version; the hint names the
            command to run.
    """
    schema = _read_schema(connection)
    _require_known(schema)
    head = revisions()[-1]
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


def require_known(connection: Connection) -> None:
    """Check that the revisions of this version can upgrade or downgrade a database.

    Raises:
        SchemaError: the schema is newer, or of an unreleased version.
    """
    _require_known(_read_schema(connection))


def _require_known(schema: _Schema) -> None:
    """Check that this version of `mirror` can use or upgrade a schema."""
    if schema.is_unreleased:
        raise SchemaError(
            f"the database was made by an unreleased version of mirror (schema revision "
            f"{schema.revision}), and cannot be upgraded",
            hint="name a new database and run `mirror sync`",
        )
    known = revisions()
    if schema.revision is not None and schema.revision not in known:
        raise SchemaError(
            f"the database is at schema revision {schema.revision}, and this version of mirror "
            f"knows none after {known[-1]}",
            hint="run `pip install --upgrade talkover-mirror`",
        )


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Upgrade a database to the head revision, in one transaction; do nothing if it is there.

    Returns:
        The revision before and the revision after.

    Raises:
        SchemaError: the schema is newer than this version of `mirror`, or of an unreleased one.
    """
    head = revisions()[-1]
    with read_transaction(engine) as connection:
        schema = _read_schema(connection)
    _require_known(schema)
    if schema.revision == head:
        return head, head
    with write_transaction(engine, LOCK) as connection:
        return upgrade_in(connection), head


def upgrade_in(connection: Connection) -> str | None:
    """Upgrade a database to the head revision, in the connection's transaction.

    Returns:
        The revision before.

    Raises:
        SchemaError: the schema is newer than this version of `mirror`, or of an unreleased one.
    """
    head = revisions()[-1]
    schema = _read_schema(connection)
    if schema.revision != head:
        advisory_lock(connection, LOCK)
        schema = _read_schema(connection)  # the holder of the lock may have upgraded meanwhile
    _require_known(schema)
    if schema.revision != head:
        _run_alembic(connection)
    return schema.revision


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaError(
            "the schema cannot be upgraded, because the table alembic_version does not match the "
            "installed revisions",
            hint="reinstall mirror, or restore the table alembic_version from a backup",
        ) from error


def alembic_config() -> Config:
    """Return Alembic's configuration for the migrations of this version."""
    from alembic.config import Config

    config = Config(stdout=sys.stdout)  # the default is sys.stdout at the time of import
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    return config
