"""Common queries use the indexes; none reads a whole table.

stress/test_large_plans.py does the same with 100,000 requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection

from mirror.db.engine import create_engine, read_transaction
from mirror.db.models import is_partial, past_versions, release_requests, sync_runs
from mirror.db.types import to_text
from mirror.queries.lookup import select_numbers
from mirror.sandbox.server import Sandbox
from tests.support import big_database
from tests.support.mirrors import Mirror
from tests.support.upstream import FakeUpstream, request

FEW = 10_000
"""Count of requests that makes planners prefer indexes."""

MANY_RUNS = 5_000
"""Count of runs that does so."""

YESTERDAY = to_text(big_database.LAST_SYNC - timedelta(days=1))
GROWING = {release_requests.name, past_versions.name}
LARGE = GROWING | {sync_runs.name}
PARTIAL = {index.name for index in release_requests.indexes if is_partial(index)}
"""Partial indexes: they have few rows, and may be read from end to end."""


def queries_about(number: str, observed: str) -> dict[str, str]:
    """Return common queries by name, some about a number, one about one with an observed event."""
    of_number = f"phone_number = '{number}'"
    return {
        "history of a number": f"SELECT * FROM phone_number_history WHERE {of_number}",
        "history with an observed event": "SELECT * FROM phone_number_history"
        f" WHERE phone_number = '{observed}'",
        "pending now": "SELECT * FROM release_requests"
        " WHERE status = 'pending' AND missing_since IS NULL ORDER BY requested_at",
        "changes of the last day": "SELECT * FROM release_request_changes"
        f" WHERE changed_at >= '{YESTERDAY}' ORDER BY changed_at",
        "changes of a number": f"SELECT * FROM release_request_changes WHERE {of_number}",
        "requests of a number": f"SELECT * FROM release_requests WHERE {of_number}",
        "summary of a number": f"SELECT * FROM phone_numbers WHERE {of_number}",
        "submitted on a day": "SELECT * FROM release_requests"
        " WHERE requested_at >= '2024-03-01' AND requested_at < '2024-03-02'",
        "resolved on a day": "SELECT * FROM release_request_turnaround"
        " WHERE resolved_at >= '2024-03-01' AND resolved_at < '2024-03-02'",
        "a number as of a time": "SELECT * FROM release_request_versions"
        f" WHERE {of_number} AND valid_from <= '2024-05-20'"
        " AND (valid_to IS NULL OR valid_to > '2024-05-20')",
    }


WHOLE_TABLES = (
    "SELECT event, count(*) FROM phone_number_history GROUP BY event",
    "SELECT max(reason) FROM release_requests",
)
"""Queries that must read whole tables: a check of the check."""

NO_JUMPS = {
    "Add", "Affinity", "Blob", "Cast", "Column", "Copy", "Integer", "MakeRecord", "Null",
    "OpenRead", "ResultRow", "Rowid", "SCopy", "String8", "Subtract", "Variable",
}  # fmt: skip
"""Operations of SQLite whose second operand is no address. One that is missing hides no scan."""

DAYS = "SELECT * FROM release_requests_daily"
NOT_IN = """
    WITH many AS MATERIALIZED (SELECT id FROM release_request_past_versions)
    SELECT count(*) FROM release_requests WHERE id NOT IN (SELECT id FROM many)
