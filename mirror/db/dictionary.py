"""The data dictionary: what every table, view and column is, from the one place that says so.

The comments stand in `mirror.db.models` and `mirror.db.views`. Postgres has them too, by the
revisions; SQLite has no place for them, so its users find them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mirror.db.cookbook import RECIPES
from mirror.db.models import (
    alembic_version,
    past_versions,
    quarantined_records,
    release_requests,
    sync_runs,
)
from mirror.db.views import VIEWS
from mirror.errors import UsageError

_TABLES = (release_requests, past_versions, sync_runs, quarantined_records, alembic_version)
_SQLITE = sqlite.dialect()
_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
_SQLITE_NAMES = {"DOUBLE": "FLOAT", "BOOLEAN": "BIGINT", "DATE": "TEXT"}
"""Where a view's column borrows its type from a column of a table, as it has to in SQLite."""
_POSTGRES_NAMES = {
    "FLOAT": "double precision",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    'TEXT COLLATE "C"': "text",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What there is to say of a table or view, or of one of its columns.

    Attributes:
        relation: name of the table or view.
        kind: "table" or "view".
        column: name of the column, or None for the table or view itself.
        sqlite_type: the type that SQLite declares for the column.
        postgresql_type: its type in Postgres.
        nullable: whether it may be null.
        comment: what it is, its unit and time zone, where it comes from, and when it is null.
    """

    relation: str
    kind: str
    column: str | None
    sqlite_type: str | None
    postgresql_type: str | None
    nullable: bool | None
    comment: str


def entries(relation: str | None = None) -> list[Entry]:
    """Return the dictionary: of each table and view itself first, then of its columns.

    Args:
        relation: only this table or view.

    Raises:
        UsageError: there is none of that name.
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
    """Return the name that a database has for the type of a column."""
    name = column.type.compile(dialect=dialect)
    return names.get(name, name if dialect is _SQLITE else name.lower())


def markdown(shown: Sequence[Entry]) -> str:
    """Write entries as Markdown: a heading, a sentence and a table for each table and view."""
    lines: list[str] = []
    for one in shown:
        if one.column is None:
            if lines:
                lines.append("")
            lines += [
                f"### `{one.relation}` ({one.kind})",
                "",
                one.comment,
                "",
                "| column | SQLite | Postgres | |",
                "| --- | --- | --- | --- |",
            ]
        else:
            cells = f"`{one.column}`", one.sqlite_type, one.postgresql_type, one.comment
            lines.append(f"| {' | '.join(str(cell) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def datasette(shown: Sequence[Entry], database: str) -> dict[str, Any]:
    """Return metadata for Datasette: the dictionary as descriptions, the cookbook as queries.

    Args:
        shown: entries.
        database: what Datasette calls the database: the name of its file without `.db`.
    """
    tables: dict[str, dict[str, Any]] = {"sqlite_sequence": {"hidden": True}}
    for one in shown:
        if one.column is None:
            tables[one.relation] = {"description": one.comment, "columns": {}}
        else:
            tables[one.relation]["columns"][one.column] = one.comment
    if alembic_version.name in tables:
        tables[alembic_version.name]["hidden"] = True
    queries = {recipe.name: {"title": recipe.question, "sql": recipe.sql} for recipe in RECIPES}
    about = {
        "title": "Release requests",
        "description": "A mirror of Talkover's phone-number release requests. All times are UTC.",
    }
    return about | {"databases": {database: about | {"tables": tables, "queries": queries}}}
