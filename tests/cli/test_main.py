"""The command line: its output, help, exit codes and errors."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import MethodType
from typing import Any, cast

import click
import pytest

from mirror import cli
from mirror.cli import sync_output
from mirror.db.runs import Counts, Outcome
from mirror.sandbox.faults import FAULTS
from mirror.sandbox.server import Sandbox
from mirror.setup.installation import program
from mirror.sync.run import Result
from mirror.text import escape_unsafe
from tests.support import ROOT
from tests.support.commands import Ran, all_commands, run_mirror, run_process, run_python
from tests.support.databases import DATABASES
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import TOKEN, FakeUpstream, request

SUMMARY_FIELDS = [
    "run_id", "environment", "outcome", "fetched", "inserted", "updated", "unchanged", "missing",
    "returned", "quarantined", "duplicates", "pages", "bytes", "seconds", "started_at",
    "finished_at", "error", "exit_code",
]  # fmt: skip
UNREACHABLE = {"TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1", "MIRROR_DEADLINE": "0.1"}


def settings_of(mirror: Mirror) -> dict[str, str]:
    """The environment variables for a mirror under test."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }


def sync(mirror: Mirror, *options: str, **environment: str) -> Ran:
    """Run `mirror sync` against the mirror's upstream."""
    return run_mirror("sync", *options, **(settings_of(mirror) | environment))


def rows(*arguments: str) -> list[dict[str, Any]]:
    """The rows of a command as JSON, which must be those of CSV."""
    result: list[dict[str, Any]] = json.loads(run_mirror(*arguments, "--format", "json").out)
    table = io.StringIO(run_mirror(*arguments, "--format", "csv").out, newline="")
    for row, line in zip(result, csv.DictReader(table), strict=True):
        assert line.keys() == row.keys()
        assert all(line[name] == value for name, value in row.items() if isinstance(value, str))
    return result


def test_sync_and_read(new_mirror: Mirror) -> None:
    """The documented life of a request shows in the output of the commands."""
    mirror = new_mirror
    mirror.upstream.records = [request(1, phone_number="+15551234567")]
    first = sync(mirror, "--json")
    assert (first.code, first.err, first.out.count("\n")) == (0, "", 1)
    summary = json.loads(first.out)
    assert list(summary) == SUMMARY_FIELDS
    assert (summary["outcome"], summary["inserted"], summary["error"]) == ("applied", 1, None)
    again = sync(mirror)
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("mirror: unchanged: 1 in the list")
    mirror.upstream.records[0] |= {"status": "approved", "resolved_at": "2024-01-12T09:00:00Z"}
    mirror.sandbox.invalidate()
    preview = sync(mirror, "--dry-run")
    assert "1 updated" in preview.err
    assert preview.out.splitlines()[1].split("\t")[5:7] == ["pending", "approved"]
    assert json.loads(sync(mirror, "--json").out)["updated"] == 1
    database = ("--database", mirror.url)
    history = run_mirror("history", "+1 (555) 123-4567", *database).out
    lines = [line.split("\t") for line in history.splitlines()]
    assert [line[1] for line in lines] == ["event", "requested", "approved"]
    assert lines[2][0] == "2024-01-12T09:00:00Z"
    (change,) = rows("changes", *database)
    assert (change["kind"], change["new_resolved_at"]) == ("resolved", "2024-01-12T09:00:00Z")
    (row,) = rows("requests", *database, "--status", "approved")
    assert (row["id"], row["resolved_at"]) == ("request-1", "2024-01-12T09:00:00Z")
    assert run_mirror("requests", *database, "--since", "2024-01-11").out.count("\n") == 1
    (row,) = rows("requests", *database, "--as-of", summary["finished_at"])
    assert row["status"] == "pending"
    none = run_mirror("requests", *database, "--status", "foo")
    reason = "mirror: no request has the status 'foo'; there is approved\n"
    assert (none.code, none.err) == (0, reason)
    assert run_mirror("requests", *database, "--status", "approved").err == ""


