"""What people ask reaches the indexes: no question of theirs reads a whole table.

Here the tables are small; stress/test_large_plans.py looks at the plans of 100,000 requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy.engine import Connection

from mirror.db.engine import create_engine, read_transaction
from mirror.db.models import is_partial, past_versions, release_requests
from mirror.db.types import to_text
from mirror.sandbox.server import Sandbox
from tests.support import big_database as large
from tests.support.mirrors import Mirror
from tests.support.upstream import FakeUpstream, request

FEW = 10_000
"""Requests: enough for planners to prefer indexes."""

YESTERDAY = to_text(large.LAST_PULL - timedelta(days=1))
LARGE = {release_requests.name, past_versions.name}
PARTIAL = {index.name for index in release_requests.indexes if is_partial(index)}
"""Indexes of a few rows, such as the missing ones: these may be read from end to end."""


def questions(number: str) -> dict[str, str]:
    """What people ask, some of it about a number, in SQL."""
    of_number = f"phone_number = '{number}'"
    return {
        "history of a number": f"SELECT * FROM phone_number_history WHERE {of_number}",
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


EVERYTHING = (
    "SELECT event, count(*) FROM phone_number_history GROUP BY event",
    "SELECT max(reason) FROM release_requests",
)
"""Questions that must read whole tables: they show that it would be noticed."""

DAYS = "SELECT * FROM release_requests_daily"
A_SET = """
    WITH many AS MATERIALIZED (SELECT id FROM release_request_past_versions)
    SELECT count(*) FROM release_requests WHERE id NOT IN (SELECT id FROM many)
"""
"""A question whose set of ids must be read for each row, if it is too large for the memory."""


def read_whole(connection: Connection, query: str) -> set[str]:
    """The large tables and their indexes that a query reads from one end to the other."""
    if connection.dialect.name == "sqlite":
        return set(_whole_in_sqlite(connection, query))
    return set(_whole_in_postgres(connection, query))


def _whole_in_sqlite(connection: Connection, query: str) -> Iterator[str]:
    """Follow the program of the query: a cursor that is set to the start goes to the end."""
    stored = connection.exec_driver_sql("SELECT rootpage, name, tbl_name FROM sqlite_master")
    roots = {root: name for root, name, table in stored if table in LARGE}
    opened: dict[int, str] = {}
    for _, operation, cursor, page, *_ in connection.exec_driver_sql(f"EXPLAIN {query}"):
        if operation == "OpenRead":
            opened[cursor] = roots.get(page, "")
        elif operation in {"Rewind", "Last"} and opened.get(cursor):
            yield opened[cursor]


def _whole_in_postgres(connection: Connection, query: str) -> Iterator[str]:
    """Look for scans of tables, and of indexes without a condition."""
    for node in _nodes(_plan(connection, query)):
        kind, relation = node["Node Type"], node.get("Relation Name")
        by_index = kind in {"Index Scan", "Index Only Scan"} and (
            "Index Cond" in node or node["Index Name"] in PARTIAL
        )
        if relation in LARGE and not by_index and kind != "Bitmap Heap Scan":
            yield relation


def _plan(connection: Connection, query: str) -> dict[str, Any]:
    """The uppermost node of the plan that Postgres makes."""
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalar_one()
    return dict(plan["Plan"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of such a plan, and all below it."""
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def read_again(connection: Connection, query: str) -> set[str]:
    """The parts of a query (WITH) that Postgres, with little memory, reads once for each row."""
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


def ways(connection: Connection, query: str) -> list[str]:
    """What the database says about how it gets at the rows, each way once."""
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    lines = [row[-1] for row in connection.exec_driver_sql(f"{explain} {query}")]
    found = [
        re.search(r"(SEARCH|(?:Seq|Index|Index Only|Bitmap Heap|Bitmap Index) Scan)\b .*", line)
        for line in lines
    ]
    said = [re.sub(r"_\d+(?= )|  \(cost.*", "", match[0]) for match in found if match]
    return list(dict.fromkeys(said))


def expect_indexes(
    url: str, requests: int, note: Callable[[str, object], None] | None = None
) -> None:
    """Expect that each question to a mirror of so many requests has an answer, by indexes.

    However little memory Postgres has, it looks through no set anew for each request.
    """
    large.fill(url, requests)
    with read_transaction(create_engine(url)) as connection:
        kind = connection.dialect.name
        for question, query in questions(large.number_of(requests // 2)).items():
            assert connection.exec_driver_sql(query).first() is not None, question
            assert (question, read_whole(connection, query)) == (question, set())
            if note is not None:
                note("plan", (question, kind, ways(connection, query)))
        for query in EVERYTHING:
            assert read_whole(connection, query), query
        if kind == "postgresql":
            assert read_again(connection, DAYS) == set()
            assert read_again(connection, A_SET) == {"many"}


def test_no_question_reads_a_whole_table(database_url: str) -> None:
    """The plan of each question goes by indexes; one about everything is seen to read all of it."""
    expect_indexes(database_url, FEW)


def test_the_planner_of_postgres_knows_what_grew(
    make_database: Callable[[str], str], sandbox: Sandbox, world: FakeUpstream
) -> None:
    """A sync that writes much of a table has it analyzed; one that writes little does not."""
    mirror = Mirror(make_database("postgresql"), sandbox, world)

    def known() -> list[tuple[Any, ...]]:
        """How many rows the planner expects in requests and past versions; -1 is unknown."""
        query = "SELECT reltuples FROM pg_class WHERE relname = :name"
        return [row for one in sorted(LARGE, reverse=True) for row in mirror.rows(query, name=one)]

    records = [request(number) for number in range(200)]
    mirror.sync(records)
    assert known() == [(200,), (-1,)]
    approved = [one | {"status": "approved"} for one in records]
    mirror.sync(approved[:100] + records[100:])
    assert known() == [(200,), (100,)]
    mirror.sync(approved[:103] + records[103:])
    assert known() == [(200,), (100,)]
