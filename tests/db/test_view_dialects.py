"""What readers need of the stored schema: types that compare, and SQL that they can parse."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from itertools import product

import sqlalchemy as sa

from mirror.db.models import metadata
from mirror.db.urls import parse_url
from mirror.db.views import VIEWS
from tests.support.mirrors import Mirror
from tests.support.upstream import request

UNREADABLE = {
    "SQLite before 3.35": r"\bMATERIALIZED\b",
    "a date with a modifier in DuckDB": r"\b(date|datetime|julianday|strftime)\(",
    "two values in DuckDB": r"\b(min|max)\([^()]*,",
    "unary plus in DuckDB": r"[=<>,(]\s*\+\s*[a-z]",
    "rows in DuckDB": r"IS NOT\s*\(",
    "32 bits in DuckDB": r"\bREAL\b",
    "a number in DuckDB": r"substr\([a-z_.]+_at\b",
}
"""What a program cannot read in the SQL of a view, as regular expressions."""

SET_OPERATIONS = (
    "SELECT DISTINCT * FROM {}",
    "SELECT * FROM {} UNION SELECT * FROM {}",
    "SELECT * FROM {} EXCEPT SELECT * FROM {}",
    "SELECT extra FROM {} GROUP BY extra",
)


def test_other_programs_can_parse_the_views(sqlite_mirror: Mirror) -> None:
    """The views in the file have nothing that DuckDB or an old SQLite cannot read."""
    stored = dict(sqlite_mirror.rows("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    assert stored.keys() == {view.name for view in VIEWS}
    for view, sql in stored.items():
        statement = re.sub(r"--.*", "", sql)
        for name, pattern in UNREADABLE.items():
            assert re.search(pattern, statement) is None, (view, name)


def test_rows_with_unknown_fields_compare(mirror: Mirror) -> None:
    """Rows with `extra` can be compared and grouped."""
    mirror.sync([request(1) | {"carrier": {"name": "Example"}}, request(2)])
    for query, table in product(SET_OPERATIONS, ("release_requests", "release_request_versions")):
        expected = 0 if "EXCEPT" in query else 2
        assert len(mirror.rows(query.format(table, table))) == expected, (query, table)


def test_a_number_bound_as_text(sqlite_mirror: Mirror) -> None:
    """Each column of numbers compares a number that is bound as text as a number."""
    sqlite_mirror.sync([request(1), request(2, status="rejected")])
    sqlite_mirror.sync([request(1, status="approved"), request(2, status="rejected")])
    path = parse_url(sqlite_mirror.url).database
    with closing(sqlite3.connect(str(path))) as connection:
        for relation in (*metadata.sorted_tables, *VIEWS):
            for column in relation.columns:
                if not isinstance(column.type, sa.Integer | sa.Float | sa.Numeric):
                    continue
                query = f"SELECT count(*) FROM {relation.name} WHERE {column.name} >= "
                expected = connection.execute(query + "0").fetchone()
                assert connection.execute(query + "?", ("0",)).fetchone() == expected, column
