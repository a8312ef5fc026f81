"""`mirror query`: what it runs and refuses, its parameters, values and output."""

from __future__ import annotations

import csv
import gc
import io
import json
import signal
from pathlib import Path
from typing import Any

from mirror.db.cookbook import RECIPES
from mirror.db.engine import write_transaction
from mirror.db.parameters import tokens
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request

NUMBER = "+15550100001"

WRITING = {
    "sqlite": (
        "PRAGMA query_only = 0",
        "PRAGMA user_version = 7",
        "ATTACH '{folder}/made' AS made",
        "VACUUM INTO '{folder}/made'",
        "EXPLAIN DELETE FROM release_requests",
        "SELECT load_extension('made')",
        "REPLACE INTO release_requests (id) VALUES (1)",
        "UPDATE sqlite_master SET sql = ''",
        "WITH x AS (SELECT 1) UPDATE sqlite_master SET sql = ''",
    ),
    "postgresql": (
        "SELECT writes()",
        "SELECT makes_writable()",
        "SELECT ends_the_transaction()",
        "SELECT nextval('sync_runs_id_seq')",
        "SELECT * INTO made FROM release_requests",
        "SELECT * FROM release_requests FOR UPDATE",
        "WITH gone AS (DELETE FROM release_requests RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM release_requests",
        "EXPLAIN SELECT 1; DELETE FROM release_requests",
        "COPY release_requests TO '{folder}/made'",
        "COPY (SELECT 1) TO PROGRAM 'touch {folder}/made'",
        "DO $$ BEGIN DELETE FROM release_requests; END $$",
        "SET TRANSACTION READ WRITE",
        "CALL writes()",
    ),
}
WRITING_ANYWHERE = (
    "DELETE FROM release_requests",
    "/* */ delete from release_requests",
    "WITH x AS (SELECT 1) DELETE FROM release_requests",
    "INSERT INTO sync_runs SELECT * FROM sync_runs",
    "CREATE TABLE made (x integer)",
    "DROP VIEW phone_numbers",
    "COMMIT; DELETE FROM release_requests",
    "SELECT 1; DELETE FROM release_requests",
    "SELECT ';'; -- ;\nDELETE FROM release_requests",
    "BEGIN IMMEDIATE",
)
FUNCTIONS = {
    "writes": "DELETE FROM release_requests",
    "makes_writable": "PERFORM set_config('transaction_read_only', 'off', true)",
    "ends_the_transaction": "COMMIT; DELETE FROM release_requests",
}


def query(mirror: Mirror, *arguments: str) -> Ran:
    """Run `mirror query`."""
    return run_mirror("query", *arguments, MIRROR_DATABASE_URL=mirror.url)


def found(mirror: Mirror, *arguments: str) -> list[dict[str, Any]]:
    """The rows that `mirror query` finds, from JSON."""
    ran = query(mirror, *arguments, "--format", "json")
    assert ran.code == 0, ran.err
    return list(json.loads(ran.out))


def refusal(mirror: Mirror, *arguments: str) -> str:
    """The one sentence with which a query is refused."""
    ran = query(mirror, *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), (arguments, ran)
    return ran.err


def test_a_statement_that_would_write_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    """Whatever would write is refused in one sentence, and nothing is written."""
    mirror.sync([request(1), request(2)])
    kind = mirror.engine.dialect.name
    if kind == "postgresql":
        with write_transaction(mirror.engine, "test") as connection:
            for name, body in FUNCTIONS.items():
                connection.exec_driver_sql(
                    f"CREATE FUNCTION {name}() RETURNS int LANGUAGE plpgsql "
                    f"AS $$ BEGIN {body}; RETURN 1; END $$"
                )
    for statement in (*WRITING_ANYWHERE, *WRITING[kind]):
        refusal(mirror, statement.format(folder=tmp_path))
    assert mirror.rows("SELECT count(*) FROM release_requests") == [(2,)]
    assert list(tmp_path.glob("made*")) == []
    if kind == "postgresql":
        sequence = mirror.rows("SELECT last_value FROM sync_runs_id_seq")
        assert sequence == mirror.rows("SELECT max(id) FROM sync_runs")


