"""Real poolers before Postgres: PgBouncer and pgpool.

Without them their tests are skipped, or fail if MIRROR_TEST_POOLERS is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.outages import wait_until
from tests.support.postgres import server_folder, server_user

PACKAGES = {"pgbouncer": "pgbouncer", "pgpool": "pgpool2"}
"""The Debian package of each program."""


def _program(name: str) -> str:
    """Return the path of a pooler, or skip or fail the test."""
    # Debian has them in /usr/sbin, which is not in the path of every user.
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        reason = f"{name} is not tested: install {PACKAGES[name]}"
        if os.environ.get("MIRROR_TEST_POOLERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@contextmanager
def running_pooler(
    command: list[str], files: Mapping[str, str], port: int, role: str
) -> Iterator[Path]:
    """Run a pooler that listens on a socket in a folder of its own.

    Args:
        command: the program and its arguments; {folder} is that folder.
        files: its configuration, by the name of the file; {folder} is replaced too.
        port: its port, of which the socket has the name.
        role: logs in there, by its name as the password.

    Yields:
        The folder.
    """
    program = _program(command[0])
    user = server_user()
    folder = server_folder("pooler-")
    for name, text in files.items():
        (folder / name).write_text(text.replace("{folder}", str(folder)))
        if user is not None:
            shutil.chown(folder / name, user)
    log = folder / "log"

    def is_open() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            psycopg.connect(
                host=f"{folder}", port=port, user=role, password=role, dbname="bi"
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, *(word.replace("{folder}", str(folder)) for word in command[1:])],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user,
            )
        try:
            wait_until(is_open)
            yield folder
        finally:
            process.send_signal(2)
            process.wait(30)
    finally:
        shutil.rmtree(folder)
