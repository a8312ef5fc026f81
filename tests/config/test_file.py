"""The configuration file: what it may say, what wins over what, and what is synced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from mirror.config import file as config
from mirror.config import settings, sources
from mirror.config.environments import environments, resolve
from mirror.config.settings import ApiSettings
from mirror.config.sources import SettingSources
from mirror.errors import UsageError
from tests.support.commands import run_mirror
from tests.support.upstream import TOKEN

FILE = """
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
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file, and a token beside it."""

    def write_it(text: str | bytes = FILE) -> Path:
        path = tmp_path / "mirror.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        (tmp_path / "prod.token").write_text(TOKEN)
        return path

    return write_it


def read(path: Path, environ: dict[str, str] | None = None, **options: str) -> SettingSources:
    """What is given by a file, variables and options."""
    return SettingSources(options, environ or {}, config.load(str(path)))


def usable(api: ApiSettings | UsageError) -> ApiSettings:
    """What is no error."""
    assert isinstance(api, ApiSettings), api
    return api


# What it says


def test_everything_a_file_may_say(write: Write, tmp_path: Path) -> None:
    """Database, defaults and environments are read; what an environment says wins over defaults."""
    path = write()
    everything = read(path, {"EU_TOKEN": "talq_of-the-eu"})
    found = sources.find_database(None, {}, everything.file)
    assert found.text == "postgresql://mirror@db.example.com/bi"
    prod, staging = resolve(everything)
    assert (prod.environment, staging.environment) == ("prod", "EU staging")
    api = usable(prod.api)
    assert api.base_url == "https://voice.example.com/api/v1"
    assert (api.token.reveal(), api.rate, api.timeout, api.deadline) == (TOKEN, 1000, 7.5, 900.0)
    api = usable(staging.api)
    assert api.base_url == "https://eu.example.com/api/v1"
    assert (api.token.reveal(), api.rate, api.max_bytes) == ("talq_of-the-eu", 50, 1 << 30)


def test_paths_are_seen_from_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is relative means the same wherever mirror is started; ~ and variables count."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    file = config.load(
        str(
            write(
                'database = "sqlite:///data/mirror.db"\n'
                '[environments.a]\ntoken_file = "a.token"\n'
                '[environments.b]\ntoken_file = "~/b.token"\n'
                '[environments.c]\ntoken_file = "${CREDENTIALS_DIRECTORY}/c"\n'
                '[environments.d]\ntoken_file = "/etc/d"\n'
            )
        )
    )
    assert file.database == f"sqlite:///{tmp_path}/data/mirror.db"
    assert [table.values["token_file"] for table in file.environments.values()] == [
        f"{tmp_path}/a.token",
        "/home/somebody/b.token",
        "/run/credentials/c",
        "/etc/d",
    ]


def test_other_databases_stay_as_they_are(write: Write) -> None:
    """Only a relative path of SQLite is seen from the file."""
    for url in ("sqlite:////var/lib/mirror.db", "postgresql:///bi", "sqlite:///:memory:"):
        assert config.load(str(write(f'database = "{url}"'))).database == url


def test_an_empty_file_says_nothing(write: Write) -> None:
    """An empty file is as good as none, also one that an editor began with a byte-order mark."""
    for text in (b"", b"\xef\xbb\xbf# nothing\n", b"[environments]\n"):
        file = config.load(str(write(text)))
        assert (file.database, dict(file.environments)) == (None, {})
        assert environments(SettingSources({}, {}, file)) == ["default"]


# Where it is


def test_where_the_file_is(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option's file wins over the variable's, and that over the one in the user's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = platformdirs.user_config_path("mirror", appauthor=False)
    folder.mkdir()
    assert config.load(environ={}).path is None
    (folder / "config.toml").write_text('database = "sqlite:////of/the/folder"')
    variable, option = tmp_path / "variable.toml", tmp_path / "option.toml"
    variable.write_text('database = "sqlite:////of/the/variable"')
    option.write_text('database = "sqlite:////of/the/option"')
    environ = {"MIRROR_CONFIG": str(variable)}
    assert config.load(environ={}).database == "sqlite:////of/the/folder"
    assert config.load(environ=environ).database == "sqlite:////of/the/variable"
    assert config.load(str(option), environ).database == "sqlite:////of/the/option"
    assert config.load(environ={"MIRROR_CONFIG": ""}).database == "sqlite:////of/the/folder"
    assert settings.database_url(None, environ) == "sqlite:////of/the/variable"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    """A named file that is not there, or a folder, is an error, and not taken for an empty one."""
    path = str(tmp_path / "nowhere.toml")
    for option in (path, None):
        with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read \(No such file"):
            config.load(option, {"MIRROR_CONFIG": path})
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        config.load(str(tmp_path))


# Precedence


@pytest.mark.parametrize("name", ["rate", "timeout", "deadline", "max_bytes", "base_url"])
def test_what_wins(name: str, write: Write) -> None:
    """Option, variable, table of the environment, defaults, default: the first that is given."""
    values = ["1", "2", "3", "4"]
    if name == "base_url":
        values = [f"https://{value}.example/api/v1" for value in values]
    option, variable, table, defaults = values
    path = write(
        f'[defaults]\n{name} = "{defaults}"\n'
        f'[environments.a]\n{name} = "{table}"\n[environments.b]\n'
    )
    environ = {sources.API_SETTINGS[name].variable: variable}

    def found(environment: str, environ: dict[str, str], **options: str) -> tuple[str, str]:
        one = read(path, environ, **options).find(name, environment)
        return one.text, one.source

    assert found("a", environ, **{name: option}) == (option, sources.option_of(name))
    assert found("a", environ) == (variable, sources.API_SETTINGS[name].variable)
    assert found("a", {}) == (table, f"{name} in [environments.a] of {path}")
    assert found("b", {}) == (defaults, f"{name} in [defaults] of {path}")
    assert SettingSources({}, {}).find(name).source == sources.DEFAULT


def test_what_wins_for_the_database_and_the_token(write: Write, tmp_path: Path) -> None:
    """The option, the variables, the file: the first that names one."""
    path = write("database = 'sqlite:////file'\n[environments.prod]\ntoken_file = 'prod.token'\n")
    file, environ = config.load(str(path)), {"MIRROR_DATABASE_URL": "sqlite:////variable"}
    assert settings.database_url("sqlite:////option", environ, file) == "sqlite:////option"
    assert settings.database_url(None, environ, file) == "sqlite:////variable"
    assert settings.database_url(None, {}, file) == "sqlite:////file"
    other = tmp_path / "other"
    other.write_text("talq_other")

    def token(environ: dict[str, str], **options: str) -> str:
        return settings.read_token(read(path, environ, **options), "prod").reveal()

    both = {"TALKOVER_TOKEN": "talq_variable", "TALKOVER_TOKEN_FILE": str(other)}
    assert token(both, token_file=str(other)) == "talq_other"
    assert token(both) == "talq_variable"
    assert token({"TALKOVER_TOKEN_FILE": str(other)}) == "talq_other"
    assert token({}) == TOKEN


# Which environments


def test_which_environments_are_synced(write: Write) -> None:
    """Those named by options, else by the variable, else all of the file, each once."""
    path = write()
    assert environments(read(path)) == ["prod", "EU staging"]
    assert environments(read(path, {"MIRROR_ENVIRONMENT": "EU staging"})) == ["EU staging"]
    named = ["EU staging", "prod", "EU staging"]
    assert environments(read(path, {"MIRROR_ENVIRONMENT": "prod"}), named) == ["EU staging", "prod"]
    assert environments(SettingSources({}, {}), ["any", "label"]) == ["any", "label"]


def test_an_environment_that_the_file_does_not_have(write: Write) -> None:
    """A mistyped name is not taken for a new label, and a name of the file must be a label."""
    path = write()
    for name, said in (("prd", "did you mean 'prod'?"), ("xyz", "there are prod, EU staging")):
        for environ, named in (({}, [name]), ({"MIRROR_ENVIRONMENT": name}, [])):
            with pytest.raises(UsageError) as raised:
                environments(read(path, environ), named)
            assert said in str(raised.value)
    with pytest.raises(UsageError, match="cannot be the name of an environment"):
        environments(read(write('[environments." x"]\n')))


def test_what_is_wrong_with_one_leaves_the_others(write: Write) -> None:
    """An environment without its token has its reason, the others can be synced."""
    prod, staging = resolve(read(write()))
    assert usable(prod.api).token.reveal() == TOKEN
    assert isinstance(staging.api, UsageError)
    assert "EU_TOKEN is not set" in str(staging.api)
    assert "[environments.EU staging]" in str(staging.api)


@pytest.mark.parametrize("name", ["TALKOVER_TOKEN", "TALKOVER_TOKEN_FILE", "--token-file"])
def test_one_token_does_not_replace_those_of_several(name: str, write: Write) -> None:
    """A variable left over from yesterday does not mix the environments up."""
    environ = {} if name == "--token-file" else {name: TOKEN}
    options = {"token_file": TOKEN} if name == "--token-file" else {}
    with pytest.raises(UsageError, match=f"{name} would give one token to") as raised:
        resolve(read(write(), environ, **options))
    assert TOKEN not in str(raised.value)
    assert len(resolve(read(write(), environ, **options), ["prod"])) == 1


def test_one_token_for_all_that_have_none(write: Write) -> None:
    """Environments without a token in the file, or with the same variable, get the one there is."""
    path = write(
        "[environments.a]\nbase_url = 'https://a.example/api/v1'\n"
        "[environments.b]\nbase_url = 'https://b.example/api/v1'\ntoken_env = 'TALKOVER_TOKEN'\n"
    )
    both = resolve(read(path, {"TALKOVER_TOKEN": TOKEN}))
    assert [usable(one.api).token.reveal() for one in both] == [TOKEN, TOKEN]
    assert all(isinstance(one.api, UsageError) for one in resolve(read(path)))


def test_the_tokens_of_several_hosts_do_not_go_to_one(write: Write) -> None:
    """A base URL for all is refused where the file gives the environments hosts of their own."""
    environ = {"TALKOVER_BASE_URL": "https://one.example/api/v1", "EU_TOKEN": "talq_eu"}
    with pytest.raises(UsageError, match="TALKOVER_BASE_URL would give one host to"):
        resolve(read(write(), environ))
    (only,) = resolve(read(write(), environ), ["prod"])
    assert usable(only.api).base_url == "https://one.example/api/v1"
    path = write("[environments.a]\ntoken_env = 'A'\n[environments.b]\ntoken_env = 'B'\n")
    both = resolve(read(path, environ | {"A": "talq_a", "B": "talq_b"}))
    assert {usable(one.api).base_url for one in both} == {"https://one.example/api/v1"}


# What is refused

WRONG: dict[str, tuple[str | bytes, str]] = {
    "misspelled": ("databse = 'x'", "the unknown key 'databse'; did you mean 'database'?"),
    "singular": ("[environment.prod]", "unknown key 'environment'; did you mean 'environments'?"),
    "in defaults": ("[defaults]\nrat = 1", "unknown key 'rat' in [defaults]; did you mean 'rate'?"),
    "in an environment": (
        "[environments.prod]\nbaseurl = 'x'",
        "unknown key 'baseurl' in [environments.prod]; did you mean 'base_url'?",
    ),
    "like nothing": ("[defaults]\nxyz = 1", "'xyz' in [defaults]; there are base_url, rate"),
    "a token": (f"[environments.prod]\ntoken = '{TOKEN}'", "has a token in [environments.prod]"),
    "a token on top": (f"token = '{TOKEN}'", "has a token, where it must not be"),
    "a token for all": ("[defaults]\ntoken_file = 'x'", "a token belongs to one environment"),
    "two tokens": (
        "[environments.prod]\ntoken_file = 'x'\ntoken_env = 'X'",
        "both token_file and token_env in [environments.prod]",
    ),
    "no table": ("defaults = 1", "a value where the table [defaults] belongs"),
    "no tables": ("[environments]\nprod = 'x'", "where the table [environments.prod] belongs"),
    "a list": ("[defaults]\nrate = [1]", "something else than a text or number as rate"),
    "a truth": ("[defaults]\nrate = true", "something else than a text or number as rate"),
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


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_is_refused(text: str | bytes, said: str, write: Write) -> None:
    """What a file must not say is told with its place and what was meant; a secret is not."""
    path = write(text)
    with pytest.raises(UsageError) as raised:
        config.load(str(path))
    assert said in str(raised.value)
    assert str(path) in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
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
def test_values_that_cannot_be_used(text: str, said: str, write: Write) -> None:
    """A value of the file is checked as that of an option, and the error says where it stands."""
    token = "" if "token" in text else "token_file = 'prod.token'\n"
    (target,) = resolve(read(write(f"[environments.prod]\n{token}{text}\n")))
    assert isinstance(target.api, UsageError)
    assert said in str(target.api)


# On the command line


def test_commands_use_the_file(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that opens the database finds it in the file, and refuses a wrong one.

    What has no option, as `alembic upgrade head`, finds the file by its variable.
    """
    path, url = (
        write('database = "sqlite:///of-the-file.db"'),
        f"sqlite:///{tmp_path}/of-the-file.db",
    )
    assert run_mirror("db", "url", "--config", str(path)).out == f"{url}\n"
    monkeypatch.setenv("MIRROR_CONFIG", str(path))
    assert run_mirror("db", "url").out == f"{url}\n"
    assert settings.database_url(None) == url
    wrong = str(write("databse = 1"))
    for command in ("requests", "changes", "status", "doctor", "sync", "quarantine"):
        ran = run_mirror(command, "--config", wrong)
        assert (ran.code, ran.out) == (2, "")
        assert "did you mean 'database'?" in ran.err
        assert ran.err.count("\n") == 1
