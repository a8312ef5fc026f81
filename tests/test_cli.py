"""The command line, as processes of its own: what it prints where, and how it exits."""

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
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import ROOT, TOKEN, Mirror, request, run_mirror, run_on_a_terminal, run_python

from mirror import cli, output
from mirror.faults import FAULTS

SUMMARY_FIELDS = [
    "run_id", "environment", "outcome", "fetched", "inserted", "updated", "unchanged", "missing",
    "returned", "quarantined", "duplicates", "pages", "bytes", "seconds", "started_at",
    "finished_at", "error",
]  # fmt: skip
HOSTILE = 'a\tb\nc \x1b[31mred\x1b[0m \x9b2J \u202eevil \u200b[bold]x[/] =1+1 " \\ \x7f'


def sync(mirror: Mirror, *options: str, **environment: str) -> Any:
    """Run `mirror sync` against the mirror's upstream."""
    return run_mirror("sync", *options, cwd=None, **(settings_of(mirror) | environment))


def settings_of(mirror: Mirror) -> dict[str, str]:
    """The environment variables of a mirror under test."""
    return {
        "MIRROR_DATABASE_URL": mirror.url,
        "TALKOVER_BASE_URL": mirror.sandbox.base_url,
        "TALKOVER_TOKEN": TOKEN,
    }


def on_a_terminal(*arguments: str, columns: int = 80) -> str:
    """Run a command on a terminal; return what it wrote there."""
    ran, shown = run_on_a_terminal("-m", "mirror", *arguments, COLUMNS=str(columns))
    assert ran.code == 0, ran.err
    return shown


def test_sync_and_read(mirror: Mirror) -> None:
    """The documented life of a request, told by the commands alone."""
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
    (change,) = json.loads(run_mirror("changes", *database, "--format", "json").out)
    assert (change["kind"], change["new_resolved_at"]) == ("resolved", "2024-01-12T09:00:00Z")
    (row,) = csv.DictReader(
        io.StringIO(
            run_mirror("requests", *database, "--format", "csv", "--status", "approved").out
        )
    )
    assert (row["id"], row["resolved_at"]) == ("request-1", "2024-01-12T09:00:00Z")
    assert run_mirror("requests", *database, "--since", "2024-01-11").out.count("\n") == 1
    as_of = run_mirror("requests", *database, "--as-of", summary["finished_at"], "--format", "json")
    assert [one["status"] for one in json.loads(as_of.out)] == ["pending"]


def test_exit_codes(mirror: Mirror, tmp_path: Path) -> None:
    """Each way to end has the exit code of the contract, and one sentence on stderr."""
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
    nowhere = {"TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1", "MIRROR_DEADLINE": "1"}
    unreachable = sync(mirror, "--json", **nowhere)
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
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
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Bad input is refused with its reason, exit code 2, and no traceback."""
    url = f"sqlite:///{tmp_path / 'mirror.db'}"
    assert run_mirror("db", "upgrade", "--database", url).code == 0
    ran = run_mirror(*arguments, MIRROR_DATABASE_URL=url, TALKOVER_TOKEN=TOKEN)
    assert (ran.code, ran.out) == (2, "")
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


def test_unreachable_database() -> None:
    """A Postgres that is not there is a failure for now, and its password is not shown."""
    ran = run_mirror("requests", "--database", "postgresql://me:geheim@127.0.0.1:9/db")
    assert ran.code == 75
    assert "geheim" not in ran.err
    assert "Traceback" not in ran.err


def test_db_commands(mirror: Mirror) -> None:
    """The schema can be made, named and found; a password is not printed."""
    assert run_mirror("db", "upgrade", "--database", mirror.url).code == 0
    again = run_mirror("db", "upgrade", "--database", mirror.url)
    assert "already" in again.err
    current = run_mirror("db", "current", "--database", mirror.url)
    assert re.fullmatch(r"\d{4}\n", current.out)
    shown = run_mirror("db", "url", MIRROR_DATABASE_URL="postgresql://me:geheim@host/db")
    assert shown.out == "postgresql://me:***@host/db\n"
    default = run_mirror("db", "url", XDG_DATA_HOME="/somewhere")
    assert default.out == "sqlite:////somewhere/mirror/mirror.db\n"


def test_hostile_texts(mirror: Mirror) -> None:
    """No control character of the data reaches a terminal or breaks a line; JSON keeps the data."""
    mirror.sync([request(1, reason=HOSTILE, note=HOSTILE)])
    database = ("--database", mirror.url)
    lines = run_mirror("requests", *database).out.splitlines()
    assert len(lines) == 2
    assert lines[1].count("\t") == lines[0].count("\t")
    for form in ("table", "json", "csv"):
        drawn = on_a_terminal("requests", *database, "--format", form)
        own = re.sub(r"\x1b\[[0-9;]*m", "", drawn) if form == "table" else drawn
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e]", own), form
        assert "\x1b[31m" not in drawn
    assert "[bold]" in on_a_terminal("requests", *database, columns=200)
    (row,) = json.loads(run_mirror("requests", *database, "--format", "json").out)
    assert row["reason"] == row["extra"]["note"] == HOSTILE
    (read,) = csv.DictReader(
        io.StringIO(run_mirror("requests", *database, "--format", "csv").out, newline="")
    )
    assert read["reason"] == HOSTILE


def test_hostile_errors(mirror: Mirror, tmp_path: Path) -> None:
    """What upstream says of an error is shown without its control characters."""
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"success": False, "message": f"{HOSTILE} {TOKEN}"}))
    mirror.sandbox.manner.file = file
    ran = sync(mirror)
    assert ran.code == 1
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", ran.err)
    assert TOKEN not in ran.err


@pytest.mark.parametrize("columns", [80, 60])
def test_tables_fit_the_terminal(mirror: Mirror, columns: int) -> None:
    """Drawn tables keep within the terminal's width."""
    mirror.sync([request(1, reason="word " * 90, status="rejected", rejection_reason="no " * 50)])
    for command in (("requests",), ("history", request(1)["phone_number"])):
        drawn = on_a_terminal(*command, "--database", mirror.url, columns=columns)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", drawn).splitlines()
        assert max(map(len, lines)) <= columns


