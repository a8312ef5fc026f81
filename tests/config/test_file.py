"""The configuration file: what it may contain, where it is, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from mirror.config import settings
from mirror.config.environments import environment_names, resolve
from mirror.config.file import load
from mirror.config.settings import ApiSettings
from mirror.errors import UsageError
from tests.support.commands import run_mirror
from tests.support.settings import sources
from tests.support.upstream import TOKEN

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file, and a token beside it."""

    def write_file(text: str | bytes) -> Path:
        path = tmp_path / "mirror.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        (tmp_path / "prod.token").write_text(TOKEN)
        return path

    return write_file


def test_all_keys(write: Write) -> None:
    """Database, defaults and environments are read; an environment's value wins over defaults."""
    path = write("""
        database = "postgresql://mirror@db.example.com/bi"
        [defaults]
        rate = 50
        timeout = 7.5
        [environments.prod]
        base_url = "https://voice.example.com/api/v1"
        token_file = "prod.token"
        rate = 1000
        [environments."EU staging"]
        base_url = "https://eu.example.com/api/v1"
        token_env = "EU_TOKEN"
        """)
    given = sources({"EU_TOKEN": "talq_of-the-eu"}, path)
    assert given.resolve_database().text == "postgresql://mirror@db.example.com/bi"
    prod, staging = resolve(given)
    assert (prod.environment, staging.environment) == ("prod", "EU staging")
    assert isinstance(prod.api, ApiSettings)
    assert isinstance(staging.api, ApiSettings)
    assert prod.api.base_url == "https://voice.example.com/api/v1"
    assert prod.api.token.reveal() == TOKEN
    assert (prod.api.rate, prod.api.timeout, prod.api.deadline) == (1000, 7.5, 900.0)
    assert staging.api.base_url == "https://eu.example.com/api/v1"
    assert staging.api.token.reveal() == "talq_of-the-eu"
    assert (staging.api.rate, staging.api.max_bytes) == (50, 1 << 30)


def test_paths_are_relative_to_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path means the same wherever mirror is started; ~ and variables are expanded."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    paths = {
        "a.token": f"{tmp_path}/a.token",
        "~/b.token": "/home/somebody/b.token",
        "$CREDENTIALS_DIRECTORY/c": "/run/credentials/c",
        "${CREDENTIALS_DIRECTORY}/d": "/run/credentials/d",
        "/etc/e": "/etc/e",
    }
    tables = (f'[environments.e{n}]\ntoken_file = "{path}"\n' for n, path in enumerate(paths))
    file = load(str(write("".join(tables))))
    read = [table["token_file"].text for table in file.environments.values()]
    assert read == list(paths.values())


