"""The command line: what it prints where, and how it exits."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from mirror import cli
from mirror.__main__ import _said_at_once
from mirror.sandbox.faults import FAULTS
from mirror.sandbox.server import Sandbox, SandboxConfig
from mirror.text import escape_unsafe
from tests.support import ROOT
from tests.support.commands import Ran, run_mirror, run_process, run_python
from tests.support.databases import DATABASES, new_database
from tests.support.mirrors import Mirror
from tests.support.terminals import drawn, plain
from tests.support.upstream import TOKEN, FakeUpstream, request

SUMMARY_FIELDS = [
    "run_id", "environment", "outcome", "fetched", "inserted", "updated", "unchanged", "missing",
    "returned", "quarantined", "duplicates", "pages", "bytes", "seconds", "started_at",
    "finished_at", "error",
]  # fmt: skip
HOSTILE = 'a\tb\nc \x1b[31mred\x1b[0m \x9b2J \u202eevil \u200b[bold]x[/] =1+1 " \\ \x7f'
NOWHERE = {"TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1", "MIRROR_DEADLINE": "0.1"}


def settings_of(mirror: Mirror) -> dict[str, str]:
    """The environment variables of a mirror under test."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }


def sync(mirror: Mirror, *options: str, **environment: str) -> Ran:
    """Run `mirror sync` against the mirror's upstream."""
    return run_mirror("sync", *options, **(settings_of(mirror) | environment))


def rows(*arguments: str) -> list[dict[str, Any]]:
    """What a command prints as JSON and as CSV, which must be the same rows."""
    found: list[dict[str, Any]] = json.loads(run_mirror(*arguments, "--format", "json").out)
    table = io.StringIO(run_mirror(*arguments, "--format", "csv").out, newline="")
    for row, line in zip(found, csv.DictReader(table), strict=True):
        assert line.keys() == row.keys()
        assert all(line[name] == value for name, value in row.items() if isinstance(value, str))
    return found


def test_sync_and_read(new_mirror: Mirror) -> None:
    """The documented life of a request, told by the commands alone."""
    mirror = new_mirror
    mirror.world.records = [request(1, phone_number="+15551234567")]
    first = sync(mirror, "--json")
    assert (first.code, first.err) == (0, "")
    summary = json.loads(first.out)
    assert list(summary) == SUMMARY_FIELDS
    assert (summary["outcome"], summary["inserted"], summary["error"]) == ("applied", 1, None)
    assert first.out.count("\n") == 1
    again = sync(mirror)
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("mirror: unchanged: 1 in the list")
    mirror.world.records[0] |= {"status": "approved", "resolved_at": "2024-01-12T09:00:00Z"}
    mirror.sandbox.forget()
    preview = sync(mirror, "--dry-run")
    assert "1 updated" in preview.err
    assert preview.out.splitlines()[1].split("\t")[5:7] == ["pending", "approved"]
    assert json.loads(sync(mirror, "--json").out)["updated"] == 1
    database = ("--database", mirror.url)
    told = run_mirror("history", "+1 (555) 123-4567", *database)
    lines = [line.split("\t") for line in told.out.splitlines()]
    assert [line[1] for line in lines] == ["event", "requested", "approved"]
    assert lines[2][0] == "2024-01-12T09:00:00Z"
    (change,) = rows("changes", *database)
    assert (change["kind"], change["new_resolved_at"]) == ("resolved", "2024-01-12T09:00:00Z")
    (row,) = rows("requests", *database, "--status", "approved")
    assert (row["id"], row["resolved_at"]) == ("request-1", "2024-01-12T09:00:00Z")
    assert run_mirror("requests", *database, "--since", "2024-01-11").out.count("\n") == 1
    (row,) = rows("requests", *database, "--as-of", summary["finished_at"])
    assert row["status"] == "pending"