def test_output_that_nobody_reads(mirror: Mirror) -> None:
    """A pipe that is closed early, as by head, is no error."""
    mirror.sync([request(number, reason="long " * 50) for number in range(2000)])
    with subprocess.Popen(
        [sys.executable, "-m", "mirror", "requests", "--database", mirror.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


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
    assert re.search(
        rf"^  Example.*: .*mirror {words.split(' ', maxsplit=1)[0]}", ran.out, re.MULTILINE
    )
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_said_at_once(word: str) -> None:
    """What is said without click is what click would say, on a terminal of 80 columns or more."""
    anew = f"import sys; sys.argv[1:] = [{word!r}]; from mirror.cli import main; main()"
    for columns in ("80", "200"):
        by_click = run_python("-c", anew, COLUMNS=columns)
        said = run_mirror(word, COLUMNS=columns)
        assert by_click.code == said.code == 0
        assert said.out == by_click.out, (
            "COLUMNS=80 python -c 'from mirror.cli import main; main()' --help > mirror/help.txt"
        )
    narrow = run_mirror(word, COLUMNS="60")
    assert narrow.code == 0
    assert max(map(len, narrow.out.splitlines())) <= 60


def test_what_is_said_at_once_can_fail_too() -> None:
    """Output that cannot be written is told as by every other command."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mirror", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "mirror: the output could not be written (No space left on device)\n"


def test_alembic_and_mirror_mean_the_same_database(mirror: Mirror) -> None:
    """`alembic upgrade head` makes the schema that `mirror sync` then finds in place."""
    environment = os.environ | {"MIRROR_DATABASE_URL": mirror.url}
    for words in (("upgrade", "head"), ("check",)):
        subprocess.run(
            [sys.executable, "-m", "alembic", *words],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )
    mirror.world.records = [request(1)]
    assert sync(mirror, "--no-upgrade").code == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ñ 漢 🙂", "plain ñ 漢 🙂"),
        ("\x00\x1b\u202e", "\\x00\\x1b\\u202e"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    """Only what cannot be seen is escaped."""
    assert output.visible(text) == shown


def test_output_that_cannot_be_written(mirror: Mirror) -> None:
    """A full disk under the output is told in a sentence, and the exit code is that of the sync."""
    mirror.world.records = [request(1), "junk"]
    environment = os.environ | settings_of(mirror)
    with Path("/dev/full").open("wb") as full:
        for command, code in ((("sync", "--json"), 3), (("requests",), 1)):
            done = subprocess.run(
                [sys.executable, "-m", "mirror", *command],
                env=environment,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
                timeout=60,
            )
            assert (done.returncode, done.stderr.count("\n")) == (code, 1)
            assert "could not be written (No space left on device)" in done.stderr


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

    monkeypatch.setattr("mirror.dictionary.entries", fail)
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
        (("requests", "--database", f"sqlite:///{long}/m.db"), 1, "cannot be looked at (File name"),
        (("db", "upgrade", "--database", f"sqlite:///{long}"), 1, "cannot be looked at (File name"),
        (("requests", "--database", "sqlite:////a%00b"), 1, "cannot be looked at (it is none)"),
        (("doctor", "--database", f"sqlite:///{long}"), 2, "cannot be looked at (File name"),
        (("requests", "--config", str(long)), 2, "cannot be read (File name too long)"),
    ):
        ran = run_mirror(*arguments)
        assert ran.code == code, ran
        assert said in ran.out + ran.err
        assert "Traceback" not in ran.err


def test_a_sandbox_that_is_refused_gives_its_port_back() -> None:
    """What is wrong with a sandbox leaves no socket open."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert run_mirror("sandbox", "--port", str(port), "--fault", "hiccups").code == 2
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("redirection", ["| true", ">&-"])
def test_a_failed_sync_is_none_to_nobody(redirection: str, tmp_path: Path) -> None:
    """A failure keeps its exit code also if nobody reads what the command prints."""
    line = f"{sys.executable} -m mirror sync --json {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        env=os.environ
        | {
            "MIRROR_DATABASE_URL": f"sqlite:///{tmp_path / 'mirror.db'}",
            "TALKOVER_BASE_URL": "http://127.0.0.1:9/api/v1",
            "TALKOVER_TOKEN": TOKEN,
            "MIRROR_DEADLINE": "0.1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 75
    assert "Traceback" not in done.stderr


def test_json_is_utf_8_in_a_pipe_whatever_the_locale(mirror: Mirror) -> None:
    """Programs that read the output need not know the locale of who ran the command."""
    mirror.sync([request(1, reason="número não atribuído")])
    done = subprocess.run(
        [sys.executable, "-m", "mirror", "requests", "--format", "json"],
        env=os.environ | {"MIRROR_DATABASE_URL": mirror.url, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)[0]["reason"] == "número não atribuído"


@pytest.mark.parametrize("parameter", ["password", "sslpassword"])
def test_no_password_of_a_url_is_shown(parameter: str) -> None:
    """A password in the parameters of a URL is as secret as one before the host."""
    url = f"postgresql://me@127.0.0.1:9/db?{parameter}=geheim"
    for command in (("requests",), ("db", "url")):
        ran = run_mirror(*command, "--database", url)
        assert "geheim" not in ran.out + ran.err
        assert "Traceback" not in ran.err


def test_a_percent_sign_in_the_path_is_one(tmp_path: Path) -> None:
    """The default database lies in the data folder, whatever that is called."""
    folder = tmp_path / "da ta%41"
    ran = run_mirror("db", "upgrade", XDG_DATA_HOME=str(folder))
    assert ran.code == 0
    assert (folder / "mirror" / "mirror.db").exists()


def test_the_time_line_of_a_number(mirror: Mirror) -> None:
    """A terminal shows how long each step took, where another request begins, and what was seen."""
    first = request(1, requested_at="2023-12-01T09:00:00Z")
    second = request(2, requested_at="2023-12-20T09:00:00Z", phone_number=first["phone_number"])
    rejected = first | {
        "status": "rejected",
        "resolved_at": "2023-12-05T09:00:00Z",
        "rejection_reason": "There are open invoices",
    }
    mirror.sync([rejected, second])
    mirror.sync([rejected, second | {"status": "cancelled"}])
    command = ("history", first["phone_number"], "--database", mirror.url)
    drawn = on_a_terminal(*command)
    assert "\x1b[31mrejected" in drawn
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", drawn).splitlines()]
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
    narrow = on_a_terminal(*command, columns=40)
    assert "after" not in narrow
    assert "rejected" in narrow


def test_the_time_line_tells_environments_apart(mirror: Mirror) -> None:
    """A number that was asked for in two environments has a column that says in which."""
    mirror.sync([request(1)])
    command = ("history", request(1)["phone_number"], "--database", mirror.url)
    assert "environment" not in on_a_terminal(*command)
    mirror.sync([request(2, phone_number=request(1)["phone_number"])], environment="other")
    drawn = on_a_terminal(*command, columns=120)
    assert "environment" in drawn
    assert "other" in drawn
