"""The databases of the soak, and what happens to them: cuts, restarts, crashes, failovers."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import sqlalchemy as sa

from mirror.db.engine import create_engine, read_transaction
from mirror.db.urls import parse_url
from tests.support.outages import PASSWORD
from tests.support.poolers import DATABASE, USER, make_database, pgbouncer
from tests.support.postgres import (
    STANDBY,
    UNSAFE_SETTINGS,
    NoPostgres,
    Server,
    execute,
    own_server,
)
from tests.support.soaks.apis import SoakApi, config_lines
from tests.support.soaks.windows import Windows
from tests.support.tcp_proxy import TcpProxy

KINDS = ("SQLite", "SQLite, shared", "Postgres", "Postgres, PgBouncer", "Postgres, standby")
"""The kinds of databases."""


@dataclass
class SoakDatabase:
    """A database of the soak and its environments.

    Attributes:
        kind: one of `KINDS`.
        name: for messages and files.
        url: for commands.
        direct_url: returns the URL for the harness, which goes past pooler and proxy.
        apis: the API of each environment.
        config: the configuration file of the commands.
        troubles: when the database was disturbed, so that commands may fail.
        counts: what happened, by name.
    """

    kind: str
    name: str
    url: str
    direct_url: Callable[[], str]
    config: Path
    apis: dict[str, SoakApi] = field(default_factory=dict)
    troubles: Windows = field(default_factory=Windows)
    counts: Counter[str] = field(default_factory=Counter)

    def write_config(self) -> None:
        """Write the configuration file, and a token file for each environment."""
        lines = [f'database = "{self.url}"']
        for name, api in self.apis.items():
            token = self.config.parent / f"{name}.token"
            token.write_text(api.sandbox.config.token)
            lines += config_lines(api, token.name)
        self.config.write_text("\n".join(lines))

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Read, past pooler and proxy, in one transaction."""
        with read_transaction(create_engine(self.direct_url())) as connection:
            yield connection


