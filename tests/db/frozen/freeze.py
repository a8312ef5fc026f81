"""Freezes a database at a revision of the schema, for tests/stress/test_upgrades.py.

    python tests/db/frozen/freeze.py
    python tests/db/frozen/freeze.py 0002
    python tests/db/frozen/freeze.py --release

The first two write NNNN.sqlite.sql and NNNN.postgresql.sql beside this script, of the last revision
or the one that is named: the schema of that revision, with the rows of
tests/support/history_fixture.py.

`--release` appends the files and dumps of new revisions to released.sha256, with their digests. Its
lines are never changed: they stand for the databases that users have.

SQLite is dumped by `iterdump`, Postgres by the `pg_dump` beside the server of the tests. Left out
are psql's own commands, versions and session settings, so that a driver can load a dump into any
Postgres since 13, and indentation, a fifth of the dump.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[3]))  # the checkout

import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import Connection

from mirror.db import revisions
from mirror.db.models import metadata
from mirror.db.urls import parse_url
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.version import __version__
from tests.support import ROOT, history_fixture, postgres
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.schema import alembic, execute_script, inventory, opened
from tests.support.upstream import TOKEN, FakeUpstream

FOLDER = Path(__file__).parent
RELEASED = FOLDER / "released.sha256"
"""The digest of each file of each released revision, and the version of the last release."""

_HEADER = """\
-- A mirror at schema revision {revision}, written by tests/db/frozen/freeze.py.
-- Never changed once the revision is in released.sha256.
"""
_LEFT_OUT = re.compile(
    r"^(?:--|\\|SET |SELECT pg_catalog\.set_config).*\n|^\n|^ +|\bpublic\.", re.MULTILINE
)
_TIMELESS = """
    UPDATE sync_runs
    SET base_url = ?, error = replace(error, base_url, ?), seconds = 0 * seconds + 0.25
"""

_RESTORE_VIEWS = """
DO $$
DECLARE one record;
BEGIN
    FOR one IN SELECT * FROM pg_views WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE OR REPLACE VIEW %%I AS %%s', one.viewname, one.definition);
    END LOOP;
END $$
"""

Row = dict[str, str | None]
"""The values of a row by their columns, each as the database writes it as text."""
Rows = dict[str, list[Row]]
"""The rows of each table."""


def path_of(revision: str, kind: str) -> Path:
    """Return the path of a revision's dump, of "sqlite" or "postgresql"."""
    return FOLDER / f"{revision}.{kind}.sql"


def thaw(url: str, revision: str) -> None:
    """Load a dump into an empty database; a file gets the journal mode of a mirror."""
    kind = parse_url(url).get_backend_name()
    mode = "PRAGMA journal_mode = WAL;" if kind == "sqlite" else ""
    execute_script(url, path_of(revision, kind).read_text() + mode)


def rows_of(connection: Connection) -> Rows:
    """Return all rows of the existing tables, as text, in numeric order."""
    there = sa.inspect(connection).get_table_names()
    return {name: _rows(connection, name) for name in metadata.tables if name in there}


def restored_inventory(connection: Connection) -> list[tuple[Any, ...]]:
    """Return the inventory of a schema as if restored from a dump.

    Postgres then names the columns within views that had no name.
    """
    with connection.begin_nested() as restoring:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(_RESTORE_VIEWS)
        found = inventory(connection)
        restoring.rollback()
    return found


def _rows(connection: Connection, table: str) -> list[Row]:
    names = _columns(connection, table)
    texts = ", ".join(f"CAST({name} AS text) AS {name}" for name in names)
    found = connection.exec_driver_sql(f"SELECT {texts} FROM {table}").mappings()
    return sorted(map(dict, found), key=_order)


def _order(row: Row) -> list[tuple[int, str]]:
    return [(len(text or ""), text or "") for text in row.values()]


def _columns(connection: Connection, table: str) -> list[str]:
    return [column["name"] for column in sa.inspect(connection).get_columns(table)]


def files_of(revision: str) -> list[Path]:
    """Return the files that a revision consists of, and its dumps."""
    scripts = revisions.scripts_folder()
    own = [*scripts.glob(f"versions/{revision}_*.py"), *scripts.glob(f"sql/{revision}/*/*")]
    return sorted([*own, *(path_of(revision, kind) for kind in DATABASES)])


def digests(revision: str) -> dict[str, str]:
    """Return the digest of each file of a revision, by its path in the checkout."""
    return {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_text().encode()).hexdigest()
        for path in files_of(revision)
        if path.exists()
    }


def released() -> tuple[str, dict[str, str]]:
    """Return the last released version, and the digests of the files of released revisions."""
    header, *lines = RELEASED.read_text().splitlines()
    return header.split()[-1], {path: digest for digest, path in map(str.split, lines)}


