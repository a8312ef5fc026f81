"""A mirror on native hash partitions, made by the script of docs/operations.md."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mirror.db import migrate
from mirror.db.engine import create_engine, read_transaction
from mirror.db.grants import grant_read
from mirror.db.prune import prune
from mirror.db.views import VIEWS
from mirror.sandbox.server import Sandbox, SandboxConfig
from tests.support.databases import upgrade
from tests.support.mirrors import Mirror, stored
from tests.support.pages import FILES
from tests.support.postgres import empty_database, execute
from tests.support.schema import later_revision
from tests.support.upstream import TOKEN, FakeUpstream
from tests.support.upstream_generator import ChangingList

DAYS = 12
LATER = datetime(2100, 1, 1, tzinfo=UTC)
TABLES = "('release_requests', 'release_request_past_versions')"
ROWS = "SELECT tableoid::regclass, count(*) FROM release_requests GROUP BY 1"
INDEXES = (
    "SELECT indexname, replace(indexdef, ' ONLY ', ' ') FROM pg_indexes"
    f" WHERE tablename IN {TABLES} ORDER BY 1"
)
COMMENTS = f"""
    SELECT relname, objsubid, description
    FROM pg_description JOIN pg_class ON pg_class.oid = objoid
    WHERE relname IN {TABLES} ORDER BY 1, 2
"""


@pytest.fixture
def mirrors(postgres_server: str) -> Iterator[tuple[Mirror, Mirror]]:
    """Two empty mirrors whose clocks and lists are the same."""
    with ExitStack() as stack:
        upstream = FakeUpstream()
        sandbox = Sandbox(upstream, SandboxConfig(token=TOKEN))
        stack.enter_context(sandbox.running())
        mirrors = []
        for _ in range(2):
            url = stack.enter_context(empty_database(postgres_server))
            upgrade(url)
            mirrors.append(Mirror(url, sandbox, upstream))
        yield mirrors[0], mirrors[1]


def everything(mirror: Mirror) -> dict[str, Any]:
    """All rows that syncs write, and those of all views."""
    runs = "id, environment, outcome, observed_at, completion, inserted, updated, missing, returned"
    with read_transaction(mirror.engine) as connection:
        views = {view.name: stored(connection, view.name) for view in VIEWS}
    return mirror.state() | views | {"sync_runs": [str(run) for run in mirror.runs(runs)]}


@pytest.mark.parametrize("filled", [False, True])
def test_partitions(
    mirrors: tuple[Mirror, Mirror], filled: bool, chance: random.Random, tmp_path: Path
) -> None:
    """Whatever is done, tables and views have the rows of a mirror without partitions."""
    plain, partitioned = mirrors
    changing = ChangingList(400, chance, garbled=0.01)

    def both(records: list[Any]) -> None:
        results = [mirror.sync(records, accept_missing=True) for mirror in mirrors]
        assert [result.failure for result in results] == [None, None]
        assert results[0].counts == results[1].counts

    if filled:
        both(changing.entries)
    execute(partitioned.url, FILES["partitions.sql"])
    for query in (INDEXES, COMMENTS):
        assert execute(partitioned.url, query) == execute(plain.url, query)
    for _ in range(DAYS):
        both(changing.entries)
        changing.move_on()
    both([])
    both(changing.entries)
    assert everything(partitioned) == everything(plain)
    assert len(execute(partitioned.url, ROWS)) == 8
    assert execute(partitioned.url, INDEXES) == execute(plain.url, INDEXES)

    pruned = [prune(mirror.engine, before=LATER) for mirror in mirrors]
    assert pruned[0] == pruned[1]
    assert everything(partitioned) == everything(plain)
    with later_revision(tmp_path) as revision:
        for mirror in mirrors:
            assert migrate.upgrade(create_engine(mirror.url))[1] == revision
        changing.move_on()
        both(changing.entries)
        assert everything(partitioned) == everything(plain)


def test_readers_of_partitions(mirrors: tuple[Mirror, Mirror], postgres_server: str) -> None:
    """The role of `mirror db grant-read` reads the tables and views."""
    partitioned = mirrors[1]
    execute(partitioned.url, FILES["partitions.sql"])
    role = f"reader_of_{partitioned.engine.url.database}"
    execute(partitioned.url, f"CREATE ROLE {role}")
    try:
        grant_read(partitioned.engine, role)
        for relation in ("release_requests", *VIEWS):
            execute(partitioned.url, f"SET ROLE {role}", f"SELECT * FROM {relation}")
    finally:
        execute(partitioned.url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
