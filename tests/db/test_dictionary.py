"""The data dictionary agrees with both databases."""

from __future__ import annotations

import csv
import io
import json
import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirror.db import dictionary
from mirror.db.dictionary import Entry
from mirror.db.engine import read_transaction
from mirror.db.types import UTCDateTime
from mirror.db.views import VIEWS
from tests.support.commands import run_mirror
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request

ENTRIES = dictionary.entries()
COLUMNS = [entry for entry in ENTRIES if entry.column is not None]
RELATIONS = [entry.relation for entry in ENTRIES if entry.column is None]

TYPES_IN_POSTGRES = """
SELECT a.attrelid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod),
       col_description(a.attrelid, a.attnum)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v')
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY 1, a.attnum
"""
COMMENTS_IN_POSTGRES = """
SELECT c.relname, CASE c.relkind WHEN 'r' THEN 'table' ELSE 'view' END, obj_description(c.oid)
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
"""


def test_a_database_matches_the_dictionary(connection: Connection) -> None:
    """A database has exactly the tables, views, columns, types and comments of the dictionary."""
    inspector = sa.inspect(connection)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    assert names == set(RELATIONS)
    for name in names:
        columns = [str(column["name"]) for column in inspector.get_columns(name)]
        assert columns == [entry.column for entry in COLUMNS if entry.relation == name]
    if connection.dialect.name == "sqlite":
        found = [
            (relation, row.name, row.type)
            for relation in RELATIONS
            for row in connection.execute(sa.text(f"PRAGMA table_info({relation})"))
        ]
        assert found == [(entry.relation, entry.column, entry.sqlite_type) for entry in COLUMNS]
        return
    aliases = {"timestamp with time zone": "timestamptz", "character varying(32)": "varchar(32)"}
    rows = [tuple(row) for row in connection.exec_driver_sql(TYPES_IN_POSTGRES)]
    assert {
        (relation, column): (aliases.get(kind, kind), comment)
        for relation, column, kind, comment in rows
    } == {
        (entry.relation, entry.column): (entry.postgresql_type, entry.comment) for entry in COLUMNS
    }
    assert {tuple(row) for row in connection.exec_driver_sql(COMMENTS_IN_POSTGRES)} == {
        (entry.relation, entry.kind, entry.comment) for entry in ENTRIES if entry.column is None
    }


def test_a_column_says_when_it_is_null_and_in_which_zone_its_time_is() -> None:
    """A comment says when its column is null, exactly if it may be, and that times are UTC."""
    for entry in COLUMNS:
        assert entry.comment.endswith((".", ")")), entry
        assert bool(re.search(r"\bNull\b", entry.comment)) is entry.nullable, entry
        assert "UTC" in entry.comment or entry.postgresql_type != "timestamptz", entry


def test_a_column_that_is_never_null_has_values(mirror: Mirror) -> None:
    """A view's column that is declared not null has a value in every row."""
    records = [
        request(1, phone_number_id=None, reason=None),
        request(2, status="approved", resolved_at="2024-01-11T09:00:00Z"),
        request(3, status="cancelled"),
        request(4, status="on_hold"),
        "junk",
    ]
    mirror.sync(records)
    mirror.sync([*records[1:4], request(5)], accept_missing=True)
    mirror.sync([*records[:2], request(3), request(4, status="rejected")], accept_missing=True)
    with read_transaction(mirror.engine) as connection:
        for view in VIEWS:
            rows = connection.execute(sa.select(view)).mappings().all()
            assert rows, view.name
            for column in view.columns:
                if not column.nullable:
                    assert all(row[column.name] is not None for row in rows), column


def test_times_are_times_in_both_databases() -> None:
    """The same columns are times in Python and in both databases."""
    times = {
        (view.name, column.name)
        for view in VIEWS
        for column in view.columns
        if isinstance(column.type, UTCDateTime)
    }
    names = {view.name for view in VIEWS}
    for kind in ({"timestamptz"}, {"TIMESTAMP"}):
        assert times == {
            (entry.relation, entry.column)
            for entry in COLUMNS
            if entry.relation in names and kind & {entry.sqlite_type, entry.postgresql_type}
        }


def test_describe() -> None:
    """JSON, CSV and tab-separated output have all entries, without a database or a setting."""
    ran = run_mirror("db", "describe", "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    assert [Entry(**row) for row in json.loads(ran.out)] == ENTRIES
    ran = run_mirror("db", "describe", "phone_numbers", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(ran.out)))
    assert [line["comment"] for line in lines] == [
        entry.comment for entry in ENTRIES if entry.relation == "phone_numbers"
    ]
    header, *rows = (line.split("\t") for line in run_mirror("db", "describe").out.splitlines())
    assert header[:3] == ["relation", "kind", "column"]
    assert [row[2] for row in rows] == [entry.column or "" for entry in ENTRIES]


def test_describe_on_a_terminal() -> None:
    """On a terminal of 80 columns the table fits, and every name is in one piece."""
    (shown,) = drawn((80, "db", "describe"))
    lines = plain(shown)
    assert max(map(len, lines)) <= 80
    names = {line.split()[0] for line in lines if line.strip()}
    assert {entry.column or entry.relation for entry in ENTRIES} <= names


def test_what_cannot_be_described() -> None:
    """An unknown name is refused, with the known ones; so is a Postgres URL for Datasette."""
    ran = run_mirror("db", "describe", "phone_number")
    assert (ran.code, ran.out) == (2, "")
    assert all(name in ran.err for name in RELATIONS)
    url = "postgresql://mirror@db.example.com/bi"
    ran = run_mirror("db", "describe", "--format", "datasette", "--database", url)
    assert (ran.code, ran.out) == (2, "")
    assert "--database" in ran.err
