"""The commands of operators: status, quarantine, pruning and shell completion."""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from mirror.cli import EXIT_STALE
from mirror.db import revisions
from mirror.db.engine import write_transaction
from mirror.db.models import sync_runs
from mirror.db.urls import shown_url
from tests.support.commands import Ran, run_mirror, run_on_a_terminal
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request


def backdate_runs(mirror: Mirror, days: float) -> None:
    """Let all runs have begun some days ago."""
    with write_transaction(mirror.engine, "test") as connection:
        began = datetime.now(UTC) - timedelta(days=days)
        value = sa.bindparam("began", began, sync_runs.c.started_at.type)
        connection.execute(sa.text("UPDATE sync_runs SET started_at = :began").bindparams(value))


def status(mirror: Mirror, *options: str, **environment: str) -> tuple[Ran, list[dict[str, Any]]]:
    """Run `mirror status`; return the process and its rows."""
    variables = {"MIRROR_DATABASE_URL": mirror.url} | environment
    ran = run_mirror("status", "--format", "json", *options, **variables)
    return ran, json.loads(ran.out)


def test_status(mirror: Mirror) -> None:
    """Each environment has its last run, its counts, the database and the schema revision."""
    mirror.sync([request(1), request(2, status="approved"), "junk"], environment="prod")
    mirror.sync([request(3)], environment="dev")
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="dev")
    ran, (dev, prod) = status(mirror)
    assert (ran.code, ran.err) == (0, "")
    assert (dev["environment"], dev["outcome"], dev["failures"]) == ("dev", "failed", 1)
    assert "answered 404" in dev["error"]
    assert (prod["environment"], prod["outcome"], prod["error"]) == ("prod", "applied", None)
    assert (prod["pending"], prod["approved"], prod["quarantined"]) == (1, 1, 1)
    for row in (dev, prod):
        assert row["schema_revision"] == revisions.known()[-1]
        assert row["database"] == shown_url(mirror.url)
    (row,) = status(mirror, "--environment", "dev")[1]
    assert row["environment"] == "dev"
    (row,) = status(mirror, MIRROR_ENVIRONMENT="prod")[1]
    assert row["environment"] == "prod"


@pytest.mark.calendar
def test_status_as_health_check(sqlite_mirror: Mirror) -> None:
    """With --max-age the exit code is 5 if the last complete pull is older; failed ones count not.

    The message names the environment.
    """
    mirror = sqlite_mirror

    def check(*options: str) -> tuple[int, str]:
        ran, _ = status(mirror, "--max-age", "2h", *options)
        return ran.code, ran.err

    never = "mirror: nothing was ever synced; run `mirror sync`\n"
    assert check() == (EXIT_STALE, never)
    mirror.sync([request(1)], environment="prod")
    backdate_runs(mirror, 1)
    assert status(mirror, "--max-age", "2d")[0].code == 0
    mirror.now = datetime.now(UTC)
    mirror.sandbox.set_fault("not-found")
    mirror.sync(environment="prod")
    age = "its last complete pull began 24 h ago, more than the 2 h allowed; run `mirror doctor`"
    assert check() == (EXIT_STALE, f"mirror: prod is stale: {age}\n")
    code, message = check("--environment", "staging")
    assert code == EXIT_STALE
    assert "staging is stale: it had no complete pull yet" in message
    mirror.sandbox.set_fault(None)
    mirror.now = datetime.now(UTC) - timedelta(hours=1)
    assert mirror.sync(environment="prod").outcome == "unchanged"
    assert check() == (0, "")


def test_a_missing_mirror_is_not_healthy(database_url: str) -> None:
    """Without a schema there is nothing to be fresh, and the message names `mirror sync`."""
    missing = run_mirror("status", "--max-age", "2h", "--database", database_url)
    assert missing.code == 1
    assert "mirror sync" in missing.err