class Infrastructure(ExitStack):
    """The servers of the soak.

    Args:
        folder: for the sockets, and files of SQLite.
        chance: decides the moments of faults.

    Attributes:
        databases: all of them.
        left_out: what is missing on this machine, as sentences.
    """

    def __init__(self, folder: Path, chance: Random) -> None:
        super().__init__()
        self.databases: list[SoakDatabase] = []
        self.left_out: list[str] = []
        self._folder = folder
        self._chance = chance
        self._server: Server | None = None
        self._proxy: TcpProxy | None = None
        self._pool: ExitStack | None = None
        self._primary: tuple[Server, str] | None = None
        self._standby: tuple[Server, str] | None = None

    def build(self, environments: int) -> None:
        """Start the servers, and spread environments over the databases."""
        shares = {"SQLite": 8, "SQLite, shared": 7}
        try:
            self._server = self.enter_context(own_server())
            self.callback(self.close_pooler)
        except NoPostgres as error:
            self.left_out.append(f"Postgres: {error}")
        else:
            shares |= {"Postgres": 6} | self._optional()
        total = sum(shares.values())
        counts = {kind: max(1, environments * share // total) for kind, share in shares.items()}
        while sum(counts.values()) < environments:
            counts[self._chance.choice(list(counts))] += 1
        number = 0
        for kind, count in counts.items():
            urls = self._urls(kind, count)
            each = count // len(urls)
            for place, (url, direct) in enumerate(urls):
                name = f"{kind.lower().replace(', ', '-')}-{place}"
                folder = self._folder / name
                folder.mkdir()
                database = SoakDatabase(kind, name, url, direct, folder / "mirror.toml")
                for _ in range(each if place else count - each * (len(urls) - 1)):
                    size = self._chance.choice((20, 30, 40, 60, 80, 130, 210))
                    api = SoakApi(f"e{number:02}", random_from(self._chance), size)
                    self.enter_context(api.sandbox.running())
                    database.apis[api.name] = api
                    number += 1
                database.write_config()
                self.databases.append(database)

    def _optional(self) -> dict[str, int]:
        """Start what may be missing."""
        shares = {}
        if shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin"):
            shares["Postgres, PgBouncer"] = 5
        else:
            self.left_out.append("PgBouncer: install pgbouncer")
        try:
            primary = self.enter_context(own_server())
            self._primary = (primary, "a")
            self._point("a", primary.folder)
            self._add_standby("b")
            shares["Postgres, standby"] = 4
        except (OSError, RuntimeError) as error:
            self.left_out.append(f"a standby, and failovers: {str(error).splitlines()[0]}")
        return shares

    def _urls(self, kind: str, count: int) -> list[tuple[str, Callable[[], str]]]:
        """The databases of a kind: the URLs for commands and for the harness."""
        if kind == "SQLite":
            urls = [f"sqlite:///{self._folder}/own-{number}.db" for number in range(count)]
            return [(url, partial(str, url)) for url in urls]
        if kind == "SQLite, shared":
            url = f"sqlite:///{self._folder / 'shared.db'}"
            return [(url, lambda: url)]
        if kind == "Postgres, standby":
            hosts = "".join(f"&host={self._folder / end}" for end in "ab")
            query = f"{hosts.removeprefix('&')}&target_session_attrs=read-write"
            return [(f"postgresql://mirror@/postgres?{query}", self._primary_url)]
        assert self._server is not None
        server = self._server
        if kind == "Postgres":
            self._proxy = self.enter_context(TcpProxy(server.socket).running())
            return [(self._proxy.url(server.url), lambda: server.url)]
        make_database(server)
        self._start_pooler()
        pooled = (
            f"postgresql://{USER}:{PASSWORD}@/{DATABASE}?host={self._folder / 'pool'}&port=6432"
        )
        return [(pooled, lambda: f"postgresql://mirror@/{DATABASE}?host={server.folder}")]

    def _primary_url(self) -> str:
        assert self._primary is not None
        return self._primary[0].url

    def _point(self, name: str, folder: Path) -> None:
        """Let a host of the URLs be a server, by a link to the folder of its socket."""
        link = self._folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(folder)

    def _start_pooler(self) -> None:
        assert self._server is not None
        self._pool = ExitStack()
        settings = {"server_login_retry": "1"}
        url = self._pool.enter_context(pgbouncer(self._server, settings))
        self._point("pool", Path(str(parse_url(url).query["host"])))

    def _add_standby(self, end: str) -> None:
        """Make a standby of the primary, for which commits wait from then on."""
        assert self._primary is not None
        primary, _ = self._primary
        standby = self.enter_context(own_server(UNSAFE_SETTINGS, primary))
        self._point(end, standby.folder)
        self._standby = (standby, end)
        execute(
            primary.url,
            f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'",
            "SELECT pg_reload_conf()",
        )

    # What happens

    def disasters(self) -> dict[str, Callable[[], object]]:
        """What can happen to the databases, by name."""
        found: dict[str, Callable[[], object]] = {"database: another program's lock": self._lock}
        if self._server is not None:
            found["database: connection cut"] = self._cut
            found["database: server killed and started"] = self._crash
        if self._pool is not None:
            found["database: PgBouncer restarted"] = self._restart_pooler
        if self._standby is not None:
            found["failover"] = self._fail_over
        return found

    def _of(self, *kinds: str) -> list[SoakDatabase]:
        return [database for database in self.databases if database.kind in kinds]

    def _lock(self) -> None:
        """Hold the lock of writers of a file for some seconds; syncs wait for it."""
        database = self._chance.choice(self._of("SQLite", "SQLite, shared"))
        path = str(parse_url(database.url).database)
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(self._chance.uniform(0.5, 4))

    def _cut(self) -> None:
        """Break a connection at a message of the client; it may have arrived, or not."""
        assert self._proxy is not None
        [database] = self._of("Postgres")
        with database.troubles.during(2):
            share, chance = self._chance.choice((0.03, 0.2)), random_from(self._chance)
            lock = threading.Lock()

            def matches(_message: bytes) -> bool:
                with lock:
                    return chance.random() < share

            self._proxy.cut(matches, delivers=self._chance.random() < 0.5)
            deadline = time.monotonic() + 15
            while not self._proxy.is_cut and time.monotonic() < deadline:
                time.sleep(0.1)
            self._proxy.restore()

    def _crash(self) -> None:
        """Kill the server as a power failure does, and start it again."""
        assert self._server is not None
        with ExitStack() as stack:
            for database in self._of("Postgres", "Postgres, PgBouncer"):
                stack.enter_context(database.troubles.during(5))
            self._server.kill()
            time.sleep(self._chance.uniform(0, 3))
            self._server.start()

    def _restart_pooler(self) -> None:
        assert self._pool is not None
        [database] = self._of("Postgres, PgBouncer")
        with database.troubles.during(3):
            self._pool.close()
            time.sleep(self._chance.uniform(0, 2))
            self._start_pooler()

    def _fail_over(self) -> None:
        """Kill the primary, promote its standby, and make a new standby of that."""
        assert self._primary is not None
        assert self._standby is not None
        [database] = self._of("Postgres, standby")
        with database.troubles.during(5):
            (dead, end), self._primary = self._primary, self._standby
            dead.kill()
            time.sleep(self._chance.uniform(0, 3))
            self._primary[0].promote()
            self._standby = None
            self._add_standby(end)

    def close_pooler(self) -> None:
        """Stop the pooler, if there is one."""
        if self._pool is not None:
            self._pool.close()

    def dump(self, folder: Path) -> None:
        """Keep the databases of Postgres as SQL, if there is pg_dump."""
        program = shutil.which("pg_dump")
        if program is None:
            return
        import subprocess

        for database in self.databases:
            if not database.kind.startswith("SQLite"):
                with (folder / f"{database.name}.sql").open("wb") as file:
                    subprocess.run(
                        [program, "--dbname", database.direct_url()], stdout=file, check=False
                    )


def random_from(chance: Random) -> Random:
    """Another source of chance, which depends on this one's seed only."""
    return Random(chance.random())  # noqa: S311 (no cryptography)


def check_integrity(database: SoakDatabase) -> str:
    """Return what is wrong with the files of a database; empty if nothing is."""
    if database.kind.startswith("SQLite"):
        with database.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA integrity_check").all()
            foreign = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        return "" if (found, foreign) == ([("ok",)], []) else f"{found} {foreign}"
    url = database.direct_url()
    tables = execute(
        url, "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND oid >= 16384"
    )
    try:
        for (table,) in tables:
            execute(url, f"SELECT sum(length(t::text)) FROM {table} AS t")
        [(amcheck,)] = execute(
            url, "SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"
        )
        if amcheck:
            execute(
                url,
                "CREATE EXTENSION IF NOT EXISTS amcheck",
                "SELECT bt_index_check(c.oid, true) FROM pg_class AS c JOIN pg_am AS m"
                " ON m.oid = relam WHERE relkind = 'i' AND amname = 'btree' AND c.oid >= 16384",
            )
    except psycopg.Error as error:
        return f"{type(error).__name__}: {error}"
    return ""
