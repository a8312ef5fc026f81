"""Many environments by one command: side by side, one failing alone, and again and again."""

from __future__ import annotations

import itertools
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mirror import cli
from mirror.cancellation import CancellationToken
from mirror.cli.exit_codes import MOST_SERIOUS_FIRST, most_serious
from mirror.config.environments import EnvironmentConfig
from mirror.config.settings import ApiSettings, Secret
from mirror.errors import GuardRefused, MirrorError
from mirror.sandbox.server import SandboxConfig
from mirror.sync import scheduler
from mirror.sync.run import Outcome, Result
from tests.support import ROOT
from tests.support.commands import Ran, run_mirror
from tests.support.fleets import Fleet, fail_three_of_thirty, interrupt_pulls
from tests.support.upstream import TOKEN, FakeUpstream


@pytest.fixture
def fleet(ready_database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """A database of each kind, and no environment yet."""
    with ExitStack() as stack:
        yield Fleet(ready_database_url, tmp_path, stack)


@pytest.fixture
def three(make_ready_database: Callable[[str], str], tmp_path: Path) -> Iterator[Fleet]:
    """Three environments of two requests each; for what has nothing to do with the database."""
    with ExitStack() as stack:
        yield Fleet(make_ready_database("sqlite"), tmp_path, stack).add_three()


# One round


def test_thirty_environments_three_of_them_failing(
    make_ready_database: Callable[[str], str], tmp_path: Path
) -> None:
    """One command syncs thirty; three fail, each in its way, and are told, recorded and counted."""
    with ExitStack() as stack:
        fail_three_of_thirty(Fleet(make_ready_database("postgresql"), tmp_path, stack))


def test_what_a_run_says_is_its_own(three: Fleet) -> None:
    """A line a run, with the environment; one object a line with --json; nothing with --quiet."""
    ran = three.run("sync")
    assert (ran.code, ran.out) == (0, "")
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()] == list(three.upstreams)
    assert all(re.search(r": applied: 2 in the list, 2 new; ", one) for one in ran.err.splitlines())
    ran = three.run("sync", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(line)["outcome"] for line in ran.out.splitlines()] == ["unchanged"] * 3
    assert three.run("sync", "--quiet") == Ran(0, "", "")


def test_quiet_is_not_silent_when_something_is_wrong(three: Fleet) -> None:
    """With --quiet the environments that need somebody are told, and no others."""
    three.upstreams["staging"].records.append("rubbish")
    three.sandboxes["prod"].manner = SandboxConfig(token="talq_another")
    ran = three.run("sync", "--quiet")
    assert (ran.code, ran.out) == (77, "")
    staging, prod = ran.err.splitlines()
    assert re.fullmatch(
        r"mirror: staging: applied: .* 1 quarantined; .*`mirror quarantine`.*", staging
    )
    assert prod.startswith("mirror: prod: the API at")
    assert three.run("sync", "--quiet", "--environment", "staging") == Ran(0, "", "")


@pytest.mark.calendar
def test_logs_for_a_collector(three: Fleet) -> None:
    """With --log-format json each line is an object, errors included, and says whose it is."""
    three.sandboxes["prod"].manner = SandboxConfig(token="talq_another")
    ran = three.run("sync", "--log-format", "json")
    told = {one["environment"]: one for one in map(json.loads, ran.err.splitlines())}
    assert (ran.code, ran.out, told.keys()) == (77, "", three.upstreams.keys())
    assert [one["level"] for one in told.values()] == ["info", "info", "error"]
    assert [one["run"]["outcome"] for one in told.values()] == ["applied", "applied", "failed"]
    assert told["dev"]["run"]["inserted"] == 2
    for one in told.values():
        assert abs(datetime.now(UTC) - datetime.fromisoformat(one["time"])) < timedelta(hours=1)
    wrong = three.run("sync", "--log-format", "json", "--environment", "prd")
    assert wrong.code == 2
    assert "did you mean 'prod'?" in json.loads(wrong.err)["message"]


def test_verbose_tells_of_requests_and_their_time(three: Fleet) -> None:
    """With -v there is a line for each request, with its environment and time, and no token."""
    ran = three.run("sync", "-v", "--jobs", "3")
    assert (ran.code, ran.out) == (0, "")
    for label in three.upstreams:
        assert re.search(
            rf"^mirror: \d\d:\d\d:\d\d\.\d{{3}} {label}: GET /phone-numbers/release-requests\?"
            rf".*: 200, .* bytes in \d+\.\d+ s$",
            ran.err,
            re.MULTILINE,
        ), ran.err
    assert TOKEN not in ran.err