def test_values(mirror: Mirror) -> None:
    """Both databases give the same values in JSON and CSV; each column has a name of its own."""
    mirror.sync([request(1, carrier={"fee": 1.10, "name": "é"}, reason='a "b"\n,')])
    sql = (
        "SELECT id, requested_at, max(first_seen_at) AS seen, reason, extra, missing_since, 7 AS n,"
        " CAST(2.5 AS double precision) AS n, CAST(3.25 AS numeric) AS n_2 "
        "FROM release_requests GROUP BY id"
    )
    (row,) = found(mirror, sql)
    seen = mirror.now.isoformat().replace("+00:00", "Z")
    assert row == {
        "id": request(1)["id"],
        "requested_at": "2024-01-10T14:30:00Z",
        "seen": seen,
        "reason": 'a "b"\n,',
        "extra": {"carrier": {"fee": 1.10, "name": "é"}},
        "missing_since": None,
        "n": 7,
        "n_3": 2.5,
        "n_2": 3.25,
    }
    (line,) = csv.DictReader(io.StringIO(query(mirror, sql, "--format", "csv").out, newline=""))
    assert (line["seen"], line["reason"], line["missing_since"]) == (seen, 'a "b"\n,', "")
    assert json.loads(line["extra"]) == row["extra"]
    if mirror.engine.dialect.name == "sqlite":
        assert found(mirror, "SELECT x'00ff' AS b, 1e999 AS i, CAST(x'ff' AS TEXT) AS t") == [
            {"b": "\\x00ff", "i": "inf", "t": "\\xff"}
        ]
        assert found(mirror, "SELECT value FROM json_each('[1, 2]')") == [
            {"value": 1},
            {"value": 2},
        ]
        return
    assert found(
        mirror,
        "SELECT interval '1 mon 2 h' AS i, ARRAY[requested_at, NULL] AS a, '[1.10]'::jsonb AS j, "
        "'\\x00ff'::bytea AS b, 'infinity'::timestamptz AS inf, date '0044-03-15 BC' AS bc, "
        "timestamp '2024-01-31 10:00:00.5' AS local, 12345678901234567890.5 AS n, true AS t "
        "FROM release_requests",
    ) == [
        {
            "i": "1 mon 02:00:00",
            "a": ["2024-01-10T14:30:00Z", None],
            "j": [1.10],
            "b": "\\x00ff",
            "inf": "infinity",
            "bc": "0044-03-15 BC",
            "local": "2024-01-31T10:00:00.500",
            "n": 12345678901234567890.5,
            "t": True,
        }
    ]


def test_rows_are_written_as_they_come(mirror: Mirror) -> None:
    """A result of a thousand million rows begins at once, and ends where its limit is."""
    sql = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1000000000) "
        "SELECT n FROM c"
    )
    ran = query(mirror, sql, "--limit", "3")
    assert (ran.code, ran.out) == (0, "n\n1\n2\n3\n")
    assert ran.err == "mirror: only the first 3 are shown; --limit sets how many\n"
    assert query(mirror, "SELECT 1 AS n", "--limit", "1").err == ""


def test_an_interrupt_ends_a_long_query(mirror: Mirror) -> None:
    """Ctrl-C ends a query that is running in the database."""
    sql = "SELECT pg_sleep(20)"
    if mirror.engine.dialect.name == "sqlite":
        sql = (
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 30000000) "
            "SELECT count(*) FROM c"
        )
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    gc.disable()  # Python drops an interrupt that falls into a callback of the collector
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        ran = query(mirror, sql)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.strip() == "mirror: interrupted"


def test_parameters(mirror: Mirror) -> None:
    """A value is that of its parameter; one that is missing, unknown or given twice is refused."""
    mirror.sync([request(number, phone_number=NUMBER) for number in (1, 2)])
    sql = "SELECT phone_number FROM release_requests GROUP BY 1 HAVING count(*) >= :least"
    assert found(mirror, sql, "--param", "least=2") == [{"phone_number": NUMBER}]
    assert found(mirror, sql, "--param", "least=3") == []
    sql = (
        "SELECT ':no' AS a, '5%' AS b FROM release_requests -- :nor this\n"
        "WHERE phone_number = :number AND reason <> :text AND requested_at >= :since LIMIT :n"
    )
    given = {"number": NUMBER, "text": "a=b' OR ''='", "since": "2024-01-10", "n": "1"}
    options = [word for name, value in given.items() for word in ("--param", f"{name}={value}")]
    assert found(mirror, sql, *options) == [{"a": ":no", "b": "5%"}]
    assert "missing" not in refusal(mirror, sql, *options[2:])
    assert "without a value: number; add --param number=…" in refusal(mirror, sql, *options[2:])
    assert "no parameter 'x'; its parameters: none" in refusal(mirror, "SELECT 1", "--param", "x=1")
    assert "'n' twice" in refusal(mirror, sql, *options, "--param", "n=2")
    assert "'n' has no value" in refusal(mirror, sql, "--param", "n")
    unnamed = {"sqlite": "?1", "postgresql": "$1"}[mirror.engine.dialect.name]
    assert f"'{unnamed}'; write it as :name" in refusal(mirror, f"SELECT {unnamed}")


def test_what_is_a_parameter() -> None:
    """A name behind a colon is one, but in strings, names, comments, casts and bounds of arrays."""
    for sql, sqlite, postgresql in (
        ("':a' \":a\" :b", "b", "b"),
        ("'it''s :a' :b -- :a\n:c", "bc", "bc"),
        ("/* :a */ :b /* :a", "b", "b"),
        ("/* /* :a */ :b */ :c", "bc", "c"),
        ("x::text :b::text", "b", "b"),
        ("x[1:n] [:a]", "", "a"),
        ("`:a` :b", "b", "ab"),
        ("E'\\':a' :b", "a", "b"),
        ("$$:a$$ $t$:a$$:a$t$ :b", "aaab", "b"),
        ("':a", "", ""),
        (":é :_x :x1", "é_xx1", "é_xx1"),
        ("12:30 :1", "", ""),
    ):
        for dialect, expected in (("sqlite", sqlite), ("postgresql", postgresql)):
            names = [token.text for token in tokens(sql, dialect) if token.kind == "parameter"]
            assert "".join(names) == expected, (sql, dialect)


