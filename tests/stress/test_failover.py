"""A primary that dies in the middle of a sync, and its standby, which is promoted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from mirror.db.engine import create_engine, read_transaction
from mirror.db.urls import parse_url
from mirror.errors import DatabaseError, DatabaseUnavailable
from tests.support.outages import (
    DURING_FETCH,
    DURING_MERGE,
    NEW,
    OLD,
    PASSWORD,
    OutageMirror,
    nth_commit,
    outage_mirrors,
    patched,
    result_of,
)
from tests.support.pages import OPERATIONS
from tests.support.postgres import (
    STANDBY,
    UNSAFE_SETTINGS,
    Server,
    execute,
    own_server,
    wait_for_replay,
)
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import request

URL = "postgresql://mirror@/bi?host=db1.example.com:5432&host=db2.example.com:5432&target_session_attrs=read-write"
"""The URL of the documentation."""


@dataclass
class Pair:
    """A primary and a standby, and the mirror on both, which commands reach by one URL.

    Attributes:
        primary: the server that will die.
        standby: the one that takes its place.
        proxy: before the primary.
        mirror: on the primary.
        replica: the same on the standby.
    """

    primary: Server
    standby: Server
    proxy: TcpProxy
    mirror: OutageMirror
    replica: OutageMirror

    def fail_over(self) -> None:
        """Let the primary die, and promote the standby."""
        self.primary.kill()
        self.standby.promote()


@contextmanager
def servers(*, synchronous: bool, proxied: bool = False) -> Iterator[Pair]:
    """A mirror that has synced OLD, on a primary and its standby.

    Args:
        synchronous: commits wait for the standby.
        proxied: commands reach the primary by the proxy.
    """
    names = STANDBY if synchronous else ""
    with ExitStack() as stack:
        enter = stack.enter_context
        primary = enter(own_server())
        standby = enter(own_server(UNSAFE_SETTINGS, primary))
        execute(
            primary.url,
            f"ALTER SYSTEM SET synchronous_standby_names = '{names}'",
            "SELECT pg_reload_conf()",
        )
        proxy = enter(TcpProxy(primary.socket).running())
        make = enter(outage_mirrors())
        pair = Pair(primary, standby, proxy, make(primary.url), make(standby.url))
        first = f"127.0.0.1:{parse_url(proxy.url(primary.url)).port}" if proxied else primary.folder
        url = URL.replace("mirror@/bi", f"mirror:{PASSWORD}@/postgres")
        url = url.replace("db1.example.com:5432", f"{first}")
        url = url.replace("db2.example.com:5432", f"{standby.folder}")
        pair.mirror.command_url = pair.replica.command_url = url
        pair.mirror.load_old()
        wait_for_replay(primary, standby)
        yield pair


def test_the_url_is_that_of_the_documentation() -> None:
    """The page has the URL that is tested here."""
    assert URL in OPERATIONS


@pytest.mark.parametrize("moment", DURING_MERGE)
def test_in_the_middle_of_a_merge(moment: str) -> None:
    """The sync fails for now, the standby has its failure on record and the old mirror."""
    with servers(synchronous=True) as pair:
        before = pair.mirror.state()
        with pair.mirror.at(moment, pair.fail_over):
            ran = pair.mirror.run(NEW)
        pair.replica.assert_failed(ran, before, "failed")
        pair.replica.assert_recovers("failed")


def test_while_the_list_is_fetched() -> None:
    """While no transaction is open a failover does no harm: the standby takes the result."""
    with servers(synchronous=True) as pair:
        with pair.mirror.at(DURING_FETCH, pair.fail_over):
            ran = pair.mirror.run(NEW)
        pair.replica.assert_applied(ran)


def test_before_anybody_is_promoted() -> None:
    """Until there is a new primary all syncs fail for now; the first one after that recovers."""
    with servers(synchronous=True) as pair:
        before = pair.mirror.state()
        with pair.mirror.at(DURING_MERGE[0], pair.primary.kill):
            ran = pair.mirror.run(NEW)
        pair.replica.assert_failed(ran, before, "running")
        pair.replica.assert_failed(pair.replica.run(NEW), before, "running")
        pair.standby.promote()
        pair.replica.assert_recovers("running")


def test_what_a_synchronous_standby_confirmed_is_kept() -> None:
    """What a sync reported as applied is on the standby; the next sync finds nothing new."""
    with servers(synchronous=True) as pair:
        assert pair.mirror.run(NEW).code == 0
        pair.fail_over()
        assert pair.replica.has_new()
        assert result_of(pair.replica.run())["outcome"] == "unchanged"


def test_a_commit_whose_answer_dies_with_the_primary() -> None:
    """The commit reached the standby, but no answer came: the run is on record as applied."""
    with servers(synchronous=True, proxied=True) as pair:
        pair.proxy.cut(nth_commit(2), delivers=True, stays_dead=True)
        ran = pair.mirror.run(NEW)
        assert (ran.code, result_of(ran)["outcome"]) == (75, "failed")
        pair.fail_over()
        assert pair.replica.has_new()
        assert pair.replica.outcomes() == ["applied", "applied"]
        assert result_of(pair.replica.run())["outcome"] == "unchanged"


def test_what_an_asynchronous_standby_may_lose() -> None:
    """Runs that it did not receive are lost as a whole, and the next sync makes up for them.

    A state that only they saw is gone: the request was rejected for the time of one sync.
    """
    with servers(synchronous=False) as pair:
        before = pair.mirror.state()
        execute(pair.standby.url, "SELECT pg_wal_replay_pause()")
        pair.standby.stop("fast")
        assert pair.mirror.run([request(1, status="rejected"), *OLD[1:]]).code == 0
        assert pair.mirror.run(NEW).code == 0
        pair.primary.kill()
        pair.standby.start()
        pair.standby.promote()
        assert pair.replica.state() == before
        assert pair.replica.outcomes() == ["applied"]
        pair.replica.assert_recovers()


def test_a_synchronous_standby_that_is_away() -> None:
    """No commit is answered then: the sync fails for now, and the next one with it recovers.

    The commit of the run's beginning is only known to the primary until the standby is back.
    """
    with servers(synchronous=True) as pair:
        before = pair.mirror.state()
        pair.standby.stop("fast")
        with patched(LOCK_WAIT=0.2, RESPONSE_TIMEOUT=1):
            ran = pair.mirror.run(NEW)
        assert (ran.code, result_of(ran)["run_id"]) == (75, None)
        assert pair.mirror.state() == before
        pair.standby.start()
        pair.mirror.assert_recovers("running")


@pytest.mark.parametrize("silent_first", [True, False])
def test_a_silent_host(*, silent_first: bool) -> None:
    """The other host is used, and if it refuses the login that is the error."""
    with own_server() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        silent_host = f"127.0.0.1:{silent.getsockname()[1]}"
        hosts = [silent_host, f"{str(server.folder).replace('/', '%2F')}:5432"]
        both = ",".join(hosts if silent_first else reversed(hosts))
        user = parse_url(server.url).username

        def connect(hosts: str, database: str) -> None:
            url = f"postgresql://{user}@{hosts}/{database}?connect_timeout=2"
            with read_transaction(create_engine(url)) as connection:
                connection.exec_driver_sql("SELECT 1")

        connect(both, "postgres")
        with pytest.raises(DatabaseError, match="nowhere") as refused:
            connect(both, "nowhere")
        assert type(refused.value) is DatabaseError
        with pytest.raises(DatabaseUnavailable):
            connect(f"{silent_host},{silent_host}", "postgres")