def test_only_those_that_are_named(three: Fleet) -> None:
    """With --environment, which may be repeated, or its variable the others are left alone."""
    assert three.run("sync", "--environment", "prod", "--environment", "dev").code == 0
    found = three.rows("SELECT DISTINCT environment FROM sync_runs ORDER BY environment")
    assert found == [("dev",), ("prod",)]
    assert three.run("sync", MIRROR_ENVIRONMENT="staging").err.count("\n") == 1
    assert len(three.rows("SELECT id FROM sync_runs WHERE environment = 'staging'")) == 1


def test_side_by_side(three: Fleet) -> None:
    """With --jobs 3 three are asked at the same time: each answers only when all are asked."""
    together = threading.Barrier(3, timeout=60)

    class Waiting(FakeUpstream):
        def answered(self) -> list[Any]:
            together.wait()
            return super().answered()

    for label, sandbox in three.sandboxes.items():
        waiting = Waiting()
        waiting.records = three.upstreams[label].records
        sandbox.upstream = waiting
    assert three.run("sync", "--jobs", "3").code == 0
    assert three.rows("SELECT count(*) FROM release_requests") == [(6,)]


def test_one_without_its_token_leaves_the_others(three: Fleet, tmp_path: Path) -> None:
    """A token file that is gone is the fault of one environment; alone, it is told as ever."""
    (tmp_path / "dev.token").unlink()
    ran = three.run("sync", "--json")
    assert ran.code == 2
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["outcome"] for one in results] == ["failed", "applied", "applied"]
    assert results[0]["run_id"] is None
    assert re.fullmatch(r"mirror: dev: the token file of .* cannot be read .*\n", ran.err)
    alone = three.run("sync", "--json", "--environment", "dev")
    assert (alone.code, alone.out) == (2, "")


def test_a_dry_run_of_several(three: Fleet) -> None:
    """What would change is written once, for all of them; nothing is changed."""
    assert three.run("sync").code == 0
    for label, upstream in three.upstreams.items():
        upstream.records[0]["status"] = "approved"
        three.sandboxes[label].forget()
    ran = three.run("sync", "--dry-run", "--jobs", "2")
    assert ran.code == 0
    head, *rows = ran.out.splitlines()
    assert head.startswith("changed_at\t")
    assert sorted(row.split("\t")[2] for row in rows) == sorted(three.upstreams)
    assert three.rows("SELECT count(*) FROM release_requests WHERE status = 'approved'") == [(0,)]


REFUSED = [
    (("--quiet", "-v"), "contradict each other"),
    (("--accept-missing",), "one environment at a time"),
    (("--accept-missing", "--every", "1h"), "switch the guard off for good"),
    (("--token-file", "x"), "would give one token to the 3 environments"),
    (("--jobs", "0"), "--jobs"),
    (("--every", "15"), "is not a length of time"),
    (("--every", "0m"), "is not a length of time"),
    (("--environment", "pord"), "did you mean 'prod'?"),
]


