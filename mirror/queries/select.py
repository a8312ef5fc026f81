"""SELECT statements built from filters, and their rows as dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.arguments import check_text, check_type
from mirror.db.types import JSONObject
from mirror.queries.results import Limited

_T = TypeVar("_T")

Conditions = Sequence[sa.ColumnElement[bool]]
"""Combined with AND."""

Columns = sa.sql.base.ReadOnlyColumnCollection[str, sa.Column[Any]]
"""The columns of a table or view, by name."""


def check_connection(connection: Connection) -> None:
    """Check that this is a connection of SQLAlchemy.

    Raises:
        TypeError: it is something else, such as the context that `mirror.connect` returns.
    """
    expected = "an SQLAlchemy Connection, as in `with mirror.connect() as connection`"
    check_type("connection", connection, Connection, expected)


def in_environment(columns: Columns, environment: str | None) -> list[sa.ColumnElement[bool]]:
    """Restrict rows to an environment; no condition if it is None."""
    check_text(environment=environment)
    return [] if environment is None else [columns.environment == environment]


def between(
    column: sa.ColumnElement[Any], since: date | None, until: date | None = None
) -> list[sa.ColumnElement[bool]]:
    """Restrict a time or day to `since` <= column < `until`; None leaves a side open."""
    conditions = [] if since is None else [column >= since]
    return conditions if until is None else [*conditions, column < until]


def select_as(row_type: type[Any], source: sa.Table) -> sa.Select[Any]:
    """Select the columns named by the fields of a dataclass, in their order; JSON as text."""
    columns = (source.c[field.name] for field in fields(row_type))
    return sa.select(
        *(
            sa.cast(column, sa.Text).label(column.name)
            if isinstance(column.type, JSONObject)
            else column
            for column in columns
        )
    )


def fetch(
    connection: Connection, row_type: type[_T], query: sa.Select[Any], conditions: Conditions
) -> list[_T]:
    """Run a query, and convert each row to `row_type`."""
    check_connection(connection)
    return [row_type(*row) for row in connection.execute(query.where(*conditions))]


def fetch_limited(
    connection: Connection,
    row_type: type[_T],
    query: sa.Select[Any],
    conditions: Conditions,
    limit: int,
) -> Limited[_T]:
    """Run a query; return its first `limit` rows and the total number of rows."""
    query = query.add_columns(sa.func.count().over()).where(*conditions).limit(limit)
    rows = connection.execute(query).all()
    return Limited([row_type(*row[:-1]) for row in rows], rows[0][-1] if rows else 0)
