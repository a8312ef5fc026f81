"""The commands of who runs it: status, quarantine, pruning, completion, and how they read."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from mirror import cli
from mirror.db import migrate
from mirror.db.engine import shown_url, write_transaction
from mirror.db.models import sync_runs
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import request

ALARM = "\x1b[31m\u202e"


def ran_long_ago(mirror: Mirror, days: int) -> None:
    """Let all runs that are on record have begun some days ago."""
    with write_transaction(mirror.engine, "test") as connection:
        began = datetime.now(UTC) - timedelta(days=days)
        value = sa.bindparam("began", began, sync_runs.c.started_at.type)
        connection.execute(sa.text("UPDATE sync_runs SET started_at = :began").bindparams(value))


def status(mirror: Mirror, *options: str, **environment: str) -> tuple[Ran, list[dict[str, Any]]]:
    """Run `mirror status`; return what it came to, and the rows."""
    ran = run_mirror(
        "status", "--format", "json", "--database", mirror.url, *options, **environment
    )
    return ran, json.loads(ran.out)


def test_status(mirror: Mirror) -> None:
    """Of each environment: freshness, last run, counts; and which database and schema it is."""
    mirror.sync([request(1), request(2, status="approved"), "junk"], environment="prod")
    mirror.sync([request(3)], environment="dev")
    mirror.sandbox.misbehave("not-found")
    mirror.sync(environment="dev")
    ran, (dev, prod) = status(mirror)
    assert (ran.code, ran.err) == (0, "")
    assert (dev["environment"], dev["outcome"], dev["failures"]) == ("dev", "failed", 1)
    assert "answered 404" in dev["error"]
    assert (prod["environment"], prod["outcome"], prod["error"]) == ("prod", "applied", None)
    assert (prod["pending"], prod["approved"], prod["quarantined"]) == (1, 1, 1)
    for one in (dev, prod):
        assert one["schema_revision"] == migrate.revisions()[-1]
        assert one["database"] == shown_url(mirror.url)
    (only,) = status(mirror, "--environment", "dev")[1]
    assert only["environment"] == "dev"
    (only,) = status(mirror, MIRROR_ENVIRONMENT="prod")[1]
    assert only["environment"] == "prod"


@pytest.mark.calendar
def test_status_as_health_check(sqlite_mirror: Mirror) -> None:
    """With --max-age it exits with 5 if a complete pull is too long ago, and says whose.

    Only complete pulls count: one that failed a moment ago is no sign of life.
    """
    mirror = sqlite_mirror
    assert status(mirror, "--max-age", "2h") == (
        Ran(cli.EXIT_STALE, "[]\n", "mirror: nothing was ever synced; run `mirror sync`\n"),
        [],
    )
    mirror.sync([request(1)], environment="prod")
    ran_long_ago(mirror, 1)
    assert status(mirror, "--max-age", "2d")[0].code == 0
    mirror.now = datetime.now(UTC)
    mirror.sandbox.misbehave("not-found")
    mirror.sync(environment="prod")
    ran, _ = status(mirror, "--max-age", "2h")
    assert ran.code == cli.EXIT_STALE
    assert ran.err == (
        "mirror: prod is stale: its last complete pull began 24 h ago; run `mirror doctor`\n"
    )
    ran, _ = status(mirror, "--max-age", "2h", "--environment", "staging")
    assert ran.code == cli.EXIT_STALE
    assert "staging is stale: it had no complete pull yet" in ran.err
    mirror.sandbox.misbehave(None)
    mirror.now = datetime.now(UTC) - timedelta(hours=1)
    assert mirror.sync(environment="prod").outcome == "unchanged"
    ran, _ = status(mirror, "--max-age", "2h")
    assert (ran.code, ran.err) == (0, "")


def test_a_mirror_that_is_not_there_is_not_healthy(database_url: str) -> None:
    """Without a schema there is nothing to be fresh, and what helps is told."""
    missing = run_mirror("status", "--max-age", "2h", "--database", database_url)
    assert missing.code == 1
    assert "mirror sync" in missing.err


def test_an_environment_of_the_file_that_was_never_synced_is_stale(
    sqlite_mirror: Mirror, tmp_path: Path
) -> None:
    """The file says what should be fresh; what else is in the database is not judged."""
    mirror = sqlite_mirror
    mirror.sync([request(1)], environment="prod")
    mirror.sync([request(2)], environment="retired")
    ran_long_ago(mirror, 0)
    file = tmp_path / "mirror.toml"
    file.write_text("[environments.prod]\n[environments.new]\n")
    ran, rows = status(mirror, "--max-age", "2h", MIRROR_CONFIG=str(file))
    assert ran.code == cli.EXIT_STALE
    assert [one["environment"] for one in rows] == ["new", "prod"]
    assert ran.err.startswith("mirror: new is stale")
    assert ran.err.count("\n") == 1
    file.write_text("[environments.prod]\n")
    assert status(mirror, "--max-age", "2h", MIRROR_CONFIG=str(file))[0].code == 0


def test_metrics(sqlite_mirror: Mirror) -> None:
    """The metrics can be read back, also if the mirror is stale, and then the exit code says so."""
    mirror = sqlite_mirror
    mirror.sync([request(1, status="un\nknown"), request(2)])
    ran = run_mirror(
        "status", "--format", "prometheus", "--max-age", "1h", "--database", mirror.url
    )
    assert ran.code == cli.EXIT_STALE
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(ran.out)
        for sample in family.samples
    }
    assert samples["mirror_requests", "default", "pending"] == 1
    assert samples["mirror_requests", "default", "other"] == 1
    assert samples["mirror_last_complete_pull_timestamp_seconds", "default"] == (
        mirror.now.timestamp()
    )


def test_quarantine(sqlite_mirror: Mirror) -> None:
    """What could not be understood is shown with its reason; what is mended only on request."""
    mirror = sqlite_mirror
    garbled = request(1, id="bad", requested_at="tomorrow")
    mirror.sync([garbled, "junk"])
    mirror.sync(["junk"], accept_missing=True)
    here = ("--database", mirror.url)
    (row,) = json.loads(run_mirror("quarantine", *here, "--format", "json").out)
    assert (row["raw"], row["request_id"], row["resolved_at"]) == ('"junk"', None, None)
    rows = csv.DictReader(
        io.StringIO(run_mirror("quarantine", "--all", *here, "--format", "csv").out)
    )
    (mended,) = (one for one in rows if one["request_id"] == "bad")
    assert json.loads(mended["raw"]) == garbled
    assert "requested_at" in mended["error"]
    assert mended["resolved_at"]
    assert run_mirror("quarantine", *here, "--environment", "other").out.count("\n") == 1


@pytest.mark.calendar
def test_prune(mirror: Mirror) -> None:
    """Old runs that nothing needs go, everything else stays, and a dry run says it before."""
    for status_of_it in ("pending", "approved", "approved", "approved"):
        mirror.sync([request(1, status=status_of_it)])
    ran_long_ago(mirror, 100)
    before = mirror.state()
    prune = ("db", "prune", "--database", mirror.url, "--runs-older-than")
    young = run_mirror(*prune, "200d")
    assert young.code == 0
    assert young.err.startswith("mirror: removed 0 runs that began before ")
    tried = run_mirror(*prune, "90d", "--dry-run")
    assert re.search(r"would remove 1 runs .*; 3 as old .* needed, and 3 are on record", tried.err)
    assert mirror.runs("id") == [(1,), (2,), (3,), (4,)]
    done = run_mirror(*prune, "90d")
    assert (done.code, done.out) == (0, "")
    assert "removed 1 runs" in done.err
    assert mirror.runs("id") == [(1,), (2,), (4,)]
    assert mirror.state() == before
    assert mirror.sync().outcome == "unchanged"


def test_an_age_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """A length of time without its unit is not guessed at, and no database is opened."""
    for age in ("90", "0d", "-1d", "x", "1y", "", "999999w"):
        for command in (
            ("db", "prune", "--runs-older-than"),
            ("status", "--max-age"),
            ("sync", "--every"),
        ):
            assert cli.run([*command, age, "--database", "sqlite:////nowhere/mirror.db"]) == 2
            assert "is not a length of time" in " ".join(capsys.readouterr().err.split())


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


def test_completion(tmp_path: Path) -> None:
    """The shell completes commands, options, choices, and the environments of the file."""
    file = tmp_path / "mirror.toml"
    file.write_text("[environments.prod]\n[environments.preview]\n[environments.dev]\n")
    assert complete("st") == ["status"]
    assert complete("sync", "--accept") == ["--accept-missing"]
    assert complete("status", "--format", "pro") == ["prometheus"]
    named = complete("sync", "--environment", "pr", MIRROR_CONFIG=str(file))
    assert named == ["prod", "preview"]
    named = complete("history", "1", "--config", str(file), "--environment", "d")
    assert named == ["dev"]
    file.write_text("broken")
    assert complete("sync", "--environment", "", MIRROR_CONFIG=str(file)) == []


def test_everything_fits_the_terminal(sqlite_mirror: Mirror) -> None:
    """What is drawn keeps to the width, and shows no control character of the data."""
    mirror, long = sqlite_mirror, "customer-of-the-north-17"
    mirror.sync([request(1, id="x" * 40), request(2, status=7, id=ALARM)], environment=long)
    mirror.sandbox.misbehave("echo")
    mirror.sync(environment=long)
    commands = (("status",), ("quarantine",), ("status", "--format", "prometheus"))
    orders = [(columns, *command) for command in commands for columns in (80, 60)]
    for (columns, *command), shown in zip(
        orders, drawn(*orders, MIRROR_DATABASE_URL=mirror.url), strict=True
    ):
        assert "\u202e" not in shown
        assert "\x1b" not in "".join(plain(shown))
        if "prometheus" not in command:
            assert max(map(len, plain(shown))) <= int(columns), shown
