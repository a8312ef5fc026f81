"""Rows of views for comparing them: a fixed order, chosen columns, times like the API's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mirror.db.engine import read_transaction
from tests.support.mirrors import Mirror


def rows_of(mirror: Mirror, view: sa.Table) -> list[dict[str, Any]]:
    """Return all rows of a view, with values of its Python types."""
    with read_transaction(mirror.engine) as connection:
        rows = [dict(row) for row in connection.execute(sa.select(view)).mappings()]
    return in_order(rows)


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows by their content."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def like(rows: list[dict[str, Any]], model: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the columns of a model only."""
    names = {name for row in model for name in row}
    return in_order([{name: row[name] for name in names} for row in rows])


def iso(time: datetime) -> str:
    """Format a time like the API."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
