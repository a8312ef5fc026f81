"""The settings of `mirror init`: given, asked for on the terminal, or by default."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirror.cli.options import given_settings, now
from mirror.cli.prompt import ask, can_ask, is_terminal
from mirror.config import settings
from mirror.config.resolver import SettingSources
from mirror.config.settings import ApiSettings, Secret
from mirror.config.sources import VARIABLES
from mirror.errors import MirrorError, TokenRefused, UsageError
from mirror.files import absolute_path

if TYPE_CHECKING:
    from mirror.config.file import Configuration
    from mirror.setup.new_environment import NewEnvironment

_STDIN = "-"
_MAX_STDIN = 1 << 16  # bytes


class Questions:
    """Finds each setting: it is given, or asked for, or has a default.

    Args:
        path: of the configuration file.
        configuration: its content.
        defaults: ask nothing; what has a default need not be given.
    """

    def __init__(self, path: Path, configuration: Configuration, *, defaults: bool) -> None:
        self._path = path
        self._file = configuration
        self._defaults = defaults
        self._can_ask = can_ask() and not defaults
        self._given = given_settings()
        self._token: Secret | None = None

    def require(self) -> None:
        """Check that all is given, where nobody can be asked.

        Raises:
            UsageError: something is missing.
        """
        if self._can_ask:
            return
        parameters = click.get_current_context().params
        name = parameters["environment"]
        missing = []
        if not name and (self._file.environments or not self._defaults):
            missing.append("--environment")
        if name not in self._file.environments:
            if not self._defaults and "base_url" not in self._given:
                missing.append("--base-url")
            if not {"token_file", "token_env"} & self._given.keys():
                missing.append(f"--token-file (or {VARIABLES['token']})")
            if not self._defaults and not self._file.database and "database" not in self._given:
                missing.append("--database")
        if missing:
            *others, last = missing
            names = f"{', '.join(others)} and {last}" if others else last
            hint = "give " + ("it" if not others else "them")
            if not self._defaults and missing != [f"--token-file (or {VARIABLES['token']})"]:
                hint += ", or --yes to take the defaults of all but the token"
            if self._file.environments:
                hint += f"; {self._path} has {', '.join(self._file.environments)}"
            raise UsageError(
                f"nobody can be asked, and {names} {'are' if others else 'is'} missing", hint=hint
            )

    def environment(self, given: str | None) -> str:
        """Return the name of the environment."""
        if given is not None:
            return settings.environment_name(given)
        if not self._can_ask:
            return settings.DEFAULT_ENVIRONMENT
        known = ", ".join(self._file.environments)
        default = None if known else settings.DEFAULT_ENVIRONMENT
        question = f"Environment ({self._path} has {known})" if known else "Name of the environment"
        return ask(question, settings.environment_name, default)

    def new(self, name: str) -> NewEnvironment:
        """Return all settings of a new environment."""
        from mirror.setup.new_environment import NewEnvironment

        default = SettingSources({}, self._file).resolve("base_url").text
        default = settings.usable_base_url(default)
        base_url = self._base_url(default)
        token = self._new_token(base_url)
        database, password = self._database()
        is_default = settings.same_base_url(base_url, default)
        return NewEnvironment(name, token, None if is_default else base_url, database, password)

    def require_same(self, name: str) -> None:
        """Check that what is given for an environment of the file is what it has.

        Raises:
            UsageError: it is something else.
        """
        sources = SettingSources({}, self._file)
        different = []
        if url := self._given.get("base_url"):
            usable = settings.usable_base_url(url.text)
            if not settings.same_base_url(usable, sources.resolve("base_url", name).text):
                different.append(f"base URL ({url.source})")
        if (token := self._given_token()) and (
            token.reveal() != settings.read_token(sources, name).reveal()
        ):
            different.append("token")
        if different:
            raise UsageError(
                f"{name} is in {self._path} already, with another {' and '.join(different)}",
                hint="edit that file or the file of the token, or name another environment",
            )
        self._require_same_database()

    def _base_url(self, default: str) -> str:
        given = self._given.get("base_url")
        if given or not self._can_ask:
            return settings.usable_base_url(given.text if given else default)
        return ask("Base URL of the API", settings.usable_base_url, default)

    def _new_token(self, base_url: str) -> Secret | Path:
        """Return the token, or the file that holds it."""
        if token := self._given_token():
            setting = self._given.get("token_file")
            # What a pipe held is stored, as it can be read only once.
            if setting and os.path.isfile(setting.text):  # noqa: PTH113 (pathlib's raises)
                return absolute_path(setting.text)
            return token

        def accepted(text: str) -> Secret:
            """Return a token that the API does not refuse; why it cannot tell is for the doctor."""
            from mirror.api.health import check_token

            token = settings.usable_token(text.strip(), "the answer")
            try:
                check_token(ApiSettings(base_url, token), now)
            except TokenRefused:
                raise
            except MirrorError:
                pass
            return token

        return ask("API token (hidden)", accepted, hidden=True)

    def _given_token(self) -> Secret | None:
        """Return the token that a file, standard input or the variable holds; None without any."""
        setting = self._given.get("token_file") or self._given.get("token_env")
        if setting is None or self._token:
            return self._token
        if setting.name == "token_file" and setting.text == _STDIN:
            if is_terminal(sys.stdin):
                return None
            content = b"" if sys.stdin is None else sys.stdin.buffer.read(_MAX_STDIN)
            self._token = settings.usable_token(content.decode("latin-1").strip(), "standard input")
        else:
            self._token = settings.read_token(SettingSources({setting.name: setting}))
        return self._token

    def _database(self) -> tuple[str | None, Secret | None]:
        """Return the URL of the database and its password; no URL if the file has one."""
        if self._file.database:
            self._require_same_database()
            return None, None
        if given := self._given.get("database"):
            return self._usable_database(given.text)
        default = SettingSources({}).resolve_database().text
        if not self._can_ask:
            return self._usable_database(default)
        default = default.removeprefix("sqlite:///")
        question = "Database (the path of a SQLite file, or postgresql://USER@HOST/NAME)"
        return ask(question, self._usable_database, default)

    def _usable_database(self, text: str) -> tuple[str, Secret | None]:
        from mirror.db.urls import parse_url, split_password, to_url
        from mirror.setup import new_environment

        url, text_password = split_password(to_url(text))
        password = Secret(text_password) if text_password else None
        parsed = parse_url(url)
        is_postgres = parsed.get_backend_name() != "sqlite" and "passfile" not in parsed.query
        if is_postgres and password is None and self._can_ask and not new_environment.is_open(url):
            question = "Password of the database (hidden; empty if it takes none)"
            password = ask(
                question, lambda typed: Secret(typed) if typed else None, "", hidden=True
            )
        new_environment.check_database(url, password)
        return url, password

    def _require_same_database(self) -> None:
        from mirror.db.urls import shown_url, to_url
        from mirror.setup import new_environment

        given = self._given.get("database")
        if not given or not self._file.database:
            return
        url = to_url(given.text)
        if not new_environment.is_database_of(self._file, url):
            raise UsageError(
                f"{self._path} has the database {shown_url(self._file.database.text)} for all its "
                f"environments, and {given.source} names another",
                hint="leave that out, or name another file with --config",
            )
