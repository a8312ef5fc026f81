"""docs/operations.md and docs/contributing.md are true: their files, commands and figures.

Files are taken from the page, where <!-- file: NAME --> stands before each, and are given to the
programs that they are for. The tests of units need systemd-analyze; it is enough that it is
installed. Without it they are skipped, unless MIRROR_TEST_SYSTEMD is set.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
import tomllib
import zoneinfo
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import sqlalchemy as sa
import yaml

from mirror import cli
from mirror.db import models
from mirror.db.engine import write_transaction
from mirror.report.period import Period, period
from tests.support import ROOT
from tests.support.commands import Ran, run_mirror, run_python
from tests.support.mirrors import Mirror
from tests.support.upstream import request

PAGE = (ROOT / "docs" / "operations.md").read_text()
LAYOUT = (ROOT / "docs" / "contributing.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?\n)```\n", PAGE, re.DOTALL))
UNITS = {name for name in FILES if name.endswith((".service", ".timer", ".conf"))}
MANIFESTS = ("cronjob.yaml", "deployment.yaml")
CRONTABS = ("crontab", "report.crontab")
CONFIGURATION = tomllib.loads(FILES["config.toml"])
PROGRAM = "/opt/mirror/bin/mirror"
GIB = 1 << 30


def run(*command: str, cwd: Path | None = None, **environment: str) -> Ran:
    """Run a command as a process of its own."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def executable(path: Path, script: str) -> Path:
    """Make a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_every_file_is_tested() -> None:
    """No marker on the page is without its block, and no file is one that no test looks at."""
    assert len(re.findall(r"<!-- file:", PAGE)) == len(FILES)
    tested = {"config.toml", "credentials.toml", "collect.sh", "alerts.yaml"}
    assert FILES.keys() == {*UNITS, *MANIFESTS, *tested, *CRONTABS, "Containerfile"}


# systemd


def analyze(*words: str, **environment: str) -> Ran:
    """Run systemd-analyze; if it is not there, skip the test, or fail if it must be."""
    if shutil.which("systemd-analyze") is None:
        reason = "systemd is not tested: install systemd-analyze (the package systemd)"
        if os.environ.get("MIRROR_TEST_SYSTEMD"):
            pytest.fail(reason)
        pytest.skip(reason)
    return run("systemd-analyze", *words, **environment)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The folder of the page's units; what they run is there."""
    program = executable(tmp_path / "bin" / "mirror", "exit 0")
    for name in UNITS:
        path = tmp_path / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name].replace(PROGRAM, str(program)))
    return tmp_path / "units"


def test_units(units: Path) -> None:
    """Systemd understands every line of every unit, and finds what the units name."""
    paths = [str(path) for path in units.iterdir() if path.is_file()]
    assert len(paths) == len(UNITS) - 1
    verified = analyze("verify", "--man=no", "--recursive-errors=yes", *paths)
    assert (verified.code, verified.out + verified.err) == (0, "")


def test_units_that_are_wrong_are_noticed(units: Path) -> None:
    """A misspelt key, or a program that is not there, does not pass as a unit."""
    service = units / "mirror-sync.service"
    good = service.read_text()
    for bad in (good.replace("SuccessExit", "SucessExit"), good.replace("bin/mirror", "bin/miror")):
        service.write_text(bad)
        verified = analyze("verify", "--man=no", "--recursive-errors=yes", str(service))
        assert verified.code or verified.err


def test_timers() -> None:
    """The timers elapse when their descriptions say: each quarter of an hour, and each hour."""
    for name, times in (("mirror-sync.timer", "*:00/15:00"), ("mirror-stale.timer", "*:00:00")):
        read = analyze("calendar", calendar(name))
        assert read.code == 0
        assert re.search(rf"Normalized form: .*{re.escape(times)} UTC$", read.out, re.MULTILINE)


def calendar(name: str) -> str:
    """When a timer elapses."""
    (found,) = re.findall(r"^OnCalendar=(.*)$", FILES[name], re.MULTILINE)
    return str(found)