def test_only_environments_of_the_file_are_checked(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """One of the file that was never synced is stale; others in the database do not count.

    They are named, with both ways out, but not by a health check that finds nothing else.
    """
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="prod")
    mirror.sync([request(2)], environment="retired")
    backdate_runs(mirror, 0)
    file = tmp_path / "mirror.toml"
    file.write_text("[environments.prod]\n[environments.new]\n")
    ran, rows = status(mirror, "--max-age", "2h", MIRROR_CONFIG=str(file))
    assert ran.code == EXIT_STALE
    assert [row["environment"] for row in rows] == ["new", "prod"]
    stale, unknown = ran.err.splitlines()
    assert stale == "mirror: new is stale: it had no complete pull yet; run `mirror doctor`"
    assert unknown == (
        f"mirror: retired is on record, but not in {file}; if it has a new name, run "
        "`mirror db rename-environment retired new`; to delete what is on record, run "
        "`mirror db forget-environment retired`"
    )
    file.write_text("[environments.prod]\n")
    healthy, _ = status(mirror, "--max-age", "2h", MIRROR_CONFIG=str(file))
    assert (healthy.code, healthy.err) == (0, "")
    told, _ = status(mirror, MIRROR_CONFIG=str(file))
    assert told.code == 0
    assert re.fullmatch("mirror: retired is on record.*environment retired NEW`.*\n", told.err)
    named, _ = status(mirror, "--environment", "prod", MIRROR_CONFIG=str(file))
    assert named.err == ""


