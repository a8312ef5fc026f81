"""dbt builds models and snapshots of the mirror as docs/sql.md says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import psycopg

from tests.support.readers import ReaderMirror, library, program


def build(mirror: ReaderMirror, folder: Path, **environment: str) -> None:
    """Run the models and snapshots of the folder `dbt`."""
    project = folder / "dbt"
    if not project.exists():
        shutil.copytree(Path(__file__).with_name("dbt"), project)
    done = subprocess.run(
        [program("dbt"), "--no-use-colors", "build", "--target", mirror.kind],
        cwd=project,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(Path.home()),
            "DBT_PROFILES_DIR": ".",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_postgres(postgres: ReaderMirror, tmp_path: Path) -> None:
    """A snapshot with the strategy `check` has each request, and one more after a sync."""
    dsn = psycopg.conninfo.conninfo_to_dict(postgres.dsn)
    place = {
        "MIRROR_HOST": str(dsn.get("host") or "127.0.0.1"),
        "MIRROR_PORT": str(dsn.get("port") or 5432),
        "MIRROR_USER": str(dsn.get("user") or ""),
        "MIRROR_PASSWORD": str(dsn.get("password") or ""),
        "MIRROR_DATABASE": str(dsn["dbname"]),
        "MIRROR_SCHEMA": "public",
    }
    before = len(postgres.rows("release_requests"))
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        try:
            build(postgres, tmp_path, **place)
            count = "SELECT count(*) FROM dbt_reader.requests"
            assert connection.execute(count).fetchone() == (before,)
            postgres.sync()
            build(postgres, tmp_path, **place)
            assert connection.execute(count).fetchone() == (before + 1,)
        finally:
            connection.execute("DROP SCHEMA IF EXISTS dbt_reader CASCADE")


def test_sqlite(sqlite: ReaderMirror, tmp_path: Path) -> None:
    """The same through dbt-duckdb, which attaches the file."""
    copy = tmp_path / "copy.duckdb"
    place = {
        "MIRROR_FILE": str(sqlite.path),
        "MIRROR_COPY": str(copy),
        "MIRROR_DATABASE": "mirror",
        "MIRROR_SCHEMA": "main",
    }
    python = Path(program("dbt")).with_name("python")
    install = "from duckdb_extensions import import_extension as i; i('sqlite_scanner')"
    subprocess.run([python, "-c", install], check=True, timeout=60)

    def count() -> int:
        query = "SELECT count(*) FROM dbt_reader.requests"
        with library("duckdb").connect(str(copy), read_only=True) as connection:
            return int(connection.execute(query).fetchone()[0])

    before = len(sqlite.rows("release_requests"))
    build(sqlite, tmp_path, **place)
    assert count() == before
    sqlite.sync()
    build(sqlite, tmp_path, **place)
    assert count() == before + 1
