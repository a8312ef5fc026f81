"""The checks of `mirror doctor`: settings, API, database, disk, and the runs so far.

No check changes anything, and a check that fails does not prevent the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mirror import checks
from mirror.api.health import check_health, check_token
from mirror.checks import Check, State, check_disk_space, check_private
from mirror.config import file, settings
from mirror.config.resolver import SettingSources
from mirror.config.sources import API_DEFAULTS, DEFAULT, ResolvedSetting
from mirror.db import migrate
from mirror.db.engine import (
    create_engine,
    has_secrets,
    parse_url,
    read_transaction,
    shown_url,
    write_transaction,
)
from mirror.db.models import metadata
from mirror.errors import DatabaseError, DiskUnavailable, MirrorError, SchemaError, UsageError
from mirror.queries import status


class Doctor:
    """Runs the checks.

    Args:
        sources: options, variables and the configuration file.
        environments: the names of the environments to check.
        now: returns the time of this machine's clock (UTC).

    Attributes:
        failures: the errors behind the checks that failed so far.
    """

    def __init__(
        self,
        sources: SettingSources,
        environments: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self.failures: list[MirrorError] = []
        self._sources = sources
        self._environments = environments
        self._now = now

    def checks(self) -> Iterator[Check]:
        """Run the checks, and yield each as soon as it is done."""
        yield self._configuration_file()
        for environment in self._environments:
            yield from self._settings(environment)
            yield from self._api(environment)
        yield from self._database()

    def _failed(self, check: str, error: MirrorError, environment: str | None = None) -> Check:
        self.failures.append(error)
        return Check(State.FAILED, check, environment, error.message, error.hint)

    # Settings

    def _configuration_file(self) -> Check:
        path = self._sources.file.path
        if path is None:
            default = file.default_path()
            place = f"searched at {default}" if default else "there is no home folder"
            return Check(State.OK, "configuration", None, f"none; {place}")
        database = self._sources.given.get("database") or self._sources.file.database
        if database and database.in_file and has_secrets(database.text):
            return check_private(path, "configuration", f"{path}, with a password in it")
        return Check(State.OK, "configuration", None, str(path))

    def _settings(self, environment: str) -> Iterator[Check]:
        """Show the settings of an environment, and the source of each."""
        resolved = [self._sources.resolve(name, environment) for name in API_DEFAULTS]
        for setting in resolved:
            if setting.source != DEFAULT:
                yield self._setting(setting, environment)
        defaults = [f"{item.name} {item.text}" for item in resolved if item.source == DEFAULT]
        if defaults:
            finding = f"by default: {', '.join(defaults)}"
            yield Check(State.OK, "settings", environment, finding)

    def _setting(self, setting: ResolvedSetting, environment: str) -> Check:
        """Show a setting, unless it is an invalid base URL, which may hold the token."""
        text = setting.text
        try:
            if setting.name == "base_url":
                text = settings.usable_base_url(text)
        except UsageError as error:
            return self._failed(setting.name, error, environment)
        return Check(State.OK, setting.name, environment, f"{text} ({setting.source})")

    def _token(self, environment: str) -> Check:
        """Check that the token can be read, and its file by nobody else."""
        setting = self._sources.resolve_token(environment)
        settings.read_token(self._sources, environment)
        finding = f"read from {setting.source}"
        if setting.name == "token_file":
            return check_private(Path(setting.text), "token", finding, environment)
        return Check(State.OK, "token", environment, finding)

    # The API

    def _api(self, environment: str) -> Iterator[Check]:
        check = "token"
        try:
            yield self._token(environment)
            check = "settings"
            api = settings.api_settings(self._sources, environment)
            check = "API"
            probe = check_health(api, self._now)
            yield checks.check_health(environment, api, probe)
            yield checks.check_clock(environment, probe)
            check = "API token"
            probe = check_token(api, self._now)
        except MirrorError as error:
            # A check of a setting may have shown the error already.
            if check not in {"token", "settings"} or str(error) not in map(str, self.failures):
                yield self._failed(check, error, environment)
            return
        limit = f"; the API allows {probe.limit} requests per minute" if probe.limit else ""
        yield Check(State.OK, "API token", environment, f"accepted{limit}")

    # The database

    def _database(self) -> Iterator[Check]:
        url = shown = ""
        try:
            setting = self._sources.resolve_database()
            url, source = setting.text, setting.source
            shown = f"{shown_url(url)} ({source})"
            engine = create_engine(url)
            with read_transaction(engine) as connection:
                yield Check(State.OK, "database", None, shown)
                yield from checks.SERVER_CHECKS[connection.dialect.name](connection)
                schema = list(self._schema(connection))
                yield from schema
        except MirrorError as error:
            yield self._no_database(error, url, shown)
            return
        if all(check.state is not State.FAILED for check in schema if check.check == "schema"):
            yield self._write_access(engine)
        yield from self._disk_space(engine)

    def _no_database(self, error: MirrorError, text: str, shown: str) -> Check:
        """Report why the database cannot be opened; a missing SQLite file is only a warning."""
        url = None if isinstance(error, UsageError) else parse_url(text)
        if (
            url is None
            or url.get_backend_name() != "sqlite"
            or not url.database
            or _may_exist(Path(url.database))
        ):
            return self._failed("database", error)
        advice = "run `mirror sync`, which creates it"
        return Check(State.WARNING, "database", None, f"{shown} does not exist yet", advice)

    def _schema(self, connection: Connection) -> Iterator[Check]:
        revision = migrate.current(connection)
        try:
            migrate.require_current(connection)
        except SchemaError as error:
            if revision is not None:
                yield self._failed("schema", error)
            else:
                finding, advice = (
                    "no mirror in the database yet",
                    "run `mirror sync`, which creates it",
                )
                yield Check(State.WARNING, "schema", None, finding, advice)
            return
        yield Check(State.OK, "schema", None, f"revision {revision}, which this version needs")
        for environment in status.status(
            connection, now=self._now(), environments=list(self._environments)
        ):
            yield checks.check_runs(environment)
            yield checks.check_quarantine(environment)

    def _write_access(self, engine: Engine) -> Check:
        """Check that a sync can write, without changing a row."""
        try:
            with write_transaction(engine, migrate.LOCK) as connection:
                for table in metadata.sorted_tables if migrate.current(connection) else ():
                    # The database checks the privilege before it looks for rows.
                    no_rows = sa.select(table).where(sa.false())
                    connection.execute(sa.insert(table).from_select(list(table.c), no_rows))
                    connection.execute(sa.delete(table).where(sa.false()))
                    connection.execute(
                        sa.update(table).where(sa.false()).values({next(iter(table.c)): None})
                    )
                connection.rollback()  # a commit without rows can write to a SQLite file too
        except DatabaseError as error:
            return self._failed("write access", error)
        return Check(State.OK, "write access", None, "a sync can write")

    def _disk_space(self, engine: Engine) -> Iterator[Check]:
        """Check the space for the database, if it is a file, and for temporary files."""
        if engine.dialect.name == "sqlite":
            path = Path(engine.url.database or "")
            size = path.stat().st_size
            yield check_private(path, "database file", f"{size / checks.MIB:,.1f} MiB")
            yield check_disk_space("disk space for the database", path.parent, size)
            yield from self._temporary_space()

    def _temporary_space(self) -> Iterator[Check]:
        """Check the space where SQLite puts temporary tables.

        The order of the folders is that of https://www.sqlite.org/tempfiles.html.
        """
        check = "disk space for temporary files"
        variables = (os.environ.get(name) for name in ("SQLITE_TMPDIR", "TMPDIR"))
        for name in (*variables, "/var/tmp", "/usr/tmp", "/tmp", "."):  # noqa: S108
            if name and os.access(name, os.W_OK | os.X_OK):
                yield check_disk_space(check, Path(name))
                return
        error = DiskUnavailable(
            "there is no folder for temporary files", hint="name one in SQLITE_TMPDIR"
        )
        yield self._failed(check, error)


def _may_exist(path: Path) -> bool:
    """Return False only if a path certainly does not exist."""
    try:
        return path.exists()
    except OSError:
        return True