def test_exit_codes(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """Each way to end has the exit code of the contract, and one sentence on stderr."""
    mirror = sqlite_mirror
    mirror.world.records = [request(number) for number in range(10)] + ["junk"]
    assert sync(mirror).code == 3
    assert sync(mirror).code == 0
    refused = sync(mirror, TALKOVER_TOKEN="talq_other")
    assert (refused.code, refused.out) == (77, "")
    mirror.world.records = []
    mirror.sandbox.forget()
    guarded = sync(mirror)
    assert guarded.code == 4
    assert "--accept-missing" in guarded.err
    unreachable = sync(mirror, "--json", **NOWHERE)
    assert unreachable.code == 75
    assert json.loads(unreachable.out)["outcome"] == "failed"
    assert sync(mirror, TALKOVER_BASE_URL=mirror.sandbox.base_url + "/nowhere").code == 1
    missing = sync(mirror, TALKOVER_TOKEN="")
    assert missing.code == 2
    assert "--token-file" in missing.err
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    accepted = sync(mirror, "--token-file", str(file), "--accept-missing", TALKOVER_TOKEN="wrong")
    assert accepted.code == 0
    for ran in (refused, guarded, unreachable, missing, accepted):
        assert ran.err.count("\n") == 1
        assert ran.err.startswith("mirror: ")
        assert TOKEN not in ran.out + ran.err
        assert "talq_other" not in ran.err
    outcomes = [outcome for (outcome,) in mirror.runs("outcome")]
    assert outcomes == ["applied", "unchanged", "failed", "refused", "failed", "failed", "applied"]


WRONG_USAGE = [
    (("history", "not a number"), "is not a phone number"),
    (("history", "5551234", "--region", "XX"), "is not a region"),
    (("requests", "--since", "soon"), "is not a time"),
    (("requests", "--since", "999999w"), "is not a time"),
    (("requests", "--database", "sqlite:////tmp"), "is a folder"),
    (("sandbox", "--port", "99999"), "--port"),
    (("sandbox", "--port", "0", "--fault", "hiccups"), "mirror sandbox --faults"),
    (("sandbox", "--port", "0", "--fault", "moving"), "comes in pages"),
    (("sandbox", "--port", "0", "--token", ""), "--token"),
    (("changes", "--format", "xml"), "xml"),
    (("sync", "--base-url", "http://api.example.com"), "https://"),
    (("sync", "--rate", "many"), "--rate"),
    (("requests", "--database", "mysql://host/db"), "sqlite:///"),
    (("requests", "--database", "nonsense"), "sqlite:///"),
    (("nonsense",), "nonsense"),
]


def test_wrong_usage(sqlite_mirror: Mirror) -> None:
    """Bad input is refused with its reason, exit code 2, and no traceback."""
    for arguments, said in WRONG_USAGE:
        ran = run_mirror(*arguments, MIRROR_DATABASE_URL=sqlite_mirror.url, TALKOVER_TOKEN=TOKEN)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert said in ran.err
        assert "Traceback" not in ran.err


def test_the_faults_of_the_sandbox_are_listed() -> None:
    """Who wants to try alerts finds the faults by their names, one a line."""
    ran = run_mirror("sandbox", "--faults")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == list(FAULTS)
    assert max(map(len, ran.out.splitlines())) <= 80


def test_reading_needs_a_mirror(tmp_path: Path) -> None:
    """Without a mirror the person is told what to run, and no file is left behind."""
    ran = run_mirror("requests", "--database", f"sqlite:///{tmp_path / 'mirror.db'}")
    assert (ran.code, ran.out) == (1, "")
    assert "mirror sync" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_no_password_of_a_database_is_shown() -> None:
    """A Postgres that is not there is a failure for now; no password is shown, wherever it is."""
    for url in (
        "postgresql://me:geheim@127.0.0.1:9/db",
        "postgresql://me@127.0.0.1:9/db?password=geheim",
        "postgresql://me@127.0.0.1:9/db?sslpassword=geheim",
    ):
        for command, code in ((("requests",), 75), (("db", "url"), 0)):
            ran = run_mirror(*command, "--database", url)
            assert ran.code == code
            assert "geheim" not in ran.out + ran.err
            assert "Traceback" not in ran.err


def test_db_commands(database_url: str, tmp_path: Path) -> None:
    """The schema can be made, named and found; a password is not printed, a percent sign is one."""
    assert run_mirror("db", "upgrade", "--database", database_url).code == 0
    again = run_mirror("db", "upgrade", "--database", database_url)
    assert "already" in again.err
    current = run_mirror("db", "current", "--database", database_url)
    assert re.fullmatch(r"\d{4}\n", current.out)
    shown = run_mirror("db", "url", MIRROR_DATABASE_URL="postgresql://me:geheim@host/db")
    assert shown.out == "postgresql://me:***@host/db\n"
    default = run_mirror("db", "url", XDG_DATA_HOME="/somewhere")
    assert default.out == "sqlite:////somewhere/mirror/mirror.db\n"
    folder = tmp_path / "da ta%41"
    assert run_mirror("db", "upgrade", XDG_DATA_HOME=str(folder)).code == 0
    assert (folder / "mirror" / "mirror.db").exists()


def test_hostile_errors(sqlite_mirror: Mirror, tmp_path: Path) -> None:
    """What upstream says of an error is shown without its control characters."""
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"success": False, "message": f"{HOSTILE} {TOKEN}"}))
    sqlite_mirror.sandbox.manner.file = file
    ran = sync(sqlite_mirror)
    assert ran.code == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", ran.err)
    assert TOKEN not in ran.err