def test_exit_codes(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Each outcome has its documented exit code, and one line on stderr without a token."""
    mirror = sqlite_mirror
    mirror.upstream.records = [request(number) for number in range(10)] + ["junk"]
    assert sync(mirror).code == 3
    assert sync(mirror).code == 0
    refused = sync(mirror, TALKOVER_TOKEN="talq_other")
    assert (refused.code, refused.out) == (77, "")
    mirror.upstream.records = []
    mirror.sandbox.invalidate()
    guarded = sync(mirror)
    assert guarded.code == 4
    assert "--accept-missing" in guarded.err
    unreachable = sync(mirror, "--json", "--accept-base-url", **UNREACHABLE)
    assert unreachable.code == 75
    assert json.loads(unreachable.out)["outcome"] == "failed"
    elsewhere = {"TALKOVER_BASE_URL": mirror.sandbox.base_url + "/nowhere"}
    assert sync(mirror, "--accept-base-url", **elsewhere).code == 1
    missing = sync(mirror, TALKOVER_TOKEN="")
    assert missing.code == 2
    assert "--token-file" in missing.err
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    accepted = sync(mirror, "--token-file", str(file), "--accept-missing", TALKOVER_TOKEN="wrong")
    assert accepted.code == 0
    for ran in (refused, guarded, unreachable, missing, accepted):
        assert re.fullmatch("mirror: .*\n", ran.err)
        assert TOKEN not in ran.out + ran.err
        assert "talq_other" not in ran.err
    outcomes = [outcome for (outcome,) in mirror.runs("outcome")]
    assert outcomes == ["applied", "unchanged", "failed", "refused", "failed", "failed", "applied"]


LONG_PATH = "/" + "x" * 300
WRONG_USAGE = [
    ("history 'not a number'", 2, "is not a phone number"),
    ("history 5551234 --region XX", 2, "is not a region"),
    ("requests --since soon", 2, "is not a time"),
    ("requests --since 999999w", 2, "is not a time"),
    ("requests --database sqlite:////tmp", 2, "is a folder"),
    ("sandbox --port 99999", 2, "--port"),
    ("sandbox --port 0 --fault hiccups", 2, "mirror sandbox --faults"),
    ("sandbox --port 0 --fault moving", 2, "comes in pages"),
    ("sandbox --port 0 --token ''", 2, "--token"),
    ("sandbox --port 0 --seed -1", 2, "--seed"),
    ("sandbox --port 0 --start 0001-01-01", 2, "from 1970 to 2999"),
    ("changes --format xml", 2, "xml"),
    ("sync --base-url http://api.example.com", 2, "https://"),
    ("sync --rate many", 2, "--rate"),
    ("requests --database mysql://host/db", 2, "sqlite:///"),
    ("requests --database nonsense", 2, "sqlite:///"),
    ("status --database postgresql://127.0.0.1:9/x%00y", 2, "there is a NUL (%00) in it\n"),
    ("nonsense", 2, "nonsense"),
    # Paths that the system does not take
    (f"requests --database sqlite:///{LONG_PATH}/m.db", 1, "cannot be accessed (File name"),
    (f"db upgrade --database sqlite:///{LONG_PATH}", 1, "cannot be accessed (File name"),
    ("requests --database sqlite:////a%00b", 2, "there is a NUL (%00) in it"),
    (f"requests --config {LONG_PATH}", 2, "cannot be read (File name too long)"),
    ("requests --limit 0", 2, "'--limit': 0 is not in the range"),
    ("requests --sort -statuz", 2, "there is no column 'statuz'; did you mean 'status'? There are"),
    ("runs --columns id,,took", 2, "there is no column ''; there are id, environment, outcome"),
    ("runs --outcome fail", 2, "'fail' is not one of 'applied'"),
    ("show request-1", 2, "nothing was ever synced"),
    # No database there
    ("requests --database sqlite:///mirror.db", 1, "mirror sync"),
]
"""Command lines, their exit codes and what they say."""


def test_wrong_usage(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Bad input is refused with a reason and without a traceback, and leaves no file behind."""
    database = {"MIRROR_DATABASE_URL": sqlite_mirror.url}
    for line, code, message in WRONG_USAGE:
        ran = run_mirror(*shlex.split(line), cwd=tmp_path, TALKOVER_TOKEN=TOKEN, **database)
        assert (ran.code, ran.out) == (code, ""), line
        assert message in ran.err, line
        assert "Traceback" not in ran.err, line
    ran = run_mirror("doctor", "--database", f"sqlite:///{LONG_PATH}", cwd=tmp_path)
    assert ran.code == 2
    assert "cannot be accessed (File name" in ran.out
    assert list(tmp_path.iterdir()) == []


def test_the_faults_of_the_sandbox_are_listed() -> None:
    """`--faults` prints each fault with its name, on one line."""
    ran = run_mirror("sandbox", "--faults")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == list(FAULTS)
    assert max(map(len, ran.out.splitlines())) <= 80


def test_no_password_of_a_database_is_shown() -> None:
    """An unreachable Postgres is a temporary failure; no form of password is printed.

    The paths of its files are: a URL without them is of no use.
    """
    for user, parameters in (
        ("me:geheim", ""),
        ("me", "?password=geheim"),
        ("me", "?sslpassword=geheim"),
    ):
        url = f"postgresql://{user}@127.0.0.1:9/db{parameters}"
        for command, code in (("requests", 75), ("db url", 0)):
            ran = run_mirror(*command.split(), "--database", url)
            assert ran.code == code
            assert "geheim" not in ran.out + ran.err
            assert "Traceback" not in ran.err
    files = "postgresql://me@127.0.0.1:9/db?passfile=p.pgpass&sslkey=s.pem"
    assert run_mirror("db", "url", "--database", files).out == f"{files}\n"


def test_db_commands(database_url: str, tmp_path: Path) -> None:
    """The schema can be created and its revision printed; the URL is printed without password."""
    assert run_mirror("db", "upgrade", "--database", database_url).code == 0
    assert "already" in run_mirror("db", "upgrade", "--database", database_url).err
    current = run_mirror("db", "current", "--database", database_url)
    assert re.fullmatch(r"\d{4}\n", current.out)
    shown = run_mirror("db", "url", MIRROR_DATABASE_URL="postgresql://me:geheim@host/db")
    assert shown.out == "postgresql://me:***@host/db\n"
    default = run_mirror("db", "url", XDG_DATA_HOME="/somewhere")
    assert default.out == "sqlite:////somewhere/mirror/mirror.db\n"
    folder = tmp_path / "da ta%41"
    assert run_mirror("db", "upgrade", XDG_DATA_HOME=str(folder)).code == 0
    assert (folder / "mirror" / "mirror.db").exists()


# On a terminal; tests/sync/test_hostile_output.py has the hostile texts and the widths


def test_the_time_line_of_a_number(sqlite_mirror: Mirror) -> None:
    """A terminal shows the time between events, a gap between requests, and observed times.

    A number with requests in two environments has a column for the environment.
    """
    history, shared = "+15550000000", "+15550000001"
    resolved = {
        "resolved_at": "2023-12-05T09:00:00Z",
        "rejection_reason": "There are open invoices",
    }
    rejected = request(1, phone_number=history, status="rejected", **resolved)
    rejected["requested_at"] = "2023-12-01T09:00:00Z"
    again = request(2, phone_number=history, requested_at="2023-12-20T09:00:00Z")
    other = request(3, phone_number=shared)
    sqlite_mirror.sync([rejected, again, other])
    sqlite_mirror.sync([rejected, again | {"status": "cancelled"}, other])
    sqlite_mirror.sync([request(4, phone_number=shared)], environment="other")
    wide, narrow, both = drawn(
        (80, "history", history),
        (40, "history", history),
        (120, "history", shared),
        MIRROR_DATABASE_URL=sqlite_mirror.url,
    )
    assert "\x1b[31mrejected" in wide
    assert "environment" not in wide
    lines = [line.rstrip() for line in plain(wide)]
    assert lines[0].split() == ["when", "(UTC)", "event", "after", "request", "reason"]
    events = [line.split() for line in lines[2:] if line[:2] == "20"]
    assert [event[2] for event in events] == ["requested", "rejected", "requested", "cancelled"]
    assert events[1][3:5] == ["4", "d"]
    assert events[2][3:5] == ["15", "d"]
    assert events[3][3] == "*"
    assert "open invoices" in " ".join(lines)
    assert lines[-2].startswith("* time of the sync that first saw it")
    gap = lines.index("", 2)
    assert lines[gap + 1].startswith("2023-12-20 09:00  requested")
    assert "after" not in narrow
    assert "rejected" in narrow
    assert "environment" in both
    assert "other" in both


def test_visible_text_is_not_escaped() -> None:
    """Letters of any script and emoji are shown as they are."""
    assert escape_unsafe("plain ñ 漢 🙂") == "plain ñ 漢 🙂"


# Help


@pytest.mark.parametrize(("words", "command"), all_commands().items(), ids=str)
def test_help(words: str, command: click.Command) -> None:
    """Each command has help in 80 columns with an example, and each option a text and a metavar."""
    ran = run_mirror(*words.split(), "--help", COLUMNS="80")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "..." not in ran.out.partition("Commands:")[2]
    assert re.search(r"--\S+ (TEXT|INTEGER|FLOAT)\b", ran.out) is None  # click's own names
    assert re.search(rf"^  Example.*: .*mirror {words}", ran.out, re.MULTILINE)
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_table_of_commands_is_that_of_the_commands() -> None:
    """The help of the group, which imports no command, has each one's name and first sentence."""
    for name, (module, short_help) in cli.COMMANDS.items():
        command = all_commands()[name]
        assert command.name == name
        assert command.callback is not None
        assert command.callback.__module__ == module
        assert command.get_short_help_str(80) == short_help


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_in_other_widths(option: str) -> None:
    """The help of the group is never wider than 80 columns, and fits a narrower terminal."""
    usual = run_mirror(option, COLUMNS="80")
    assert run_process(option, COLUMNS="200") == usual
    narrow = run_mirror(option, COLUMNS="60").out
    assert max(map(len, narrow.splitlines())) <= 60
    assert narrow.split() == usual.out.split()


# What only a process has


FULL = r"mirror: the (output|result) could not be written \(No space left on device\)\n"
CLOSED = r"mirror: the (output|result) could not be written \(stdout is closed\)\n"
UNWRITTEN = [
    ("requests", "| head -n 1", {}, 0, ""),  # a pipe that is closed early is no error
    ("sync --json --accept-base-url", "| true", UNREACHABLE, 75, r"mirror: \S.*\n"),
    ("sync --json --accept-base-url", ">&-", UNREACHABLE, 75, CLOSED + r"mirror: \S.*\n"),
    ("query 'SELECT 1'", ">&-", {}, 1, CLOSED),
    ("sync --json", ">/dev/full", {}, 3, FULL),
    ("requests", ">/dev/full", {}, 75, FULL),
    ("--version", ">/dev/full", {}, 75, FULL),
]


def test_output_that_cannot_be_written(sqlite_mirror: Mirror) -> None:
    """A sync keeps its exit code whatever becomes of its output; a full disk is reported."""
    sqlite_mirror.sync([request(number, reason="long " * 50) for number in range(2000)])
    sqlite_mirror.upstream.records.append("junk")
    sqlite_mirror.sandbox.invalidate()
    for command, redirection, settings, code, message in UNWRITTEN:
        line = f"{sys.executable} -m mirror {command} {redirection}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line],
            env=os.environ | settings_of(sqlite_mirror) | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, (command, redirection)
        assert re.fullmatch(message, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(errno.ENOENT, "Not there", "/a/file"),
            "an operation on /a/file failed (Not there)",
        ),
        (
            OSError(errno.EMFILE, "Too many"),
            "an operation on something that mirror needs failed (Too many)",
        ),
        (
            OSError("no code"),
            "an operation on something that mirror needs failed (without a reason)",
        ),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "(Broken pipe)"),
    ],
    ids=repr,
)
def test_an_error_of_the_system_is_not_one_of_the_output(
    monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    """The message names what could not be used, also if it is a pipe other than the output."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mirror.db.dictionary.entries", fail)
    ran = run_mirror("db", "describe")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert message in ran.err
    assert "output" not in ran.err


class _FailingOutput(io.StringIO):
    """A stream whose writes fail, or else its flushes."""

    def __init__(self, error: OSError, *, at_the_end: bool) -> None:
        super().__init__()
        self._error, self._at_the_end = error, at_the_end

    def write(self, text: str) -> int:
        if not self._at_the_end:
            raise self._error
        return len(text)

    def flush(self) -> None:
        if self._at_the_end:
            raise self._error


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("command", ["db url", "db describe", "db describe --format csv", "--help"])
def test_an_error_of_the_output_is_one(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str,
    at_the_end: bool,
) -> None:
    """Output that cannot be written is reported; a pipe that its reader closed is not."""
    full = "mirror: the output could not be written (No space left on device)\n"
    for error, code, message in (
        (OSError(errno.ENOSPC, "No space left on device"), 75, full),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
    ):
        monkeypatch.setattr(sys, "stdout", _FailingOutput(error, at_the_end=at_the_end))
        assert cli.run(command.split()) == code
        assert capfd.readouterr().err == message


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path that begins nowhere is reported as that."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    for option in (("--database", "sqlite:///relative.db"), ("--config", "relative.toml")):
        ran = run_mirror("status", *option)
        message = "mirror: the working directory does not exist any more; change to another one\n"
        assert (ran.code, ran.err) == (2, message)


@pytest.mark.parametrize(
    ("outcome", "seconds", "line"),
    [
        (Outcome.APPLIED, 0.04, "applied: 3 in the list, 2 new; < 0.1 s"),
        (Outcome.UNCHANGED, 0.06, "unchanged: 3 in the list, 2 new; 0.1 s"),
        (
            Outcome.SUPERSEDED,
            0.8,
            "superseded: another sync completed meanwhile, nothing was applied; 0.8 s",
        ),
    ],
)
def test_the_summary_of_a_sync(outcome: Outcome, seconds: float, line: str) -> None:
    """It says what was done, and of a superseded run why nothing was."""
    now = datetime.now(UTC)
    counts = Counts(fetched=3, inserted=2)
    assert sync_output.summary(Result(1, "default", outcome, seconds, now, now, counts)) == line


def test_the_sandbox_names_a_database_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints to paste keeps mock data out of the real mirror."""
    monkeypatch.setattr("mirror.cli.sandbox._serve", lambda *_: None)
    ran = run_mirror("sandbox", "--port", "0", "--requests", "3")
    export, *comments = ran.out.splitlines()
    assert re.fullmatch(
        r"export TALKOVER_BASE_URL=http://127\.0\.0\.1:\d+/api/v1 TALKOVER_TOKEN=talq_sandbox "
        r"MIRROR_DATABASE_URL=sqlite:///mirror-sandbox\.db MIRROR_ENVIRONMENT=sandbox "
        r"MIRROR_CONFIG=/dev/null",
        export,
    )
    assert comments == [
        f"# paste the line above into another terminal, then: {shlex.join([*program(), 'sync'])}",
        "# serving 3 requests; Ctrl-C ends it",
    ]


def test_the_sandbox_of_a_seed_and_a_start_has_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same to the byte on every day, in every process and on every Python."""
    digests = []

    def digest(advance: MethodType, _day: object) -> None:
        entries = cast(Sandbox, advance.__self__)._entries()
        digests.append(hashlib.sha256(b",".join(entries)).hexdigest()[:8])

    monkeypatch.setattr("mirror.cli.sandbox._serve", digest)
    for seed, start in (("1", "2026-01-31"), ("2", "2026-01-31"), ("1", "2026-02-01T12:30+01:00")):
        ran = run_mirror("sandbox", "--port", "0", "--seed", seed, "--start", start)
        assert ran.code == 0
    assert digests == ["5b2f852c", "9e114bf5", "3c031611"]


def test_a_sandbox_that_is_refused_closes_its_port() -> None:
    """Wrong options of the sandbox leave no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run_mirror("sandbox", "--port", str(port), "--fault", "hiccups").code == 2
    socket.create_server(("127.0.0.1", port)).close()


def test_an_interrupt_while_the_program_starts(tmp_path: Path) -> None:
    """Ctrl-C before a command has begun has the message and the exit code of a later one."""
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    for module in ("click", "contextlib"):
        folder = tmp_path / module
        folder.mkdir()
        (folder / f"{module}.py").write_text(interrupt)
        main = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.modules.pop({module!r}, None)"
        ran = run_python("-c", f"{main}; from mirror.__main__ import main; main()", "status")
        assert ran == Ran(1, "", "mirror: interrupted\n")


def test_json_is_utf_8_in_a_pipe_whatever_the_locale(sqlite_mirror: Mirror) -> None:
    """Programs that read the output need not know the locale of the command."""
    sqlite_mirror.sync([request(1, reason="número não atribuído")])
    environment = {"MIRROR_DATABASE_URL": sqlite_mirror.url, "PYTHONIOENCODING": "ascii"}
    ran = run_process("requests", "--format", "json", **environment)
    assert json.loads(ran.out)[0]["reason"] == "número não atribuído"


def test_alembic_and_mirror_mean_the_same_database(
    make_database: Callable[[str], str], sandbox: Sandbox, upstream: FakeUpstream
) -> None:
    """`alembic upgrade head` creates the schema that `mirror sync` then needs no upgrade for."""
    code = (
        "import os, sys; from alembic.config import main\n"
        "for os.environ['MIRROR_DATABASE_URL'] in sys.argv[1:]: main(['upgrade', 'head'])"
    )
    urls = [make_database(kind) for kind in DATABASES]
    ran = run_python("-c", code, *urls, cwd=ROOT)
    assert ran.code == 0, ran.err
    upstream.records = [request(1)]
    for url in urls:
        assert sync(Mirror(url, sandbox, upstream), "--no-upgrade").code == 0
        assert run_mirror("requests", "--database", url).out.count("\n") == 2