CHANGES_OF_CLOCKS = {
    "Europe/Berlin": ["2026-10-25 01:00", "2027-03-28 01:00"],
    "America/Sao_Paulo": ["2018-02-18 02:00", "2018-11-04 03:00"],
    "Australia/Lord_Howe": ["2027-04-03 15:00", "2026-10-03 15:30"],
}
"""When clocks go back, and when they go forward (UTC)."""


@pytest.mark.parametrize("zone", CHANGES_OF_CLOCKS)
def test_timers_go_on_when_clocks_are_set(zone: str) -> None:
    """No timer pauses when a clock goes back, nor when it goes forward; by local time, it would."""

    def gaps(when: str, change: str) -> set[timedelta]:
        """How long after another it elapses, from three hours before a change on."""
        before = datetime.fromisoformat(change) - timedelta(hours=3)
        read = analyze(
            "calendar",
            f"--base-time={before} UTC",
            "--iterations=30",
            when,
            TZ=zone,
        )
        times = re.findall(r"\(in UTC\): \w+ (.*) UTC$", read.out, re.MULTILINE)
        assert len(times) == 30, read
        return {later - sooner for sooner, later in pairwise(map(datetime.fromisoformat, times))}

    for change in CHANGES_OF_CLOCKS[zone]:
        assert gaps(calendar("mirror-sync.timer"), change) == {timedelta(minutes=15)}
        assert gaps(calendar("mirror-stale.timer"), change) == {timedelta(hours=1)}
    local = calendar("mirror-sync.timer").removesuffix(" UTC")
    assert len(gaps(local, CHANGES_OF_CLOCKS[zone][0])) == 2


def test_services_are_locked_in(units: Path) -> None:
    """What the services could do if they were taken over is as little as the page says."""
    if int(analyze("--version").out.split()[1]) < 250:
        pytest.skip("the exposure of units is not tested: install systemd 250 or later")
    (most,) = re.findall(r"keeps it below (\d\.\d)\.", PAGE)
    threshold = f"--threshold={round(float(most) * 10)}"
    for name in ("mirror-sync.service", "mirror-stale.service"):
        seen = analyze("security", "--offline=yes", "--no-pager", threshold, str(units / name))
        assert seen.code == 0, seen.out.splitlines()[-1]
    (units / "mirror-.service.d" / "hardening.conf").unlink()
    service = str(units / "mirror-sync.service")
    assert analyze("security", "--offline=yes", "--no-pager", threshold, service).code


def test_a_failure_for_now_is_no_alarm_of_the_sync_alone() -> None:
    """Only the sync forgives 75, only once it is no success; every failure reaches the alarm."""
    assert "SuccessExitStatus=75\n" in FILES["mirror-sync.service"]
    assert "SuccessExitStatus" not in FILES["mirror-stale.service"]
    for name in ("mirror-sync.service", "mirror-stale.service"):
        assert "OnFailure=alarm@%n.service\n" in FILES[name]


# Kubernetes


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(name: str) -> None:
    """A manifest has no key that Kubernetes does not know, and lacks none."""
    for document in yaml.safe_load_all(FILES[name]):
        version = kubernetes_validate.latest_version()
        assert kubernetes_validate.validate(document, version, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document | {"sepc": {}}, version, strict=True)


