"""`mirror sync` of several environments: in parallel, one failing alone, and on an interval."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirror import cli
from mirror.cancellation import CancellationToken
from mirror.cli.exit_codes import MOST_SERIOUS_FIRST, most_serious
from mirror.cli.sync_output import write_round
from mirror.config.environments import EnvironmentConfig
from mirror.config.settings import ApiSettings, Secret
from mirror.db.runs import Outcome
from mirror.errors import GuardRefused, MirrorError
from mirror.sync import scheduler
from mirror.sync.run import Result
from tests.support import ROOT
from tests.support.commands import Ran, run_mirror
from tests.support.fleets import Fleet, fail_three, interrupt_fetches
from tests.support.upstream import TOKEN, FakeUpstream


@pytest.fixture
def fleet(make_ready_database: Callable[[str], str], tmp_path: Path) -> Iterator[Fleet]:
    """Three environments of two requests each, in SQLite."""
    with Fleet(make_ready_database("sqlite"), tmp_path) as fleet:
        yield fleet.add_three()


# One round


def test_three_of_ten_environments_fail(
    make_ready_database: Callable[[str], str], tmp_path: Path
) -> None:
    """One command syncs ten; three fail, each in its way, and are reported and recorded."""
    with Fleet(make_ready_database("postgresql"), tmp_path) as fleet:
        fail_three(fleet, 10)


def test_output_by_environment(fleet: Fleet) -> None:
    """A line for each run, with its environment; with --json an object; with --quiet nothing.

    The last line counts the outcomes.
    """
    ran = fleet.run("sync")
    *lines, last = ran.err.splitlines()
    assert re.fullmatch(r"mirror: 3 environments: 3 applied; [<\d. ]+ s", last)
    assert (ran.code, ran.out) == (0, "")
    assert [line.split(":")[1].strip() for line in lines] == list(fleet.upstreams)
    assert all(re.search(r": applied: 2 in the list, 2 new; ", line) for line in lines)
    ran = fleet.run("sync", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(line)["outcome"] for line in ran.out.splitlines()] == ["unchanged"] * 3
    assert fleet.run("sync", "--quiet") == Ran(0, "", "")


def test_quiet_is_not_silent_when_something_is_wrong(fleet: Fleet) -> None:
    """With --quiet only the environments that need somebody are reported."""
    fleet.upstreams["staging"].records.append("rubbish")
    fleet.refuse_token("prod")
    ran = fleet.run("sync", "--quiet")
    assert (ran.code, ran.out) == (77, "")
    staging, prod = ran.err.splitlines()
    assert re.fullmatch(
        r"mirror: staging: applied: .* 1 quarantined; .*`mirror quarantine`.*", staging
    )
    assert prod.startswith("mirror: prod: the API at")
    assert fleet.run("sync", "--quiet", "--environment", "staging") == Ran(0, "", "")


@pytest.mark.calendar
def test_logs_for_a_collector(fleet: Fleet) -> None:
    """With --log-format json each line is an object with its environment, errors included."""
    fleet.refuse_token("prod")
    ran = fleet.run("sync", "--log-format", "json")
    *of_runs, closing = map(json.loads, ran.err.splitlines())
    assert closing["message"].startswith("3 environments: 2 applied, 1 failed; ")
    assert closing["round"].pop("seconds") >= max(line["run"]["seconds"] for line in of_runs)
    assert closing["round"] == {
        "environments": 3,
        "applied": 2,
        "unchanged": 0,
        "dry_run": 0,
        "superseded": 0,
        "failed": 1,
        "refused": 0,
        "not_begun": 0,
        "exit_code": 77,
    }
    lines = {line["environment"]: line for line in of_runs}
    assert (ran.code, ran.out, lines.keys()) == (77, "", fleet.upstreams.keys())
    assert [line["level"] for line in lines.values()] == ["info", "info", "error"]
    outcomes = [line["run"]["outcome"] for line in lines.values()]
    assert outcomes == ["applied", "applied", "failed"]
    assert lines["dev"]["run"]["inserted"] == 2
    for line in lines.values():
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line["time"])) < timedelta(hours=1)
    ran = fleet.run("sync", "--log-format", "json", "--environment", "prd")
    assert ran.code == 2
    assert "did you mean 'prod'?" in json.loads(ran.err)["message"]


def test_verbose_logs_each_request(fleet: Fleet) -> None:
    """With -v there is a line for each request, with its environment and time, and no token."""
    ran = fleet.run("sync", "-v", "--jobs", "3")
    assert (ran.code, ran.out) == (0, "")
    for environment in fleet.upstreams:
        assert re.search(
            rf"^mirror: \d\d:\d\d:\d\d\.\d{{3}} {environment}: "
            r"GET /phone-numbers/release-requests\?.*: 200, .* bytes in \d+\.\d+ s$",
            ran.err,
            re.MULTILINE,
        ), ran.err
    assert TOKEN not in ran.err


def test_only_named_environments(fleet: Fleet) -> None:
    """With --environment, which may be repeated, or its variable the others are left alone."""
    assert fleet.run("sync", "--environment", "prod", "--environment", "dev").code == 0
    synced = fleet.rows("SELECT DISTINCT environment FROM sync_runs ORDER BY environment")
    assert synced == [("dev",), ("prod",)]
    assert fleet.run("sync", MIRROR_ENVIRONMENT="staging").err.count("\n") == 1
    assert len(fleet.rows("SELECT id FROM sync_runs WHERE environment = 'staging'")) == 1


def test_in_parallel(fleet: Fleet) -> None:
    """With --jobs 3 each API may wait until all three are requested."""
    barrier = threading.Barrier(3, timeout=60)

    class WaitingUpstream(FakeUpstream):
        def list_payload(self) -> list[Any]:
            barrier.wait()
            return super().list_payload()

    for environment, sandbox in fleet.sandboxes.items():
        waiting = WaitingUpstream()
        waiting.records = fleet.upstreams[environment].records
        sandbox.upstream = waiting
    assert fleet.run("sync", "--jobs", "3").code == 0
    assert fleet.rows("SELECT count(*) FROM release_requests") == [(6,)]


def test_one_without_its_token_leaves_the_others(fleet: Fleet, tmp_path: Path) -> None:
    """A missing token file fails one environment; if it is the only one, it is wrong usage."""
    (tmp_path / "dev.token").unlink()
    ran = fleet.run("sync", "--json")
    assert ran.code == 2
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert [result["outcome"] for result in results] == ["failed", "applied", "applied"]
    assert results[0]["run_id"] is None
    assert re.fullmatch(r"mirror: dev: the token file of .* cannot be read .*\n", ran.err)
    alone = fleet.run("sync", "--json", "--environment", "dev")
    assert (alone.code, alone.out) == (2, "")


def test_a_dry_run_of_several(fleet: Fleet) -> None:
    """One table shows what would change in all of them; nothing is changed."""
    assert fleet.run("sync").code == 0
    fleet.approve_first()
    ran = fleet.run("sync", "--dry-run", "--jobs", "2")
    assert ran.code == 0
    head, *rows = ran.out.splitlines()
    assert head.startswith("changed_at\t")
    assert sorted(row.split("\t")[2] for row in rows) == sorted(fleet.upstreams)
    assert fleet.rows("SELECT DISTINCT outcome FROM sync_runs") == [("applied",)]
    assert fleet.rows("SELECT count(*) FROM release_requests WHERE status = 'approved'") == [(0,)]


WRONG_USAGE = [
    (("--quiet", "-v"), "contradict each other"),
    (("--accept-missing",), "one environment at a time"),
    (("--accept-missing", "--every", "1h"), "switch the guard off for good"),
    (("--dry-run", "--every", "1h"), "would never update the mirror"),
    (("--token-file", "x"), "would give one token to the 3 environments"),
    (("--jobs", "0"), "--jobs"),
    (("--every", "15"), "is not a duration"),
    (("--every", "0m"), "is not a duration"),
    (("--environment", "pord"), "did you mean 'prod'?"),
    (("--shard", "0/2", "--environment", "prod"), "--environment names some; leave one out"),
    (("--shard", "0/2", "--accept-missing"), "one environment at a time"),
]


def test_wrong_usage_is_refused_before_any_request(fleet: Fleet) -> None:
    """Wrong options are refused with the reason; so is a wrong file, also with --every."""
    for arguments, reason in WRONG_USAGE:
        ran = fleet.run("sync", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert reason in " ".join(ran.err.split())
    fleet.path.write_text("databse = 'x'")
    ran = fleet.run("sync", "--every", "1s")
    assert (ran.code, ran.out) == (2, "")
    assert re.match(r"mirror: first sync in [<\d. ]+ s\n", ran.err)
    ran = fleet.run("sync", "--every", "1s", "--quiet", "--log-format", "json")
    (line,) = map(json.loads, ran.err.splitlines())
    assert (ran.code, line["level"]) == (2, "error")
    assert not any(sandbox.request_log for sandbox in fleet.sandboxes.values())


def test_accepting_what_is_missing_in_one(fleet: Fleet) -> None:
    """--accept-missing overrides the guard for the named environment only."""
    assert fleet.run("sync").code == 0
    fleet.change_lists(lambda records: records.clear())
    assert fleet.run("sync").code == 4
    assert fleet.run("sync", "--accept-missing", "--environment", "dev").code == 0
    missing = "SELECT DISTINCT environment FROM release_requests WHERE missing_since IS NOT NULL"
    assert fleet.rows(missing) == [("dev",)]


# A share of the environments

SHARDS = {"0/2": ["staging"], "1/2": ["dev", "prod"]}
"""The three environments on two processes."""


def test_shards(fleet: Fleet) -> None:
    """Each process syncs its environments, and names them even if there is only one."""
    for shard, environments in SHARDS.items():
        ran = fleet.run("sync", MIRROR_SHARD=shard)
        lines = ran.err.splitlines()[: len(environments)]  # without that of the round
        assert (ran.code, [line.split(":")[1].strip() for line in lines]) == (0, environments)
    ran = fleet.run("sync", "--json", "--shard", "0/2", MIRROR_SHARD="1/2")
    assert [json.loads(line)["environment"] for line in ran.out.splitlines()] == ["staging"]
    assert fleet.run("sync", MIRROR_SHARD="").err.count("unchanged: ") == 3


def test_an_empty_shard(fleet: Fleet) -> None:
    """With more shards than environments some have nothing to do, which is one line and a success.

    The database is not opened.
    """
    rans = [fleet.run("sync", "--shard", f"{index}/7") for index in range(7)]
    assert {ran.code for ran in rans} == {0}
    idle = [(index, ran.err) for index, ran in enumerate(rans) if "none of the" in ran.err]
    assert len(idle) >= 4
    for index, message in idle:
        shard = f"shard {index}/7 has none of the 3 environments of {fleet.path}"
        assert message == f"mirror: {shard}\n"
        elsewhere = {"MIRROR_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
        quiet = fleet.run("sync", "--quiet", "--shard", f"{index}/7", **elsewhere)
        assert quiet == Ran(0, "", "")
    assert fleet.rows("SELECT count(*) FROM sync_runs") == [(3,)]


def test_an_empty_shard_of_a_file_with_one_environment(fleet: Fleet, tmp_path: Path) -> None:
    """It is said in the singular."""
    file = tmp_path / "one.toml"
    file.write_text("[environments.only]\n")
    errors = [
        fleet.run("sync", "--config", str(file), "--shard", f"{index}/2").err for index in range(2)
    ]
    assert any(f"has none of the 1 environment of {file}" in error for error in errors)


def test_a_failure_in_a_shard_of_one(fleet: Fleet, tmp_path: Path) -> None:
    """A shard with one environment reports it as a shard with several does."""
    (tmp_path / "staging.token").unlink()
    ran = fleet.run("sync", "--json", "--shard", "0/2")
    assert (ran.code, json.loads(ran.out)["environment"]) == (2, "staging")
    assert ran.err.startswith("mirror: staging: the token file of")


NO_SHARDS = [
    *("0/0", "4/4", "5/4", "a/b", "-1/4", "1/-4", "1/4/2", "+1/4", "1/4 ", "1", "/4", "1/", ""),
    *("$(JOB_COMPLETION_INDEX)/4", "0x1/4", "1.0/4", "\uff11/\uff14", f"1/{'9' * 5000}"),
]


def test_what_is_no_shard(fleet: Fleet) -> None:
    """It is refused, and the message says from where the index counts; so it is in the variable."""
    for shard in NO_SHARDS:
        ran = fleet.run("sync", f"--shard={shard}")
        assert (ran.code, ran.out) == (2, "")
        assert "is not a shard; its index counts from 0" in ran.err
        assert "there are at most 999999" in ran.err
    assert fleet.run("sync", MIRROR_SHARD="4/4").code == 2
    assert not any(sandbox.request_log for sandbox in fleet.sandboxes.values())


# The outcomes of several


@pytest.mark.parametrize(
    ("outcomes", "environments", "line"),
    [
        (
            ["failed", *["applied"] * 27, "refused", "failed"],
            30,
            "30 environments: 27 applied, 2 failed, 1 refused; 12.3 s",
        ),
        (
            ["superseded", "unchanged", "applied", *["unchanged"] * 1200],
            1203,
            "1,203 environments: 1 applied, 1,201 unchanged, 1 superseded; 12.3 s",
        ),
        (["dry_run", "dry_run"], 2, "2 environments: 2 dry runs; 12.3 s"),
        (["failed"], 5, "5 environments: 1 failed, 4 not begun; 12.3 s"),
    ],
    ids=["failures", "superseded", "dry run", "stopped"],
)
def test_the_line_of_a_round(
    outcomes: list[str], environments: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts the outcomes; what needs somebody comes last."""
    caplog.set_level(logging.INFO, "mirror.notices")
    write_round([Outcome(outcome) for outcome in outcomes], environments, 12.345, 1)
    assert caplog.messages == [line]


