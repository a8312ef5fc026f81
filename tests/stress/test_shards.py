"""Processes that divide the environments of a file, as docs/shards.md starts them."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from tests.support.nginx import running_nginx
from tests.support.shards import (
    MAINTENANCE,
    PER_ENVIRONMENT,
    SCHEDULERS,
    UNAUTHORIZED,
    Account,
    Command,
    outcomes,
    program,
    rows,
    run_side_by_side,
)

COUNT = 4
"""The number of processes that docs/shards.md starts."""


def account_of(folder: Path, count: int) -> Account:
    """Some environments."""
    return Account(folder, [f"customer-{number}" for number in range(count)])


def commands(account: Account, *shards: str) -> list[Command]:
    """A sync of each shard."""
    words = [str(program(account.folder)), "sync", "--config", str(account.path)]
    return [Command(words, {"MIRROR_SHARD": shard}) for shard in shards]


@pytest.mark.long
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_environment_is_synced_once(
    scheduler: str, tmp_path: Path, database_url: str, *, in_full: bool
) -> None:
    """Four processes at once sync 300 environments, each of them once, into an empty database.

    Of the schedulers one does so by default; the commands of the others sync 40.
    """
    account = account_of(tmp_path, 300 if in_full or scheduler == "Kubernetes" else 40)
    shards = [SCHEDULERS[scheduler](tmp_path, index) for index in range(COUNT)]
    with account.serving(database_url):
        rans = run_side_by_side(shards)
    assert [ran.code for ran in rans] == [0] * COUNT, rans
    named = [re.findall(r"^mirror: (\S+): applied", ran.err, re.MULTILINE) for ran in rans]
    assert sorted(chain(*named)) == sorted(account.names)
    assert outcomes(database_url) == {name: ["applied"] for name in account.names}
    assert account.pulls == dict.fromkeys(account.names, 1)
    assert rows(database_url) == dict.fromkeys(account.names, PER_ENVIRONMENT)


def test_another_number_of_shards_while_the_old_ones_run(tmp_path: Path, database_url: str) -> None:
    """Two processes that sync an environment at once apply its list once, and none fails."""
    account = account_of(tmp_path, 20)
    old, new = [f"{index}/4" for index in range(4)], [f"{index}/3" for index in range(3)]
    with account.serving(database_url):
        rans = run_side_by_side(commands(account, *old, *new))
        assert [ran.code for ran in rans] == [0] * 7, rans
        runs = outcomes(database_url)
        assert runs.keys() == set(account.names)
        for each in runs.values():
            assert sorted(each) in (["applied", "superseded"], ["applied", "unchanged"])
        assert rows(database_url) == dict.fromkeys(account.names, PER_ENVIRONMENT)
        rans = run_side_by_side(commands(account, *new))
    assert [ran.code for ran in rans] == [0] * 3, rans
    assert {each[-1] for each in outcomes(database_url).values()} == {"unchanged"}


def test_a_failure_is_that_of_its_shard(
    tmp_path: Path, make_database: Callable[[str], str]
) -> None:
    """One process exits with the code of its environments, and the others with 0.

    Slurm, whose script passes 75 over, sees all other failures.
    """
    account, database_url = account_of(tmp_path, 12), make_database("sqlite")
    shards = [SCHEDULERS["Slurm"](tmp_path, index) for index in range(COUNT)]
    shards += commands(account, *(f"{index}/{COUNT}" for index in range(COUNT)))
    with account.serving(database_url):
        for response, code, passed in ((UNAUTHORIZED, 77, 1), (MAINTENANCE, 75, 0)):
            account.failures["customer-7"] = response  # in 1/4
            rans = run_side_by_side(shards)
            assert [ran.code for ran in rans] == [0, passed, 0, 0, 0, code, 0, 0], rans


def test_processes_behind_one_limit(tmp_path: Path, make_database: Callable[[str], str]) -> None:
    """Four processes that a real limiter counts together are refused, and all complete."""
    account, database_url = account_of(tmp_path, 16), make_database("sqlite")
    with (
        account.serving(database_url) as base_url,
        running_nginx(base_url, tmp_path, "2r/s", "limit_req_status 429;") as nginx,
    ):
        account.configure(database_url, nginx.base_url)
        rans = run_side_by_side(commands(account, "0/4", "1/4", "2/4", "3/4"))
        statuses = nginx.statuses()
    assert [ran.code for ran in rans] == [0] * COUNT, rans
    assert outcomes(database_url) == {name: ["applied"] for name in account.names}
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == len(account.names)