def is_release(version: str) -> bool:
    """Return whether a version is one that users get."""
    return re.fullmatch(r"[0-9.]+", version) is not None


def changed(version: str) -> list[str]:
    """Return the files that differ from `RELEASED`, that it lacks, or that are gone.

    Args:
        version: of `mirror`. A release that is not on record yet needs all revisions there; after
            it, and in another version, there are the first one and each of which there is a file.
    """
    last, before = released()
    known = revisions.known()
    if not is_release(version) or version == last:
        frozen = {Path(path).name[:4] for path in before if "/frozen/" in path}
        known = sorted({known[0], *frozen})
    now = {path: digest for revision in known for path, digest in digests(revision).items()}
    return sorted(path for path in before | now if before.get(path) != now.get(path))


def release() -> None:
    """Append the revisions that are not released yet to `RELEASED`, which must exist."""
    if not RELEASED.exists():
        sys.exit(f"{RELEASED} is gone; restore it from the last release")
    before = released()[1]
    found = {path: text for one in revisions.known() for path, text in digests(one).items()}
    lines = [f"{digest}  {path}\n" for path, digest in (found | before).items()]
    lines.sort(key=lambda line: line.split()[1])
    RELEASED.write_text(f"# mirror {__version__}\n{''.join(lines)}")


def main() -> None:
    """Freeze the revision of the command line, or release all."""
    if sys.argv[1:] == ["--release"]:
        release()
        return
    revision = sys.argv[1] if sys.argv[1:] else revisions.known()[-1]
    paths = [path_of(revision, kind) for kind in DATABASES]
    names = {path.relative_to(ROOT).as_posix() for path in paths}
    if not names.isdisjoint(released()[1]):
        sys.exit(f"revision {revision} is released, so its dumps stay as they are")
    if there := [path for path in paths if path.exists()]:
        sys.exit(f"{there[0]} exists; remove it to freeze the revision again")
    with tempfile.TemporaryDirectory() as folder, postgres.server() as server:
        rows = _history(f"sqlite:///{folder}/history.db")
        dumps = [_freeze(kind, revision, rows, Path(folder), server) for kind in DATABASES]
    for path, dump in zip(paths, dumps, strict=True):
        path.write_text(_HEADER.format(revision=revision) + dump)


def _history(url: str) -> Rows:
    """Return the rows of the history, without values that differ each time."""
    upstream = FakeUpstream()
    with Sandbox(upstream, SandboxConfig(TOKEN, etag=True)).running() as sandbox:
        history_fixture.sync_all(Mirror(url, sandbox, upstream))
    with opened(url) as connection:
        connection.exec_driver_sql(_TIMELESS, (history_fixture.BASE_URL, history_fixture.BASE_URL))
        return rows_of(connection)


def _freeze(kind: str, revision: str, rows: Rows, folder: Path, server: str) -> str:
    """Create a database at a revision with the rows, dump it, and verify the dump."""
    with ExitStack() as stack:
        if kind == "sqlite":
            url, copy = f"sqlite:///{folder}/frozen.db", f"sqlite:///{folder}/copy.db"
        else:
            url, copy = (stack.enter_context(postgres.empty_database(server)) for _ in range(2))
        alembic(url, command.upgrade, revision)
        with opened(url) as connection:
            for table in metadata.sorted_tables:
                _insert(connection, table.name, rows[table.name])
        dump = _dump_sqlite(url) if kind == "sqlite" else _dump_postgresql(url)
        execute_script(copy, dump)
        with opened(url) as one, opened(copy) as other:
            assert rows_of(one) == rows_of(other)
            assert restored_inventory(one) == restored_inventory(other)
    return dump


def _insert(connection: Connection, table: str, rows: list[Row]) -> None:
    """Insert rows, as far as a table of an older revision has their columns."""
    if not rows:
        return
    names = [name for name in _columns(connection, table) if name in rows[0]]
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    statement = (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join([mark] * len(names))})"
    )
    for row in rows:
        connection.exec_driver_sql(statement, tuple(row[name] for name in names))
    if mark == "%s" and "id" in names:
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {len(rows)})"
        )


def _dump_sqlite(url: str) -> str:
    with closing(sqlite3.connect(str(parse_url(url).database))) as connection:
        return "".join(f"{statement}\n" for statement in connection.iterdump())


def _dump_postgresql(url: str) -> str:
    program = postgres._binaries()[0] / "pg_dump"
    options = ("--no-owner", "--no-privileges", "--inserts")
    done = subprocess.run(
        [program, *options, "--dbname", url], check=True, capture_output=True, text=True
    )
    return _LEFT_OUT.sub("", done.stdout)


if __name__ == "__main__":
    main()