# The exit code of several


def test_the_order_of_exit_codes() -> None:
    """Every exit code has a rank, and of any two the one that ranks first counts."""
    assert set(MOST_SERIOUS_FIRST) == {
        0,
        cli.EXIT_NEWLY_QUARANTINED,
        cli.EXIT_STALE,
        *cli.EXIT_CODES.values(),
    }
    assert most_serious([]) == 0
    for first, second in itertools.combinations(MOST_SERIOUS_FIRST, 2):
        assert most_serious([second, first]) == most_serious([first, second]) == first


def test_the_order_is_the_documented_one() -> None:
    """Help, README and docs list the codes of a sync in the order of the program."""
    order = ", ".join(str(code) for code in MOST_SERIOUS_FIRST if code != cli.EXIT_STALE)
    assert order in " ".join(run_mirror("sync", "--help").out.split())
    for page in ("README.md", "docs/operations.md"):
        assert order in " ".join((ROOT / page).read_text().split())


def test_as_many_at_once_as_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sync has the cancellation, and none begins after it is set."""
    api = ApiSettings("https://voice.example.com/api/v1", Secret(TOKEN))
    configs = [EnvironmentConfig(environment, api) for environment in "abc"]
    cancellation = CancellationToken()
    sizes: list[int] = []

    class Pool(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, size: int, *names: Any, **options: Any) -> None:
            sizes.append(size)
            super().__init__(size, *names, **options)

    def sync(config: EnvironmentConfig, given: CancellationToken) -> Result:
        assert given is cancellation
        now = datetime.now(UTC)
        return Result.of_failure(config.environment, GuardRefused("no"), now, now)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Pool)
    for chosen, jobs in ((configs, 2), (configs[:1], 2), (configs, 1)):
        synced = {type(one.failure) for one in scheduler.sync_all(chosen, sync, jobs, cancellation)}
        assert synced == {GuardRefused}
    assert sizes == [2]
    cancellation.set()
    assert [*scheduler.sync_all(configs, sync, 2, cancellation)] == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_defect_in_one_leaves_the_others(jobs: int, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception in one is reported, without its token, and the others are synced."""
    api = ApiSettings("https://voice.example.com/api/v1", Secret(TOKEN))
    caplog.set_level("DEBUG", "mirror")

    def sync(config: EnvironmentConfig, _: CancellationToken) -> Result:
        if config.environment == "b":
            raise RuntimeError(f"it holds {TOKEN}")
        now = datetime.now(UTC)
        return Result.of_failure(config.environment, GuardRefused("no"), now, now)

    configs = [EnvironmentConfig(environment, api) for environment in "abc"]
    synced = scheduler.sync_all(configs, sync, jobs, CancellationToken())
    results = {result.environment: result for result in synced}
    assert results.keys() == {"a", "b", "c"}
    failure = results["b"].failure
    assert type(failure) is MirrorError
    assert str(failure).startswith("unexpected RuntimeError: it holds [token]. This is a defect")
    assert results["b"].outcome == Outcome.FAILED
    assert isinstance(results["c"].failure, GuardRefused)
    assert "in sync\n" in caplog.text  # the traceback
    assert TOKEN not in caplog.text


