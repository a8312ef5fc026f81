"""Mirrors that many tests share, one of each kind of database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror.config.settings import ApiSettings, Secret
from mirror.db.engine import create_engine, read_transaction
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.sync.run import Result, sync
from tests.support.databases import new_database, once_of_each_kind
from tests.support.upstream import TOKEN, FakeUpstream

_T = TypeVar("_T")


@contextmanager
def of_each_kind(
    request: pytest.FixtureRequest, use: Callable[[Mirror], _T], timezone: str = "UTC"
) -> Iterator[Callable[[str], _T]]:
    """Give what is made of a mirror by the kind of its database, for a fixture of any scope.

    Args:
        request: of the fixture.
        use: fills a mirror that has the schema; what it returns is given to all.
        timezone: the zone that Postgres thinks in.
    """

    @contextmanager
    def make(kind: str) -> Iterator[_T]:
        upstream = FakeUpstream()
        with (
            new_database(kind, request, timezone, ready=True) as url,
            Sandbox(upstream, SandboxConfig(token=TOKEN)).running() as sandbox,
        ):
            yield use(Mirror(url, sandbox, upstream))

    with once_of_each_kind(make) as get:
        yield get


_WRITTEN = ("release_requests", "release_request_past_versions", "quarantined_records")


class Mirror:
    """A mirror under test: its database, the API it syncs from, and a clock that a test moves."""

    def __init__(self, url: str, sandbox: Sandbox, upstream: FakeUpstream) -> None:
        self.url = url
        self.sandbox = sandbox
        self.upstream = upstream
        self.now = upstream.now

    @cached_property
    def engine(self) -> Engine:
        """The mirror's database, made if need be."""
        return create_engine(self.url, create=True)

    @property
    def api(self) -> ApiSettings:
        """How to talk to the upstream."""
        return ApiSettings(self.sandbox.base_url, Secret(self.sandbox.manner.token))

    def sync(self, records: list[Any] | None = None, **options: Any) -> Result:
        """Let upstream say `records`, and sync an hour later."""
        if records is not None:
            self.upstream.records = records
            self.sandbox.forget()
        self.now += timedelta(hours=1)
        environment = options.pop("environment", "default")
        return sync(self.engine, self.api, environment, now=lambda: self.now, **options)

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Run a query as it stands."""
        with read_transaction(self.engine) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def ask(self, helper: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a query helper."""
        with read_transaction(self.engine) as connection:
            return helper(connection, *arguments, **options)

    def state(self) -> dict[str, list[str]]:
        """Everything that syncs write, except the runs, as it stands."""
        with read_transaction(self.engine) as connection:
            return {table: stored(connection, table) for table in _WRITTEN}

    def stored(self, table: str) -> list[str]:
        """The rows of a table, each as one text that has all its bytes."""
        with read_transaction(self.engine) as connection:
            return stored(connection, table)

    def runs(self, *columns: str) -> list[tuple[Any, ...]]:
        """The runs on record, the first one first."""
        return self.rows(f"SELECT {', '.join(columns)} FROM sync_runs ORDER BY id")


def stored(connection: Connection, table: str) -> list[str]:
    """The rows of a table, each as one text that has all its bytes."""
    row = "*" if connection.dialect.name == "sqlite" else f"CAST({table} AS text)"
    rows = connection.exec_driver_sql(f"SELECT {row} FROM {table}")
    return sorted(str(tuple(one)) for one in rows)
