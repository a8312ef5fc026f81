"""Precedence of settings, setting by setting, as the command line and Python programs see it."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from mirror.config import settings
from mirror.config.file import load
from mirror.config.sources import API_DEFAULTS, DEFAULT, VARIABLES, option_name
from tests.support.settings import environments, sources
from tests.support.upstream import TOKEN


@pytest.mark.parametrize("name", API_DEFAULTS)
def test_settings_of_the_api(name: str, tmp_path: Path) -> None:
    """Option, variable, the environment's table, defaults, built-in default; empty is not given."""
    path = tmp_path / "mirror.toml"
    path.write_text(f'[defaults]\n{name} = "4"\n[environments.a]\n{name} = "3"\n[environments.b]\n')
    option, variable = option_name(name), VARIABLES[name]

    def resolved(
        environment: str, environ: dict[str, str], file: Path | None = path, /, **options: str
    ) -> tuple[str, str]:
        setting = sources(environ, file, **options).resolve(name, environment)
        return setting.text, setting.source

    assert resolved("a", {variable: "2"}, **{name: "1"}) == ("1", option)
    assert resolved("a", {variable: "2"}, **{name: ""}) == ("2", variable)
    assert resolved("a", {variable: "2"}) == ("2", variable)
    assert resolved("a", {variable: ""}, **{name: ""}) == (
        "3",
        f"{name} in [environments.a] of {path}",
    )
    assert resolved("b", {}) == ("4", f"{name} in [defaults] of {path}")
    assert resolved("c", {}, None) == (API_DEFAULTS[name].text, DEFAULT)


def test_the_token(tmp_path: Path) -> None:
    """--token-file, TALKOVER_TOKEN, TALKOVER_TOKEN_FILE, the environment's table."""
    path = tmp_path / "mirror.toml"
    path.write_text("[environments.prod]\ntoken_file = 'token'\n")
    files = {name: tmp_path / name for name in ("token", "option", "variable")}
    for name, file in files.items():
        file.write_text(f"talq_{name}\n")

    def token(environ: dict[str, str], **options: str) -> str:
        return settings.read_token(sources(environ, path, **options), "prod").reveal()

    named = {"TALKOVER_TOKEN_FILE": str(files["variable"])}
    both = named | {"TALKOVER_TOKEN": TOKEN}
    assert token(both, token_file=str(files["option"])) == "talq_option"
    assert token(named, token_file=str(files["option"])) == "talq_option"
    assert token(both) == TOKEN
    assert token(both, token_file="") == TOKEN
    assert token(named | {"TALKOVER_TOKEN": ""}) == "talq_variable"
    assert token({}) == "talq_token"


def test_the_database(tmp_path: Path) -> None:
    """Option, variable, file, the user's data folder: for commands, and for Python programs."""
    path = tmp_path / "mirror.toml"
    path.write_text("database = 'sqlite:////file'\n")
    user = platformdirs.user_data_path("mirror", appauthor=False) / "mirror.db"
    variable = {"MIRROR_DATABASE_URL": "postgresql://variable/mirror"}
    unset = {"MIRROR_DATABASE_URL": ""}
    for environ, file, option, url, source in [
        (variable, path, "sqlite:///option.db", "sqlite:///option.db", "--database"),
        (variable, path, "", "postgresql://variable/mirror", "MIRROR_DATABASE_URL"),
        (unset, path, "", "sqlite:////file", f"database in {path}"),
        (unset, None, "", f"sqlite:///{user}", DEFAULT),
    ]:
        setting = sources(environ, file, database=option).resolve_database()
        assert (setting.text, setting.source) == (url, source)
        assert settings.database_url(option, environ, load(str(file)) if file else None) == url


def test_the_environment() -> None:
    """Options, else the variable, which holds one name; else none."""
    variable = {"MIRROR_ENVIRONMENT": "EU staging"}
    options = ("--environment", "prod", "--environment", "dev")
    assert environments(variable, *options) == ("prod", "dev")
    assert environments(variable) == ("EU staging",)
    assert environments(variable, "--environment", "") == ("EU staging",)
    assert environments(variable, *("--environment", "") * 2) == ("EU staging",)
    assert environments(variable, *options, "--environment", "") == ("prod", "dev", "EU staging")
    assert environments({"MIRROR_ENVIRONMENT": ""}) == ()


def test_variables_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python programs and Alembic read the variables of the process, as they are now."""
    monkeypatch.setenv("MIRROR_DATABASE_URL", "sqlite:///variable.db")
    assert settings.database_url() == "sqlite:///variable.db"