def test_questions_take_values_as_other_commands_do(mirror: Mirror) -> None:
    """Numbers are found however they are written; times and days are what other options take."""
    mirror.sync([request(1, phone_number=NUMBER)])
    ran = query(mirror, "history", "--param", "number=1 (555) 010-0001", "--format", "json")
    assert [event["event"] for event in json.loads(ran.out)] == ["requested"]
    assert NUMBER in ran.err
    national = ("history", "--param", "number=(555) 010-0001")
    assert "--region" in refusal(mirror, *national)
    assert len(found(mirror, *national, "--region", "US")) == 1
    for time in ("2024-01-10T14:30:00Z", "2024-01-10T11:30:00-03:00", "2024-01-10"):
        assert len(found(mirror, "new-since", "--param", f"since={time}")) == 1, time
    assert found(mirror, "new-since", "--param", "since=2024-01-10T14:30:01Z") == []
    days = ("--param", "since=2024-01-10T23:00:00Z", "--param", "until=2024-01-10")
    assert [row["day"] for row in found(mirror, "day-by-day", *days)] == ["2024-01-10"]
    assert "'soon' is not a time" in refusal(mirror, "as-of", "--param", "at=soon")
    ran = query(mirror, "vanished")
    assert (ran.code, ran.err) == (0, "mirror: the query found nothing\n")


def test_the_questions_are_listed(sqlite_mirror: Mirror) -> None:
    """`--list` has each question with its parameters; an unknown name has a suggestion."""
    rows = found(sqlite_mirror, "--list")
    assert [row["name"] for row in rows] == [recipe.name for recipe in RECIPES]
    assert {row["name"]: row["parameters"] for row in rows}["day-by-day"] == "since, until"
    for recipe in RECIPES:
        names = {token.text for token in tokens(recipe.sql, "sqlite") if token.kind == "parameter"}
        assert names == recipe.parameters.keys()
        assert "LIMIT" not in recipe.sql
    listed = query(sqlite_mirror, "--list").out.splitlines()
    assert listed[0] == "name\tquestion\tparameters"
    assert listed[1] == "pending-longest\tWhat has been pending longest?\t"
    for others in (["history"], ["--param", "a=b"], ["--limit", "1"]):
        assert "leave the other arguments out" in refusal(sqlite_mirror, "--list", *others)
    assert "did you mean 'history'?" in refusal(sqlite_mirror, "histroy")
    assert "there are pending-longest, " in refusal(sqlite_mirror, "nonexist")
    assert "neither SQL nor a name" in refusal(sqlite_mirror)


def test_wrong_sql(mirror: Mirror) -> None:
    """The message has the database's own and where the names are; SQL can come from stdin."""
    refused = refusal(mirror, "SELECT * FROM nope")
    assert "nope" in refused
    assert "`mirror db describe` lists the tables and columns" in refused
    assert "would do more" not in refusal(mirror, "SELECT nope FROM sync_runs WHERE updated > 1")
    assert "begins with 'SELEC'" in refusal(mirror, "SELEC 1")
    assert "\\x1b" in refusal(mirror, 'SELECT * FROM "\x1b"')
    typed = "\ufeff-- from a file\nSELECT 1 AS x;\n"
    ran = run_mirror("query", "-", typed=typed, MIRROR_DATABASE_URL=mirror.url)
    assert (ran.code, ran.out) == (0, "x\n1\n")
    assert "not valid UTF-8" in refusal(mirror, "SELECT :x", "--param", "x=\udcff")
    for statement in ("SELECT 1 FROM", "-", "SELECT '\udcff'", " ", "(", "SELECT 1 x x x"):
        refusal(mirror, statement)
    if mirror.engine.dialect.name == "postgresql":
        in_use = "SELECT cursor_to_xml('mirror_query', 1, true, false, '')"
        for statement in (in_use, "SELECT pg_read_file('nope')", "SELECT lastval()"):
            refusal(mirror, statement)


def test_a_terminal(sqlite_mirror: Mirror) -> None:
    """A table that has no room becomes a record a row, and a long one is cut, which is said."""
    sqlite_mirror.sync([request(1, phone_number=NUMBER, reason="\x1b[31m\u202e")])
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c"
    query = (80, "query", "--no-pager", "--database", sqlite_mirror.url)
    lines, many = map(
        plain,
        drawn((*query, "history", "--param", f"number={NUMBER}"), (*query, numbers), merge=True),
    )
    assert lines[2].split() == ["event", "requested"]
    assert ["reason", "\\x1b[31m\\u202e"] in [line.split() for line in lines]
    assert [line.strip() for line in many[2:-1]] == [str(number) for number in range(1, 1001)]
    assert many[-1] == "mirror: only the first 1,000 are shown; --limit sets how many"
