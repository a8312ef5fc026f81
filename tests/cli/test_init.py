"""`mirror init`: what it writes, asks, refuses and prints."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.cli.prompt import can_ask
from mirror.config import file as config
from mirror.sandbox.server import Sandbox
from mirror.setup.installation import program
from mirror.setup.schedule import crontab
from tests.support.commands import Ran, run_mirror
from tests.support.terminals import converse
from tests.support.upstream import TOKEN


class Home:
    """A home folder without any settings.

    Args:
        path: of the folder.
        sandbox: the API.
    """

    def __init__(self, path: Path, sandbox: Sandbox) -> None:
        self.path = path
        self.base_url = sandbox.base_url
        self.environment = {
            "HOME": str(path),
            "XDG_CONFIG_HOME": str(path / ".config"),
            "XDG_DATA_HOME": str(path / ".data"),
        }
        self.config = path / ".config" / "mirror" / "config.toml"
        self.database = f"sqlite:///{path / '.data' / 'mirror' / 'mirror.db'}"

    def run(self, *arguments: str, typed: str = "", **environment: str) -> Ran:
        """Run a command of `mirror`, without a terminal."""
        return run_mirror(*arguments, cwd=self.path, typed=typed, **self.environment | environment)

    def init(self, *options: str, **environment: str) -> Ran:
        """Run `mirror init` with the defaults of what is not given."""
        url = {"TALKOVER_BASE_URL": self.base_url}
        return self.run("init", "--yes", *options, **url | environment)

    def files(self) -> dict[str, bytes]:
        """The content of each file, by its path in the home folder."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in self.path.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the token, outside the home folder."""
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path, sandbox: Sandbox) -> Home:
    """A new home folder, and an API."""
    return Home(tmp_path, sandbox)


def written(text: str) -> dict[str, bytes]:
    """The file of the token, and that of the settings, with a new line for each `|`."""
    return {
        ".config/mirror/default.token": f"{TOKEN}\n".encode(),
        ".config/mirror/config.toml": text.replace("|", "\n").encode(),
    }


def test_without_a_terminal(home: Home) -> None:
    """Options and variables are enough; the schedule alone is on stdout; a sync then works.

    All files are private, and the token is in its file alone.
    """
    ran = home.init(TALKOVER_TOKEN=TOKEN)
    assert (ran.code, ran.out) == (0, crontab(program(), home.config)), ran.err
    assert TOKEN not in ran.err
    assert home.files() == written(
        f'database = "{home.database}"||[environments.default]|base_url = "{home.base_url}"|'
        'token_file = "default.token"|'
    )
    modes = {stat.S_IMODE(path.stat().st_mode) for path in home.config.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(home.config.parent.stat().st_mode) == 0o700
    assert home.run("sync").code == 0
    assert home.run("doctor").code == 0


def test_it_can_be_run_again(home: Home) -> None:
    """A second run writes nothing, and checks; what contradicts the file is refused."""
    token = {"TALKOVER_TOKEN": TOKEN}
    first = home.init(**token)
    before = home.files()
    again = home.run("init", "--environment", "default", "--scheduler", "systemd")
    assert again.code == 0
    assert "default is in " in again.err
    assert f"\nUser={pwd.getpwuid(os.getuid()).pw_name}\nExecStart={program()[0]} " in again.out
    assert home.init("--environment", "default", **token).out == first.out
    for options, variables in (
        ((), {"TALKOVER_TOKEN": "talq_another"}),
        (("--base-url", "https://other.example/api/v1"), {}),
        (("--database", "another.db"), {}),
    ):
        ran = home.init("--environment", "default", *options, **variables)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert "another" in ran.err
    assert home.files() == before


def test_what_is_missing(home: Home, token_file: Path) -> None:
    """Without a terminal one sentence names all that is missing; with --yes only the token is."""
    ran = home.run("init")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "mirror: nobody can be asked, and --environment, --base-url, --token-file (or "
        "TALKOVER_TOKEN) and --database are missing; give them, or --yes to take the defaults of "
        "all but the token\n"
    )
    ran = home.run("init", "--yes")
    assert (ran.code, ran.err) == (
        2,
        "mirror: nobody can be asked, and --token-file (or TALKOVER_TOKEN) is missing; give it\n",
    )
    assert home.files() == {}
    home.config.parent.mkdir(parents=True)
    home.config.write_text("[environments.prod]\n")
    ran = home.init("--token-file", str(token_file))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "--environment is missing; give it; " in ran.err
    assert ran.err.endswith("config.toml has prod\n")


