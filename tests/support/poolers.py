"""Real poolers before Postgres: PgBouncer and pgpool, with the settings of docs/operations.md.

Without them their tests are skipped, or fail if MIRROR_TEST_POOLERS is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest

from tests.support.outages import PASSWORD, wait_until
from tests.support.pages import FILES
from tests.support.postgres import Server, execute, server_folder, server_user

DATABASE = "bi"
"""The database in the settings of docs/operations.md."""

USER = "mirror_writer"
"""The owner of the database, who logs in by password at PgBouncer."""

_PACKAGES = {"pgbouncer": "pgbouncer", "pgpool": "pgpool2"}


def make_database(server: Server) -> str:
    """Create the database and its owner on a server; return its URL without a pooler."""
    execute(
        server.url,
        f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'",
        f"CREATE DATABASE {DATABASE} OWNER {USER}",
    )
    return f"postgresql://{USER}:{PASSWORD}@/{DATABASE}?host={server.folder}"


@contextmanager
def pgbouncer(server: Server, settings: Mapping[str, str]) -> Iterator[str]:
    """Run PgBouncer before a server.

    Args:
        server: has the database.
        settings: other settings than those of the page.

    Yields:
        The URL of the database.
    """
    configuration = _changed(
        FILES["pgbouncer.ini"],
        {
            "listen_addr": "",
            "auth_file": "userlist.txt",
            DATABASE: f"host={server.folder} port=5432 dbname={DATABASE}",
            "unix_socket_dir": ".",
            **settings,
        },
    )
    files = {"pgbouncer.ini": configuration, "userlist.txt": f'"{USER}" "{PASSWORD}"\n'}
    with _running("pgbouncer", ["pgbouncer.ini"], files, 6432) as url:
        yield url


@contextmanager
def pgpool(primary: Server, standby: Server, settings: Mapping[str, str]) -> Iterator[str]:
    """Run pgpool before a primary and its standby.

    Args:
        primary: has the database.
        standby: has it too.
        settings: other settings than those of the page.

    Yields:
        The URL of the database.
    """
    execute(primary.url, "DROP ROLE IF EXISTS pgpool", "CREATE ROLE pgpool LOGIN")
    configuration = _changed(
        FILES["pgpool.conf"],
        {
            "listen_addresses": "''",
            "backend_hostname0": f"'{primary.folder}'",
            "backend_hostname1": f"'{standby.folder}'",
            "socket_dir": "'{folder}'",
            "pcp_listen_addresses": "''",
            "pcp_socket_dir": "'{folder}'",
            "pid_file_name": "'{folder}/pgpool.pid'",
            "work_dir": "'{folder}'",
            "logdir": "'{folder}'",
            "num_init_children": "8",
            **settings,
        },
    )
    arguments = ["-n", "-f", "pgpool.conf", "-F", "pcp.conf"]
    with _running("pgpool", arguments, {"pgpool.conf": configuration, "pcp.conf": ""}, 9999) as url:
        yield url


def accepts_connections(url: str) -> bool:
    """Return whether a pooler and the server behind it accept a connection."""
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _changed(configuration: str, settings: Mapping[str, str]) -> str:
    """Change settings of a configuration; those that it does not have are added at its end."""
    missing = dict(settings)
    lines = []
    for line in configuration.splitlines():
        name = line.split(" = ")[0]
        lines.append(f"{name} = {missing.pop(name)}" if name in missing else line)
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in missing.items()), ""])


@contextmanager
def _running(name: str, arguments: list[str], files: Mapping[str, str], port: int) -> Iterator[str]:
    """Run a pooler that listens on a socket in a folder of its own.

    Args:
        name: of the program.
        arguments: its arguments.
        files: its configuration, by the name of the file; {folder} is that folder.
        port: the number in the name of its socket.

    Yields:
        The URL of the database.
    """
    program = _program(name)
    user = server_user()
    folder = server_folder("pooler-")
    for file, text in files.items():
        (folder / file).write_text(text.replace("{folder}", f"{folder}"))
    log = folder / "log"
    url = f"postgresql://{USER}:{PASSWORD}@/{DATABASE}?host={folder}&port={port}"

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()
        return accepts_connections(url)

    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
            )
        try:
            wait_until(is_up)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown for both
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> str:
    """Return the path of a program, or skip or fail the test."""
    # Debian has them in /usr/sbin, which is not in the path of every user.
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        reason = f"{name} is not tested: install {_PACKAGES[name]}"
        if os.environ.get("MIRROR_TEST_POOLERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program
