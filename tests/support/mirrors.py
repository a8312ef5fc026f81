"""A mirror under test, on each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror import erasure
from mirror.config.settings import ApiSettings, Secret
from mirror.db import models
from mirror.db.engine import create_engine, read_transaction, write_transaction
from mirror.queries import cursors
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sync.run import Result, sync
from tests.support.databases import cached_by_kind, new_database
from tests.support.upstream import TOKEN, FakeUpstream, request

_T = TypeVar("_T")


@contextmanager
def mirrors_by_kind(
    request: pytest.FixtureRequest, use: Callable[[Mirror], _T], timezone: str = "UTC"
) -> Iterator[Callable[[str], _T]]:
    """Yield a function from a kind of database to what `use` makes of a mirror of that kind.

    Args:
        request: of the fixture, which may have any scope.
        use: called once for each kind, with a mirror that has the schema.
        timezone: of the Postgres database.
    """

    @contextmanager
    def make(kind: str) -> Iterator[_T]:
        upstream = FakeUpstream()
        with (
            new_database(kind, request, timezone, ready=True) as url,
            Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox,
        ):
            yield use(Mirror(url, sandbox, upstream))

    with cached_by_kind(make) as get:
        yield get


def fill_tables(mirror: Mirror) -> None:
    """Insert rows into every table of an empty mirror."""
    mirror.sync([request(1), request(2), "junk"])
    result = mirror.sync([request(1, status="approved"), request(2), "junk"])
    erasure.erase(mirror.engine, "+15550000002", now=mirror.now)
    position = cursors.Position(result.run_id, mirror.now)
    cursors.move(mirror.engine, "default", {"default": position}, now=mirror.now)


def fill_records_of_commands(mirror: Mirror) -> None:
    """Insert a row into each table that no sync writes, with a time in each of its columns."""
    times = dict.fromkeys(("erased_at", "cleaned_at", "undone_at"), mirror.now)
    counts = dict.fromkeys(("requests", "past_versions", "quarantined", "runs"), 0)
    cursor = {"name": "default", "environment": "default"}
    with write_transaction(mirror.engine, "default") as connection:
        connection.execute(sa.insert(models.erasures), {"id": 1} | counts | times)
        connection.execute(
            sa.insert(models.erased_requests), {"request_id": "request-erased", "erasure_id": 1}
        )
        connection.execute(
            sa.insert(models.change_cursors),
            cursor | {"seen_until": mirror.now, "moved_at": mirror.now},
        )


_TABLES = ("release_requests", "release_request_past_versions", "quarantined_records")


class Mirror:
    """A mirror under test: its database, its API, and a clock that each sync moves by an hour."""

    def __init__(self, url: str, sandbox: Sandbox, upstream: FakeUpstream) -> None:
        self.url = url
        self.sandbox = sandbox
        self.upstream = upstream
        self.now = upstream.now

    @cached_property
    def engine(self) -> Engine:
        """The mirror's database, which is made if there is none."""
        return create_engine(self.url, create=True)

    @property
    def api(self) -> ApiSettings:
        """Settings of its API."""
        return ApiSettings(self.sandbox.base_url, Secret(self.sandbox.config.token))

    def sync(self, records: list[Any] | None = None, **options: Any) -> Result:
        """Make `records` the list, and sync an hour later."""
        if records is not None:
            self.upstream.records = records
            self.sandbox.invalidate()
        self.now += timedelta(hours=1)
        environment = options.pop("environment", "default")
        return sync(self.engine, self.api, environment, now=lambda: self.now, **options)

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run SQL."""
        with read_transaction(self.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def query(self, helper: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a query helper."""
        with read_transaction(self.engine) as connection:
            return helper(connection, *arguments, **options)

    def state(self) -> dict[str, list[str]]:
        """Everything that syncs write, except the runs."""
        with read_transaction(self.engine) as connection:
            return {table: stored(connection, table) for table in _TABLES}

    def stored(self, table: str) -> list[str]:
        """The rows of a table, each as one text that has all of its bytes."""
        with read_transaction(self.engine) as connection:
            return stored(connection, table)

    def runs(self, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of the runs, oldest first."""
        return self.rows(f"SELECT {', '.join(columns)} FROM sync_runs ORDER BY id")


def stored(connection: Connection, table: str) -> list[str]:
    """The rows of a table, each as one text that has all of its bytes."""
    row = "*" if connection.dialect.name == "sqlite" else f"CAST({table} AS text)"
    rows = connection.exec_driver_sql(f"SELECT {row} FROM {table}")
    return sorted(str(tuple(row)) for row in rows)
