"""Many environments by one command: side by side, one failing alone, and again and again."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import ROOT, TOKEN, Ran, World, request, run_mirror
from prometheus_client.parser import text_string_to_metric_families

from mirror import cli, database, rounds
from mirror.cli.exits import MOST_SERIOUS_FIRST, most_serious
from mirror.errors import GuardRefused, MirrorError
from mirror.sandbox import Manner, Sandbox
from mirror.settings import ApiSettings, Secret
from mirror.stopping import Stopping
from mirror.sync import Outcome, Result
from mirror.targets import Target

THIRTY = 30


class Fleet:
    """Environments with an upstream each, and the configuration file that names them.

    Attributes:
        worlds, sandboxes: of each, by its label.
        path: the file.
        url: of the database.
    """

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.worlds: dict[str, World] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.path = folder / "mirror.toml"
        self.url = url
        self._settings: dict[str, dict[str, float]] = {}
        self._folder = folder
        self._stack = stack
        self._write()

    def add(self, label: str, *numbers: int, **settings: float) -> Sandbox:
        """Add an environment with requests of these numbers, and settings of its own."""
        world = World()
        world.records = [request(number) for number in numbers]
        sandbox = Sandbox(world, Manner(token=f"{TOKEN}-of-{label}"))
        self._stack.enter_context(sandbox.running())
        self.worlds[label], self.sandboxes[label] = world, sandbox
        self._settings[label] = settings
        (self._folder / f"{label}.token").write_text(sandbox.manner.token)
        self._write()
        return sandbox

    def _write(self) -> None:
        lines = [f'database = "{self.url}"']
        for label, sandbox in self.sandboxes.items():
            lines += [
                f"[environments.{label}]",
                f'base_url = "{sandbox.base_url}"',
                f'token_file = "{label}.token"',
                *(f"{name} = {value}" for name, value in self._settings[label].items()),
            ]
        self.path.write_text("\n".join(lines))

    def run(self, *arguments: str, **environment: str) -> Ran:
        """Run a command with the file."""
        return run_mirror(*arguments, MIRROR_CONFIG=str(self.path), **environment)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query as it stands."""
        with database.reading(database.engine(self.url)) as connection:
            return [tuple(row) for row in connection.execute(sa.text(query))]


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """An empty database of each kind, and no environment yet."""
    with ExitStack() as stack:
        yield Fleet(database_url, tmp_path, stack)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Fleet]:
    """Three environments of two requests each; for what has nothing to do with the database."""
    with ExitStack() as stack:
        yield with_three(Fleet(f"sqlite:///{tmp_path}/mirror.db", tmp_path, stack))


@pytest.fixture
def three_of_each_kind(fleet: Fleet) -> Fleet:
    """Three environments of two requests each, in a database of each kind."""
    return with_three(fleet)


def with_three(fleet: Fleet) -> Fleet:
    """Add three environments."""
    for number, label in enumerate(("dev", "staging", "prod")):
        fleet.add(label, 10 * number, 10 * number + 1)
    return fleet


