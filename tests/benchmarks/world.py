"""What is measured and what it is measured with: processes, the server of lists, databases."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, LiteralString

import psycopg

from tests.support import postgres

HERE = Path(__file__).parent
MIRROR = str(Path(sysconfig.get_path("scripts")) / "mirror")
TOKEN = "talq_benchmark"
LIST = "/phone-numbers/release-requests"

Kind = Literal["sqlite", "postgres"]

_KEEPING_STILL = ("autovacuum=off", "max_wal_size=4GB")
"""Settings under which Postgres does nothing of its own accord in the middle of a stage."""


class Failure(Exception):
    """A command failed, or left something else behind than it should."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a process took.

    Attributes:
        seconds: from its start to its end.
        peak: bytes of memory that it held at most; those of a database server are not its own.
    """

    seconds: float
    peak: int


def environment() -> dict[str, str]:
    """Return the environment of all processes: no setting of the person who measures.

    Nor one of Python's: without bytecode on the disk each start would compile a checkout anew, and
    another installation not.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MIRROR_", "TALKOVER_", "PYTHON"))
    }
    return kept | {"TALKOVER_TOKEN": TOKEN}


def measure(*command: str, settings: dict[str, str] | None = None) -> Measured:
    """Run a command to its end; raises Failure if that is not a good one.

    Args:
        command: the command.
        settings: variables in place of the token.
    """
    surroundings = environment()
    if settings is not None:
        del surroundings["TALKOVER_TOKEN"]
        surroundings |= settings
    process = subprocess.Popen(
        [sys.executable, HERE / "launcher.py", *command],
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # the launcher, and what it launched
        process.wait()
        raise
    told = json.loads(out) if out else {"code": process.returncode}
    if told["code"]:
        raise Failure(f"{' '.join(command)}: exit code {told['code']}\n{err}")
    return Measured(told["seconds"], told["peak"])


def output(*command: str) -> str:
    """Run a command, and return what it prints; raises Failure if it fails."""
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise Failure(f"{' '.join(command)}: exit code {ran.returncode}\n{ran.stderr}")
    return ran.stdout.strip()


@contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """Run the project's stand-in for the API in a process of its own; yield its base URL."""
    process = subprocess.Popen(
        [MIRROR, "sandbox", "--port", "0", "--token", TOKEN, *options],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        with process.stdout as stdout:
            said = stdout.readline()
        found = re.search(r"TALKOVER_BASE_URL=(\S+)", said)
        if found is None:
            raise Failure(f"mirror sandbox {' '.join(options)} does not come up")
        yield found[1]
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True)
class Database:
    """A database that one system fills.

    Attributes:
        kind: which.
        url: as `mirror` takes it.
    """

    kind: Kind
    url: str

    @property
    def plain(self) -> str:
        """What a driver connects to."""
        return self.url.removeprefix("sqlite:///") if self.kind == "sqlite" else self.url

    def settle(self) -> None:
        """Let Postgres do now what it would do some time: no stage pays for the one before it."""
        if self.kind == "postgres":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
                with suppress(psycopg.errors.InsufficientPrivilege):  # on a server of others
                    connection.execute("CHECKPOINT")

    def row(self, query: LiteralString) -> tuple[Any, ...]:
        """Return the row that a query finds."""
        if self.kind == "sqlite":
            connection = sqlite3.connect(self.plain)
            try:
                found = connection.execute(query).fetchone()
            finally:
                connection.close()
        else:
            with psycopg.connect(self.url) as connected:
                found = connected.execute(query).fetchone()
        assert found is not None
        return tuple(found)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server that writes to the disk as it does in earnest, unless one is named."""
    if given := os.environ.get("MIRROR_TEST_POSTGRES_URL"):
        yield given
    else:
        with postgres.own_server(_KEEPING_STILL) as server:
            yield server.url


@contextmanager
def empty_database(kind: Kind, folder: Path, server: str | None) -> Iterator[Database]:
    """Make an empty database in a folder or on a server, and remove it in the end."""
    if kind == "postgres":
        assert server is not None
        with postgres.empty_database(server) as url:
            yield Database(kind, url)
        return
    folder.mkdir()
    yield Database(kind, f"sqlite:///{folder}/mirror.db")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