# On an interval


def test_again_and_again_until_sigterm(fleet: Fleet, tmp_path: Path) -> None:
    """Rounds follow each other until SIGTERM, which exits with 0; every run is on record.

    Each round reads tokens and settings again, and a failed round does not end the command.
    """
    token_file = tmp_path / "dev.token"
    token = token_file.read_text()
    token_file.write_text("talq_of-yesterday")
    with fleet.start("sync", "--every", "1s", "--json") as process:
        stdout = process.stdout
        assert stdout is not None

        def next_round() -> list[Any]:
            return [json.loads(stdout.readline()) for _ in fleet.upstreams]

        rounds = [next_round()]
        new_file = tmp_path / "new.token"
        new_file.write_text(token)
        new_file.chmod(0o600)
        new_file.replace(token_file)  # written in place, it would be empty for a moment
        while rounds[-1][0]["outcome"] != "applied":  # the last round may have begun before
            assert "401" in rounds[-1][0]["error"]
            rounds.append(next_round())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    first, *lines = err.splitlines()
    assert b"first sync in " in first
    assert all(re.search(rb"answered 401|stopped|SIGTERM", line) for line in lines)
    outcomes = []
    for results in rounds:
        assert [result["environment"] for result in results] == list(fleet.upstreams)
        outcomes.append([result["outcome"] for result in results])
    assert outcomes[0] == ["failed", "applied", "applied"]
    assert outcomes[-1] == ["applied", "unchanged", "unchanged"]
    assert fleet.rows("SELECT count(*) FROM sync_runs WHERE outcome = 'running'") == [(0,)]
    printed = 3 * len(rounds) + len(out.splitlines())
    assert fleet.rows("SELECT count(*) FROM sync_runs")[0][0] in {printed, printed + 1}


