"""How a question to the mirror is put together, and how its answer becomes dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.queries.results import Limited

_T = TypeVar("_T")

Conditions = Sequence[sa.ColumnElement[bool]]
"""All of them must hold."""

Columns = sa.sql.base.ReadOnlyColumnCollection[str, sa.Column[Any]]
"""Those of a table or view, by name."""


def in_environment(columns: Columns, environment: str | None) -> list[sa.ColumnElement[bool]]:
    """The condition that a row belongs to an environment; none if `environment` is None."""
    return [] if environment is None else [columns.environment == environment]


def between(
    column: sa.ColumnElement[Any], since: date | None, until: date | None = None
) -> list[sa.ColumnElement[bool]]:
    """The conditions that a time or day is this one or a later one, and before another one."""
    conditions = [] if since is None else [column >= since]
    return conditions if until is None else [*conditions, column < until]


def select_as(kind: type[Any], source: sa.Table) -> sa.Select[Any]:
    """Select the columns that make a dataclass, in its order."""
    columns = (source.c[field.name] for field in fields(kind))
    return sa.select(
        *(
            sa.cast(column, sa.Text).label(column.name)
            if isinstance(column.type, sa.JSON)
            else column
            for column in columns
        )
    )


def fetch(
    connection: Connection, kind: type[_T], query: sa.Select[Any], conditions: Conditions
) -> list[_T]:
    """Ask, and make a dataclass of each row."""
    return [kind(*row) for row in connection.execute(query.where(*conditions))]


def fetch_limited(
    connection: Connection,
    kind: type[_T],
    query: sa.Select[Any],
    conditions: Conditions,
    limit: int,
) -> Limited[_T]:
    """Ask for the first rows, and how many there are in all."""
    query = query.add_columns(sa.func.count().over()).where(*conditions).limit(limit)
    found = connection.execute(query).all()
    return Limited([kind(*row[:-1]) for row in found], found[0][-1] if found else 0)
