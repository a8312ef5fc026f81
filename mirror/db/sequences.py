"""Sequences of Postgres that number rows: found behind their table, and set right.

A logical subscriber, or a restore of the rows alone, has the rows but not the positions of the
sequences. The next row would get a number that is in use, or an older one than those before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from mirror.db.engine import advisory_lock
from mirror.db.models import quarantined_records, sync_runs
from mirror.errors import DatabaseError

logger = logging.getLogger(__name__)

LOCK = "sequences"
"""Name of the lock in Postgres, taken after that of an environment: one repair at a time."""

_POSITION = """
    SELECT '{0}' AS name, sequence, (SELECT max(id) FROM {0}) AS last,
        CASE WHEN has_sequence_privilege(sequence, 'USAGE, SELECT')
            THEN COALESCE(pg_sequence_last_value(to_regclass(sequence)), 0) END AS position,
        has_sequence_privilege(sequence, 'USAGE, UPDATE') AS usable,
        has_sequence_privilege(sequence, 'UPDATE') AS settable
    FROM (SELECT pg_get_serial_sequence('{0}', 'id') AS sequence) AS s
"""

# In one statement, whose snapshot of the rows is older than the positions: a row that another
# transaction numbers meanwhile is not taken for one that is ahead of its sequence.
_POSITIONS = " UNION ALL ".join(
    _POSITION.format(table.name) for table in (sync_runs, quarantined_records)
)
_BEHIND = sa.text(f"SELECT * FROM ({_POSITIONS}) AS positions WHERE last > position")  # noqa: S608
_FORBIDDEN = sa.text(
    f"SELECT sequence, quote_ident(current_user) AS user FROM ({_POSITIONS}) AS positions "  # noqa: S608
    "WHERE has_table_privilege(name, 'INSERT') AND (NOT usable OR NOT settable AND last > position)"
)


def behind(connection: Connection) -> Sequence[Row[Any]]:
    """Return the sequences that are behind their table.

    Returns:
        For each its table (`name`), its own qualified name (`sequence`), the last number in the
        table (`last`), its `position`, and whether the user may set it (`settable`).
    """
    if connection.dialect.name == "sqlite":  # AUTOINCREMENT looks at the rows too
        return []
    return connection.execute(_BEHIND).all()


def require_rights(connection: Connection) -> None:
    """Check that the user may take numbers, and set the sequences that are behind their table.

    One that may not insert rows is not asked: what it lacks is the right to the tables.

    Raises:
        DatabaseError: it may not; the hint is the GRANT.
    """
    if connection.dialect.name == "sqlite":
        return
    if forbidden := connection.execute(_FORBIDDEN).all():
        names = ", ".join(row.sequence for row in forbidden)
        user = forbidden[0].user
        raise DatabaseError(
            f"{user} lacks rights to {names}, from which new rows get their numbers",
            hint=f"as the owner, run: GRANT USAGE, SELECT, UPDATE ON SEQUENCE {names} TO {user}",
        )


def repair(connection: Connection) -> None:
    """Set the sequences right that are behind their table, and say so.

    The new position is in force at once, whether the transaction is committed or not.

    Args:
        connection: in a transaction that writes, and has numbered no row yet.

    Raises:
        DatabaseError: the user may not.
    """
    require_rights(connection)
    if not behind(connection):
        return
    advisory_lock(connection, LOCK)
    for row in behind(connection):  # the holder of the lock may have set them right meanwhile
        connection.execute(
            sa.text("SELECT setval(CAST(:sequence AS regclass), :last)"),
            {"sequence": row.sequence, "last": row.last},
        )
        logger.warning(
            "the sequence of %s.id was at %s, behind the table, and is now at %s: was the "
            "database restored, or is it a former logical subscriber?",
            row.name,
            f"{row.position:,}",
            f"{row.last:,}",
        )