UNUSABLE = [
    (("--base-url", "http://example.com/api/v1"), TOKEN, "unencrypted"),
    ((), "two words", "a space"),
    ((), "", "standard input is empty"),
    (("--environment", " "), TOKEN, "cannot be the name"),
    (("--database", "/dev/null/mirror.db"), TOKEN, "cannot be created"),
    (("--database", "/proc/mirror.db"), TOKEN, "cannot be written"),
    (("--database", "mysql://db.example.com/bi"), TOKEN, "not supported"),
    (("--database", "postgresql://me:hid%den@127.0.0.1:1/bi"), TOKEN, "unavailable"),
    (("--config", "/proc/config.toml"), TOKEN, "cannot be written"),
    (("--config", "/dev/null"), TOKEN, "is not a file"),
    (("--config", "a\nb"), TOKEN, "invisible characters"),
    (("--token-file", "nowhere"), "", "cannot be read"),
    (("--token-file", "$HOME.token"), "", "a path with a $ cannot stand as token_file"),
    (("--token-file", "pipe"), "", "is a pipe that nobody writes to"),
    (("--database", "host=x password=s3cr"), TOKEN, "neither a URL nor the path of a file"),
    (("--database", "./s3cr PASSWORD = s3cr"), TOKEN, "neither a URL nor the path of a file"),
]


def test_what_cannot_be_used(home: Home) -> None:
    """A bad value is one sentence and exit code 2, and no file is left."""
    (home.path / "$HOME.token").write_text(TOKEN)
    os.mkfifo(home.path / "pipe")
    url = {"TALKOVER_BASE_URL": home.base_url}
    for options, typed, found in UNUSABLE:
        arguments = ("init", "--yes", "--token-file", "-", *options)
        ran = home.run(*arguments, typed=typed, **url)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
        assert found in ran.err
        assert "hid%den" not in ran.err
        assert "s3cr" not in ran.err
        assert home.files().keys() == {"$HOME.token"}


def test_a_pipe_and_a_folder_with_a_dollar_sign(home: Home) -> None:
    """What a pipe held is stored; a `$` in the folder of the file is no variable.

    That there is no database yet is no warning here.
    """
    reading, writing = os.pipe()
    os.write(writing, f"{TOKEN}\n".encode())
    os.close(writing)
    file = home.path / "$HOME" / "config.toml"
    ran = home.init("--config", str(file), "--token-file", f"/dev/fd/{reading}")
    os.close(reading)
    assert ran.code == 0, ran.err
    assert (file.parent / "default.token").read_text() == f"{TOKEN}\n"
    assert "does not exist yet; the first sync creates it" in ran.err
    assert "warning" not in ran.err
    assert home.run("sync", "--config", str(file)).code == 0


def test_the_variable_of_a_sandbox(home: Home) -> None:
    """The error says where an unusable configuration file comes from."""
    ran = home.init(TALKOVER_TOKEN=TOKEN, MIRROR_CONFIG=os.devnull)
    assert ran.code == 2
    assert "is not a file (from the variable MIRROR_CONFIG, which `mirror sandbox`" in ran.err
    assert "unset MIRROR_CONFIG" in ran.err


def test_a_failed_check(home: Home) -> None:
    """The exit code is that of the doctor; the files stay, and the message has the next command."""
    ran = home.init(TALKOVER_TOKEN="talq_wrong")
    assert (ran.code, ran.out) == (77, "")
    assert ran.err.splitlines()[-1].endswith(" init --environment default")
    token_file = home.config.with_name("default.token")
    token_file.write_text(TOKEN)
    ran = home.run("init", "--environment", "default")
    assert (ran.code, ran.out) == (0, crontab(program(), home.config))


@pytest.mark.parametrize(
    ("before", "mode"),
    [
        (b'# ours\ndatabase = "sqlite:///m.db" # kept\n\n[environments.prod]\n', 0o640),
        (b"\xef\xbb\xbf# no new line at the end\n[environments.prod]\nrate = 7", 0o600),
        (b"# of Windows\r\n[defaults]\r\nrate = 7\r\n", 0o644),
        (b"", 0o600),
    ],
)
def test_a_file_that_exists(home: Home, before: bytes, mode: int) -> None:
    """An environment is added; comments, other settings and the mode stay."""
    home.config.parent.mkdir(parents=True)
    home.config.write_bytes(before)
    home.config.chmod(mode)
    old = config.load(str(home.config))
    name = 'customer "7"/é'
    ran = home.init("--environment", name, TALKOVER_TOKEN=TOKEN)
    assert ran.code == 0, ran.err
    assert before.removeprefix(b"\xef\xbb\xbf") in home.config.read_bytes()
    assert stat.S_IMODE(home.config.stat().st_mode) == mode
    new = config.load(str(home.config))
    assert new.environments.keys() == {*old.environments, name}
    assert new.defaults == old.defaults
    assert new.database is not None
    assert new.database.text == (old.database.text if old.database else home.database)
    added = {key: setting.text for key, setting in new.table(name).items()}
    token_file = home.config.with_name("customer-7.token")
    assert added == {"base_url": home.base_url, "token_file": str(token_file)}
    assert token_file.read_text() == f"{TOKEN}\n"


