"""The tables of a mirror, read as they are and compared with the oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import models
from mirror.db.engine import create_engine, read_transaction
from tests.support.list_parser import Fields
from tests.support.oracle import (
    COLUMNS,
    ListResponse,
    PlainMirror,
    Tables,
    expected_tables,
    in_order,
)

Run = sa.Row[Any]
"""A row of `sync_runs`."""


def read_tables(connection: Connection, *environments: str) -> Tables:
    """Everything that syncs write except the runs, of all environments or of some."""
    tables: Tables = {}
    for name, columns in COLUMNS.items():
        table = models.metadata.tables[name].c
        query = sa.select(*(table[column] for column in columns))
        if environments:
            query = query.where(table.environment.in_(environments))
        tables[name] = in_order(map(tuple, connection.execute(query)))
    return tables


def read_runs(connection: Connection) -> list[Run]:
    """The recorded runs, the first one first."""
    return list(connection.execute(sa.select(models.sync_runs).order_by(models.sync_runs.c.id)))


def runs_of(url: str) -> list[Run]:
    """The recorded runs of a mirror, the first one first."""
    with read_transaction(create_engine(url)) as connection:
        return read_runs(connection)


def tables_of(url: str) -> Tables:
    """The tables of a mirror, whose versions must be contiguous."""
    with read_transaction(create_engine(url)) as connection:
        assert version_gaps(connection) == []
        return read_tables(connection)


def version_gaps(connection: Connection) -> list[tuple[Any, ...]]:
    """Versions that do not end where the next one begins, or end without a next one.

    If there are none, the last version of each request is open and all others are closed.
    """
    rows = connection.exec_driver_sql(
        """
        SELECT id, valid_from, valid_to, begins FROM (
          SELECT id, valid_from, valid_to,
                 lead(valid_from) OVER (PARTITION BY id ORDER BY valid_from) AS begins
          FROM release_request_versions) AS version
        WHERE (begins IS NULL) <> (valid_to IS NULL) OR begins <> valid_to OR valid_to <= valid_from
        LIMIT 3
        """
    )
    return [tuple(row) for row in rows]


class ExpectedState:
    """The tables that a mirror must have after the runs that applied a list."""

    def __init__(self) -> None:
        self._mirrors: defaultdict[str, PlainMirror] = defaultdict(PlainMirror)
        self._tables = expected_tables({})

    def apply(self, run: Run, entries: Iterable[Fields]) -> None:
        """Apply the list that a run has applied; the run's counts must be right."""
        assert run.outcome == "applied", run
        texts = tuple(msgspec.json.encode(entry).decode() for entry in entries)
        mirror = self._mirrors[run.environment]
        counts = mirror.learn(run.observed_at, ListResponse(texts), run.id)
        assert {name: run._mapping[name] for name in counts} == counts
        self._tables = expected_tables(self._mirrors)

    def tables(self) -> Tables:
        """The expected tables."""
        return self._tables


def difference(found: Tables, expected: Tables) -> str:
    """Describe in a few lines where two states differ; empty if they are equal."""
    lines = []
    for table, rows in expected.items():
        if found[table] != rows:
            actual, wanted = set(map(repr, found[table])), set(map(repr, rows))
            extra, absent = sorted(actual - wanted), sorted(wanted - actual)
            lines.append(
                f"{table} has {len(found[table])} rows, not {len(rows)}; "
                f"{len(extra)} are wrong, such as {extra[:2]}; "
                f"{len(absent)} are absent, such as {absent[:2]}"
            )
    return "\n".join(lines)