@pytest.mark.calendar
def test_the_limits_of_the_file(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Status, its metrics and the doctor find the same stale, without an option; an option wins.

    The alarm comes before the tables. An environment that is no longer synced has no limit.
    """
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="hourly")
    mirror.sync([request(2)], environment="daily")
    mirror.sync([request(3)], environment="retired")
    backdate_runs(mirror, 3 / 24)
    tables = '[environments.hourly]\n[environments.daily]\nmax_age = "1d"\n'
    file = tmp_path / "mirror.toml"
    file.write_text(f'[defaults]\nmax_age = "2h"\n{tables}')
    variables = {"MIRROR_CONFIG": str(file), "MIRROR_DATABASE_URL": mirror.url}
    ran, rows = status(mirror, **variables)
    alarm = (
        "hourly is stale: its last complete pull began 3 h ago, more than the 2 h allowed; "
        "run `mirror doctor`"
    )
    assert (ran.code, ran.err.splitlines()[0]) == (EXIT_STALE, f"mirror: {alarm}")
    assert [[*row][-3:] for row in rows] == [["age_seconds", "max_age_seconds", "stale"]] * 2
    assert [(row["max_age_seconds"], row["stale"]) for row in rows] == [
        (86400.0, False),
        (7200.0, True),
    ]
    metrics = run_mirror("status", "--format", "prometheus", **variables)
    assert metrics.code == EXIT_STALE
    for line in ('max_age_seconds{environment="daily"} 86400.0', 'stale{environment="hourly"} 1.0'):
        assert f"mirror_{line}\n" in metrics.out
    assert 'mirror_stale{environment="daily"} 0.0' in metrics.out
    doctor = run_mirror("doctor", "--format", "json", **variables)
    ages = {
        check["environment"]: check for check in json.loads(doctor.out) if check["check"] == "age"
    }
    assert {name: check["state"] for name, check in ages.items()} == {
        "hourly": "warning",
        "daily": "ok",
    }
    assert ages["hourly"]["found"].endswith(f"(max_age in [defaults] of {file})")
    (retired,) = status(mirror, "--environment", "retired", **variables)[1]
    assert retired["stale"] is None
    # A mistyped name, of which nothing is known, is not healthy for ever.
    mistyped, (row,) = status(mirror, "--environment", "huorly", **variables)
    assert (mistyped.code, row["stale"]) == (EXIT_STALE, True)
    assert "huorly is stale: it had no complete pull yet" in mistyped.err
    assert status(mirror, "--max-age", "4h", **variables)[0].code == 0
    _, shown = run_on_a_terminal("-m", "mirror", "status", merge=True, **variables)
    assert shown.index("is stale") < shown.index("complete (UTC)") < shown.index("3 h, stale")
    file.write_text('[defaults]\nmax_age = "2h"\n')
    told, _ = status(mirror, **variables)
    assert told.code == EXIT_STALE
    assert told.err == (
        "mirror: 3 environments are stale: daily 3 h, hourly 3 h, retired 3 h; "
        "run `mirror doctor`\n"
    )
    # Another database than that of the file has its own environments.
    file.write_text(f'database = "sqlite:///elsewhere.db"\n{tables}')
    other, rows = status(mirror, "--database", mirror.url, MIRROR_CONFIG=str(file))
    assert (other.code, [row["environment"] for row in rows]) == (0, ["daily", "hourly", "retired"])
    file.write_text(f'[defaults]\nmax_age = "an hour"\n{tables}')
    for name in ("status", "doctor"):
        refused = run_mirror(name, **variables)
        assert refused.code == 2
        assert "max_age in [defaults] of" in refused.err
        assert "'an hour' is not a duration; write a whole number and its unit" in refused.err


def test_a_mistyped_environment_can_be_forgotten(sqlite_mirror: Mirror) -> None:
    """The health check that it spoils says how to get rid of it, and then it is healthy."""
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="prod")
    mirror.sync(environment="prdo")
    backdate_runs(mirror, 0)
    ran, _ = status(mirror, "--max-age", "2h")
    assert ran.code == EXIT_STALE
    assert ran.err == (
        "mirror: prdo is stale: it had no complete pull yet; run `mirror doctor`, or if its name "
        "was mistyped, `mirror db forget-environment prdo`\n"
    )
    ran = run_mirror("status", "--max-age", "2h", "--database", mirror.url)
    assert f"`mirror db forget-environment --database {mirror.url} prdo`" in ran.err
    assert run_mirror("db", "forget-environment", "prdo", "--database", mirror.url).code == 0
    assert status(mirror, "--max-age", "2h")[0].code == 0


def test_metrics(sqlite_mirror: Mirror) -> None:
    """The metrics can be parsed, also if the mirror is stale."""
    mirror = sqlite_mirror
    mirror.sync([request(1, status="un\nknown"), request(2)])
    ran = run_mirror(
        "status", "--format", "prometheus", "--max-age", "1h", "--database", mirror.url
    )
    assert ran.code == EXIT_STALE
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(ran.out)
        for sample in family.samples
    }
    assert samples["mirror_requests", "default", "pending"] == 1
    assert samples["mirror_requests", "default", "other"] == 1
    pulled_at = samples["mirror_last_complete_pull_timestamp_seconds", "default"]
    assert pulled_at == mirror.now.timestamp()


def test_quarantine(sqlite_mirror: Mirror) -> None:
    """Invalid records are shown with their errors, and with --all those that were corrected."""
    mirror = sqlite_mirror
    invalid = request(1, id="bad", requested_at="tomorrow")
    mirror.sync([invalid, "junk"])
    mirror.sync(["junk"], accept_missing=True)
    command = ("quarantine", "--database", mirror.url)
    (row,) = json.loads(run_mirror(*command, "--format", "json").out)
    assert (row["raw"], row["request_id"], row["resolved_at"]) == ('"junk"', None, None)
    table = io.StringIO(run_mirror(*command, "--all", "--format", "csv").out)
    (resolved,) = (row for row in csv.DictReader(table) if row["request_id"] == "bad")
    assert json.loads(resolved["raw"]) == invalid
    assert "requested_at" in resolved["error"]
    assert resolved["resolved_at"]
    assert run_mirror(*command, "--environment", "other").out.count("\n") == 1


@pytest.mark.calendar
def test_prune(mirror: Mirror) -> None:
    """Old runs that nothing refers to are deleted, and nothing else; a dry run deletes nothing."""
    for request_status in ("pending", "approved", "approved", "approved"):
        mirror.sync([request(1, status=request_status)])
    backdate_runs(mirror, 100)
    before = mirror.state()
    prune = ("db", "prune", "--database", mirror.url, "--runs-older-than")
    young = run_mirror(*prune, "200d")
    assert young.code == 0
    assert re.fullmatch(r"mirror: no run is older than .* UTC; 4 are on record\n", young.err)
    tried = run_mirror(*prune, "90d", "--dry-run")
    assert re.search(r"would remove 1 runs .*; 3 as old .* needed, and 3 are on record", tried.err)
    assert mirror.runs("id") == [(1,), (2,), (3,), (4,)]
    done = run_mirror(*prune, "90d")
    assert (done.code, done.out) == (0, "")
    assert "removed 1 runs" in done.err
    assert mirror.runs("id") == [(1,), (2,), (4,)]
    assert mirror.state() == before
    assert mirror.sync().outcome == "unchanged"


@pytest.mark.parametrize(
    "option", ["db prune --runs-older-than", "status --max-age", "sync --every"]
)
def test_wrong_durations(option: str) -> None:
    """A number without its unit is not a duration, and no database is opened."""
    for text in ("90", "0d", "-1d", "x", "1y", "", "999999w"):
        ran = run_mirror(*option.split(), text, "--database", "sqlite:////nowhere/mirror.db")
        assert ran.code == 2
        assert f"{text!r} is not a duration" in ran.err


def complete(*words: str, **environment: str) -> list[str]:
    """What the shell offers for the last word."""
    ran = run_mirror(
        COMP_WORDS=" ".join(("mirror", *words)),
        COMP_CWORD=str(len(words)),
        _MIRROR_COMPLETE="bash_complete",
        **environment,
    )
    assert (ran.code, ran.err) == (0, "")
    return [line.partition(",")[2] for line in ran.out.splitlines() if line]


def test_completion(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """The shell completes commands, options, choices, and environments of file and database."""
    file = tmp_path / "mirror.toml"
    file.write_text("[environments.prod]\n[environments.preview]\n[environments.dev]\n")
    environment = {"MIRROR_CONFIG": str(file)}
    for words, offered in (
        (("st",), ["status"]),
        (("db", "pr"), ["prune"]),
        (("db", "rename-environment", "old", "pre"), ["preview"]),
        (("sync", "--accept-m"), ["--accept-missing"]),
        (("status", "--format", "pro"), ["prometheus"]),
        (("sync", "--environment", "pr"), ["prod", "preview"]),
    ):
        assert complete(*words, **environment) == offered
    on_record = {"MIRROR_DATABASE_URL": sqlite_mirror.url}
    sqlite_mirror.sync([request(7, status="on_hold"), request(8)], environment="prdo")
    assert run_mirror("changes", "--cursor", "mail", **on_record).code == 0
    for words, offered in (
        (("requests", "--status", "on"), ["on_hold"]),
        (("requests", "--status", ""), ["pending", "approved", "rejected", "cancelled", "on_hold"]),
        (("requests", "--environment", "p"), ["prdo"]),
        (("show", "request-"), ["request-7", "request-8"]),
        (("db", "describe", "phone_numbers"), ["phone_numbers"]),
        (("sandbox", "--fault", "stal"), ["stall"]),
        (("completion", "z"), ["zsh"]),
        (("changes", "--cursor", ""), ["mail"]),
        (("query", "pending"), ["pending-longest"]),
        (("query", "day-by-day", "--param", ""), ["since=", "until="]),
        (("query", "day-by-day", "--param", "s"), ["since="]),
        (("query", "--format", "s"), ["spreadsheet"]),
    ):
        assert complete(*words, **on_record) == offered, words
    for command in ("rename-environment", "forget-environment"):
        assert complete("db", command, "p", **environment, **on_record) == ["prdo"]
    named = complete("history", "1", "--config", str(file), "--environment", "d")
    assert named == ["dev"]
    file.write_text("broken")
    assert complete("sync", "--environment", "", **environment) == []


def test_completion_without_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a database, or if it does not answer, the documented values are completed."""
    missing = tmp_path / "none.db"
    url = f"sqlite:///{missing}"
    assert complete("requests", "--status", "a", MIRROR_DATABASE_URL=url) == ["approved"]
    assert complete("show", "", MIRROR_DATABASE_URL=url) == []
    assert not missing.exists()
    monkeypatch.setattr("mirror.cli.completion._PATIENCE", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://mirror@127.0.0.1:{silent.getsockname()[1]}/bi"
        assert complete("requests", "--status", "a", MIRROR_DATABASE_URL=url) == ["approved"]


def test_completion_script() -> None:
    """Each script completes `mirror`, and the help says where to put it."""
    help_text = run_mirror("completion", "--help").out
    for shell, place in (
        ("bash", "bash-completion/completions/mirror"),
        ("zsh", "~/.zfunc/_mirror"),
        ("fish", "fish/completions/mirror.fish"),
    ):
        ran = run_mirror("completion", shell)
        assert (ran.code, ran.err) == (0, "")
        assert f"_MIRROR_COMPLETE={shell}_complete" in ran.out
        assert place in help_text
    assert run_mirror("completion", "tcsh").code == 2


def test_output_fits_the_terminal(sqlite_mirror: Mirror) -> None:
    """Tables keep to the width of the terminal, and show no control character of the data."""
    mirror, long_name = sqlite_mirror, "customer-of-the-north-17"
    hostile = request(2, status=7, id="\x1b[31m\u202e")
    mirror.sync([request(1, id="x" * 40), hostile], environment=long_name)
    mirror.sandbox.set_fault("echo")
    mirror.sync(environment=long_name)
    commands = [
        (columns, *command.split())
        for command in ("status", "quarantine", "status --format prometheus")
        for columns in (80, 60)
    ]
    received = drawn(*commands, MIRROR_DATABASE_URL=mirror.url)
    for (columns, *command), text in zip(commands, received, strict=True):
        assert not re.search("[\x1b\u202e]", "".join(plain(text)))
        if "prometheus" not in command:
            assert max(map(len, plain(text))) <= int(columns), text
