"""The schedulers of docs/operations.md and docs/shards.md: systemd, Kubernetes and cron.

Without systemd-analyze, tests of units are skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mirror.cli.exit_codes import EXIT_STALE, MOST_SERIOUS_FIRST
from mirror.config.environments import Shard
from mirror.report.period import Period, period
from mirror.setup.schedule import crontab, installing, systemd_units
from tests.support.commands import Ran
from tests.support.pages import (
    CONFIGURATION,
    FILES,
    OPERATIONS,
    PROGRAM,
    README,
    SHARDS,
    blocks,
    executable,
    run,
    section,
)

UNITS = {name for name in FILES if name.endswith((".service", ".timer", "/hardening.conf"))}
SYNCS = ("mirror-sync.service", "mirror-sync@.service")
SERVICES = (*SYNCS, "mirror-stale.service")
CRON_JOBS = ("cronjob.yaml", "shards.yaml")
MANIFESTS = (*CRON_JOBS, "deployment.yaml")
GIB = 1 << 30
SYNC_CODES = {*MOST_SERIOUS_FIRST} - {0, EXIT_STALE}


def test_every_file_is_tested() -> None:
    """Each marker has its block, and no file is unknown to the tests."""
    assert len(re.findall(r"<!-- file:", OPERATIONS + SHARDS)) == len(FILES)
    others = {"config.toml", "credentials.toml", "collect.sh", "alerts.yaml"}
    crontabs = {"crontab", "report.crontab", "slurm.crontab"}
    servers = {"pgbouncer.ini", "pgpool.conf", "partitions.sql"}  # tests/stress starts them
    recipes = {"webhook.sh", "to-slack.sh", "to-mail.sh", "spool.sh"}  # and runs these
    shards = {"mirror-sync.nomad.hcl", "mirror-sync.sbatch"}
    assert FILES.keys() == {*UNITS, *MANIFESTS, *others, *servers, *crontabs, *shards, *recipes}


# systemd

CLOCK_CHANGES = {
    "Europe/Berlin": ["2026-10-25 01:00", "2027-03-28 01:00"],
    "America/Sao_Paulo": ["2018-02-18 02:00", "2018-11-04 03:00"],
    "Australia/Lord_Howe": ["2027-04-03 15:00", "2026-10-03 15:30"],
}
"""When clocks go back, and when they go forward (UTC)."""


def analyze(*words: str, **environment: str) -> Ran:
    """Run systemd-analyze; if it is not installed, skip, or fail with MIRROR_TEST_SYSTEMD."""
    if shutil.which("systemd-analyze") is None:
        reason = "systemd is not tested: install systemd-analyze (the package systemd)"
        if os.environ.get("MIRROR_TEST_SYSTEMD"):
            pytest.fail(reason)
        pytest.skip(reason)
    return run("systemd-analyze", *words, cwd=None, **environment)


def verify(*paths: Path) -> Ran:
    """Verify unit files beside those of systemd; what the machine has enabled is left out."""
    folders = (str(paths[0].parent), "/usr/lib/systemd/system", "/lib/systemd/system")
    options = ("--man=no", "--recursive-errors=yes")
    return analyze("verify", *options, *map(str, paths), SYSTEMD_UNIT_PATH=":".join(folders))


def calendar(name: str) -> str:
    """The calendar expression of a timer."""
    (expression,) = re.findall(r"^OnCalendar=(.*)$", FILES[name], re.MULTILINE)
    return str(expression)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with the units of the page, and the program that they run."""
    program = executable(tmp_path / "bin" / "mirror", "exit 0")
    for name in UNITS:
        path = tmp_path / "units" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name].replace(PROGRAM, str(program)))
    return tmp_path / "units"


def test_units(units: Path) -> None:
    """Systemd accepts every line of every unit, and finds what the units name."""
    paths = [path for path in units.iterdir() if path.is_file()]
    assert len(paths) == len(UNITS) - 1
    assert verify(*paths) == Ran(0, "", "")


@pytest.mark.parametrize(
    ("old", "new"), [("SuccessExit", "SucessExit"), ("bin/mirror", "bin/miror")]
)
def test_wrong_units_are_detected(units: Path, old: str, new: str) -> None:
    """A misspelt key or a missing program fails the verification."""
    service = units / "mirror-sync.service"
    service.write_text(service.read_text().replace(old, new))
    verified = verify(service)
    assert verified.code or verified.err


@pytest.mark.parametrize(
    ("timer", "times"),
    [
        ("mirror-sync.timer", "*:00/15:00"),
        ("mirror-sync@.timer", "*:00/15:00"),
        ("mirror-stale.timer", "*:00:00"),
    ],
)
def test_timers(timer: str, times: str) -> None:
    """The timers elapse as described: each quarter of an hour, and each hour."""
    ran = analyze("calendar", calendar(timer))
    assert ran.code == 0
    assert re.search(rf"Normalized form: .*{re.escape(times)} UTC$", ran.out, re.MULTILINE)