# What is drawn

HISTORY, SHARED, LONG, EVIL = (f"+1555000000{number}" for number in range(4))


@pytest.fixture(scope="module")
def here(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The option that names a mirror with all that a terminal may have to draw."""
    with (
        new_database("sqlite", request, ready=True) as url,
        Sandbox(FakeUpstream(), SandboxConfig(token=TOKEN)).running() as sandbox,
    ):
        world = sandbox.upstream
        assert isinstance(world, FakeUpstream)
        mirror = Mirror(url, sandbox, world)
        _load(mirror)
        yield "--database", url


def _load(mirror: Mirror) -> None:
    rejected = request(
        1,
        phone_number=HISTORY,
        requested_at="2023-12-01T09:00:00Z",
        status="rejected",
        resolved_at="2023-12-05T09:00:00Z",
        rejection_reason="There are open invoices",
    )
    again = request(2, phone_number=HISTORY, requested_at="2023-12-20T09:00:00Z")
    others = [
        request(3, phone_number=SHARED),
        request(4, phone_number=LONG, reason="word " * 90, status="rejected")
        | {"rejection_reason": "no " * 50},
        request(5, phone_number=EVIL, reason=HOSTILE, note=HOSTILE),
    ]
    mirror.sync([rejected, again, *others])
    mirror.sync([rejected, again | {"status": "cancelled"}, *others])
    mirror.sync([request(6, phone_number=SHARED)], environment="other")


Pictures = dict[tuple[int | str, ...], str]

WIDTHS_OF = {
    ("requests",): (80, 60),
    ("history", LONG): (80, 60),
    ("history", HISTORY): (80, 40),
    ("history", SHARED): (120,),
    ("requests", "--number", EVIL, "--format", "table"): (80, 200),
    ("requests", "--number", EVIL, "--format", "json"): (80,),
    ("requests", "--number", EVIL, "--format", "csv"): (80,),
}


@pytest.fixture(scope="module")
def pictures(here: tuple[str, str]) -> Pictures:
    """What terminals received, by their width and the command."""
    orders = [(width, *words) for words, widths in WIDTHS_OF.items() for width in widths]
    return dict(zip(orders, drawn(*((*order, *here) for order in orders)), strict=True))


def test_hostile_texts(here: tuple[str, str], pictures: Pictures) -> None:
    """No control character of the data reaches a terminal or breaks a line; JSON keeps the data."""
    command = ("requests", *here, "--number", EVIL)
    lines = run_mirror(*command).out.splitlines()
    assert len(lines) == 2
    assert lines[1].count("\t") == lines[0].count("\t")
    shown = {order: text for order, text in pictures.items() if EVIL in order}
    for order, text in shown.items():
        own = "\n".join(plain(text)) if "table" in order else text
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e]", own), order
        assert "\x1b[31m" not in text
    assert "[bold]" in shown[200, "requests", "--number", EVIL, "--format", "table"]
    (row,) = rows(*command)
    assert row["reason"] == row["extra"]["note"] == HOSTILE


def test_tables_fit_the_terminal(pictures: Pictures) -> None:
    """Drawn tables keep within the terminal's width."""
    for (columns, *command), shown in pictures.items():
        if "csv" not in command and "json" not in command:
            assert max(map(len, plain(shown))) <= int(columns), command


def test_the_time_line_of_a_number(pictures: Pictures) -> None:
    """A terminal shows how long each step took, where another request begins, and what was seen.

    A number that was asked for in two environments has a column that says in which.
    """
    shown, narrow = (pictures[columns, "history", HISTORY] for columns in (80, 40))
    assert "\x1b[31mrejected" in shown
    assert "environment" not in shown
    lines = [line.rstrip() for line in plain(shown)]
    assert lines[0].split() == ["when", "(UTC)", "event", "after", "request", "reason"]
    told = [line.split() for line in lines[2:] if line[:2] == "20"]
    assert [line[2] for line in told] == ["requested", "rejected", "requested", "cancelled"]
    assert told[1][3:5] == ["4", "d"]
    assert told[2][3:5] == ["15", "d"]
    assert told[3][3] == "*"
    assert "open invoices" in " ".join(lines)
    assert lines[-1].startswith("* when a sync saw it")
    gap = lines.index("", 2)
    assert lines[gap + 1].startswith("2023-12-20 09:00  requested")
    assert "after" not in narrow
    assert "rejected" in narrow
    shared = pictures[120, "history", SHARED]
    assert "environment" in shared
    assert "other" in shared


def test_visible() -> None:
    """Only what cannot be seen is escaped."""
    for text in ("plain ñ 漢 🙂", "\x00\x1b\u202e", "\U000e0041"):
        seen = text if text.startswith("plain") else text.encode("unicode_escape").decode()
        assert escape_unsafe(text) == seen


# Help


def commands() -> list[tuple[str, click.Command]]:
    """Every command with its words."""
    found: list[tuple[str, click.Command]] = [("", cli.cli)]
    for name, command in cli.cli.commands.items():
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {inner}", one) for inner, one in command.commands.items()]
    return found


@pytest.mark.parametrize(("words", "command"), commands(), ids=str)
def test_help(words: str, command: click.Command) -> None:
    """Every command says what it does and what its options mean, within 80 columns."""
    ran = run_mirror(*words.split(), "--help", COLUMNS="80")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines())) <= 80
    first = words.split(" ", maxsplit=1)[0]
    assert re.search(rf"^  Example.*: .*mirror {first}", ran.out, re.MULTILINE)
    options = [one for one in command.params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


def test_help_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said without click is what click would say, on a terminal of 80 columns or more."""
    for word in ("--help", "-h"):
        for columns in ("80", "200"):
            monkeypatch.setenv("COLUMNS", columns)
            assert _said_at_once([word]) == run_mirror(word).out, (
                "COLUMNS=80 python -c 'from mirror.cli import main; main()' --help "
                "> mirror/help.txt"
            )
        monkeypatch.setenv("COLUMNS", "60")
        assert _said_at_once([word]) is None
        assert max(map(len, run_mirror(word).out.splitlines())) <= 60
    assert run_process("--help", COLUMNS="80") == run_mirror("--help", COLUMNS="80")


# What only a process has


FULL = r"mirror: the (output|result) could not be written \(No space left on device\)\n"
UNREAD = [
    ("requests", "| head -n 1", {}, 0, ""),  # a pipe that is closed early is no error
    ("sync --json", "| true", NOWHERE, 75, r"mirror: \S.*\n"),
    ("sync --json", ">&-", NOWHERE, 75, r"mirror: \S.*\n"),
    ("sync --json", ">/dev/full", {}, 3, FULL),
    ("requests", ">/dev/full", {}, 1, FULL),
    ("--version", ">/dev/full", {}, 1, FULL),
]


def test_output_that_nobody_takes(sqlite_mirror: Mirror) -> None:
    """Whatever becomes of the output, a sync keeps its exit code, and a full disk is told."""
    sqlite_mirror.sync([request(number, reason="long " * 50) for number in range(2000)])
    sqlite_mirror.world.records.append("junk")
    sqlite_mirror.sandbox.forget()
    for command, redirection, settings, code, said in UNREAD:
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
        assert re.fullmatch(said, done.stderr), done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(errno.ENOENT, "Not there", "/a/file"), "refused /a/file (Not there)"),
        (OSError(errno.EMFILE, "Too many"), "refused something that mirror needs (Too many)"),
        (OSError("no code"), "refused something that mirror needs (without a reason)"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "(Broken pipe)"),
    ],
    ids=repr,
)
def test_an_error_of_the_system_is_not_one_of_the_output(
    monkeypatch: pytest.MonkeyPatch, error: OSError, said: str
) -> None:
    """What is said names what the system refused; a pipe that breaks elsewhere is not hidden."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mirror.db.dictionary.entries", fail)
    ran = run_mirror("db", "describe")
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert "output" not in ran.err
    assert ran.err.count("\n") == 1


