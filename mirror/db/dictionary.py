"""The data dictionary: tables, views and columns with their types and comments.

The comments are those of `mirror.db.models` and `mirror.db.views`. The migrations store them in
Postgres; SQLite has no place for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mirror.db.models import (
    alembic_version,
    change_cursors,
    erased_requests,
    erasures,
    past_versions,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.db.views import VIEWS
from mirror.errors import UsageError

_TABLES = (
    release_requests,
    past_versions,
    sync_runs,
    quarantined_records,
    erasures,
    erased_requests,
    change_cursors,
    alembic_version,
)
_SQLITE = sqlite.dialect()
_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE_NAMES = {"DOUBLE": "FLOAT", "BOOLEAN": "BIGINT", "DATE": "TEXT"}
"""Types of views' columns in SQLite, which only has the types of tables' columns for them."""
_POSTGRES_NAMES = {
    "FLOAT": "double precision",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    'TEXT COLLATE "C"': "text",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A table, a view, or one of its columns.

    Attributes:
        relation: name of the table or view.
        kind: "table" or "view".
        column: name of the column, or None for the table or view itself.
        sqlite_type: type of the column in SQLite.
        postgresql_type: type of the column in Postgres.
        nullable: whether the column may be null.
        comment: meaning, unit and time zone, source, and when the column is null.
    """

    relation: str
    kind: str
    column: str | None
    sqlite_type: str | None
    postgresql_type: str | None
    nullable: bool | None
    comment: str


def entries(relation: str | None = None) -> list[Entry]:
    """Return the entries of each table and view, followed by those of its columns.

    Args:
        relation: name of a table or view, or None for all.

    Raises:
        UsageError: there is no table or view of that name.
    """
    kinds = dict.fromkeys(_TABLES, "table") | dict.fromkeys(VIEWS, "view")
    names = [table.name for table in kinds]
    if relation is not None and relation not in names:
        raise UsageError(
            f"there is no table or view {relation!r}", hint=f"there are {', '.join(names)}"
        )
    return [
        entry
        for table, kind in kinds.items()
        if relation in {None, table.name}
        for entry in _entries(table, kind)
    ]


def _entries(table: sa.Table, kind: str) -> list[Entry]:
    return [
        Entry(str(table.name), kind, None, None, None, None, table.comment or ""),
        *(
            Entry(
                str(table.name),
                kind,
                str(column.name),
                _type(column, _SQLITE, _SQLITE_NAMES),
                _type(column, _POSTGRES, _POSTGRES_NAMES),
                column.nullable,
                column.comment or "",
            )
            for column in table.columns
        ),
    ]


def _type(column: sa.Column[Any], dialect: sa.Dialect, names: dict[str, str]) -> str:
    """Return the name of a column's type in a database."""
    name = column.type.compile(dialect=dialect)
    return names.get(name, name if dialect is _SQLITE else name.lower())


def markdown(rows: Sequence[Entry]) -> str:
    """Format entries as Markdown, with a heading and a table for each table and view."""
    lines: list[str] = []
    for entry in rows:
        if entry.column is None:
            if lines:
                lines.append("")
            lines += [
                f"### `{entry.relation}` ({entry.kind})",
                "",
                entry.comment,
                "",
                "| column | SQLite | Postgres | |",
                "| --- | --- | --- | --- |",
            ]
        else:
            cells = f"`{entry.column}`", entry.sqlite_type, entry.postgresql_type, entry.comment
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"