@pytest.mark.parametrize("zone", CLOCK_CHANGES)
def test_timers_do_not_pause_when_clocks_change(zone: str) -> None:
    """No timer pauses when a clock goes back or forward; in local time, it would."""

    def gaps(expression: str, change: str) -> set[timedelta]:
        """The intervals between elapses, from three hours before a change on."""
        before = datetime.fromisoformat(change) - timedelta(hours=3)
        options = (f"--base-time={before} UTC", "--iterations=30")
        ran = analyze("calendar", *options, expression, TZ=zone)
        times = re.findall(r"\(in UTC\): \w+ (.*) UTC$", ran.out, re.MULTILINE)
        assert len(times) == 30, ran
        return {later - sooner for sooner, later in pairwise(map(datetime.fromisoformat, times))}

    for change in CLOCK_CHANGES[zone]:
        assert gaps(calendar("mirror-sync.timer"), change) == {timedelta(minutes=15)}
        assert gaps(calendar("mirror-stale.timer"), change) == {timedelta(hours=1)}
    local = calendar("mirror-sync.timer").removesuffix(" UTC")
    assert len(gaps(local, CLOCK_CHANGES[zone][0])) == 2


def test_services_are_sandboxed(units: Path) -> None:
    """The exposure of the services is below the documented one, thanks to the drop-in."""
    if int(analyze("--version").out.split()[1]) < 250:
        pytest.skip("the exposure of units is not tested: install systemd 250 or later")
    (limit,) = re.findall(r"keeps it below\s+(\d\.\d)\.", OPERATIONS)
    options = ("--offline=yes", "--no-pager", f"--threshold={round(float(limit) * 10)}")
    for name in SERVICES:
        ran = analyze("security", *options, str(units / name))
        assert ran.code == 0, ran.out.splitlines()[-1]
    (units / "mirror-.service.d" / "hardening.conf").unlink()
    assert analyze("security", *options, str(units / SERVICES[0])).code


def test_only_the_sync_tolerates_temporary_failures() -> None:
    """Exit code 75 is a success of the sync alone; every failure starts the alarm."""
    assert all("SuccessExitStatus=75\n" in FILES[name] for name in SYNCS)
    assert "SuccessExitStatus" not in FILES["mirror-stale.service"]
    for name in SERVICES:
        assert "OnFailure=alarm@%n.service\n" in FILES[name]


# Kubernetes


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(name: str) -> None:
    """A manifest has all required keys and no unknown one."""
    version = kubernetes_validate.latest_version()
    for document in yaml.safe_load_all(FILES[name]):
        assert kubernetes_validate.validate(document, version, strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document | {"sepc": {}}, version, strict=True)


def job_spec(name: str) -> dict[str, Any]:
    """The specification of the Job, or else of the Deployment, of a manifest."""
    spec = yaml.safe_load(FILES[name])["spec"]
    job: dict[str, Any] = spec.get("jobTemplate", {"spec": spec})["spec"]
    return job