"""
"""A query whose set of ids is read again for each row if it exceeds work_mem."""


def full_scans(connection: Connection, query: str) -> set[str]:
    """Return the large tables and their indexes that a query reads from end to end."""
    if connection.dialect.name == "sqlite":
        return set(_scans_in_sqlite(connection, query))
    return set(_scans_in_postgres(connection, query))


def _scans_in_sqlite(connection: Connection, query: str) -> Iterator[str]:
    """Read the bytecode of the query: a cursor that is rewound runs to the end.

    What follows a Goto and is no jump's target is never executed: the code of `WHERE 0`.
    """
    stored = connection.exec_driver_sql("SELECT rootpage, name, tbl_name FROM sqlite_master")
    roots = {root: name for root, name, table in stored if table in LARGE}
    code = connection.exec_driver_sql(f"EXPLAIN {query}").all()
    targets = {target for _, operation, _, target, *_ in code if operation not in NO_JUMPS}
    opened: dict[int, str] = {}
    is_reached = True
    for address, operation, cursor, page, *_ in code:
        is_reached = is_reached or address in targets
        if operation == "OpenRead":
            opened[cursor] = roots.get(page, "") if is_reached else ""
        elif operation in {"Rewind", "Last"} and opened.get(cursor):
            yield opened[cursor]
        elif operation == "Goto":
            is_reached = False


def _scans_in_postgres(connection: Connection, query: str) -> Iterator[str]:
    """Find scans of tables, and of indexes without a condition."""
    for node in _nodes(_plan(connection, query)):
        kind, relation = node["Node Type"], node.get("Relation Name")
        by_index = kind in {"Index Scan", "Index Only Scan"} and (
            "Index Cond" in node or node["Index Name"] in PARTIAL
        )
        if relation in LARGE and not by_index and kind != "Bitmap Heap Scan":
            yield relation


def _plan(connection: Connection, query: str) -> dict[str, Any]:
    """Return the top node of the plan."""
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalar_one()
    return dict(plan["Plan"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a node of a plan and all nodes below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def rescanned_ctes(connection: Connection, query: str) -> set[str]:
    """Return the CTEs that Postgres, with little work_mem, reads once per row."""
    with connection.begin_nested() as setting:
        connection.exec_driver_sql("SET LOCAL work_mem = '64kB'")
        plan = _plan(connection, query)
        setting.rollback()
    return {
        node["CTE Name"]
        for subplan in _nodes(plan)
        if subplan.get("Parent Relationship") == "SubPlan"
        and f"(hashed {subplan['Subplan Name']})" not in str(plan)
        for node in _nodes(subplan)
        if node["Node Type"] == "CTE Scan"
    }


def access_paths(connection: Connection, query: str) -> list[str]:
    """Return the distinct access paths of a query, as the database describes them."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    lines = [row[-1] for row in connection.exec_driver_sql(f"{explain} {query}")]
    found = [
        re.search(r"(SEARCH|(?:Seq|Index|Index Only|Bitmap Heap|Bitmap Index) Scan)\b .*", line)
        for line in lines
    ]
    paths = [re.sub(r"_\d+(?= )|  \(cost.*", "", match[0]) for match in found if match]
    return list(dict.fromkeys(paths))


def expect_indexes(
    url: str, requests: int, note: Callable[[str, object], None] | None = None
) -> None:
    """Expect that the queries return rows and use indexes, in a mirror of that many requests."""
    big_database.fill(url, requests)
    big_database.add_unchanged_runs(url, MANY_RUNS)
    queries = queries_about(*map(big_database.number_of, (requests // 2, requests // 2 + 3)))
    with read_transaction(create_engine(url)) as connection:
        kind = connection.dialect.name
        for name, query in queries.items():
            assert connection.exec_driver_sql(query).first() is not None, name
            scans = full_scans(connection, query)
            assert (name, scans) == (name, set())
            if note is not None:
                note("plan", (name, kind, access_paths(connection, query)))
        look_up = select_numbers([big_database.number_of(requests // 2), "15551234567"])
        literal = str(look_up.compile(connection, compile_kwargs={"literal_binds": True}))
        assert full_scans(connection, literal) == set()
        for query in WHOLE_TABLES:
            assert full_scans(connection, query), query
        if kind == "postgresql":
            assert rescanned_ctes(connection, DAYS) == set()
            assert rescanned_ctes(connection, NOT_IN) == {"many"}


def test_no_query_reads_a_whole_table(database_url: str) -> None:
    """Each query uses indexes; queries about everything are seen to read whole tables."""
    expect_indexes(database_url, FEW)


def test_the_planner_of_postgres_knows_what_grew(
    make_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """A sync that writes much of a table analyzes it; one that writes little does not."""
    mirror = Mirror(make_database("postgresql"), sandbox, upstream)

    def estimates() -> list[tuple[Any, ...]]:
        """Return the planner's row counts of requests and past versions; -1 is unknown."""
        query = "SELECT reltuples FROM pg_class WHERE relname = :name"
        return [
            row for name in sorted(GROWING, reverse=True) for row in mirror.rows(query, name=name)
        ]

    records = [request(number) for number in range(200)]
    mirror.sync(records)
    assert estimates() == [(200,), (-1,)]
    approved = [record | {"status": "approved"} for record in records]
    mirror.sync(approved[:100] + records[100:])
    assert estimates() == [(200,), (100,)]
    mirror.sync(approved[:103] + records[103:])
    assert estimates() == [(200,), (100,)]
