"""What was given: each setting and where it comes from.

An option wins over an environment variable, which wins over the configuration file, which wins over
the default. Whether a value can be used is for `mirror.config.settings` to say.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirror.config import file as config
from mirror.config.file import Configuration
from mirror.errors import UsageError

DEFAULT = "default"
"""What is said to be the source of a setting that was not given."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the API.

    Attributes:
        variable: the environment variable that may hold it.
        default: what it is if nothing is given.
    """

    variable: str
    default: str


API_SETTINGS = {
    "base_url": Setting("TALKOVER_BASE_URL", "https://app.talkover.ai/api/v1"),
    "rate": Setting("MIRROR_RATE", "100"),
    "timeout": Setting("MIRROR_TIMEOUT", "30"),
    "deadline": Setting("MIRROR_DEADLINE", "900"),
    "max_bytes": Setting("MIRROR_MAX_BYTES", str(1 << 30)),
}
"""The settings of the API, by their names in the configuration file."""


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """A setting, and where it comes from.

    Attributes:
        name: its name, as in the configuration file.
        text: its value, as it was given. Never a token, but a file or variable that holds it.
        source: an option, a variable, a place in the configuration file, or `DEFAULT`.
        in_file: whether it comes from the configuration file.
    """

    name: str
    text: str
    source: str
    in_file: bool = False


@dataclass(frozen=True, slots=True)
class SettingSources:
    """All that was given.

    Attributes:
        options: what the options of the command line say, by the names of the settings.
        environ: the environment variables.
        file: the configuration file.
    """

    options: Mapping[str, str | None] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    file: Configuration = field(default_factory=Configuration)

    def find(self, name: str, environment: str | None = None) -> ResolvedSetting:
        """Return a setting of the API, as it is for an environment."""
        setting = API_SETTINGS[name]
        if text := self.options.get(name):
            return ResolvedSetting(name, text, option_of(name))
        if text := self.environ.get(setting.variable):
            return ResolvedSetting(name, text, setting.variable)
        for table in self.file.tables(environment):
            if text := table.values.get(name):
                return ResolvedSetting(name, text, self._place(name, table), in_file=True)
        return ResolvedSetting(name, setting.default, DEFAULT)

    def find_token(self, environment: str | None = None) -> ResolvedSetting:
        """Return what holds the token of an environment: a `token_file` or a `token_env`.

        Raises:
            UsageError: nothing does.
        """
        if path := self.options.get("token_file"):
            return ResolvedSetting("token_file", path, "--token-file")
        if self.environ.get("TALKOVER_TOKEN"):
            return ResolvedSetting("token_env", "TALKOVER_TOKEN", "TALKOVER_TOKEN")
        if path := self.environ.get("TALKOVER_TOKEN_FILE"):
            return ResolvedSetting("token_file", path, "TALKOVER_TOKEN_FILE")
        table = self.file.environments.get(environment or "")
        for name in ("token_file", "token_env"):
            if table is not None and (text := table.values.get(name)):
                return ResolvedSetting(name, text, self._place(name, table), in_file=True)
        hint = f", or with {self._place('token_file', table)}" if table is not None else ""
        raise UsageError(
            "there is no API token",
            hint="set TALKOVER_TOKEN, or name a file with --token-file "
            f"or TALKOVER_TOKEN_FILE{hint}",
        )

    def _place(self, name: str, table: config.Section) -> str:
        """Say where in the configuration file a setting stands."""
        return f"{name} in [{table.name}] of {self.file.path}"


def option_of(name: str) -> str:
    """Return the option for a setting, by its name in the configuration file."""
    return f"--{name.replace('_', '-')}"


def find_database(
    option: str | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Configuration | None = None,
) -> ResolvedSetting:
    """Return the URL of the mirror's database.

    Args:
        option: the value of `--database`, if it was given.
        environ: the environment variables.
        file: the configuration file; None for the one that the variables name, or the user's.
    """
    if option:
        return ResolvedSetting("database", option, "--database")
    if text := environ.get("MIRROR_DATABASE_URL"):
        return ResolvedSetting("database", text, "MIRROR_DATABASE_URL")
    if file is None:
        file = config.load(environ=environ)
    if file.database:
        return ResolvedSetting("database", file.database, f"database in {file.path}", in_file=True)
    import platformdirs

    path = platformdirs.user_data_path("mirror", appauthor=False) / "mirror.db"
    return ResolvedSetting("database", sqlite_url(path), DEFAULT)


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file; in a URL, % begins an escape."""
    return f"sqlite:///{str(path).replace('%', '%25')}"