def test_what_is_refused_before_anything_is_tried(three: Fleet) -> None:
    """Options that cannot be meant are refused with their reason, and nobody is asked.

    So is a file that is wrong, also with --every: it would never work.
    """
    for arguments, said in REFUSED:
        ran = three.run("sync", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert said in " ".join(ran.err.split())
    three.path.write_text("databse = 'x'")
    ran = three.run("sync", "--every", "1s")
    assert (ran.code, ran.out) == (2, "")
    assert not any(sandbox.asked for sandbox in three.sandboxes.values())


def test_accepting_what_is_missing_in_one(three: Fleet) -> None:
    """The guard can be overridden where it is known to be right, and nowhere else."""
    assert three.run("sync").code == 0
    for upstream, sandbox in zip(three.upstreams.values(), three.sandboxes.values(), strict=True):
        upstream.records = []
        sandbox.forget()
    assert three.run("sync").code == 4
    assert three.run("sync", "--accept-missing", "--environment", "dev").code == 0
    found = three.rows(
        "SELECT DISTINCT environment FROM release_requests WHERE missing_since IS NOT NULL"
    )
    assert found == [("dev",)]


# The exit code of several


def test_the_order_of_exit_codes() -> None:
    """Every exit code has its place, and of any two the one that comes first counts."""
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
    """Help, README and docs name the codes of a sync in the order of the program."""
    order = ", ".join(str(code) for code in MOST_SERIOUS_FIRST if code != cli.EXIT_STALE)
    assert order in " ".join(run_mirror("sync", "--help").out.split())
    for page in ("README.md", "docs/operations.md"):
        assert order in " ".join((ROOT / page).read_text().split())


def test_a_defect_in_one_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected in one environment is reported, without its token, and others go on."""
    api = ApiSettings("https://voice.example.com/api/v1", Secret(TOKEN))
    caplog.set_level("DEBUG", "mirror")

    def work(target: EnvironmentConfig, _stopping: CancellationToken) -> Result:
        if target.environment == "b":
            raise RuntimeError(f"it holds {TOKEN}")
        now = datetime.now(UTC)
        return Result.of_failure(target.environment, GuardRefused("no"), now, now)

    for jobs in (1, 2):
        targets = [EnvironmentConfig(label, api) for label in "abc"]
        results = {
            one.environment: one
            for one in scheduler.sync_all(targets, work, jobs, CancellationToken())
        }
        assert results.keys() == {"a", "b", "c"}
        failure = results["b"].failure
        assert type(failure) is MirrorError
        assert str(failure).startswith(
            "unexpected RuntimeError: it holds [token]. This is a defect"
        )
        assert results["b"].outcome == Outcome.FAILED
        assert isinstance(results["c"].failure, GuardRefused)
    assert "in work\n" in caplog.text  # where it happened
    assert TOKEN not in caplog.text


# Again and again


def test_again_and_again_until_sigterm(three: Fleet, tmp_path: Path) -> None:
    """Rounds follow each other; SIGTERM between them ends it with 0, and every run is on record.

    Tokens and settings are read anew for each round, and a failed round does not end it.
    """
    secret = tmp_path / "dev.token"
    token = secret.read_text()
    secret.write_text("talq_of-yesterday")
    with three.start("sync", "--every", "1s", "--json") as process:
        stdout = process.stdout
        assert stdout is not None
        found = [json.loads(stdout.readline()) for _ in three.upstreams]
        secret.write_text(token)
        while found[-3]["outcome"] != "applied":  # the last round may have begun before
            assert "401" in found[-3]["error"]
            found += [json.loads(stdout.readline()) for _ in three.upstreams]
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(re.search(rb"answered 401|stopped|SIGTERM", line) for line in err.splitlines())
    assert [one["environment"] for one in found] == [*three.upstreams] * (len(found) // 3)
    outcomes = [one["outcome"] for one in found]
    assert outcomes[:3] == ["failed", "applied", "applied"]
    assert outcomes[-3:] == ["applied", "unchanged", "unchanged"]
    assert three.rows("SELECT count(*) FROM sync_runs WHERE outcome = 'running'") == [(0,)]
    total = len(found) + len(out.splitlines())
    assert three.rows("SELECT count(*) FROM sync_runs")[0][0] in {total, total + 1}


def test_a_signal_in_the_middle_of_pulls(fleet: Fleet) -> None:
    """A pull that waits for an answer is given up at once, and put on record as what it was."""
    on_sqlite = fleet.url.startswith("sqlite")
    number, jobs = (signal.SIGINT, 1) if on_sqlite else (signal.SIGTERM, 3)
    interrupt_pulls(fleet.add_three(), number, jobs, every=on_sqlite)


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_the_pace(chance: float) -> None:
    """A round begins nine to eleven tenths of the interval after the one before, never overdue."""
    pace = scheduler.Interval(timedelta(minutes=15), lambda: chance)
    assert pace.first() == pytest.approx(90 * chance)
    assert pace.next(0) == pytest.approx(810 + 180 * chance)
    assert pace.next(100) == pytest.approx(710 + 180 * chance)
    assert pace.next(10_000) == 0


@pytest.mark.parametrize(("slept", "naps"), [(0, 3600), (300, 2400), (86_400, 10)])
def test_a_pause_of_a_machine_that_sleeps(slept: float, naps: int) -> None:
    """A pause takes as long as it says; if its end is slept through, it is over on waking."""
    clock, asleep = [1000.0], [0.0] * 9 + [slept]

    def sleep(seconds: float) -> None:
        clock.append(clock[-1] + seconds + (asleep.pop(0) if asleep else 0))

    scheduler.sleep_until(900, CancellationToken(), lambda: clock[-1], sleep)
    assert (len(clock) - 1, clock[-1]) == (naps, max(1900, 1002.5 + slept))


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock that Linux alone has")
def test_the_clock_of_pauses_goes_on_while_the_machine_sleeps() -> None:
    """It is the clock of Linux that does so, and that nobody can set."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= scheduler.since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)