def test_a_file_that_cannot_be_added_to(home: Home) -> None:
    """Where a table at the end would be an error, nothing is written."""
    home.config.parent.mkdir(parents=True)
    home.config.write_text("environments = {}\n")
    before = home.files()
    ran = home.init("--environment", "new", TALKOVER_TOKEN=TOKEN)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "add it by hand" in ran.err
    assert home.files() == before


def test_files_are_not_replaced(home: Home, token_file: Path) -> None:
    """A file with the name of a new one is left alone; a given token file stays where it is."""
    home.config.parent.mkdir(parents=True)
    other = home.config.with_name("prod.token")
    other.write_text("talq_other")
    assert home.init("--environment", "prod", TALKOVER_TOKEN=TOKEN).code == 0
    assert other.read_text() == "talq_other"
    assert home.config.with_name("prod-2.token").read_text() == f"{TOKEN}\n"
    before = home.files()
    same = home.init("--environment", "b", "--token-file", str(token_file))
    draft = home.config.with_name(".config.toml.new")
    assert not draft.exists()
    draft.touch()
    busy = home.init("--environment", "b", "--token-file", str(token_file))
    draft.unlink()
    for ran, found in ((same, "have the same token"), (busy, f"delete {draft}")):
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert found in ran.err
    assert home.files() == before
    home.config.unlink()
    assert home.init("--token-file", str(token_file)).code == 0
    assert config.load(str(home.config)).table("default")["token_file"].text == str(token_file)


def test_the_password_of_postgres(home: Home, make_database: Callable[[str], str]) -> None:
    """It has a file of its own, which libpq reads; no other file, output or message has it."""
    url = make_database("postgresql")
    separator = "&" if "?" in url else "?"
    ran = home.init(
        TALKOVER_TOKEN=TOKEN, MIRROR_DATABASE_URL=f"{url}{separator}password=pass%3Aw%5Cord"
    )
    assert ran.code == 0, ran.err
    passfile = home.config.with_name("database.pgpass")
    assert passfile.read_text() == r"*:*:*:*:pass\:w\\ord" + "\n"
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    assert "pass:w" not in ran.out + ran.err + home.config.read_text()
    database = config.load(str(home.config)).database
    assert database is not None
    assert "passfile=" in database.text
    assert f"configuration\t\t{home.config}\t" in ran.err
    assert home.run("sync").code == 0
    before = home.files()
    again = home.init("--environment", "default", MIRROR_DATABASE_URL=url)
    assert (again.code, home.files()) == (0, before)


def test_on_a_terminal(home: Home) -> None:
    """Each setting is asked for, a bad answer again; the token is not shown, and nothing else."""
    answers = [
        ("Name of the environment [default]: ", "\n"),
        ("Base URL of the API [https://app.talkover.ai/api/v1]: ", "http://example.com\n"),
        ("Base URL of the API", f"{home.base_url}\n"),
        ("API token (hidden): ", "two words\n"),
        ("API token (hidden): ", "talq_wrong\n"),
        ("API token (hidden): ", f"{TOKEN}\n"),
        ("Database (", "/dev/null/mirror.db\n"),
        ("Database (", "\n"),
    ]
    code, received = converse(["init"], answers, **home.environment)
    assert code == 0, received
    assert crontab([sys.executable, "-m", "mirror"], home.config) in received
    assert TOKEN not in received
    assert "two words" not in received
    assert home.files() == written(
        f'database = "{home.database}"||[environments.default]|base_url = "{home.base_url}"|'
        'token_file = "default.token"|'
    )
    before = home.files()
    answers = [
        (" has default): ", "dev\n"),
        ("Base URL", f"{home.base_url}\n"),
        ("API token", "\x03"),
    ]
    code, received = converse(["init"], answers, **home.environment)
    assert (code, received.splitlines()[-1]) == (1, "mirror: interrupted")
    assert home.files() == before


def test_a_closed_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be asked if a standard stream is closed."""
    monkeypatch.setattr("sys.stdin", None)
    assert not can_ask()
