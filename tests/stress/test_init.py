"""`mirror init` with a Postgres that takes a password, typed on a terminal."""

from __future__ import annotations

from pathlib import Path

from mirror.sandbox.server import Sandbox
from tests.support import postgres
from tests.support.commands import run_mirror
from tests.support.postgres import execute, own_server
from tests.support.terminals import converse
from tests.support.upstream import TOKEN

PASSWORD = r" a:b\c 'd' %2F é "
HBA = """
local all mirror trust
local all scram scram-sha-256
"""


def test_a_typed_password(tmp_path: Path, sandbox: Sandbox) -> None:
    """A wrong password is asked for again; libpq reads the right one from its file, to the byte."""
    environment = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    with own_server(postgres.UNSAFE_SETTINGS) as server:
        quoted = PASSWORD.replace("'", "''")
        execute(
            server.url,
            f"CREATE ROLE scram LOGIN PASSWORD '{quoted}'",
            "CREATE DATABASE bi OWNER scram",
        )
        (server.data / "pg_hba.conf").write_text(HBA)
        server.stop("fast")
        server.start()
        url = f"postgresql://scram@/bi?host={server.folder}"
        answers = [
            ("Name of the environment", "prod\n"),
            ("Base URL", f"{sandbox.base_url}\n"),
            ("API token", f"{TOKEN}\n"),
            ("Database (", f"{url}\n"),
            ("Password of the database", "wrong\n"),
            ("Database (", f"{url}\n"),
            ("Password of the database", f"{PASSWORD}\n"),
        ]
        code, received = converse(["init"], answers, **environment)
        assert code == 0, received
        assert PASSWORD.strip() not in received
        assert "a:b" not in (tmp_path / "config" / "mirror" / "config.toml").read_text()
        assert run_mirror("sync", **environment).code == 0