class _Output(io.StringIO):
    """A stream that takes all but what is written, or all but the end."""

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
    """Output that cannot be written is told, and output that nobody wants is not."""
    for error, code in (
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0),
    ):
        monkeypatch.setattr(sys, "stdout", _Output(error, at_the_end=at_the_end))
        assert cli.run(command.split()) == code
        told = "mirror: the output could not be written (No space left on device)\n"
        assert capfd.readouterr().err == (told if code else "")


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    """A path that the system does not take is told as that, by all that take one."""
    long = tmp_path / ("x" * 300)
    for arguments, code, said in (
        (("requests", "--database", f"sqlite:///{long}/m.db"), 1, "cannot be accessed (File name"),
        (("db", "upgrade", "--database", f"sqlite:///{long}"), 1, "cannot be accessed (File name"),
        (("requests", "--database", "sqlite:////a%00b"), 1, "cannot be accessed (not a path)"),
        (("doctor", "--database", f"sqlite:///{long}"), 2, "cannot be accessed (File name"),
        (("requests", "--config", str(long)), 2, "cannot be read (File name too long)"),
    ):
        ran = run_mirror(*arguments)
        assert ran.code == code, ran
        assert said in ran.out + ran.err
        assert "Traceback" not in ran.err


def test_a_nul_in_a_url_is_refused() -> None:
    """Nothing in a URL of Postgres can have a NUL in it, so such a URL is a mistake."""
    ran = run_mirror("status", "--database", "postgresql://127.0.0.1:9/x%00y")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "mirror: the database URL cannot be used: there is a NUL (%00) in it\n"


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no current folder, a relative path is told as that."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    for option in (("--database", "sqlite:///relative.db"), ("--config", "relative.toml")):
        ran = run_mirror("status", *option)
        told = "mirror: the folder that this was started in is gone; go to another one\n"
        assert (ran.code, ran.err) == (2, told)


