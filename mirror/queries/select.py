"""SELECT statements built from filters, and their rows as dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.arguments import check_text, check_type, storable, whole_number
from mirror.db.types import JSONObject
from mirror.queries.results import Limited

_T = TypeVar("_T")

_MAX_LIMIT = 2**63 - 1  # what the databases take

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
    return [] if environment is None else [columns.environment == storable(environment)]


def between(
    column: sa.ColumnElement[Any], since: date | None, until: date | None = None
) -> list[sa.ColumnElement[bool]]:
    """Restrict a time or day to `since` <= column < `until`; None leaves a side open."""
    conditions = [] if since is None else [column >= since]
    return conditions if until is None else [*conditions, column < until]


def select_as(row_type: type[Any], source: sa.Table) -> sa.Select[Any]:
    """Select the columns named by the fields of a dataclass, in their order; JSON as text."""
    return sa.select(*(as_text(source.c[field.name]) for field in fields(row_type)))


def as_text(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column of a SELECT; one of JSON as text."""
    if isinstance(column.type, JSONObject):
        return sa.cast(column, sa.Text).label(column.name)
    return column


def _check_limit(limit: int | None) -> int | None:
    """Check an argument `limit`; return it.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is negative.
    """
    if limit is None:
        return None
    limit = whole_number("limit", limit)
    if limit < 0:
        raise ValueError(f"limit must not be negative, as {limit} is")
    return min(limit, _MAX_LIMIT)


def fetch_sorted(
    connection: Connection,
    row_type: type[_T],
    source: sa.Table,
    conditions: Conditions,
    *,
    sort: str | None,
    limit: int | None,
    default: Sequence[sa.ColumnElement[Any]],
    ties: Sequence[sa.ColumnElement[Any]] | None = None,
    join: sa.FromClause | None = None,
) -> list[_T]:
    """Return the first rows of a table or view as a dataclass.

    Args:
        connection: to the mirror's database.
        row_type: the dataclass.
        source: the table or view.
        conditions: select the rows.
        sort: name of a field of the dataclass, with "-" before it for descending order; nulls come
            last.
        limit: return at most this many; None for all.
        default: the order if `sort` is None.
        ties: the order of rows that are equal in the column; None for `default`.
        join: what the conditions need besides the source, joined to it; None for nothing.

    Raises:
        ValueError: the dataclass has no such field, it is JSON, or the limit is negative.
    """
    check_text(sort=sort)
    query = select_as(row_type, source).limit(_check_limit(limit))
    if join is not None:
        query = query.select_from(join)
    if sort is None:
        return fetch(connection, row_type, query.order_by(*default), conditions)
    name = sort.removeprefix("-")
    names = [
        name
        for name in query.selected_columns.keys()  # noqa: SIM118 (not a mapping)
        # The two databases do not sort JSON alike.
        if not isinstance(source.c[name].type, JSONObject)
    ]
    if name not in names:
        raise ValueError(f"sort must be one of {', '.join(names)}, or -NAME, not {sort!r}")
    column = source.c[name]
    key: sa.ColumnElement[Any] = column
    if type(column.type) is sa.Text and connection.dialect.name == "postgresql":
        key = sa.collate(column, "C")  # by code points, as in SQLite, in each locale
    direction = key.desc() if sort.startswith("-") else key.asc()
    # Without need it would keep Postgres from reading an index backwards.
    direction = direction.nulls_last() if column.nullable else direction
    query = query.order_by(direction, *(default if ties is None else ties))
    return fetch(connection, row_type, query, conditions)


def fetch(
    connection: Connection, row_type: type[_T], query: sa.Select[Any], conditions: Conditions
) -> list[_T]:
    """Run a query, and convert each row to `row_type`."""
    check_connection(connection)
    return [row_type(*row) for row in connection.execute(query.where(*conditions))]


def count(connection: Connection, source: sa.Table, conditions: Conditions) -> int:
    """Count the rows of a table or view that meet conditions."""
    check_connection(connection)
    query = sa.select(sa.func.count()).select_from(source).where(*conditions)
    return connection.scalar(query) or 0


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