def metrics(text: str) -> dict[tuple[str, str, str], float]:
    """The samples of a text, by name, environment and what else they are of."""
    return {
        (
            sample.name,
            sample.labels.get("environment", ""),
            sample.labels.get("status", sample.labels.get("outcome", "")),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# One round


def test_thirty_environments_three_of_them_failing(fleet: Fleet) -> None:
    """One command syncs thirty; three fail, each in its way, and are told, recorded and counted."""
    for number in range(THIRTY):
        soon = {"deadline": 1.0} if number == 11 else {}
        fleet.add(f"e{number:02}", *range(10 * number, 10 * number + 10), **soon)
    assert fleet.run("sync", "--jobs", "4").code == 0
    for number, world in enumerate(fleet.worlds.values()):
        world.records[0]["status"] = "approved"
        list(fleet.sandboxes.values())[number].forget()
    fleet.sandboxes["e03"].manner = Manner(token="talq_another")
    fleet.sandboxes["e11"].misbehave("maintenance")
    fleet.worlds["e20"].records = []

    ran = fleet.run("sync", "--jobs", "4", "--json")
    results = {one["environment"]: one for one in map(json.loads, ran.out.splitlines())}
    assert ran.code == 77
    assert results.keys() == fleet.worlds.keys()
    failed = {label: one["outcome"] for label, one in results.items() if one["error"]}
    assert failed == {"e03": "failed", "e11": "failed", "e20": "refused"}
    assert all(
        (one["outcome"], one["updated"], one["unchanged"]) == ("applied", 1, 9)
        for label, one in results.items()
        if label not in failed
    )
    lines = sorted(ran.err.splitlines())
    assert len(lines) == 3
    assert re.fullmatch(r"mirror: e03: the API at .* answered 401: .*", lines[0])
    assert re.fullmatch(r"mirror: e11: the API at .* answered 503: .* try again later", lines[1])
    assert re.fullmatch(r"mirror: e20: 10 of the 10 requests .* --accept-missing", lines[2])
    assert TOKEN not in ran.out + ran.err

    told = fleet.run("status", "--format", "prometheus")
    assert told.code == 0
    samples = metrics(told.out)
    for label in fleet.worlds:
        failures = samples["mirror_failures_since_complete_pull", label, ""]
        assert failures == (1 if label in failed else 0)
        outcome = results[label]["outcome"]
        assert samples["mirror_last_run_outcome", label, outcome] == 1
        assert samples["mirror_requests", label, "approved"] == (0 if label in failed else 1)
        assert samples["mirror_requests", label, "pending"] == (10 if label in failed else 9)


def test_what_a_run_says_is_its_own(three: Fleet) -> None:
    """A line a run, with the environment; one object a line with --json; nothing with --quiet."""
    ran = three.run("sync")
    assert (ran.code, ran.out) == (0, "")
    assert [line.split(":")[1].strip() for line in ran.err.splitlines()] == list(three.worlds)
    assert all(re.search(r": applied: 2 in the list, 2 new; ", one) for one in ran.err.splitlines())
    ran = three.run("sync", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [json.loads(line)["outcome"] for line in ran.out.splitlines()] == ["unchanged"] * 3
    assert three.run("sync", "--quiet") == Ran(0, "", "")


def test_quiet_is_not_silent_when_something_is_wrong(three: Fleet) -> None:
    """With --quiet the environments that need somebody are told, and no others."""
    three.worlds["staging"].records.append("rubbish")
    three.sandboxes["prod"].manner = Manner(token="talq_another")
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
    three.sandboxes["prod"].manner = Manner(token="talq_another")
    ran = three.run("sync", "--log-format", "json")
    told = {one["environment"]: one for one in map(json.loads, ran.err.splitlines())}
    assert (ran.code, ran.out, told.keys()) == (77, "", three.worlds.keys())
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
    for label in three.worlds:
        assert re.search(
            rf"^mirror: \d\d:\d\d:\d\d\.\d{{3}} {label}: GET /phone-numbers/release-requests\?"
            rf".*: 200, .* bytes in \d+\.\d+ s$",
            ran.err,
            re.MULTILINE,
        ), ran.err
    assert TOKEN not in ran.err


def test_only_those_that_are_named(three_of_each_kind: Fleet) -> None:
    """With --environment, which may be repeated, or its variable the others are left alone."""
    three = three_of_each_kind
    assert three.run("sync", "--environment", "prod", "--environment", "dev").code == 0
    found = three.rows("SELECT DISTINCT environment FROM sync_runs ORDER BY environment")
    assert found == [("dev",), ("prod",)]
    assert three.run("sync", MIRROR_ENVIRONMENT="staging").err.count("\n") == 1
    assert len(three.rows("SELECT id FROM sync_runs WHERE environment = 'staging'")) == 1


def test_side_by_side(fleet: Fleet) -> None:
    """With --jobs 3 three are asked at the same time: each answers only when all are asked."""
    together = threading.Barrier(3, timeout=60)

    class Waiting(World):
        def answered(self) -> list[Any]:
            together.wait()
            return super().answered()

    for number, label in enumerate("abc"):
        sandbox = fleet.add(label, number)
        waiting = Waiting()
        waiting.records = fleet.worlds[label].records
        sandbox.upstream = waiting
    assert fleet.run("sync", "--jobs", "3").code == 0
    assert fleet.rows("SELECT count(*) FROM release_requests") == [(3,)]


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


def test_a_dry_run_of_several(three_of_each_kind: Fleet) -> None:
    """What would change is written once, for all of them; nothing is changed."""
    three = three_of_each_kind
    assert three.run("sync").code == 0
    for label, world in three.worlds.items():
        world.records[0]["status"] = "approved"
        three.sandboxes[label].forget()
    ran = three.run("sync", "--dry-run", "--jobs", "2")
    assert ran.code == 0
    head, *rows = ran.out.splitlines()
    assert head.startswith("changed_at\t")
    assert sorted(row.split("\t")[2] for row in rows) == sorted(three.worlds)
    assert three.rows("SELECT count(*) FROM release_requests WHERE status = 'approved'") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--quiet", "-v"), "contradict each other"),
        (("--accept-missing",), "one environment at a time"),
        (("--accept-missing", "--every", "1h"), "switch the guard off for good"),
        (("--token-file", "x"), "would give one token to the 3 environments"),
        (("--jobs", "0"), "--jobs"),
        (("--every", "15"), "is not a length of time"),
        (("--every", "0m"), "is not a length of time"),
        (("--environment", "pord"), "did you mean 'prod'?"),
    ],
)
def test_what_is_refused_before_anything_is_tried(
    arguments: tuple[str, ...], said: str, three: Fleet
) -> None:
    """Options that cannot be meant are refused with their reason, and nobody is asked."""
    ran = three.run("sync", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in " ".join(ran.err.split())
    assert not any(sandbox.asked for sandbox in three.sandboxes.values())


def test_accepting_what_is_missing_in_one(three_of_each_kind: Fleet) -> None:
    """The guard can be overridden where it is known to be right, and nowhere else."""
    three = three_of_each_kind
    assert three.run("sync").code == 0
    for world, sandbox in zip(three.worlds.values(), three.sandboxes.values(), strict=True):
        world.records = []
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

    def work(target: Target, _stopping: Stopping) -> Result:
        if target.environment == "b":
            raise RuntimeError(f"it holds {TOKEN}")
        now = datetime.now(UTC)
        return Result.of_failure(target.environment, GuardRefused("no"), now, now)

    for jobs in (1, 2):
        targets = [Target(label, api) for label in "abc"]
        results = {
            one.environment: one for one in rounds.one_round(targets, work, jobs, Stopping())
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


@contextmanager
def start(fleet: Fleet, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that does not end by itself; a test that fails does not wait for it."""
    with subprocess.Popen(
        [sys.executable, "-m", "mirror", *arguments],
        env=os.environ | {"MIRROR_CONFIG": str(fleet.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(stream: Any, count: int) -> list[dict[str, Any]]:
    """Read objects, one a line."""
    return [json.loads(stream.readline()) for _ in range(count)]


def test_again_and_again_until_sigterm(three: Fleet) -> None:
    """Rounds follow each other; SIGTERM between them ends it with 0, and every run is on record."""
    with start(three, "sync", "--every", "1s", "--json") as process:
        found = lines(process.stdout, 6)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [one["environment"] for one in found] == [*three.worlds] * 2
    assert [one["outcome"] for one in found] == ["applied"] * 3 + ["unchanged"] * 3
    assert three.rows("SELECT count(*) FROM sync_runs WHERE outcome = 'running'") == [(0,)]
    total = 6 + len(out.splitlines())
    assert three.rows("SELECT count(*) FROM sync_runs")[0][0] in {total, total + 1}


@pytest.mark.parametrize(
    ("number", "jobs", "every"),
    [
        (signal.SIGTERM, "1", True),
        (signal.SIGTERM, "3", False),
        (signal.SIGTERM, "1", False),
        (signal.SIGINT, "1", False),
        (signal.SIGINT, "3", True),
    ],
)
def test_a_signal_in_the_middle_of_pulls(
    number: signal.Signals, jobs: str, every: bool, three_of_each_kind: Fleet
) -> None:
    """A pull that waits for an answer is given up at once, and put on record as what it was."""
    three = three_of_each_kind
    for sandbox in three.sandboxes.values():
        sandbox.misbehave("stall")
    repeated = ("--every", "1s") if every else ()
    with start(three, "sync", "--jobs", jobs, *repeated) as process:
        asked = list(three.sandboxes.values())[: int(jobs)]
        while not all(sandbox.asked for sandbox in asked):
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (0 if every else 1), err
    assert b"Traceback" not in err
    found = three.rows("SELECT outcome, error FROM sync_runs ORDER BY id")
    assert len(found) == int(jobs)
    assert {outcome for outcome, _ in found} == {"failed"}
    for _, error in found:
        assert re.search("SIGTERM|KeyboardInterrupt|stopped", error)
    for sandbox in three.sandboxes.values():
        sandbox.misbehave(None)
    assert three.run("sync").code == 0


def test_what_changed_between_rounds_counts(three: Fleet, tmp_path: Path) -> None:
    """Tokens and settings are read anew for each round, and a failed round does not end it."""
    secret = tmp_path / "dev.token"
    token = secret.read_text()
    secret.write_text("talq_of-yesterday")
    with start(three, "sync", "--every", "1s", "--json", "--environment", "dev") as process:
        (first,) = lines(process.stdout, 1)
        secret.write_text(token)
        for found in iter(lambda: lines(process.stdout, 1)[0], None):
            if found["outcome"] == "applied":
                break
            assert "401" in found["error"]
        process.terminate()
        process.communicate(timeout=60)
    assert (process.returncode, first["outcome"]) == (0, "failed")


def test_a_wrong_configuration_does_not_begin(three: Fleet) -> None:
    """With --every what is wrong at the start ends it at once: it would never work."""
    three.path.write_text("databse = 'x'")
    ran = three.run("sync", "--every", "1s")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_the_pace(chance: float) -> None:
    """A round begins nine to eleven tenths of the interval after the one before, never overdue."""
    pace = rounds.Pace(timedelta(minutes=15), lambda: chance)
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

    rounds.pause(900, Stopping(), lambda: clock[-1], sleep)
    assert (len(clock) - 1, clock[-1]) == (naps, max(1900, 1002.5 + slept))


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock that Linux alone has")
def test_the_clock_of_pauses_goes_on_while_the_machine_sleeps() -> None:
    """It is the clock of Linux that does so, and that nobody can set."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= rounds.since_boot() <= time.clock_gettime(time.CLOCK_BOOTTIME)