def pod(name: str) -> dict[str, Any]:
    """The specification of the pods of a manifest."""
    spec = yaml.safe_load(FILES[name])["spec"]
    found: dict[str, Any] = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_may_do_little_and_have_room(name: str) -> None:
    """A pod runs without rights, as somebody who may read the Secret, and finds its room."""
    found = pod(name)
    (container,) = found["containers"]
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["fsGroup"] == found["securityContext"]["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {volume["name"]: volume for volume in found["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/etc/mirror"]["secret"]["defaultMode"] == 0o440
    assert container["env"] == [{"name": "MIRROR_CONFIG", "value": "/etc/mirror/config.toml"}]
    room = int(mounts["/tmp"]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * GIB  # noqa: S108
    assert room > CONFIGURATION["defaults"]["max_bytes"]


def test_a_run_may_take_as_long_as_it_takes() -> None:
    """Neither systemd nor Kubernetes ends a run that is still within its deadlines."""
    longest = CONFIGURATION["defaults"]["deadline"] * len(CONFIGURATION["environments"])
    job = yaml.safe_load(FILES["cronjob.yaml"])["spec"]["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] > longest
    assert job["backoffLimit"] == 0
    assert "TimeoutStartSec=1h\n" in FILES["mirror-sync.service"]
    assert longest < 3600


# cron and the collector


CRONTAB = [
    line.split(maxsplit=5)
    for line in FILES["crontab"].splitlines()
    if not re.match(r"[A-Z_]+=", line)
]
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def elapses(field: str, lowest: int, highest: int) -> list[int]:
    """The numbers that a field of a crontab stands for."""
    found = re.fullmatch(r"(\*|\d+)(?:/(\d+))?", field)
    assert found, field
    if found[1] == "*":
        return list(range(lowest, highest + 1, int(found[2] or 1)))
    assert lowest <= int(found[1]) <= highest
    return [int(found[1])]


def test_crontab() -> None:
    """The lines have five fields in their ranges: every quarter of an hour, and every hour."""
    times = [
        [elapses(field, *limits) for field, limits in zip(line[:5], FIELDS, strict=True)]
        for line in CRONTAB
    ]
    assert [minutes for minutes, *_ in times] == [[0, 15, 30, 45], [7]]
    for _, *others in times:
        assert others == [list(range(low, high + 1)) for low, high in FIELDS[1:]]
    assert all("%" not in command for *_, command in CRONTAB), "cron takes % for a new line"


@pytest.mark.parametrize(
    ("code", "mailed"), [(0, ""), (75, ""), (3, "why\n"), (1, "why\n"), (77, "why\n"), (4, "why\n")]
)
def test_cron_mails_what_somebody_has_to_see(tmp_path: Path, code: int, mailed: str) -> None:
    """One line prints what went wrong, but not what failed for now; the other hides no error."""
    said = "echo why >&2" if code else ":"
    program = executable(tmp_path / "mirror", f"{said}\nexit {code}")
    sync, status = (command.replace(PROGRAM, str(program)) for *_, command in CRONTAB)
    ran = run("/bin/sh", "-c", sync)
    assert ran.out + ran.err == mailed
    executable(program, "echo a table\necho stale >&2\nexit 5")
    ran = run("/bin/sh", "-c", status)
    assert ran.out + ran.err == "stale\n"


def test_the_weekly_report_is_of_the_week_that_has_just_ended(tmp_path: Path) -> None:
    """In every time zone, on each Monday of two years, it is of the seven days (UTC) before it."""
    minute, hour, *others, command = FILES["report.crontab"].split(maxsplit=5)
    assert others == ["*", "*", "1"]
    program = executable(tmp_path / "mirror", 'echo "$@"')
    line = command.replace(r"\%", "%").replace(PROGRAM, str(program)).partition(" --quiet")[0]
    ago: dict[int, list[timedelta]] = {}
    for weekday in range(1, 8):
        executable(tmp_path / "date", f'[ "$*" = "-u +%u" ] && echo {weekday}')
        ran = run("/bin/sh", "-c", line, PATH=f"{tmp_path}:{os.environ['PATH']}")
        found = re.fullmatch(r"report --since (\d+)d --until (\d+)d\n", ran.out)
        assert found, ran
        ago[weekday] = [timedelta(days=int(days)) for days in found.groups()]
    zones = zoneinfo.available_timezones()
    assert "Pacific/Kiritimati" in zones
    for zone in zones:
        first = datetime(2026, 11, 30, int(hour), int(minute), tzinfo=zoneinfo.ZoneInfo(zone))
        for local in (first + timedelta(weeks=week) for week in range(104)):
            now = local.astimezone(UTC)
            since, until = (now - days for days in ago[now.isoweekday()])
            week = Period(local.date() - timedelta(days=7), local.date())
            assert period(since, until, now) == week, (zone, local)


def test_the_collector_never_leaves_half_a_file(tmp_path: Path) -> None:
    """The metrics are put in place whole and readable; a failure leaves the file as it was."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    (named,) = re.findall(r"^folder=(.*)$", FILES["collect.sh"], re.MULTILINE)
    script = FILES["collect.sh"].replace(named, str(folder))
    search = f"{tmp_path}:{os.environ['PATH']}"
    program = executable(tmp_path / "mirror", "echo mirror_info 1")
    assert run("/bin/sh", "-c", script, PATH=search) == Ran(0, "", "")
    executable(program, "echo mirror_\nexit 75")
    run("/bin/sh", "-c", script, PATH=search)
    (file,) = folder.iterdir()
    assert (file.name, file.read_text()) == ("mirror.prom", "mirror_info 1\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


# Metrics


METRICS = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(r"^\| `(mirror_\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
}


def test_metrics_are_those_of_the_program(sqlite_mirror: Mirror) -> None:
    """The table has every metric that `mirror status` prints, with its labels, and no other."""
    sqlite_mirror.sync([request(1)])
    ran = run_mirror("status", "--format", "prometheus", "--database", sqlite_mirror.url)
    assert ran.code == 0
    printed = {
        name: set(re.findall(r'(\w+)="', labels))
        for name, labels in re.findall(r"^(\w+)\{(.*)\} ", ran.out, re.MULTILINE)
    }
    assert printed == METRICS


def test_alerts_ask_for_metrics_that_exist() -> None:
    """Each rule is complete, and uses metrics and labels of the table alone."""
    (group,) = yaml.safe_load(FILES["alerts.yaml"])["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) >= 5
    for rule in group["rules"]:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        (metric,) = re.findall(r"mirror_\w+", rule["expr"])
        asked = set(re.findall(r"(\w+)=", rule["expr"]))
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert asked | told <= METRICS[metric]


# Configuration


def test_the_example_shows_every_key() -> None:
    """The example has each key that the table names, at least once, and no other."""
    table = PAGE.split("## Configuration")[1].split("## Scheduling")[0]
    rows = [row.split("|") for row in re.findall(r"^\|(.*)\|$", table, re.MULTILINE)]
    columns = zip(*rows[2:], strict=True)
    keys = [set(re.findall(r"`(\w+)`", " ".join(column))) for column in columns]
    assert keys[5] == CONFIGURATION.keys() - {"defaults", "environments"}
    assert keys[4] == CONFIGURATION["defaults"].keys()
    tables = CONFIGURATION["environments"].values()
    assert {key for one in tables for key in one} <= keys[3]
    assert keys[3] == keys[4] | {"token_file", "token_env"}
    assert {"token_file", "token_env"} <= {key for one in tables for key in one}


@pytest.mark.parametrize("name", ["config.toml", "credentials.toml"])
def test_mirror_reads_the_examples(name: str, tmp_path: Path) -> None:
    """The program takes each example file, and finds the database that it names."""
    (tmp_path / name).write_text(FILES[name])
    ran = run_mirror("db", "url", "--config", str(tmp_path / name))
    assert ran.code == 0, ran.err
    assert sa.make_url(ran.out.strip()) == sa.make_url(tomllib.loads(FILES[name])["database"])


def test_settings_are_those_of_the_program() -> None:
    """Each option of the table exists, and what holds if nothing is said is what the help says."""
    table = PAGE.split("| setting |")[1].split("\n\n")[0]
    options = {option for one in cli.cli.commands["sync"].params for option in one.opts}
    assert set(re.findall(r"`(--[\w-]+)`", table)) <= options
    readme = (ROOT / "README.md").read_text().split("### Settings")[1].split("###")[0]
    assert set(re.findall(r"`((?:MIRROR|TALKOVER)_\w+)`", table)) == set(
        re.findall(r"`((?:MIRROR|TALKOVER)_\w+)`", readme)
    ) - {"MIRROR_CONFIG"}


# Commands


def blocks(page: str, *languages: str) -> list[str]:
    """The code blocks of a page that are in one of some languages."""
    fenced = rf"^( *)```(?:{'|'.join(languages)})\n(.*?)^ *```$"
    found = re.findall(fenced, page, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def invocations(page: str) -> Iterator[list[str]]:
    """The arguments of each `mirror` that a page runs: in shells, units, crontabs and manifests."""
    for block in blocks(page, "sh", "ini", "cron"):
        for line in re.sub(r"\$\{(?:since|until)\}", "7", block).splitlines():
            for found in re.findall(r"(?:^ *|^ExecStart=\S*|[ (]\S*/bin/)mirror (.*)", line):
                yield shlex.split(re.split(r" (?:>|\||&&|2>)|\)", found)[0], comments=True)
    for block in blocks(page, "yaml"):
        for found in re.findall(r"(?:args|command): (\[.*\])", block):
            words = yaml.safe_load(found)
            yield words[1:] if words[0] == "mirror" else words


def named_in_text(page: str) -> Iterator[list[str]]:
    """The words of each command that a page names in a sentence or a table."""
    text = re.sub("```.*?```", "", page, flags=re.DOTALL)
    for found in re.findall(r"`mirror ([a-z][^`\n…]*)`", text):
        yield found.split()


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that some words begin with, and the other words."""
    command: click.Command = cli.cli
    while isinstance(command, click.Group) and words:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_commands_exist() -> None:
    """Every command that a page runs is taken by the program; so is each option in its text."""
    for page in PAGES[1:]:
        found = list(invocations(page.read_text()))
        assert found or page.name != "operations.md"
        for words in found:
            command, rest = resolve(words)
            assert command.make_context(command.name, list(rest)), words
        for words in named_in_text(page.read_text()):
            command, rest = resolve(words)
            options = {option for one in command.params for option in one.opts}
            assert {word for word in rest if word.startswith("-")} <= options, words


def test_options_exist() -> None:
    """Each option that the page explains is one of some command."""
    commands = [*cli.cli.commands.values(), *cli.db.commands.values()]
    options = {option for one in commands for parameter in one.params for option in parameter.opts}
    assert set(re.findall(r"`(--?[\w-]+)", PAGE)) <= options


def test_shell_lines_can_be_read() -> None:
    """Bash finds no mistake in the shell lines of any page, each block alone."""
    lines = [block for page in PAGES for block in blocks(page.read_text(), "sh")]
    assert lines
    each = 'for block in "$@"; do bash -n -c "$block" || echo "$block"; done'
    assert run("bash", "-c", each, "bash", *lines) == Ran(0, "", "")


def test_completion(tmp_path: Path) -> None:
    """The lines for three shells write what those shells read, and bash completes a command."""
    (script,) = (block for block in blocks(PAGE, "sh") if "_MIRROR_COMPLETE" in block)
    main = "from mirror.__main__ import main; main()"
    executable(tmp_path / "bin" / "mirror", f"exec {sys.executable} -c '{main}' \"$@\"")
    surroundings = {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    assert run("bash", "-euc", script, **surroundings) == Ran(0, "", "")
    bash = tmp_path / ".local" / "share" / "bash-completion" / "completions" / "mirror"
    ask = (
        f"source {bash}; COMP_WORDS=(mirror his); COMP_CWORD=1; _mirror_completion mirror; "
        'echo "${COMPREPLY[@]}"'
    )
    assert run("bash", "-c", ask, **surroundings) == Ran(0, "history\n", "")
    assert (tmp_path / ".zfunc" / "_mirror").read_text().startswith("#compdef mirror")
    fish = tmp_path / ".config" / "fish" / "completions" / "mirror.fish"
    assert "--command mirror" in fish.read_text()


# SQL


def test_failed_runs_are_found(mirror: Mirror) -> None:
    """The query of the logs runs on both databases, and shows the run that did not complete."""
    (query,) = (block.rstrip(";\n") for block in blocks(PAGE, "sql") if "sync_runs" in block)
    mirror.sync([request(1)])
    assert mirror.rows(query) == []
    result = mirror.sync([])
    ((_, environment, outcome, _, error),) = mirror.rows(query)
    assert (environment, outcome, error) == ("default", "refused", str(result.failure))


def test_erasing(mirror: Mirror) -> None:
    """What the page says to delete leaves nothing of a number, and no later sync brings it back."""
    others = [request(number) for number in range(3, 9)]
    changed, garbled = (request(one, phone_number="+15551234567") for one in (1, 2))
    mirror.sync([changed, garbled, *others])
    mirror.sync([changed | {"reason": "Another"}, garbled | {"requested_at": "soon"}, *others])
    mirror.sync(others)
    (script,) = re.findall(r"<!-- erase -->\n```sql\n(.*?)```", PAGE, re.DOTALL)
    with write_transaction(mirror.engine, "test") as connection:
        for statement in script.splitlines():
            assert connection.execute(sa.text(statement)).rowcount, statement
    mirror.sync([*others, request(9)])
    for table in mirror.state():
        assert not [row for row in mirror.stored(table) if "15551234567" in row]
    if mirror.engine.dialect.name == "sqlite":
        file = Path(str(mirror.engine.url.database))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM")
        assert b"15551234567" not in file.read_bytes()


def test_the_message_of_a_newer_schema(sqlite_mirror: Mirror) -> None:
    """The page quotes what a program says that is older than the schema."""
    with write_transaction(sqlite_mirror.engine, "test") as connection:
        connection.execute(sa.update(models.alembic_version).values(version_num="0099"))
    failure = sqlite_mirror.sync([request(1)]).failure
    (quoted,) = re.findall(r'"(the\s+database is at schema revision .*?)"', PAGE, re.DOTALL)
    assert " ".join(quoted.split()).replace("0002", "0099") == str(failure)


# CI, hooks, and the rooms of the code


def test_ci_runs_what_decides() -> None:
    """The workflow may only read, and calls .ci/run on each push and each week, on each Python."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow[True].keys() == {"push", "pull_request", "schedule"}  # YAML 1.1: `on` is true
    (weekly,) = workflow[True]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert job["steps"][-1] == {"run": ".ci/run"}
    installed = " ".join(step.get("run", "") for step in job["steps"])
    script = (ROOT / ".ci" / "run").read_text()
    assert f"$(interpreters {' '.join(named)})" in script
    (packages,) = re.findall(r"^packages=\((.*)\)$", script, re.MULTILINE)
    assert set(packages.split()) <= set(installed.split())


def test_hooks_are_those_of_the_environment() -> None:
    """The hooks are valid, and run tools that the extra dev installs."""
    path = ROOT / ".pre-commit-config.yaml"
    ran = run_python("-m", "pre_commit", "validate-config", str(path))
    assert ran.code == 0, ran.out + ran.err
    (repository,) = yaml.safe_load(path.read_text())["repos"]
    assert repository["repo"] == "local"
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert any(one.startswith(hook["entry"].split()[0]) for one in extra["dev"])


def module_name(path: Path) -> str:
    """The name of a module of the package, as the page has it."""
    name = ".".join(path.relative_to(ROOT / "mirror").with_suffix("").parts)
    return name.removesuffix(".__init__") if "." in name else name


MODULES = {module_name(path): path for path in (ROOT / "mirror").rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """The modules of the package that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("mirror."):
            package = str(node.module).removeprefix("mirror").removeprefix(".")
            found |= {package} | {f"{package}.{name.name}".lstrip(".") for name in node.names}
    return found & MODULES.keys()


def test_imports_run_down_the_page() -> None:
    """The page has every module once, and none imports from a section above its own."""
    sections = LAYOUT.split("## Code layout")[1].split("\n## ")[0].split("\n### ")[1:]
    level = {
        name: place
        for place, section in enumerate(sections)
        for name in re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    }
    assert level.keys() == MODULES.keys()
    for name, path in MODULES.items():
        assert {one for one in imported_by(path) if level[one] < level[name]} == set(), name
    sandbox = {name for name, place in level.items() if place == len(sections) - 1}
    assert all(imported_by(MODULES[name]) <= sandbox for name in sandbox)
