"""Precedence: option, variable, table of the environment, `[defaults]`, built-in default.

click reads options and variables (`cli.options`). Nothing here needs click, so that query helpers
and Alembic find the database by the same rules.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mirror.config.file import Configuration, Table
from mirror.config.folders import data_folder, is_creatable
from mirror.config.sources import API_DEFAULTS, DEFAULT, VARIABLES, ResolvedSetting
from mirror.errors import UsageError


class SettingSources(msgspec.Struct, frozen=True):
    """Every source of settings.

    Attributes:
        given: the settings from options and variables; a token as `token_file` or `token_env`.
        file: the configuration file.
        environ: the environment variables, of which `token_env` names one.
    """

    given: Table = msgspec.field(default_factory=dict)
    file: Configuration = msgspec.field(default_factory=Configuration)
    environ: Mapping[str, str] = msgspec.field(default_factory=lambda: os.environ)

    def resolve(self, name: str, environment: str | None = None) -> ResolvedSetting:
        """Return a setting of the API for an environment."""
        table = self.file.table(environment)
        return ChainMap(self.given, table, self.file.defaults, API_DEFAULTS)[name]

    def resolve_token(self, environment: str | None = None) -> ResolvedSetting:
        """Return the `token_file` or `token_env` of an environment.

        Raises:
            UsageError: no source has one.
        """
        for table in (self.given, self.file.table(environment)):
            if setting := table.get("token_file") or table.get("token_env"):
                return setting
        hint = f"set {VARIABLES['token']}, or name a file with --token-file "
        hint += f"or {VARIABLES['token_file']}"
        if environment in self.file.environments:
            hint += f", or with token_file in [environments.{environment}] of {self.file.path}"
        raise UsageError("there is no API token", hint=hint)

    def resolve_database(self) -> ResolvedSetting:
        """Return the URL of the database: by default a SQLite file in the user's data folder.

        Raises:
            UsageError: no source has one, and there can be no such file.
        """
        if setting := self.given.get("database") or self.file.database:
            return setting
        folder = data_folder()
        path = folder and folder / "mirror.db"
        if path and (os.path.exists(path) or is_creatable(path)):  # noqa: PTH110 (pathlib's raises if it may not look)
            return ResolvedSetting("database", sqlite_url(path), DEFAULT)
        reason = f"{folder} cannot be written" if folder else "there is no home folder"
        raise UsageError(
            f"there is no default database, as {reason}",
            hint=f"name one with --database or {VARIABLES['database']}",
        )


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file; in a URL, % begins an escape, and ? the parameters."""
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"