def pod_spec(name: str) -> dict[str, Any]:
    """The pod specification of a manifest."""
    pod: dict[str, Any] = job_spec(name)["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_have_few_rights_and_enough_space(name: str) -> None:
    """A pod runs without privileges, can read the Secret, and has space for the list."""
    pod = pod_spec(name)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
    assert mounts["/etc/mirror"]["secret"]["defaultMode"] == 0o440
    assert container["env"] == [{"name": "MIRROR_CONFIG", "value": "/etc/mirror/config.toml"}]
    size = int(mounts["/tmp"]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * GIB  # noqa: S108 (in the pod)
    assert size > CONFIGURATION["defaults"]["max_bytes"]


def test_schedulers_wait_for_the_deadlines() -> None:
    """Neither systemd nor Kubernetes nor Slurm ends a run that is within its deadlines."""
    longest = CONFIGURATION["defaults"]["deadline"] * len(CONFIGURATION["environments"])
    assert all(job_spec(name)["activeDeadlineSeconds"] > longest for name in CRON_JOBS)
    assert all("TimeoutStartSec=1h\n" in FILES[name] for name in SYNCS)
    assert "#SBATCH --time=01:00:00\n" in FILES["mirror-sync.sbatch"]
    assert longest < 3600


def test_what_kubernetes_retries() -> None:
    """Without shards nothing; with shards 75 alone, once, and no shard ends the others.

    The rule of evictions comes first: those end with an exit code too.
    """
    assert job_spec("cronjob.yaml")["backoffLimit"] == 0
    job = job_spec("shards.yaml")
    assert (job.get("backoffLimit"), job["backoffLimitPerIndex"]) == (None, 1)
    evicted, failed = job["podFailurePolicy"]["rules"]
    disruption = {"type": "DisruptionTarget", "status": "True"}
    assert evicted == {"action": "Ignore", "onPodConditions": [disruption]}
    (container,) = pod_spec("shards.yaml")["containers"]
    codes = {"containerName": container["name"], "operator": "NotIn", "values": [75]}
    assert failed == {"action": "FailIndex", "onExitCodes": codes}
    assert "Only 75 is worth a retry" in SHARDS
    alerts = section(OPERATIONS, "## Scheduling").split("### cron")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| (.*?) \|", alerts, re.MULTILINE)
    documented = {int(code): who for codes, who in rows for code in codes.split(",")}
    assert {code: who.startswith("nobody") for code, who in documented.items()} == {
        code: code == 75 for code in SYNC_CODES
    }


# Shards


def test_numbers_of_shards_agree() -> None:
    """Each scheduler starts as many processes as its command says, the first one with 0."""
    job = job_spec("shards.yaml")
    (container,) = pod_spec("shards.yaml")["containers"]
    assert container["args"][-1] == f"$(JOB_COMPLETION_INDEX)/{job['completions']}"
    assert job["completions"] == job["parallelism"]
    (count,) = re.findall(r"\bcount = (\d+)", FILES["mirror-sync.nomad.hcl"])
    assert f'"${{NOMAD_ALLOC_INDEX}}/{count}"' in FILES["mirror-sync.nomad.hcl"]
    ((first, last),) = re.findall(r"--array=(\d+)-(\d+)\n", FILES["mirror-sync.sbatch"])
    assert first == "0"
    assert f'"$SLURM_ARRAY_TASK_ID/{int(last) + 1}"' in FILES["mirror-sync.sbatch"]
    instances = re.findall(r"mirror-sync@(\d+)\.timer", SHARDS)
    assert instances == [str(index) for index in range(len(instances))]
    assert f"--shard %i/{len(instances)} " in FILES["mirror-sync@.service"]
    assert run("bash", "-nc", FILES["mirror-sync.sbatch"], cwd=None) == Ran(0, "", "")


def test_the_documented_shards() -> None:
    """The command of the page prints the shard, and the sizes are those that it names."""
    (script,) = (block for block in blocks(SHARDS, "sh") if "hashlib" in block)
    (index,) = (index for index in range(4) if "prod" in Shard(index, 4))
    assert run("bash", "-c", script, cwd=None) == Ran(0, f"{index}\n", "")
    names = [f"customer-{number}" for number in range(300)]
    sizes = sorted(sum(name in Shard(index, 4) for name in names) for index in range(4))
    assert f"the four shards have {sizes[0]} to {sizes[-1]}." in " ".join(SHARDS.split())


# cron and the collector of metrics

CRONTAB = [
    line.split(maxsplit=5)
    for line in FILES["crontab"].splitlines()
    if not re.match(r"[A-Z_]+=", line)
]
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def field_values(field: str, lowest: int, highest: int) -> list[int]:
    """The numbers of a crontab field."""
    match = re.fullmatch(r"(\*|\d+)(?:/(\d+))?", field)
    assert match, field
    if match[1] == "*":
        return list(range(lowest, highest + 1, int(match[2] or 1)))
    assert lowest <= int(match[1]) <= highest
    return [int(match[1])]


def test_crontab() -> None:
    """The entries run every quarter of an hour, and every hour."""
    times = [
        [field_values(field, *limits) for field, limits in zip(line[:5], FIELDS, strict=True)]
        for line in CRONTAB
    ]
    assert [minutes for minutes, *_ in times] == [[0, 15, 30, 45], [7]]
    for _, *others in times:
        assert others == [list(range(low, high + 1)) for low, high in FIELDS[1:]]
    assert all("%" not in command for *_, command in CRONTAB), "cron takes % for a new line"


@pytest.mark.parametrize(
    ("code", "mailed"), [(0, ""), (75, ""), (3, "why\n"), (1, "why\n"), (77, "why\n"), (4, "why\n")]
)
def test_cron_mails_only_what_needs_a_person(tmp_path: Path, code: int, mailed: str) -> None:
    """The first entry prints all errors but temporary failures, the second one a stale mirror."""
    message = "echo why >&2" if code else ":"
    program = executable(tmp_path / "mirror", f"{message}\nexit {code}")
    sync, status = (command.replace(PROGRAM, str(program)) for *_, command in CRONTAB)
    ran = run("/bin/sh", "-c", sync)
    assert ran.out + ran.err == mailed
    executable(program, "echo a table\necho stale >&2\nexit 5")
    ran = run("/bin/sh", "-c", status)
    assert ran.out + ran.err == "stale\n"


def test_the_schedule_of_init_is_the_documented_one() -> None:
    """`mirror init` prints the entries of this page, and its units have the same settings.

    So does the README, apart from the second entry.
    """
    printed = crontab([PROGRAM], Path("/etc/mirror/config.toml"))
    assert FILES["crontab"] == f"MAILTO=ops@example.com\n{printed}"
    (in_readme,) = blocks(README, "cron")
    assert in_readme in printed
    assert " sync --quiet " in in_readme
    units = systemd_units([PROGRAM], Path("/etc/mirror/config.toml"), "mirror")
    assert units["mirror-sync.timer"] == FILES["mirror-sync.timer"]
    service = units["mirror-sync.service"].replace("/etc/mirror/", "${CREDENTIALS_DIRECTORY}/")
    others = set(service.splitlines()) - set(FILES["mirror-sync.service"].splitlines())
    assert others == {"User=mirror"}


def test_a_schedule_of_unusual_paths(tmp_path: Path) -> None:
    """cron, the shell and systemd take spaces and signs in a path as they are."""
    program = executable(tmp_path / "my tools 100%" / "mirror", 'echo "$0 $*"\nexit 1')
    sync = crontab([str(program)], tmp_path).splitlines()[1].split(maxsplit=5)[5]
    ran = run("/bin/sh", "-c", sync.replace(r"\%", "%"))  # what cron makes of it
    assert ran == Ran(0, f"{program} sync --quiet\n", "")
    units = systemd_units([str(program)], tmp_path / "$HOME %h.toml", "root")
    script = installing(units, as_root=False).replace("/etc/systemd/system", str(tmp_path))
    for name, action in (("sudo", 'exec "$@"'), ("systemctl", 'echo "$*"')):
        executable(tmp_path / "bin" / name, action)
    ran = run("/bin/sh", "-euc", script, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert ran == Ran(0, "daemon-reload\nenable --now mirror-sync.timer\n", "")
    assert {name: (tmp_path / name).read_text() for name in units} == units
    assert r'mirror" sync --config "' in units["mirror-sync.service"]
    assert '/$$HOME %%h.toml"\n' in units["mirror-sync.service"]
    assert verify(*(tmp_path / name for name in units)) == Ran(0, "", "")


def test_the_weekly_report_covers_the_last_week(tmp_path: Path) -> None:
    """In every time zone, on each Monday of two years, the report has the last seven UTC days."""
    minute, hour, *others, command = FILES["report.crontab"].split(maxsplit=5)
    assert others == ["*", "*", "1"]
    program = executable(tmp_path / "mirror", 'echo "$@"')
    line = command.replace(r"\%", "%").replace(PROGRAM, str(program)).partition(" --quiet")[0]
    ago: dict[int, list[timedelta]] = {}
    for weekday in range(1, 8):
        executable(tmp_path / "date", f'[ "$*" = "-u +%u" ] && echo {weekday}')
        ran = run("/bin/sh", "-c", line, PATH=f"{tmp_path}:{os.environ['PATH']}")
        options = re.fullmatch(r"report --since (\d+)d --until (\d+)d\n", ran.out)
        assert options, ran
        ago[weekday] = [timedelta(days=int(days)) for days in options.groups()]
    zones = zoneinfo.available_timezones()
    assert "Pacific/Kiritimati" in zones
    for zone in zones:
        first = datetime(2026, 11, 30, int(hour), int(minute), tzinfo=zoneinfo.ZoneInfo(zone))
        for local in (first + timedelta(weeks=week) for week in range(104)):
            now = local.astimezone(UTC)
            since, until = (now - days for days in ago[now.isoweekday()])
            week = Period(local.date() - timedelta(days=7), local.date())
            assert period(since, until, now) == week, (zone, local)


def test_the_collector_replaces_the_file_atomically(tmp_path: Path) -> None:
    """The metrics file is complete and readable; a failure leaves the old one."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    (documented,) = re.findall(r"^folder=(.*)$", FILES["collect.sh"], re.MULTILINE)
    script = FILES["collect.sh"].replace(documented, str(folder))
    path = f"{tmp_path}:{os.environ['PATH']}"
    program = executable(tmp_path / "mirror", "echo mirror_info 1")
    assert run("/bin/sh", "-c", script, PATH=path) == Ran(0, "", "")
    executable(program, "echo mirror_\nexit 75")
    run("/bin/sh", "-c", script, PATH=path)
    (file,) = folder.iterdir()
    assert (file.name, file.read_text()) == ("mirror.prom", "mirror_info 1\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