def test_only_a_relative_path_of_sqlite_is_relative_to_the_file(
    write: Write, tmp_path: Path
) -> None:
    """Other URLs of databases stay as they are."""
    urls = ("sqlite:////var/lib/mirror.db", "postgresql:///bi", "sqlite:///:memory:")
    for url, expected in [
        ("sqlite:///data/mirror.db", f"sqlite:///{tmp_path}/data/mirror.db"),
        *zip(urls, urls, strict=True),
    ]:
        database = load(str(write(f'database = "{url}"'))).database
        assert database is not None
        assert database.text == expected


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf# nothing\n", b"[environments]\n"])
def test_an_empty_file(text: bytes, write: Write) -> None:
    """An empty file is as good as none, also one that an editor began with a byte-order mark."""
    file = load(str(write(text)))
    assert (file.database, dict(file.environments)) == (None, {})
    assert environment_names(file) == ["default"]


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option's file wins over the variable's, and that over the one in the user's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = platformdirs.user_config_path("mirror", appauthor=False)
    folder.mkdir()
    assert load(environ={}).path is None
    paths = [folder / "config.toml", tmp_path / "variable.toml", tmp_path / "option.toml"]
    for path in paths:
        path.write_text(f'database = "sqlite:////of/{path.name}"')
    user, variable, option = paths
    assert load(environ={}).path == user
    assert load(environ={"MIRROR_CONFIG": ""}).path == user
    environ = {"MIRROR_CONFIG": str(variable)}
    assert load(environ=environ).path == variable
    assert load(str(option), environ).path == option
    assert settings.database_url(None, environ) == "sqlite:////of/variable.toml"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A named file that does not exist, or is a folder, is an error, not an empty file."""
    path = str(tmp_path / "nowhere.toml")
    for option in (path, None):
        with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read \(No such file"):
            load(option, {"MIRROR_CONFIG": path})
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        load(str(tmp_path))


INVALID: dict[str, tuple[str | bytes, str]] = {
    "misspelled": ("databse = 'x'", "the unknown key 'databse'; did you mean 'database'?"),
    "singular": ("[environment.prod]", "unknown key 'environment'; did you mean 'environments'?"),
    "in defaults": ("[defaults]\nrat = 1", "unknown key 'rat' in [defaults]; did you mean 'rate'?"),
    "in an environment": (
        "[environments.prod]\nbaseurl = 'x'",
        "unknown key 'baseurl' in [environments.prod]; did you mean 'base_url'?",
    ),
    "like nothing": ("[defaults]\nxyz = 1", "'xyz' in [defaults]; there are base_url, rate"),
    "a token": (
        f"[environments.prod]\ntoken = '{TOKEN}'",
        "contains a token in [environments.prod]; move it",
    ),
    "a token on top": (f"token = '{TOKEN}'", "contains a token; move it to a file"),
    "a token for all": ("[defaults]\ntoken_file = 'x'", "a token belongs to one environment"),
    "two tokens": (
        "[environments.prod]\ntoken_file = 'x'\ntoken_env = 'X'",
        "both token_file and token_env in [environments.prod]",
    ),
    "no table": ("defaults = 1", "a value where the table [defaults] belongs"),
    "no tables": ("[environments]\nprod = 'x'", "where the table [environments.prod] belongs"),
    "a list": ("[defaults]\nrate = [1]", "something else than a text or number as rate"),
    "a boolean": ("[defaults]\nrate = true", "something else than a text or number as rate"),
    "empty": ("[defaults]\nbase_url = ''", "an empty base_url in [defaults]"),
    "no URL": ("database = 1", "does not have a URL as database"),
    "no TOML": ("[defaults]\nrate = 1\n\ntimeout = x\n\n[environments]", "is not TOML: see line 4"),
    "no end": ("[defaults]\nrate = 1\ntimeout = '''1\n\n\n", "is not TOML: see line 3"),
    "long and no TOML": ("\n" * 1001 + "x", "is not TOML"),
    "too many digits": ("[defaults]\nrate = " + "9" * 5000, "is not TOML: see line 2"),
    "too large a number": ("[defaults]\nrate = 0x" + "f" * 5000, "too large a number as rate"),
    "too deep": ("x = " + "[" * 9999, "is nested too deeply"),
    "not UTF-8": (b"# \xff", "is not UTF-8"),
    "twice": ("[defaults]\n[defaults]\n", "is not TOML: see line 2"),
    "too large": ("#" * (1 << 20) + "\n\n", "is larger than 1,048,576 bytes"),
}


@pytest.mark.parametrize(("text", "message"), INVALID.values(), ids=INVALID)
def test_invalid_files(text: str | bytes, message: str, write: Write) -> None:
    """The error names the file, the place and the nearest known name, and never shows a token."""
    path = write(text)
    with pytest.raises(UsageError) as raised:
        load(str(path))
    assert message in str(raised.value)
    assert str(path) in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate = 0", "--rate takes a positive whole number, not '0' (rate in [environments.prod]"),
        ("rate = 1.5", "--rate takes a positive whole number, not '1.5'"),
        ("base_url = 'http://voice.example.com/api/v1'", "unencrypted"),
        ('token_file = "a\\u0000b"', "cannot be read (no file can have such a name)"),
        ("token_file = 'nowhere'", "the token file of token_file in [environments.prod]"),
        ("token_file = '$NOT_SET/token'", "the variable NOT_SET is not set"),
        ("token_env = 'NOT_SET'", "the variable NOT_SET is not set"),
    ],
)
def test_invalid_values(text: str, message: str, write: Write) -> None:
    """A value of the file is checked like an option's, and the error names its place."""
    token = "" if "token" in text else "token_file = 'prod.token'\n"
    (prod,) = resolve(sources({}, write(f"[environments.prod]\n{token}{text}\n")))
    assert isinstance(prod.api, UsageError)
    assert message in str(prod.api)


def test_commands_use_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that opens the database finds it in the file, and refuses an invalid file.

    What has no option, as `alembic upgrade head`, finds the file by its variable.
    """
    path, url = write('database = "sqlite:///in-file.db"'), f"sqlite:///{tmp_path}/in-file.db"
    assert run_mirror("db", "url", "--config", str(path)).out == f"{url}\n"
    monkeypatch.setenv("MIRROR_CONFIG", str(path))
    assert run_mirror("db", "url").out == f"{url}\n"
    assert settings.database_url() == url
    invalid = str(write("databse = 1"))
    for command in ("requests", "changes", "status", "doctor", "sync", "quarantine"):
        ran = run_mirror(command, "--config", invalid)
        assert (ran.code, ran.out) == (2, "")
        assert "did you mean 'database'?" in ran.err
        assert ran.err.count("\n") == 1