def test_a_signal_in_the_middle_of_pulls(ready_database_url: str, tmp_path: Path) -> None:
    """A fetch that waits for the API ends at once, and is on record as failed."""
    on_sqlite = ready_database_url.startswith("sqlite")
    number, jobs = (signal.SIGINT, 1) if on_sqlite else (signal.SIGTERM, 3)
    with Fleet(ready_database_url, tmp_path) as fleet:
        interrupt_fetches(fleet.add_three(), number, jobs, every=on_sqlite)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_the_interval(chance: float) -> None:
    """A round begins 0.9 to 1.1 intervals after the start of the one before."""
    interval = scheduler.Interval(timedelta(minutes=15), lambda: chance)
    assert interval.initial_delay() == pytest.approx(90 * chance)
    assert interval.next_delay() == pytest.approx(810 + 180 * chance)


@pytest.mark.parametrize(
    ("delay", "suspended", "sleeps"),
    [(900, 0, 3600), (900, 300, 2400), (900, 86_400, 10), (-1, 0, 0)],
)
def test_sleep_on_a_machine_that_is_suspended(delay: float, suspended: float, sleeps: int) -> None:
    """It ends at its deadline, or on waking if that has passed; a past deadline is no sleep."""
    clock, suspensions = [1000.0], [0.0] * 9 + [suspended]

    def sleep(seconds: float) -> None:
        clock.append(clock[-1] + seconds + (suspensions.pop(0) if suspensions else 0))

    scheduler.sleep_until(1000 + delay, CancellationToken(), lambda: clock[-1], sleep)
    assert len(clock) - 1 == sleeps
    assert clock[-1] == (max(1900, 1002.5 + suspended) if sleeps else 1000)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock that Linux alone has")
def test_the_clock_counts_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is Linux's clock that does so, and that nobody can set; elsewhere the monotonic one."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= scheduler.since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    before = time.monotonic()
    assert before <= scheduler.since_boot() <= time.monotonic()