def test_a_sandbox_that_is_refused_gives_its_port_back() -> None:
    """What is wrong with a sandbox leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run_mirror("sandbox", "--port", str(port), "--fault", "hiccups").code == 2
    socket.create_server(("127.0.0.1", port)).close()


def test_json_is_utf_8_in_a_pipe_whatever_the_locale(sqlite_mirror: Mirror) -> None:
    """Programs that read the output need not know the locale of who ran the command."""
    sqlite_mirror.sync([request(1, reason="número não atribuído")])
    surroundings = {"MIRROR_DATABASE_URL": sqlite_mirror.url, "PYTHONIOENCODING": "ascii"}
    ran = run_process("requests", "--format", "json", **surroundings)
    assert json.loads(ran.out)[0]["reason"] == "número não atribuído"


def test_alembic_and_mirror_mean_the_same_database(
    make_database: Callable[[str], str], sandbox: Sandbox, world: FakeUpstream
) -> None:
    """`alembic upgrade head` makes the schema that `mirror sync` then finds in place."""
    code = (
        "import os, sys; from alembic.config import main\n"
        "for os.environ['MIRROR_DATABASE_URL'] in sys.argv[1:]: main(['upgrade', 'head'])"
    )
    urls = [make_database(kind) for kind in DATABASES]
    ran = run_python("-c", code, *urls, cwd=ROOT)
    assert ran.code == 0, ran.err
    world.records = [request(1)]
    for url in urls:
        assert sync(Mirror(url, sandbox, world), "--no-upgrade").code == 0
        assert run_mirror("requests", "--database", url).out.count("\n") == 2
