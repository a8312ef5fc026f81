"""Readers of Node.js read the mirror as docs/sql.md says.

They and Node.js itself are pinned in package.json. Without `npm install --ignore-scripts` in this
folder the tests are skipped, or fail if MIRROR_TEST_NODE is set.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.drivers import to_milliseconds
from tests.support.reader_programs import (
    NODE_MODULES,
    Program,
    ReaderError,
    database,
    node,
    running,
)
from tests.support.readers import QUERIES, VIEWS, ReaderMirror, normalize

READER = Path(__file__).with_name("node_reader.mjs")
LAST = "9999-12-31 23:59:59.999"


@contextmanager
def reader(name: str, mirror: ReaderMirror) -> Iterator[Program]:
    """Start a reader of node_reader.mjs."""
    with database(mirror) as place, running([node(), READER, name], place) as program:
        yield program


def copy_of(mirror: ReaderMirror, folder: Path) -> Path:
    """Copy a mirror in SQLite, as a reader must that locks the file or stops at the views."""
    copy = folder / "copy.db"
    with closing(sqlite3.connect(f"file:{mirror.path}?mode=ro", uri=True)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    return copy


def test_better_sqlite3(sqlite: ReaderMirror) -> None:
    """It reads text, which finds its row; it refuses to bind a Date."""
    with reader("better-sqlite3", sqlite) as program:
        program.assert_right(sqlite)


def test_node_sqlite(sqlite: ReaderMirror) -> None:
    """Node's own module needs setReadBigInts for `digest`."""
    with reader("node:sqlite", sqlite) as program:
        program.assert_right(sqlite)


def test_libsql(sqlite: ReaderMirror) -> None:
    """The client of libSQL needs intMode for `digest`."""
    with reader("libsql", sqlite) as program:
        program.assert_right(sqlite)


def test_knex(either: ReaderMirror) -> None:
    """Knex reads as its driver does."""
    name = {"sqlite": "knex with better-sqlite3", "postgresql": "knex with pg"}[either.kind]
    with reader(name, either) as program:
        program.assert_right(either)


def test_pg(postgres: ReaderMirror) -> None:
    """Times are read and bound as Date."""
    with reader("pg", postgres) as program:
        program.assert_right(postgres)


def test_postgres_js(postgres: ReaderMirror) -> None:
    """Times are read and bound as Date, in a session in UTC."""
    with reader("postgres.js", postgres) as program:
        program.assert_right(postgres)


@pytest.mark.parametrize("name", ["libsql", "knex with better-sqlite3"])
def test_a_date_is_bound_as_a_number(sqlite: ReaderMirror, name: str) -> None:
    """Text is greater than any number, so every row is `>=` and none is `<`."""
    with reader(name, sqlite) as program:
        assert program.find("<", LAST, bind="date") == []
        assert len(program.find(">=", LAST, bind="date")) == len(sqlite.rows("release_requests"))


def test_a_date_is_bound_as_nothing(sqlite: ReaderMirror) -> None:
    """node:sqlite takes a Date for an object of named parameters, and finds no row."""
    with reader("node:sqlite", sqlite) as program:
        for comparison in ("=", ">=", "<"):
            assert program.find(comparison, LAST, bind="date") == []


def test_a_date_is_refused(sqlite: ReaderMirror) -> None:
    """better-sqlite3 binds no Date."""
    with reader("better-sqlite3", sqlite) as program:
        assert program.compares(sqlite, "date") == "not at all"


def test_turso(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """It reads the tables of a copy; a view is read right or refused, never wrong."""
    copy = copy_of(sqlite, tmp_path)
    refused = set()
    with running([node(), READER, "turso"], {"file": copy}) as program:
        for relation, sql in QUERIES.items():
            try:
                rows = program.read(sql)
            except ReaderError:
                refused.add(relation)
            else:
                assert normalize(relation, rows) == sqlite.rows(relation)
        times = {row["id"]: row["requested_at"] for row in sqlite.rows("release_requests")}
        sqlite.assert_splits(program.find, times)
    assert refused <= set(VIEWS)


def test_turso_sees_no_change(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """It must read a copy: of a file that others write to it goes on reading the old state."""
    copy = copy_of(sqlite, tmp_path)
    requests = "SELECT count(*) FROM release_requests"
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        with running([node(), READER, "turso"], {"file": copy}) as program:
            before = program.read(requests)
            connection.execute("DELETE FROM release_requests")
            assert program.read(requests) == before
        assert connection.execute(requests).fetchone() == (0,)


def test_drizzle_kit(either: ReaderMirror, tmp_path: Path) -> None:
    """Its `pull` writes a schema that reads the mirror; in SQLite of a copy without the views."""
    expected = {*QUERIES, "alembic_version"}
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "read.mjs").write_text(DRIZZLE)

    def run(*command: str) -> str:
        done = subprocess.run(
            [node(), *command],
            cwd=tmp_path,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with database(either) as place:
        credentials = place | {"ssl": False}
        if either.kind == "sqlite":
            credentials = {"url": str(copy_of(either, tmp_path))}
            expected -= {*VIEWS}
            with closing(sqlite3.connect(credentials["url"])) as connection:
                for view in VIEWS:
                    connection.execute(f"DROP VIEW {view}")
        config = {"dialect": either.kind, "out": ".", "dbCredentials": credentials}
        (tmp_path / "drizzle.config.js").write_text(f"module.exports = {json.dumps(config)}")
        run("node_modules/drizzle-kit/bin.cjs", "pull")
        rows = json.loads(run("--import", "tsx", "read.mjs", json.dumps(place)))
    schema = (tmp_path / "schema.ts").read_text()
    assert set(re.findall(r'(?:Table|View)\("(\w+)"', schema)) == expected
    times = {row["id"]: row["requested_at"] for row in either.rows("release_requests")}
    assert {name: utc_text(time) for name, time in rows} == times


def utc_text(text: str) -> str:
    """A time as it is stored in SQLite; Postgres appends the offset of its session, +00."""
    return to_milliseconds(datetime.fromisoformat(text))


DRIZZLE = """
import { releaseRequests } from './schema.ts';
const { file, ...server } = JSON.parse(process.argv[2]);
let db;
if (file) {
  const [{ drizzle }, { default: Database }] = await Promise.all([
    import('drizzle-orm/better-sqlite3'), import('better-sqlite3')]);
  db = drizzle({ client: new Database(file, { readonly: true }) });
} else {
  const [{ drizzle }, { default: pg }] = await Promise.all([
    import('drizzle-orm/node-postgres'), import('pg')]);
  db = drizzle({ client: new pg.Pool({ ...server, options: '-c timezone=UTC' }) });
}
const { id, requestedAt } = releaseRequests;
const rows = await db.select({ id, requestedAt }).from(releaseRequests);
console.log(JSON.stringify(rows.map(({ id, requestedAt }) => [id, requestedAt])));
process.exit();
"""
